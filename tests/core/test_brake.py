import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.brake import CANARIES, REFUSALS, RETURNS, STEP, Counts, look, looks, worst
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
    shown = look(RETURNS, counted=counted, bad=bad)
    assert shown.level == level
    assert bool(shown.text) == (level != "go")


def test_canaries_speak_even_when_they_are_few() -> None:
    """Three canaries of which three are refused are all the warning there is."""
    assert look(CANARIES, counted=3, bad=3).level == "pause"
    assert look(CANARIES, counted=3, bad=0).level == "go"
    assert look(CANARIES, counted=0, bad=0).level == "go"
    assert look(REFUSALS, counted=3, bad=3).level == "go"


def test_a_released_brake_acts_again_only_when_it_got_worse() -> None:
    """Else a run that a person resumed stops at once, and people learn to switch the brake off."""
    assert look(RETURNS, counted=100, bad=40).level == "pause"
    assert look(RETURNS, counted=100, bad=40, released_share=0.4).level == "warn"
    assert look(RETURNS, counted=100, bad=44, released_share=0.4).level == "warn"
    assert look(RETURNS, counted=100, bad=45, released_share=0.4).level == "pause"
    assert look(RETURNS, counted=100, bad=10, released_share=0.4).level == "go"


@given(counted=st.integers(0, 500), share=st.floats(0, 1), released=st.floats(0, 1))
def test_more_bad_debits_never_brake_less(counted: int, share: float, released: float) -> None:
    """A gauge that falls while things get worse brakes the good runs and lets the bad ones through."""
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
    for place in range(4):
        counts = Counts(*(((100, 60) if other == place else fine) for other in range(4)))
        assert [one.level for one in looks(counts)].index("pause") == place
        assert worst(looks(counts, released_share=0.6)).level == "warn"
