"""Billing attempts: one short function per query of `sql/billing_attempts.sql`, which tells how its rows live."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.billing import Attempt

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["ListedAttempt", "listed", "locked_by_ids", "move", "one", "states"]

_SQL: Final = load("billing_attempts")


class ListedAttempt(msgspec.Struct, frozen=True):
    """
    An attempt for people and programs outside.

    Attributes:
        id: Our row.
        transaction_id: Our id, as the gateway knows it.
        unique_id: The gateway's id, or `None` until it told us.
        status: The attempt's state.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        error_code: The gateway's code, for "error" and "declined".
        reason_code: Why money went back, where it did.
        debtor_id: Whom it concerns.
        updated_at: When it last moved.
    """

    id: int
    transaction_id: str
    unique_id: str | None
    status: str
    amount_minor: int
    currency: str
    error_code: str | None
    reason_code: str | None
    debtor_id: int
    updated_at: datetime


async def locked_by_ids(
    conn: Connection, *, unique_ids: Sequence[str], transaction_ids: Sequence[str]
) -> list[Attempt]:
    """
    Lock and load the attempts with any of these ids.

    Args:
        conn: Inside the transaction that will write them.
        unique_ids: The gateway's ids.
        transaction_ids: Ours.

    Returns:
        One attempt each, in the order of their rows.
    """
    cursor = await conn.execute(
        _SQL["locked_by_ids"],
        {"unique_ids": list(unique_ids), "transaction_ids": list(transaction_ids)},
        binary=True,  # fingerprints come as bytes
    )
    return [Attempt(*row) for row in await cursor.fetchall()]


async def move(conn: Connection, attempts: Sequence[Attempt], *, now: datetime) -> None:
    """
    Write attempts as they were decided, inside the transaction that locked them.

    Args:
        conn: That transaction.
        attempts: n attempts.
        now: The present moment.
    """
    if not attempts:
        return
    await conn.execute(
        _SQL["move"],
        {
            "ids": [one.id for one in attempts],
            "unique_ids": [one.unique_id for one in attempts],
            "states": [one.state for one in attempts],
            "payment_stages": [one.payment_stage for one in attempts],
            "dispute_stages": [one.dispute_stage for one in attempts],
            "error_codes": [one.error_code for one in attempts],
            "reason_codes": [one.reason_code for one in attempts],
            "now": now,
        },
    )


async def listed(
    conn: Connection,
    *,
    limit: int,
    before: int | None,
    state: str | None,
    unique_id: str | None,
    transaction_id: str | None,
) -> list[ListedAttempt]:
    """
    One page of attempts, newest first.

    Args:
        conn: Any connection.
        limit: Rows at most.
        before: Only rows with a smaller id, or `None` for the first page.
        state: Only attempts in this state, or `None`.
        unique_id: Only the attempt with this id of the gateway, or `None`.
        transaction_id: Only the attempt with this id of ours, or `None`.

    Returns:
        Up to *limit* rows.
    """
    cursor = await conn.execute(
        _SQL["listed"],
        {
            "limit": limit,
            "before": before,
            "state": state,
            "unique_id": unique_id,
            "transaction_id": transaction_id,
        },
    )
    return [ListedAttempt(*row) for row in await cursor.fetchall()]


async def one(conn: Connection, row_id: int) -> ListedAttempt | None:
    """One attempt, or `None`."""
    row = await (await conn.execute(_SQL["one"], {"id": row_id})).fetchone()
    return None if row is None else ListedAttempt(*row)


async def states(conn: Connection) -> dict[str, tuple[int, int]]:
    """How many attempts stand in each state, and their amounts in minor units; states without any are left out."""
    cursor = await conn.execute(_SQL["states"])
    return {state: (count, total) for state, count, total in await cursor.fetchall()}
