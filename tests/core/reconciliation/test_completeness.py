from datetime import UTC, date, datetime, timedelta
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.notifications.inbox import TRANSITIONS
from tether_core.payments.attempt import Decision
from tether_core.reconciliation.completeness import (
    LISTS,
    SCHEDULE,
    CompletenessReport,
    Disposition,
    EventCount,
    ListName,
    NotRead,
    ReportFetch,
    days_between,
    delays,
    report,
)

MONDAY = date(2026, 3, 2)
TUESDAY_0100 = datetime(2026, 3, 3, 1, tzinfo=UTC)
EXPECTED: list[tuple[str, ListName]] = [("default", "transactions")]
READ = ReportFetch("default", "transactions", MONDAY, 10, 10, 0, TUESDAY_0100)


LATER = datetime(2026, 4, 1, tzinfo=UTC)


def _report(
    *lines: EventCount, report_fetches: tuple[ReportFetch, ...] = (READ,), days: int = 1
) -> CompletenessReport:
    return report(
        lines,
        report_fetches,
        from_on=MONDAY,
        to_on=MONDAY + timedelta(days=days - 1),
        expected=EXPECTED,
        now=LATER,
    )


def test_all_came() -> None:
    """The normal day: the gateway's list equals the received notifications."""
    result = _report(
        EventCount("webhook", "processed", "applied", 7), EventCount("webhook", "processed", "unchanged", 3)
    )
    assert (result.known, result.by_webhook, result.fetched, result.unexplained) == (10, 10, 0, 0)
    assert result.dispositions == {"applied": 10}
    assert result.complete


def test_dropped_notifications_show_as_fetched() -> None:
    """An operator must see that notifications do not come through, even though nothing is lost by it."""
    result = _report(
        EventCount("webhook", "processed", "applied", 6), EventCount("report", "processed", "applied", 4)
    )
    assert (result.known, result.by_webhook, result.fetched, result.complete) == (10, 6, 4, True)


@pytest.mark.parametrize(
    ("changes", "unexplained"),
    [
        ({"listed": 13}, 3),
        ({"held": 9, "unread": 1}, 1),
        ({"listed": 9, "held": 9, "unread": 2}, 2),
        ({"listed": 9}, 0),
    ],
)
def test_what_a_list_has_and_we_have_not(changes: dict[str, int], unexplained: int) -> None:
    """A lost page or an unreadable item must show; the promise is that nothing is missing, not that nobody looks."""
    result = _report(
        EventCount("webhook", "processed", "applied", 9),
        report_fetches=(msgspec.structs.replace(READ, **changes),),
    )
    assert result.unexplained == unexplained
    assert result.known == 9 + unexplained
    assert result.complete == (unexplained == 0)


@pytest.mark.parametrize("read_at", [None, datetime(2026, 3, 2, 23, 59, tzinfo=UTC)])
def test_a_list_that_was_not_read_to_its_end(read_at: datetime | None) -> None:
    """A list read before its day was over, or never, would report a complete day that it knows nothing of."""
    result = _report(report_fetches=(msgspec.structs.replace(READ, read_at=read_at),))
    assert result.not_read == (NotRead("default", "transactions", MONDAY),)
    assert not result.complete


def test_days_without_any_report_fetch_are_not_read() -> None:
    """A worker that was down over a weekend must not look like a quiet weekend."""
    result = _report(days=3)
    assert [not_read.day for not_read in result.not_read] == [
        MONDAY + timedelta(days=1),
        MONDAY + timedelta(days=2),
    ]


def test_other_days_do_not_count() -> None:
    """Yesterday's missing item belongs to yesterday's report."""
    other = msgspec.structs.replace(READ, day=MONDAY - timedelta(days=1), listed=99)
    assert _report(report_fetches=(READ, other)).unexplained == 0


@pytest.mark.parametrize("state", sorted(TRANSITIONS))
@pytest.mark.parametrize("outcome", [*get_args(Decision.__annotations__["outcome"]), "failed", None])
def test_every_row_has_a_disposition(state: str, outcome: str | None) -> None:
    """A row of a kind that the table forgot would stop the report."""
    result = _report(EventCount("report", state, outcome, 1))
    assert sum(result.dispositions.values()) == 1
    assert set(result.dispositions) <= set(get_args(Disposition))


@pytest.mark.parametrize(
    ("state", "outcome", "disposition"),
    [
        ("waiting", None, "on_the_way"),
        ("waiting", "not_yet", "not_ours"),
        ("parked", "not_yet", "not_ours"),
        ("confirming", "confirm", "on_the_way"),
        ("processed", "contradicted", "contradicted"),
        ("parked", "park", "for_a_person"),
    ],
)
def test_dispositions(state: str, outcome: str | None, disposition: Disposition) -> None:
    """A contradicted or parked row counted as applied would hide what a person has to look at."""
    assert _report(EventCount("webhook", state, outcome, 2)).dispositions == {disposition: 2}


@given(
    st.lists(
        st.builds(
            EventCount,
            st.sampled_from(["webhook", "report"]),
            st.sampled_from(sorted(TRANSITIONS)),
            st.sampled_from(["applied", "unchanged", "contradicted", None]),
            st.integers(0, 1000),
        )
    ),
    st.integers(0, 20),
)
def test_the_report_conserves(lines: list[EventCount], missing: int) -> None:
    """Known = by webhook + fetched + unexplained, or one of the numbers is invented."""
    result = _report(*lines, report_fetches=(msgspec.structs.replace(READ, listed=10 + missing),))
    assert result.known == result.by_webhook + result.fetched + result.unexplained
    assert sum(result.dispositions.values()) == result.by_webhook + result.fetched
    assert result.unexplained == missing


def test_a_span_that_ends_before_it_begins() -> None:
    """Swapped dates must not look like a complete report of nothing."""
    with pytest.raises(InvalidRequest):
        days_between(MONDAY, MONDAY - timedelta(days=1))


@given(st.lists(st.floats(0, 1e7), min_size=1))
def test_delays_are_some_of_those_there_were(seconds: list[float]) -> None:
    """An interpolated percentile would be a delay that nothing ever had."""
    result = delays(seconds)
    assert result is not None
    assert {result.p50_s, result.p95_s, result.max_s} <= set(seconds)
    assert result.p50_s <= result.p95_s <= result.max_s == max(seconds)
    assert sum(second <= result.p50_s for second in seconds) >= len(seconds) / 2
    assert sum(second <= result.p95_s for second in seconds) >= len(seconds) * 0.95


def test_no_delays_of_nothing() -> None:
    """A quiet day has no percentiles, not zeros."""
    assert delays([]) is None


def test_the_schedule_reads_every_list_while_it_changes() -> None:
    """A result that comes after a fortnight would be found by nobody if lists were read for a week only."""
    assert max(rhythm.days_back for rhythm in SCHEDULE) >= 28
    assert min(rhythm.every for rhythm in SCHEDULE) <= timedelta(hours=1)
    assert len({rhythm.periodic_task for rhythm in SCHEDULE}) == len(SCHEDULE)
    assert all(rhythm.past < rhythm.every for rhythm in SCHEDULE)
    assert set(LISTS) == set(get_args(ListName))
