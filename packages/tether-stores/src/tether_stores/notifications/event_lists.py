"""Notifications in lists and counts for people; the queries are in `notifications/event_lists.sql`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.payments.attempt import Confirmation

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = [
    "InboxCounts",
    "WebhookEvent",
    "by_id",
    "confirmation_of",
    "counts",
    "listed",
    "of_ids",
    "unfinished",
]

_SQL: Final = load("notifications/event_lists")


class InboxCounts(msgspec.Struct, frozen=True):
    """
    Rows of the inbox by state.

    Attributes:
        waiting: Due now.
        deferred: Due later.
        confirming: Waiting for a status inquiry.
        processed: Processed.
        parked: Waiting for a person.
        conflicting: Same key as a stored one, other content; waiting for a person.
        inquired_again: Contradicted by the gateway; further inquiries follow.
        contradicted: Contradicted by the gateway in every inquiry.
        oldest_due_s: Age of the oldest due row, in seconds.
    """

    waiting: int
    deferred: int
    confirming: int
    processed: int
    parked: int
    conflicting: int
    inquired_again: int
    contradicted: int
    oldest_due_s: float


class WebhookEvent(msgspec.Struct, frozen=True):
    """
    A notification in lists.

    Attributes:
        id: Our row.
        source: "webhook", or "report" for a record of the gateway's reports.
        kind: What it is about: "payment" and so on, see `tether_core.emp.notification`.
        notification_id: The signed id; for a payment, the gateway's `unique_id`.
        status: The status as reported.
        event: The event of a dispute, if there is one.
        account: The gateway account that signed.
        state: Its state, see `tether_core.notifications.inbox`.
        outcome: The result: "applied", "unchanged", "contradicted" and so on; null before.
        reason: The cause of the outcome, a stable word.
        failures: Attempts to apply it that failed.
        attempt_id: The billing attempt that it names, if there is one.
        conflicts_with: For a conflicting one: the row with the same key and other content.
        confirmed_status: The status in the gateway's own record, if an inquiry was made.
        confirmed_at: When that record was stored.
        contradicted_count: How often the gateway contradicted it.
        first_contradicted_at: When the gateway first contradicted it.
        last_contradicted_at: When the gateway last contradicted it.
        received_at: When it was received.
        next_at: When it is due; null when it is complete.
        handled_at: When it was last processed.
        relay_id: The relay by which it first came; null for the plain route.
        sender: The address of its sender, where it came by a relay.
    """

    id: int
    source: str
    kind: str
    notification_id: str
    status: str
    event: str | None
    account: str
    state: str
    outcome: str | None
    reason: str | None
    failures: int
    attempt_id: int | None
    conflicts_with: int | None
    confirmed_status: str | None
    confirmed_at: datetime | None
    contradicted_count: int
    first_contradicted_at: datetime | None
    last_contradicted_at: datetime | None
    received_at: datetime
    next_at: datetime | None
    handled_at: datetime | None
    relay_id: int | None
    sender: str | None


async def listed(
    conn: Connection,
    *,
    limit: int,
    before: int | None,
    state: str | None,
    notification_id: str | None,
    account: str | None,
) -> list[WebhookEvent]:
    """
    One page of the inbox, newest first.

    Args:
        before: Only rows with a smaller id; `None` for the first page.
        state: Only rows in this state; `None` for all.
        notification_id: Only rows of this gateway id; `None` for all.
        account: Only rows of this gateway account, beside another filter (`tether_core.notifications.filters`); `None` for all.
    """
    values = {
        "limit": limit,
        "before": before,
        "state": state,
        "notification_id": notification_id,
        "account": account,
    }
    return await fetch_all(conn, _SQL["listed"], values, into=WebhookEvent)


async def of_ids(conn: Connection, notification_ids: Sequence[str], *, limit: int) -> list[WebhookEvent]:
    """The notifications of some ids of the gateway, newest first, up to *limit*."""
    values = {"notification_ids": list(notification_ids), "limit": limit}
    return await fetch_all(conn, _SQL["of_ids"], values, into=WebhookEvent)


async def by_id(conn: Connection, row_id: int) -> tuple[WebhookEvent, str, bytes] | None:
    """One row with its media type and raw body, or `None`."""
    row = await fetch_one(conn, _SQL["by_id"], {"id": row_id}, into=dict[str, Any])
    if row is None:
        return None
    content_type, body = row.pop("content_type"), bytes(row.pop("body"))
    return WebhookEvent(**row), content_type, body


async def counts(conn: Connection, *, now: datetime) -> InboxCounts:
    """Rows of the inbox by state. Reads all unfinished rows, so do not call it every second."""
    found = await fetch_one(conn, _SQL["counts"], {"now": now}, into=InboxCounts)
    assert found is not None
    return found


async def unfinished(conn: Connection) -> dict[str, int]:
    """Rows in each state but "processed"; states without rows count 0."""
    rows = await (await conn.execute(_SQL["unfinished"])).fetchall()
    return {str(state): int(count) for state, count in rows}


async def confirmation_of(conn: Connection, row_id: int) -> Confirmation | None:
    """The gateway's own record about a notification; `None` before a status inquiry."""
    return await fetch_one(conn, _SQL["confirmation"], {"id": row_id}, into=Confirmation)
