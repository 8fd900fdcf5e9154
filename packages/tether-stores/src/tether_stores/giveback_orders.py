"""
Placing an order to refund or void a debit: the row, and the status inquiry that comes first after a lost history.

Who places an order holds the debit (`tether_stores.givebacks.hold_debit`) and has judged it (`tether_core.giveback.judge`,
`tether_core.holds`) in the same transaction.
"""

from datetime import datetime

from tether_core import giveback
from tether_core.giveback import GivebackKind

from tether_stores import database_epoch, givebacks, outbox
from tether_stores.givebacks import Held
from tether_stores.postgres import Connection
from tether_stores.sends import Written

__all__ = ["place"]


async def place(
    conn: Connection, held: Held, *, kind: GivebackKind, usage: str, ordered_by: str, now: datetime
) -> int | None:
    """
    Place an order about a debit.

    Args:
        conn: The transaction that holds the debit.
        held: The debit.
        kind: Refund or void.
        usage: The text on the statement.
        ordered_by: The name of the key it was ordered with.
        now: The present time.

    Returns:
        Its row, or `None` where an order about the debit is active.
    """
    made = await givebacks.add(
        conn,
        held.debit,
        kind=kind,
        number=held.number,
        transaction_id=giveback.transaction_id(kind, held.debit, number=held.number),
        usage=usage,
        ordered_by=ordered_by,
        now=now,
    )
    if made is not None:
        await _inquire_first(conn, made, attempt_id=held.debit.id, now=now)
    return made


async def _inquire_first(conn: Connection, giveback_id: int, *, attempt_id: int, now: datetime) -> None:
    """Have a new order inquired before it is submitted, where a lost history may have submitted it under the same id."""
    bounds = await database_epoch.bounds(conn)
    if bounds is None or attempt_id > bounds.attempts_to:
        return
    row = (await givebacks.locked(conn, [giveback_id]))[giveback_id]
    outcome = giveback.lose_history(row.giveback, at=bounds.began_at)
    await givebacks.write(conn, [Written(outcome.order)], now=now)
    await outbox.append(conn, [(None, fact) for fact in outcome.events], now=now)
