"""
Periodic tasks: what has to be done from time to time, whoever is up.

Each periodic task is safe to run twice and on several nodes at once, so no leader is needed. `rescue_stale` is the
look of `tether_worker.jobs.run`: it finds rows whose wake-up was lost.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from tether_core.errors import Unavailable
from tether_core.uploads.upload import is_object_key
from tether_stores import objects, row_counts
from tether_stores.notifications import webhook_events
from tether_stores.objects import Objects, Stored
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.telemetry import logger
from tether_stores.uploads import uploads

__all__ = ["PeriodicTask", "add_row_counts", "run_periodic_tasks", "sweep_objects", "wake_matched"]

# No request lasts so long by far; and so much time there is to restore a database whose rows would name these objects.
_ORPHAN_AGE: Final = timedelta(days=7)
_ASKED_KEYS: Final = 1_000
# What a pass leaves is there for the next one; more than this is not held in memory.
_REMOVED_MAX: Final = 10_000
# What is left then is there for the next time.
_COUNT_BATCHES_MAX: Final = 100

_log = logger("upkeep")


class PeriodicTask(msgspec.Struct, frozen=True):
    """
    A periodic task.

    Attributes:
        name: For logs.
        every_s: Pause between two times, in seconds.
        do: Does it once.
    """

    name: str
    every_s: float
    do: Callable[[], Awaitable[object]]


def wake_matched(pool: Pool, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """Make notifications due that came before the payment they speak of."""

    async def wake() -> None:
        async with connection(pool) as conn:
            woken = await webhook_events.wake_matched(conn, now=clock())
        if woken:
            _log.info("notifications matched", rows=woken)

    return PeriodicTask("wake_matched", 5, wake)


def add_row_counts(pool: Pool) -> PeriodicTask:
    """
    Add the changes of counts to the counts.

    Counts are exact without it; but whoever reads them adds up all changes that are left.
    """

    async def add() -> None:
        for _ in range(_COUNT_BATCHES_MAX):
            async with transaction(pool) as conn:
                if not await row_counts.add_changes(conn):
                    return

    return PeriodicTask("add_row_counts", 5, add)


def sweep_objects(pool: Pool, store: Objects, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """
    Remove files that no upload names: a web node was killed between storing one and writing its row.

    Only objects under keys of our own making that are older than a week are looked at; nobody can still be about to name
    those. What is older than the first upload is not of this database's time and stays. And where most objects have no
    upload, it is the database that is not theirs: an empty one, one of staging, one restored from long ago, or that of
    another installation. Then nothing is removed, and an error says so.
    """

    async def sweep() -> None:
        async with connection(pool) as conn:
            first_at = await uploads.first_at(conn)
        named = unnamed = 0
        orphans: list[str] = []
        async for some in _old(store, before=clock() - _ORPHAN_AGE):
            async with connection(pool) as conn:
                known = await uploads.referenced(conn, [item.key for item in some])
            strange = [item for item in some if item.key not in known]
            named += len(known)
            unnamed += len(strange)
            orphans += [item.key for item in strange if first_at is not None and item.modified_at >= first_at]
            del orphans[_REMOVED_MAX:]
        if unnamed > named:
            _log.error(
                "more files are without an upload than with one, so none was removed; check that DATABASE_URL and "
                "the bucket (AWS_BUCKET, or TETHER_OBJECTS_DIR) belong to one installation and to no other",
                files_without=unnamed,
                files_with=named,
            )
            return
        for key in orphans:
            await objects.delete(store, key)
        if orphans:
            _log.info("files without an upload removed", files=len(orphans))

    return PeriodicTask("sweep_objects", 21_600, sweep)


async def _old(store: Objects, *, before: datetime) -> AsyncIterator[list[Stored]]:
    some: list[Stored] = []
    async for stored in objects.listed(store, "uploads"):
        if is_object_key(stored.key) and stored.modified_at < before:
            some.append(stored)
        if len(some) == _ASKED_KEYS:
            yield some
            some = []
    if some:
        yield some


async def run_periodic_tasks(periodic_task: PeriodicTask, *, stopping: asyncio.Event) -> None:
    """
    Do a periodic task again and again until told to stop.

    Args:
        periodic_task: What to do.
        stopping: Set when this process ends.
    """
    while not stopping.is_set():
        try:
            await periodic_task.do()
        except Unavailable as exc:
            _log.warning("periodic task deferred", periodic_task=periodic_task.name, why=str(exc))
        except Exception as exc:  # noqa: BLE001 - the next time may succeed, and the other periodic tasks must go on
            _log.error("periodic task failed", periodic_task=periodic_task.name, exc_info=exc)
        try:
            await asyncio.wait_for(stopping.wait(), periodic_task.every_s)
        except TimeoutError:
            continue
