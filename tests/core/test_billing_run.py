from typing import get_args

import pytest
from tether_core.billing_run import LIFE, SENDING, RunCause, RunState, step
from tether_core.errors import IllegalStep


def test_every_step_is_in_the_table_or_refused() -> None:
    """A step that nobody drew could lead from a cancelled run to one that sends."""
    for state in get_args(RunState):
        for cause in get_args(RunCause):
            if cause in LIFE[state]:
                assert step(state, cause) in get_args(RunState)
            else:
                with pytest.raises(IllegalStep):
                    step(state, cause)


def test_nothing_leads_out_of_cancelled_and_everything_can_be_stopped() -> None:
    """A person who cancels a run relies on it; and a person must be able to, whatever the run is doing."""
    assert not LIFE["cancelled"]
    for state in ("planning", "canary", "running", "paused"):
        assert step(state, "cancelled") == "cancelled"
    for state in SENDING:
        assert step(state, "paused") == "paused"
    assert "paused" not in SENDING


@pytest.mark.parametrize("state", ["planning", "canary", "running"])
def test_a_run_goes_on_where_it_was_paused(state: RunState) -> None:
    """A run paused among its canaries must not send the rest when it is resumed."""
    assert step(step(state, "paused"), "resumed", paused_from=state) == state
