from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.billing.auto_pause import (
    CANARIES,
    COUNTED_FOR,
    REFUSALS,
    RETURNS,
    SMALL_RUNS,
    STEP,
    Counts,
    RunCounts,
    is_small,
    look,
    looks,
    refusals,
    small_runs,
    worst,
)
from tether_core.errors import InvalidRequest


@pytest.mark.parametrize(
    ("counted", "bad", "level"),
    [
        (0, 0, "go"),
        (19, 19, "go"),
        (20, 2, "go"),
        (20, 3, "warn"),
        (100, 29, "warn"),
        (100, 30, "pause"),
        (20, 20, "pause"),
    ],
)
def test_returns_warn_first_and_pause_then(counted: int, bad: int, level: str) -> None:
    """Few debits say nothing; beyond the threshold each further one endangers the creditor's account."""
    excerpt = look(RETURNS, counted=counted, bad=bad)
    assert excerpt.level == level
    assert bool(excerpt.text) == (level != "go")


def test_canaries_speak_even_when_they_are_few() -> None:
    """Three canaries of which three are refused are all the warning there is."""
    assert look(CANARIES, counted=3, bad=3).level == "pause"
    assert look(CANARIES, counted=3, bad=0).level == "go"
    assert look(CANARIES, counted=0, bad=0).level == "go"
    assert look(REFUSALS, counted=3, bad=3).level == "go"


def test_a_released_auto_pause_acts_again_only_when_it_got_worse() -> None:
    """Else a run that a person resumed stops at once, and people learn to switch the auto-pause off."""
    assert look(RETURNS, counted=100, bad=40).level == "pause"
    assert look(RETURNS, counted=100, bad=40, released_share=0.4).level == "warn"
    assert look(RETURNS, counted=100, bad=44, released_share=0.4).level == "warn"
    assert look(RETURNS, counted=100, bad=45, released_share=0.4).level == "pause"
    assert look(RETURNS, counted=100, bad=10, released_share=0.4).level == "go"


@given(counted=st.integers(0, 500), share=st.floats(0, 1), released=st.floats(0, 1))
def test_more_bad_debits_never_auto_pause_less(counted: int, share: float, released: float) -> None:
    """A gauge that falls while things get worse auto-pauses the good runs and lets the bad ones through."""
    order = ("go", "warn", "pause")
    bad = int(counted * share)
    levels = [
        order.index(look(RETURNS, counted=counted, bad=more, released_share=released).level)
        for more in range(bad, counted + 1)
    ]
    assert levels == sorted(levels)


def test_the_worst_gauge_decides() -> None:
    """A run is paused by any of its gauges, and a person reads which."""
    bad, fine = look(RETURNS, counted=100, bad=50), look(REFUSALS, counted=100, bad=0)
    warned = look(REFUSALS, counted=100, bad=30)
    assert worst((fine, bad, warned)) == bad
    assert worst((fine, warned)) == warned
    assert worst((fine,)) == fine
    assert 0 < STEP < 1


@pytest.mark.parametrize(("counted", "bad"), [(5, 6), (5, -1)])
def test_what_is_no_part_is_refused(counted: int, bad: int) -> None:
    """A share above one would come from a query that counts two different things."""
    with pytest.raises(InvalidRequest):
        look(RETURNS, counted=counted, bad=bad)


def test_every_gauge_of_a_run_is_looked_at() -> None:
    """A gauge that nobody looks at lets a whole account run into its scheme's limits."""
    fine = (100, 0)
    for place in range(3):
        counts = Counts(*(((100, 60) if other == place else fine) for other in range(3)))
        assert [item.level for item in looks(counts)].index("pause") == place
        assert worst(looks(counts, released_share=0.6)).level == "warn"


NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def run(run_id: int, answered: int, refused: int, **more: Any) -> RunCounts:
    """How the gateway has answered to a run an hour ago."""
    return RunCounts(run_id, answered, refused, **{"refused_at": NOW - timedelta(hours=1), **more})


@pytest.mark.parametrize(
    ("counts", "level"),
    [
        ([], "go"),
        ([run(8, 19, 19)], "go"),
        ([run(8, 20, 10)], "pause"),
        ([run(8, 20, 9)], "warn"),
        ([run(7, 60, 60)], "pause"),  # a wrong list, cancelled and ordered again
        ([run(7, 15, 15)], "go"),
        ([run(7, 15, 15), run(8, 5, 5)], "pause"),  # in small portions it is wrong all the same
        ([run(7, 60, 60, refused_at=NOW - COUNTED_FOR)], "go"),  # corrected the day after
        ([run(7, 60, 60, released_answered=60, released_refused=60)], "go"),  # a person has looked
        ([run(7, 60, 60), run(8, 1000, 0)], "go"),
        ([run(6, 5000, 10), run(7, 30, 30)], "pause"),  # a good run does not hide a bad one
        ([run(7, 5000, 10), run(8, 20, 20)], "pause"),
        ([run(8, 500, 500, released_answered=500, released_refused=500)], "go"),
        (
            [run(8, 520, 520, released_answered=500, released_refused=500)],
            "pause",
        ),  # and it goes on as before
        (
            [run(8, 500, 30, released_answered=500, released_refused=5)],
            "pause",
        ),  # accepted, and declined later
    ],
)
def test_refusals_of_a_run_and_of_those_before_it(counts: list[RunCounts], level: str) -> None:
    """A wrong list is not made right by being ordered again, and one that was corrected must be able to go."""
    assert refusals(8, counts, now=NOW).level == level


def test_who_is_paused_for_another_run_reads_which() -> None:
    """A run that is paused before its first debit looks like an internal fault, unless the other run is named."""
    excerpt = refusals(8, [run(5, 20, 20), run(7, 40, 30)], now=NOW)
    assert excerpt.text == (
        "50 of 60 debits that were answered were declined or in error (83.3 %), those of runs 5, 7 of the same upload among"
        " them."
    )


@given(
    st.lists(
        st.tuples(
            st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 48)
        ),
        max_size=4,
    )
)
def test_any_counts_can_be_looked_at(some: list[tuple[int, int, int, int, int]]) -> None:
    """Counts that a deploy or a restore has made odd must not stop the worker that claims."""
    counts = [
        RunCounts(
            run_id, answered, refused, released_answered=seen, released_refused=seen_refused,
            refused_at=NOW - timedelta(hours=hours),
        )
        for run_id, (answered, refused, seen, seen_refused, hours) in enumerate(some)
    ]  # fmt: skip
    excerpt = refusals(0, counts, now=NOW)
    if counts and refusals(0, counts[:1], now=NOW).level == "pause":
        assert excerpt.level == "pause"  # what others do never excuses a run


def small(*answered_and_refused: tuple[int, int]) -> list[RunCounts]:
    """Small runs before run 100, the newest first."""
    return [run(99 - place, *counts) for place, counts in enumerate(answered_and_refused)]


@pytest.mark.parametrize(
    ("own", "before", "level"),
    [
        ((0, 0), [(10, 10)] * 4, "go"),  # 40 answers decide nothing
        ((9, 9), [(10, 10)] * 4, "go"),
        ((10, 10), [(10, 10)] * 4, "pause"),
        ((0, 0), [(10, 10)] * 5, "pause"),  # a wrong list in files of ten rows
        ((0, 0), [(1, 1)] * 50, "pause"),  # and in files of one
        ((0, 0), [(10, 5)] * 5, "pause"),
        ((0, 0), [(10, 4)] * 5, "warn"),
        ((0, 0), [(10, 1)] * 5, "go"),
        ((0, 0), [(10, 0)] * 5 + [(10, 10)] * 20, "go"),  # what followed was good: the newest decide
        ((0, 0), [(10, 10)] * 5 + [(10, 0)] * 20, "pause"),  # a good week does not hide today
        ((0, 0), [(20, 20)] * 5 + [(10, 0)], "go"),  # those have paused by themselves
        ((15, 0), [(10, 10)] * 4, "pause"),  # 40 of 55
        ((0, 0), [], "go"),
    ],
)
def test_small_runs_are_judged_together(
    own: tuple[int, int], before: list[tuple[int, int]], level: str
) -> None:
    """A wrong list that is cut into files of ten rows would be billed to its end: no run of it decides anything by itself."""
    counts = [run(100, *own)] if own != (0, 0) else []
    assert refusals(100, counts, small=small(*before), now=NOW).level == level


def test_who_is_paused_for_small_runs_reads_which() -> None:
    """A run that is paused before its first debit needs the names of those it is paused for."""
    text = refusals(100, [], small=small(*[(4, 4)] * 13), now=NOW).text
    assert text == (
        "52 of 52 debits that were answered in the last small runs of the account were declined or in error (100.0 %): runs 99, 98,"
        " 97, 96, 95, 94, 93, 92, 91, 90 and 3 more."
    )
    own = refusals(100, [run(100, 19, 19)], small=small((18, 18), (15, 15)), now=NOW).text
    assert own.endswith("were declined or in error (100.0 %): runs 99, 98.")


def test_released_small_runs_count_from_there() -> None:
    """Otherwise each of the other parts would be paused for what a person has looked at."""
    seen = [run(99 - place, 10, 10, released_answered=10, released_refused=10) for place in range(9)]
    assert refusals(100, [], small=seen, now=NOW).level == "go"
    assert refusals(100, [run(100, 19, 19)], small=seen, now=NOW).level == "go"


def test_accepted_small_runs_no_longer_pause_the_run() -> None:
    """A resumed run would be paused at once for what a person has just looked at; its own gauge and its upload's must stay."""
    before = small(*[(9, 9)] * 5)
    own = run(100, 5, 0)
    assert refusals(100, [own], small=before, now=NOW).level == "pause"
    accepted = msgspec.structs.replace(own, small_runs_accepted=True)
    assert refusals(100, [accepted], small=before, now=NOW).level == "go"
    # Of another run of the upload it says nothing.
    assert refusals(101, [accepted, run(101, 5, 0)], small=before, now=NOW).level == "pause"
    own = msgspec.structs.replace(accepted, answered=20, refused=20)
    assert refusals(100, [own], small=before, now=NOW).level == "pause"
    upload = run(90, 30, 30, refused_at=NOW)
    assert refusals(100, [upload, accepted], small=before, now=NOW).level == "pause"


@given(st.lists(st.tuples(st.integers(1, 19), st.integers(0, 19)), max_size=30), st.integers(0, 30))
def test_older_runs_never_change_what_the_newest_decide(counts: list[tuple[int, int]], cut: int) -> None:
    """How many rows were read must not change who is paused; and a worse run must not end a pause."""
    before = small(*((answered, min(answered, refused)) for answered, refused in counts))
    whole = small_runs(None, before)
    newest = before[:cut]
    if sum(item.answered for item in newest) >= SMALL_RUNS.counted_min:
        assert small_runs(None, newest) == whole
    worse = [run(item.run_id, item.answered, item.answered) for item in before]
    assert small_runs(None, worse).share >= whole.share
    if whole.level == "pause":
        assert small_runs(None, worse).level == "pause"


def test_a_run_that_decides_by_itself_is_not_small() -> None:
    """A run that is neither small nor has a gauge of its own would be billed to its end."""
    assert is_small(REFUSALS.counted_min - 1)
    assert not is_small(REFUSALS.counted_min)
