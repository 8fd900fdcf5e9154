"""
The life of a billing run.

A run collects one due item from the debtors of one upload. First it is planned, debtor by debtor: each gets an attempt
or a verdict. Then its attempts are sent, the canaries first where there are any. A brake or a person may pause it,
and it goes on where it stopped.

```text
              planned, with canaries             the canaries went well
 planning ───────────────────────────► canary ──────────────────────────► running ──► finished
     │                                                                     ▲   │ all ended  │
     └──────────────────────── planned ────────────────────────────────────┘   └◄───────────┘
                                                                                 tried again
 planning, canary, running ── paused ──► paused ── resumed ──► where it was
 all but finished ── cancelled ──► cancelled
```

Nothing is sent for a run that is not `canary` or `running`. A finished run opens again when a returned debit of it is
tried again (`tether_core.after_return`). Cancelling withholds what was not sent; what was sent goes on to its outcome.

>>> step("planning", "planned")
'running'
>>> step("paused", "resumed", paused_from="canary")
'canary'
>>> step("cancelled", "resumed")
Traceback (most recent call last):
    ...
tether_core.errors.IllegalStep: A billing run that is cancelled cannot be resumed; a person must look.
"""

from typing import Final, Literal

from tether_core.errors import IllegalStep

__all__ = ["LIFE", "SENDING", "RunCause", "RunState", "step"]

RunState = Literal["planning", "canary", "running", "paused", "finished", "cancelled"]
RunCause = Literal[
    "planned",
    "planned with canaries",
    "canaries went well",
    "paused",
    "resumed",
    "all ended",
    "tried again",
    "cancelled",
]

# state x cause -> state; what is not here does not exist. "resumed" leads back to where the run was paused.
LIFE: Final[dict[RunState, dict[RunCause, RunState]]] = {
    "planning": {
        "planned": "running",
        "planned with canaries": "canary",
        "paused": "paused",
        "cancelled": "cancelled",
    },
    "canary": {"canaries went well": "running", "paused": "paused", "cancelled": "cancelled"},
    "running": {
        "paused": "paused",
        "all ended": "finished",
        "tried again": "running",
        "cancelled": "cancelled",
    },
    "paused": {"resumed": "running", "tried again": "paused", "cancelled": "cancelled"},
    "finished": {"tried again": "running"},
    "cancelled": {},
}

# The states in which attempts are sent.
SENDING: Final[frozenset[RunState]] = frozenset({"canary", "running"})


def step(state: RunState, cause: RunCause, *, paused_from: RunState | None = None) -> RunState:
    """
    Where a run goes.

    Args:
        state: Where it stands.
        cause: What happened.
        paused_from: Where it stood when it was paused; for "resumed".

    Returns:
        The next state.

    Raises:
        IllegalStep: when its life has no such step.
    """
    following = LIFE[state].get(cause)
    if following is None:
        raise IllegalStep("billing run", state=state, step=cause)
    return paused_from or following if cause == "resumed" else following
