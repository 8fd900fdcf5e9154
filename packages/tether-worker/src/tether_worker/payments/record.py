"""
Record the results of calls for debits, many in one transaction.

What a result means is decided by `tether_core.payments.submission`. A result that cannot be recorded while its lease lasts is dropped: the
debit becomes unknown, and status inquiries find out what became of it.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Final

import msgspec
import psycopg
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent, Unavailable
from tether_core.events import Event
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments import submission
from tether_core.payments.submission import After
from tether_stores import events
from tether_stores.payments import submissions
from tether_stores.payments.submissions import LockedDebit, Written
from tether_stores.postgres import transaction
from tether_stores.telemetry import logger

from tether_worker.billing.runs import pause_account
from tether_worker.payments.call_limits import WAIT_MAX_S, SubmissionDeps, is_failure, slow_down
from tether_worker.payments.claim import Claim

__all__ = ["CallResult", "record", "record_all"]

_RECORD_MAX: Final = 256

_log = logger("billing")


class CallResult(msgspec.Struct, frozen=True):
    """
    The result of a call.

    Attributes:
        claim: The call.
        answer: The gateway's answer, or that there was none.
    """

    claim: Claim
    account: str
    answer: GatewayAnswer | GatewaySilent


async def record_all(deps: SubmissionDeps, results: asyncio.Queue[CallResult | None]) -> None:
    """Record results of calls in batches until the queue brings `None`."""
    ended = False
    while not ended:
        batch = [await results.get()]
        while not results.empty() and len(batch) < _RECORD_MAX:
            batch.append(results.get_nowait())
        ended = None in batch
        ended_calls = [result for result in batch if result is not None]
        if ended_calls:
            try:
                await _report(deps, ended_calls)
                await _record_before_lease_ends(deps, ended_calls)
            finally:
                for result in ended_calls:
                    deps.unrecorded.pop(result.claim.id, None)


async def _record_before_lease_ends(deps: SubmissionDeps, results: Sequence[CallResult]) -> None:
    """Retry while the leases last; a debit whose result is not recorded by then becomes unknown."""
    end_s = monotonic() + deps.rules.lease_s
    while True:
        try:
            await record(deps, results)
        except Unavailable as exc:
            _log.warning("recording deferred", results=len(results), why=str(exc))
            if monotonic() >= end_s:
                return
            await asyncio.sleep(WAIT_MAX_S)
        else:
            return


async def record(deps: SubmissionDeps, results: Sequence[CallResult]) -> None:
    """
    Record the results of calls for different debits, in one transaction.

    Raises:
        Unavailable: when Postgres is away; nothing was recorded.
    """
    try:
        pause_reasons = await _record_together(deps, results)
    except psycopg.errors.UniqueViolation:
        if len(results) == 1:
            # The gateway named an id that is stored for another debit, so the response is not about this one.
            answer = GatewaySilent(why="an id stored for another payment")
            _log.error("response names another payment", attempt_id=results[0].claim.id)
            await record(deps, [msgspec.structs.replace(results[0], answer=answer)])
            return
        for result in results:
            await record(deps, [result])
        return
    for account, why in pause_reasons.items():
        _log.error(
            "submission rejected: merchant configuration; runs of the account are paused",
            account=account,
            why=why,
        )
        await pause_account(deps.pool, account, reason=why, now=deps.clock())


async def _record_together(deps: SubmissionDeps, results: Sequence[CallResult]) -> dict[str, str]:
    now = deps.clock()
    written, facts, pause_reasons = list[Written](), list[Event](), dict[str, str]()
    async with transaction(deps.pool) as conn:
        rows = await submissions.locked(conn, [result.claim.id for result in results])
        for result in results:
            if not _is_of(rows.get(result.claim.id), result.claim):
                # The database went back while the call was under way; a report fetch finds the payment.
                _log.error("call result dropped", transaction_id=result.claim.debit.transaction_id)
                continue
            after: After = submission.record(
                rows[result.claim.id].submission,
                result.answer,
                number=result.claim.number,
                now=now,
                rules=deps.rules,
            )
            written.append(Written(after.submission))
            facts += after.events
            if after.pause_reason is not None:
                pause_reasons[result.account] = f"The gateway rejects us ({after.pause_reason})"
        await submissions.write(conn, written, now=now)
        await events.append(conn, [(None, fact) for fact in facts], now=now)
    return pause_reasons


def _is_of(row: LockedDebit | None, claim: Claim) -> bool:
    """Whether the row is the claimed one: a database that went back reuses ids."""
    return row is not None and row.submission.attempt.transaction_id == claim.debit.transaction_id


async def _report(deps: SubmissionDeps, results: Sequence[CallResult]) -> None:
    """Report to breaker and limiter how calls ended."""
    ended: dict[tuple[str, Permit], list[bool | None]] = {}
    for result in results:
        await slow_down(deps, result.account, result.answer)
        ended.setdefault((result.account, result.claim.permit), []).append(is_failure(result.answer))
    for (account, permit), failed in ended.items():
        await deps.limiter.report(account, permit, failed=failed)
