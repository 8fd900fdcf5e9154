"""Status inquiries ordered by a person; the queries are in `inquiry_orders.sql`, which describes the rows."""

from datetime import datetime
from typing import Final

import msgspec
from tether_core.inquiry_orders import EXPIRES_AFTER, INQUIRED_MAX, Inquired, Scope, require_inquirable

from tether_stores.billing import billing_runs
from tether_stores.payments.inquiries import InquiryTable
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = ["INQUIRIES", "InquiredAttempt", "InquiryOrder", "by_id", "give_up", "listed", "order"]

_SQL: Final = load("inquiry_orders")
_STATES: Final[dict[Inquired, list[str]]] = {
    "open": ["pending", "unknown"],
    "submitted": [
        *("pending", "unknown", "approved", "declined", "error"),
        *("voided", "refunded", "chargebacked"),
    ],
}

# Debits that wait for an ordered inquiry.
INQUIRIES: Final = InquiryTable(
    any_due=_SQL["inquiry_due"],
    claim=_SQL["lease_for_inquiry"],
    renew=_SQL["renew"],
    reschedule=_SQL["reschedule"],
)


class InquiryOrder(msgspec.Struct, frozen=True):
    """
    An order to inquire, and how far it is.

    Attributes:
        id: Our row.
        scope: "attempt", "run" or "upload".
        subject_id: The attempt, run or upload.
        ordered_by: Who ordered it.
        reason: Why.
        more: Whether debits were left for another order, because there are too many for one.
        created_at: When.
        debits: Debits that are inquired. Those that waited for another ordered inquiry already are not among them.
        waiting: Of these, those that still wait.
        inquired: Those that the gateway has answered about; what it said is applied a time later.
        given_up: Those that got no answer for a day.
    """

    id: int
    scope: Scope
    subject_id: int
    ordered_by: str
    reason: str
    more: bool
    created_at: datetime
    debits: int
    waiting: int
    inquired: int
    given_up: int


class InquiredAttempt(msgspec.Struct, frozen=True):
    """
    A debit of an order.

    Attributes:
        attempt_id: The debit.
        status_before: Its state when the inquiry was ordered.
        status: Its state now.
        is_inquired: Whether the gateway has answered about it.
        is_waiting: Whether it still waits; neither means that it was given up.
    """

    attempt_id: int
    status_before: str
    status: str
    is_inquired: bool
    is_waiting: bool


async def order(
    conn: Connection,
    scope: Scope,
    subject_id: int,
    *,
    what: Inquired,
    ordered_by: str,
    reason: str,
    now: datetime,
    limit: int = INQUIRED_MAX,
) -> InquiryOrder | None:
    """
    Order inquiries about a debit, or about the debits of a run or an upload.

    Args:
        conn: Inside a transaction.
        scope: What *subject_id* is.
        subject_id: The attempt, run or upload.
        what: Of a run or an upload: only debits of open outcome, or all that were submitted.
        ordered_by: Who orders it.
        reason: Why.
        limit: Debits at most.

    Returns:
        The order, or `None` where there is no such attempt, run or upload.

    Raises:
        NothingToInquire: when it is about one debit that was never submitted.
    """
    values = {
        "scope": scope,
        "subject_id": subject_id,
        "attempt_id": subject_id,
        "states": _STATES[what],
        "ordered_by": ordered_by,
        "reason": reason,
        "now": now,
        "expires_at": now + EXPIRES_AFTER,
        "limit": limit + 1,
    }
    if not await _exists(conn, scope, subject_id):
        return None
    row = await (await conn.execute(_SQL["add"], values)).fetchone()
    assert row is not None
    order_id = int(row[0])
    query = {"attempt": _SQL["of_attempt"], "run": _SQL["of_run"], "upload": _SQL["of_upload"]}[scope]
    found = [attempt_id for (attempt_id,) in await (await conn.execute(query, values)).fetchall()]
    await conn.execute(_SQL["add_attempts"], {**values, "id": order_id, "attempt_ids": found[:limit]})
    if len(found) > limit:
        await conn.execute(_SQL["left_some"], {"id": order_id})
    return await by_id(conn, order_id)


async def _exists(conn: Connection, scope: Scope, subject_id: int) -> bool:
    if scope == "run":
        return await billing_runs.by_id(conn, subject_id) is not None
    if scope == "upload":
        return await billing_runs.upload_state(conn, subject_id) is not None
    row = await (await conn.execute(_SQL["submitted"], {"attempt_id": subject_id})).fetchone()
    if row is not None:
        require_inquirable(is_submitted=bool(row[0]))
    return row is not None


async def by_id(conn: Connection, order_id: int) -> InquiryOrder | None:
    """One order, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": order_id}, into=InquiryOrder)


async def listed(conn: Connection, order_id: int, *, after: int, limit: int) -> list[InquiredAttempt]:
    """Up to *limit* debits of an order behind one of them."""
    values = {"id": order_id, "after": after, "limit": limit}
    return await fetch_all(conn, _SQL["listed"], values, into=InquiredAttempt)


async def give_up(conn: Connection, *, now: datetime) -> int:
    """Give up debits without an answer for that time; returns how many."""
    return await fetch_value(conn, _SQL["give_up"], {"now": now}, into=int)
