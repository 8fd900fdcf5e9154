from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.target_calendar import (
    add_months,
    add_target_days,
    bank_day,
    easter_sunday,
    exposure,
    is_open,
    next_open,
    retry_dates,
)

DAY = timedelta(days=1)
days = st.dates(date(1999, 1, 1), date(2199, 12, 31))

# Easter Sundays 2000 to 2040 as the almanacs print them.
EASTER = """
    04-23 04-15 03-31 04-20 04-11 03-27 04-16 04-08 03-23 04-12 04-04 04-24 04-08 03-31 04-20 04-05 03-27 04-16 04-01
    04-21 04-12 04-04 04-17 04-09 03-31 04-20 04-05 03-28 04-16 04-01 04-21 04-13 03-28 04-17 04-09 03-25 04-13 04-05
    04-25 04-10 04-01
""".split()

# The closing days beside weekends, as the European Central Bank announced them for these years.
CLOSED = {
    2024: "01-01 03-29 04-01 05-01 12-25 12-26",
    2025: "01-01 04-18 04-21 05-01 12-25 12-26",
    2026: "01-01 04-03 04-06 05-01 12-25",
}


def test_easter_of_forty_one_years() -> None:
    """A moved Easter shifts every due date and every return limit around it by up to a week."""
    assert [easter_sunday(year).strftime("%m-%d") for year in range(2000, 2041)] == EASTER


@pytest.mark.parametrize(
    "easter", [date(1954, 4, 18), date(1981, 4, 19), date(2049, 4, 18), date(2076, 4, 19), date(1818, 3, 22)]
)
def test_easter_of_the_exceptions(easter: date) -> None:
    """The years in which the plain rule would give a Sunday later than any Easter, or the same as another's."""
    assert easter_sunday(easter.year) == easter


@given(st.integers(1583, 9999))
def test_easter_is_a_sunday_in_its_range(year: int) -> None:
    """The formula has special cases that come centuries apart; none may leave the range."""
    easter = easter_sunday(year)
    assert easter.weekday() == 6
    assert date(year, 3, 22) <= easter <= date(year, 4, 25)


@pytest.mark.parametrize("year", [1582, 0, 10_000])
def test_no_easter_outside_the_gregorian_calendar(year: int) -> None:
    """A year from a broken cell must say so and not count wrongly."""
    with pytest.raises(InvalidRequest):
        easter_sunday(year)


def _open_days(start_on: date, end_on: date) -> int:
    return sum(is_open(start_on + DAY * n) for n in range(1, (end_on - start_on).days + 1))


@pytest.mark.parametrize("year", CLOSED)
def test_closing_days_of_a_whole_year(year: int) -> None:
    """A debit dated on a closing day is refused or moved by the bank without our books knowing."""
    closed = [
        day.strftime("%m-%d")
        for day in (date(year, 1, 1) + DAY * n for n in range(366))
        if day.year == year and day.weekday() < 5 and not is_open(day)
    ]
    assert closed == CLOSED[year].split()


@pytest.mark.parametrize(
    "holiday", [date(2025, 10, 3), date(2025, 7, 14), date(2026, 1, 6), date(2025, 11, 11)]
)
def test_national_holidays_do_not_count(holiday: date) -> None:
    """Banks settle on TARGET days even on national holidays; skipping one costs a day of exposure."""
    assert is_open(holiday)


@given(days)
def test_the_next_open_day_is_the_nearest(day: date) -> None:
    """Skipping an open day moves money a day late; landing on a closed one moves it not at all."""
    later = next_open(day)
    assert is_open(later)
    assert day <= later <= day + DAY * 5
    assert not any(is_open(day + DAY * n) for n in range((later - day).days))


@given(days, st.integers(1, 60))
def test_counting_forth_counts_open_days_and_back_undoes_it(day: date, count: int) -> None:
    """The return limit is a count of open days; one off, and a late return is refused or an early one expected."""
    later = add_target_days(day, count)
    assert is_open(later)
    assert _open_days(day, later) == count
    nearest = add_target_days(later, -count)
    assert is_open(nearest)
    assert day - DAY * 5 <= nearest <= day
    assert not any(is_open(day - DAY * n) for n in range((day - nearest).days))
    assert add_target_days(add_target_days(day, -count), count) == next_open(day)


@given(days)
def test_zero_days_later_is_where_a_due_date_moves_to(day: date) -> None:
    """0 must not mean "stay on a closing day"."""
    assert add_target_days(day, 0) == next_open(day)


@given(days, st.integers(0, 40))
def test_months_keep_the_day_or_take_the_last(day: date, months: int) -> None:
    """31 January and a month is no day at all; it must not spill into March."""
    later = add_months(day, months)
    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
    assert later.day == day.day or (later.day < day.day and (later + DAY).day == 1)


@given(days)
def test_exposure_grows_from_return_to_refund_to_unauthorised(due: date) -> None:
    """Money counted as final too early is refunded and charged back when it comes back."""
    core, b2b = exposure(due), exposure(due, scheme="b2b")
    assert core.settled_on == b2b.settled_on == next_open(due)
    assert _open_days(core.settled_on, core.return_on) == 5
    assert _open_days(b2b.settled_on, b2b.return_on) == 3
    assert core.refund_on == core.settled_on + timedelta(days=56)
    assert core.unauthorised_on == add_months(core.settled_on, 13)
    assert core.return_on < core.refund_on < core.unauthorised_on < core.final_on
    assert b2b.refund_on is b2b.unauthorised_on is None
    assert b2b.final_on == b2b.return_on + DAY


def test_exposure_over_easter() -> None:
    """Four closing days in a row: the limit an ordinary calendar would give is three days short."""
    core = exposure(date(2026, 4, 3))
    assert core.settled_on == date(2026, 4, 7)
    assert core.return_on == date(2026, 4, 14)
    assert core.refund_on == date(2026, 6, 2)
    assert core.unauthorised_on == date(2027, 5, 7)


@given(
    days,
    st.integers(0, 2),
    st.integers(1, 14),
    st.lists(st.integers(1, 31), max_size=3).map(tuple),
)
def test_retries_are_few_spaced_and_on_open_days(
    returned: date, retries: int, spacing: int, pay_days: tuple[int, ...]
) -> None:
    """A third try, or two tries on one day, costs the debtor fees and us the right to debit."""
    dates = retry_dates(returned, retries=retries, spacing_days=spacing, pay_days=pay_days)
    assert len(dates) <= retries
    assert len(dates) == retries or pay_days or spacing > 10
    assert all(map(is_open, dates))
    for before, after in zip([returned, *dates], dates, strict=False):
        assert after - before >= timedelta(days=spacing)
    assert not dates or dates[-1] <= returned + timedelta(days=42)


def test_tries_wait_for_a_pay_day_that_is_near() -> None:
    """The account that was empty on the 27th is full on the 1st."""
    assert retry_dates(date(2026, 4, 22), retries=1, pay_days=(1,)) == [date(2026, 5, 4)]  # May Day is closed
    assert retry_dates(date(2026, 4, 2), retries=1, pay_days=(1,)) == [date(2026, 4, 7)]  # too far away


@pytest.mark.parametrize("wrong", [{"retries": 3}, {"retries": -1}, {"retries": 1, "spacing_days": 0}])
def test_impossible_retries_are_refused(wrong: dict[str, int]) -> None:
    """A policy file with a 20 in it must not become twenty debits."""
    with pytest.raises(InvalidRequest):
        retry_dates(date(2026, 4, 2), **wrong)  # type: ignore[arg-type]  # the table's values are all of one type


@pytest.mark.parametrize(
    ("utc", "hours"),
    [
        # The last hour before and the first after each switch, and years whose last Sunday is the 31st or the 25th.
        ("2026-03-29T00:59:59", 1),
        ("2026-03-29T01:00:00", 2),
        ("2026-10-25T00:59:59", 2),
        ("2026-10-25T01:00:00", 1),
        ("2027-03-28T01:00:00", 2),
        ("2027-10-31T00:59:59", 2),
        ("2027-10-31T01:00:00", 1),
        ("2030-03-31T00:59:59", 1),
        ("2030-03-31T01:00:00", 2),
        ("2026-01-01T00:00:00", 1),
        ("2026-07-01T00:00:00", 2),
        ("2026-12-31T23:59:59", 1),
    ],
)
def test_days_are_those_of_the_banks(utc: str, hours: int) -> None:
    """Between 22:00 and 24:00 UTC the banks have the next day: a void would be refused, or a day's cap be the wrong one's."""
    at = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert bank_day(at) == (at + timedelta(hours=hours)).date()
    # The last second of the bank's day and the first of the next, on that date.
    midnight = datetime(at.year, at.month, at.day, tzinfo=UTC) + timedelta(days=2, hours=-1)
    assert bank_day(midnight - timedelta(hours=2)) < bank_day(midnight)
    elsewhere = at.astimezone(timezone(timedelta(hours=-7)))
    assert bank_day(elsewhere) == bank_day(at)
