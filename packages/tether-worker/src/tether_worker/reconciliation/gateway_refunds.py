"""
Gateway refunds: refunds of our debits made in the gateway's back office are confirmed, and take effect.

```text
notification ─► linked, reported ─► lease, committed ─► inquire by its id (no transaction is open) ─► state and debit: one commit
report ──────────────────────────────────────────────────────────────────────────────────────────────┘
```

Rules are in `tether_core.reconciliation.gateway_refunds`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from tether_core import retry
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent, InvalidRequest
from tether_core.events import Event
from tether_core.reconciliation import gateway_refunds as rules
from tether_core.reconciliation.status_inquiry import inquiry_result
from tether_stores import events
from tether_stores.payments import billing_attempts
from tether_stores.postgres import Connection, connection, transaction
from tether_stores.reconciliation import gateway_refunds
from tether_stores.reconciliation.gateway_refunds import RefundInquiry, ReportedRefund
from tether_stores.telemetry import logger

from tether_worker.gateway.status_inquiry import GatewayClient, InquiryDeps, clients_for, payment
from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.reconciliation.differences import open_lines

__all__ = ["inquire_gateway_refunds", "inquiring_gateway_refunds", "resolve", "take_report"]

BATCH_MAX: Final = 16
# An inquiry waits for the rate limit and inquires at each terminal.
_LEASE: Final = timedelta(seconds=120)

_log = logger("gateway_refunds")


def inquiring_gateway_refunds(deps: InquiryDeps) -> PeriodicTask:
    """Inquiries about gateway refunds as a periodic task."""

    async def inquire() -> None:
        while await inquire_gateway_refunds(deps) == BATCH_MAX:
            pass

    return PeriodicTask("inquire_gateway_refunds", 2, inquire)


async def inquire_gateway_refunds(deps: InquiryDeps, *, limit: int = BATCH_MAX) -> int:
    """
    Inquire about gateway refunds that are due, at most *limit* of them.

    Returns:
        How many.

    Raises:
        Unavailable: when Postgres is away; they are inquired about again.
    """
    now = deps.clock()
    async with connection(deps.pool) as conn:
        due = await gateway_refunds.claim(conn, limit=limit, leased_until=now + _LEASE, now=now)
    if not due:
        return 0
    clients = await deps.clients()
    answers = await asyncio.gather(*(_answer(row, deps=deps, clients=clients) for row in due))
    for item, answer in zip(due, answers, strict=True):
        await _record(deps, item, answer)
    return len(due)


async def _answer(
    due: RefundInquiry, *, deps: InquiryDeps, clients: Mapping[str, GatewayClient]
) -> GatewayAnswer | GatewaySilent | None:
    known = clients_for(due.account, clients=clients)
    if not known:
        return GatewaySilent(why="no such account")
    try:
        answer, _ = await payment(deps, known, unique_id=due.unique_id)
    except GatewaySilent as exc:
        return exc
    except InvalidRequest as exc:
        _log.error("inquiry rejected", unique_id=due.unique_id, why=str(exc))
        return GatewaySilent(why="the inquiry was refused")
    match inquiry_result(answer, unique_id=due.unique_id):
        case "found":
            return answer
        case "not_found":
            return None
        case _:
            return GatewaySilent(why="an answer about something else")


async def _record(
    deps: InquiryDeps, due: RefundInquiry, answer: GatewayAnswer | GatewaySilent | None
) -> None:
    now = deps.clock()
    if isinstance(answer, GatewaySilent):
        again_at = now + timedelta(seconds=retry.SILENCE_S)
        async with connection(deps.pool) as conn:
            await gateway_refunds.defer(conn, due.unique_id, inquire_at=again_at)
        return
    inquiries = due.inquiries + 1
    inquire_at = retry.next_try(retry.GATEWAY_REFUND_S, inquiries, now=now, jitter=0.5)
    async with transaction(deps.pool) as conn:
        if answer is None:
            await gateway_refunds.not_found(
                conn, due.unique_id, inquiries=inquiries, inquire_at=inquire_at, now=now
            )
            return
        await resolve(
            conn,
            due.attempt_id,
            answer,
            account=due.account,
            inquiries=inquiries,
            inquire_at=inquire_at,
            now=now,
        )


async def resolve(
    conn: Connection,
    attempt_id: int,
    record: GatewayAnswer,
    *,
    account: str,
    now: datetime,
    inquiries: int = 0,
    inquire_at: datetime | None = None,
) -> None:
    """
    Write what the gateway's own record says of a refund, and what follows for its debit.

    Args:
        conn: Inside a transaction; the debit is locked here.
        attempt_id: The debit that the refund is linked to.
        record: The refund's record.
        account: Whose record.
        inquiries: Responses so far without a final result.
        inquire_at: When to inquire again, where it is still in progress.
    """
    (debit,) = await billing_attempts.locked_by_ids(conn, unique_ids=[], transaction_ids=[], ids=[attempt_id])
    assert record.unique_id is not None
    state = rules.state_of(record, debit_id=debit.unique_id or "")
    refund = ReportedRefund(
        record.unique_id,
        debit.id,
        account,
        rules.kind_of(record.transaction_type) or "refund",
        record.amount_minor,
        record.currency,
    )
    again_at = inquire_at if state == "pending" else None
    before = await gateway_refunds.resolve(
        conn, refund, state=state, inquiries=inquiries, inquire_at=again_at, now=now
    )
    if state != "approved" or before == "approved":
        return
    effect = rules.apply(debit, kind=refund.kind, amount_minor=refund.amount_minor, currency=refund.currency)
    await billing_attempts.move(conn, [effect.debit] if effect.debit != debit else [], now=now)
    facts: list[tuple[int | None, Event]] = [(None, fact) for fact in effect.events]
    await events.append(conn, facts, now=now)
    if effect.difference is not None:
        await open_lines(conn, [effect.difference], now=now)
    _log.warning(
        "gateway refund confirmed", attempt_id=debit.id, kind=refund.kind, debit_state=effect.debit.state
    )


async def take_report(
    conn: Connection, records: Sequence[GatewayAnswer], *, account: str, now: datetime
) -> None:
    """
    Take refunds of a report in: those that are not our order and name one of our debits.

    Args:
        conn: Inside the transaction that takes the page in.
        records: Records of refunds and voids.
        account: Whose report.
        now: When it was read.
    """
    named = [answer for answer in records if answer.unique_id and answer.reference_id]
    if not named:
        return
    ours = await gateway_refunds.own_ids(
        conn,
        unique_ids=[item.unique_id for item in named if item.unique_id],
        transaction_ids=[item.transaction_id for item in named if item.transaction_id],
    )
    others = [item for item in named if not {item.unique_id, item.transaction_id} & ours]
    if not others:
        return
    debits = await billing_attempts.locked_by_ids(
        conn, unique_ids=[other.reference_id for other in others if other.reference_id], transaction_ids=[]
    )
    by_id = {debit.unique_id: debit for debit in debits if debit.account == account}
    for other in others:
        debit = by_id.get(other.reference_id)
        if debit is not None:
            await resolve(conn, debit.id, other, account=account, now=now)
