import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tether_core.limits.circuit_breaker import TRANSITIONS, Breaker, BreakerPolicy, Permit, admit, report

POLICY = BreakerPolicy(
    window_s=10, calls_min=4, failure_share=0.5, open_s=5, open_max_s=20, probe_timeout_s=3, probes_to_close=2
)


def _opened(now: float = 0.0) -> Breaker:
    breaker, permit = admit(Breaker(), now_s=now, policy=POLICY)
    for _ in range(4):
        breaker = report(breaker, permit, failed=True, now_s=now, policy=POLICY)
    assert breaker.state == "open"
    return breaker


def _probe(breaker: Breaker, *, now: float, failed: bool) -> Breaker:
    breaker, permit = admit(breaker, now_s=now, policy=POLICY)
    assert permit.go
    return report(breaker, permit, failed=failed, now_s=now, policy=POLICY)


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        ("FFF", "closed"),  # too few to say anything
        ("FFFF", "open"),
        ("OOFF", "open"),  # half of them
        ("OOOFF", "closed"),
        ("OOOFFF", "open"),
        ("OOOOOOOO", "closed"),
    ],
)
def test_opens_at_the_share_of_failures_and_not_before(ends: str, state: str) -> None:
    """Opening on a single hiccup stops a night's billing; never opening buries a gateway that is down."""
    breaker, permit = admit(Breaker(), now_s=0.0, policy=POLICY)
    for end in ends:
        breaker = report(breaker, permit, failed=end == "F", now_s=1.0, policy=POLICY)
    assert breaker.state == state


@pytest.mark.parametrize(
    ("later", "state"), [(4.0, "open"), (9.0, "open"), (10.0, "closed"), (60.0, "closed")]
)
def test_old_failures_leave_the_window(later: float, state: str) -> None:
    """Three failures this morning and one now are no outage."""
    breaker, permit = admit(Breaker(), now_s=0.0, policy=POLICY)
    for _ in range(3):
        breaker = report(breaker, permit, failed=True, now_s=0.0, policy=POLICY)
    assert report(breaker, permit, failed=True, now_s=later, policy=POLICY).state == state


def test_open_lets_nothing_through_until_its_time_is_up() -> None:
    """A gateway that is down gets worse by being called; the returned wait must be the real one."""
    breaker = _opened()
    for now in (0.0, 1.0, 4.999):
        breaker, permit = admit(breaker, now_s=now, policy=POLICY)
        assert not permit.go
        assert permit.wait_s == pytest.approx(5 - now)
    breaker, permit = admit(breaker, now_s=5.0, policy=POLICY)
    assert permit.go
    assert breaker.state == "half_open"


def test_half_open_lets_one_through_at_a_time() -> None:
    """A hundred workers that all probe at once are no probe."""
    breaker, probe = admit(_opened(), now_s=5.0, policy=POLICY)
    answers = list[Permit]()
    for _ in range(10):
        breaker, permit = admit(breaker, now_s=5.5, policy=POLICY)
        answers.append(permit)
    assert not any(permit.go for permit in answers)
    breaker = report(breaker, probe, failed=False, now_s=6.0, policy=POLICY)
    assert breaker.state == "half_open"
    assert _probe(breaker, now=6.0, failed=False).state == "closed"


def test_a_probe_that_nobody_makes_is_refunded() -> None:
    """A run that has reached its day's limit would take each probe and make none, and the breaker never close."""
    breaker, unused = admit(_opened(), now_s=5.0, policy=POLICY)
    breaker = report(breaker, unused, failed=None, now_s=5.1, policy=POLICY)
    assert (breaker.state, breaker.probes_passed) == ("half_open", 0)
    breaker, permit = admit(breaker, now_s=5.2, policy=POLICY)
    assert permit.go


def test_a_probe_that_never_reports_is_given_up() -> None:
    """The worker with the probe may be killed; the breaker must not stay half open for ever."""
    breaker, lost = admit(_opened(), now_s=5.0, policy=POLICY)
    breaker, permit = admit(breaker, now_s=7.9, policy=POLICY)
    assert not permit.go
    assert permit.wait_s == pytest.approx(0.1)
    breaker, permit = admit(breaker, now_s=8.0, policy=POLICY)
    assert permit.go
    assert lost.go


def test_each_failed_probe_doubles_the_wait_up_to_a_bound() -> None:
    """An outage of hours should see few probes, and its end should be noticed within minutes."""
    breaker, now, waits = _opened(), 0.0, list[float]()
    for _ in range(4):
        waits.append(breaker.open_until_s - now)
        now = breaker.open_until_s
        breaker = _probe(breaker, now=now, failed=True)
    assert waits == [5, 10, 20, 20]
    now = breaker.open_until_s
    breaker = _probe(_probe(breaker, now=now, failed=False), now=now, failed=False)
    assert (breaker.state, breaker.opened_in_row) == ("closed", 0)


def test_calls_from_before_the_opening_count_for_nothing() -> None:
    """Fifty calls time out after the breaker opened; they must not fail the probe, nor pass it."""
    breaker, early = admit(Breaker(), now_s=0.0, policy=POLICY)
    for _ in range(4):
        breaker = report(breaker, early, failed=True, now_s=0.0, policy=POLICY)
    breaker, _ = admit(breaker, now_s=5.0, policy=POLICY)
    assert breaker.state == "half_open"
    for failed in (True, False, False):
        assert report(breaker, early, failed=failed, now_s=5.0, policy=POLICY) == breaker


steps = st.lists(
    st.tuples(st.floats(0, 8), st.sampled_from(["ask", "ok", "fail"]), st.integers(0, 5)), max_size=80
)


@settings(max_examples=300)
@given(steps)
def test_every_walk_stays_on_the_table(walk: list[tuple[float, str, int]]) -> None:
    """With any order of permits and reports, the state changes only as in the diagram, and never gets stuck."""
    breaker, now = Breaker(), 0.0
    permits = list[Permit]()
    for later, what, which in walk:
        now += later
        before = breaker
        if what == "ask":
            breaker, permit = admit(breaker, now_s=now, policy=POLICY)
            assert permit.go == (permit.wait_s == 0)
            permits.append(permit)
        elif permits:
            permit = permits[-1 - which % len(permits)]
            breaker = report(breaker, permit, failed=what == "fail", now_s=now, policy=POLICY)
        changes = breaker.generation - before.generation
        assert changes in {0, 1}
        if changes:
            assert breaker.state in TRANSITIONS[before.state].values()
        else:
            assert breaker.state == before.state
    # From anywhere, a gateway that answers is called again in the end.
    for _ in range(3):
        now += 1000
        breaker, permit = admit(breaker, now_s=now, policy=POLICY)
        assert permit.go
        breaker = report(breaker, permit, failed=False, now_s=now, policy=POLICY)
    assert breaker.state == "closed"


@settings(max_examples=100)
@given(st.lists(st.booleans(), max_size=60))
def test_half_open_never_has_two_probes_under_way(reported: list[bool]) -> None:
    """Probes are one at a time within their timeout, with any result of those before."""
    breaker, now = _opened(), 5.0
    under_way_since = -math.inf
    for outcome in reported:
        breaker, permit = admit(breaker, now_s=now, policy=POLICY)
        if breaker.state == "half_open":
            # Refused exactly while an earlier probe is under way.
            assert permit.go == (now - under_way_since >= POLICY.probe_timeout_s)
            if permit.go:
                under_way_since = now
            if permit.go and outcome:
                breaker = report(breaker, permit, failed=False, now_s=now, policy=POLICY)
                under_way_since = -math.inf
        now += 0.7


def test_a_breaker_survives_a_trip_through_json() -> None:
    """It is kept outside of the process."""
    assert msgspec.json.decode(msgspec.json.encode(Breaker()), type=Breaker) == Breaker()
