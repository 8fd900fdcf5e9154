"""Refunds and voids; the queries are in `refunds/refunds.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.payments.attempt import Attempt
from tether_core.payments.submission import Submission
from tether_core.refunds.allowance import RefundKind
from tether_core.refunds.refund import Refund, RefundState

from tether_stores.payments.billing_attempts import attempt_of
from tether_stores.payments.inquiries import InquiryTable
from tether_stores.payments.submissions import Written, columns, read_submission
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = [
    "INQUIRIES",
    "ListedRefund",
    "LockedRefund",
    "NamedRefund",
    "RefundableDebit",
    "add",
    "counts",
    "expired",
    "hold_debit",
    "listed",
    "locked",
    "named",
    "numbers",
    "of_attempt",
    "ready",
    "submittable",
    "write",
]

_SQL: Final = load("refunds/refunds")

# Orders that need status inquiries.
INQUIRIES: Final = InquiryTable(
    any_due=_SQL["inquiry_due"],
    claim=_SQL["lease_for_inquiry"],
    renew=_SQL["renew"],
    reschedule=_SQL["reschedule"],
)


class RefundableDebit(msgspec.Struct, frozen=True):
    """
    A debit that this transaction has locked to place an order about it.

    Attributes:
        debit: The debit.
        submitted_at: When it was submitted, or created if it was not submitted yet.
        number: Of the next order about it.
    """

    debit: Attempt
    submitted_at: datetime
    number: int


class ListedRefund(msgspec.Struct, frozen=True):
    """
    A refund or void in lists.

    Attributes:
        id: Our row.
        attempt_id: The debit.
        kind: "refund" or "void".
        number: Of the order about this debit, from 1.
        account: The gateway account.
        transaction_id: Our id of the order, as the gateway knows it.
        unique_id: The gateway's id, or null until it is known.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        usage: The text on the statement.
        status: Its state.
        error_code: The gateway's code, for "error" and "declined".
        not_submitted_reason: Why it was not submitted, or null.
        submission_count: Calls begun.
        ordered_by: The name of the key it was ordered with.
        created_at: When.
        updated_at: When it last changed.
    """

    id: int
    attempt_id: int
    kind: RefundKind
    number: int
    account: str
    transaction_id: str
    unique_id: str | None
    amount_minor: int
    currency: str
    usage: str
    status: RefundState
    error_code: str | None
    not_submitted_reason: str | None
    submission_count: int
    ordered_by: str
    created_at: datetime
    updated_at: datetime


class NamedRefund(msgspec.Struct, frozen=True):
    """
    An order that a notification names.

    Attributes:
        id: Our row.
        attempt_id: The debit.
        unique_id: The gateway's id of the refund or void, or `None` until it is known.
        transaction_id: Our id of it.
    """

    id: int
    attempt_id: int
    unique_id: str | None
    transaction_id: str


class LockedRefund(msgspec.Struct, frozen=True):
    """
    An order that this transaction has locked, with its debit.

    Attributes:
        refund: The order with its debit.
        usage: The text on the statement.
    """

    refund: Refund
    usage: str


async def hold_debit(conn: Connection, attempt_id: int) -> RefundableDebit | None:
    """Lock a debit until this transaction ends; `None` for no such debit."""
    values = {"attempt_id": attempt_id}
    row = await fetch_one(conn, _SQL["hold_debit"], values, into=dict[str, Any], binary=True)
    return None if row is None else RefundableDebit(attempt_of(row), row["debited_at"], row["number"])


async def add(
    conn: Connection,
    debit: Attempt,
    *,
    kind: RefundKind,
    number: int,
    transaction_id: str,
    usage: str,
    ordered_by: str,
    now: datetime,
) -> int | None:
    """
    Insert a refund or void, inside the transaction that holds the debit.

    Args:
        number: Of the order about the debit.
        transaction_id: Our id of the order.
        usage: The text on the statement.
        ordered_by: The name of the API key.

    Returns:
        Its row, or `None` while another order about the debit is active.
    """
    cursor = await conn.execute(
        _SQL["add"],
        {
            "attempt_id": debit.id,
            "kind": kind,
            "number": number,
            "account": debit.account,
            "transaction_id": transaction_id,
            "amount_minor": debit.amount_minor,
            "currency": debit.currency,
            "usage": usage,
            "ordered_by": ordered_by,
            "now": now,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def of_attempt(conn: Connection, attempt_id: int) -> list[ListedRefund]:
    """The orders about a debit, newest first."""
    return await fetch_all(conn, _SQL["of_attempt"], {"attempt_id": attempt_id}, into=ListedRefund)


async def listed(
    conn: Connection, *, limit: int, before: int | None, state: str | None, account: str | None
) -> list[ListedRefund]:
    """
    One page of orders, newest first.

    Args:
        before: Only rows with a smaller id, or `None` for the first page.
        state: Only orders in this state, or `None`.
        account: Only orders of this gateway account, or `None`.

    Returns:
        Up to *limit* rows.
    """
    values = {"limit": limit, "before": before, "state": state, "account": account}
    return await fetch_all(conn, _SQL["listed"], values, into=ListedRefund)


async def submittable(conn: Connection, *, now: datetime) -> list[str]:
    """The accounts that have an order to submit now."""
    return [
        account for (account,) in await (await conn.execute(_SQL["submittable"], {"now": now})).fetchall()
    ]


async def ready(conn: Connection, account: str, *, now: datetime, limit: int) -> list[LockedRefund]:
    """
    Lock orders of an account that may be submitted now, with their debits.

    Args:
        conn: Inside the transaction that will claim them.

    Returns:
        Up to *limit* orders, without those that another worker claimed first.
    """
    cursor = await conn.execute(_SQL["ready_ids"], {"account": account, "now": now, "limit": limit})
    found = await locked(conn, [row_id for (row_id,) in await cursor.fetchall()])
    return [row for row in found.values() if _is_ready(row.refund.order, now=now)]


def _is_ready(order: Submission, *, now: datetime) -> bool:
    return order.step == "ready" and order.submit_at is not None and order.submit_at <= now


async def expired(conn: Connection, *, now: datetime, latest: datetime, limit: int) -> list[LockedRefund]:
    """Lock up to *limit* orders, with their debits, whose lease has expired or ends after *latest*, which only a clock that was set back explains."""
    cursor = await conn.execute(_SQL["expired_ids"], {"now": now, "latest": latest, "limit": limit})
    found = await locked(conn, [row_id for (row_id,) in await cursor.fetchall()])
    return [
        row
        for row in found.values()
        if row.refund.order.leased_until is not None and not now < row.refund.order.leased_until <= latest
    ]


async def named(
    conn: Connection, *, unique_ids: Sequence[str], transaction_ids: Sequence[str]
) -> list[NamedRefund]:
    """
    The orders that notifications name.

    Args:
        unique_ids: The gateway's ids.
        transaction_ids: Our ids.
    """
    parameters = {"unique_ids": list(unique_ids), "transaction_ids": list(transaction_ids)}
    return await fetch_all(conn, _SQL["named"], parameters, into=NamedRefund)


async def locked(conn: Connection, ids: Sequence[int]) -> dict[int, LockedRefund]:
    """Lock orders and their debits until the transaction ends; by row."""
    if not ids:
        return {}
    await conn.execute(_SQL["lock_debits"], {"ids": list(ids)})
    rows = await fetch_all(conn, _SQL["locked"], {"ids": list(ids)}, into=_row, binary=True)
    return {row.refund.order.attempt.id: row for row in rows}


def _row(*, kind: RefundKind, usage: str, debited_at: datetime, **columns: Any) -> LockedRefund:
    prefix = "order_"
    order = {name.removeprefix(prefix): columns[name] for name in columns if name.startswith(prefix)}
    submission = read_submission(attempt_of(order), order)
    return LockedRefund(Refund(kind, attempt_of(columns), submission, debited_at), usage)


async def numbers(conn: Connection, ids: Sequence[int]) -> dict[int, int]:
    """The number of each order among the orders about its debit, from 1."""
    return dict(await (await conn.execute(_SQL["numbers"], {"ids": list(ids)})).fetchall())


async def write(conn: Connection, orders: Sequence[Written], *, now: datetime) -> None:
    """Write the new state of orders, inside the transaction that locked them."""
    if not orders:
        return
    await conn.execute(_SQL["write"], {**columns(orders), "now": now})


async def counts(conn: Connection) -> dict[str, tuple[int, int]]:
    """Orders by state: how many, and their amounts in minor units; states without any are excluded."""
    cursor = await conn.execute(_SQL["counts"])
    return {state: (count, total) for state, count, total in await cursor.fetchall()}
