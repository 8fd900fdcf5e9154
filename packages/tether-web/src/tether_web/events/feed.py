"""
The feed of a process: what was announced, handed to any number of followers as server-sent events.

One reader for all of them looks into the outbox twice a second, while there are followers, and keeps the newest events in a wake-up,
encoded once. A follower is a position and no queue: it takes from the wake-up what lies beyond its position, and from Postgres, a page
at a time, where the wake-up no longer reaches back so far. So a slow one costs no memory, and none is cut off for being slow.
Events are handed on in the order of their ids, and none before all with smaller ids are in sight; `tether_stores.events.Horizon`
tells how that is known. While Postgres is away followers wait, and hear a comment now and then.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, Final

import msgspec
from tether_core.errors import InvalidRequest, Overloaded, StoreUnreachable
from tether_stores import events
from tether_stores.events import Horizon, Kept
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger

__all__ = ["Announced", "Feed", "encoded"]

# How often the reader looks, and how often while somebody waits for it to begin.
_LOOK_S: Final = 0.5
_BEGIN_S: Final = 0.05
# How long an opening waits for that: longer than Postgres lets a transaction of ours idle.
_BEGIN_MAX_S: Final = 10.0
# The reader goes on for so long after its last follower; one that reconnects finds the wake-up.
_LINGER_S: Final = 10.0
_AWAY_S: Final = 1.0
# Events of some 250 bytes: half a megabyte of them in the wake-up, an eighth of one for each follower that is being sent some.
_WAKE_UP: Final = 2_000
_PAGE: Final = 500
# Followers of one process; each costs a connection and some 50 KB.
_FOLLOWERS_MAX: Final = 200
# Pages read from Postgres at once; requests need its connections too.
_READS: Final = 2

_log = logger("feed")


class Announced(msgspec.Struct, frozen=True):
    """
    The data of one server-sent event.

    Attributes:
        id: The event's number; later ones are larger, not every number is given.
        occurred_at: When it happened, UTC.
        webhook_event_id: The notification that caused it, or null.
        fact: What happened: `event` names it with its version, the other fields are its own.
    """

    id: int
    occurred_at: datetime
    webhook_event_id: int | None
    fact: msgspec.Raw


class _Entry(msgspec.Struct, frozen=True):
    id: int
    name: str
    text: bytes


class Feed:
    """What all followers of a process share."""

    def __init__(self, pool: Pool, *, life_s: float = 1_800.0, heartbeat_s: float = 15.0) -> None:
        """
        Make one that reads nothing until somebody follows.

        Args:
            pool: Of Postgres.
            life_s: After this a stream ends, so that followers spread over new nodes; they come again by themselves.
            heartbeat_s: A stream that has nothing to say for so long says that it lives.
        """
        self._pool = pool
        self._life_s = life_s
        self._heartbeat_s = heartbeat_s
        # All events beyond `_since` up to `_told`; `_told` is None until it is known from where to read.
        self._wake: list[_Entry] = []
        self._since = 0
        self._announced: int | None = None
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._followers = 0
        self._opening = 0
        self._newest: asyncio.Task[int] | None = None
        self._wanted_until = 0.0
        self._reader: asyncio.Task[None] | None = None
        self._drained = False
        self._turns = asyncio.Semaphore(_READS)
        self._pages: set[asyncio.Task[Any]] = set()

    async def opened(self, after: int | None) -> int:
        """
        Find out where to begin.

        Args:
            after: The last event the follower has; `None` for those that are announced from now on.

        Returns:
            The id of the last event it is not to be sent.

        Raises:
            Overloaded: when this process has as many followers as it takes.
            InvalidRequest: when there is no such event yet.
            StoreUnreachable: when Postgres does not tell.
        """
        if self._drained:
            return after or 0  # the stream will end as it begins, and the follower come again elsewhere
        if self._followers + self._opening >= _FOLLOWERS_MAX:
            raise Overloaded("followers", limit=_FOLLOWERS_MAX)
        self._opening += 1
        try:
            newest = await self._newest_id()
            if after is not None and after > newest:
                raise InvalidRequest("No event has this id yet; begin with after=0 to get all there are.")
            self._read_on()
            return await self._begun() if after is None else after
        finally:
            self._opening -= 1

    async def _newest_id(self) -> int:
        """One look for all that open at once: each with a connection of its own, they would wait for one another."""
        if self._newest is None or self._newest.done():
            self._newest = asyncio.create_task(self._look_newest())
        return await asyncio.shield(self._newest)

    async def _look_newest(self) -> int:
        async with connection(self._pool) as conn:
            return (await events.tip(conn, after=2**63 - 1)).id

    async def stream(self, position: int, *, names: Sequence[str] | None = None) -> AsyncIterator[bytes]:
        """
        Follow.

        Args:
            position: From `opened`.
            names: Only events of these names; `None` for all.

        Yields:
            Server-sent events, until the stream has lived long enough or the process is to end.
        """
        self._followers += 1
        ends_at, said_at = monotonic() + self._life_s, monotonic()
        page: asyncio.Task[tuple[bytes, int]] | None = None
        try:
            yield b"retry: 2000\n\n"
            while not self._drained and (now := monotonic()) < ends_at:
                self._read_on()
                news, text, result = self._news, b"", self._announced
                if page is not None:
                    if page.done():
                        text, position = page.result()
                        page = None
                elif result is not None and self._since <= position < result:
                    text, position = self._from_wake_up(position, result, names)
                elif result is not None and position < result:
                    page = asyncio.create_task(self._from_postgres(position, result, names))
                    self._pages.add(page)
                    page.add_done_callback(self._pages.discard)
                if text:
                    yield text
                    said_at = monotonic()
                elif now - said_at >= self._heartbeat_s:
                    yield b":\n\n"
                    said_at = monotonic()
                elif page is not None or self._announced is None or position >= self._announced:
                    # Waited for and never cancelled: others wait for the news too, and taking a query back takes time.
                    waits: set[asyncio.Future[Any]] = {news} if page is None else {news, page}
                    patience_s = min(said_at + self._heartbeat_s, ends_at) - now
                    await asyncio.wait(waits, timeout=max(patience_s, 0), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._followers -= 1
            self._wanted_until = monotonic() + _LINGER_S

    def drain(self) -> None:
        """End all streams now and open no more."""
        self._drained = True
        self._tell()

    async def close(self) -> None:
        """End what is under way; what Postgres holds up is left behind."""
        self.drain()
        under_way = [*self._pages, *([self._reader] if self._reader else [])]
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way, timeout=0.5)

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        news.set_result(None)

    def _read_on(self) -> None:
        self._wanted_until = monotonic() + _LINGER_S
        if self._reader is None and not self._drained:
            self._reader = asyncio.create_task(self._read())

    async def _begun(self) -> int:
        ends_at = monotonic() + _BEGIN_MAX_S
        while self._announced is None:
            patience_s = ends_at - monotonic()
            if patience_s <= 0 or self._drained:
                raise StoreUnreachable("postgres", why="it does not tell which events are complete")
            await asyncio.wait({self._news}, timeout=patience_s)
        return self._announced

    async def _read(self) -> None:
        horizon = Horizon()
        try:
            while not self._drained and (self._followers or monotonic() < self._wanted_until):
                try:
                    await self._look(horizon)
                    pause_s = _LOOK_S if self._announced is not None else _BEGIN_S
                except StoreUnreachable:
                    pause_s = _AWAY_S  # /ready says so; followers wait
                except Exception as exc:  # noqa: BLE001 - without this task all followers would wait for ever
                    _log.error("events not read", exc_info=exc)
                    pause_s = _AWAY_S
                await asyncio.sleep(pause_s)
        finally:
            self._reader, self._announced, self._wake = None, None, []

    async def _look(self, horizon: Horizon) -> None:
        async with connection(self._pool) as conn:
            seen = await events.tip(conn, after=-1 if self._announced is None else self._announced)
            reached = horizon.complete_to(seen)
            if reached is None:
                return
            if self._announced is None:
                # From here on; whoever wants earlier ones gets them from Postgres.
                self._announced = self._since = reached
                self._tell()
            while self._announced < reached:
                rows = await events.between(conn, after=self._announced, up_to=reached, limit=_PAGE)
                self._wake += [_Entry(row.id, row.name, encoded(row)) for row in rows]
                if len(self._wake) > _WAKE_UP:
                    self._since = self._wake[-_WAKE_UP - 1].id
                    self._wake = self._wake[-_WAKE_UP:]
                self._announced = rows[-1].id if len(rows) == _PAGE else reached
                self._tell()

    def _from_wake_up(self, position: int, number: int, names: Sequence[str] | None) -> tuple[bytes, int]:
        start = bisect_right(self._wake, position, key=lambda entry: entry.id)
        some = self._wake[start : start + _PAGE]
        text = b"".join(entry.text for entry in some if names is None or entry.name in names)
        return text, some[-1].id if len(some) == _PAGE else number

    async def _from_postgres(
        self, position: int, number: int, names: Sequence[str] | None
    ) -> tuple[bytes, int]:
        try:
            async with self._turns, connection(self._pool) as conn:
                rows = await events.between(conn, after=position, up_to=number, limit=_PAGE, names=names)
        except StoreUnreachable:
            await asyncio.sleep(_AWAY_S)
            return b"", position
        return b"".join(map(encoded, rows)), rows[-1].id if len(rows) == _PAGE else number


def encoded(row: Kept) -> bytes:
    r"""
    One event as text/event-stream has it.

    Args:
        row: The event.

    Returns:
        Its lines, with the empty one that ends it.

    >>> from datetime import UTC
    >>> row = Kept(7, "refund.charged_back", b'{"event":"refund.charged_back.1","attempt_id":3}', None, datetime(2026, 3, 2, tzinfo=UTC))
    >>> print(encoded(row).decode().rstrip())
    id: 7
    event: refund.charged_back
    data: {"id":7,"occurred_at":"2026-03-02T00:00:00Z","webhook_event_id":null,"fact":{"event":"refund.charged_back.1","attempt_id":3}}

    Source: WHATWG HTML, section 9.2.6 (interpreting an event stream).
    """
    announced = Announced(row.id, row.occurred_at, row.webhook_event_id, msgspec.Raw(row.payload))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (row.id, row.name.encode(), msgspec.json.encode(announced))
