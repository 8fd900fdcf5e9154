from typing import get_args

import pytest
from tether_core.errors import Contradicted, IllegalStep
from tether_core.notifications.inbox import (
    TRANSITIONS,
    InboxState,
    InboxStep,
    step,
)

STATES: tuple[InboxState, ...] = get_args(InboxState)
STEPS: tuple[InboxStep, ...] = get_args(InboxStep)


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
