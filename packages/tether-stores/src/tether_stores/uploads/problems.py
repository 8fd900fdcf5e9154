"""Problems of rows; the queries are in `uploads/problems.sql`, which describes the rows."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from tether_core.spreadsheet import Problem

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_value

__all__ = ["ListedProblem", "RefusedRow", "as_csv", "copy", "count", "listed", "of_row", "of_rows", "warn"]

_SQL: Final = load("uploads/problems")


class ListedProblem(msgspec.Struct, frozen=True):
    """
    A problem for people; the columns of the query `listed`.

    Attributes:
        row: Number of the row in the file.
        ordinal: Place among the problems of that row, from 0.
        level: "error" when the row is refused for it, else "warning".
        column: The column's header, or its letters.
        code: A stable word; `tether_core.spreadsheet.CODES` lists them.
        excerpt: The cell, cut and masked.
        note: What is wrong and what to do, a sentence.
    """

    row: int
    ordinal: int
    level: str
    column: str
    code: str
    excerpt: str
    note: str


class RefusedRow(msgspec.Struct, frozen=True):
    """
    A row that became no debtor, for the report.

    Attributes:
        row: Its number in the file.
        cells: As they came.
        problems: All of them.
    """

    row: int
    cells: list[str]
    problems: list[Problem]


def as_csv(upload_id: int, rows: Iterable[tuple[list[str] | None, Iterable[Problem]]]) -> bytes:
    """
    Write problems as `copy` takes them.

    Args:
        upload_id: Whose.
        rows: For each row of the file its cells, or `None` for a row that became a debtor, and its problems.

    Returns:
        CSV in UTF-8.
    """
    text = io.StringIO()
    write = csv.writer(text).writerow
    for cells, problems in rows:
        for ordinal, item in enumerate(problems):
            kept = msgspec.json.encode(cells).decode() if cells is not None and ordinal == 0 else None
            column, excerpt, note = (_storable(part) for part in (item.column, item.excerpt, item.note))
            write((upload_id, item.row, ordinal, item.level, f"{column}", item.code, excerpt, note, kept))
    return text.getvalue().encode()


def _storable(text: str) -> str:
    # Postgres has no zero byte in text, and a header may hold one.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


async def copy(conn: Connection, data: bytes) -> None:
    """Add problems, as `as_csv` wrote them, inside the transaction that stores their rows."""
    async with conn.cursor().copy(_SQL["copy"]) as stream:
        await stream.write(data)


async def warn(conn: Connection, upload_id: int, found: Sequence[Problem]) -> tuple[int, int]:
    """
    Add warnings to rows that became debtors.

    Args:
        conn: Inside the transaction that counts them.
        upload_id: Whose.
        found: The warnings, one for each row at most; a row that has its code already keeps it.

    Returns:
        How many are new, and how many of these are the first of their row.
    """
    if not found:
        return 0, 0
    values = {
        "upload_id": upload_id,
        "rows": [problem.row for problem in found],
        "columns": [_storable(problem.column) for problem in found],
        "codes": [problem.code for problem in found],
        "excerpt": [_storable(problem.excerpt) for problem in found],
        "notes": [_storable(problem.note) for problem in found],
    }
    rows = await (await conn.execute(_SQL["warn"], values)).fetchall()
    return len(rows), sum(first for (first,) in rows)


async def count(conn: Connection, upload_id: int, *, code: str) -> int:
    """How many rows of an upload have a problem."""
    return await fetch_value(conn, _SQL["count"], {"upload_id": upload_id, "code": code}, into=int)


async def listed(
    conn: Connection,
    upload_id: int,
    *,
    limit: int,
    after: tuple[int, int],
    level: str | None,
    code: str | None,
) -> list[ListedProblem]:
    """
    One page of problems in the order of the file.

    Args:
        upload_id: Whose.
        limit: Problems at most.
        after: Row and ordinal of the last one shown; (0, -1) for the first page.
        level: Only "error" or "warning", or `None`.
        code: Only this code, or `None`.

    Returns:
        Up to *limit* problems.
    """
    return await fetch_all(
        conn,
        _SQL["listed"],
        {
            "upload_id": upload_id,
            "limit": limit,
            "after_row": after[0],
            "after_ordinal": after[1],
            "level": level,
            "code": code,
        },
        into=ListedProblem,
    )


async def of_rows(conn: Connection, upload_id: int, *, after_row: int, limit: int) -> list[RefusedRow]:
    """
    The next refused rows of an upload with their cells, in order.

    Args:
        upload_id: Whose.
        after_row: The last row seen, or 0.

    Returns:
        Up to *limit* rows of the file.
    """
    cursor = await conn.execute(
        _SQL["of_rows"], {"upload_id": upload_id, "after_row": after_row, "limit": limit}
    )
    found: list[RefusedRow] = []
    async for row, cells, column, code, excerpt, note, level in cursor:
        if not found or found[-1].row != row:
            found.append(RefusedRow(row, msgspec.json.decode(cells, type=list[str]), []))
        found[-1].problems.append(Problem(row, column, code, excerpt, note, level))
    return found


async def of_row(conn: Connection, upload_id: int, *, row: int) -> list[ListedProblem]:
    """What is known to be wrong with one row of a file."""
    cursor = await conn.execute(_SQL["of_row"], {"upload_id": upload_id, "row_number": row})
    return [ListedProblem(*found) for found in await cursor.fetchall()]
