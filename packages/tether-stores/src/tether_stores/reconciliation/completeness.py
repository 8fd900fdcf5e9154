"""Completeness against the gateway's reports; the queries are in `reconciliation/completeness.sql`."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import msgspec
from tether_core.reconciliation import completeness
from tether_core.reconciliation.completeness import (
    LISTS,
    CompletenessReport,
    Delays,
    ListName,
    ReportFetch,
    Way,
    report,
)
from tether_core.reconciliation.differences import DifferenceKind
from tether_core.reconciliation.status_inquiry import TRIES_MAX

from tether_stores.payments import billing_attempts
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.reconciliation import differences, report_fetches
from tether_stores.reconciliation.differences import DifferenceLine
from tether_stores.rows import fetch_all, fetch_pair

__all__ = ["Completeness", "contradicted", "delays", "draw_up", "lines"]

_SQL: Final = load("reconciliation/completeness")
_LINES_MAX: Final = 100


async def lines(conn: Connection, *, from_on: date, to_on: date) -> list[completeness.EventCount]:
    """The rows of known events of some days, both included, counted by way, state and outcome."""
    return await fetch_all(
        conn, _SQL["lines"], {"from_on": from_on, "to_on": to_on}, into=completeness.EventCount
    )


async def delays(conn: Connection, *, from_on: date, to_on: date) -> dict[Way, Delays]:
    """How long the news of some days took, by way; ways without any time are excluded."""
    cursor = await conn.execute(_SQL["delays"], {"from_on": from_on, "to_on": to_on})
    return {way: Delays(p50_s, p95_s, max_s) for way, p50_s, p95_s, max_s in await cursor.fetchall()}


async def contradicted(conn: Connection, *, from_on: date, to_on: date) -> tuple[int, int]:
    """How many notifications of some days the gateway contradicts: inquired again, and contradicted to the last."""
    span = {
        "from_at": datetime.combine(from_on, time(), tzinfo=UTC),
        "to_at": datetime.combine(to_on + timedelta(days=1), time(), tzinfo=UTC),
    }
    return await fetch_pair(conn, _SQL["contradicted"], span)


class Completeness(msgspec.Struct, frozen=True):
    """
    The report, and what else a person should know.

    Attributes:
        report: What the gateway knows of the days.
        complete: Whether every list was read and nothing in them is unexplained.
        left_open: Debits of unknown outcome whose status inquiries are used up.
        refunded_and_charged_back: Attempts that were both refunded and charged back.
        differences: Open reconciliation differences by kind, of all days.
        open_lines: The oldest of them, at most a hundred; `GET /api/reconciliation-differences` has all.
        inquired_again: Notifications received in these days that the gateway contradicts, and that are inquired again.
        contradicted: Those that it contradicted to the last.
        fetches: How far each of the gateway's lists of these days was read, by day, account and list.
    """

    report: CompletenessReport
    complete: bool
    left_open: int
    refunded_and_charged_back: list[int]
    differences: dict[DifferenceKind, int]
    open_lines: list[DifferenceLine]
    inquired_again: int = 0
    contradicted: int = 0
    fetches: tuple[ReportFetch, ...] = ()


async def draw_up(
    conn: Connection, *, from_on: date, to_on: date, accounts: Iterable[str], now: datetime
) -> Completeness:
    """
    Make the report of some days.

    Args:
        from_on: The first day, UTC.
        to_on: The last day, UTC.
        accounts: Accounts whose lists should have been read.

    Returns:
        The report.

    Raises:
        InvalidRequest: when the last day comes before the first.
    """
    expected: list[tuple[str, ListName]] = [(account, name) for account in accounts for name in LISTS]
    fetches = await report_fetches.of_days(conn, from_on=from_on, to_on=to_on)
    result = report(
        await lines(conn, from_on=from_on, to_on=to_on),
        fetches,
        from_on=from_on,
        to_on=to_on,
        expected=expected,
        now=now,
        delays_by_way=await delays(conn, from_on=from_on, to_on=to_on),
    )
    return Completeness(
        result,
        result.complete,
        await billing_attempts.left_open(conn, inquiry_count_max=TRIES_MAX),
        await billing_attempts.refunded_and_charged_back(conn),
        await differences.counts(conn),
        await differences.open_lines(conn, limit=_LINES_MAX),
        *await contradicted(conn, from_on=from_on, to_on=to_on),
        fetches=tuple(fetches),
    )
