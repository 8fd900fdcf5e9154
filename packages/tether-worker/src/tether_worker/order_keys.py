"""Remove the results of old orders, after their retention time."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from tether_core.order_keys import KEPT_DAYS
from tether_stores import order_keys
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["prune_order_keys"]

# Small enough to delay no other transaction. A table that grew for years is emptied by some hundred batches an hour.
_BATCH: Final = 1_000
_log = logger("order_keys")


def prune_order_keys(pool: Pool, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """Remove results that are older than any repeated order, in batches until none is left."""

    async def prune() -> None:
        before, removed = clock() - timedelta(days=KEPT_DAYS), 0
        while True:
            async with connection(pool) as conn:
                count = await order_keys.prune(conn, before=before, limit=_BATCH)
            removed += count
            if count < _BATCH:
                break
        if removed:
            _log.info("order keys pruned", rows=removed)

    return PeriodicTask("prune_order_keys", 600, prune)
