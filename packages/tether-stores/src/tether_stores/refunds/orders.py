"""
Placing an order to refund or void a debit: the row, and the status inquiry that comes first after a lost history.

The caller holds the debit (`tether_stores.refunds.refunds.hold_debit`) and has judged it (`tether_core.refunds.allowance.judge`,
`tether_core.holds`) in the same transaction.
"""

from datetime import datetime

from tether_core.refunds import refund
from tether_core.refunds.allowance import RefundKind

from tether_stores import events
from tether_stores.database_epoch import lost_history
from tether_stores.payments.submissions import Written
from tether_stores.postgres import Connection
from tether_stores.refunds import refunds
from tether_stores.refunds.refunds import RefundableDebit

__all__ = ["place"]


async def place(
    conn: Connection, held: RefundableDebit, *, kind: RefundKind, usage: str, ordered_by: str, now: datetime
) -> int | None:
    """
    Place an order about a debit.

    Args:
        conn: The transaction that holds the debit.
        held: The debit.
        kind: Refund or void.
        usage: The text on the statement.
        ordered_by: The name of the key it was ordered with.

    Returns:
        Its row, or `None` where an order about the debit is active.
    """
    made = await refunds.add(
        conn,
        held.debit,
        kind=kind,
        number=held.number,
        transaction_id=refund.transaction_id(kind, held.debit, number=held.number),
        usage=usage,
        ordered_by=ordered_by,
        now=now,
    )
    if made is not None:
        await _inquire_first(conn, made, attempt_id=held.debit.id, now=now)
    return made


async def _inquire_first(conn: Connection, refund_id: int, *, attempt_id: int, now: datetime) -> None:
    """Have a new order inquired before it is submitted, where a lost history may have submitted it under the same id."""
    bounds = await lost_history.bounds(conn)
    if bounds is None or attempt_id > bounds.attempts_to:
        return
    row = (await refunds.locked(conn, [refund_id]))[refund_id]
    outcome = refund.lose_history(row.refund, at=bounds.began_at)
    await refunds.write(conn, [Written(outcome.order)], now=now)
    await events.append(conn, [(None, fact) for fact in outcome.events], now=now)
