"""
Standing duties: what has to be done from time to time, whoever is up.

Each duty is safe to run twice and on several nodes at once, so no leader is needed. `rescue_stale` is the
look of `tether_worker.work`: it finds rows whose ring was lost.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
from tether_core.errors import Unavailable
from tether_stores import webhook_events
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger

__all__ = ["Duty", "keep_up", "wake_matched"]

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
