"""Refunds made in the gateway's back office; the queries are in `reconciliation/gateway_refunds.sql`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.notifications.confirmation import HOLD_S
from tether_core.reconciliation.gateway_refunds import GatewayRefundState
from tether_core.refunds.allowance import RefundKind

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = [
    "GatewayRefund",
    "RefundInquiry",
    "ReportedRefund",
    "claim",
    "defer",
    "holding",
    "not_found",
    "of_attempt",
    "own_ids",
    "report",
    "resolve",
]

_SQL: Final = load("reconciliation/gateway_refunds")


class ReportedRefund(msgspec.Struct, frozen=True):
    """
    A refund that a notification or a report names.

    Attributes:
        unique_id: The gateway's id of it.
        attempt_id: Our debit that it names.
        account: The account that reported it.
        kind: "refund" or "void".
        amount_minor: What was returned, or `None`.
        currency: Of it, or `None`.
    """

    unique_id: str
    attempt_id: int
    account: str
    kind: RefundKind
    amount_minor: int | None
    currency: str | None


class RefundInquiry(msgspec.Struct, frozen=True):
    """
    A refund to inquire about.

    Attributes:
        unique_id: The gateway's id of it.
        attempt_id: Our debit.
        account: The gateway account to inquire with.
        kind: As it was reported.
        state: Its state.
        inquiries: Inquiries so far without a final result.
    """

    unique_id: str
    attempt_id: int
    account: str
    kind: RefundKind
    state: GatewayRefundState
    inquiries: int


class GatewayRefund(msgspec.Struct, frozen=True):
    """
    A refund or void of a debit that was made in the gateway's back office, for display.

    Attributes:
        unique_id: The gateway's id of it.
        kind: "refund" or "void".
        amount_minor: What was returned, or null where the gateway does not say.
        currency: Of it, or null.
        status: "reported" and not confirmed yet, "pending" at the gateway, "approved", "failed", or "contradicted" by the gateway.
        first_seen_at: Since when we know of it.
        updated_at: When it last changed.
    """

    unique_id: str
    kind: RefundKind
    amount_minor: int | None
    currency: str | None
    status: GatewayRefundState
    first_seen_at: datetime
    updated_at: datetime


async def report(conn: Connection, refunds: Sequence[ReportedRefund], *, now: datetime) -> None:
    """Link refunds that notifications name; each is inquired about at once."""
    if not refunds:
        return
    unique = {reported.unique_id: reported for reported in refunds}.values()
    await conn.execute(
        _SQL["report"],
        {
            "unique_ids": [item.unique_id for item in unique],
            "attempt_ids": [item.attempt_id for item in unique],
            "accounts": [item.account for item in unique],
            "kinds": [item.kind for item in unique],
            "amounts_minor": [item.amount_minor for item in unique],
            "currencies": [item.currency for item in unique],
            "now": now,
        },
    )


async def resolve(
    conn: Connection,
    refund: ReportedRefund,
    *,
    state: GatewayRefundState,
    inquiries: int,
    inquire_at: datetime | None,
    now: datetime,
) -> GatewayRefundState | None:
    """
    Write what the gateway's own record says of a refund.

    Args:
        conn: Inside the transaction that holds the debit.
        refund: As the record has it.
        state: Its state.
        inquiries: Inquiries so far without a final result.
        inquire_at: When to inquire again, or `None`.

    Returns:
        Its state before, or `None` where it was not known.
    """
    given = msgspec.structs.asdict(refund) | {
        "state": state,
        "inquiries": inquiries,
        "inquire_at": inquire_at,
        "now": now,
    }
    row = await (await conn.execute(_SQL["resolve"], given)).fetchone()
    assert row is not None
    before: GatewayRefundState | None = row[0]
    return before


async def claim(
    conn: Connection, *, limit: int, leased_until: datetime, now: datetime
) -> list[RefundInquiry]:
    """Take a lease on refunds that are due for an inquiry."""
    given = {"limit": limit, "leased_until": leased_until, "now": now}
    return await fetch_all(conn, _SQL["claim"], given, into=RefundInquiry)


async def not_found(
    conn: Connection, unique_id: str, *, inquiries: int, inquire_at: datetime | None, now: datetime
) -> None:
    """Note that the gateway has no such payment."""
    given = {
        "unique_id": unique_id,
        "inquiries": inquiries,
        "inquire_at": inquire_at,
        "apart_s": HOLD_S,
        "now": now,
    }
    await conn.execute(_SQL["not_found"], given)


async def defer(conn: Connection, unique_id: str, *, inquire_at: datetime) -> None:
    """Inquire again later."""
    await conn.execute(_SQL["defer"], {"unique_id": unique_id, "inquire_at": inquire_at})


async def of_attempt(conn: Connection, attempt_id: int) -> list[GatewayRefund]:
    """The gateway refunds of a debit, newest first."""
    return await fetch_all(conn, _SQL["of_attempt"], {"attempt_id": attempt_id}, into=GatewayRefund)


async def holding(conn: Connection, attempt_ids: Sequence[int]) -> dict[int, bool]:
    """The debits that a gateway refund keeps ours away from, each with whether the gateway has approved it."""
    cursor = await conn.execute(_SQL["holding"], {"attempt_ids": list(attempt_ids)})
    return dict(await cursor.fetchall())


async def own_ids(
    conn: Connection, *, unique_ids: Sequence[str], transaction_ids: Sequence[str]
) -> frozenset[str]:
    """Those of some ids, the gateway's and ours, that are our own orders."""
    given = {"unique_ids": list(unique_ids), "transaction_ids": list(transaction_ids)}
    rows = await (await conn.execute(_SQL["own_ids"], given)).fetchall()
    return frozenset(item for row in rows for item in row if item is not None)
