"""
Submission of refunds and voids: claim, call, record.

```text
claim, committed ─► call the gateway ─► record, committed ─► the debit is refunded or voided
   │ judge once more     │ the worker dies, or no response
   ▼                     ▼
 error, with the cause  unknown ─► status inquiries (`status_inquiries`)
```

The rules are those of `tether_core.refunds.refund`; this module keeps the order of steps. An order and its debit are locked
together, the debit first, so a chargeback that is applied at the same time comes before or after and never between.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

import msgspec
import psycopg
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent
from tether_core.holds import refund_hold
from tether_core.jobs import SUBMIT_REFUNDS
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments.attempt import Attempt
from tether_core.payments.gateway_identity import GatewayIdentity
from tether_core.payments.submission import SubmissionRules
from tether_core.refunds import refund
from tether_stores import holds
from tether_stores.accounts import account_pauses, gateway_identities
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.refunds import refunds
from tether_stores.refunds.refunds import LockedRefund
from tether_stores.telemetry import logger
from tether_stores.traces import parents, spans

from tether_worker.gateway import client
from tether_worker.gateway.connections import Gateway
from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.jobs.run import Work
from tether_worker.payments.call_limits import (
    BEGIN_S,
    CallAllowance,
    SubmissionDeps,
    allow_calls,
    is_failure,
    slow_down,
)
from tether_worker.refunds.write import write

__all__ = ["expire_refunds", "submit_refunds", "submitting_refunds"]

_BATCH_MAX: Final = 16
# The account may be free sooner than its wait says: look again after this long.
_LOOK_S: Final = 1.0
_EXPIRE_MAX: Final = 100
# How long an order waits for its turn among debits, in seconds; then the next look tries again.
_TURN_MAX_S: Final = 5.0
_RULES: Final = SubmissionRules()

_log = logger("refunds")


def submitting_refunds(deps: SubmissionDeps) -> Work:
    """The job that submits refunds and voids."""

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
    Submit orders that are ready, as many as may be submitted now, and record the results.

    Returns:
        How many orders were submitted or excluded.

    Raises:
        Unavailable: when Postgres is away; orders whose result was not recorded become unknown, and status inquiries follow.
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
    """A claimed order on its way to the gateway."""

    row: LockedRefund
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
    calls, excluded = await _claim(deps, account, identity=opened.identity, limit=allowed.calls)
    if not calls:
        await deps.limiter.report(account.name, allowed.permit, failed=[None])  # nobody makes this probe
        return excluded
    answers: dict[int, GatewayAnswer | GatewaySilent] = {}
    traces = await _traces(deps, [item.order.id for item in calls])
    begun = [
        asyncio.create_task(_call(opened, item, answers, trace=traces.get(item.order.id, "")))
        for item in calls
    ]
    for call in begun:
        deps.under_way.add(call)
        call.add_done_callback(deps.under_way.discard)
    await asyncio.gather(*begun)
    await _report(deps, account, allowed.permit, answers.values())
    for item in calls:
        if item.order.id in answers:
            await _record(deps, item, answers[item.order.id])
    return len(calls) + excluded


async def _turn(deps: SubmissionDeps, account: GatewayAccount) -> CallAllowance | None:
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
        if not await account_pauses.may_submit(conn, account.name):
            return [], 0
        rows = await refunds.ready(conn, account.name, now=now, limit=limit)
        reported = await holds.of_refunds(conn, [row.refund.debit.id for row in rows], now=now)
        outcomes = [
            refund.claim(
                row.refund,
                now=now,
                identity=identity.key,
                hold=refund_hold(reported[row.refund.debit.id]),
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
            _log.warning("refund not submitted", refund_id=row.refund.order.attempt.id, why=outcome.cause)
    return calls, len(rows) - len(calls)


async def _call(
    opened: Gateway, call: _Call, answers: dict[int, GatewayAnswer | GatewaySilent], *, trace: str = ""
) -> None:
    with spans.span("submit refund", parent=trace) as current:
        current.fact(subject="refund", row_id=call.order.id)
        answers[call.order.id] = await _answer(opened, call)


async def _traces(deps: SubmissionDeps, refund_ids: Sequence[int]) -> Mapping[int, str]:
    """The traces of the requests that ordered refunds, by refund; none while traces are off."""
    if not spans.is_on():
        return {}
    async with connection(deps.pool) as conn:
        return await parents.found(conn, "refund", refund_ids)


async def _answer(opened: Gateway, call: _Call) -> GatewayAnswer | GatewaySilent:
    """The gateway's answer, or that there was none."""
    debit, order = call.row.refund.debit, call.order
    assert debit.unique_id is not None  # else it had been excluded
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
    except Exception as exc:  # noqa: BLE001 - after any error the order may have been submitted
        _log.error("call failed", refund_id=order.id, exc_info=exc)
        return GatewaySilent(why=type(exc).__name__)


async def _record(deps: SubmissionDeps, call: _Call, answer: GatewayAnswer | GatewaySilent) -> None:
    try:
        await _recorded(deps, call, answer)
    except psycopg.errors.UniqueViolation:
        # The gateway named an id that is stored for another order, so the response is not about this one.
        _log.error("response names another payment", refund_id=call.order.id)
        await _recorded(deps, call, GatewaySilent(why="an id stored for another payment"))


async def _recorded(deps: SubmissionDeps, call: _Call, answer: GatewayAnswer | GatewaySilent) -> None:
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        row = (await refunds.locked(conn, [call.order.id])).get(call.order.id)
        if row is None or row.refund.order.attempt.transaction_id != call.order.transaction_id:
            # The database went back while the call was under way, and may have reused its id.
            _log.error("call result dropped", transaction_id=call.order.transaction_id)
            return
        outcome = refund.record(
            row.refund, answer, number=call.row.refund.order.submission_count, now=now, rules=deps.rules
        )
        await write(conn, [row.refund], [outcome], now=now)
    if outcome.cause == "rejected":
        _log.error(
            "refund rejected: merchant configuration",
            refund_id=call.order.id,
            code=outcome.order.attempt.error_code,
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


def expire_refunds(
    pool: Pool, *, clock: Callable[[], datetime], rules: SubmissionRules = _RULES
) -> PeriodicTask:
    """
    Make orders unknown whose lease has expired.

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
