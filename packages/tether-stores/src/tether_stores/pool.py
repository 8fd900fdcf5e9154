"""
A connection pool that recovers from any outage by itself, however long and busy it was.

psycopg_pool keeps callers that timed out in its queue until a connection comes. With `max_waiting` set, a queue full of
them raises before the pool tries to connect, so nothing ever connects again; without a bound the queue grows for as long as Postgres is
away. So callers wait here, in front of the pool, and a caller that gives up is forgotten:

- at most as many callers as there are connections are inside the pool at a time;
- while Postgres is away only one of them is, and tries to connect for all;
- at most `WAITING_MAX` callers wait in front; the next one is refused at once.
"""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Any, Final, TypeAlias

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

__all__ = ["WAITING_MAX", "Connection", "Pool"]

Connection: TypeAlias = AsyncConnection[TupleRow]

# Each waits for `timeout` seconds at most. More of them would only find out later that there is nothing to wait for.
WAITING_MAX: Final = 200


class Pool(AsyncConnectionPool[Connection]):
    """psycopg's pool behind a bounded queue that forgets callers who gave up; made by `tether_stores.postgres.open_pool`."""

    def __init__(self, conninfo: str, *, max_size: int, **options: Any) -> None:
        super().__init__(
            conninfo,
            connection_class=AsyncConnection,
            max_size=max_size,
            open=False,
            max_waiting=0,
            **options,
        )
        self._turns = asyncio.Semaphore(max_size)
        self._reconnecting = asyncio.Lock()
        self._away = False
        self._callers = 0

    @property
    def use(self) -> dict[str, int]:
        """Connections that are open, those of them that are idle, and callers that wait for one."""
        stats = self.get_stats()
        return {
            "open": stats.get("pool_size", 0),
            "idle": stats.get("pool_available", 0),
            # They wait in front of psycopg's pool, whose own count of them is always near 0.
            "waiting": self._callers,
        }

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109 - psycopg's own signature
        """
        Wait for a connection.

        Raises:
            PoolTimeout: when none can be had in time.
            TooManyRequests: when too many wait already.
        """
        end_s = monotonic() + (self.timeout if timeout is None else timeout)
        if self._callers >= WAITING_MAX:
            raise TooManyRequests(f"{self._callers} callers wait already")
        self._callers += 1
        try:
            await _in_time(self._turns.acquire(), end_s)
        finally:
            self._callers -= 1
        try:
            return await self._connected(end_s)
        except BaseException:
            self._turns.release()
            raise

    async def putconn(self, conn: Connection) -> None:
        """Give a connection back; the next caller may come in."""
        try:
            await super().putconn(conn)
        finally:
            self._turns.release()

    async def _connected(self, end_s: float) -> Connection:
        if not self._away:
            return await self._take(end_s)
        await _in_time(self._reconnecting.acquire(), end_s)
        try:
            return await self._take(end_s)
        finally:
            self._reconnecting.release()

    async def _take(self, end_s: float) -> Connection:
        try:
            conn = await super().getconn(max(end_s - monotonic(), 0.001))
        except PoolTimeout:
            self._away = True
            raise
        self._away = False
        return conn


async def _in_time(acquiring: Awaitable[object], end_s: float) -> None:
    try:
        async with asyncio.timeout(end_s - monotonic()):
            await acquiring
    except TimeoutError:
        raise PoolTimeout("no connection became free in time") from None
