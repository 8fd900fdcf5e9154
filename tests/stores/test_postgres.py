"""The pool: through restarts, through long outages, and through a pooler that shares connections by transaction."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import psycopg
import pytest
from tether_core.errors import StoreUnreachable
from tether_stores.notifications import event_lists, webhook_events
from tether_stores.notifications.webhook_events import Finish, Recording
from tether_stores.postgres import (
    FREEZE_S,
    ConnectionLost,
    answers,
    connection,
    open_pool,
    pooling,
    transaction,
)

from tests.support.clock import NOON
from tests.support.poolers import pgbouncer, pool_modes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tether_sandbox.services import Services
    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Pool, Prepared


def _row(name: str) -> Recording:
    key = name.encode().ljust(16, b".")
    return Recording(key, key, "default", "payment", name, "approved", "", "text/plain", b"body")


# --- plans ---


@pytest.mark.parametrize(("prepared", "kept"), [("off", 0), ("on", 1), ("auto", 1)])
async def test_plans_are_kept_on_a_direct_connection_unless_switched_off(
    database_url: str, prepared: Prepared, kept: int
) -> None:
    """Behind a pooler in transaction mode a kept plan is another client's; without one it saves a third of the work."""
    async with (
        open_pool(database_url, name="tests", max_size=1, prepared=prepared) as pool,
        connection(pool) as conn,
    ):
        for number in range(5):
            await conn.execute("select %s::int", [number])
        row = await (
            await conn.execute("select count(*) from pg_prepared_statements", prepare=False)
        ).fetchone()
    assert row == (kept,)


# --- restarts ---


async def test_a_restart_costs_no_call_after_it(
    database_url: str, services: Services, eventually: Callable[..., Any]
) -> None:
    """All idle connections die with a restart.

    The next caller must be served, without a restart.
    """
    async with open_pool(database_url, name="tests", max_size=4, wait_s=5) as pool:
        await asyncio.gather(*(_use(pool) for _ in range(4)))
        if services.postgres:
            services.postgres.restart()
        await asyncio.gather(*(_use(pool) for _ in range(4)))


async def _use(pool: Pool) -> None:
    async with connection(pool) as conn:
        await conn.execute("select pg_sleep(0.05)")


async def test_a_pool_opens_while_postgres_is_unavailable_and_finds_it_later(
    database_url: str, services: Services, eventually: Callable[..., Any]
) -> None:
    """Nodes start in any order. One that came before its database must not have to be started twice."""
    if services.postgres:
        services.postgres.stop()
    async with open_pool(database_url, name="tests", max_size=2, wait_s=0.2) as pool:
        assert await answers(pool) is (services.postgres is None)
        if services.postgres:
            services.postgres.start()
        await eventually(lambda: answers(pool), what="the pool to find Postgres")


async def test_after_a_long_outage_the_pool_is_back_at_once(eventually: Callable[..., Any]) -> None:
    """Waits between tries must not grow.

    After an hour without Postgres they would add another hour of 503.
    """
    await asyncio.gather(*(_tries_stay_close(size, eventually) for size in (1, 4)))


async def _tries_stay_close(size: int, eventually: Callable[..., Any]) -> None:
    tries: list[float] = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tries.append(monotonic())
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"postgresql://u@127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    async with server, open_pool(url, name="tests", max_size=size, wait_s=0.1) as pool:

        async def tried_for_long() -> bool:
            assert not await answers(pool)
            return bool(tries) and tries[-1] - tries[0] > 6.5

        await eventually(tried_for_long, what="tries over some seconds")
    assert max(later - earlier for earlier, later in pairwise(tries)) < 3.5


async def test_callers_who_gave_up_do_not_keep_the_pool_from_coming_back(
    database_url: str, services: Services, eventually: Callable[..., Any]
) -> None:
    """A pool that remembers callers of an outage refuses everybody after it, until the process is restarted.

    More wait here than the pool lets wait, for longer than psycopg tries to connect by itself.
    """
    if services.postgres:
        services.postgres.stop()
    async with open_pool(database_url, name="tests", max_size=4, wait_s=0.2) as pool:
        began_s = monotonic()
        while monotonic() - began_s < 5:
            results = await asyncio.gather(*(answers(pool) for _ in range(300)))
            assert not any(results) or services.postgres is None
        if services.postgres:
            services.postgres.start()
        await eventually(lambda: answers(pool), what="the pool to find Postgres")
        await asyncio.gather(*(_use(pool) for _ in range(4)))
        # Nobody waits any more, and as many connections as before can be had at once.
        assert pool.get_stats().get("requests_waiting", 0) == 0


async def test_a_session_on_a_server_that_takes_no_writes_is_not_given_out_again(database_url: str) -> None:
    """After a failover a session can stay on the old primary, which only reads now.

    Refunded to the pool it would fail everybody who writes, for as long as it lives.
    """
    async with open_pool(database_url, name="tests", max_size=1) as pool:
        async with connection(pool) as conn:
            await conn.execute("set default_transaction_read_only = on")
            first = conn.info.backend_pid
        with pytest.raises(ConnectionLost):
            async with connection(pool) as conn:
                await conn.execute("create table t (n int)")
        async with connection(pool) as conn:
            assert conn.info.backend_pid != first
            await conn.execute("create table t (n int)")


async def test_failures_say_what_failed_and_never_where(database_url: str, services: Services) -> None:
    """The address of the database holds its password; the error travels into answers and log lines."""
    url = "postgresql://postgres:hunter2@127.0.0.1:1/x"
    async with open_pool(url, name="tests", max_size=1, wait_s=0.1) as pool:
        with pytest.raises(StoreUnreachable) as raised:
            await _use(pool)
    assert str(raised.value) == ("Postgres is not reachable (no connection in time); try again in 5 s.")
    async with open_pool(database_url, name="tests", max_size=1) as pool:
        with pytest.raises(ConnectionLost, match=r"Postgres is not reachable \(AdminShutdown 57P01\)"):
            async with connection(pool) as conn:
                await conn.execute("select pg_terminate_backend(pg_backend_pid())")


async def test_too_many_callers_get_a_sentence(database_url: str) -> None:
    """A pool that is used up answers each caller within its time instead of collecting them."""
    async with open_pool(database_url, name="tests", max_size=1, wait_s=0.2) as pool, connection(pool):
        with pytest.raises(StoreUnreachable, match="no connection in time"):
            await _use(pool)


async def test_a_failed_block_leaves_nothing(database_url: str) -> None:
    """Effects and mark stand in one transaction; an error in its middle must take both back."""
    async with open_pool(database_url, name="tests", max_size=1) as pool:
        with contextlib.suppress(ZeroDivisionError):
            async with transaction(pool) as conn:
                await webhook_events.record(conn, [_row("a")], now=NOON)
                raise ZeroDivisionError
        async with transaction(pool) as conn:
            await webhook_events.record(conn, [_row("b")], now=NOON)
        async with connection(pool) as conn:
            cursor = await conn.execute("select notification_id from webhook_events")
            assert await cursor.fetchall() == [("b",)]


# --- frozen processes ---

_BOUND = "select setting from pg_settings where name = 'idle_in_transaction_session_timeout'"


async def test_every_transaction_bounds_how_long_it_may_idle(database_url: str) -> None:
    """A process frozen between lock and commit would hold debits away from all others until somebody kills it.

    The bound must not stay on the connection, which a pooler shares.
    """
    async with open_pool(database_url, name="tests", max_size=1, prepared="on") as pool:
        for _ in range(4):  # what comes again is prepared; two statements in one message cannot be
            async with transaction(pool) as conn:
                assert await (await conn.execute(_BOUND)).fetchone() == (str(int(FREEZE_S * 1000)),)
            async with connection(pool) as conn:
                assert await (await conn.execute(_BOUND)).fetchone() == ("0",)


async def test_a_frozen_process_loses_its_rows_and_learns_it(
    database_url: str, eventually: Callable[..., Any]
) -> None:
    """A resumed worker that treats its claim as committed would call the gateway for a debit that another worker holds."""
    async with (
        open_pool(database_url, name="tests-frozen", max_size=1) as pool,
        open_pool(database_url, name="tests", max_size=1) as others,
    ):

        async def lost() -> bool:
            async with connection(others) as conn:
                query = "select from pg_stat_activity where application_name = 'tests-frozen'"
                return (await conn.execute(query)).rowcount == 0

        async def freeze() -> None:
            async with transaction(pool, freeze_s=0.05) as conn:
                await webhook_events.record(conn, [_row("a")], now=NOON)
                await eventually(lost, what="Postgres to end the session")

        with pytest.raises(ConnectionLost):
            await freeze()
        async with connection(others) as conn:
            assert await webhook_events.record(conn, [_row("a")], now=NOON)


# --- a pooler in transaction mode ---


async def _use_all(pool: Pool, number: int) -> None:
    """Do what the inbox does with its connection, and what the worker does."""
    async with connection(pool) as conn:
        await webhook_events.record(conn, [_row(f"{number}-{n}") for n in range(5)], now=NOON)
    await _apply(pool)


async def _apply(pool: Pool) -> int:
    async with transaction(pool) as conn:
        rows = await webhook_events.claim(conn, now=NOON, limit=5, freeze_s=5)
        finished = [Finish(row.id, "processed", "applied", "moved", 0, None, None) for row in rows]
        async with conn.transaction():
            await webhook_events.finish(conn, finished, now=NOON)
    return len(rows)


class _Pooler:
    """What pgBouncer does in transaction mode, and no more.

    A server connection belongs to a client from the first message of a transaction to the end of it. Source:
    https://www.postgresql.org/docs/18/protocol-message-formats.html
    """

    def __init__(self, url: str, *, size: int) -> None:
        # The driver signs in; from then on its connection is only a socket, until it is closed.
        self._servers = [psycopg.connect(url, autocommit=True) for _ in range(size)]
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._clients: set[asyncio.Task[None]] = set()
        self.round_trips = 0

    async def __aenter__(self) -> Self:
        for signed_in in self._servers:
            shared = socket.socket(fileno=os.dup(signed_in.fileno()))
            self._free.put_nowait(await asyncio.open_connection(sock=shared))
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._listener.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        while not self._free.empty():
            _, writer = self._free.get_nowait()
            writer.close()
            await writer.wait_closed()
        for signed_in in self._servers:
            signed_in.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await self._greet(reader, writer)
            while True:
                await self._one_transaction(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (length,) = struct.unpack("!I", await reader.readexactly(4))
            asked = await reader.readexactly(length - 4)
            if asked[:4] in {struct.pack("!I", 80877103), struct.pack("!I", 80877104)}:
                writer.write(b"N")  # no TLS, no GSSAPI
                continue
            break
        said = [_message(b"R", struct.pack("!I", 0))]  # signed in
        for name, value in {"server_version": "18.0", "client_encoding": "UTF8", "TimeZone": "UTC"}.items():
            said.append(_message(b"S", f"{name}\0{value}\0".encode()))
        said += [_message(b"K", b"\0" * 8), _message(b"Z", b"I")]
        writer.write(b"".join(said))
        await writer.drain()

    async def _one_transaction(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind, message = await _read(reader)
        if kind == b"X":
            raise ConnectionError
        from_server, to_server = await self._free.get()
        status = b""
        try:
            while status != b"I":
                to_server.write(message)
                # An answer is awaited where the protocol has one: to a query, and to a Sync behind parts of one.
                self.round_trips += kind in {b"Q", b"S"}
                while kind in {b"Q", b"S"}:
                    said, answer = await _read(from_server)
                    writer.write(answer)
                    if said == b"Z":
                        status = answer[-1:]
                        await writer.drain()
                        break
                if status != b"I":
                    kind, message = await _read(reader)
        finally:
            self._free.put_nowait((from_server, to_server))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!I", head[1:])
    return head[:1], head + await reader.readexactly(length - 4)


@contextlib.asynccontextmanager
async def _ours(url: str, *, size: int, **_: Any) -> AsyncIterator[str]:
    async with _Pooler(url, size=size) as pooler:
        yield f"postgresql://tests@127.0.0.1:{pooler.port}{urlsplit(url).path}"


@contextlib.asynccontextmanager
async def _pgbouncer(
    url: str,
    *,
    size: int,
    folder: Path,
    process: Launch,
    eventually: Callable[..., Any],
    mode: str = "transaction",
) -> AsyncIterator[str]:
    program, own = pgbouncer(url, size=size, mode=mode, folder=folder, process=process)

    async def up() -> bool:
        assert program.returncode is None, program.stderr
        async with await psycopg.AsyncConnection.connect(own) as conn:
            return not conn.closed

    await eventually(up, what="pgbouncer", despite=(psycopg.OperationalError,))
    yield own


_POOLERS: dict[str, Any] = {"ours": _ours}
if pool_modes():
    _POOLERS["pgbouncer"] = _pgbouncer


@pytest.mark.parametrize("pooled", _POOLERS.values(), ids=_POOLERS)
async def test_everything_works_through_a_pooler_in_transaction_mode(
    pooled: Any, database_url: str, tmp_path: Path, process: Launch, eventually: Callable[..., Any]
) -> None:
    """Behind a pooler each transaction may run on another connection.

    What lives longer is lost. Two server connections for eight callers, who do all that the way of a
    notification does.
    """
    async with (
        pooled(database_url, size=2, folder=tmp_path, process=process, eventually=eventually) as url,
        open_pool(url, name="tests", max_size=8, wait_s=5) as pool,
    ):
        await asyncio.gather(*(_use_all(pool, n) for n in range(24)))
        while await _apply(pool):
            pass
        async with connection(pool) as conn:
            counts = await event_lists.counts(conn, now=NOON)
    assert (counts.processed, counts.waiting) == (24 * 5, 0)


_MODES: list[tuple[Any, str]] = [(_ours, "transaction"), *((_pgbouncer, mode) for mode in pool_modes())]


@pytest.mark.parametrize(("pooled", "mode"), _MODES, ids=[f"{made.__name__}-{mode}" for made, mode in _MODES])
async def test_the_mode_of_a_pooler_is_recognised(
    pooled: Any,
    mode: str,
    database_url: str,
    tmp_path: Path,
    process: Launch,
    eventually: Callable[..., Any],
) -> None:
    """In statement mode nothing works, and every error would seem to be another one; in session mode connections run out."""
    async with pooled(
        database_url, size=2, folder=tmp_path, process=process, eventually=eventually, mode=mode
    ) as url:
        assert await pooling(url) == mode


async def test_a_direct_connection_has_no_pooler(database_url: str) -> None:
    """Advice about a pooler that is not there would be followed."""
    assert await pooling(database_url) == "none"
    with pytest.raises(StoreUnreachable):
        await pooling("postgresql://nobody@127.0.0.1:1/x")


@pytest.mark.parametrize("pooled", _POOLERS.values(), ids=_POOLERS)
async def test_no_plan_is_kept_behind_a_pooler(
    pooled: Any, database_url: str, tmp_path: Path, process: Launch, eventually: Callable[..., Any]
) -> None:
    """A plan kept behind a pooler is on somebody else's connection the next time, and the statement fails."""
    async with (
        pooled(database_url, size=1, folder=tmp_path, process=process, eventually=eventually) as url,
        open_pool(url, name="tests", max_size=1, wait_s=5, prepared="auto") as pool,
        connection(pool) as conn,
    ):
        for number in range(5):
            await conn.execute("select %s::int", [number])
        row = await (
            await conn.execute("select count(*) from pg_prepared_statements", prepare=False)
        ).fetchone()
    assert row == (0,)


async def test_a_transaction_costs_two_round_trips_beside_its_work(database_url: str) -> None:
    """What bounds a transaction is said with its beginning: one message more would slow down every applying and debit."""
    async with (
        _Pooler(database_url, size=1) as pooler,
        open_pool(
            f"postgresql://tests@127.0.0.1:{pooler.port}/x",
            name="tests",
            max_size=1,
            checked=False,
            prepared="off",
        ) as pool,
    ):
        async with transaction(pool) as conn:
            before = pooler.round_trips
            await conn.execute("select 1")
        assert (before, pooler.round_trips) == (1, 3)


async def test_the_pooler_of_these_tests_shares_connections(database_url: str) -> None:
    """A pooler that gave every client a connection of its own would show nothing of what we must not use."""
    async with (
        _Pooler(database_url, size=1) as pooler,
        await psycopg.AsyncConnection.connect(
            f"postgresql://tests@127.0.0.1:{pooler.port}/x", autocommit=True
        ) as first,
        await psycopg.AsyncConnection.connect(
            f"postgresql://tests@127.0.0.1:{pooler.port}/x", autocommit=True
        ) as second,
    ):
        await first.execute("set statement_timeout = 1234")
        leaked = await (await second.execute("show statement_timeout")).fetchone()
        assert leaked == ("1234ms",)
        await first.execute("prepare mine as select 1")
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
            await second.execute("prepare mine as select 2")
