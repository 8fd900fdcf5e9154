from typing import get_args

import pytest
from tether_core.billing.run import SUBMITTING, TRANSITIONS, Ordered, RunCause, RunState, require_new, step
from tether_core.errors import IllegalStep, OrderedBefore


def test_every_step_is_in_the_table_or_refused() -> None:
    """A step that nobody drew could lead from a cancelled run to one that sends."""
    for state in get_args(RunState):
        for cause in get_args(RunCause):
            if cause in TRANSITIONS[state]:
                assert step(state, cause) in get_args(RunState)
            else:
                with pytest.raises(IllegalStep):
                    step(state, cause)


def test_nothing_leads_out_of_cancelled_and_everything_can_be_stopped() -> None:
    """A person must be able to cancel a run in any state, and can rely on it."""
    assert not TRANSITIONS["cancelled"]
    for state in ("planning", "canary", "running", "paused"):
        assert step(state, "cancelled") == "cancelled"
    for state in SUBMITTING:
        assert step(state, "paused") == "paused"
    assert "paused" not in SUBMITTING


@pytest.mark.parametrize("state", ["planning", "canary", "running"])
def test_a_run_goes_on_where_it_was_paused(state: RunState) -> None:
    """A run paused among its canaries must not send the rest when it is resumed."""
    assert step(step(state, "paused"), "resumed", paused_from=state) == state


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("state", ["planning", "canary", "running", "paused"])
def test_nothing_is_ordered_beside_a_run_that_is_not_over(state: RunState, *, again: bool) -> None:
    """A person who presses the button twice, or two people at once, would bill what the first run has not reached yet."""
    with pytest.raises(OrderedBefore, match=rf"run 7 .* not over .{state}.*cancel") as caught:
        require_new([Ordered(7, "2026-03", state, submitted=True)], due_item="2026-03", again=again)
    assert caught.value.run_id == 7


@pytest.mark.parametrize("state", ["finished", "cancelled"])
def test_an_order_that_comes_again_must_say_so(state: RunState) -> None:
    """Nothing else distinguishes a repeated request from a second order, which would debit refused accounts again."""
    before = [Ordered(7, "2026-03", state, submitted=True)]
    with pytest.raises(OrderedBefore, match="again: true"):
        require_new(before, due_item="2026-03", again=False)
    require_new(before, due_item="2026-03", again=True)
    require_new(before, due_item="2026-04", again=False)


def test_a_run_that_submitted_nothing_is_no_run_before() -> None:
    """After a wrong order was cancelled in time, the right one must be accepted without `again`."""
    require_new([Ordered(7, "once", "cancelled", submitted=False)], due_item="once", again=False)


@pytest.mark.parametrize("again", [False, True])
def test_the_same_item_in_another_spelling_is_refused(*, again: bool) -> None:
    """`2026-3` after `2026-03` would collect March twice from everybody."""
    with pytest.raises(OrderedBefore, match=r"2026-03.*reads like 2026-3"):
        require_new([Ordered(7, "2026-03", "finished", submitted=True)], due_item="2026-3", again=again)


def test_the_run_that_is_not_over_is_named_first() -> None:
    """The person is sent to the run that stands in the way, not to one of last month."""
    ordered = [
        Ordered(9, "once", "finished", submitted=True),
        Ordered(8, "once", "paused", submitted=True),
        Ordered(7, "once", "finished", submitted=True),
    ]
    with pytest.raises(OrderedBefore) as caught:
        require_new(ordered, due_item="once", again=True)
    assert caught.value.run_id == 8
