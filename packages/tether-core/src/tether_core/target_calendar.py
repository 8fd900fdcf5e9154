"""
TARGET days, on which euro payments settle, and the dates that depend on them.

Direct debits settle on TARGET days: every day except Saturdays, Sundays, 1 January, Good Friday, Easter Monday,
1 May, 25 and 26 December. National holidays do not count. That has been so since 2002, "until further notice",
so it is a formula and needs no table; Easter is found by the Gregorian computus.

From the due date of a debit follow:

| date | rule |
|---|---|
| pre-notification | 14 calendar days before, unless agreed otherwise |
| due date on a closing day | moves to the next open day |
| return by the debtor's bank | until 5 TARGET days after the due date (B2B: 3) |
| refund, no questions asked | until 8 weeks after the due date (B2B: none) |
| refund of an unauthorised debit | until 13 months after the due date (B2B: none) |

So a paid debit is final only after 13 months.

**The current day** is that of the banks, in Central European time (`bank_day`): a debit of 23:30 UTC in summer is one of the
next day, and cannot be voided on the day before.

Source: European Central Bank, long-term calendar for TARGET closing days (2000-12-14); European Payments Council,
EPC016-06, "SEPA Direct Debit Core Scheme Rulebook", 4.3 (time cycle) and 4.4 (exceptions); Directive 2000/84/EC, articles
2 and 3 (summer time: from the last Sunday of March to the last of October, 01:00 UTC).

>>> is_open(date(2026, 4, 3)), is_open(date(2026, 5, 1)), is_open(date(2025, 10, 3))   # Good Friday, May Day, a German holiday
(False, False, True)
>>> next_open(date(2026, 4, 3))
datetime.date(2026, 4, 7)
>>> exposure(date(2026, 4, 2)).return_on
datetime.date(2026, 4, 13)
>>> easter_sunday(1500)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: year: The Gregorian calendar is meant, from 1583 on.
"""

import calendar as _months
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

import msgspec

from tether_core.errors import InvalidRequest

__all__ = [
    "Exposure",
    "Scheme",
    "add_months",
    "add_target_days",
    "bank_day",
    "easter_sunday",
    "exposure",
    "is_open",
    "next_open",
    "retry_dates",
]

Scheme = Literal["core", "b2b"]

_DAY: Final = timedelta(days=1)
REFUND_WEEKS: Final = 8
UNAUTHORISED_MONTHS: Final = 13
RETURN_TARGET_DAYS: Final[dict[Scheme, int]] = {"core": 5, "b2b": 3}


def easter_sunday(year: int) -> date:
    """
    Easter Sunday of the western churches.

    Args:
        year: From 1583 to 9999.

    Returns:
        A Sunday from 22 March to 25 April.

    Raises:
        InvalidRequest: for an earlier or later year.

    Source: the anonymous Gregorian algorithm as given by J. Meeus, "Astronomical Algorithms" (1991), chapter 8.

    >>> easter_sunday(2026), easter_sunday(2038)
    (datetime.date(2026, 4, 5), datetime.date(2038, 4, 25))
    """
    if not 1583 <= year <= 9999:
        raise InvalidRequest("the Gregorian calendar is meant, from 1583 on", field="year")
    golden = year % 19
    century, of_century = divmod(year, 100)
    leap_centuries, century_left = divmod(century, 4)
    # How far the moon of the tables is from the sun's year, corrected for dropped leap days and the moon's own drift.
    moon_shift = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap_centuries - moon_shift + 15) % 30
    leaps, left = divmod(of_century, 4)
    to_sunday = (32 + 2 * century_left + 2 * leaps - epact - left) % 7
    correction = (golden + 11 * epact + 22 * to_sunday) // 451
    month, day = divmod(epact + to_sunday - 7 * correction + 114, 31)
    return date(year, month, day + 1)


def bank_day(at: datetime) -> date:
    """
    The day on the calendar of euro banks: in Central European time, summer time included.

    Args:
        at: Aware, in any zone.

    Returns:
        The day.

    >>> bank_day(datetime(2026, 7, 1, 21, 59, tzinfo=UTC)), bank_day(datetime(2026, 7, 1, 22, tzinfo=UTC))
    (datetime.date(2026, 7, 1), datetime.date(2026, 7, 2))
    >>> bank_day(datetime(2026, 12, 31, 22, 59, tzinfo=UTC)), bank_day(datetime(2026, 12, 31, 23, tzinfo=UTC))
    (datetime.date(2026, 12, 31), datetime.date(2027, 1, 1))
    """
    utc = at.astimezone(UTC)
    summer = _switch(utc.year, 3) <= utc < _switch(utc.year, 10)
    return (utc + timedelta(hours=2 if summer else 1)).date()


def _switch(year: int, month: int) -> datetime:
    last = date(year, month, 31)
    sunday = last - timedelta(days=(last.weekday() + 1) % 7)
    return datetime(sunday.year, sunday.month, sunday.day, 1, tzinfo=UTC)


def is_open(day: date) -> bool:
    """
    Whether euro banks settle on a day.

    Args:
        day: Any day.

    Returns:
        False on Saturdays, Sundays and the six TARGET holidays.

    Source: European Central Bank, long-term calendar for TARGET closing days.
    """
    if day.weekday() >= 5 or (day.month, day.day) in {(1, 1), (5, 1), (12, 25), (12, 26)}:
        return False
    return day - easter_sunday(day.year) not in {-2 * _DAY, _DAY}


def next_open(day: date) -> date:
    """
    The day itself where it is open, else the next open one; where a due date on a closing day moves to.

    Args:
        day: Any day.

    Returns:
        An open day, at most 5 days later.

    >>> next_open(date(2026, 12, 25))
    datetime.date(2026, 12, 28)
    """
    while not is_open(day):
        day += _DAY
    return day


def add_target_days(day: date, days: int) -> date:
    """
    The day that lies a number of open days later, or earlier.

    Args:
        day: Where counting begins; a closing day counts as the open day next to it, against the direction of counting.
        days: How many open days; negative to count back; 0 gives the next open day.

    Returns:
        An open day.

    >>> add_target_days(date(2026, 4, 2), 1), add_target_days(date(2026, 4, 7), -1)
    (datetime.date(2026, 4, 7), datetime.date(2026, 4, 2))
    """
    if days == 0:
        return next_open(day)
    step = _DAY if days > 0 else -_DAY
    for _ in range(abs(days)):
        day += step
        while not is_open(day):
            day += step
    return day


def add_months(day: date, months: int) -> date:
    """
    The same day of the month some months later, or the month's last where it is shorter.

    Args:
        day: Any day.
        months: How many, 0 or more.

    Returns:
        Open or not: limits in months are counted by the calendar alone.

    >>> add_months(date(2026, 1, 31), 13)
    datetime.date(2027, 2, 28)
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, _months.monthrange(year, month + 1)[1]))


class Exposure(msgspec.Struct, frozen=True):
    """
    Until when a collected debit may be returned, each day included.

    Attributes:
        settled_on: The day it settled: the due date, or the next open day.
        return_on: Last day for the debtor's bank to return it.
        refund_on: Last day on which the debtor may reclaim it without a reason; `None` under the business scheme.
        unauthorised_on: Last day to claim that there was no mandate; `None` under the business scheme.
    """

    settled_on: date
    return_on: date
    refund_on: date | None
    unauthorised_on: date | None

    @property
    def final_on(self) -> date:
        """The first day on which the money cannot be reclaimed by any of these."""
        return (self.unauthorised_on or self.return_on) + _DAY


def exposure(due_on: date, *, scheme: Scheme = "core") -> Exposure:
    """
    Until when a debit may be returned.

    Args:
        due_on: When it was to be debited.
        scheme: "core" for consumers, "b2b" for businesses.

    Returns:
        The limits, counted from the day it settled.

    Source: EPC016-06, 4.3 and 4.4; EPC222-07 for B2B.

    >>> exposure(date(2026, 1, 31)).unauthorised_on, exposure(date(2026, 1, 31), scheme="b2b").refund_on
    (datetime.date(2027, 3, 2), None)
    """
    settled_on = next_open(due_on)
    return Exposure(
        settled_on=settled_on,
        return_on=add_target_days(settled_on, RETURN_TARGET_DAYS[scheme]),
        refund_on=settled_on + timedelta(weeks=REFUND_WEEKS) if scheme == "core" else None,
        unauthorised_on=add_months(settled_on, UNAUTHORISED_MONTHS) if scheme == "core" else None,
    )


def retry_dates(
    returned_on: date,
    *,
    retries: int,
    spacing_days: int = 5,
    pay_days: tuple[int, ...] = (),
    span_days_max: int = 42,
) -> list[date]:
    """
    When a debit that came back for lack of money may be tried again.

    Args:
        returned_on: When it came back.
        retries: How often its reason allows it, 0 to 2 (`tether_core.blacklist.ReasonPolicy.retries`).
        spacing_days: Calendar days before each try, at least; 3 to 10 are usual.
        pay_days: Days of the month on which wages come in, e.g. (1, 15). A try waits for one of them where it lies at
            most 10 days away.
        span_days_max: No try later than this after the return.

    Returns:
        Open days in order, as many as *retries* or fewer.

    Raises:
        InvalidRequest: when *retries* is not 0 to 2, or *spacing_days* is below 1.

    Source: practice of European acquirers, who try again twice within 42 days and only for lack of money (AM04) or no
    stated reason (MS03).

    >>> retry_dates(date(2026, 3, 27), retries=2)
    [datetime.date(2026, 4, 1), datetime.date(2026, 4, 7)]
    >>> retry_dates(date(2026, 3, 23), retries=2, pay_days=(1, 15))
    [datetime.date(2026, 4, 1), datetime.date(2026, 4, 15)]
    """
    if not 0 <= retries <= 2:
        raise InvalidRequest("a debit is tried again twice at most", field="retries")
    if spacing_days < 1:
        raise InvalidRequest("a bank needs at least a day between two tries", field="spacing_days")
    dates = list[date]()
    day = returned_on
    for _ in range(retries):
        day = next_open(_on_pay_day(day + _DAY * spacing_days, pay_days=pay_days))
        if day > returned_on + _DAY * span_days_max:
            break
        dates.append(day)
    return dates


def _on_pay_day(day: date, *, pay_days: tuple[int, ...]) -> date:
    near = (day + _DAY * later for later in range(11))
    return next((candidate for candidate in near if candidate.day in pay_days), day)
