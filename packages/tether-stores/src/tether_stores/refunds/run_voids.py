"""Voids of whole runs; the queries are in `refunds/run_voids.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.payments.attempt import Attempt
from tether_core.refunds.allowance import RefundKind
from tether_core.refunds.refund import RefundState
from tether_core.refunds.run_voids import RunVoidState, VoidRefusal, VoidRefusalCode

from tether_stores.payments.billing_attempts import attempt_of
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "LockedRunVoid",
    "RunDebit",
    "RunVoid",
    "VoidProgress",
    "VoidResult",
    "VoidedDebit",
    "add",
    "advance",
    "any_working",
    "by_id",
    "debits",
    "hold_debits",
    "judged",
    "listed",
    "of_run",
    "progress",
    "take",
    "working",
]

_SQL: Final = load("refunds/run_voids")


class RunVoid(msgspec.Struct, frozen=True):
    """
    An order to void a run.

    Attributes:
        id: Our row.
        run_id: The run.
        state: "working" until every debit of the run was decided, then "finished"; voids may still be in progress then.
        usage: The text on the debtors' statements.
        reason: Why, for other people.
        ordered_by: The name of the key it was ordered with.
        created_at: When.
        updated_at: When it last went on.
        finished_at: When every debit was judged, or null.
    """

    id: int
    run_id: int
    state: RunVoidState
    usage: str
    reason: str
    ordered_by: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


class LockedRunVoid(msgspec.Struct, frozen=True):
    """
    An order that this transaction holds.

    Attributes:
        id: Our row.
        run_id: The run.
        usage: The text on the statements.
        ordered_by: The name of the key it was ordered with.
        position: The last debit that was judged.
    """

    id: int
    run_id: int
    usage: str
    ordered_by: str
    position: int


class RunDebit(msgspec.Struct, frozen=True):
    """
    A debit of a run, with what decides about its void.

    Attributes:
        attempt: The debit.
        submitted_at: When it was submitted, or made where it was not yet.
        is_submitted: Whether a call was ever begun for it.
        refund_id: The order about it that is active, or `None`.
        ordered: The kind of that order.
    """

    attempt: Attempt
    submitted_at: datetime
    is_submitted: bool
    refund_id: int | None
    ordered: RefundKind | None


class VoidResult(msgspec.Struct, frozen=True):
    """
    The result for a debit.

    Attributes:
        attempt: The debit.
        refund_id: Its void, or `None`.
        refusal: Why it has none, or `None`.
    """

    attempt: Attempt
    refund_id: int | None
    refusal: VoidRefusal | None


class VoidProgress(msgspec.Struct, frozen=True):
    """
    Some debits of an order that ended alike.

    Attributes:
        refused: Why they are not voided, or `None`.
        void_state: The state of their voids, or `None`.
        count: How many.
        amount_minor: Their money.
    """

    refused: VoidRefusalCode | None
    void_state: RefundState | None
    count: int
    amount_minor: int


class VoidedDebit(msgspec.Struct, frozen=True):
    """
    The result for one debit of a run.

    Attributes:
        attempt_id: The debit.
        amount_minor: Its amount, in whole minor units.
        void_id: The order about it (`GET /api/billing-attempts/{id}/refunds`), or null.
        void_status: Where that order is: "approved" once the debit is voided.
        error_code: The gateway's code, where it refused the void.
        refused: Why the debit is not voided, a stable word, or null.
        reason: The same as a sentence; also why a void was not submitted after all.
    """

    attempt_id: int
    amount_minor: int
    void_id: int | None
    void_status: RefundState | None
    error_code: str | None
    refused: VoidRefusalCode | None
    reason: str | None


async def add(
    conn: Connection, run_id: int, *, usage: str, reason: str, ordered_by: str, now: datetime
) -> int | None:
    """Order a run to be voided; `None` where such an order is being worked on."""
    values = {"run_id": run_id, "usage": usage, "reason": reason, "ordered_by": ordered_by, "now": now}
    row = await (await conn.execute(_SQL["add"], values)).fetchone()
    return None if row is None else int(row[0])


async def working(conn: Connection, run_id: int) -> RunVoid | None:
    """The order that is being worked on for a run, or `None`."""
    return await fetch_one(conn, _SQL["working"], {"run_id": run_id}, into=RunVoid)


async def by_id(conn: Connection, row_id: int) -> RunVoid | None:
    """One order, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": row_id}, into=RunVoid)


async def of_run(conn: Connection, run_id: int) -> list[RunVoid]:
    """The latest hundred orders of a run, newest first."""
    return await fetch_all(conn, _SQL["of_run"], {"run_id": run_id}, into=RunVoid)


async def any_working(conn: Connection) -> bool:
    """Whether any order is being worked on."""
    return await fetch_value(conn, _SQL["any_working"], into=bool)


async def take(conn: Connection) -> LockedRunVoid | None:
    """Hold an order that is being worked on until this transaction ends, or `None` where other workers hold all."""
    return await fetch_one(conn, _SQL["take"], into=LockedRunVoid)


async def hold_debits(conn: Connection, run_id: int, *, after: int, limit: int) -> list[int]:
    """Hold up to *limit* debits of a run behind one of them until this transaction ends; gives their ids."""
    values = {"run_id": run_id, "after": after, "limit": limit}
    return [row_id for (row_id,) in await (await conn.execute(_SQL["hold_debits"], values)).fetchall()]


async def debits(conn: Connection, run_id: int, *, after: int, limit: int) -> list[RunDebit]:
    """Up to *limit* debits of a run behind one of them, in the order of their ids."""
    values = {"run_id": run_id, "after": after, "limit": limit}
    rows = await fetch_all(conn, _SQL["debits"], values, into=dict[str, Any], binary=True)
    return [
        RunDebit(attempt_of(row), row["debited_at"], row["is_submitted"], row["refund_id"], row["ordered"])
        for row in rows
    ]


async def judged(conn: Connection, void_id: int, rows: Sequence[VoidResult]) -> None:
    """Write the results for debits."""
    await conn.execute(
        _SQL["judged"],
        {
            "void_id": void_id,
            "attempt_ids": [row.attempt.id for row in rows],
            "amounts_minor": [row.attempt.amount_minor for row in rows],
            "refund_ids": [row.refund_id for row in rows],
            "refuseds": [None if row.refusal is None else row.refusal.code for row in rows],
            "becauses": [None if row.refusal is None else row.refusal.text for row in rows],
        },
    )


async def advance(conn: Connection, void_id: int, *, position: int, finished: bool, now: datetime) -> None:
    """Move the position of an order, or finish it."""
    values = {"id": void_id, "position": position, "finished": finished, "now": now}
    await conn.execute(_SQL["advance"], values)


async def progress(conn: Connection, void_id: int) -> list[VoidProgress]:
    """The results for the debits of an order so far."""
    return await fetch_all(conn, _SQL["progress"], {"id": void_id}, into=VoidProgress)


async def listed(
    conn: Connection, void_id: int, *, after: int, limit: int, refused_only: bool
) -> list[VoidedDebit]:
    """Up to *limit* debits of an order behind one of them, in the order of their ids."""
    values = {"id": void_id, "after": after, "limit": limit, "refused_only": refused_only}
    return await fetch_all(conn, _SQL["listed"], values, into=VoidedDebit)
