"""
Debits that a lost history may have submitted: they are inquired first.

A database that went back (`tether_core.database_epoch`) may have forgotten that a debit was submitted, and even that it was
made: made again, it has the same id.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from tether_core import sending
from tether_core.errors import GatewaySilent, InvalidRequest
from tether_core.events import Event
from tether_stores import database_epoch, outbox, sends
from tether_stores.database_epoch import LatestTry
from tether_stores.postgres import Connection, connection
from tether_stores.sends import Written
from tether_stores.telemetry import logger

from tether_worker.asking import Asking, payment
from tether_worker.rounds import Reply

__all__ = ["inquire_attempts", "inquire_first", "without_later_tries"]

_log = logger("lost-history")


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


async def without_later_tries(has: Asking, replies: Sequence[Reply]) -> list[Reply]:
    """
    Believe "not found" about a debit only where the gateway has no later try at the same due item, either.

    A lost history may have seen the debit refused and tried again: what is free by its own id would be the second debit.

    Args:
        has: What asking needs.
        replies: What the gateway replied about debits.

    Returns:
        The replies; where a later try exists, or nobody can tell, one that says nothing of the debit.
    """
    absent = [reply.ask.id for reply in replies if reply.heard == "not_there"]
    if not absent:
        return list(replies)
    async with connection(has.pool) as conn:
        latest = {one.id: one for one in await database_epoch.latest_tries(conn, absent)}
    return [
        await _checked(has, reply, latest[reply.ask.id])
        if reply.heard == "not_there" and reply.ask.id in latest
        else reply
        for reply in replies
    ]


async def _checked(has: Asking, reply: Reply, latest: LatestTry) -> Reply:
    account = (await has.parties()).get(reply.ask.account)
    if account is None:
        return msgspec.structs.replace(reply, heard=None)
    for transaction_id in sending.later_ids(
        latest.debtor_id,
        due_item=latest.due_item,
        number=latest.number,
        amount_minor=latest.amount_minor,
        currency=latest.currency,
        iban_fingerprint=latest.iban_fingerprint,
    ):
        try:
            answer = await payment(has, account, transaction_id=transaction_id)
        except (GatewaySilent, InvalidRequest):
            return msgspec.structs.replace(reply, heard=None)
        if answer is not None:
            _log.error(
                "the gateway has a later try of the lost history; the debit is not submitted, a person must look",
                transaction_id=reply.ask.transaction_id,
                later=transaction_id,
            )
            return reply.nothing
    return reply
