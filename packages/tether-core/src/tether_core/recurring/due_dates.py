"""
The due dates of a schedule.

The dates are counted from the first one, so a series that begins on the 31st falls on the last day of shorter months and on the 31st of
others. They are days of the calendar; the debit is made on the due date, or on the next TARGET day where that is closed.

>>> monthly = Interval("month")
>>> [str(nth(date(2026, 1, 31), monthly, n)) for n in range(4)]
['2026-01-31', '2026-02-28', '2026-03-31', '2026-04-30']
>>> first_from(date(2026, 1, 31), monthly, on=date(2026, 3, 1))
2
"""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.target_calendar import add_months, add_target_days, next_open

__all__ = [
    "FORECAST_DAYS_MAX",
    "NUMBER_MAX",
    "Expected",
    "Interval",
    "ScheduleGroup",
    "first_from",
    "forecast",
    "nth",
]

Unit: TypeAlias = Literal["week", "month"]
# More due dates than any series has; 50 years of weeks.
NUMBER_MAX: Final = 2_600
FORECAST_DAYS_MAX: Final = 400
_DAY: Final = timedelta(days=1)


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    The time between two due dates.

    Attributes:
        unit: "week" or "month".
        every: How many of them, 1 to 60.
    """

    unit: Unit = "month"
    every: Annotated[int, msgspec.Meta(ge=1, le=60)] = 1


def nth(first_on: date, interval: Interval, number: int) -> date:
    """
    A due date.

    Args:
        first_on: The first due date.
        interval: The time between two.
        number: 0 for the first.
    """
    if interval.unit == "week":
        return first_on + 7 * _DAY * interval.every * number
    return add_months(first_on, interval.every * number)


def first_from(first_on: date, interval: Interval, *, on: date) -> int:
    """
    The number of the first due date on or after a day.

    Args:
        first_on: The first due date.
        interval: The time between two.
        on: The day.

    Raises:
        InvalidRequest: when that is further away than a series may reach.
    """
    if on <= first_on:
        return 0
    days = (on - first_on).days
    # Below the number that is looked for: no month has more than 31 days.
    number = days // ((7 if interval.unit == "week" else 31) * interval.every)
    while nth(first_on, interval, number) < on:
        number += 1
    if number > NUMBER_MAX:
        raise InvalidRequest("is too long ago; give a later first due date", field="first_due_on")
    return number


class ScheduleGroup(msgspec.Struct, frozen=True):
    """
    Schedules that have the same due dates.

    Attributes:
        first_on: Their first due date.
        next_number: The number of the next due date that has no due item.
        last_on: No due date after this; `None` for no end.
        count: How many schedules.
        amount_minor: Their amounts together, whole minor units.
    """

    first_on: date
    next_number: int
    last_on: date | None
    count: int
    amount_minor: int


class Expected(msgspec.Struct, frozen=True):
    """
    What one day is expected to collect.

    Attributes:
        on: The day, a TARGET day.
        count: Debits that fall due and could be made.
        amount_minor: Their money.
        deferred: Debits beyond the daily cap, that move to the next TARGET day; included in that day, too.
    """

    on: date
    count: int
    amount_minor: int
    deferred: int = 0


def forecast(
    groups: Iterable[ScheduleGroup],
    interval: Interval,
    *,
    today: date,
    days: int,
    day_count_max: int | None = None,
    day_amount_max_minor: int | None = None,
) -> list[Expected]:
    """
    What schedules are expected to collect, day by day.

    Nobody knows which debits will be excluded or returned, so all are counted. The caps of a day are
    applied at the average amount.

    Args:
        groups: Schedules by their dates.
        interval: Of their plan.
        today: The first day.
        days: How many, 1 to `FORECAST_DAYS_MAX`.
        day_count_max: Debits a day at most; `None` for any number.
        day_amount_max_minor: Their money a day at most; `None` for any amount.

    Returns:
        The days on which something is expected, in order.

    Raises:
        InvalidRequest: when *days* is out of range.

    >>> groups = [ScheduleGroup(date(2026, 5, 1), 0, None, 3, 3_000)]
    >>> [(str(day.on), day.count) for day in forecast(groups, Interval(), today=date(2026, 4, 20), days=60)]
    [('2026-05-04', 3), ('2026-06-01', 3)]
    >>> expected = forecast(groups, Interval(), today=date(2026, 4, 20), days=30, day_amount_max_minor=2_500)
    >>> [(str(day.on), day.count, day.amount_minor) for day in expected]
    [('2026-05-04', 2, 2000), ('2026-05-05', 1, 1000)]
    """
    if not 1 <= days <= FORECAST_DAYS_MAX:
        raise InvalidRequest(f"give 1 to {FORECAST_DAYS_MAX}", field="days")
    end_on = today + _DAY * (days - 1)
    by_day = dict[date, tuple[int, int]]()
    for group in groups:
        number = max(group.next_number, first_from(group.first_on, interval, on=today))
        while (due_on := nth(group.first_on, interval, number)) <= end_on:
            if group.last_on is not None and due_on > group.last_on:
                break
            day = next_open(due_on)
            count, amount_minor = by_day.get(day, (0, 0))
            by_day[day] = count + group.count, amount_minor + group.amount_minor
            number += 1
    expected = list[Expected]()
    while by_day:
        day = min(by_day)
        count, amount_minor = by_day.pop(day)
        if day > end_on:
            break
        deferred = 0 if day_count_max is None else max(count - day_count_max, 0)
        if day_amount_max_minor is not None and amount_minor > day_amount_max_minor:
            deferred = max(deferred, count - count * day_amount_max_minor // amount_minor)
        if deferred:
            later = add_target_days(day, 1)
            moved_minor = amount_minor * deferred // count
            of_later, later_minor = by_day.get(later, (0, 0))
            by_day[later] = of_later + deferred, later_minor + moved_minor
            count, amount_minor = count - deferred, amount_minor - moved_minor
        expected.append(Expected(day, count, amount_minor, deferred))
    return expected
