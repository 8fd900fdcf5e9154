"""Odds: an interval around every share, wider for fewer, and nothing said about what was never seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.odds import odds


@given(st.integers(0, 100_000), st.integers(1, 100_000))
def test_the_interval_holds_the_share_and_stays_between_never_and_always(had: int, more: int) -> None:
    """An end below 0 or above 1 is a bug that a report shows to a customer."""
    found = odds(had, of=had + more)
    assert found is not None
    assert 0 <= found.low <= found.share <= found.high <= 1
    assert found.low < found.high


@given(st.integers(1, 500), st.integers(1, 500))
def test_more_of_the_same_says_more(had: int, others: int) -> None:
    """With ten times as many seen, and the same share, the interval is narrower."""
    few, many = odds(had, of=had + others), odds(10 * had, of=10 * (had + others))
    assert few is not None
    assert many is not None
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize(
    ("had", "of", "low", "high"),
    [(0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (1, 2, 0.094531, 0.905469)],
)
def test_known_intervals(had: int, of: int, low: float, high: float) -> None:
    """Against published values of the Wilson interval, so that a slip in the formula is seen."""
    found = odds(had, of=of)
    assert found is not None
    assert (found.low, found.high) == (low, high)


def test_nothing_seen_is_unknown_and_not_never() -> None:
    """0 would say that no debit ever comes back."""
    assert odds(0, of=0) is None
