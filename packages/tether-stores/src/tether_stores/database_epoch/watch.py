"""
The epochs of the database, and the watch that detects when the database went back; the queries are in `database_epoch/watch.sql`.

The **watch** probes about twice a second: it reads the high-water marks that are kept outside Postgres, then what the server says
of itself and the current epoch, and compares them by `tether_core.database_epoch`. Where the database went back, it begins a
new epoch. While the latest probe is younger than a second, the epoch is *confirmed*. Neither claims nor marks of known
notifications rely on that alone, because a database can go back within the second. Claims compare once more inside their own
transaction (`Watch.holds`). A mark names the history it was written in: the epoch, the process of the server and the file of the
table. It counts only where Postgres says at that time that it is still in this history (`is_history`).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from time import monotonic
from typing import Any, Final

import msgspec
import psycopg
from redis.exceptions import RedisError
from tether_core import database_epoch
from tether_core.database_epoch import Epoch, Mark, Reason, Server
from tether_core.errors import StoreUnreachable, TetherError, Unavailable
from tether_core.events import DatabaseEpochChanged

from tether_stores import events, objects
from tether_stores.objects import Objects
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.queries import load
from tether_stores.redis import Redis
from tether_stores.rows import fetch_one
from tether_stores.telemetry import logger

__all__ = ["Watch", "durability_warnings", "is_history"]

_SQL: Final = load("database_epoch/watch")
# Twice within the second for which a probe counts.
_EVERY_S: Final = 0.45
_CONFIRMED_S: Final = 1.0
# A mark in the object store costs a request; Redis has one that is younger.
_OBJECTS_EVERY_S: Final = 15.0
_OUTSIDE_MAX_S: Final = 2.0
# How long a start waits for the first probe, and an end for the last.
_FIRST_S: Final = 3.0
_LEAVE_S: Final = 0.5
_REDIS_KEY: Final = "tether:database-epoch:"
# By SQLSTATE: insufficient_privilege, feature_not_supported, undefined_function, object_not_in_prerequisite_state.
_CLOSED: Final = ("42501", "0A000", "42883", "55000")
_log = logger("database-epoch")


class _Seen(msgspec.Struct, frozen=True):
    """What one probe read; `epoch` is `None` in a database without any."""

    server: Server
    is_standby: bool
    epoch: Epoch | None
    installation: str
    is_reviewed: bool
    known: frozenset[str]


class Watch:
    """One per process: notices that the database went back, and says under which epoch something counts."""

    def __init__(
        self,
        *,
        cache: Redis | None,
        store: Objects | None,
        clock: Callable[[], datetime],
        token: Callable[[], str],
        is_pulsing: bool,
    ) -> None:
        """
        Prepare; nothing is confirmed before the first probe.

        Args:
            cache: Redis, for a mark; `None` for none.
            store: The object store, for a mark; `None` for none.
            clock: Gives the time, aware, UTC.
            token: Makes a unique token for a new epoch.
            is_pulsing: Whether this process claims debits, and so counts the pulse and writes marks.
        """
        self._cache = cache
        self._store = store
        self._clock = clock
        self._token = token
        self._is_pulsing = is_pulsing
        self._mark: Mark | None = None
        self._number = 0
        self._started_at = ""
        self._installation = ""
        self._history = ""
        self._confirmed_s = float("-inf")
        self._stored_s = float("-inf")
        self._shows_wal = True
        self._is_outside_away = False
        self._is_warned = False

    @property
    def number(self) -> int:
        """The number of the epoch as last seen; 0 before the first probe."""
        return self._number

    @property
    def history(self) -> str | None:
        """The name of the confirmed history; `None` where no probe of the last second has confirmed one."""
        if not self._history or monotonic() - self._confirmed_s > _CONFIRMED_S:
            return None
        return self._history

    @asynccontextmanager
    async def kept(self, pool: Pool) -> AsyncIterator[None]:
        """Probe for the length of a block; it begins once the first probe has ended, or will not end soon."""
        over, probed = asyncio.Event(), asyncio.Event()

        async def keep() -> None:
            while not over.is_set():
                try:
                    await self.probe(pool)
                    probed.set()
                except Unavailable:
                    pass  # nothing is confirmed meanwhile; who needs Postgres says so
                except Exception as exc:  # noqa: BLE001 - without this task no loss would ever be noticed
                    _log.error("database epoch not probed", exc_info=exc)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _EVERY_S)

        keeping = asyncio.create_task(keep())
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(probed.wait(), _FIRST_S)
            yield
        finally:
            over.set()
            await asyncio.wait([keeping], timeout=_LEAVE_S)
            keeping.cancel()

    async def probe(self, pool: Pool) -> None:
        """
        Compare once, and begin a new epoch where the database went back.

        Raises:
            StoreUnreachable: when Postgres does not answer; nothing is confirmed by that.
        """
        if not self._installation:
            self._installation = (await self._read(pool)).installation
        began_s = monotonic()
        # Claims of this process move its mark while this reads; what is compared must not be ahead of what is read.
        own = self._mark
        outside = await self._outside_marks(with_objects=not self._started_at)
        seen = await self._read(pool)
        if self._started_at and seen.server.started_at != self._started_at:
            # Another server process: every mark there is counts, and each has to be older than what it is compared with.
            outside += await self._outside_marks(with_objects=True)
            seen = await self._read(pool)
        if seen.is_standby:
            return
        if seen.epoch is None or _judge(seen, own, outside) is not None:
            seen = await self._begin_epoch(pool, own, outside)
            if seen.epoch is None:
                return
        await self._confirm(pool, seen, began_s=began_s)
        if not self._is_warned:
            async with connection(pool) as conn:
                found = await durability_warnings(conn)
            self._is_warned = True
            for warning in found:
                _log.error(warning)

    async def holds(self, conn: Connection) -> bool:
        """
        Whether a transaction runs in the confirmed history, and may claim; no new epoch begins until it ends.

        Args:
            conn: Inside the transaction.
        """
        mark = self._mark
        if mark is None:
            return False
        row = await (await conn.execute(_SQL["hold"])).fetchone()
        server, _ = await self._server(conn)
        if row is None:
            return False
        epoch, _, is_reviewed = _epoch(row)
        if not database_epoch.is_current(mark, server, epoch, confirmed_started_at=self._started_at):
            return False
        self._remember(server, epoch)
        return is_reviewed

    # --- reading ---

    async def _read(self, pool: Pool) -> _Seen:
        try:
            async with connection(pool) as conn:
                return await self._seen(conn)
        except psycopg.Error as exc:
            if not self._shows_wal or exc.sqlstate not in _CLOSED:
                raise
        # A server that shows nothing of its WAL, as some managed ones; the epoch's row serves alone.
        self._shows_wal = False
        _log.warning(
            "timeline and WAL position not shown by the server; the database epoch relies on its own row"
        )
        async with connection(pool) as conn:
            return await self._seen(conn)

    async def _seen(self, conn: Connection) -> _Seen:
        row = await (await conn.execute(_SQL["newest"])).fetchone()
        known = frozenset(token for (token,) in await (await conn.execute(_SQL["tokens"])).fetchall())
        # What moves while this reads must be read last: the pulse before the WAL, both after the marks.
        server, is_standby = await self._server(conn)
        if row is None:
            return _Seen(server, is_standby, None, "", is_reviewed=False, known=known)
        epoch, installation, is_reviewed = _epoch(row)
        return _Seen(server, is_standby, epoch, installation, is_reviewed, known)

    async def _server(self, conn: Connection) -> tuple[Server, bool]:
        query = _SQL["server" if self._shows_wal else "server_closed"]
        found = await fetch_one(conn, query, into=_server)
        assert found is not None
        return found

    # --- writing ---

    async def _begin_epoch(self, pool: Pool, own: Mark | None, outside: Sequence[Mark]) -> _Seen:
        """Begin an epoch, where it still has to be begun; gives what the database has then."""
        now = self._clock()
        async with transaction(pool) as conn:
            await conn.execute(_SQL["hold_alone"])
            seen = await self._seen(conn)
            reason = None if seen.is_standby else _judge(seen, own, outside)
            number = None
            if reason is not None:
                number = await self._begun(conn, seen, reason=reason, now=now)
            seen = await self._seen(conn)
        if number is not None and reason is not None and reason != "first":
            _log.error(
                "the database went back; older submissions are inquired before anything is submitted",
                epoch=number,
                reason=reason,
                why=database_epoch.REASONS[reason],
            )
        return seen

    async def _begun(self, conn: Connection, seen: _Seen, *, reason: Reason, now: datetime) -> int | None:
        if seen.epoch is not None:
            await conn.execute(_SQL["end_current"], {"now": now, "token": seen.epoch.token})
        cursor = await conn.execute(
            _SQL["begin"],
            {
                "token": self._token(),
                "installation": seen.installation or self._installation or self._token(),
                "reason": reason,
                "system_id": seen.server.system_id,
                "timeline": seen.server.timeline,
                "now": now,
            },
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        number = int(row[0])
        if reason != "first":
            await events.append(conn, [(None, DatabaseEpochChanged(number, reason))], now=now)
        return number

    async def _confirm(self, pool: Pool, seen: _Seen, *, began_s: float) -> None:
        assert seen.epoch is not None
        epoch = seen.epoch
        if self._is_pulsing:
            parameters = {
                "now": self._clock(),
                "token": epoch.token,
                "pulse": epoch.pulse,
                "started_at": seen.server.started_at,
            }
            async with connection(pool) as conn:
                row = await (await conn.execute(_SQL["pulse"], parameters)).fetchone()
            if row is None:
                return  # another server, or another epoch, between two statements: the next probe compares
            epoch = msgspec.structs.replace(epoch, pulse=row[0])
        async with connection(pool) as conn:
            history = await fetch_one(conn, _SQL["history"], into=dict[str, str])
        if history is None or (history["token"], history["started_at"]) != (
            epoch.token,
            seen.server.started_at,
        ):
            return  # likewise
        self._history = history["name"]
        self._installation = seen.installation
        self._number = epoch.number
        self._started_at = seen.server.started_at
        self._remember(seen.server, epoch)
        self._confirmed_s = began_s
        if self._is_pulsing:
            await self._write_marks()

    def _remember(self, server: Server, epoch: Epoch) -> None:
        self._mark = Mark(epoch.token, epoch.pulse, server.system_id, server.timeline, server.position)

    # --- marks outside Postgres ---

    async def _outside_marks(self, *, with_objects: bool) -> list[Mark]:
        """Read the marks that are kept outside Postgres, as many as answer in time."""
        found: list[Mark] = []
        if not self._installation:
            return found
        for kept in (self._mark_in_redis(), self._mark_in_objects() if with_objects else None):
            if kept is None:
                continue
            mark = await self._in_time(kept)
            if mark is not None:
                found.append(mark)
        return found

    async def _in_time(self, reading: Any) -> Mark | None:
        try:
            async with asyncio.timeout(_OUTSIDE_MAX_S):
                data = await reading
            mark = None if data is None else msgspec.json.decode(data, type=Mark)
        except (RedisError, OSError, TetherError, TimeoutError, msgspec.DecodeError) as exc:
            self._note_outside(exc)
            return None
        return mark

    async def _mark_in_redis(self) -> bytes | None:
        if self._cache is None:
            return None
        found = await self._cache.get(_REDIS_KEY + self._installation)
        return found if isinstance(found, bytes) else None

    async def _mark_in_objects(self) -> bytes | None:
        if self._store is None:
            return None
        try:
            chunks = [chunk async for chunk in await objects.get(self._store, self._object_key)]
        except objects.ObjectMissing:
            return None
        return b"".join(chunks)

    async def _write_marks(self) -> None:
        data = msgspec.json.encode(self._mark)
        try:
            async with asyncio.timeout(_OUTSIDE_MAX_S):
                if self._cache is not None:
                    await self._cache.set(_REDIS_KEY + self._installation, data)
                if self._store is not None and monotonic() - self._stored_s >= _OBJECTS_EVERY_S:
                    self._stored_s = monotonic()
                    await objects.put(self._store, self._object_key, _once(data))
        except (RedisError, OSError, StoreUnreachable, TimeoutError) as exc:
            self._note_outside(exc)
        else:
            self._is_outside_away = False

    @property
    def _object_key(self) -> str:
        return f"database-epoch/{self._installation}.json"

    def _note_outside(self, exc: Exception) -> None:
        if not self._is_outside_away:
            _log.warning(
                "high-water mark unavailable; continuing without it",
                why=type(exc).__name__,
            )
        self._is_outside_away = True


def _judge(seen: _Seen, own: Mark | None, outside: Sequence[Mark]) -> Reason | None:
    marks = [] if own is None else [own]
    if seen.epoch is None:
        return "epoch lost" if marks or outside else "first"
    return database_epoch.judge(seen.server, seen.epoch, known=seen.known, marks=marks, outside=outside)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _epoch(row: Any) -> tuple[Epoch, str, bool]:
    number, token, system_id, timeline, pulse, reason, age_s, installation, is_reviewed = row
    return Epoch(number, token, system_id, timeline, pulse, reason, age_s), installation, is_reviewed


def _server(*, is_standby: bool, **columns: Any) -> tuple[Server, bool]:
    return Server(**columns), is_standby


async def is_history(conn: Connection, name: str) -> bool:
    """
    Whether Postgres is in a history at this time; what was committed in it is still there then.

    Args:
        conn: Any connection, outside a transaction.
        name: From `Watch.history`.
    """
    history = await fetch_one(conn, _SQL["history"], into=dict[str, str])
    return history is not None and bool(history["name"] == name)


async def durability_warnings(conn: Connection) -> list[str]:
    """What is wrong with how this Postgres keeps commits, as sentences for the operator."""
    row = await (await conn.execute(_SQL["durability"])).fetchone()
    assert row is not None
    fsync, synchronous_commit, full_page_writes = row
    found: list[str] = []
    if fsync != "on":
        found.append("Postgres runs with fsync off: a power cut may destroy the database. Set fsync = on.")
    if synchronous_commit == "off":
        found.append(
            "Postgres runs with synchronous_commit off: a crash loses commits that were acknowledged. "
            "Set synchronous_commit = on."
        )
    if full_page_writes != "on":
        found.append(
            "Postgres runs with full_page_writes off: a power cut may leave torn pages. Set full_page_writes = on."
        )
    return found
