from datetime import UTC, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import Contradicted, IllegalStep
from tether_core.notifications.inbox import (
    RETRY_SCHEDULE_S,
    TRANSITIONS,
    UNKNOWN_PAYMENT_RETRY_SCHEDULE_S,
    InboxState,
    InboxStep,
    next_attempt,
    step,
)

from tests.support.clock import NOON

STATES: tuple[InboxState, ...] = get_args(InboxState)
STEPS: tuple[InboxStep, ...] = get_args(InboxStep)
jitters = st.floats(0, 1, exclude_max=True)


def test_the_table_is_closed() -> None:
    """A step into a state without a row would raise KeyError in the middle of a batch."""
    assert set(TRANSITIONS) == set(STATES)
    for steps in TRANSITIONS.values():
        assert set(steps) <= set(STEPS)
        assert set(steps.values()) <= set(STATES)
    assert {taken for steps in TRANSITIONS.values() for taken in steps} == set(STEPS)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("taken", STEPS)
def test_steps_are_those_of_the_table_and_no_others(state: InboxState, taken: InboxStep) -> None:
    """A processed notification that could be claimed again would have its effect twice."""
    if taken in TRANSITIONS[state]:
        assert step(state, taken) == TRANSITIONS[state][taken]
    else:
        with pytest.raises(IllegalStep) as caught:
            step(state, taken)
        assert isinstance(caught.value, Contradicted)
        assert (caught.value.state, caught.value.step) == (state, taken)


def test_what_is_processed_or_conflicting_stays_so() -> None:
    """An effect would happen twice, or a contradiction be applied that nobody has looked at."""
    assert TRANSITIONS["processed"] == TRANSITIONS["conflicting"] == {}


def test_nothing_is_stuck() -> None:
    """A state without a way to "processed" or "parked" would keep a notification out of everybody's sight."""
    for start in ("waiting", "confirming", "contradicted", "parked"):
        reached: set[InboxState] = {start}
        for _ in STATES:
            reached |= {after for state in reached for after in TRANSITIONS[state].values()}
        assert {"processed", "parked"} <= reached


def test_the_first_waits_are_ten_thirty_and_sixty_seconds() -> None:
    """The operators' runbooks count on these; most hiccups are over after the first."""
    waits = [next_attempt(failures, now=NOON, jitter=0.5) for failures in (1, 2, 3)]
    assert waits == [NOON + timedelta(seconds=s) for s in (10, 30, 60)]


def test_no_count_of_failures_raises() -> None:
    """A row whose counter was never raised would raise instead of waiting."""
    assert next_attempt(0, now=NOON, jitter=0.5) == NOON + timedelta(seconds=10)
    assert next_attempt(-1, now=NOON, jitter=0.5) == NOON + timedelta(seconds=10)


@pytest.mark.parametrize("retry_schedule_s", [RETRY_SCHEDULE_S, UNKNOWN_PAYMENT_RETRY_SCHEDULE_S])
def test_the_retry_schedule_ends_and_never_before(retry_schedule_s: tuple[int, ...]) -> None:
    """A retry schedule without an end hides a notification for ever; one that ends early parks it for nothing."""
    tries = [
        next_attempt(n, now=NOON, jitter=0.5, retry_schedule_s=retry_schedule_s)
        for n in range(1, len(retry_schedule_s) + 3)
    ]
    assert [each is None for each in tries] == [False] * len(retry_schedule_s) + [True, True]


@given(st.integers(1, len(UNKNOWN_PAYMENT_RETRY_SCHEDULE_S)), jitters)
def test_waits_spread_by_a_tenth(failures: int, jitter: float) -> None:
    """Thousands of rows that failed together would all come back in the same second; or before now, which spins."""
    planned_s = UNKNOWN_PAYMENT_RETRY_SCHEDULE_S[failures - 1]
    at = next_attempt(failures, now=NOON, jitter=jitter, retry_schedule_s=UNKNOWN_PAYMENT_RETRY_SCHEDULE_S)
    assert at is not None
    assert at.tzinfo is UTC
    assert 0.9 * planned_s - 1e-3 <= (at - NOON).total_seconds() <= 1.1 * planned_s


def test_waits_grow_to_a_day() -> None:
    """Waits that shrink hammer a system in trouble; waits beyond a day are forgotten by whoever waits."""
    assert list(RETRY_SCHEDULE_S) == sorted(set(RETRY_SCHEDULE_S))
    assert max(UNKNOWN_PAYMENT_RETRY_SCHEDULE_S) == 86_400


def test_an_unknown_payment_waits_a_fortnight_longer() -> None:
    """A notification that precedes its import by a week would be parked before the import."""
    longer_s = sum(UNKNOWN_PAYMENT_RETRY_SCHEDULE_S) - sum(RETRY_SCHEDULE_S)
    assert timedelta(seconds=longer_s) == timedelta(days=14)
    assert UNKNOWN_PAYMENT_RETRY_SCHEDULE_S[: len(RETRY_SCHEDULE_S)] == RETRY_SCHEDULE_S
