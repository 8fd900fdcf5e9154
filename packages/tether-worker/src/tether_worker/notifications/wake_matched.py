"""Make notifications due whose payment appeared after them."""

from collections.abc import Callable
from datetime import datetime

from tether_stores.notifications import webhook_events
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["wake_matched"]

_log = logger("inbox")


def wake_matched(pool: Pool, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """Make notifications due whose payment appeared after them."""

    async def wake() -> None:
        async with connection(pool) as conn:
            woken = await webhook_events.wake_matched(conn, now=clock())
        if woken:
            _log.info("notifications matched", rows=woken)

    return PeriodicTask("wake_matched", 5, wake)
