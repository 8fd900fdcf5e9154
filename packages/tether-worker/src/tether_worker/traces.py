"""Forget which traces rows belong to, once no job works on them any more."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger
from tether_stores.traces import parents

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["prune_traces"]

# A run that is capped by the day is submitted over days; collectors keep traces for about as long.
_KEPT_DAYS: Final = 14
_BATCH: Final = 1_000
_log = logger("traces")


def prune_traces(pool: Pool, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """Remove what is older, in batches until none is left; also after traces were switched off."""

    async def prune() -> None:
        before, removed = clock() - timedelta(days=_KEPT_DAYS), 0
        while True:
            async with connection(pool) as conn:
                count = await parents.prune(conn, before=before, limit=_BATCH)
            removed += count
            if count < _BATCH:
                break
        if removed:
            _log.info("traces pruned", rows=removed)

    return PeriodicTask("prune_traces", 3_600, prune)
