from datetime import UTC, date, datetime, timedelta
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.notifications.inbox import LIFE
from tether_core.payments.attempt import Decision
from tether_core.reconciliation.completeness import (
    LISTS,
    SCHEDULE,
    Fate,
    Line,
    ListName,
    NotRead,
    Pull,
    Report,
    days_between,
    delays,
    report,
)

MONDAY = date(2026, 3, 2)
TUESDAY_0100 = datetime(2026, 3, 3, 1, tzinfo=UTC)
EXPECTED: list[tuple[str, ListName]] = [("default", "transactions")]
READ = Pull("default", "transactions", MONDAY, 10, 10, 0, TUESDAY_0100)


LATER = datetime(2026, 4, 1, tzinfo=UTC)


def _report(*lines: Line, pulls: tuple[Pull, ...] = (READ,), days: int = 1) -> Report:
    return report(
        lines, pulls, from_on=MONDAY, to_on=MONDAY + timedelta(days=days - 1), expected=EXPECTED, now=LATER
    )


def test_all_came() -> None:
    """The normal day: what the gateway knows is what we were told."""
    told = _report(Line("webhook", "processed", "applied", 7), Line("webhook", "processed", "unchanged", 3))
    assert (told.known, told.by_webhook, told.pulled, told.unexplained) == (10, 10, 0, 0)
    assert told.fates == {"booked": 10}
    assert told.complete


def test_dropped_notifications_show_as_pulled() -> None:
    """An operator must see that notifications do not come through, even though nothing is lost by it."""
    told = _report(Line("webhook", "processed", "applied", 6), Line("pull", "processed", "applied", 4))
    assert (told.known, told.by_webhook, told.pulled, told.complete) == (10, 6, 4, True)


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
    told = _report(
        Line("webhook", "processed", "applied", 9), pulls=(msgspec.structs.replace(READ, **changes),)
    )
    assert told.unexplained == unexplained
    assert told.known == 9 + unexplained
    assert told.complete == (unexplained == 0)


@pytest.mark.parametrize("read_at", [None, datetime(2026, 3, 2, 23, 59, tzinfo=UTC)])
def test_a_list_that_was_not_read_to_its_end(read_at: datetime | None) -> None:
    """A list read before its day was over, or never, would report a complete day that it knows nothing of."""
    told = _report(pulls=(msgspec.structs.replace(READ, read_at=read_at),))
    assert told.not_read == (NotRead("default", "transactions", MONDAY),)
    assert not told.complete


def test_days_without_any_pull_are_not_read() -> None:
    """A worker that was down over a weekend must not look like a quiet weekend."""
    told = _report(days=3)
    assert [one.day for one in told.not_read] == [MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)]


def test_other_days_do_not_count() -> None:
    """Yesterday's missing item belongs to yesterday's report."""
    other = msgspec.structs.replace(READ, day=MONDAY - timedelta(days=1), listed=99)
    assert _report(pulls=(READ, other)).unexplained == 0


@pytest.mark.parametrize("state", sorted(LIFE))
@pytest.mark.parametrize("outcome", [*get_args(Decision.__annotations__["outcome"]), "failed", None])
def test_every_row_has_a_fate(state: str, outcome: str | None) -> None:
    """A row of a kind that the table forgot would stop the report."""
    told = _report(Line("pull", state, outcome, 1))
    assert sum(told.fates.values()) == 1
    assert set(told.fates) <= set(get_args(Fate))


@pytest.mark.parametrize(
    ("state", "outcome", "fate"),
    [
        ("waiting", None, "on_the_way"),
        ("waiting", "not_yet", "not_ours"),
        ("parked", "not_yet", "not_ours"),
        ("confirming", "confirm", "on_the_way"),
        ("processed", "refuted", "refuted"),
        ("parked", "park", "for_a_person"),
    ],
)
def test_fates(state: str, outcome: str | None, fate: Fate) -> None:
    """A refuted or parked row counted as booked would hide what a person has to look at."""
    assert _report(Line("webhook", state, outcome, 2)).fates == {fate: 2}


@given(
    st.lists(
        st.builds(
            Line,
            st.sampled_from(["webhook", "pull"]),
            st.sampled_from(sorted(LIFE)),
            st.sampled_from(["applied", "unchanged", "refuted", None]),
            st.integers(0, 1000),
        )
    ),
    st.integers(0, 20),
)
def test_the_report_conserves(lines: list[Line], missing: int) -> None:
    """Known = by webhook + pulled + unexplained, or one of the numbers is invented."""
    told = _report(*lines, pulls=(msgspec.structs.replace(READ, listed=10 + missing),))
    assert told.known == told.by_webhook + told.pulled + told.unexplained
    assert sum(told.fates.values()) == told.by_webhook + told.pulled
    assert told.unexplained == missing


def test_a_span_that_ends_before_it_begins() -> None:
    """Swapped dates must not look like a complete report of nothing."""
    with pytest.raises(InvalidRequest):
        days_between(MONDAY, MONDAY - timedelta(days=1))


@given(st.lists(st.floats(0, 1e7), min_size=1))
def test_delays_are_some_of_those_there_were(seconds: list[float]) -> None:
    """An interpolated percentile would be a delay that nothing ever had."""
    told = delays(seconds)
    assert told is not None
    assert {told.p50_s, told.p95_s, told.max_s} <= set(seconds)
    assert told.p50_s <= told.p95_s <= told.max_s == max(seconds)
    assert sum(one <= told.p50_s for one in seconds) >= len(seconds) / 2
    assert sum(one <= told.p95_s for one in seconds) >= len(seconds) * 0.95


def test_no_delays_of_nothing() -> None:
    """A quiet day has no percentiles, not zeros."""
    assert delays([]) is None


def test_the_schedule_reads_every_list_while_it_changes() -> None:
    """A result that comes after a fortnight would be found by nobody if lists were read for a week only."""
    assert max(rhythm.days_back for rhythm in SCHEDULE) >= 28
    assert min(rhythm.every for rhythm in SCHEDULE) <= timedelta(hours=1)
    assert len({rhythm.duty for rhythm in SCHEDULE}) == len(SCHEDULE)
    assert all(rhythm.past < rhythm.every for rhythm in SCHEDULE)
    assert set(LISTS) == set(get_args(ListName))
