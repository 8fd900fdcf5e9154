"""
Standing duties: what has to be done from time to time, whoever is up.

Each duty is safe to run twice and on several nodes at once, so no leader is needed. `rescue_stale` is the
look of `tether_worker.work`: it finds rows whose ring was lost.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from tether_core.errors import Unavailable
from tether_core.upload import is_object_key
from tether_stores import objects, uploads, webhook_events
from tether_stores.objects import Objects
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger

__all__ = ["Duty", "keep_up", "sweep_objects", "wake_matched"]

# No request lasts so long by far; and so much time there is to restore a database whose rows would name these objects.
_ORPHAN_AGE: Final = timedelta(days=7)
_SWEPT_KEYS: Final = 1_000

_log = logger("upkeep")


class Duty(msgspec.Struct, frozen=True):
    """
    A standing duty.

    Attributes:
        name: For logs.
        every_s: Pause between two times, in seconds.
        do: Does it once.
    """

    name: str
    every_s: float
    do: Callable[[], Awaitable[object]]


def wake_matched(pool: Pool, *, clock: Callable[[], datetime]) -> Duty:
    """
    Make notifications due that came before the payment they speak of.

    Args:
        pool: Of Postgres.
        clock: Gives the present moment.

    Returns:
        The duty.
    """

    async def wake() -> None:
        async with connection(pool) as conn:
            woken = await webhook_events.wake_matched(conn, now=clock())
        if woken:
            _log.info("notifications found their payment", rows=woken)

    return Duty("wake_matched", 5, wake)


def sweep_objects(pool: Pool, store: Objects, *, clock: Callable[[], datetime]) -> Duty:
    """
    Remove files that no upload names: a web node was killed between storing one and writing its row.

    Only objects under keys of our own making that are older than a week are looked at; nobody can still be about to name
    those.

    Args:
        pool: Of Postgres.
        store: The object store.
        clock: Gives the present moment.

    Returns:
        The duty.
    """

    async def sweep() -> None:
        old: list[str] = []
        removed = 0
        async for stored in objects.listed(store, "uploads"):
            if is_object_key(stored.key) and stored.modified_at < clock() - _ORPHAN_AGE:
                old.append(stored.key)
            if len(old) == _SWEPT_KEYS:
                removed += await _remove_orphans(pool, store, old)
                old.clear()
        removed += await _remove_orphans(pool, store, old)
        if removed:
            _log.info("files without an upload removed", files=removed)

    return Duty("sweep_objects", 21_600, sweep)


async def _remove_orphans(pool: Pool, store: Objects, keys: list[str]) -> int:
    if not keys:
        return 0
    async with connection(pool) as conn:
        named = await uploads.referenced(conn, keys)
    orphans = [key for key in keys if key not in named]
    for key in orphans:
        await objects.delete(store, key)
    return len(orphans)


async def keep_up(duty: Duty, *, stopping: asyncio.Event) -> None:
    """
    Do a duty again and again until told to stop.

    Args:
        duty: What to do.
        stopping: Set when this process ends.
    """
    while not stopping.is_set():
        try:
            await duty.do()
        except Unavailable as problem:
            _log.warning("duty put off", duty=duty.name, why=str(problem))
        except Exception as problem:  # noqa: BLE001 - the next time may succeed, and the other duties must go on
            _log.error("duty failed", duty=duty.name, exc_info=problem)
        try:
            await asyncio.wait_for(stopping.wait(), duty.every_s)
        except TimeoutError:
            continue
