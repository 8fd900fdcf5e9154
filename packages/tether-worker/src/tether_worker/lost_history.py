"""
Debits that a lost history may have submitted: they are inquired first.

A database that went back (`tether_core.database_epoch`) may have forgotten that a debit was submitted, and even that it was
made: made again, it has the same id.
"""

from collections.abc import Sequence
from datetime import datetime

from tether_core import sending
from tether_core.events import Event
from tether_stores import database_epoch, outbox, sends
from tether_stores.postgres import Connection
from tether_stores.sends import Written

__all__ = ["inquire_attempts", "inquire_first"]


async def inquire_first(conn: Connection, *, run_id: int, debtor_ids: Sequence[int], now: datetime) -> int:
    """
    Make inquiries of new debits that a lost history may have submitted under the same ids.

    Args:
        conn: Inside the transaction that made them.
        run_id: Their run.
        debtor_ids: Their debtors.
        now: The time.

    Returns:
        How many these were.
    """
    bounds = await database_epoch.bounds(conn)
    if bounds is None or not bounds.debtors_to or not debtor_ids:
        return 0
    ids = await database_epoch.made_again(
        conn, run_id=run_id, debtor_ids=debtor_ids, debtors_to=bounds.debtors_to
    )
    return await inquire_attempts(conn, ids, at=bounds.began_at, now=now)


async def inquire_attempts(conn: Connection, ids: Sequence[int], *, at: datetime, now: datetime) -> int:
    """
    Make inquiries of debits, whatever their rows say.

    Args:
        conn: Inside a transaction.
        ids: Their rows.
        at: Until when a lost history may have submitted them.
        now: The time.

    Returns:
        How many these were.
    """
    if not ids:
        return 0
    rows = await sends.locked(conn, ids)
    afters = [sending.lose_history(row.send, at=at) for row in rows.values()]
    await sends.write(conn, [Written(after.send) for after in afters], now=now)
    await database_epoch.inquire_attempts_anew(conn, list(rows))
    facts: list[tuple[int | None, Event]] = [(None, fact) for after in afters for fact in after.events]
    await outbox.append(conn, facts, now=now)
    return len(rows)
