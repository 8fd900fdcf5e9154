"""
Migrations: numbered files, applied once each, in order, by one process at a time.

A file is named `0007_pre_what.sql` or `0008_post_what.sql`. *Pre* migrations only add, so yesterday's code runs
on the new schema and they go before a deploy; *post* migrations take away and go after it. Each runs in its
own transaction under an advisory lock, with a lock timeout: a migration that cannot get its table within
seconds fails and may be run again, rather than queueing the whole site behind it.
"""

from collections.abc import Iterator
from datetime import datetime
from importlib import resources
from typing import Final, Literal

import psycopg
from tether_core.errors import StoreUnreachable

from tether_stores.queries import load, read

__all__ = ["Phase", "migrate", "numbered"]

Phase = Literal["pre", "post"]

_SQL: Final = load("schema_migrations")
# By SQLSTATE: lock_not_available, query_canceled.
_WHY: Final = {"55P03": "a table is locked; run it again", "57014": "a migration ran out of time"}


def numbered() -> Iterator[str]:
    """The names of all migrations, without their ending, in the order they are applied."""
    folder = resources.files("tether_stores").joinpath("sql", "migrations")
    yield from sorted(
        entry.name.removesuffix(".sql") for entry in folder.iterdir() if entry.name.endswith(".sql")
    )


def migrate(database_url: str, *, now: datetime, phase: Phase | None = None) -> list[str]:
    """
    Bring a database up to date.

    Args:
        database_url: A direct connection, not through a pooler: the lock belongs to the session.
        now: The moment to write beside each migration, aware, UTC.
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
            conn.execute(_SQL["lock"])
            conn.execute(_SQL["create"])
            done = {name for (name,) in conn.execute(_SQL["done"])}
            for name in numbered():
                if name in done or phase not in {None, name.split("_")[1]}:
                    continue
                with conn.transaction():
                    conn.execute(_SQL["set_timeouts"])
                    conn.execute(read(f"migrations/{name}.sql"))
                    conn.execute(_SQL["mark"], {"name": name, "now": now})
                applied.append(name)
    except psycopg.OperationalError as problem:
        raise StoreUnreachable("postgres", why=_WHY.get(problem.sqlstate or "", "no connection")) from problem
    return applied
