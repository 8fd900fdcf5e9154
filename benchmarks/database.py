"""Run the benchmarks' own queries, in `benchmarks/sql`."""

from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from tether_stores.queries import split_file

from benchmarks.environment import Environment

__all__ = ["FLOOR", "PRODUCT", "added", "ask", "run", "set_shared_buffers"]

FLOOR: Mapping[str, LiteralString] = split_file("benchmarks", "sql/floor")
PRODUCT: Mapping[str, LiteralString] = split_file("benchmarks", "sql/product")


def added(environment: Environment, database: str) -> Environment:
    """Make an empty database, and yield an environment on it."""
    (statement,) = ask(environment, FLOOR["database"], name=database)[0]
    run(environment, statement.encode())
    return environment.on(database)


def ask(environment: Environment, query: LiteralString | bytes, **facts: object) -> list[tuple[Any, ...]]:
    """The rows of a query on the environment's database."""
    with psycopg.connect(
        environment.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None
    ) as conn:
        return conn.execute(query, facts or None).fetchall()


def run(environment: Environment, statement: LiteralString | bytes, **facts: object) -> None:
    """Run a statement that gives nothing."""
    with psycopg.connect(
        environment.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None
    ) as conn:
        conn.execute(statement, facts or None)


def set_shared_buffers(environment: Environment, size: str) -> None:
    """Start the environment's Postgres anew with other shared buffers, e.g. `4GB`."""
    server = environment.services.postgres
    assert server is not None
    statement = sql.SQL("alter system set shared_buffers = {}").format(sql.Literal(size))
    with psycopg.connect(environment.environ["DATABASE_URL"], autocommit=True) as conn:
        conn.execute(statement)
    server.restart()
