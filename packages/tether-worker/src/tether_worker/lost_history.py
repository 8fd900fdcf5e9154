"""
Status inquiries about debits, refunds and voids that a lost history may have submitted, before they are submitted.

A database that went back (`tether_core.database_epoch`) may have forgotten that a debit was submitted, and even that it was
made: made again, it has the same id.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import msgspec
from tether_core.errors import GatewaySilent, InvalidRequest
from tether_core.events import Event
from tether_core.payments import submission, transaction_ids
from tether_core.payments.gateway_identity import EVERY
from tether_core.refunds import refund
from tether_stores import events
from tether_stores.database_epoch import lost_history
from tether_stores.database_epoch.lost_history import LatestTry
from tether_stores.payments import submissions
from tether_stores.payments.submissions import Written
from tether_stores.postgres import Connection, connection, transaction
from tether_stores.refunds import refunds
from tether_stores.telemetry import logger

from tether_worker.gateway.inquiry_batch import Reply
from tether_worker.gateway.status_inquiry import INQUIRIES_MAX, InquiryDeps, inquire

__all__ = ["inquire_attempts", "inquire_first", "without_later_orders", "without_later_tries"]

_log = logger("lost-history")


async def inquire_first(conn: Connection, *, run_id: int, debtor_ids: Sequence[int], now: datetime) -> int:
    """
    Make inquiries of new debits that a lost history may have submitted under the same ids.

    Args:
        conn: Inside the transaction that made them.
        debtor_ids: Their debtors.

    Returns:
        How many these were.
    """
    bounds = await lost_history.bounds(conn)
    if bounds is None or not bounds.debtors_to or not debtor_ids:
        return 0
    ids = await lost_history.made_again(
        conn, run_id=run_id, debtor_ids=debtor_ids, debtors_to=bounds.debtors_to
    )
    return await inquire_attempts(conn, ids, at=bounds.began_at, now=now)


async def inquire_attempts(conn: Connection, ids: Sequence[int], *, at: datetime, now: datetime) -> int:
    """
    Make inquiries of debits, independent of what their rows say.

    Args:
        ids: Their rows.
        at: Until when a lost history may have submitted them.

    Returns:
        How many these were.
    """
    if not ids:
        return 0
    rows = await submissions.locked(conn, ids)
    afters = [submission.lose_history(row.submission, at=at) for row in rows.values()]
    await submissions.write(conn, [Written(after.submission) for after in afters], now=now)
    await lost_history.inquire_attempts_anew(conn, list(rows))
    facts: list[tuple[int | None, Event]] = [(None, fact) for after in afters for fact in after.events]
    await events.append(conn, facts, now=now)
    return len(rows)


async def without_later_tries(deps: InquiryDeps, replies: Sequence[Reply]) -> list[Reply]:
    """
    Accept "not found" about a debit only where the gateway has no later attempt for the same due item, either.

    A lost history may have seen the debit refused and tried again: submitting this id would then be a second debit.

    Args:
        replies: About debits.

    Returns:
        The replies; where a later attempt exists, or that is unknown, one that says nothing about the debit.
    """
    absent = [reply.row.id for reply in replies if reply.result == "not_found"]
    if not absent:
        return list(replies)
    async with connection(deps.pool) as conn:
        latest = {latest_try.id: latest_try for latest_try in await lost_history.latest_tries(conn, absent)}
    slots = asyncio.Semaphore(INQUIRIES_MAX)

    async def checked(reply: Reply) -> Reply:
        if reply.result != "not_found" or reply.row.id not in latest:
            return reply
        async with slots:
            return await _checked(deps, reply, latest[reply.row.id])

    return list(await asyncio.gather(*map(checked, replies)))


async def without_later_orders(deps: InquiryDeps, replies: Sequence[Reply]) -> list[Reply]:
    """
    Accept "not found" about a refund or void only where the gateway has no other order about the same debit, either.

    Args:
        replies: About orders.

    Returns:
        The replies; where another order exists, or that is unknown, one that says nothing about the order.
    """
    lost = [reply.row.id for reply in replies if _is_lost(reply)]
    if not lost:
        return list(replies)
    async with transaction(deps.pool) as conn:
        rows = await refunds.locked(conn, lost)
        numbers = await refunds.numbers(conn, lost)
    checked: list[Reply] = []
    for reply in replies:
        row = rows.get(reply.row.id)
        if _is_lost(reply) and row is not None:
            order = row.refund
            later = refund.later_ids(order.kind, order.debit, number=numbers[reply.row.id])
            checked.append(await _without(deps, reply, later))
        else:
            checked.append(reply)
    return checked


def _is_lost(reply: Reply) -> bool:
    return reply.result == "not_found" and EVERY in (reply.row.submitted_to or ())


async def _checked(deps: InquiryDeps, reply: Reply, latest: LatestTry) -> Reply:
    later = transaction_ids.later_ids(
        latest.debtor_id,
        due_item=latest.due_item,
        number=latest.number,
        amount_minor=latest.amount_minor,
        currency=latest.currency,
        iban_fingerprint=latest.iban_fingerprint,
    )
    return await _without(deps, reply, later)


async def _without(deps: InquiryDeps, reply: Reply, later_ids: Sequence[str]) -> Reply:
    """The reply, where the gateway has no payment with other ids either, at all current and recent identities of the account."""
    clients = await deps.clients()
    for transaction_id in later_ids:
        other = msgspec.structs.replace(reply.row, transaction_id=transaction_id, submitted_to=(EVERY,))
        try:
            found = await inquire(deps, clients, other, recent=reply.configured)
        except (GatewaySilent, InvalidRequest):
            return msgspec.structs.replace(reply, result=None)
        if found.answer is not None:
            _log.error(
                "submission excluded: the gateway has a later one of the lost history; a person must look",
                transaction_id=reply.row.transaction_id,
                later=transaction_id,
            )
            return reply.nothing
        if not reply.configured <= found.not_found_at:
            # Not every identity could be inquired: "not found" is not accepted, and a person sees why.
            return msgspec.structs.replace(reply, not_found_at=frozenset())
    return reply
