from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import Contradicted, IllegalStep
from tether_core.notifications.inbox import (
    LADDER_S,
    LADDER_UNKNOWN_PAYMENT_S,
    LIFE,
    InboxState,
    InboxStep,
    next_attempt,
    step,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
STATES: tuple[InboxState, ...] = get_args(InboxState)
STEPS: tuple[InboxStep, ...] = get_args(InboxStep)
jitters = st.floats(0, 1, exclude_max=True)


def test_the_table_is_closed() -> None:
    """A step into a state without a row would raise KeyError in the middle of a batch."""
    assert set(LIFE) == set(STATES)
    for steps in LIFE.values():
        assert set(steps) <= set(STEPS)
        assert set(steps.values()) <= set(STATES)
    assert {taken for steps in LIFE.values() for taken in steps} == set(STEPS)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("taken", STEPS)
def test_steps_are_those_of_the_table_and_no_others(state: InboxState, taken: InboxStep) -> None:
    """A processed notification that could be claimed again would have its effect twice."""
    if taken in LIFE[state]:
        assert step(state, taken) == LIFE[state][taken]
    else:
        with pytest.raises(IllegalStep) as caught:
            step(state, taken)
        assert isinstance(caught.value, Contradicted)
        assert (caught.value.state, caught.value.step) == (state, taken)


def test_what_is_processed_or_conflicting_stays_so() -> None:
    """An effect would happen twice, or a contradiction be applied that nobody has looked at."""
    assert LIFE["processed"] == LIFE["conflicting"] == {}


def test_nothing_is_stuck() -> None:
    """A state without a way to "processed" or "parked" would keep a notification out of everybody's sight."""
    for start in ("waiting", "confirming", "contradicted", "parked"):
        reached: set[InboxState] = {start}
        for _ in STATES:
            reached |= {after for state in reached for after in LIFE[state].values()}
        assert {"processed", "parked"} <= reached


def test_the_first_waits_are_ten_thirty_and_sixty_seconds() -> None:
    """The operators' runbooks count on these; most hiccups are over after the first."""
    waits = [next_attempt(failures, now=NOON, jitter=0.5) for failures in (1, 2, 3)]
    assert waits == [NOON + timedelta(seconds=s) for s in (10, 30, 60)]


def test_no_count_of_failures_raises() -> None:
    """A row whose counter was never raised would raise instead of waiting."""
    assert next_attempt(0, now=NOON, jitter=0.5) == NOON + timedelta(seconds=10)
    assert next_attempt(-1, now=NOON, jitter=0.5) == NOON + timedelta(seconds=10)


@pytest.mark.parametrize("ladder_s", [LADDER_S, LADDER_UNKNOWN_PAYMENT_S])
def test_the_ladder_ends_and_never_before(ladder_s: tuple[int, ...]) -> None:
    """A ladder without an end hides a notification for ever; one that ends early parks it for nothing."""
    tries = [next_attempt(n, now=NOON, jitter=0.5, ladder_s=ladder_s) for n in range(1, len(ladder_s) + 3)]
    assert [each is None for each in tries] == [False] * len(ladder_s) + [True, True]


@given(st.integers(1, len(LADDER_UNKNOWN_PAYMENT_S)), jitters)
def test_waits_spread_by_a_tenth(failures: int, jitter: float) -> None:
    """Thousands of rows that failed together would all come back in the same second; or before now, which spins."""
    planned_s = LADDER_UNKNOWN_PAYMENT_S[failures - 1]
    at = next_attempt(failures, now=NOON, jitter=jitter, ladder_s=LADDER_UNKNOWN_PAYMENT_S)
    assert at is not None
    assert at.tzinfo is UTC
    assert 0.9 * planned_s - 1e-3 <= (at - NOON).total_seconds() <= 1.1 * planned_s


def test_waits_grow_to_a_day() -> None:
    """Waits that shrink hammer a system in trouble; waits beyond a day are forgotten by whoever waits."""
    assert list(LADDER_S) == sorted(set(LADDER_S))
    assert max(LADDER_UNKNOWN_PAYMENT_S) == 86_400


def test_an_unknown_payment_waits_a_fortnight_longer() -> None:
    """A notification that precedes its import by a week would be parked before the import."""
    longer_s = sum(LADDER_UNKNOWN_PAYMENT_S) - sum(LADDER_S)
    assert timedelta(seconds=longer_s) == timedelta(days=14)
    assert LADDER_UNKNOWN_PAYMENT_S[: len(LADDER_S)] == LADDER_S
