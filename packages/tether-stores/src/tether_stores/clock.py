"""
The present moment, the same on all nodes: by the clock of Postgres' machine, whatever the node's own clock says.

Leases and waits are moments that one node writes and another reads. Were each to go by its own clock, one that is minutes
ahead would take over what others are still doing, and take the gateway's "not there" for its last word about a debit
that is only on its way. So a node compares its clock with Postgres' before it does anything and every few seconds
after, and goes by the difference. Until they have been compared for the first time there is no present moment.

>>> from datetime import UTC, timedelta
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> clock = SharedClock(lambda: noon)
>>> clock()
Traceback (most recent call last):
    ...
tether_core.errors.StoreUnreachable: postgres is not reachable (no word of the time yet); ...
>>> clock.compared(noon - timedelta(seconds=3), asked_at=noon, heard_at=noon)
>>> clock().isoformat(), clock.ahead_s
('2026-03-02T11:59:57+00:00', 3.0)
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from tether_core.errors import StoreUnreachable, Unavailable

from tether_stores.postgres import Connection, Pool, connection
from tether_stores.queries import load
from tether_stores.telemetry import logger

__all__ = ["SharedClock", "moment"]

_SQL: Final = load("clock")
# What a question and its answer may take; a smaller difference says nothing, and its correction would only be noise.
_NOISE: Final = timedelta(seconds=0.5)
# A clock that steps is noticed after this long, well within any lease.
_EVERY_S: Final = 2.0
# How long a start waits for the first comparison, and an end for the last.
_FIRST_S: Final = 3.0
_LEAVE_S: Final = 0.5
# From here on a person should set the machine's clock right.
_WRONG: Final = timedelta(seconds=5)

_log = logger("clock")


async def moment(conn: Connection) -> datetime:
    """
    Give the present moment by Postgres, for a command that needs one and is over after it.

    Args:
        conn: Any connection.
    """
    row = await (await conn.execute(_SQL["now"])).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now


class SharedClock:
    """A clock that gives the moment by Postgres, made of the machine's own and its difference."""

    def __init__(self, own: Callable[[], datetime]) -> None:
        """
        Make one that was not compared yet.

        Args:
            own: Gives the moment by this machine, aware, UTC.
        """
        self._own = own
        self._ahead: timedelta | None = None

    def __call__(self) -> datetime:
        """
        Give the present moment.

        Raises:
            StoreUnreachable: before the clock was compared for the first time.
        """
        if self._ahead is None:
            raise StoreUnreachable("postgres", why="no word of the time yet")
        return self._own() - self._ahead

    @property
    def ahead_s(self) -> float:
        """By how many seconds this machine's clock is ahead of Postgres'; below 0 when it is behind."""
        return (self._ahead or timedelta(0)).total_seconds()

    @asynccontextmanager
    async def kept(self, pool: Pool) -> AsyncIterator[None]:
        """
        Compare it now and then, for the length of a block; it begins once the first comparison is made, or will not come soon.

        Args:
            pool: Of Postgres.

        Yields:
            Nothing.
        """
        over, compared = asyncio.Event(), asyncio.Event()

        async def keep() -> None:
            while not over.is_set():
                try:
                    await self.compare(pool)
                    if self._ahead is not None:
                        compared.set()
                except Unavailable:
                    pass  # whoever needs Postgres says so; the next comparison may succeed
                except Exception as problem:  # noqa: BLE001 - without this task no wrong clock would ever be noticed
                    _log.error("clock not compared", exc_info=problem)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _EVERY_S)

        keeping = asyncio.create_task(keep())
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(compared.wait(), _FIRST_S)
            yield
        finally:
            # Told and not cancelled, as a cancellation can be lost in the pool; one that hangs holds nobody up.
            over.set()
            await asyncio.wait([keeping], timeout=_LEAVE_S)
            keeping.cancel()

    async def compare(self, pool: Pool) -> None:
        """
        Ask Postgres for the time.

        Args:
            pool: Of Postgres.

        Raises:
            StoreUnreachable: when it does not say.
        """
        async with connection(pool) as conn:
            asked_at = self._own()
            theirs = await moment(conn)
            heard_at = self._own()
        self.compared(theirs, asked_at=asked_at, heard_at=heard_at)

    def compared(self, theirs: datetime, *, asked_at: datetime, heard_at: datetime) -> None:
        """
        Take the difference in.

        Args:
            theirs: The moment that Postgres gave.
            asked_at: The moment of the question, by this machine.
            heard_at: The moment of the answer, by this machine.
        """
        if heard_at - asked_at > _NOISE:
            return  # a slow answer says too little, the first one too; there will be a better one
        ahead = asked_at + (heard_at - asked_at) / 2 - theirs
        if abs(ahead) <= _NOISE:
            ahead = timedelta(0)
        if abs(ahead) > _WRONG and (self._ahead is None or abs(self._ahead) <= _WRONG):
            _log.error(
                "the clock of this machine is wrong; going by that of Postgres",
                ahead_s=round(ahead.total_seconds(), 1),
            )
        self._ahead = ahead
