"""
The life of a received notification.

Once its signature is verified, a notification becomes a row before it is answered. From then on it is in
exactly one state:

```text
                 ┌───────────── try again later ─────────────┐
                 ▼                                           │
 recorded ──► waiting ──► processed                          │
                 │  └──► confirming ──► waiting (with the gateway's own record beside the claim)
                 ├──► confirming (the gateway contradicts it: inquired again later, `tether_core.notifications.confirmation`)
                 ├──► contradicted (contradicted to the last) ──► waiting (a person had it replayed)
                 │                                           └──► confirming (it was reported again)
                 └──► parked ──► waiting (a person had it replayed)
 conflicting: kept aside for a person from the start, never applied
```

A try that fails goes back to *waiting* with a later time: after 10, 30 and 60 seconds first, because most
troubles are short, then in growing steps to a day. When the retry schedule ends the row is *parked* with its
reason and waits for a person; nothing is thrown away.

>>> from datetime import UTC, datetime
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> next_attempt(1, now=noon, jitter=0.5).isoformat()
'2026-03-02T12:00:10+00:00'
>>> next_attempt(len(RETRY_SCHEDULE_S) + 1, now=noon, jitter=0.5) is None
True
>>> step("processed", "claimed")
Traceback (most recent call last):
    ...
tether_core.errors.IllegalStep: This notification is processed, so it cannot be claimed. Nothing is left to do; look at its billing attempt.
"""

from datetime import datetime, timedelta
from typing import Final, Literal

from tether_core.errors import IllegalStep

__all__ = [
    "RETRY_SCHEDULE_S",
    "TRANSITIONS",
    "UNKNOWN_PAYMENT_RETRY_SCHEDULE_S",
    "InboxState",
    "InboxStep",
    "next_attempt",
    "step",
]

InboxState = Literal["waiting", "confirming", "processed", "contradicted", "parked", "conflicting"]
InboxStep = Literal[
    "claimed",
    "finished",
    "deferred",
    "asked about",
    "confirmed",
    "contradicted",
    "inquired enough",
    "reported again",
    "parked",
    "replayed",
]

# state x step -> state; what is not here does not exist.
TRANSITIONS: Final[dict[InboxState, dict[InboxStep, InboxState]]] = {
    "waiting": {
        "claimed": "waiting",
        "finished": "processed",
        "deferred": "waiting",
        "asked about": "confirming",
        "contradicted": "confirming",
        "inquired enough": "contradicted",
        "parked": "parked",
    },
    "confirming": {"confirmed": "waiting", "deferred": "confirming", "parked": "parked"},
    "processed": {},
    "contradicted": {"replayed": "waiting", "reported again": "confirming"},
    "parked": {"replayed": "waiting"},
    "conflicting": {},
}

# Seconds before the 2nd, 3rd, ... try: 10, 30 and 60 for a hiccup, then to a day for an outage. Two days in all.
RETRY_SCHEDULE_S: Final = (10, 30, 60, 300, 1_800, 7_200, 21_600, 43_200, 86_400)

# A notification of a payment we do not know may precede its import, so it waits a fortnight longer.
UNKNOWN_PAYMENT_RETRY_SCHEDULE_S: Final = RETRY_SCHEDULE_S + (86_400,) * 14


def step(state: InboxState, taken: InboxStep) -> InboxState:
    """
    The state after a step.

    Args:
        state: Where the notification stands.
        taken: What happens to it.

    Returns:
        Where it stands then.

    Raises:
        IllegalStep: when `TRANSITIONS` has no such step.
    """
    after = TRANSITIONS[state].get(taken)
    if after is None:
        raise IllegalStep("notification", state=state, step=taken)
    return after


def next_attempt(
    failures: int, *, now: datetime, jitter: float, retry_schedule_s: tuple[int, ...] = RETRY_SCHEDULE_S
) -> datetime | None:
    """
    When to try a notification again, or `None` once a person should look.

    Args:
        failures: Tries that have ended without a result so far, 1 or more.
        now: The current time, aware, UTC.
        jitter: Drawn by the caller from [0, 1); spreads the wait by a tenth either way, so that a thousand
            rows that failed together do not all come back together.
        retry_schedule_s: The waits, in seconds.

    Returns:
        A time after *now*, or `None` when the retry schedule has ended.
    """
    if failures > len(retry_schedule_s):
        return None
    return now + timedelta(seconds=retry_schedule_s[max(failures, 1) - 1] * (0.9 + 0.2 * jitter))
