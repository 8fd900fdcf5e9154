"""Mandates, due dates, due items, plans, pre-notifications and series: the rules of recurring collection."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.billing import eligibility
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.recurring import due_item, enrolment, mandate, pre_notification, schedule, series
from tether_core.recurring.collection_plan import NOTICE_SLACK_DAYS, PlanOptions, PriceBand
from tether_core.recurring.due_dates import Interval, ScheduleGroup, first_from, forecast, nth
from tether_core.recurring.enrolment import EnrolmentFacts
from tether_core.recurring.mandate import Ended, Mandate
from tether_core.recurring.pre_notification import Language, Notice
from tether_core.recurring.series import First, Request
from tether_core.target_calendar import add_months, is_open, next_open

DAY = timedelta(days=1)
days = st.dates(date(2024, 1, 1), date(2040, 12, 31))
intervals = st.builds(Interval, st.sampled_from(["week", "month"]), st.integers(1, 12))
recoveries = st.sampled_from(["ask", "skip", "spread"])


@given(days, intervals, st.integers(0, 120))
def test_due_dates_keep_their_day(first_on: date, interval: Interval, number: int) -> None:
    """A series that drifts from the 31st to the 28th would be collected on a day that nobody agreed to."""
    on = nth(first_on, interval, number)
    if interval.unit == "week":
        assert (on - first_on).days == 7 * interval.every * number
        assert on.weekday() == first_on.weekday()
    else:
        assert on.day == first_on.day or (on + DAY).day == 1
        assert on == add_months(first_on, interval.every * number)
    assert nth(first_on, interval, number + 1) > on


def test_month_ends_and_leap_years() -> None:
    """The months of a leap year, from the last day of January on."""
    found = [nth(date(2028, 1, 31), Interval(), number) for number in range(5)]
    assert [on.isoformat()[5:] for on in found] == ["01-31", "02-29", "03-31", "04-30", "05-31"]
    assert nth(date(2028, 2, 29), Interval("month", 12), 1) == date(2029, 2, 28)
    assert nth(date(2028, 2, 29), Interval("month", 12), 4) == date(2032, 2, 29)


@given(days, intervals, days)
def test_the_first_due_date_from_a_day(first_on: date, interval: Interval, on: date) -> None:
    """After a pause the series must continue at the next date, and miss or repeat none."""
    number = first_from(first_on, interval, on=on)
    assert nth(first_on, interval, number) >= min(on, nth(first_on, interval, number))
    assert nth(first_on, interval, number) >= on or number == 0
    assert number == 0 or nth(first_on, interval, number - 1) < on


@given(
    days, intervals, recoveries, st.none() | st.integers(1, 30), st.lists(st.integers(0, 400), max_size=12)
)
def test_the_clock_makes_each_date_once_whenever_it_runs(
    first_on: date, interval: Interval, recovery: Any, notice: int | None, gaps: list[int]
) -> None:
    """Whether a worker runs each minute or comes back after a year: every date has one item, and none is made twice."""
    options = PlanOptions(interval=interval, recover=recovery, notice_days=notice)
    number, today, made = 0, first_on - 40 * DAY, list[date]()
    for gap in gaps:
        today += gap * DAY
        before = number
        result = schedule.due(first_on, number, last_on=None, options=options, today=today)
        assert [item.number for item in result.items] == list(range(before, result.next_number))
        passed = [item for item in result.items if item.due_on <= today and item.state == "waiting"]
        assert len(passed) <= 1, "more than one past due date would be collected at once"
        for item in result.items:
            made.append(item.due_on)
            assert item.due_on - options.lead_days * DAY <= today
            assert (item.collect_on is None) == (item.state != "waiting")
            if item.collect_on is not None:
                assert is_open(item.collect_on)
                assert item.collect_on >= max(item.due_on, today)
            if recovery == "skip":
                assert item.state != "missed"
        number = result.next_number
        again = schedule.due(first_on, number, last_on=None, options=options, today=today)
        if len(result.items) < 60:
            assert not again.items
    assert made == [nth(first_on, interval, n) for n in range(len(made))]


def test_the_last_date_ends_a_schedule() -> None:
    """A loan of three instalments is collected three times, the last one marked as final."""
    options = PlanOptions(notice_days=None)
    made = schedule.due(
        date(2026, 1, 15), 0, last_on=date(2026, 3, 20), options=options, today=date(2026, 3, 16)
    )
    assert [(item.due_on.month, item.state, item.is_last) for item in made.items] == [
        (1, "missed", False),
        (2, "missed", False),
        (3, "waiting", True),
    ]
    assert made.make_on is None


def test_an_item_is_made_early_enough_to_be_announced() -> None:
    """Made on the due date, a pre-notification would come fourteen days late each time."""
    options = PlanOptions(notice_days=14)
    due_on = date(2026, 5, 4)
    at = due_on - (14 + NOTICE_SLACK_DAYS) * DAY
    assert schedule.make_on(due_on, 0, last_on=None, options=options) == at
    assert not schedule.due(due_on, 0, last_on=None, options=options, today=at - DAY).items
    (item,) = schedule.due(due_on, 0, last_on=None, options=options, today=at).items
    assert (item.state, item.collect_on) == ("waiting", due_on)


@given(
    st.lists(st.tuples(st.integers(1, 99), days), max_size=8, unique_by=lambda item: item[0]),
    days,
    st.integers(1, 30),
)
def test_at_most_one_item_of_a_schedule_is_ordered(
    waiting: list[tuple[int, date]], today: date, missed_after: int
) -> None:
    """Items that piled up while a plan was paused must not be debited together when it resumes."""
    could = [(item_id, on) for item_id, on in waiting if on <= today]
    ordered, missed = due_item.choose(could, today=today, missed_after_days=missed_after)
    assert {ordered, *missed} - {None} == {item_id for item_id, _ in could}
    if ordered is not None:
        assert max(on for _, on in could) == dict(could)[ordered]
        assert dict(could)[ordered] + missed_after * DAY >= today


def test_every_verdict_has_a_consequence() -> None:
    """A verdict that is unknown here would lose a due date, or try it for ever."""
    known = {*eligibility.VERDICTS, "count_cap", "amount_cap", "not_notified"}
    assert known >= due_item.POSTPONING
    for code in known:
        after = due_item.after_verdict(code)
        assert (after == "wait") == (code in eligibility.PASSING)
    assert due_item.after_verdict("blocked") == due_item.after_verdict("collected") == "skip"
    assert due_item.after_verdict("count_cap") == due_item.after_verdict("unchecked") == "postpone"


SIGNED = Mandate(kind="recurrent", state="active", signed_on=date(2024, 2, 29))


@pytest.mark.parametrize(
    ("change", "on", "code"),
    [
        ({}, date(2027, 2, 28), None),
        ({}, date(2027, 3, 1), "mandate_expired"),
        ({"last_used_on": date(2026, 8, 31)}, date(2029, 8, 31), None),
        ({"last_used_on": date(2026, 8, 31)}, date(2029, 9, 1), "mandate_expired"),
        ({}, date(2024, 2, 28), "mandate_not_signed"),
        ({"state": "revoked"}, date(2024, 3, 1), "mandate_revoked"),
        ({"state": "cancelled"}, date(2024, 3, 1), "mandate_cancelled"),
        ({"is_of_other_account": True}, date(2024, 3, 1), "mandate_of_other_account"),
        ({"kind": "one_off", "uses": 1}, date(2024, 3, 1), "mandate_used"),
        ({"kind": "one_off", "uses": 0}, date(2024, 3, 1), None),
    ],
)
def test_what_a_mandate_may_be_used_for(change: dict[str, Any], on: date, code: str | None) -> None:
    """A debit without a valid mandate can be reclaimed for thirteen months."""
    of = msgspec.structs.replace(SIGNED, **change)
    found = mandate.verdict(of, on=on)
    assert (found and found.code) == code
    if code == "mandate_used":
        assert mandate.verdict(of, on=on, again=True) is None, "a retry is no second use"
    if code not in {None, "mandate_used"}:
        assert mandate.verdict(of, on=on, again=True) is not None


def test_sequence_types() -> None:
    """A bank may return what is marked as the first debit of a mandate that it knows."""
    used = msgspec.structs.replace(SIGNED, uses=1)
    assert [mandate.sequence(of, is_last=last) for of in (SIGNED, used) for last in (False, True)] == [
        "FRST",
        "FRST",
        "RCUR",
        "FNAL",
    ]
    assert mandate.sequence(msgspec.structs.replace(SIGNED, kind="one_off"), is_last=False) == "OOFF"
    assert mandate.step("active", "returned without a mandate") == "revoked"
    with pytest.raises(IllegalStep, match="new mandate"):
        mandate.step("revoked", "cancelled")
    for damaged in ("", " - ", "1,23E+11"):
        with pytest.raises(InvalidRequest):
            mandate.key_of(damaged)


@pytest.mark.parametrize(
    ("firsts", "expected"),
    [
        ([], Request("first")),
        ([First("pending", None, is_submitted=False)], Request("first")),
        ([First("pending", "a")], None),
        ([First("unknown", None)], None),
        ([First("approved", "a")], Request("next", "a")),
        ([First("refunded", "b"), First("approved", "a")], Request("next", "a")),
        ([First("chargebacked", "a")], Request("first")),
        ([First("declined", None)], Request("first")),
    ],
)
def test_the_request_of_a_series(firsts: list[First], expected: Request | None) -> None:
    """A later debit that refers to a stopped series is refused; a second first one beside an open one doubles it."""
    assert series.choose(firsts, uses_series=True) == expected
    assert series.choose(firsts, uses_series=False) == Request("sale")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"price_bands": (PriceBand(5, 4),)}, "price_bands"),
        ({"amount_minor": 9, "price_bands": (PriceBand(1, 5),)}, "amount_minor"),
        ({"notice_required": True, "notice_days": None}, "notice_required"),
        ({"notice_text": "Pay {amount} soon"}, "notice_text"),
        ({"remote_ip": "here"}, "remote_ip"),
        ({"pay_days": (0,)}, "pay_days"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], field: str) -> None:
    """A plan with a typing error must fail when it is added, and not on the first due date."""
    with pytest.raises(InvalidRequest, match=field):
        PlanOptions(**options)


def test_options_survive_their_column_and_become_those_of_a_run() -> None:
    """What a person chose is what the run goes by."""
    options = PlanOptions(
        price_bands=(PriceBand(199, 495), PriceBand(2999, 9999)),
        day_count_max=7,
        day_amount_max_minor=9_000,
        lifetime_max_minor=75_000,
        usage="Membership",
    )
    assert msgspec.json.decode(msgspec.json.encode(options), type=PlanOptions) == options
    assert [options.allows(amount) for amount in (198, 199, 495, 496, 9_999, 10_000)] == [
        False, True, True, False, True, False,
    ]  # fmt: skip
    run = options.of_run("2026-05-04")
    assert (run.due_item, run.count_max, run.amount_max_minor) == ("2026-05-04", 7, 9_000)
    assert (run.lifetime_max_minor, run.usage) == (75_000, "Membership")


@given(days, days, st.integers(1, 60))
def test_a_debit_follows_its_pre_notification_by_the_days(due_on: date, given_on: date, notice: int) -> None:
    """A debtor who hears of it a day before may reclaim the debit; a late notification moves the debit."""
    on = pre_notification.collectable_on(due_on, given_on=given_on, days=notice)
    assert is_open(on)
    assert on >= next_open(due_on)
    assert (on - given_on).days >= notice
    told_on = pre_notification.stated_on(due_on, today=given_on, days=notice, waits=True)
    assert told_on == on
    # Without the wait it states the day on which the item is collected all the same.
    assert pre_notification.stated_on(due_on, today=given_on, days=notice, waits=False) == next_open(
        max(due_on, given_on)
    )


@pytest.mark.parametrize("language", get_args(Language))
def test_every_language_states_amount_day_and_mandate(language: Any) -> None:
    """A pre-notification without amount or day is none."""
    notice = Notice(
        "Zoë", 1999, "EUR", date(2026, 5, 4), "DE89***3000", "M-1", "Club", "DE98ZZZ", "RE-{iban}"
    )
    written = pre_notification.text(notice, language=language)
    for value in ("Zoë", "19.99 EUR", "2026-05-04", "DE89***3000", "M-1", "Club", "DE98ZZZ", "RE-{iban}"):
        assert value in written
    assert pre_notification.text(notice, template="{amount} {due_on} {mandate}") == "19.99 EUR 2026-05-04 M-1"
    assert "Zoë" not in repr(notice)


def test_a_forecast_holds_the_daily_cap_and_loses_nothing() -> None:
    """The person who orders a plan sees the days on which the cap moves debits, and all of the money."""
    groups = [
        ScheduleGroup(date(2026, 5, 1), 0, None, 5, 5_000),
        ScheduleGroup(date(2026, 5, 4), 0, date(2026, 5, 4), 2, 600),
    ]
    days_expected = forecast(groups, Interval(), today=date(2026, 4, 20), days=90, day_count_max=3)
    assert [(str(day.on), day.count, day.deferred) for day in days_expected] == [
        ("2026-05-04", 3, 4),
        ("2026-05-05", 3, 1),
        ("2026-05-06", 1, 0),
        ("2026-06-01", 3, 2),
        ("2026-06-02", 2, 0),
        ("2026-07-01", 3, 2),
        ("2026-07-02", 2, 0),
    ]
    assert sum(day.amount_minor for day in days_expected) == 5_600 + 5_000 + 5_000
    with pytest.raises(InvalidRequest):
        forecast(groups, Interval(), today=date(2026, 4, 20), days=401)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "enrolled"),
        ({"verdict": "blacklisted"}, "screened_out"),
        ({"has_schedule": True}, "has_schedule"),
        ({"currency": "CHF"}, "other_currency"),
        ({"amount_minor": 700}, "outside_price_bands"),
        ({"signed_on": None}, "no_mandate"),
        ({"reference": "1,23E+11"}, "unreadable_mandate"),
        ({"is_of_other_account": True}, "mandate_of_other_account"),
        ({"is_one_off": True}, "mandate_for_one_debit"),
        ({"ended": Ended("cancelled", date(2026, 5, 4))}, "mandate_ended"),
    ],
)
def test_who_gets_a_schedule(change: dict[str, Any], code: str) -> None:
    """Each debtor of a list who is left out has a reason that somebody can act on."""
    facts = EnrolmentFacts(
        verdict="clear", currency="EUR", amount_minor=500, reference="M-1", signed_on=date(2026, 1, 2)
    )
    found = enrolment.judge(
        msgspec.structs.replace(facts, **change),
        options=PlanOptions(price_bands=(PriceBand(1, 600),)),
        signed_on=None,
    )
    assert found.code == code
    assert code in enrolment.VERDICTS
    assert bool(found.text) == (code != "enrolled")


def test_who_signed_again_is_enrolled() -> None:
    """The old list names the mandate that its debtor has cancelled; the new one says when it was signed anew."""
    facts = EnrolmentFacts(
        verdict="clear", currency="EUR", amount_minor=500, reference="M-1", ended=Ended("revoked", date(2026, 5, 4))
    )  # fmt: skip
    for of_row, of_order, code in (
        (date(2026, 1, 2), date(2026, 6, 1), "mandate_ended"),
        (None, date(2026, 5, 4), "mandate_ended"),
        (None, date(2026, 5, 5), "enrolled"),
        (date(2026, 5, 5), None, "enrolled"),
    ):
        given = msgspec.structs.replace(facts, signed_on=of_row)
        assert enrolment.judge(given, options=PlanOptions(), signed_on=of_order).code == code


def test_dates_of_an_order() -> None:
    """A first due date in the past would be missed before it is stored."""
    today = date(2026, 6, 1)
    enrolment.require_dates(today, None, today=today)
    for first_on, last_on in ((today - DAY, None), (today + 4_000 * DAY, None), (today, today - DAY)):
        with pytest.raises(InvalidRequest):
            enrolment.require_dates(first_on, last_on, today=today)
