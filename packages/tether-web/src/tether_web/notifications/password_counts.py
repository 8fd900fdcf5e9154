"""
Counts which password verified a notification, in memory, and adds the counts to Postgres every few seconds.

A count costs a request some hundreds of nanoseconds and no query. While Postgres is unavailable the counts wait; a process that is killed loses those of
its last seconds, which no decision about a password hangs on.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from tether_core.emp.signature import Verified
from tether_core.errors import TetherError
from tether_stores.notifications import password_uses
from tether_stores.postgres import Pool, transaction
from tether_stores.telemetry import logger

__all__ = ["FLUSH_S", "PasswordCounts"]

FLUSH_S: Final = 10.0
_STOP_MAX_S: Final = 3.0
_log = logger("passwords")


class PasswordCounts:
    """The counts of a process."""

    def __init__(self) -> None:
        """Start without any."""
        self._counts = Counter[Verified]()

    def count(self, found: Verified) -> None:
        """Count a notification that a password verified."""
        self._counts[found] += 1

    async def flush(self, pool: Pool, *, now: datetime) -> None:
        """
        Add what was counted to Postgres.

        Raises:
            StoreUnreachable: when Postgres is unavailable; the counts are kept.
        """
        if not self._counts:
            return
        taken, self._counts = self._counts, Counter()
        try:
            async with transaction(pool) as conn:
                await password_uses.add(conn, live=taken, reverified={}, used_on=now.date())
        except BaseException:
            self._counts += taken
            raise

    @asynccontextmanager
    async def flushed(
        self, pool: Pool, *, clock: Callable[[], datetime], every_s: float = FLUSH_S
    ) -> AsyncIterator[None]:
        """Flush every *every_s* seconds until the block ends, and once more then."""
        stopping = asyncio.Event()

        async def run() -> None:
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), every_s)
                try:
                    await self.flush(pool, now=clock())
                except TetherError as exc:
                    _log.warning("password counts not stored", why=str(exc))
                except Exception as exc:  # noqa: BLE001 - the next flush may succeed; this task must go on
                    _log.error("password counts not stored", exc_info=exc)

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            stopping.set()
            await asyncio.wait([task], timeout=_STOP_MAX_S)
            task.cancel()
