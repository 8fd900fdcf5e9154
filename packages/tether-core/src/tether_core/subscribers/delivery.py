"""
Life cycle of a delivery: one event to one subscriber.

```text
 event in the outbox ──► waiting ──► delivered          any response 2xx
                            │  └───► waiting            retried later, by `tether_core.retry.DELIVERY_S`
                            └──────► given_up ──► waiting (replayed)
                         delivered ──► waiting (replayed)
```

**Order.** The events of one payment are delivered one after the other: an event waits while an earlier one of the same payment waits. Events
of different payments do not wait for each other. After an event was given up, the next one of its payment is sent.

**At least once.** A delivery is marked after the response, so a worker that dies in between sends it again, with the same id.

>>> from datetime import UTC, datetime
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> decide(Response(204), tries=1, now=noon, jitter=0.5)
TryResult(state='delivered', due_at=None, is_gone=False)
>>> decide(Response(500), tries=1, now=noon, jitter=0.5).due_at.isoformat()
'2026-03-02T12:00:05+00:00'
>>> decide(Response(None), tries=1, now=noon, jitter=0.5).state   # a broker has it
'delivered'
>>> decide(Response(None, error="timeout"), tries=99, now=noon, jitter=0.5).state
'given_up'
>>> decide(Response(410), tries=1, now=noon, jitter=0.5).is_gone
True
"""

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from tether_core.errors import IllegalStep
from tether_core.retry import DELIVERY_S, next_try

__all__ = [
    "RETRY_AFTER_MAX_S",
    "TRANSITIONS",
    "DeliveryError",
    "DeliveryState",
    "DeliveryStep",
    "Response",
    "TryResult",
    "decide",
    "step",
]

DeliveryState = Literal["waiting", "delivered", "given_up"]
DeliveryStep = Literal["delivered", "deferred", "given up", "replayed"]
# Why a try has no response, or none that counts.
DeliveryError = Literal[
    "address_not_allowed",
    "broker_not_configured",
    "broker_refused",
    "connect",
    "dns",
    "event_deleted",
    "protocol",
    "redirect",
    "secret_unreadable",
    "status",
    "timeout",
    "tls",
]

# state x step -> state
TRANSITIONS: Final[dict[DeliveryState, dict[DeliveryStep, DeliveryState]]] = {
    "waiting": {
        "delivered": "delivered",
        "deferred": "waiting",
        "given up": "given_up",
        "replayed": "waiting",
    },
    "delivered": {"replayed": "waiting"},
    "given_up": {"replayed": "waiting"},
}

# A subscriber may ask for a longer pause than the schedule has, up to this.
RETRY_AFTER_MAX_S: Final = 3_600.0
_GONE: Final = 410


class Response(msgspec.Struct, frozen=True):
    """
    The result of a try.

    Attributes:
        http_status: Of the response; `None` where there was none, and for brokers, which have none.
        error: Why it is no success; `None` for a success.
        retry_after_s: The response's Retry-After in seconds; `None` without one.
    """

    http_status: int | None
    error: DeliveryError | None = None
    retry_after_s: float | None = None


class TryResult(msgspec.Struct, frozen=True):
    """
    What becomes of a delivery after a try.

    Attributes:
        state: The state afterwards.
        due_at: The next try; `None` for none.
        is_gone: Whether the subscriber asked to send nothing more (410).
    """

    state: DeliveryState
    due_at: datetime | None
    is_gone: bool = False


def step(state: DeliveryState, taken: DeliveryStep) -> DeliveryState:
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
        raise IllegalStep("delivery", state=state, step=taken)
    return after


def decide(response: Response, *, tries: int, now: datetime, jitter: float) -> TryResult:
    """
    Decide what becomes of a waiting delivery.

    Args:
        response: The result of the try.
        tries: Tries so far, with this one.
        jitter: Drawn by the caller from [0, 1).
    """
    if response.error is None and (response.http_status is None or 200 <= response.http_status < 300):
        return TryResult(step("waiting", "delivered"), None)
    is_gone = response.http_status == _GONE
    due_at = next_try(DELIVERY_S, tries, now=now, jitter=jitter)
    if due_at is None:
        return TryResult(step("waiting", "given up"), None, is_gone)
    if response.retry_after_s is not None:
        wanted = now + timedelta(seconds=min(max(response.retry_after_s, 0.0), RETRY_AFTER_MAX_S))
        due_at = max(due_at, wanted)
    return TryResult(step("waiting", "deferred"), due_at, is_gone)
