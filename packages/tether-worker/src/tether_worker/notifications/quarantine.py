"""Remove refused notifications whose days are over, and counts of passwords that no report covers."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from tether_core.notifications.password_uses import DAYS_MAX
from tether_core.notifications.quarantine import Bounds
from tether_stores.notifications import password_uses, quarantine
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["prune_quarantine"]

_EVERY_S: Final = 300.0
_ROWS: Final = 1_000
_PAGES_MAX: Final = 100
_log = logger("quarantine")


def prune_quarantine(pool: Pool, *, bounds: Bounds, clock: Callable[[], datetime]) -> PeriodicTask:
    """The periodic task that ends what is older than the bounds allow."""

    async def prune() -> None:
        now, done = clock(), 0
        for _ in range(_PAGES_MAX):
            async with connection(pool) as conn:
                count = await quarantine.prune(conn, before=bounds.before(now=now), limit=_ROWS)
            done += count
            if count < _ROWS:
                break
        async with connection(pool) as conn:
            await password_uses.prune(conn, before_on=now.date() - timedelta(days=DAYS_MAX))
        if done:
            _log.info("quarantine pruned", rows=done)

    return PeriodicTask("prune_quarantine", _EVERY_S, prune)
