"""
The life cycle of a schedule and of a collection plan, and the due items that a periodic task makes.

A schedule is one debtor under a collection plan: an amount, a first due date, perhaps a last one, and a mandate. A debtor has one at a time,
and ordinary billing runs leave such a debtor out. The clock makes a **due item** for each due date, named by the date, so a date is never made twice.

```text
 active ── paused ──► paused ── resumed ──► active
 active, paused ── ended ──► ended
```

A due item is made on its due date, or some days before where the debtor is notified first. What the clock finds too late is **missed**: after
an outage of six months a debtor does not pay six months at once. At most one due date that has passed is collected; the others wait for a person, are
skipped, or are collected one after the other, as the plan says.

>>> options = PlanOptions(notice_days=None)
>>> made = due(date(2026, 1, 31), 0, last_on=None, options=options, today=date(2026, 4, 1))
>>> [(item.due_item, item.state) for item in made.items], made.next_number, str(made.make_on)
([('2026-01-31', 'missed'), ('2026-02-28', 'missed'), ('2026-03-31', 'waiting')], 3, '2026-04-30')
>>> step("ended", "resumed")
Traceback (most recent call last):
    ...
tether_core.errors.IllegalStep: This schedule is ended, so it cannot be resumed. Add the debtor to a collection plan again.
"""

from datetime import date, timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from tether_core.errors import IllegalStep
from tether_core.recurring.collection_plan import PlanOptions
from tether_core.recurring.due_dates import NUMBER_MAX, nth
from tether_core.recurring.due_item import DueItemState
from tether_core.target_calendar import next_open

__all__ = [
    "COMPLETED",
    "TRANSITIONS",
    "NewItem",
    "ScheduleCause",
    "ScheduleState",
    "ScheduleStep",
    "due",
    "make_on",
    "step",
]

ScheduleState: TypeAlias = Literal["active", "paused", "ended"]
ScheduleCause: TypeAlias = Literal["paused", "resumed", "ended"]

# state x cause -> state, of schedules and of collection plans; what is not here does not exist.
TRANSITIONS: Final[dict[ScheduleState, dict[ScheduleCause, ScheduleState]]] = {
    "active": {"paused": "paused", "ended": "ended"},
    "paused": {"resumed": "active", "ended": "ended"},
    "ended": {},
}
# Why a schedule ended that has neither a due date nor an open due item left.
COMPLETED: Final = "completed"
# Due items that are made for one schedule at a time; the rest follows.
_BATCH: Final = 60
_DAY: Final = timedelta(days=1)


def step(state: ScheduleState, cause: ScheduleCause, *, what: str = "schedule") -> ScheduleState:
    """
    The next state of a schedule or a collection plan.

    Args:
        state: Its state.
        cause: What happens.
        what: "schedule" or "collection plan".

    Raises:
        IllegalStep: when its life has no such step.
    """
    after = TRANSITIONS[state].get(cause)
    if after is None:
        raise IllegalStep(what, state=state, step=cause)
    return after


class NewItem(msgspec.Struct, frozen=True):
    """
    A due item to be made.

    Attributes:
        number: Of its due date, 0 for the first.
        due_on: The due date.
        due_item: The name of what is owed.
        state: "waiting", "missed", or "waived" where the plan skips what is missed.
        collect_on: The first day on which it may be collected; `None` for one that is not collected.
        is_last: Whether no due date follows.
    """

    number: int
    due_on: date
    due_item: str
    state: DueItemState
    collect_on: date | None
    is_last: bool


class ScheduleStep(msgspec.Struct, frozen=True):
    """
    What the clock does with a schedule.

    Attributes:
        items: The due items to make, in the order of their dates.
        next_number: The number of the next due date.
        make_on: When its item is made; `None` where no due date is left.
    """

    items: tuple[NewItem, ...]
    next_number: int
    make_on: date | None


def make_on(first_on: date, number: int, *, last_on: date | None, options: PlanOptions) -> date | None:
    """
    The day on which the item of a due date is made.

    Args:
        first_on: The schedule's first due date.
        number: Of the due date.
        last_on: No due date after this; `None` for no end.
        options: Of the plan.

    Returns:
        `None` where the schedule has no such due date.
    """
    due_on = nth(first_on, options.interval, number)
    if (last_on is not None and due_on > last_on) or number > NUMBER_MAX:
        return None
    return due_on - _DAY * options.lead_days


def due(
    first_on: date, number: int, *, last_on: date | None, options: PlanOptions, today: date
) -> ScheduleStep:
    """
    The due items of a schedule that are to be made today.

    Args:
        first_on: Its first due date.
        number: Of the next due date that has no item.
        last_on: No due date after this; `None` for no end.
        options: Of the plan.
        today: The day at the banks.

    Returns:
        The items, and where the schedule continues. Made again for the same day, the same.
    """
    dates = list[tuple[int, date]]()
    while len(dates) < _BATCH:
        on = make_on(first_on, number, last_on=last_on, options=options)
        if on is None or on > today:
            break
        dates.append((number, nth(first_on, options.interval, number)))
        number += 1
    # Of the dates that have passed only the latest may be collected.
    latest_on = max((due_on for _, due_on in dates if due_on <= today), default=None)
    items = list[NewItem]()
    for of_date, due_on in dates:
        is_late = today > next_open(due_on) + _DAY * options.missed_after_days
        is_missed = is_late or (latest_on is not None and due_on < latest_on)
        state: DueItemState = "waiting"
        if is_missed:
            state = "waived" if options.recover == "skip" else "missed"
        items.append(
            NewItem(
                of_date,
                due_on,
                due_on.isoformat(),
                state,
                None if is_missed else next_open(max(due_on, today)),
                make_on(first_on, of_date + 1, last_on=last_on, options=options) is None,
            )
        )
    return ScheduleStep(tuple(items), number, make_on(first_on, number, last_on=last_on, options=options))
