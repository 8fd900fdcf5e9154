"""
Postgres: one pool per process, set up for a pooler in transaction mode and for restarts.

The pool uses no named prepared statements behind a pooler, no session settings, no session locks and no LISTEN: behind a
transaction pooler all of these would affect another client's connection. A connection is checked before it is handed out, so a restart of
Postgres fails only the requests of that time and requires no restart of Tether.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import psycopg
from psycopg import sql
from psycopg_pool import PoolTimeout, TooManyRequests
from tether_core.errors import StoreUnreachable, Unavailable

from tether_stores.pool import Connection, Pool
from tether_stores.queries import load

__all__ = [
    "FREEZE_S",
    "READ_S",
    "Connection",
    "ConnectionLost",
    "Pool",
    "Pooling",
    "Prepared",
    "QueryTooSlow",
    "SchemaBehind",
    "answers",
    "blames_store",
    "connection",
    "open_pool",
    "pooling",
    "reading",
    "transaction",
]

_SQL: Final = load("postgres")

# A process that is frozen inside a transaction loses its locks after this long. Transactions wait only for Postgres, so they are idle for
# milliseconds only.
FREEZE_S: Final = 5.0
# API queries take milliseconds. One that takes this long reads a whole table.
READ_S: Final = 5.0

Prepared: TypeAlias = Literal["auto", "on", "off"]
# How a pooler gives its connections to clients; "none" where there is no pooler.
Pooling: TypeAlias = Literal["none", "session", "transaction", "statement"]
# How long to wait for a connection of a pooler that gives each client one of its own.
_POOLING_S: Final = 3.0
_PROTOCOL_VIOLATION: Final = "08P01"
# A statement is prepared when it comes for the third time.
_PREPARED_AFTER: Final = 2
# The client sees a dead peer after about ten seconds instead of the kernel's quarter of an hour.
_KEEPALIVE: Final[dict[str, Any]] = {
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# SQLSTATEs of an unavailable server, as opposed to a bad statement: lost connections, read-only standbys, sessions that idled too
# long, deadlocks, out of memory or space, locks, shutdowns, failing disks. A value too large for an index (class 54) is not
# among them, although psycopg raises OperationalError for both. A missing table or column is: the program is newer than its database.
_NOT_THERE: Final = ("42P01", "42703")
_READ_ONLY: Final = "25006"
_STORES_TROUBLE: Final = ("08", _READ_ONLY, "25P03", "40", "53", "55P03", "57", "58", *_NOT_THERE)


class ConnectionLost(StoreUnreachable):
    """A connection broke while it was used; another one may work at once."""


class SchemaBehind(StoreUnreachable):
    """The database answers and lacks tables or columns: the operator must migrate it."""

    code = "schema_behind"
    retry_after_s = 30

    def __init__(self) -> None:
        super().__init__("postgres", why="not migrated")

    def __str__(self) -> str:
        return (
            "The database lacks tables or columns that this version needs; its operator must run "
            "`tether-worker migrate`."
        )


class QueryTooSlow(Unavailable):
    """
    A query was stopped because it took too long.

    Attributes:
        limit_s: How long it may take, in seconds.
    """

    code = "query_too_slow"
    retry_after_s = 30

    def __init__(self, *, limit_s: float) -> None:
        super().__init__(limit_s)
        self.limit_s = limit_s

    def __str__(self) -> str:
        return (
            f"The query took longer than {self.limit_s:g} s and was stopped. Narrow it by another filter, "
            "or try again when the database has less to do."
        )


@asynccontextmanager
async def open_pool(
    database_url: str,
    *,
    name: str,
    max_size: int,
    wait_s: float = 5.0,
    checked: bool = True,
    prepared: Prepared = "auto",
    looks_up_only: bool = False,
) -> AsyncIterator[Pool]:
    """
    A pool for the life of a process; it opens even while Postgres is away and recovers by itself.

    Args:
        database_url: May point at a pooler.
        name: Shown in logs and in `pg_stat_activity`.
        max_size: Connections at most; processes x max_size must stay below what Postgres or the pooler allows.
        wait_s: How long a caller waits for a connection before `StoreUnreachable`, in seconds.
        checked: Whether a connection is checked before it is handed out. That costs a round trip; a caller that
            can do its work again on a fresh connection may leave it out.
        prepared: Whether repeated statements are prepared by name, which not every pooler supports. "auto" checks each new connection for a
            pooler, and prepares statements where there is none.
        looks_up_only: Whether every statement looks up few rows by an index. Then a connection that keeps plans keeps one for
            each statement, and never plans to read a whole table: such a plan is cheap while a table is small, and is kept while the
            table grows. Only with "auto"; a pooler would carry the settings to other clients.

    Yields:
        The pool, open.
    """
    pool = Pool(
        database_url,
        kwargs={
            "autocommit": True,
            "prepare_threshold": _PREPARED_AFTER if prepared == "on" else None,
            "application_name": name,
            **_KEEPALIVE,
        },
        min_size=1,
        max_size=max_size,
        name=name,
        timeout=wait_s,
        max_lifetime=1_800,
        max_idle=300,
        # After this long without Postgres the pool stops trying on its own, and the next caller starts it again. By default the pool doubles
        # its waits, and would reconnect as long after an outage as it lasted.
        reconnect_timeout=2,
        check=Pool.check_connection if checked else None,
        configure=(_prepare_lookups_if_direct if looks_up_only else _prepare_if_direct)
        if prepared == "auto"
        else None,
    )
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        await pool.close(timeout=5)


async def _prepare_if_direct(conn: Connection) -> None:
    row = await (await conn.execute(_SQL["backend"], prepare=False)).fetchone()
    if row is not None and row[0] == conn.info.backend_pid:
        conn.prepare_threshold = _PREPARED_AFTER


async def _prepare_lookups_if_direct(conn: Connection) -> None:
    await _prepare_if_direct(conn)
    if conn.prepare_threshold is not None:
        await conn.execute(_SQL["look_ups"], prepare=False)


@asynccontextmanager
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """
    A connection in autocommit mode; failures of the connection come out as `StoreUnreachable`.

    Args:
        pool: From `open_pool`.

    Yields:
        A connection that answered a short time ago.

    Raises:
        StoreUnreachable: when none can be had.
        ConnectionLost: when it breaks inside the block, which is one kind of that.
        SchemaBehind: when the block asks for what the database does not have yet, which is another.
    """
    try:
        async with pool.connection() as conn:
            try:
                yield conn
            except psycopg.DatabaseError as exc:
                if exc.sqlstate == _READ_ONLY:
                    # After a failover this session stays on the server that is a standby now, and would be given out again
                    # and again. A closed one is replaced by a session on the primary.
                    await conn.close()
                # To psycopg a session that Postgres ended is not always an OperationalError: not after idling too long.
                if conn.closed:
                    raise ConnectionLost("postgres", why=_kind(exc)) from exc
                raise
    except (PoolTimeout, TooManyRequests) as exc:
        raise StoreUnreachable("postgres", why="no connection in time") from exc
    except psycopg.Error as exc:
        if exc.sqlstate in _NOT_THERE:
            raise SchemaBehind from exc
        if not blames_store(exc):
            raise
        raise ConnectionLost("postgres", why=_kind(exc)) from exc


@asynccontextmanager
async def transaction(pool: Pool, *, freeze_s: float = FREEZE_S) -> AsyncIterator[Connection]:
    """
    A connection inside one transaction: committed when the block ends, rolled back when it raises.

    Args:
        pool: From `open_pool`.
        freeze_s: How long the transaction may idle before Postgres ends its session and frees its rows, in seconds.

    Yields:
        The connection.

    Raises:
        StoreUnreachable: as `connection`.
    """
    async with connection(pool) as conn:
        # Two statements in one message, which cannot be prepared.
        await conn.execute(_begin(round(freeze_s * 1000)), prepare=False)
        yield conn  # the pool rolls back what raises
        await conn.commit()


@asynccontextmanager
async def reading(pool: Pool, *, limit_s: float = READ_S) -> AsyncIterator[Connection]:
    """
    A connection inside one read-only transaction, for requests of the API.

    Args:
        pool: From `open_pool`.
        limit_s: How long one statement may take, in seconds.

    Yields:
        The connection.

    Raises:
        QueryTooSlow: when a statement took longer.
        StoreUnreachable: as `connection`.
    """
    async with connection(pool) as conn:
        await conn.execute(_begin_read(round(limit_s * 1000), round(FREEZE_S * 1000)), prepare=False)
        try:
            yield conn
        except psycopg.errors.QueryCanceled as exc:
            raise QueryTooSlow(limit_s=limit_s) from exc
        await conn.commit()


@lru_cache
def _begin_read(timeout_ms: int, freeze_ms: int) -> bytes:
    return (
        sql.SQL(_SQL["read"])
        .format(timeout_ms=sql.Literal(timeout_ms), freeze_ms=sql.Literal(freeze_ms))
        .as_bytes()
    )


@lru_cache
def _begin(freeze_ms: int) -> bytes:
    return sql.SQL(_SQL["begin"]).format(freeze_ms=sql.Literal(freeze_ms)).as_bytes()


def blames_store(exc: BaseException) -> bool:
    """Whether an error of the driver is about the state of the store, so that time must pass, and not about the statement."""
    if not isinstance(exc, psycopg.Error):
        return False
    if exc.sqlstate is None:
        return isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError)
    return exc.sqlstate.startswith(_STORES_TROUBLE)


async def answers(pool: Pool) -> bool:
    """Whether Postgres answers a query now."""
    try:
        async with connection(pool) as conn:
            await conn.execute("select 1")
    except StoreUnreachable:
        return False
    return True


async def pooling(database_url: str) -> Pooling:
    """
    How connections are pooled on the way to Postgres: seen from which server process answers whom.

    Returns:
        "session" also for a pooler that has no connection left to see it by.

    Raises:
        StoreUnreachable: when Postgres does not answer.
    """
    async with AsyncExitStack() as stack:

        async def connected() -> Connection:
            opened = await Connection.connect(
                database_url,
                autocommit=True,
                prepare_threshold=None,
                application_name="tether-doctor",
                **_KEEPALIVE,
            )
            return await stack.enter_async_context(opened)

        try:
            first = await connected()
            server = await _server(first)
            if server == first.info.backend_pid:
                return "none"
            async with asyncio.timeout(_POOLING_S):
                for _ in range(2):
                    other = await connected()
                    await stack.enter_async_context(other.transaction())
                    if await _server(other) == server or await _server(first) != server:
                        return "transaction"
        except TimeoutError:
            return "session"
        except psycopg.OperationalError as exc:
            if exc.sqlstate == _PROTOCOL_VIOLATION:  # PgBouncer refuses to begin a transaction
                return "statement"
            raise StoreUnreachable("postgres", why=_kind(exc)) from exc
        return "session"


async def _server(conn: Connection) -> int:
    row = await (await conn.execute(_SQL["backend"], prepare=False)).fetchone()
    assert row is not None
    return int(row[0])


def _kind(problem: psycopg.Error) -> str:
    # The message of a driver may carry addresses and names; its class and SQLSTATE do not.
    return f"{type(problem).__name__} {problem.sqlstate or ''}".strip()
