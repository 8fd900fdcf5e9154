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
together, the debit first, so a chargeback that is booked at the same moment comes before or after and never between.
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
from tether_core.jobs import ASK_BACK, GIVE_BACK
from tether_core.limits.rate_limit import Permit
from tether_core.payments import submission
from tether_core.payments.attempt import Attempt
from tether_core.payments.gateway_identity import GatewayIdentity
from tether_core.payments.submission import Rules
from tether_core.refunds import refund
from tether_core.refunds.refund import Giveback, Outcome
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
from tether_worker.gateway.inquiry_batch import Again, Reply, Round
from tether_worker.gateway.status_inquiry import Asking
from tether_worker.jobs.periodic import Duty
from tether_worker.jobs.run import Work
from tether_worker.lost_history import without_later_orders
from tether_worker.payments.submission import BEGIN_S, Billing, Leave, is_failure, leave, slow_down

__all__ = ["ask_back", "asking_back", "give_back", "giving_back", "lapse_givebacks", "write"]

_BATCH_MAX: Final = 16
# A pause of the account may end sooner than it was said to: look again after this long.
_LOOK_S: Final = 1.0
_LAPSE_MAX: Final = 100
# For so long an order waits for its turn among debits, in seconds; then the next look tries again.
_TURN_MAX_S: Final = 5.0
_RULES: Final = Rules()

_log = logger("givebacks")


def giving_back(has: Billing) -> Work:
    """
    Sending orders as a kind of work.

    Args:
        has: What sending needs.

    Returns:
        The work for queue "billing".
    """

    async def bite() -> int:
        return await give_back(has)

    async def waits() -> bool:
        if has.stopping.is_set():
            return False
        async with connection(has.pool) as conn:
            return bool(await refunds.sendable(conn, now=has.clock()))

    return Work(GIVE_BACK, bite, waits)


async def give_back(has: Billing) -> int:
    """
    Send orders that are ready, as many as may be sent now, and record what came of them.

    Args:
        has: What sending needs.

    Returns:
        How many orders were called for or withheld.

    Raises:
        Unavailable: when Postgres is away; orders whose answer was not recorded become unknown and are asked about.
    """
    async with connection(has.pool) as conn:
        waiting = await refunds.sendable(conn, now=has.clock())
    accounts = await has.gateways.accounts()
    done = 0
    for name in waiting:
        account = accounts.get(name)
        if account is not None and account.enabled and not has.stopping.is_set():
            done += await _give_back(has, account)
    return done


class _Call(msgspec.Struct, frozen=True):
    """An order that was claimed, on its way to the gateway."""

    row: Row
    begin_until_s: float

    @property
    def order(self) -> Attempt:
        return self.row.giveback.order.attempt


async def _give_back(has: Billing, account: GatewayAccount) -> int:
    allowed = await _turn(has, account)
    if allowed is None:
        return 0
    opened = await has.gateways.get(account.name)
    assert opened is not None
    calls, withheld = await _claim(has, account, identity=opened.identity, limit=allowed.calls)
    if not calls:
        await has.limiter.report(account.name, allowed.permit, failed=[None])  # nobody makes this probe
        return withheld
    told: dict[int, GatewayAnswer | GatewaySilent] = {}
    begun = [asyncio.create_task(_call(opened, one, told)) for one in calls]
    for call in begun:
        has.under_way.add(call)
        call.add_done_callback(has.under_way.discard)
    await asyncio.gather(*begun)
    await _report(has, account, allowed.permit, told.values())
    for one in calls:
        if one.order.id in told:
            await _record(has, one, told[one.order.id])
    return len(calls) + withheld


async def _turn(has: Billing, account: GatewayAccount) -> Leave | None:
    """Wait until calls may be made; `None` where that takes too long, is in vain, or this process ends."""
    end_s = monotonic() + _TURN_MAX_S
    while True:
        allowed = await leave(has, account, wanted_max=_BATCH_MAX)
        if has.stopping.is_set():
            return None
        if allowed.calls:
            return allowed
        if allowed.wait_s is None or monotonic() >= end_s:
            return None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(has.stopping.wait(), min(max(allowed.wait_s, 0.001), _LOOK_S))


async def _claim(
    has: Billing, account: GatewayAccount, *, identity: GatewayIdentity, limit: int
) -> tuple[list[_Call], int]:
    begin_until_s = monotonic() + BEGIN_S
    now = has.clock()
    async with transaction(has.pool) as conn:
        if has.watch is not None and not await has.watch.holds(conn):
            return [], 0
        rows = await refunds.ready(conn, account.name, now=now, limit=limit)
        heard = await holds.of_refunds(conn, [row.giveback.debit.id for row in rows], now=now)
        outcomes = [
            refund.claim(
                row.giveback,
                now=now,
                identity=identity.key,
                hold=refund_hold(heard[row.giveback.debit.id]),
                rules=has.rules,
            )
            for row in rows
        ]
        if rows:
            await gateway_identities.record(conn, identity, account=account.name, now=now)
        await write(conn, [row.giveback for row in rows], outcomes, now=now)
    calls = [
        _Call(
            msgspec.structs.replace(row, giveback=msgspec.structs.replace(row.giveback, order=outcome.order)),
            begin_until_s,
        )
        for row, outcome in zip(rows, outcomes, strict=True)
        if outcome.cause == "claimed"
    ]
    for row, outcome in zip(rows, outcomes, strict=True):
        if outcome.cause == refund.DEFERRED:
            _log.info("refund deferred", giveback_id=row.giveback.order.attempt.id, why=outcome.cause)
        elif outcome.cause != "claimed":
            _log.warning("giveback withheld", giveback_id=row.giveback.order.attempt.id, why=outcome.cause)
    return calls, len(rows) - len(calls)


async def _call(opened: client.Gateway, one: _Call, told: dict[int, GatewayAnswer | GatewaySilent]) -> None:
    told[one.order.id] = await _answer(opened, one)


async def _answer(opened: client.Gateway, one: _Call) -> GatewayAnswer | GatewaySilent:
    """What the gateway says, or that it says nothing."""
    debit, order = one.row.giveback.debit, one.order
    assert debit.unique_id is not None  # else it had been withheld
    try:
        if one.row.giveback.kind == "void":
            return await client.void(
                opened,
                transaction_id=order.transaction_id,
                reference_id=debit.unique_id,
                usage=one.row.usage,
                begin_until_s=one.begin_until_s,
            )
        return await client.refund(
            opened,
            transaction_id=order.transaction_id,
            reference_id=debit.unique_id,
            amount_minor=order.amount_minor,
            currency=order.currency,
            usage=one.row.usage,
            begin_until_s=one.begin_until_s,
        )
    except GatewaySilent as problem:
        return problem
    except Exception as problem:  # noqa: BLE001 - whatever broke, the order may be out
        _log.error("call failed", giveback_id=order.id, exc_info=problem)
        return GatewaySilent(why=type(problem).__name__)


async def _record(has: Billing, one: _Call, answer: GatewayAnswer | GatewaySilent) -> None:
    try:
        await _recorded(has, one, answer)
    except psycopg.errors.UniqueViolation:
        # The gateway named an id that is on record for another order. That is no word about this one.
        _log.error("answer names another payment", giveback_id=one.order.id)
        await _recorded(has, one, GatewaySilent(why="an id on record for another payment"))


async def _recorded(has: Billing, one: _Call, answer: GatewayAnswer | GatewaySilent) -> None:
    now = has.clock()
    async with transaction(has.pool) as conn:
        row = (await refunds.locked(conn, [one.order.id])).get(one.order.id)
        if row is None or row.giveback.order.attempt.transaction_id != one.order.transaction_id:
            # The database went back while the call was under way, and may have given its id again.
            _log.error("call recorded nowhere", transaction_id=one.order.transaction_id)
            return
        outcome = refund.record(
            row.giveback, answer, number=one.row.giveback.order.sends, now=now, rules=has.rules
        )
        await write(conn, [row.giveback], [outcome], now=now)
    if outcome.cause == "turned_away":
        _log.error(
            "the gateway turns an order away", giveback_id=one.order.id, code=outcome.order.attempt.error_code
        )


async def _report(
    has: Billing,
    account: GatewayAccount,
    permit: Permit,
    answers: Collection[GatewayAnswer | GatewaySilent],
) -> None:
    failed = [is_failure(one) for one in answers]
    for one in answers:
        await slow_down(has, account.name, one)
    if failed:
        await has.limiter.report(account.name, permit, failed=failed)


async def write(
    conn: Connection, before: Sequence[Giveback], outcomes: Sequence[Outcome], *, now: datetime
) -> None:
    """
    Write orders, their debits and what is announced of both, inside the transaction that locked them.

    Args:
        conn: That transaction.
        before: n orders as they stood.
        outcomes: What became of each.
        now: The present moment.
    """
    await refunds.write(
        conn,
        [
            Written(
                one.order,
                one.cause if _is_kept_back(one) else None,
                one.cause if one.order.step == "unknown" and one.cause in submission.UNRESOLVED else None,
            )
            for one in outcomes
        ],
        now=now,
    )
    moved = [after.debit for one, after in zip(before, outcomes, strict=True) if after.debit != one.debit]
    await billing_attempts.move(conn, moved, now=now)
    facts: list[tuple[int | None, Event]] = [(None, fact) for one in outcomes for fact in one.events]
    await events.append(conn, facts, now=now)


def _is_kept_back(outcome: Outcome) -> bool:
    return outcome.order.attempt.error_code == "withheld" or outcome.cause == refund.DEFERRED


def lapse_givebacks(pool: Pool, *, clock: Callable[[], datetime], rules: Rules = _RULES) -> Duty:
    """
    Make orders unknown whose worker was not heard of again.

    Args:
        pool: Of Postgres.
        clock: Gives the present moment.
        rules: How long a lease is.

    Returns:
        The duty.
    """

    async def lapse() -> None:
        now = clock()
        async with transaction(pool) as conn:
            latest = now + timedelta(seconds=2 * rules.lease_s)
            rows = await refunds.lapsed(conn, now=now, latest=latest, limit=_LAPSE_MAX)
            outcomes = [refund.lapse(row.giveback, now=now, rules=rules) for row in rows]
            await write(conn, [row.giveback for row in rows], outcomes, now=now)
        if rows:
            _log.warning("leases of givebacks ran out; the gateway will be asked", orders=len(rows))

    return Duty("lapse_givebacks", 5, lapse)


# --- asking ----------------------------------------------------------------------------------------------------------


def asking_back(has: Asking, *, rules: Rules = _RULES) -> Work:
    """
    Asking about orders as a kind of work.

    Args:
        has: What asking needs.
        rules: When the word "not there" counts.

    Returns:
        The work for queue "reconciliation".
    """

    async def bite() -> int:
        return await ask_back(has, rules=rules)

    async def waits() -> bool:
        return await inquiry_batch.any_due(has, refunds.ASKS)

    return Work(ASK_BACK, bite, waits)


async def ask_back(has: Asking, *, rules: Rules = _RULES, limit: int = _BATCH_MAX) -> int:
    """
    Ask about orders that are due for a question, at most *limit* of them.

    Args:
        has: What asking needs.
        rules: When the word "not there" counts.
        limit: Orders at most.

    Returns:
        How many were asked about.

    Raises:
        Unavailable: when Postgres is away; the orders are asked about again.
    """
    asked = await inquiry_batch.ask(has, refunds.ASKS, limit=limit)
    if not asked.replies:
        return 0
    replies = await without_later_orders(has, asked.replies)
    try:
        await _hear(has, asked, replies, rules=rules)
    except psycopg.errors.UniqueViolation:
        for reply in replies:
            await _hear_alone(has, asked, reply, rules=rules)
    return len(asked.replies)


async def _hear_alone(has: Asking, asked: Round, reply: Reply, *, rules: Rules) -> None:
    try:
        await _hear(has, asked, [reply], rules=rules)
    except psycopg.errors.UniqueViolation:
        # As in recording what a call brought: an id that is on record for another order is no word about this one.
        _log.error("answer names another payment", giveback_id=reply.ask.id)
        await _hear(has, asked, [reply.nothing], rules=rules)


async def _hear(has: Asking, asked: Round, replies: Sequence[Reply], *, rules: Rules) -> None:
    """Write what was heard of orders, in one transaction."""
    now = has.clock()
    before, outcomes, agains = list[Giveback](), list[Outcome](), list[Again]()
    async with transaction(has.pool) as conn:
        rows = await refunds.locked(conn, [reply.ask.id for reply in replies])
        for reply in replies:
            row = rows.get(reply.ask.id)
            if row is None or row.giveback.order.attempt.transaction_id != reply.ask.transaction_id:
                continue  # the database went back while the inquiry was under way
            one = row.giveback
            outcome = None
            if reply.answer is not None:
                outcome = refund.hear(one, reply.answer)
            elif reply.heard == "not_there":
                outcome = refund.resolve(
                    one, asked_at=asked.asked_at, inquiry=asked.inquiry(reply), rules=rules
                )
            if outcome is not None:
                before.append(one)
                outcomes.append(outcome)
            agains.append(_next(reply, outcome, has=has, now=now))
        await write(conn, before, outcomes, now=now)
        await refunds.ASKS.note(conn, agains)


def _next(reply: Reply, outcome: Outcome | None, *, has: Asking, now: datetime) -> Again:
    """When to ask about an order again, and how often it was asked about by then."""
    ask = reply.ask
    if outcome is not None and outcome.cause == "too_early":
        return ask.id, ask.asks, outcome.again_at
    if outcome is not None and outcome.cause == "not_there":
        return ask.id, ask.asks, None
    if outcome is not None and outcome.cause == "not_found_elsewhere":
        return inquiry_batch.again_elsewhere(reply, has=has, now=now)
    stage = ask.payment_stage if outcome is None else outcome.order.attempt.payment_stage
    return inquiry_batch.again(reply, inquiry_batch.kind_at(stage), has=has, now=now)
