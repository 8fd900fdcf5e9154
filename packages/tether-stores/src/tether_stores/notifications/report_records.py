"""Records of the gateway's reports in the inbox; the queries are in `notifications/report_records.sql`."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import msgspec
from tether_core.emp.notification import FORM
from tether_core.reconciliation.report_records import ReportRecord

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["StoredRow", "add", "mark_listed", "stored_rows"]

_SQL: Final = load("notifications/report_records")


class StoredRow(msgspec.Struct, frozen=True):
    """
    A stored notification about an event of a report.

    Attributes:
        place: Index of the event in the request, from 0.
        id: The row.
        outcome: The result of applying it; `None` before.
        content_type: Media type of the body.
        body: The bytes as received.
        error_code: Of the gateway's own record, if an inquiry was made.
        reason_code: The same.
    """

    place: int
    id: int
    outcome: str | None
    content_type: str
    body: bytes
    error_code: str | None
    reason_code: str | None


async def stored_rows(conn: Connection, records: Sequence[ReportRecord]) -> list[StoredRow]:
    """
    Stored notifications about the events of report records.

    Returns:
        Rows ordered by place and id; any number for each record.
    """
    return await fetch_all(
        conn,
        _SQL["stored_rows"],
        {
            "accounts": [item.account for item in records],
            "notification_ids": [item.notification.id for item in records],
            "statuses": [item.notification.status for item in records],
            "events": [item.notification.event for item in records],
        },
        into=StoredRow,
        binary=True,
    )


async def add(conn: Connection, records: Sequence[ReportRecord], *, now: datetime) -> dict[bytes, int]:
    """
    Store report records in the inbox, as confirmed notifications that are due.

    Args:
        conn: Inside the transaction that counts them.
        records: n records; some may be stored already.
        now: The time of receipt.

    Returns:
        Key to row of those that are new.
    """
    cursor = await conn.execute(
        _SQL["add"],
        {
            "keys": [item.key for item in records],
            "contents": [item.content for item in records],
            "accounts": [item.account for item in records],
            "notification_ids": [item.notification.id for item in records],
            "statuses": [item.notification.status for item in records],
            "events": [item.notification.event for item in records],
            "error_codes": [item.confirmation.error_code for item in records],
            "reason_codes": [item.confirmation.reason_code for item in records],
            "transaction_ids": [item.confirmation.transaction_id for item in records],
            "bodies": [item.body for item in records],
            "content_type": FORM,
            "now": now,
        },
    )
    return {bytes(key): row_id for row_id, key in await cursor.fetchall()}


async def mark_listed(
    conn: Connection,
    rows: Sequence[tuple[int, datetime | None]],
    *,
    listed_on: date,
    override: bool,
) -> None:
    """
    Note on which day's report the gateway lists the events of some rows.

    Args:
        conn: Inside the transaction that counts them.
        rows: Row and the gateway's own time of the event, if the report has one.
        listed_on: The day of the report.
        override: Whether this report takes precedence over others with the same event.
    """
    if not rows:
        return
    await conn.execute(
        _SQL["mark_listed"],
        {
            "ids": [row_id for row_id, _ in rows],
            "happened_ats": [happened_at for _, happened_at in rows],
            "listed_on": listed_on,
            "override": override,
        },
    )
