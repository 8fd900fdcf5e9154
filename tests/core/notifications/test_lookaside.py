"""The look-aside: Redis is asked where it saves something, and the choice does not swing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.notifications.lookaside import LookasidePolicy, Traffic, observed

POLICY = LookasidePolicy()


def test_new_notifications_go_to_postgres_alone() -> None:
    """A round trip to Redis before every new notification costs a fifth of the CPU, and finds nothing."""
    traffic = Traffic()
    for _ in range(100):
        traffic = observed(traffic, deliveries=50, repeats=0, commit_s=0.003)
        assert not traffic.uses_redis


def test_a_chaos_of_repeats_is_answered_by_redis() -> None:
    """Each repeat that reaches Postgres writes nothing and takes a place in a commit."""
    traffic = Traffic()
    for _ in range(50):
        traffic = observed(traffic, deliveries=50, repeats=45, commit_s=0.003)
    assert traffic.uses_redis
    for _ in range(100):
        traffic = observed(traffic, deliveries=50, repeats=5, commit_s=0.003)
    assert not traffic.uses_redis


def test_a_slow_postgres_is_spared() -> None:
    """While every commit takes long, a repeat that waits for one is answered late for nothing."""
    traffic = Traffic()
    for _ in range(20):
        traffic = observed(traffic, deliveries=1, repeats=0, commit_s=0.4)
    assert traffic.uses_redis
    for _ in range(60):
        traffic = observed(traffic, deliveries=1, repeats=0, commit_s=0.003)
    assert not traffic.uses_redis


@pytest.mark.parametrize("share", [0.26, 0.30, 0.34])
def test_between_the_thresholds_nothing_changes(share: float) -> None:
    """A share that sits at one threshold would switch with every batch, and every switch costs repeats their answer."""
    off, on = Traffic(repeats=share), Traffic(repeats=share, uses_redis=True)
    for _ in range(50):
        off = observed(off, deliveries=100, repeats=round(100 * share), commit_s=0.001)
        on = observed(on, deliveries=100, repeats=round(100 * share), commit_s=0.001)
    assert not off.uses_redis
    assert on.uses_redis


@given(
    st.lists(
        st.tuples(st.integers(0, 256), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 30))), max_size=60
    )
)
def test_what_is_measured_stays_within_its_bounds(batches: list[tuple[int, float, float | None]]) -> None:
    """A share that left 0 to 1 would hold the choice for ever."""
    traffic = Traffic()
    for deliveries, share, commit_s in batches:
        traffic = observed(
            traffic, deliveries=deliveries, repeats=int(deliveries * share), commit_s=commit_s, policy=POLICY
        )
        assert 0 <= traffic.repeats <= 1.000001
        assert 0 <= traffic.commit_s <= 30
