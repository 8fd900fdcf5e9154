"""
Notifications that wait for a status inquiry, under a lease.

The queries are in `notifications/confirmations.sql`, which describes how the lease works.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.payments.attempt import Confirmation

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_value

__all__ = ["ToConfirm", "Unconfirmed", "any_due", "claim", "defer", "renew", "store"]

_SQL: Final = load("notifications/confirmations")


class ToConfirm(msgspec.Struct, frozen=True):
    """
    A leased row that waits for a status inquiry.

    Attributes:
        id: The row.
        account: The account that signed.
        kind: "payment", or another kind, which names a payment.
        notification_id: The id that was signed.
        status: As reported.
        event: As reported.
        failures: Inquiries without a response so far.
        attempt_id: The billing attempt that it names, if there is one.
        content_type: Media type of the body; only the first row of a payment has it.
        body: The bytes as received; only the first row of a payment has them.
        transaction_id: Our id of the attempt.
        unique_id: The gateway's id of the attempt, if it is stored.
    """

    id: int
    account: str
    kind: str
    notification_id: str
    status: str
    event: str | None
    failures: int
    attempt_id: int | None
    content_type: str | None
    body: bytes | None
    transaction_id: str | None
    unique_id: str | None

    @property
    def payment(self) -> tuple[str, str]:
        """The payment that the inquiry is about. Rows with the same payment share one inquiry."""
        return self.account, self.notification_id if self.kind == "payment" else f"attempt {self.attempt_id}"


class Unconfirmed(msgspec.Struct, frozen=True):
    """
    A row whose status inquiry got no response.

    Attributes:
        id: The row.
        reason: Why, a stable word.
        failures: Inquiries without a response, this one included.
        next_at: When to inquire again, or `None` to park it.
    """

    id: int
    reason: str
    failures: int
    next_at: datetime | None


async def claim(conn: Connection, *, now: datetime, leased_until: datetime, limit: int) -> list[ToConfirm]:
    """
    Lease all due rows of some payments that wait for a status inquiry; in the order of their ids.

    Args:
        conn: In autocommit mode: the lease must be committed before the inquiry is made.
        leased_until: The end of the lease, which also identifies it.
        limit: Payments at most.
    """
    values = {"now": now, "leased_until": leased_until, "limit": limit}
    rows = await fetch_all(conn, _SQL["claim"], values, into=ToConfirm, binary=True)
    return sorted(rows, key=lambda row: row.id)


async def renew(conn: Connection, ids: Sequence[int], *, leased_until: datetime, until: datetime) -> int:
    """
    Extend a lease; returns how many rows were still under it.

    Args:
        leased_until: The lease as it was.
        until: The lease from now on.
    """
    values = {"ids": list(ids), "leased_until": leased_until, "until": until}
    return await fetch_value(conn, _SQL["renew"], values, into=int)


async def store(
    conn: Connection, records: Sequence[tuple[int, Confirmation]], *, leased_until: datetime, now: datetime
) -> int:
    """
    Store the gateway's own records beside leased rows, and make the rows due.

    Args:
        records: Row and record.
        leased_until: The lease of the rows.

    Returns:
        How many were written; the lease of the others has passed to another worker.
    """
    cursor = await conn.execute(
        _SQL["store"],
        {
            "ids": [row_id for row_id, _ in records],
            "statuses": [record.status for _, record in records],
            "error_codes": [record.error_code for _, record in records],
            "reason_codes": [record.reason_code for _, record in records],
            "transaction_ids": [record.transaction_id for _, record in records],
            "amounts_minor": [record.amount_minor for _, record in records],
            "currencies": [record.currency for _, record in records],
            "leased_until": leased_until,
            "now": now,
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def defer(
    conn: Connection, rows: Sequence[Unconfirmed], *, leased_until: datetime, now: datetime
) -> None:
    """Defer the inquiry of leased rows, or park them."""
    await conn.execute(
        _SQL["defer"],
        {
            "ids": [row.id for row in rows],
            "reasons": [row.reason for row in rows],
            "failures": [row.failures for row in rows],
            "next_ats": [row.next_at for row in rows],
            "leased_until": leased_until,
            "now": now,
        },
    )


async def any_due(conn: Connection, *, now: datetime) -> bool:
    """Whether a row is due for a status inquiry and under no lease."""
    return await fetch_value(conn, _SQL["any_due"], {"now": now}, into=bool)
