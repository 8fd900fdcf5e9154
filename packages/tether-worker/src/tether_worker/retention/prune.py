"""Remove old files, problems, orders, and debtors that never had a debit, in small batches."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

from tether_core.retention.periods import Periods
from tether_stores import objects
from tether_stores.objects import Objects
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.retention import pruning
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["prune_old_debtors", "prune_old_orders", "prune_old_uploads"]

_UPLOADS: Final = 100
_PROBLEMS: Final = 1_000
_DEBTORS: Final = 500
_ORDERS: Final = 1_000
_PAGES_MAX: Final = 200
_PAUSE_S: Final = 0.02
_EVERY_S: Final = 600.0

_log = logger("retention")


def prune_old_uploads(
    pool: Pool, store: Objects, *, periods: Periods, clock: Callable[[], datetime]
) -> PeriodicTask:
    """Remove the files and the problems of old uploads; the uploads stay, with their counts."""

    async def files() -> int:
        now = clock()
        async with connection(pool) as conn:
            old = await pruning.old_files(conn, before=periods.before("files", now=now), limit=_UPLOADS)
        for file in old:
            # A worker that dies between the two removes the file once more.
            await objects.delete(store, file.object_key)
            async with connection(pool) as conn:
                await pruning.file_removed(conn, file.id, now=now)
        return len(old)

    async def problems() -> int:
        now, done = clock(), 0
        async with connection(pool) as conn:
            old = await pruning.old_problems(conn, before=periods.before("problems", now=now), limit=_UPLOADS)
        for upload_id in old:
            count = _PROBLEMS
            while count == _PROBLEMS:
                async with connection(pool) as conn:
                    count = await pruning.prune_problems(conn, upload_id, limit=_PROBLEMS)
                done += count
                await asyncio.sleep(_PAUSE_S)
            async with connection(pool) as conn:
                await pruning.problems_removed(conn, upload_id, now=now)
        return done

    async def work() -> None:
        removed, rows = await files(), await problems()
        if removed or rows:
            _log.info("old uploads pruned", files=removed, problems=rows)

    return PeriodicTask("prune_old_uploads", _EVERY_S, work)


def prune_old_debtors(pool: Pool, *, periods: Periods, clock: Callable[[], datetime]) -> PeriodicTask:
    """Delete debtors that never had a debit; each page is a transaction of its own."""

    async def page() -> int | None:
        now = clock()
        async with transaction(pool) as conn:
            position = await pruning.hold_position(conn, now=now)
            if position is None:
                return None
            before = periods.before("undebited", now=now)
            reached = await pruning.examined_debtors(conn, after=position, before=before, limit=_DEBTORS)
            if reached is None:
                # The next run begins again: debtors of an upload that was being billed were passed over.
                await pruning.advance(conn, 0, now=now)
                return None
            count = await pruning.prune_debtors(conn, after=position, to=reached)
            await pruning.advance(conn, reached, now=now)
        return count

    async def work() -> None:
        done = 0
        for _ in range(_PAGES_MAX):
            count = await page()
            if count is None:
                break
            done += count
            await asyncio.sleep(_PAUSE_S)
        if done:
            _log.info("debtors without a debit pruned", rows=done)

    return PeriodicTask("prune_old_debtors", _EVERY_S, work)


def prune_old_orders(pool: Pool, *, periods: Periods, clock: Callable[[], datetime]) -> PeriodicTask:
    """Delete bulk orders, ordered inquiries and replays that are over, with their results."""

    async def work() -> None:
        before, done = periods.before("orders", now=clock()), 0
        for _ in range(_PAGES_MAX):
            async with connection(pool) as conn:
                count = await pruning.prune_orders(conn, before=before, limit=_ORDERS)
            if not count:
                break
            done += count
            await asyncio.sleep(_PAUSE_S)
        if done:
            _log.info("old orders pruned", rows=done)

    return PeriodicTask("prune_old_orders", _EVERY_S, work)
