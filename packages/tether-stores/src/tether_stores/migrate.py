r"""
Migrations: numbered files, applied once each, in order, by one process at a time.

A file is named `0007_pre_what.sql` or `0008_post_what.sql`. *Pre* migrations only add, so yesterday's code runs
on the new schema and they go before a deploy; *post* migrations take away and go after it. Each runs in its
own transaction under an advisory lock, with a lock timeout: a migration that cannot get its table within
seconds fails and may be run again, rather than queueing the whole site behind it.

A file whose first line is `-- concurrently` is applied outside a transaction, statement by statement, so that nobody who
writes waits while an index is built over ten million rows. It holds only `create index concurrently if not exists` and
`drop index concurrently if exists`; both can be repeated, so a file that failed half-way is run again as a whole. An invalid index, which a
failed build leaves behind, is dropped and built again.

>>> [name for name, _ in concurrent_statements("-- concurrently\ncreate index concurrently if not exists a_by_b on a (b);")]
['a_by_b']
>>> concurrent_statements("-- concurrently\ncreate index a_by_b on a (b);")
Traceback (most recent call last):
    ...
ValueError: a migration marked "-- concurrently" holds only ... index concurrently if [not] exists: create index a_by_b on a (b)
"""

import re
import time
from collections.abc import Iterator
from datetime import datetime
from importlib import resources
from typing import Any, Final, Literal, LiteralString

import psycopg
from psycopg import sql
from tether_core.errors import StoreUnreachable

from tether_stores.pool import Connection
from tether_stores.queries import load, read

__all__ = [
    "Phase",
    "concurrent_statements",
    "is_concurrent",
    "migrate",
    "numbered",
    "pending",
    "wait_for_turn",
]

Phase = Literal["pre", "post"]

_SQL: Final = load("migrate")
# By SQLSTATE: lock_not_available, query_canceled.
_WHY: Final = {"55P03": "a table is locked; run it again", "57014": "a migration ran out of time"}
_MARK: Final = "-- concurrently\n"
_COMMENT: Final = re.compile(r"--.*")
_STATEMENT: Final = re.compile(
    r"(?:create (?:unique )?index concurrently if not exists|drop index concurrently if exists) ([a-z0-9_]+)\b"
)
# How long to wait while another process migrates: as long as an index over a large table may take.
_TURN_S: Final = 4 * 3_600
_TURN_PAUSE_S: Final = 0.1


def numbered() -> Iterator[str]:
    """The names of all migrations, without their ending, in the order they are applied."""
    folder = resources.files("tether_stores").joinpath("sql", "migrations")
    yield from sorted(
        entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql")
    )


def migrate(database_url: str, *, now: datetime, phase: Phase | None = None) -> list[str]:
    """
    Apply the pending migrations to a database.

    Args:
        database_url: A direct connection, not through a pooler: the lock belongs to the session.
        now: The time to write beside each migration, aware, UTC.
        phase: "pre" or "post" to apply only those, `None` for all.

    Returns:
        The names applied by this call, in order; empty when there was nothing to do.

    Raises:
        StoreUnreachable: when the database does not answer, or a table stays locked.
    """
    applied: list[str] = []
    try:
        with psycopg.connect(
            database_url, autocommit=True, connect_timeout=10, prepare_threshold=None
        ) as conn:
            wait_for_turn(conn)
            conn.execute(_SQL["create"])
            done = {name for (name,) in conn.execute(_SQL["done"])}
            for name in numbered():
                if name in done or phase not in {None, name.split("_")[1]}:
                    continue
                text = read(f"migrations/{name}.sql")
                if is_concurrent(text):
                    _apply_concurrently(conn, text)
                    conn.execute(_SQL["mark"], {"name": name, "now": now})
                else:
                    with conn.transaction():
                        conn.execute(_SQL["set_timeouts"])
                        conn.execute(text)
                        conn.execute(_SQL["mark"], {"name": name, "now": now})
                applied.append(name)
    except psycopg.OperationalError as exc:
        raise StoreUnreachable("postgres", why=_WHY.get(exc.sqlstate or "", "no connection")) from exc
    return applied


async def pending(conn: Connection) -> list[str]:
    """
    The names of the migrations that this database still needs, in order.

    Raises:
        SchemaBehind: when it was never migrated.
    """
    rows = await (await conn.execute(_SQL["done"])).fetchall()
    done = {name for (name,) in rows}
    return [name for name in numbered() if name not in done]


def wait_for_turn(conn: psycopg.Connection[Any]) -> None:
    """
    Wait until no other process migrates; the session keeps the turn until it ends.

    Raises:
        StoreUnreachable: when the other takes longer than an index over a large table may.
    """
    # A session that waits for the lock inside a statement holds a snapshot, and an index that is built concurrently waits for all older
    # snapshots: both would wait for each other. So the lock is tried, again and again, and nothing is held between.
    until = time.monotonic() + _TURN_S
    while not (conn.execute(_SQL["try_lock"]).fetchone() or (False,))[0]:
        if time.monotonic() > until:
            raise StoreUnreachable("postgres", why="another process is migrating; wait until it has ended")
        time.sleep(_TURN_PAUSE_S)


def is_concurrent(text: str) -> bool:
    """Whether the file of a migration is marked to be applied outside a transaction."""
    return text.startswith(_MARK)


def concurrent_statements(text: LiteralString) -> list[tuple[str, LiteralString]]:
    """
    Cut the file of a migration that is marked `-- concurrently`.

    Returns:
        The name of the index and the statement, for each.

    Raises:
        ValueError: when a statement is of another kind: it could leave half a migration behind.
    """
    parts = [part.strip() for part in _COMMENT.sub("", text).split(";")]
    found = [(_STATEMENT.match(part), part) for part in parts if part]
    for match, part in found:
        if match is None:
            problem = f'a migration marked "-- concurrently" holds only ... index concurrently if [not] exists: {part}'
            raise ValueError(problem)
    return [(match[1], part) for match, part in found if match]


def _apply_concurrently(conn: psycopg.Connection[Any], text: LiteralString) -> None:
    conn.execute(_SQL["set_timeouts_concurrently"])
    try:
        for index, statement in concurrent_statements(text):
            if conn.execute(_SQL["invalid"], {"index": index}).fetchone():
                conn.execute(sql.SQL(_SQL["drop_invalid"]).format(index=sql.Identifier(index)))
            conn.execute(statement)
    finally:
        if not conn.closed:
            conn.execute(_SQL["reset_timeouts"])
