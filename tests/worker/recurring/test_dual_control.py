"""Dual control of collection plans: a day above the limit waits for a second person."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tether_worker.recurring.collection import order_due
from tether_worker.recurring.due_items import make_due

if TYPE_CHECKING:
    from tests.worker.recurring.conftest import Series

_RUNS = "select state, awaits_release, released_by, pause_reason, planned_count from billing_runs order by id"


async def _tick(series: Series, *, limit_minor: int) -> int:
    while await make_due(series.pool, now=series.clock.now):
        pass
    return await order_due(series.pool, now=series.clock.now, dual_control_minor=limit_minor)


async def _release(series: Series) -> None:
    await series.conn.execute(
        "update billing_runs set state = 'running', paused_from = null, pause_reason = null, awaits_release = false, released_by = 'bob'"
    )


async def test_a_large_day_waits_and_a_release_holds_for_what_was_ordered(series: Series) -> None:
    """Debits of 10.00, 10.01 and 10.02, two a day: who enrolled them must not collect 20.01 alone, nor the rest under an old release."""
    await series.begin(debtors=3, day_count_max=2)
    assert await _tick(series, limit_minor=1_001) == 2
    [(state, awaits, _, reason, count)] = await series.rows(_RUNS)
    assert (state, awaits, count) == ("paused", True, 2)
    assert reason == "20.01 EUR is above the limit of 10.01 EUR: a second person must release it."
    await _release(series)
    series.clock.now += timedelta(days=1)
    assert await _tick(series, limit_minor=1_001) == 1
    [(state, awaits, released_by, reason, count)] = await series.rows(_RUNS)
    assert (state, awaits, released_by, count) == ("paused", True, None, 3)
    assert reason == "10.02 EUR is above the limit of 10.01 EUR: a second person must release it."


async def test_parts_of_a_day_are_added_up(series: Series) -> None:
    """Due dates on one bank's day make several runs; each alone is below the limit, and the last one goes above it."""
    first, second = await series.begin(debtors=2)
    # A Saturday and a Sunday, both collected on Monday.
    for schedule_id, day in ((first, "2026-06-06"), (second, "2026-06-07")):
        await series.conn.execute(
            "update collection_schedules set first_due_on = %s::date, make_on = %s::date where id = %s",
            (day, day, schedule_id),
        )
    series.clock.now += timedelta(days=7)
    assert await _tick(series, limit_minor=2_000) == 2
    runs = await series.rows(_RUNS)
    assert sorted((state, awaits) for state, awaits, *_ in runs) == [("paused", True), ("running", False)]


async def test_a_day_within_the_limit_and_a_pause_of_another_cause(series: Series) -> None:
    """The limit itself needs nobody; a run that is paused already keeps its reason, and still needs the second person."""
    await series.begin(debtors=3, day_count_max=2)
    assert await _tick(series, limit_minor=2_001) == 2
    [(state, awaits, *_)] = await series.rows(_RUNS)
    assert (state, awaits) == ("running", False)
    await series.conn.execute(
        "update billing_runs set state = 'paused', paused_from = 'running', pause_reason = 'too many returns'"
    )
    series.clock.now += timedelta(days=1)
    assert await _tick(series, limit_minor=1_000) == 1
    [(state, awaits, _, reason, _)] = await series.rows(_RUNS)
    assert (state, awaits, reason) == ("paused", True, "too many returns")
