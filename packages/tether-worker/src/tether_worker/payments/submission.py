"""
Submission of debits: claim, call, record.

```text
limiter and breaker allow calls ─► claim, committed ─► call the gateway ─► record, committed
                                     │ judge each once more          │ the worker dies: the lease expires, and status
                                     ▼                               ▼ inquiries follow; no blind resubmission
                                  excluded                        unknown
```

A debit is claimed under a lease in a transaction of its own (`claim`); the call is made while no transaction is open; its result is
recorded in another transaction (`record`), together with those of other calls. A worker that was frozen between claim and call for so long
that its lease may have expired makes no call.

The rules are those of `tether_core.payments.submission` and `tether_core.billing.eligibility`; this module keeps the order of steps.
"""

import asyncio
from collections.abc import Sequence
from time import monotonic

from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent
from tether_core.jobs import SUBMIT
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.billing import billing_runs
from tether_stores.postgres import connection
from tether_stores.telemetry import logger
from tether_stores.traces import parents, spans

from tether_worker.billing.runs import pause_if_refused
from tether_worker.gateway import client
from tether_worker.gateway.connections import Gateway
from tether_worker.jobs.run import Work
from tether_worker.payments.call_limits import WAIT_MAX_S, CallAllowance, SubmissionDeps, allow_calls
from tether_worker.payments.claim import Claim, claim
from tether_worker.payments.record import CallResult, record_all

__all__ = ["submit_until", "submitting"]

_log = logger("billing")


def submitting(deps: SubmissionDeps) -> Work:
    """The job that submits debits."""

    async def batch() -> int:
        run = _Submitting(deps)
        made = await run.begin_until(monotonic() + SUBMIT.run_s)
        # The next run begins at once: waiting for the slowest response would keep the rate below its limit.
        ending = asyncio.create_task(run.end())
        deps.ending.add(ending)
        ending.add_done_callback(deps.ending.discard)
        ending.add_done_callback(_log_failure)
        return made

    async def has_pending() -> bool:
        if deps.stopping.is_set():
            return False
        async with connection(deps.pool) as conn:
            return bool(await billing_runs.submittable(conn, now=deps.clock()))

    return Work(SUBMIT, batch, has_pending)


async def submit_until(deps: SubmissionDeps, *, end_s: float) -> int:
    """
    Submit debits until none may be submitted now, or time is up; every call that was begun is recorded.

    Args:
        end_s: When to begin no further call, on the clock of `time.monotonic`.

    Returns:
        How many debits were submitted or excluded.

    Raises:
        Unavailable: when Postgres is away.
    """
    run = _Submitting(deps)
    made = await run.begin_until(end_s)
    await run.end()
    return made


class _Submitting:
    """One run of the job: the calls it has begun, and the task that records their results."""

    def __init__(self, deps: SubmissionDeps) -> None:
        self._deps = deps
        self._calls: set[asyncio.Task[None]] = set()
        self._results: asyncio.Queue[CallResult | None] = asyncio.Queue()
        self._recorder = asyncio.create_task(record_all(deps, self._results))

    async def begin_until(self, end_s: float) -> int:
        """
        Begin calls until none may be made now, or time is up; `end` follows.

        On an error the run ends: results that have come are recorded, the leases of the other calls expire.
        """
        try:
            return await self._begin_until(end_s)
        except BaseException:
            await self._stop()
            raise

    async def _begin_until(self, end_s: float) -> int:
        made = 0
        while monotonic() < end_s and not self._deps.stopping.is_set() and not self._recorder.done():
            begun, wait_s = await _begin(self._deps, self._calls, self._results)
            made += begun
            if begun:
                continue
            if wait_s is None:
                break
            await _rest(self._calls, wait_s)
        return made

    async def end(self) -> None:
        """Wait for every call that was begun, and record its result."""
        try:
            if self._calls:
                await asyncio.wait(self._calls)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        if calls:
            # A call that is cancelled before its request ends as `NotSubmitted`, and its debit is ready again.
            await asyncio.wait(calls)
        self._results.put_nowait(None)
        try:
            await self._recorder
        finally:
            # The leases of what was not recorded expire.
            for row_id in [
                row_id for row_id, result in self._deps.unrecorded.items() if result is self._results
            ]:
                del self._deps.unrecorded[row_id]


def _log_failure(ending: asyncio.Task[None]) -> None:
    if not ending.cancelled() and (exc := ending.exception()):
        _log.error("recording failed", exc_info=exc)


async def _begin(
    deps: SubmissionDeps, calls: set[asyncio.Task[None]], results: asyncio.Queue[CallResult | None]
) -> tuple[int, float | None]:
    """
    Begin the calls that every account may make now.

    Returns:
        How many rows were handled, and for how many seconds to wait where none; `None` where waiting cannot help.
    """
    async with connection(deps.pool) as conn:
        waiting = await billing_runs.submittable(conn, now=deps.clock())
    accounts = await deps.gateways.accounts()
    begun, waits_s = 0, list[float]()
    for name in dict.fromkeys(account for _, account in waiting):
        account = accounts.get(name)
        if account is None or not account.enabled:
            continue
        allowed = await allow_calls(deps, account)
        if allowed.wait_s is not None:
            waits_s.append(allowed.wait_s)
        if allowed.calls:
            runs = [run_id for run_id, of in waiting if of == name]
            begun += await _begin_with(deps, calls, results, account=account, allowed=allowed, runs=runs)
    return begun, min(waits_s) if waits_s else None


async def _begin_with(
    deps: SubmissionDeps,
    calls: set[asyncio.Task[None]],
    results: asyncio.Queue[CallResult | None],
    *,
    account: GatewayAccount,
    allowed: CallAllowance,
    runs: Sequence[int],
) -> int:
    opened = await deps.gateways.get(account.name)
    assert opened is not None
    left, taken = allowed.calls, 0
    begun = False
    for run_id in runs:
        claims, excluded = await claim(
            deps, run_id, account=account, identity=opened.identity, permit=allowed.permit, limit=left
        )
        if not claims and not excluded:
            await pause_if_refused(deps.pool, run_id, now=deps.clock())
        trace = await _trace(deps, run_id) if claims else ""
        for item in claims:
            call = asyncio.create_task(_call(opened, item, results, trace=trace))
            deps.unrecorded[item.id] = results
            for tasks in (calls, deps.under_way):
                tasks.add(call)
                call.add_done_callback(tasks.discard)
        begun = begun or bool(claims)
        left -= len(claims)
        taken += len(claims) + excluded
        if not left:
            break
    if not begun:
        # A probe of a half-open breaker that nobody makes would keep all others waiting.
        await deps.limiter.report(account.name, allowed.permit, failed=[None])
    return taken


async def _trace(deps: SubmissionDeps, run_id: int) -> str:
    """The trace of the request that ordered a run; "" while traces are off."""
    if not spans.is_on():
        return ""
    async with connection(deps.pool) as conn:
        return (await parents.found(conn, "billing_run", [run_id])).get(run_id, "")


async def _rest(calls: set[asyncio.Task[None]], wait_s: float) -> None:
    """Wait for the next grant, or for a call to end where the maximum is under way."""
    wait_s = min(max(wait_s, 0.001), WAIT_MAX_S)
    if wait_s == WAIT_MAX_S and calls:
        await asyncio.wait(calls, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(wait_s)


async def _submit(opened: Gateway, item: Claim) -> GatewayAnswer:
    debit, until_s = item.debit, item.begin_until_s
    if item.request.kind == "first":
        return await client.init_recurring_sale(opened, debit, begin_until_s=until_s)
    if item.request.reference_id is not None:
        return await client.recurring_sale(
            opened,
            transaction_id=debit.transaction_id,
            reference_id=item.request.reference_id,
            amount_minor=debit.amount_minor,
            currency=debit.currency,
            usage=debit.usage,
            remote_ip=debit.remote_ip,
            begin_until_s=until_s,
        )
    return await client.sale(opened, debit, begin_until_s=until_s)


async def _call(
    opened: Gateway, item: Claim, results: asyncio.Queue[CallResult | None], *, trace: str = ""
) -> None:
    answer: GatewayAnswer | GatewaySilent
    try:
        with spans.span("submit debit", parent=trace) as current:
            current.fact(subject="billing_attempt", row_id=item.id)
            # This process may have been stopped since the claim, and the lease may have expired: the client refuses then.
            answer = await _submit(opened, item)
    except GatewaySilent as exc:
        answer = exc
    except Exception as exc:  # noqa: BLE001 - after any error the debit may have been submitted
        _log.error("call failed", attempt_id=item.id, exc_info=exc)
        answer = GatewaySilent(why=type(exc).__name__)
    results.put_nowait(CallResult(item, opened.account.name, answer))
