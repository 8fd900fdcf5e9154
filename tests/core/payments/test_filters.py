"""Ranges of filters that nothing can fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tether_core.errors import InvalidRequest
from tether_core.payments import filters

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_a_range_that_nothing_fits_is_refused() -> None:
    """An empty list would say that there are no such debits."""
    for wrong in (
        filters.AttemptFilters(account="default", amount_min_minor=2, amount_max_minor=1),
        filters.AttemptFilters(account="default", created_from=NOON, created_to=NOON - timedelta(days=1)),
    ):
        with pytest.raises(InvalidRequest, match="nothing fits"):
            filters.led_by(wrong)
