"""
Life cycle of a received notification.

Once its signature is verified, a notification becomes a row before it is answered. From then on it is in
exactly one state:

```text
                 ┌───────────── try again later ─────────────┐
                 ▼                                           │
 recorded ──► waiting ──► processed                          │
                 │  └──► confirming ──► waiting (with the gateway's own record)
                 ├──► confirming (the gateway contradicts it: inquired again later, `tether_core.notifications.confirmation`)
                 ├──► contradicted (contradicted to the last) ──► waiting (a person had it replayed)
                 │                                           └──► confirming (it was reported again)
                 └──► parked ──► waiting (a person had it replayed)
 conflicting: kept aside for a person from the start, never applied
```

A try that fails goes back to *waiting* with a later time (`tether_core.retry`). When the retry schedule ends the row is *parked*
with its reason and waits for a person; nothing is thrown away.

>>> step("processed", "claimed")
Traceback (most recent call last):
    ...
tether_core.errors.IllegalStep: This notification is processed, so it cannot be claimed. Nothing is left to do; look at its billing attempt.
"""

from typing import Final, Literal

from tether_core.errors import IllegalStep

__all__ = [
    "TRANSITIONS",
    "InboxState",
    "InboxStep",
    "step",
]

InboxState = Literal["waiting", "confirming", "processed", "contradicted", "parked", "conflicting"]
InboxStep = Literal[
    "claimed",
    "finished",
    "deferred",
    "inquired",
    "confirmed",
    "contradicted",
    "schedule ended",
    "reported again",
    "parked",
    "replayed",
]

# state x step -> state
TRANSITIONS: Final[dict[InboxState, dict[InboxStep, InboxState]]] = {
    "waiting": {
        "claimed": "waiting",
        "finished": "processed",
        "deferred": "waiting",
        "inquired": "confirming",
        "contradicted": "confirming",
        "schedule ended": "contradicted",
        "parked": "parked",
    },
    "confirming": {"confirmed": "waiting", "deferred": "confirming", "parked": "parked"},
    "processed": {},
    "contradicted": {"replayed": "waiting", "reported again": "confirming"},
    "parked": {"replayed": "waiting"},
    "conflicting": {},
}


def step(state: InboxState, taken: InboxStep) -> InboxState:
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
        raise IllegalStep("notification", state=state, step=taken)
    return after
