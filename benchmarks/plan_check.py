"""
Analyse an explain plan: every scan of a large table, and the pages read.

`EXPLAIN (ANALYZE, BUFFERS)` runs the query, in a transaction that is rolled back. Parameters are written into the text, so Postgres
plans for their values, as it does for statements that are not prepared.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from psycopg import ClientCursor

from benchmarks.plan_database import FILL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Case", "Plan", "explained", "large_tables", "trouble"]

_BINARY: Final = re.compile(r"%\((\w+)\)b")
# The smallest table that counts as large, in rows, where the largest have a million.
_LARGE_SHARE: Final = 0.019
_FIRST_PAGE: Final = 200


class Case(msgspec.Struct, frozen=True):
    """
    How a query is tried.

    Attributes:
        name: File and query, e.g. "outbox.tip", with a word for the variant where there are several.
        query: File and query.
        parameters: By name.
        reads_max: Rows that may be read from large tables, those among them that a filter throws away.
        buffers_max: Pages that may be touched.
        setup: Queries that are run first in the same transaction.
    """

    name: str
    query: str
    parameters: Mapping[str, object]
    reads_max: int = 2_000
    buffers_max: int = 10_000
    setup: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """
    What a query did.

    Attributes:
        scanned: Large tables that were read from the first page to the last.
        rows: Rows read from large tables, those thrown away among them.
        removed: Rows of large tables that were read and thrown away.
        buffers: Pages touched, in memory or on disk.
        ms: How long it took, planning included.
        text: The plan, a line a node.
    """

    scanned: tuple[str, ...]
    rows: int
    removed: int
    buffers: int
    ms: float
    text: str


def large_tables(conn: psycopg.Connection[Any], *, rows: int) -> frozenset[str]:
    """The names of the tables that grow with the number of debits, in a database that was filled."""
    found = conn.execute(FILL["large"], {"rows_min": int(rows * _LARGE_SHARE)}).fetchall()
    return frozenset(name for name, _ in found)


def explained(
    conn: psycopg.Connection[Any],
    queries: Mapping[str, str],
    case: Case,
    *,
    large: frozenset[str],
    undo: bool = True,
) -> Plan:
    """
    Run a query and see what it reads; nothing of it stays.

    Args:
        conn: On a database that was filled, in autocommit mode.
        queries: All named queries, by file and name.
        case: The query and its parameters.
        large: The names of large tables.
        undo: Whether it is rolled back.
    """
    with conn.transaction(force_rollback=undo), ClientCursor(conn) as cursor:
        for earlier in case.setup:
            cursor.execute(
                _text(queries.get(earlier) or FILL[earlier.removeprefix("plans.")]), case.parameters
            )
        cursor.execute(
            b"explain (analyze, buffers, format json) " + _text(queries[case.query]), case.parameters
        )
        row = cursor.fetchone()
    assert row is not None
    return _read(row[0][0], large=large)


def trouble(case: Case, plan: Plan) -> str | None:
    """What is wrong with a plan, or `None`."""
    if plan.scanned:
        return f"{case.name} reads all of {', '.join(plan.scanned)}"
    if plan.rows > case.reads_max:
        return f"{case.name} reads {plan.rows:,} rows of large tables ({plan.removed:,} in vain), {case.reads_max:,} may be"
    if plan.buffers > case.buffers_max:
        return f"{case.name} touches {plan.buffers:,} pages, {case.buffers_max:,} may be"
    return None


def _text(query: str) -> bytes:
    return _BINARY.sub(r"%(\1)s", query).encode()


def _read(payload: dict[str, Any], *, large: frozenset[str]) -> Plan:
    top = payload["Plan"]
    scanned, lines = list[str](), list[str]()
    rows = removed = 0
    for node, depth in _nodes(top, 0):
        loops = node.get("Actual Loops", 1)
        table = node.get("Relation Name")
        lost = loops * (node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0))
        read = loops * node.get("Actual Rows", 0) + lost
        index = node.get("Index Name", "")
        if table in large and node["Node Type"] not in {"ModifyTable", "LockRows"}:
            rows += int(read)
            removed += int(lost)
            # Whether there is any row at all is answered by the first page.
            if node["Node Type"] == "Seq Scan" and read > _FIRST_PAGE:
                scanned.append(table)
        elif node["Node Type"] == "Bitmap Index Scan" and any(index.startswith(item) for item in large):
            rows += int(read)
        lines.append(
            f"{'  ' * depth}{node['Node Type']} {table or ''} {index} rows={int(read)} removed={int(lost)}"
        )
    return Plan(
        tuple(scanned),
        rows,
        removed,
        top["Shared Hit Blocks"] + top["Shared Read Blocks"],
        payload["Planning Time"] + payload["Execution Time"],
        "\n".join(lines),
    )


def _nodes(node: dict[str, Any], depth: int) -> Iterator[tuple[dict[str, Any], int]]:
    yield node, depth
    for child in node.get("Plans", ()):
        yield from _nodes(child, depth + 1)
