"""Remove check files whose days are over."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from tether_core.check_files import KEEP_DAYS
from tether_stores import check_files
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["prune_check_files"]

_EVERY_S: Final = 600.0
_FILES: Final = 20
_log = logger("vop")


def prune_check_files(pool: Pool, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """The periodic task that removes check files, with their rows, 30 days after they came."""

    async def prune() -> None:
        async with connection(pool) as conn:
            count = await check_files.prune(conn, before=clock() - timedelta(days=KEEP_DAYS), limit=_FILES)
        if count:
            _log.info("check files pruned", files=count)

    return PeriodicTask("prune_check_files", _EVERY_S, prune)
