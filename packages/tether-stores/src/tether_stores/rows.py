"""
Rows of a query as values, matched by the names of their columns.

A column that is added to a query is added to the type it is read into, and nowhere between.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, LiteralString, TypeVar

from psycopg.rows import kwargs_row

from tether_stores.pool import Connection

__all__ = ["fetch_all", "fetch_one", "fetch_pair", "fetch_value"]

T = TypeVar("T")

_Parameters = Mapping[str, Any] | Sequence[Any] | None


async def fetch_all(
    conn: Connection,
    query: LiteralString,
    parameters: _Parameters = None,
    *,
    into: Callable[..., T],
    binary: bool = False,
) -> list[T]:
    """
    Every row of a query.

    Args:
        query: Its columns are named like the arguments of *into*.
        parameters: Of the query.
        into: Called for each row with its columns as keyword arguments.
        binary: Whether values come in binary, as fingerprints and bodies should.
    """
    async with conn.cursor(row_factory=kwargs_row(into), binary=binary) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def fetch_one(
    conn: Connection,
    query: LiteralString,
    parameters: _Parameters = None,
    *,
    into: Callable[..., T],
    binary: bool = False,
) -> T | None:
    """The first row of a query as by `fetch_all`, or `None` where there is no row."""
    async with conn.cursor(row_factory=kwargs_row(into), binary=binary) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchone()


async def fetch_value(
    conn: Connection, query: LiteralString, parameters: _Parameters = None, *, into: Callable[[Any], T]
) -> T:
    """The first column of a query that always has a row, such as a count or an `exists`."""
    row = await (await conn.execute(query, parameters)).fetchone()
    assert row is not None
    return into(row[0])


async def fetch_pair(
    conn: Connection, query: LiteralString, parameters: _Parameters = None
) -> tuple[int, int]:
    """The two numbers of a query that always has a row, such as a count and a sum."""
    row = await (await conn.execute(query, parameters)).fetchone()
    assert row is not None
    first, second = row
    return int(first), int(second)
