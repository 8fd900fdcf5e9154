"""
Giving debits back: orders are sent once, and asked about where their outcome is unknown.

```text
claim, committed ─► call the gateway ─► record, committed ─► the debit is refunded or voided
   │ judge once more     │ dies here, or no answer
   ▼                     ▼
 error, with the cause  unknown ─► asked about by our id ─┬─ told ──────► recorded
                                                          └─ not there ─► ready again, after the grace period
```

Everything is decided by `tether_core.refunds.refund`; here is only the order of things. An order and its debit are locked
together, the debit first, so a chargeback that is applied at the same time comes before or after and never between.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

import msgspec
import psycopg
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent
from tether_core.events import Event
from tether_core.holds import refund_hold
from tether_core.jobs import INQUIRE_REFUNDS, SUBMIT_REFUNDS
from tether_core.limits.rate_limit import Permit
from tether_core.payments import submission
from tether_core.payments.attempt import Attempt
from tether_core.payments.gateway_identity import GatewayIdentity
from tether_core.payments.submission import Rules
from tether_core.refunds import refund
from tether_core.refunds.refund import Outcome, Refund
from tether_stores import events, holds
from tether_stores.accounts import gateway_identities
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.payments import billing_attempts
from tether_stores.payments.submissions import Written
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.refunds import refunds
from tether_stores.refunds.refunds import Row
from tether_stores.telemetry import logger

from tether_worker.gateway import client, inquiry_batch
from tether_worker.gateway.inquiry_batch import Again, InquiryBatch, Reply
from tether_worker.gateway.status_inquiry import InquiryDeps
from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.jobs.run import Work
from tether_worker.lost_history import without_later_orders
from tether_worker.payments.call_limits import (
    BEGIN_S,
    Allowance,
    SubmissionDeps,
    allow_calls,
    is_failure,
    slow_down,
)

__all__ = [
    "expire_refunds",
    "inquire_refunds",
    "inquiring_refunds",
    "submit_refunds",
    "submitting_refunds",
    "write",
]

_BATCH_MAX: Final = 16
# A pause of the account may end sooner than it was said to: look again after this long.
_LOOK_S: Final = 1.0
_EXPIRE_MAX: Final = 100
# For so long an order waits for its turn among debits, in seconds; then the next look tries again.
_TURN_MAX_S: Final = 5.0
_RULES: Final = Rules()

_log = logger("refunds")


def submitting_refunds(deps: SubmissionDeps) -> Work:
    """Sending orders as a kind of work."""

    async def batch() -> int:
        return await submit_refunds(deps)

    async def has_pending() -> bool:
        if deps.stopping.is_set():
            return False
        async with connection(deps.pool) as conn:
            return bool(await refunds.submittable(conn, now=deps.clock()))

    return Work(SUBMIT_REFUNDS, batch, has_pending)


async def submit_refunds(deps: SubmissionDeps) -> int:
    """
    Send orders that are ready, as many as may be sent now, and record what came of them.

    Returns:
        How many orders were called for or withheld.

    Raises:
        Unavailable: when Postgres is away; orders whose answer was not recorded become unknown and are asked about.
    """
    async with connection(deps.pool) as conn:
        waiting = await refunds.submittable(conn, now=deps.clock())
    accounts = await deps.gateways.accounts()
    done = 0
    for name in waiting:
        account = accounts.get(name)
        if account is not None and account.enabled and not deps.stopping.is_set():
            done += await _submit_refunds(deps, account)
    return done


class _Call(msgspec.Struct, frozen=True):
    """An order that was claimed, on its way to the gateway."""

    row: Row
    begin_until_s: float

    @property
    def order(self) -> Attempt:
        return self.row.refund.order.attempt


async def _submit_refunds(deps: SubmissionDeps, account: GatewayAccount) -> int:
    allowed = await _turn(deps, account)
    if allowed is None:
        return 0
    opened = await deps.gateways.get(account.name)
    assert opened is not None
    calls, withheld = await _claim(deps, account, identity=opened.identity, limit=allowed.calls)
    if not calls:
        await deps.limiter.report(account.name, allowed.permit, failed=[None])  # nobody makes this probe
        return withheld
    answers: dict[int, GatewayAnswer | GatewaySilent] = {}
    begun = [asyncio.create_task(_call(opened, item, answers)) for item in calls]
    for call in begun:
        deps.under_way.add(call)
        call.add_done_callback(deps.under_way.discard)
    await asyncio.gather(*begun)
    await _report(deps, account, allowed.permit, answers.values())
    for item in calls:
        if item.order.id in answers:
            await _record(deps, item, answers[item.order.id])
    return len(calls) + withheld


async def _turn(deps: SubmissionDeps, account: GatewayAccount) -> Allowance | None:
    """Wait until calls may be made; `None` where that takes too long, is in vain, or this process ends."""
    end_s = monotonic() + _TURN_MAX_S
    while True:
        allowed = await allow_calls(deps, account, wanted_max=_BATCH_MAX)
        if deps.stopping.is_set():
            return None
        if allowed.calls:
            return allowed
        if allowed.wait_s is None or monotonic() >= end_s:
            return None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(deps.stopping.wait(), min(max(allowed.wait_s, 0.001), _LOOK_S))


async def _claim(
    deps: SubmissionDeps, account: GatewayAccount, *, identity: GatewayIdentity, limit: int
) -> tuple[list[_Call], int]:
    begin_until_s = monotonic() + BEGIN_S
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        if deps.watch is not None and not await deps.watch.holds(conn):
            return [], 0
        rows = await refunds.ready(conn, account.name, now=now, limit=limit)
        heard = await holds.of_refunds(conn, [row.refund.debit.id for row in rows], now=now)
        outcomes = [
            refund.claim(
                row.refund,
                now=now,
                identity=identity.key,
                hold=refund_hold(heard[row.refund.debit.id]),
                rules=deps.rules,
            )
            for row in rows
        ]
        if rows:
            await gateway_identities.record(conn, identity, account=account.name, now=now)
        await write(conn, [row.refund for row in rows], outcomes, now=now)
    calls = [
        _Call(
            msgspec.structs.replace(row, refund=msgspec.structs.replace(row.refund, order=outcome.order)),
            begin_until_s,
        )
        for row, outcome in zip(rows, outcomes, strict=True)
        if outcome.cause == "claimed"
    ]
    for row, outcome in zip(rows, outcomes, strict=True):
        if outcome.cause == refund.DEFERRED:
            _log.info("refund deferred", refund_id=row.refund.order.attempt.id, why=outcome.cause)
        elif outcome.cause != "claimed":
            _log.warning("refund withheld", refund_id=row.refund.order.attempt.id, why=outcome.cause)
    return calls, len(rows) - len(calls)


async def _call(
    opened: client.Gateway, call: _Call, answers: dict[int, GatewayAnswer | GatewaySilent]
) -> None:
    answers[call.order.id] = await _answer(opened, call)


async def _answer(opened: client.Gateway, call: _Call) -> GatewayAnswer | GatewaySilent:
    """What the gateway says, or that it says nothing."""
    debit, order = call.row.refund.debit, call.order
    assert debit.unique_id is not None  # else it had been withheld
    try:
        if call.row.refund.kind == "void":
            return await client.void(
                opened,
                transaction_id=order.transaction_id,
                reference_id=debit.unique_id,
                usage=call.row.usage,
                begin_until_s=call.begin_until_s,
            )
        return await client.refund(
            opened,
            transaction_id=order.transaction_id,
            reference_id=debit.unique_id,
            amount_minor=order.amount_minor,
            currency=order.currency,
            usage=call.row.usage,
            begin_until_s=call.begin_until_s,
        )
    except GatewaySilent as exc:
        return exc
    except Exception as exc:  # noqa: BLE001 - whatever broke, the order may be out
        _log.error("call failed", refund_id=order.id, exc_info=exc)
        return GatewaySilent(why=type(exc).__name__)


async def _record(deps: SubmissionDeps, call: _Call, answer: GatewayAnswer | GatewaySilent) -> None:
    try:
        await _recorded(deps, call, answer)
    except psycopg.errors.UniqueViolation:
        # The gateway named an id that is stored for another order. That is no word about this one.
        _log.error("response names another payment", refund_id=call.order.id)
        await _recorded(deps, call, GatewaySilent(why="an id stored for another payment"))


async def _recorded(deps: SubmissionDeps, call: _Call, answer: GatewayAnswer | GatewaySilent) -> None:
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        row = (await refunds.locked(conn, [call.order.id])).get(call.order.id)
        if row is None or row.refund.order.attempt.transaction_id != call.order.transaction_id:
            # The database went back while the call was under way, and may have given its id again.
            _log.error("call recorded nowhere", transaction_id=call.order.transaction_id)
            return
        outcome = refund.record(
            row.refund, answer, number=call.row.refund.order.submission_count, now=now, rules=deps.rules
        )
        await write(conn, [row.refund], [outcome], now=now)
    if outcome.cause == "rejected":
        _log.error(
            "the gateway turns an order away", refund_id=call.order.id, code=outcome.order.attempt.error_code
        )


async def _report(
    deps: SubmissionDeps,
    account: GatewayAccount,
    permit: Permit,
    answers: Collection[GatewayAnswer | GatewaySilent],
) -> None:
    failed = [is_failure(answer) for answer in answers]
    for answer in answers:
        await slow_down(deps, account.name, answer)
    if failed:
        await deps.limiter.report(account.name, permit, failed=failed)


async def write(
    conn: Connection, before: Sequence[Refund], outcomes: Sequence[Outcome], *, now: datetime
) -> None:
    """
    Write orders, their debits and what is announced of both, inside the transaction that locked them.

    Args:
        before: n orders as they stood.
        outcomes: What became of each.
    """
    await refunds.write(
        conn,
        [
            Written(
                outcome.order,
                outcome.cause if _is_kept_back(outcome) else None,
                outcome.cause
                if outcome.order.step == "unknown" and outcome.cause in submission.UNRESOLVED
                else None,
            )
            for outcome in outcomes
        ],
        now=now,
    )
    moved = [after.debit for item, after in zip(before, outcomes, strict=True) if after.debit != item.debit]
    await billing_attempts.move(conn, moved, now=now)
    facts: list[tuple[int | None, Event]] = [(None, fact) for outcome in outcomes for fact in outcome.events]
    await events.append(conn, facts, now=now)


def _is_kept_back(outcome: Outcome) -> bool:
    return outcome.order.attempt.error_code == "withheld" or outcome.cause == refund.DEFERRED


def expire_refunds(pool: Pool, *, clock: Callable[[], datetime], rules: Rules = _RULES) -> PeriodicTask:
    """
    Make orders unknown whose worker was not heard of again.

    Args:
        rules: How long a lease is.
    """

    async def expire() -> None:
        now = clock()
        async with transaction(pool) as conn:
            latest = now + timedelta(seconds=2 * rules.lease_s)
            rows = await refunds.expired(conn, now=now, latest=latest, limit=_EXPIRE_MAX)
            outcomes = [refund.expire(row.refund, now=now, rules=rules) for row in rows]
            await write(conn, [row.refund for row in rows], outcomes, now=now)
        if rows:
            _log.warning("refund leases expired; status inquiries follow", orders=len(rows))

    return PeriodicTask("expire_refunds", 5, expire)


# --- asking ----------------------------------------------------------------------------------------------------------


def inquiring_refunds(deps: InquiryDeps, *, rules: Rules = _RULES) -> Work:
    """
    Asking about orders as a kind of work.

    Args:
        rules: When the word "not there" counts.
    """

    async def batch() -> int:
        return await inquire_refunds(deps, rules=rules)

    async def has_pending() -> bool:
        return await inquiry_batch.any_due(deps, refunds.INQUIRIES)

    return Work(INQUIRE_REFUNDS, batch, has_pending)


async def inquire_refunds(deps: InquiryDeps, *, rules: Rules = _RULES, limit: int = _BATCH_MAX) -> int:
    """
    Ask about orders that are due for a question, at most *limit* of them.

    Args:
        rules: When the word "not there" counts.

    Returns:
        How many were asked about.

    Raises:
        Unavailable: when Postgres is away; the orders are asked about again.
    """
    asked = await inquiry_batch.inquire_batch(deps, refunds.INQUIRIES, limit=limit)
    if not asked.replies:
        return 0
    replies = await without_later_orders(deps, asked.replies)
    try:
        await _hear(deps, asked, replies, rules=rules)
    except psycopg.errors.UniqueViolation:
        for reply in replies:
            await _hear_alone(deps, asked, reply, rules=rules)
    return len(asked.replies)


async def _hear_alone(deps: InquiryDeps, asked: InquiryBatch, reply: Reply, *, rules: Rules) -> None:
    try:
        await _hear(deps, asked, [reply], rules=rules)
    except psycopg.errors.UniqueViolation:
        # As in recording what a call brought: an id that is stored for another order is no word about this one.
        _log.error("response names another payment", refund_id=reply.row.id)
        await _hear(deps, asked, [reply.nothing], rules=rules)


async def _hear(deps: InquiryDeps, asked: InquiryBatch, replies: Sequence[Reply], *, rules: Rules) -> None:
    """Write what was heard of orders, in one transaction."""
    now = deps.clock()
    before, outcomes, agains = list[Refund](), list[Outcome](), list[Again]()
    async with transaction(deps.pool) as conn:
        rows = await refunds.locked(conn, [reply.row.id for reply in replies])
        for reply in replies:
            row = rows.get(reply.row.id)
            if row is None or row.refund.order.attempt.transaction_id != reply.row.transaction_id:
                continue  # the database went back while the inquiry was under way
            item = row.refund
            outcome = None
            if reply.answer is not None:
                outcome = refund.hear(item, reply.answer)
            elif reply.heard == "not_found":
                outcome = refund.resolve(
                    item, inquired_at=asked.inquired_at, inquiry=asked.inquiry(reply), rules=rules
                )
            if outcome is not None:
                before.append(item)
                outcomes.append(outcome)
            agains.append(_next(reply, outcome, deps=deps, now=now))
        await write(conn, before, outcomes, now=now)
        await refunds.INQUIRIES.reschedule(conn, agains)


def _next(reply: Reply, outcome: Outcome | None, *, deps: InquiryDeps, now: datetime) -> Again:
    """When to ask about an order again, and how often it was asked about by then."""
    ask = reply.row
    if outcome is not None and outcome.cause == "too_early":
        return ask.id, ask.inquiry_count, outcome.again_at
    if outcome is not None and outcome.cause == "not_found":
        return ask.id, ask.inquiry_count, None
    if outcome is not None and outcome.cause == "not_found_elsewhere":
        return inquiry_batch.again_elsewhere(reply, deps=deps, now=now)
    stage = ask.payment_stage if outcome is None else outcome.order.attempt.payment_stage
    return inquiry_batch.again(reply, inquiry_batch.kind_at(stage), deps=deps, now=now)
