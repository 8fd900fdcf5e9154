"""
Life cycle of a subscriber, and which events it gets.

```text
 added ──► active ──► paused (by a person) ──► active
              └────► disabled (its endpoint failed for days, or answered 410) ──► active (by a person)
 any ──► removed (by a person; its row stays, without its secrets)
```

A subscriber that is not active gets nothing, and its position in the outbox does not move. When it is active again it goes on from there, so
nothing is lost that is still stored.

**Disabled** is decided by time and not by a number of failures: a busy subscriber fails a thousand times in a minute of its
restart. `DISABLE_AFTER` without one success is longer than a weekend.

>>> step("active", "disabled")
'disabled'
>>> step("disabled", "paused")
Traceback (most recent call last):
    ...
tether_core.errors.IllegalStep: This subscriber is disabled, so it cannot be paused. Mend its endpoint, then activate it.
>>> wants(EventFilter(types=("attempt.status_changed",)), name="refund.status_changed", account="default")
False
>>> wants(EventFilter(accounts=("club",)), name="clock.stepped", account=None)
False
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.events import NAMES

__all__ = [
    "DISABLE_AFTER",
    "TRANSITIONS",
    "DisabledReason",
    "EventFilter",
    "SubscriberState",
    "SubscriberStep",
    "is_recovery",
    "must_disable",
    "require_types",
    "step",
    "wants",
]

SubscriberState = Literal["active", "paused", "disabled", "removed"]
SubscriberStep = Literal["paused", "disabled", "activated", "removed"]
DisabledReason = Literal["failing", "gone"]

# state x step -> state
TRANSITIONS: Final[dict[SubscriberState, dict[SubscriberStep, SubscriberState]]] = {
    "active": {"paused": "paused", "disabled": "disabled", "removed": "removed"},
    "paused": {"activated": "active", "removed": "removed"},
    "disabled": {"activated": "active", "removed": "removed"},
    "removed": {},
}

DISABLE_AFTER: Final = timedelta(days=5)
# Shorter failures are single events that an endpoint does not take; the schedule of retries is for them.
_OUTAGE: Final = timedelta(minutes=1)


class EventFilter(msgspec.Struct, frozen=True):
    """
    Which events a subscriber gets.

    Attributes:
        types: Names of events; `None` for all.
        accounts: Gateway accounts; `None` for all. With accounts, events that belong to no account are excluded.
    """

    types: tuple[str, ...] | None = None
    accounts: tuple[str, ...] | None = None


def step(state: SubscriberState, taken: SubscriberStep) -> SubscriberState:
    """
    The state after a step.

    Args:
        state: The current state.
        taken: The step.

    Raises:
        IllegalStep: when `TRANSITIONS` has no such step.
    """
    after = TRANSITIONS[state].get(taken)
    if after is None:
        raise IllegalStep("subscriber", state=state, step=taken)
    return after


def wants(chosen: EventFilter, *, name: str, account: str | None) -> bool:
    """
    Whether a subscriber gets an event.

    Args:
        chosen: Of the subscriber.
        name: Of the event, without its version.
        account: The gateway account it belongs to; `None` for none.
    """
    return (chosen.types is None or name in chosen.types) and (
        chosen.accounts is None or account in chosen.accounts
    )


def require_types(types: Sequence[str] | None) -> tuple[str, ...] | None:
    """
    The types of a filter, sorted.

    Args:
        types: As given; `None` for all.

    Raises:
        InvalidRequest: when the list is empty or has a name that is no event.

    >>> require_types(["refund.paid"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    tether_core.errors.InvalidRequest: types: No event is named 'refund.paid'; GET /api/event-types lists them.
    """
    if types is None:
        return None
    wanted = tuple(sorted(set(types)))
    if not wanted:
        raise InvalidRequest("name at least one event, or leave it out for all", field="types")
    for name in wanted:
        if name not in NAMES:
            raise InvalidRequest(
                f"no event is named {name[:60]!r}; GET /api/event-types lists them", field="types"
            )
    return wanted


def must_disable(*, failing_since: datetime | None, now: datetime) -> bool:
    """
    Whether a subscriber has failed for so long that nothing more is sent to it.

    Args:
        failing_since: The first failure after its last success; `None` where the last try was a success.
    """
    return failing_since is not None and now - failing_since >= DISABLE_AFTER


def is_recovery(*, failing_since: datetime | None, now: datetime) -> bool:
    """
    Whether a success ends an outage, so that all deliveries that wait for a retry are due at once.

    Args:
        failing_since: As in `must_disable`.
    """
    return failing_since is not None and now - failing_since >= _OUTAGE
