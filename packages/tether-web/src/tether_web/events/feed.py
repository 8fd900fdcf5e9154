"""
The event feed of a process: streams the outbox to any number of followers as server-sent events.

While there are followers, one reader polls the outbox twice a second and keeps the newest events in a buffer, encoded once. A follower
is a position and not a queue: it reads events after its position from the buffer, or from Postgres, a page at a time, if the buffer
no longer has them. So a slow follower costs no memory and is not cut off. Events are sent in the order of their ids, and none before
all smaller ids are visible; see `tether_stores.events.Horizon`. While Postgres is unavailable followers wait, and get a comment as
heartbeat.
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
from tether_stores.events import Horizon, StoredEvent
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger

__all__ = ["Announced", "Feed", "encoded"]

# How often the reader polls, and how often until it knows its first position.
_POLL_S: Final = 0.5
_START_S: Final = 0.05
# How long a new stream waits for that position: longer than the idle timeout of our transactions.
_START_MAX_S: Final = 10.0
# The reader goes on for this long after its last follower; a follower that reconnects finds the buffer.
_LINGER_S: Final = 10.0
_RETRY_S: Final = 1.0
# Events of about 250 bytes: half a megabyte in the buffer, an eighth of a megabyte for each follower that is being sent a page.
_BUFFER_MAX: Final = 2_000
_PAGE: Final = 500
# Maximum of followers in a process; each costs a connection and about 50 KB.
_FOLLOWERS_MAX: Final = 200
# Pages read from Postgres at the same time; requests need connections too.
_READS_MAX: Final = 2

_log = logger("feed")


class Announced(msgspec.Struct, frozen=True):
    """
    The data of one server-sent event.

    Attributes:
        id: The event's number; later events have larger numbers, with gaps.
        occurred_at: When it happened, UTC.
        webhook_event_id: The notification that caused it, or null.
        fact: What happened: `event` is the type with its version; the other fields depend on it.
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
    """The event feed, shared by all followers of a process."""

    def __init__(self, pool: Pool, *, life_s: float = 1_800.0, heartbeat_s: float = 15.0) -> None:
        """
        Nothing is read until the first follower.

        Args:
            life_s: A stream ends after this time, so that followers spread over new nodes; they reconnect by themselves.
            heartbeat_s: A stream without events sends a comment after this time.
        """
        self._pool = pool
        self._life_s = life_s
        self._heartbeat_s = heartbeat_s
        # All events after `_since` up to `_announced`; `_announced` is None until the first position is known.
        self._buffer: list[_Entry] = []
        self._since = 0
        self._announced: int | None = None
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._followers = 0
        self._opening = 0
        self._newest_lookup: asyncio.Task[int] | None = None
        self._wanted_until = 0.0
        self._reader: asyncio.Task[None] | None = None
        self._drained = False
        self._reads = asyncio.Semaphore(_READS_MAX)
        self._pages: set[asyncio.Task[Any]] = set()

    async def opened(self, after: int | None) -> int:
        """
        The position at which a follower starts.

        Args:
            after: The last event the follower has; `None` for new events only.

        Returns:
            The id after which events are sent.

        Raises:
            Overloaded: when this process has its maximum of followers.
            InvalidRequest: when *after* is larger than the newest event.
            StoreUnreachable: when Postgres does not answer.
        """
        if self._drained:
            return after or 0  # the stream ends at once, and the follower reconnects to another node
        if self._followers + self._opening >= _FOLLOWERS_MAX:
            raise Overloaded("followers", limit=_FOLLOWERS_MAX)
        self._opening += 1
        try:
            newest = await self._newest_id()
            if after is not None and after > newest:
                raise InvalidRequest("No event has this id yet; use after=0 to get all stored events.")
            self._ensure_reader()
            return await self._first_position() if after is None else after
        finally:
            self._opening -= 1

    async def _newest_id(self) -> int:
        """One query for all streams that open at the same time; separate ones would wait for connections."""
        if self._newest_lookup is None or self._newest_lookup.done():
            self._newest_lookup = asyncio.create_task(self._look_newest())
        return await asyncio.shield(self._newest_lookup)

    async def _look_newest(self) -> int:
        async with connection(self._pool) as conn:
            return (await events.tip(conn, after=2**63 - 1)).id

    async def stream(self, position: int, *, names: Sequence[str] | None = None) -> AsyncIterator[bytes]:
        """
        Stream events after a position.

        Args:
            position: From `opened`.
            names: Only events of these types; `None` for all.

        Yields:
            Server-sent events, until the life of the stream ends or the process stops.
        """
        self._followers += 1
        ends_at, sent_at = monotonic() + self._life_s, monotonic()
        page: asyncio.Task[tuple[bytes, int]] | None = None
        try:
            yield b"retry: 2000\n\n"
            while not self._drained and (now := monotonic()) < ends_at:
                self._ensure_reader()
                news, text, newest = self._news, b"", self._announced
                if page is not None:
                    if page.done():
                        text, position = page.result()
                        page = None
                elif newest is not None and self._since <= position < newest:
                    text, position = self._from_buffer(position, newest, names)
                elif newest is not None and position < newest:
                    page = asyncio.create_task(self._from_postgres(position, newest, names))
                    self._pages.add(page)
                    page.add_done_callback(self._pages.discard)
                if text:
                    yield text
                    sent_at = monotonic()
                elif now - sent_at >= self._heartbeat_s:
                    yield b":\n\n"
                    sent_at = monotonic()
                elif page is not None or self._announced is None or position >= self._announced:
                    # Never cancelled: other followers wait for the same future, and cancelling a query takes time.
                    pending: set[asyncio.Future[Any]] = {news} if page is None else {news, page}
                    timeout_s = min(sent_at + self._heartbeat_s, ends_at) - now
                    await asyncio.wait(
                        pending, timeout=max(timeout_s, 0), return_when=asyncio.FIRST_COMPLETED
                    )
        finally:
            self._followers -= 1
            self._wanted_until = monotonic() + _LINGER_S

    def drain(self) -> None:
        """End all streams now and accept no new ones."""
        self._drained = True
        self._notify()

    async def close(self) -> None:
        """Cancel reads in progress; a hanging query is abandoned."""
        self.drain()
        tasks = [*self._pages, *([self._reader] if self._reader else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=0.5)

    def _notify(self) -> None:
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        news.set_result(None)

    def _ensure_reader(self) -> None:
        self._wanted_until = monotonic() + _LINGER_S
        if self._reader is None and not self._drained:
            self._reader = asyncio.create_task(self._read())

    async def _first_position(self) -> int:
        ends_at = monotonic() + _START_MAX_S
        while self._announced is None:
            timeout_s = ends_at - monotonic()
            if timeout_s <= 0 or self._drained:
                raise StoreUnreachable("postgres", why="it does not say which events are complete")
            await asyncio.wait({self._news}, timeout=timeout_s)
        return self._announced

    async def _read(self) -> None:
        horizon = Horizon()
        try:
            while not self._drained and (self._followers or monotonic() < self._wanted_until):
                try:
                    await self._poll(horizon)
                    pause_s = _POLL_S if self._announced is not None else _START_S
                except StoreUnreachable:
                    pause_s = _RETRY_S  # /ready reports it; followers wait
                except Exception as exc:  # noqa: BLE001 - without the reader all followers would wait forever
                    _log.error("events not read", exc_info=exc)
                    pause_s = _RETRY_S
                await asyncio.sleep(pause_s)
        finally:
            self._reader, self._announced, self._buffer = None, None, []

    async def _poll(self, horizon: Horizon) -> None:
        async with connection(self._pool) as conn:
            seen = await events.tip(conn, after=-1 if self._announced is None else self._announced)
            reached = horizon.complete_to(seen)
            if reached is None:
                return
            if self._announced is None:
                # Earlier events are read from Postgres.
                self._announced = self._since = reached
                self._notify()
            while self._announced < reached:
                rows = await events.between(conn, after=self._announced, up_to=reached, limit=_PAGE)
                self._buffer += [_Entry(row.id, row.name, encoded(row)) for row in rows]
                if len(self._buffer) > _BUFFER_MAX:
                    self._since = self._buffer[-_BUFFER_MAX - 1].id
                    self._buffer = self._buffer[-_BUFFER_MAX:]
                self._announced = rows[-1].id if len(rows) == _PAGE else reached
                self._notify()

    def _from_buffer(self, position: int, newest: int, names: Sequence[str] | None) -> tuple[bytes, int]:
        start = bisect_right(self._buffer, position, key=lambda entry: entry.id)
        some = self._buffer[start : start + _PAGE]
        text = b"".join(entry.text for entry in some if names is None or entry.name in names)
        return text, some[-1].id if len(some) == _PAGE else newest

    async def _from_postgres(
        self, position: int, newest: int, names: Sequence[str] | None
    ) -> tuple[bytes, int]:
        try:
            async with self._reads, connection(self._pool) as conn:
                rows = await events.between(conn, after=position, up_to=newest, limit=_PAGE, names=names)
        except StoreUnreachable:
            await asyncio.sleep(_RETRY_S)
            return b"", position
        return b"".join(map(encoded, rows)), rows[-1].id if len(rows) == _PAGE else newest


def encoded(row: StoredEvent) -> bytes:
    r"""
    One event in text/event-stream format, including the blank line at its end.

    >>> from datetime import UTC
    >>> row = StoredEvent(7, "refund.charged_back", b'{"event":"refund.charged_back.1","attempt_id":3}', None, datetime(2026, 3, 2, tzinfo=UTC))
    >>> print(encoded(row).decode().rstrip())
    id: 7
    event: refund.charged_back
    data: {"id":7,"occurred_at":"2026-03-02T00:00:00Z","webhook_event_id":null,"fact":{"event":"refund.charged_back.1","attempt_id":3}}

    Source: WHATWG HTML, section 9.2.6 (interpreting an event stream).
    """
    announced = Announced(row.id, row.occurred_at, row.webhook_event_id, msgspec.Raw(row.payload))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (row.id, row.name.encode(), msgspec.json.encode(announced))
