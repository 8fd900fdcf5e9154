"""
The life cycle of a billing run.

A run collects one due item from the debtors of one upload. First it is planned, debtor by debtor: each gets an attempt
or a verdict. Then its attempts are submitted, canaries first. An auto-pause or a person may pause it, and it resumes where it stopped.

```text
              planned, with canaries             the canaries went well
 planning ───────────────────────────► canary ──────────────────────────► running ──► finished
     │                                                                     ▲   │ all ended  │
     └──────────────────────── planned ────────────────────────────────────┘   └◄───────────┘
                                                                                 tried again
 planning, canary, running ── paused ──► paused ── resumed ──► where it was
 all but finished ── cancelled ──► cancelled
```

No debit is submitted for a run that is not `canary` or `running`. A finished run opens again when a returned debit of it is
tried again (`tether_core.payments.returns`). Cancelling stops debits that were not submitted; submitted debits continue to their outcome.

A run is **ordered** once for an upload and a due item. While a run is not over, another is refused. Once it is over, an order must state that
it is a repetition, so that a repeated request is never taken for a second order.

>>> step("planning", "planned")
'running'
>>> step("paused", "resumed", paused_from="canary")
'canary'
>>> step("cancelled", "resumed")
Traceback (most recent call last):
    ...
tether_core.errors.IllegalStep: This billing run is cancelled, so it cannot be resumed. Order a new run for what is left.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from tether_core.errors import IllegalStep, OrderedBefore
from tether_core.payments import due_items

__all__ = ["SUBMITTING", "TRANSITIONS", "Ordered", "RunCause", "RunState", "require_new", "step"]

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
TRANSITIONS: Final[dict[RunState, dict[RunCause, RunState]]] = {
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

# The states in which attempts are submitted.
SUBMITTING: Final[frozenset[RunState]] = frozenset({"canary", "running"})


def step(state: RunState, cause: RunCause, *, paused_from: RunState | None = None) -> RunState:
    """
    The next state of a run.

    Args:
        state: Its state.
        cause: What happened.
        paused_from: The state in which it was paused; for "resumed".

    Returns:
        The next state.

    Raises:
        IllegalStep: when its life has no such step.
    """
    after = TRANSITIONS[state].get(cause)
    if after is None:
        raise IllegalStep("billing run", state=state, step=cause)
    return paused_from or after if cause == "resumed" else after


class Ordered(msgspec.Struct, frozen=True):
    """
    A run of an upload that was ordered before.

    Attributes:
        id: The run.
        due_item: What it collects.
        state: Its state.
        submitted: Whether any debit of it was submitted, or may have been.
    """

    id: int
    due_item: str
    state: RunState
    submitted: bool


def require_new(ordered: Iterable[Ordered], *, due_item: str, again: bool) -> None:
    """
    Refuse an order that may be the repetition of an earlier one.

    Args:
        ordered: The runs of the same upload, in any order.
        due_item: What the new run is to collect.
        again: Whether the order says that the same item is to be ordered again.

    Raises:
        OrderedBefore: when a run of the upload for this item is not over, or is over and *again* is missing, or has written
            the same item in another way. A cancelled run that has submitted nothing does not count.
    """
    alike = [
        run
        for run in ordered
        if due_items.alike(run.due_item, due_item) and (run.state != "cancelled" or run.submitted)
    ]
    for run in sorted(alike, key=lambda run: (run.state in _OVER, -run.id)):
        if run.due_item != due_item:
            raise OrderedBefore(
                run.id,
                why=f"Billing run {run.id} collects {run.due_item} from this upload, which reads like {due_item}: write the "
                "due item as that run does, or give another debt another name.",
            )
        if run.state not in _OVER:
            raise OrderedBefore(
                run.id,
                why=f"Billing run {run.id} collects {due_item} from this upload and is not over ({run.state}): wait until it "
                "is finished, or cancel it first.",
            )
        if not again:
            raise OrderedBefore(
                run.id,
                why=f"Billing run {run.id} has collected {due_item} from this upload ({run.state}): send again: true to bill "
                "those debtors who have no open, collected, returned, refunded or voided debit for it.",
            )


_OVER: Final[frozenset[RunState]] = frozenset({"finished", "cancelled"})
