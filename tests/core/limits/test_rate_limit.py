import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.limits.rate_limit import Bucket, Limits, Share, divided, empty, limits, take

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
    """The gateway blocks clients that call too fast; every window counts, not only full seconds."""
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


def test_a_bucket_survives_a_trip_through_json() -> None:
    """It is shown by the status command and kept outside of the process."""
    bucket = empty(limits({"billing": 50}), now_s=1.5)
    assert msgspec.json.decode(msgspec.json.encode(bucket), type=Bucket) == bucket
