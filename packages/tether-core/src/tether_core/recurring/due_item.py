"""
The life cycle of a due item of a schedule.

```text
            ordered                         (what becomes of the debit: tether_core.payments)
 waiting ───────────► ordered ── missed ──► missed
    │  excluded ─────► skipped
    │  missed ───────► missed ── recovered ──► waiting
    │                    │
    └──── waived ────────┴───────────────────► waived
```

Ordering makes one billing attempt, by the same verdicts as a billing run (`tether_core.billing.eligibility`). A verdict against it ends
the item or postpones it: what a person or time can remove (a hold, a check that is missing, a full day) is tried on the next TARGET days, until the
item is missed. Nothing is collected twice for a due date: the attempt is unique for debtor and due item.

An ordered item whose debit was not submitted in time, because its account, run, plan or schedule was paused, is missed too: otherwise a
debtor would pay all months of the pause on the day on which it ends.

>>> after_verdict("blocked"), after_verdict("held"), after_verdict("being_confirmed")
('skip', 'postpone', 'wait')
>>> choose([(7, date(2026, 5, 4)), (8, date(2026, 6, 1))], today=date(2026, 6, 2), missed_after_days=40)
(8, [7])
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final, Literal, TypeAlias

from tether_core.billing.eligibility import PASSING
from tether_core.errors import IllegalStep

__all__ = [
    "ENDING",
    "POSTPONING",
    "TRANSITIONS",
    "AfterVerdict",
    "DueItemCause",
    "DueItemState",
    "after_verdict",
    "choose",
    "is_late",
    "is_recovered",
    "step",
]

DueItemState: TypeAlias = Literal["waiting", "missed", "ordered", "skipped", "waived"]
DueItemCause: TypeAlias = Literal["ordered", "excluded", "missed", "recovered", "waived"]
AfterVerdict: TypeAlias = Literal["wait", "postpone", "skip"]

# state x cause -> state; what is not here does not exist.
TRANSITIONS: Final[dict[DueItemState, dict[DueItemCause, DueItemState]]] = {
    "waiting": {"ordered": "ordered", "excluded": "skipped", "missed": "missed", "waived": "waived"},
    "missed": {"recovered": "waiting", "waived": "waived"},
    "ordered": {"missed": "missed"},
    "skipped": {},
    "waived": {},
}
# Verdicts that a person or time may remove within days.
POSTPONING: Final = frozenset(
    {"held", "unchecked", "recently_tried", "waiting_elsewhere", "not_notified", "count_cap", "amount_cap"}
)
# Verdicts after which the mandate serves no further debit: the schedule ends. After another verdict about its mandate it is paused.
ENDING: Final = frozenset({"mandate_revoked", "mandate_cancelled", "mandate_expired", "mandate_used"})
_DAY: Final = timedelta(days=1)


def step(state: DueItemState, cause: DueItemCause) -> DueItemState:
    """
    The next state of a due item.

    Args:
        state: Its state.
        cause: What happens.

    Raises:
        IllegalStep: when its life has no such step.
    """
    after = TRANSITIONS[state].get(cause)
    if after is None:
        raise IllegalStep("due item", state=state, step=cause)
    return after


def after_verdict(code: str) -> AfterVerdict:
    """
    What becomes of a due item whose debtor may not be billed now.

    Args:
        code: Of the verdict.

    Returns:
        "wait" some minutes, "postpone" to the next TARGET day, or "skip" it.
    """
    if code in PASSING:
        return "wait"
    return "postpone" if code in POSTPONING else "skip"


def choose(
    waiting: Sequence[tuple[int, date]], *, today: date, missed_after_days: int
) -> tuple[int | None, list[int]]:
    """
    Which due item of one schedule is ordered now.

    Args:
        waiting: Each item that may be collected, with the first day on which it could be.
        today: The day at the banks.
        missed_after_days: How many days later it is missed.

    Returns:
        The item to order, the latest one, or `None`; and the items that are missed.
    """
    ordered: int | None = None
    missed = list[int]()
    for item_id, could_on in sorted(waiting, key=lambda item: (item[1], item[0]), reverse=True):
        if ordered is None and today <= could_on + _DAY * missed_after_days:
            ordered = item_id
        else:
            missed.append(item_id)
    return ordered, sorted(missed)


def is_late(*, made_on: date, today: date, missed_after_days: int) -> bool:
    """
    Whether a debit of a schedule that no call has submitted comes too late to be submitted.

    Args:
        made_on: The day on which it was made.
        today: The day at the banks.
        missed_after_days: How many days later its due item is missed.

    >>> [is_late(made_on=date(2026, 5, 4), today=date(2026, 5, day), missed_after_days=5) for day in (9, 10)]
    [False, True]
    """
    return today > made_on + _DAY * missed_after_days


def is_recovered(
    *, waiting: int, last_ordered_on: date | None, next_due_on: date | None, today: date, spacing_days: int
) -> bool:
    """
    Whether the oldest missed due item of a schedule may be collected now: alone, some days after a debit and some days before the next.

    Args:
        waiting: Items of the schedule that wait to be collected.
        last_ordered_on: When an item of it was last ordered; `None` for never.
        next_due_on: The next due date of the schedule; `None` for none.
        today: The day at the banks.
        spacing_days: Days after a debit; half as many lie before the next due date.

    >>> on = date(2026, 5, 18)
    >>> is_recovered(waiting=0, last_ordered_on=date(2026, 5, 4), next_due_on=date(2026, 6, 1), today=on, spacing_days=14)
    True
    >>> is_recovered(waiting=0, last_ordered_on=date(2026, 5, 4), next_due_on=date(2026, 5, 20), today=on, spacing_days=14)
    False
    """
    if waiting or (last_ordered_on is not None and today < last_ordered_on + _DAY * spacing_days):
        return False
    return next_due_on is None or today + _DAY * (spacing_days // 2) <= next_due_on
