"""A gateway that asks for fewer requests: slower for all, never for ever, and never stopped."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.limits.rate_limit import empty, limits, take
from tether_core.limits.throttle import Throttle, ThrottlePolicy, lowered, part, wait_s

POLICY = ThrottlePolicy()
SHARED = limits({"billing": 50, "reconciliation": 20}, total_per_s=50)


def test_nothing_is_called_while_the_gateway_wants_to_be_left_alone() -> None:
    """Requests within the time of Retry-After are refused again, and each may cost a debit a quarter of an hour."""
    throttle = lowered(Throttle(), requested_s=10, now_s=100.0)
    for now_s in (100.0, 105.0, 109.999):
        assert part(throttle, now_s=now_s) == 0.0
        bucket, grant = take(
            empty(SHARED, now_s=0.0), share="billing", wanted=5, now_s=now_s, shares=SHARED, throttle=throttle
        )
        assert grant.granted == 0
        assert grant.wait_s == pytest.approx(110 - now_s)
        assert bucket.at_s == now_s  # what is not used in a pause is not saved up
    assert part(throttle, now_s=110.0) == 0.5


def test_calls_under_way_lower_the_rate_once() -> None:
    """Sixty-four answers to one burst would leave nothing of the rate."""
    throttle = lowered(Throttle(), requested_s=1, now_s=100.0)
    for number in range(64):
        throttle = lowered(throttle, requested_s=1, now_s=100.0 + number / 100)
    assert throttle.part == 0.5
    assert throttle.until_s == pytest.approx(101.63)


def test_without_a_time_each_pause_is_longer() -> None:
    """A gateway that refuses everything must not be asked once a second for a day."""
    throttle, now_s, pauses = Throttle(), 0.0, []
    for _ in range(10):
        throttle = lowered(throttle, requested_s=0, now_s=now_s)
        pauses.append(throttle.until_s - now_s)
        now_s = throttle.until_s
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert pauses[-1] == pytest.approx(16.0)
    assert throttle.part == POLICY.part_min


def test_the_rate_recovers_by_itself() -> None:
    """A gateway that was throttled at noon must not be billed slowly at night."""
    throttle = Throttle(POLICY.part_min, 1_000.0)
    assert part(throttle, now_s=1_300.0) == pytest.approx(0.5 + POLICY.part_min)
    assert part(throttle, now_s=1_000.0 + POLICY.recover_s) == 1.0


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 2_000), st.one_of(st.floats(0, 1e12), st.just(math.inf))), max_size=60
    )
)
def test_the_part_and_the_pause_are_bounded(steps: list[tuple[float, float]]) -> None:
    """With any header, no account is paused for more than five minutes, and none is faster than its rate."""
    throttle, now_s = Throttle(), 1_700_000_000.0
    for passed_s, requested_s in steps:
        now_s += passed_s
        throttle = lowered(throttle, requested_s=requested_s, now_s=now_s)
        assert POLICY.part_min <= throttle.part <= 1.0
        assert 0.0 < wait_s(throttle, now_s=now_s) <= POLICY.pause_max_s + 1e-6
        assert part(throttle, now_s=now_s + POLICY.pause_max_s + POLICY.recover_s + 1) == 1.0


def test_a_clock_that_is_set_back_ends_a_pause() -> None:
    """A Redis whose clock goes back an hour would stop billing for an hour."""
    throttle = lowered(Throttle(), requested_s=60, now_s=10_000.0)
    assert wait_s(throttle, now_s=6_400.0) == 0.0
    assert part(throttle, now_s=6_400.0) == 0.5


def test_a_slower_gateway_gets_its_own_rate() -> None:
    """Ten calls a second of fifty: a few refusals a minute find that rate, and nothing starves meanwhile."""
    bucket, throttle, now_s = empty(SHARED, now_s=0.0), Throttle(), 0.0
    taken, refused, recent = 0, 0, list[float]()
    while now_s < 300:
        now_s += 0.02
        bucket, grant = take(bucket, share="billing", wanted=8, now_s=now_s, shares=SHARED, throttle=throttle)
        for _ in range(grant.granted):
            recent = [at_s for at_s in recent if at_s > now_s - 1]
            if len(recent) < 10:
                recent.append(now_s)
                taken += 1
            else:
                refused += 1
                throttle = lowered(throttle, requested_s=1.0, now_s=now_s)
    assert taken > 300 * 5
    assert refused < 60
