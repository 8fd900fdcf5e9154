"""Old results of orders go, young ones stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tether_core.order_keys import KEPT_DAYS
from tether_worker.order_keys import prune_order_keys

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


async def test_results_are_kept_for_as_long_as_was_promised(pool: Pool, conn: Connection) -> None:
    """One that goes early lets a late repetition order again; ones that never go fill the disk."""
    old, young = NOW - timedelta(days=KEPT_DAYS, seconds=1), NOW - timedelta(days=KEPT_DAYS)
    await conn.execute(
        "insert into order_keys (holder, key, request, status, location, body, created_at)"
        " select 'tests', n::text, '', 202, '', '', case when n <= 2500 then %s else %s end::timestamptz"
        " from generate_series(1, 2600) n",
        (old, young),
    )
    periodic_task = prune_order_keys(pool, clock=lambda: NOW)
    await periodic_task.do()
    cursor = await conn.execute("select count(*), min(created_at) from order_keys")
    assert await cursor.fetchone() == (100, young)
    await periodic_task.do()
    cursor = await conn.execute("select count(*) from order_keys")
    assert await cursor.fetchone() == (100,)
