import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.limits.rate_limit import (
    TRANSITIONS,
    Breaker,
    BreakerPolicy,
    Bucket,
    Limits,
    Permit,
    Share,
    admit,
    divided,
    empty,
    limits,
    report,
    take,
)

rates = st.floats(0.5, 200)
accounts = st.builds(
    lambda billing, reconciliation, total, burst: limits(
        {"billing": billing, "reconciliation": reconciliation}, total_per_s=total, burst_s=burst
    ),
    rates,
    rates,
    st.none() | rates,
    st.floats(0.01, 1.0),
)
# (bursts' time since the last question, who asks, how many calls); some clocks jump back. Questions come about as
# fast as calls are granted, or the limits would never be reached.
asked = st.lists(
    st.tuples(
        st.floats(-0.2, 1.0),
        st.sampled_from(["billing", "reconciliation"]),
        st.integers(1, 60),
    ),
    max_size=60,
)
Taken = list[tuple[float, str, int]]


def _capacity(rate: float, shares: Limits) -> float:
    return 1 + rate * shares.burst_s


def _run(shares: Limits, questions: list[tuple[float, str, int]], *, start: float = 1_700_000_000.0) -> Taken:
    bucket, now = empty(shares, now_s=start), start
    taken: Taken = []
    for later, share, wanted in questions:
        now += later * shares.burst_s
        bucket, grant = take(bucket, share=share, wanted=wanted, now_s=now, shares=shares)
        assert 0 <= grant.granted <= wanted
        assert (grant.wait_s > 0) == (grant.granted < wanted)
        taken.append((bucket.at_s, share, grant.granted))
    return taken


def _most(taken: Taken, allowed: float, burst: float) -> None:
    """Over every span between two grants, no more than rate * t + burst."""
    for first in range(len(taken)):
        count = 0
        for at, _, granted in taken[first:]:
            count += granted
            assert count <= allowed * (at - taken[first][0]) + burst + 1e-3


@settings(max_examples=150)
@given(accounts, asked)
def test_no_span_of_time_sees_more_calls_than_its_rate_and_burst(
    shares: Limits, questions: list[tuple[float, str, int]]
) -> None:
    """The gateway blocks whoever calls too fast; every window counts, not only full seconds."""
    taken = _run(shares, questions)
    for share in shares.shares:
        mine = [entry for entry in taken if entry[1] == share.name]
        _most(mine, share.ceiling_per_s, _capacity(share.ceiling_per_s, shares))
    total = sum(share.guaranteed_per_s for share in shares.shares)
    bursts = sum(_capacity(share.guaranteed_per_s, shares) for share in shares.shares)
    _most(taken, total, bursts + _capacity(total, shares))


@settings(max_examples=100)
@given(accounts, st.integers(1, 60), st.integers(1, 300))
def test_a_greedy_share_cannot_starve_the_other(shares: Limits, greed: int, steps: int) -> None:
    """Ten thousand unknown debits being asked about must not stop the billing run, nor the other way round."""
    bucket, now, got = empty(shares, now_s=0.0), 0.0, 0
    modest = shares.shares[1]
    step_s = shares.burst_s
    for _ in range(steps):
        now += step_s
        bucket, _ = take(bucket, share="billing", wanted=greed, now_s=now, shares=shares)
        bucket, grant = take(bucket, share=modest.name, wanted=1000, now_s=now, shares=shares)
        got += grant.granted
    assert got >= math.floor(modest.guaranteed_per_s * now - 1e-3) - 1


def test_what_one_leaves_the_other_may_use_up_to_its_own_limit() -> None:
    """With nothing to reconcile, a night's billing should not take a third longer than the gateway allows."""
    shares = limits({"billing": 50, "reconciliation": 20}, total_per_s=50)
    bucket, now, got = empty(shares, now_s=0.0), 0.0, 0
    while now < 100:
        bucket, grant = take(bucket, share="billing", wanted=5, now_s=now, shares=shares)
        got += grant.granted
        now += 0.05
    assert got == pytest.approx(50 * 100, rel=0.01)
    # The other way, the ceiling of its own holds, however much is left.
    bucket, now, got = empty(shares, now_s=0.0), 0.0, 0
    while now < 100:
        bucket, grant = take(bucket, share="reconciliation", wanted=5, now_s=now, shares=shares)
        got += grant.granted
        now += 0.05
    assert got == pytest.approx(20 * 100, rel=0.01)


@settings(max_examples=100)
@given(accounts, st.sampled_from(["billing", "reconciliation"]))
def test_waiting_as_told_is_enough(shares: Limits, share: str) -> None:
    """A wait that is too short spins; a wait that is never enough hangs the run."""
    bucket = empty(shares, now_s=0.0)
    now = 0.0
    for _ in range(20):
        bucket, grant = take(bucket, share=share, wanted=1, now_s=now, shares=shares)
        if not grant.granted:
            now += grant.wait_s + 1e-6
            bucket, grant = take(bucket, share=share, wanted=1, now_s=now, shares=shares)
            assert grant.granted == 1


def test_two_greedy_shares_get_the_total_and_no_more() -> None:
    """What is lent must have been left by somebody; lent twice, the account's limit is broken every second."""
    shares = limits({"billing": 50, "reconciliation": 20}, total_per_s=35)
    bucket, now = empty(shares, now_s=0.0), 0.0
    got = {"billing": 0, "reconciliation": 0}
    while now < 100:
        for name in got:
            bucket, grant = take(bucket, share=name, wanted=10, now_s=now, shares=shares)
            got[name] += grant.granted
        now += 0.02
    assert got["billing"] == pytest.approx(25 * 100, rel=0.01)
    assert got["reconciliation"] == pytest.approx(10 * 100, rel=0.01)
    # And with one of them asking now and then, the other gets what is left, within the total.
    bucket, now, total = empty(shares, now_s=0.0), 0.0, 0
    for step in range(5000):
        now += 0.02
        for name in ("billing", "reconciliation") if step % 40 == 0 else ("billing",):
            bucket, grant = take(bucket, share=name, wanted=10, now_s=now, shares=shares)
            total += grant.granted
    assert total == pytest.approx(35 * 100, rel=0.01)


def test_the_rate_is_reached_within_two_percent_by_two_callers() -> None:
    """Two worker processes that share the state must together run at the rate, not at half of it."""
    shares = limits({"billing": 50, "reconciliation": 20})
    bucket = empty(shares, now_s=0.0)
    wakes = [0.0, 0.003]
    calls = list[float]()
    while min(wakes) < 30:
        who = wakes.index(min(wakes))
        now = wakes[who]
        bucket, grant = take(bucket, share="billing", wanted=5, now_s=now, shares=shares)
        calls += [now] * grant.granted
        wakes[who] = now + max(grant.wait_s, 0.001)
    for begin in range(20):
        within = sum(begin <= call < begin + 10 for call in calls)
        assert within == pytest.approx(500, rel=0.02)


def test_a_lost_state_grants_nothing_extra() -> None:
    """Redis may be flushed at any time; a fresh bucket that starts full would double the rate each time."""
    shares = limits({"billing": 50})
    for _ in range(100):
        _, grant = take(empty(shares, now_s=7.0), share="billing", wanted=50, now_s=7.0, shares=shares)
        assert grant.granted == 0


@given(accounts, st.integers(1, 16))
def test_the_parts_of_all_nodes_stay_within_the_whole(shares: Limits, nodes: int) -> None:
    """With Redis gone each node is on its own, and together they must not exceed the account's limit."""
    part = divided(shares, by=nodes)
    for whole, mine in zip(shares.shares, part.shares, strict=True):
        assert mine.ceiling_per_s * nodes <= whole.ceiling_per_s * (1 + 1e-9)
        assert mine.guaranteed_per_s * nodes <= whole.guaranteed_per_s * (1 + 1e-9)


@pytest.mark.parametrize(
    ("shares", "total"),
    [
        ({}, None),
        ({"billing": 0}, None),
        ({"billing": -1}, None),
        ({"billing": math.inf}, None),
        ({"billing": math.nan}, None),
        ({"billing": 1}, 0.0),
    ],
)
def test_there_is_no_unlimited(shares: dict[str, float], total: float | None) -> None:
    """A setting of 0 or nothing must stop the start, not lift the limit."""
    with pytest.raises(InvalidRequest):
        limits(shares, total_per_s=total)
    with pytest.raises(InvalidRequest):
        divided(limits({"billing": 1}), by=0)


def test_the_arithmetic_of_the_docstring_is_the_arithmetic() -> None:
    """The Redis script is written from it; where they differ, two nodes count differently."""
    shares = Limits((Share("a", 30.0, 50.0), Share("b", 10.0, 20.0)), 0.1)
    bucket = empty(shares, now_s=0.0)
    own, ceiling, pool, at = [0.0, 0.0], [0.0, 0.0], 0.0, 0.0
    for step, (now, who, wanted) in enumerate(
        [(0.05, 0, 9), (0.4, 1, 1), (0.41, 0, 3), (0.3, 0, 9), (2.0, 1, 9)] * 3
    ):
        now += step // 5 * 2.0  # noqa: PLW2901 - the same questions, later
        passed = max(0.0, now - at)
        at = max(at, now)
        spilled = 0.0
        for place, share in enumerate(shares.shares):
            filled = own[place] + share.guaranteed_per_s * passed
            own[place] = min(filled, 1 + share.guaranteed_per_s * 0.1)
            spilled += filled - own[place]
            ceiling[place] = min(ceiling[place] + share.ceiling_per_s * passed, 1 + share.ceiling_per_s * 0.1)
        pool = min(pool + spilled, 1 + 40.0 * 0.1)
        granted = min(wanted, math.floor(min(ceiling[who], own[who] + pool) + 1e-9))
        ceiling[who] -= granted
        from_own = min(own[who], granted)
        own[who] -= from_own
        pool = max(0.0, pool - (granted - from_own))
        bucket, grant = take(bucket, share="ab"[who], wanted=wanted, now_s=now, shares=shares)
        assert grant.granted == granted
        assert bucket.pool == pytest.approx(pool)
        assert [level.own for level in bucket.levels] == pytest.approx(own)
        assert [level.ceiling for level in bucket.levels] == pytest.approx(ceiling)


def test_states_survive_a_trip_through_json() -> None:
    """They are shown by the status command and kept outside of the process."""
    bucket = empty(limits({"billing": 50}), now_s=1.5)
    assert msgspec.json.decode(msgspec.json.encode(bucket), type=Bucket) == bucket
    assert msgspec.json.decode(msgspec.json.encode(Breaker()), type=Breaker) == Breaker()


# --- the breaker -----------------------------------------------------------------------------------------------------

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
    """A gateway that is down gets worse by being called; the wait told must be the wait meant."""
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
    """Whatever order questions and reports come in, the state changes only as drawn, and never gets stuck."""
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
    """Probes are one at a time within their timeout, whatever became of those before."""
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
