"""
Sending debits: claim, call, record.

```text
ask the limiter and the breaker ─► claim, committed ─► call the gateway ─► record, committed
                                     │ judge each once more          │ dies here: the lease runs out, and the
                                     ▼                               ▼ debit is asked about, never sent again
                                  withheld                        unknown
```

A debit is claimed under a lease in a transaction of its own; the call is made while no transaction is open; what it brought
is recorded in another. The answers of many calls are recorded together. A worker that was frozen between claim and call
for so long that its lease may have run out does not call: it lets the lease run out.

What every step means is decided by `tether_core.payments.submission` and `tether_core.billing.eligibility`; here is only the order of things.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic
from typing import Final

import msgspec
import psycopg
from tether_core.billing import auto_pause, eligibility
from tether_core.billing import run as billing_run
from tether_core.billing.debit_request import debit
from tether_core.billing.eligibility import RunOptions
from tether_core.emp.requests import Debit, sdd_sale
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent, Rejected, Unavailable
from tether_core.events import Event
from tether_core.fingerprint_key import FingerprintKeyRefused
from tether_core.holds import RETRY_AFTER
from tether_core.jobs import SUBMIT
from tether_core.limits.rate_limit import Permit
from tether_core.payments import submission
from tether_core.payments.gateway_identity import GatewayIdentity
from tether_core.payments.submission import After, Rules
from tether_core.sepa_text import Characters
from tether_core.target_calendar import bank_day
from tether_stores import billing as billing_store
from tether_stores import events, fingerprint_key
from tether_stores.accounts import gateway_identities
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.billing import Owing, Run
from tether_stores.database_epoch import Watch
from tether_stores.limits import Limiter
from tether_stores.payments import billing_run_counts, submissions
from tether_stores.payments.submissions import Row, Written
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.telemetry import logger

from tether_worker.billing.runs import pause_account, pause_if_refused
from tether_worker.gateway import client
from tether_worker.gateway.clients import Gateways
from tether_worker.jobs.run import Work

__all__ = [
    "BEGIN_S",
    "CALLS_MAX",
    "Billing",
    "Claim",
    "Leave",
    "billing",
    "claim",
    "is_failure",
    "leave",
    "record",
    "slow_down",
    "submit_until",
]

SHARE: Final = "billing"
# Calls under way at once for one account; as many connections are open, so that no call waits for one.
CALLS_MAX: Final = 64
# A claim takes a few milliseconds whatever its size; this many keep a worker busy that has no limit at all.
_CLAIM_MAX: Final = 32
_RECORD_MAX: Final = 256
# A call that has not begun so long after its claim is not made: its lease could be over before it is.
BEGIN_S: Final = 10.0
# Nothing may be sent briefly: look again after this long at the latest.
_WAIT_MAX_S: Final = 0.5
# Answers wait to be recorded before more may begin: that takes about so long.
_RECORDED_S: Final = 0.01

_log = logger("billing")


class Billing(msgspec.Struct, frozen=True):
    """
    What sending needs.

    Attributes:
        pool: Of Postgres.
        gateways: The accounts and their connections, `CALLS_MAX` of them each.
        limiter: This process' door to the limits that all nodes share.
        rules: How long a call may live.
        clock: Gives the current time, aware, UTC.
        stopping: Set when this process ends: nothing more is claimed then, and calls under way are recorded.
        watch: Notices that the database went back; nothing is claimed where it has not confirmed the epoch. `None` only where
            no worker runs.
        fingerprint_key: `TETHER_FINGERPRINT_KEY`: nothing is claimed with another one than the database's. `None`, where no
            worker runs, leaves it unchecked.
        under_way: The calls of this process, whichever run of this work began them.
        ending: Runs that begin no further call, and wait for the answers to theirs.
        unrecorded: Attempts that were claimed, and what came of them is not committed yet; with the queue it goes through.
    """

    pool: Pool
    gateways: Gateways
    limiter: Limiter
    rules: Rules
    clock: Callable[[], datetime]
    stopping: asyncio.Event
    watch: Watch | None = None
    fingerprint_key: bytes | None = None
    under_way: set[asyncio.Task[None]] = msgspec.field(default_factory=set)
    ending: set[asyncio.Task[None]] = msgspec.field(default_factory=set)
    unrecorded: dict[int, object] = msgspec.field(default_factory=dict)

    async def ended(self) -> None:
        """Wait until every call that was begun is recorded; once nothing more begins."""
        while self.ending:
            await asyncio.wait(self.ending)


class Claim(msgspec.Struct, frozen=True):
    """
    A debit that was claimed, on its way to the gateway.

    Attributes:
        id: The attempt.
        number: Which call of it this is.
        debit: The request.
        begin_until_s: Until when the call may begin, on the clock of `time.monotonic`.
        permit: The breaker's.
    """

    id: int
    number: int
    debit: Debit
    begin_until_s: float
    permit: Permit


class CallResult(msgspec.Struct, frozen=True):
    """
    What a call brought.

    Attributes:
        claim: The call.
        account: With which account.
        answer: The gateway's answer, or that there was none.
    """

    claim: Claim
    account: str
    answer: GatewayAnswer | GatewaySilent


def billing(deps: Billing) -> Work:
    """
    Sending as a kind of work.

    Args:
        deps: What it needs.

    Returns:
        The work for queue "billing".
    """

    async def batch() -> int:
        run = _Submitting(deps)
        made = await run.begin_until(monotonic() + SUBMIT.run_s)
        # The next run begins at once: were it to wait for the slowest answer, the rate would not be held.
        ending = asyncio.create_task(run.end())
        deps.ending.add(ending)
        ending.add_done_callback(deps.ending.discard)
        ending.add_done_callback(_tell)
        return made

    async def has_pending() -> bool:
        if deps.stopping.is_set():
            return False
        async with connection(deps.pool) as conn:
            return bool(await billing_store.submittable(conn, now=deps.clock()))

    return Work(SUBMIT, batch, has_pending)


async def submit_until(deps: Billing, *, end_s: float) -> int:
    """
    Send debits until none may be sent now, or time is up; every call that was begun is recorded.

    Args:
        deps: What sending needs.
        end_s: When to begin no further call, on the clock of `time.monotonic`.

    Returns:
        How many debits were called for or withheld.

    Raises:
        Unavailable: when Postgres is away.
    """
    run = _Submitting(deps)
    made = await run.begin_until(end_s)
    await run.end()
    return made


class _Submitting:
    """One run: the calls it has begun, and who records what they bring."""

    def __init__(self, deps: Billing) -> None:
        self._deps = deps
        self._calls: set[asyncio.Task[None]] = set()
        self._results: asyncio.Queue[CallResult | None] = asyncio.Queue()
        self._recorder = asyncio.create_task(_record_all(deps, self._results))

    async def begin_until(self, end_s: float) -> int:
        """
        Begin calls until none may be made now, or time is up; `end` follows.

        Where that fails, the run is over: what the calls have brought so far is recorded, the others are left to their leases.
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
        """Wait for every call that was begun, and record what it brings."""
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
            # A call that was cancelled before its request says so, and its debit is ready again.
            await asyncio.wait(calls)
        self._results.put_nowait(None)
        try:
            await self._recorder
        finally:
            # What was not recorded is left to its lease.
            for row_id in [
                row_id for row_id, result in self._deps.unrecorded.items() if result is self._results
            ]:
                del self._deps.unrecorded[row_id]


def _tell(ending: asyncio.Task[None]) -> None:
    if not ending.cancelled() and (problem := ending.exception()):
        _log.error("responses not recorded", exc_info=problem)


class Leave(msgspec.Struct, frozen=True):
    """
    How many calls may be made now.

    Attributes:
        permit: The breaker's, for these calls.
        calls: How many.
        wait_s: When to ask again where none, in seconds; `None` where waiting is in vain.
    """

    permit: Permit
    calls: int
    wait_s: float | None = None


_NONE: Final = Permit(go=False, generation=0)


async def leave(deps: Billing, account: GatewayAccount, *, wanted_max: int = _CLAIM_MAX) -> Leave:
    """
    Ask limiter and breaker for calls with an account.

    Args:
        deps: What sending needs.
        account: Which.
        wanted_max: Calls at most.

    Returns:
        What may be called now.
    """
    # An answer that is not recorded yet may be the refusal that pauses the run.
    room = CALLS_MAX - max(len(deps.under_way), len(deps.unrecorded))
    if room < 1:
        return Leave(_NONE, 0, _WAIT_MAX_S if len(deps.under_way) >= CALLS_MAX else _RECORDED_S)
    shares = deps.gateways.rates(account)
    grant = await deps.limiter.take(account.name, share=SHARE, wanted=min(room, wanted_max), shares=shares)
    if not grant.granted:
        return Leave(_NONE, 0, grant.wait_s)
    permit, allowed = await deps.limiter.admit_for(account.name, wanted=grant.granted)
    # An open breaker is not waited for: the next look asks again.
    wait_s = permit.wait_s if not allowed and permit.wait_s <= _WAIT_MAX_S else None
    return Leave(permit, allowed, wait_s)


async def _begin(
    deps: Billing, calls: set[asyncio.Task[None]], results: asyncio.Queue[CallResult | None]
) -> tuple[int, float | None]:
    """Take what every account may send; gives how many rows, and how long to wait where none, `None` for in vain."""
    async with connection(deps.pool) as conn:
        waiting = await billing_store.submittable(conn, now=deps.clock())
    accounts = await deps.gateways.accounts()
    begun, waits_s = 0, list[float]()
    for name in dict.fromkeys(account for _, account in waiting):
        account = accounts.get(name)
        if account is None or not account.enabled:
            continue
        allowed = await leave(deps, account)
        if allowed.wait_s is not None:
            waits_s.append(allowed.wait_s)
        if allowed.calls:
            runs = [run_id for run_id, of in waiting if of == name]
            begun += await _begin_with(deps, calls, results, account=account, allowed=allowed, runs=runs)
    return begun, min(waits_s) if waits_s else None


async def _begin_with(
    deps: Billing,
    calls: set[asyncio.Task[None]],
    results: asyncio.Queue[CallResult | None],
    *,
    account: GatewayAccount,
    allowed: Leave,
    runs: Sequence[int],
) -> int:
    opened = await deps.gateways.get(account.name)
    assert opened is not None
    left, taken = allowed.calls, 0
    begun = False
    for run_id in runs:
        claims, withheld = await claim(
            deps, run_id, account=account, identity=opened.identity, permit=allowed.permit, limit=left
        )
        if not claims and not withheld:
            await pause_if_refused(deps.pool, run_id, now=deps.clock())
        for item in claims:
            call = asyncio.create_task(_call(opened, item, results))
            deps.unrecorded[item.id] = results
            for current_status in (calls, deps.under_way):
                current_status.add(call)
                call.add_done_callback(current_status.discard)
        begun = begun or bool(claims)
        left -= len(claims)
        taken += len(claims) + withheld
        if not left:
            break
    if not begun:
        # A probe of a half-open breaker that nobody makes would keep all others waiting.
        await deps.limiter.report(account.name, allowed.permit, failed=[None])
    return taken


async def _rest(calls: set[asyncio.Task[None]], wait_s: float) -> None:
    """Wait for the next grant, or for a call to end where as many as may are under way."""
    wait_s = min(max(wait_s, 0.001), _WAIT_MAX_S)
    if wait_s == _WAIT_MAX_S and calls:
        await asyncio.wait(calls, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(wait_s)


# --- claim -----------------------------------------------------------------------------------------------------------


async def claim(
    deps: Billing,
    run_id: int,
    *,
    account: GatewayAccount,
    identity: GatewayIdentity,
    permit: Permit,
    limit: int,
) -> tuple[list[Claim], int]:
    """
    Claim debits of a run, once more judged; committed when this returns.

    Args:
        deps: What sending needs.
        run_id: The run.
        account: Its account.
        identity: Where the calls will go.
        permit: The breaker's, for the calls that follow.
        limit: Debits at most.

    Returns:
        Up to *limit* claims, and how many debits were withheld because they may not be sent after all.

    Raises:
        Unavailable: when Postgres is away; nothing was claimed then, or it was and its lease will run out.
    """
    begin_until_s = monotonic() + BEGIN_S
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        if deps.watch is not None and not await deps.watch.holds(conn):
            return [], 0  # the database may have gone back; the next look comes after the next probe
        if not await _has_key(conn, deps.fingerprint_key, now=now):
            return [], 0
        run = await billing_store.share(conn, run_id)
        if run is None or run.state not in billing_run.SUBMITTING:
            return [], 0
        # Who records a refusal waits for this claim from here on, and every later claim sees what was recorded.
        counts = await billing_run_counts.share(conn, run_id=run_id, upload_id=run.upload_id, now=now)
        if auto_pause.refusals(run_id, counts, now=now).level == "pause":
            return [], 0
        rows = await submissions.ready(
            conn, run_id, canaries_only=run.state == "canary", now=now, limit=limit
        )
        if not rows:
            return [], 0
        rows = _one_each(rows)
        # Another run may be claiming the same debit, made of a row of another upload.
        await submissions.lock_accounts(conn, {row.submission.attempt.iban_fingerprint for row in rows})
        owing = await billing_store.owing(
            conn,
            due_item=run.due_item,
            now=now,
            limit=len(rows),
            ids=[row.debtor_id for row in rows],
            without=[row.submission.attempt.id for row in rows],
            overrides=run.overrides,
        )
        room = await _room(conn, account=account, now=now)
        claims, written, facts = _judged(
            rows,
            owing,
            room=room,
            options=_terms(run, account=account),
            characters=account.characters or "latin",
            now=now,
            identity=identity.key,
            rules=deps.rules,
        )
        if claims:
            await gateway_identities.record(conn, identity, account=account.name, now=now)
        await submissions.write(conn, written, now=now)
        await events.append(conn, [(None, fact) for fact in facts], now=now)
        if _has_day(account):
            await submissions.count_day(
                conn,
                account.name,
                day_on=bank_day(now),
                count=len(claims),
                amount_minor=sum(asked.amount_minor for _, _, asked in claims),
            )
    begun = [Claim(row_id, number, asked, begin_until_s, permit) for row_id, number, asked in claims]
    return begun, len(written) - len(begun)


async def _has_key(conn: Connection, key: bytes | None, *, now: datetime) -> bool:
    # A refusal is no failure of the run: calls under way must be recorded, not cancelled.
    try:
        if key is not None:
            await fingerprint_key.require(conn, key, now=now)
    except FingerprintKeyRefused as refused:
        _log.warning("submission refused", why=str(refused))
        return False
    return True


def _one_each(rows: list[Row]) -> list[Row]:
    """One debit per debtor: in judging one, the others of this claim are excluded."""
    return list({row.debtor_id: row for row in reversed(rows)}.values())[::-1]


class _Room(msgspec.Struct):
    """What an account may still begin today."""

    count: int | None = None
    amount_minor: int | None = None

    def take(self, amount_minor: int) -> bool:
        """Take room for a debit, where there is enough."""
        if self.count is not None and self.count < 1:
            return False
        if self.amount_minor is not None and self.amount_minor < amount_minor:
            return False
        self.count = None if self.count is None else self.count - 1
        self.amount_minor = None if self.amount_minor is None else self.amount_minor - amount_minor
        return True


def _has_day(account: GatewayAccount) -> bool:
    return account.day_count_max is not None or account.day_amount_max_minor is not None


async def _room(conn: Connection, *, account: GatewayAccount, now: datetime) -> _Room:
    if not _has_day(account):
        return _Room()
    count, amount_minor = await submissions.hold_day(conn, account.name, day_on=bank_day(now))
    most, most_minor = account.day_count_max, account.day_amount_max_minor
    return _Room(
        None if most is None else most - count, None if most_minor is None else most_minor - amount_minor
    )


def _judged(
    rows: Sequence[Row],
    owing: Sequence[Owing],
    *,
    room: _Room,
    options: RunOptions,
    characters: Characters,
    now: datetime,
    identity: str,
    rules: Rules,
) -> tuple[list[tuple[int, int, Debit]], list[Written], list[Event]]:
    """What becomes of each row: claimed, withheld, deferred, or left as it is until another day."""
    known = {debtor.candidate.debtor_id: debtor for debtor in owing}
    claims, written, facts = list[tuple[int, int, Debit]](), list[Written](), list[Event]()
    for row in rows:
        reason, asked = _asked(row, known.get(row.debtor_id), options=options, characters=characters)
        if asked is None and reason in eligibility.PASSING:
            written.append(Written(submission.defer(row.submission, until=now + RETRY_AFTER)))
            continue
        if asked is None:
            after = submission.withhold(row.submission, reason=reason)
            written.append(Written(after.submission, reason))
            facts += after.events
            continue
        if not room.take(asked.amount_minor):
            continue
        claimed = submission.claim(row.submission, now=now, identity=identity, rules=rules)
        written.append(Written(claimed))
        claims.append((claimed.attempt.id, claimed.submission_count, asked))
    return claims, written, facts


def _asked(
    row: Row, debtor: Owing | None, *, options: RunOptions, characters: Characters
) -> tuple[str, Debit | None]:
    """Why a debit is not sent, or its request."""
    if debtor is None:
        return "no_debtor", None
    attempt = row.submission.attempt
    if (debtor.candidate.amount_minor, debtor.candidate.currency) != (attempt.amount_minor, attempt.currency):
        return "amount_changed", None
    if debtor.iban_fingerprint != attempt.iban_fingerprint:
        return "account_changed", None
    verdict = eligibility.judge(msgspec.structs.replace(debtor.candidate, again=row.again), options=options)
    if not verdict.billable:
        return verdict.code, None
    try:
        asked = debit(
            debtor.payer,
            transaction_id=attempt.transaction_id,
            amount_minor=attempt.amount_minor,
            currency=attempt.currency,
            usage=options.usage,
            merchant_name=options.merchant_name,
            remote_ip=options.remote_ip,
            characters=characters,
        )
        sdd_sale(asked)  # what cannot be written must not be claimed
    except Rejected as exc:
        _log.warning("debit cannot be written", attempt_id=attempt.id, why=exc.code)
        return "unsendable", None
    return "", asked


def _terms(run: Run, *, account: GatewayAccount) -> RunOptions:
    # A debit that is larger than a whole day may take would wait for ever.
    caps = (run.options.debit_max_minor, account.debit_max_minor, account.day_amount_max_minor)
    cap = min((cap for cap in caps if cap is not None), default=None)
    return msgspec.structs.replace(run.options, debit_max_minor=cap)


# --- call ------------------------------------------------------------------------------------------------------------


async def _call(opened: client.Gateway, item: Claim, results: asyncio.Queue[CallResult | None]) -> None:
    answer: GatewayAnswer | GatewaySilent
    try:
        # Between claim and here this process may have been stopped, and the lease be over: the client refuses then.
        answer = await client.sale(opened, item.debit, begin_until_s=item.begin_until_s)
    except GatewaySilent as exc:
        answer = exc
    except Exception as exc:  # noqa: BLE001 - whatever broke, the debit may be out
        _log.error("call failed", attempt_id=item.id, exc_info=exc)
        answer = GatewaySilent(why=type(exc).__name__)
    results.put_nowait(CallResult(item, opened.account.name, answer))


# --- record ----------------------------------------------------------------------------------------------------------


async def _record_all(deps: Billing, results: asyncio.Queue[CallResult | None]) -> None:
    """Record what calls bring, many at once, until told that there will be no more."""
    ended = False
    while not ended:
        batch = [await results.get()]
        while not results.empty() and len(batch) < _RECORD_MAX:
            batch.append(results.get_nowait())
        ended = None in batch
        brought = [row for row in batch if row is not None]
        if brought:
            try:
                await _report(deps, brought)
                await _record_surely(deps, brought)
            finally:
                for result in brought:
                    deps.unrecorded.pop(result.claim.id, None)


async def _record_surely(deps: Billing, brought: Sequence[CallResult]) -> None:
    """Try while the leases last; what cannot be recorded by then becomes unknown, and is asked about."""
    end_s = monotonic() + deps.rules.lease_s
    while True:
        try:
            await record(deps, brought)
        except Unavailable as exc:
            _log.warning("responses wait to be recorded", answers=len(brought), why=str(exc))
            if monotonic() >= end_s:
                return
            await asyncio.sleep(_WAIT_MAX_S)
        else:
            return


async def record(deps: Billing, brought: Sequence[CallResult]) -> None:
    """
    Record what calls have brought, in one transaction.

    Args:
        deps: What sending needs.
        brought: n answers, of different debits.

    Raises:
        Unavailable: when Postgres is away; nothing was recorded.
    """
    try:
        pause_reasons = await _record_together(deps, brought)
    except psycopg.errors.UniqueViolation:
        if len(brought) == 1:
            # The gateway named an id that is stored for another debit. That is no word about this one.
            answer = GatewaySilent(why="an id stored for another payment")
            _log.error("response names another payment", attempt_id=brought[0].claim.id)
            await record(deps, [msgspec.structs.replace(brought[0], answer=answer)])
            return
        for result in brought:
            await record(deps, [result])
        return
    for account, why in pause_reasons.items():
        _log.error(
            "submission rejected: merchant configuration; runs of the account are paused",
            account=account,
            why=why,
        )
        await pause_account(deps.pool, account, reason=why, now=deps.clock())


async def _record_together(deps: Billing, brought: Sequence[CallResult]) -> dict[str, str]:
    now = deps.clock()
    written, facts, pause_reasons = list[Written](), list[Event](), dict[str, str]()
    async with transaction(deps.pool) as conn:
        rows = await submissions.locked(conn, [result.claim.id for result in brought])
        for result in brought:
            if not _is_of(rows.get(result.claim.id), result.claim):
                # The database went back while the call was under way; the gateway's lists tell of it.
                _log.error("call recorded nowhere", transaction_id=result.claim.debit.transaction_id)
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


def _is_of(row: Row | None, claim: Claim) -> bool:
    """Whether a row is the one that was claimed: a database that went back gives ids again."""
    return row is not None and row.submission.attempt.transaction_id == claim.debit.transaction_id


async def _report(deps: Billing, brought: Sequence[CallResult]) -> None:
    """Tell breaker and limiter how calls ended."""
    ended: dict[tuple[str, Permit], list[bool | None]] = {}
    for result in brought:
        await slow_down(deps, result.account, result.answer)
        ended.setdefault((result.account, result.claim.permit), []).append(is_failure(result.answer))
    for (account, permit), failed in ended.items():
        await deps.limiter.report(account, permit, failed=failed)


async def slow_down(deps: Billing, account: str, answer: GatewayAnswer | GatewaySilent) -> None:
    """
    Lower the rate of an account where its gateway asks for fewer requests.

    Args:
        deps: What sending needs.
        account: The account.
        answer: What a call has brought.
    """
    if isinstance(answer, GatewaySilent) and answer.slow_down_s is not None:
        await deps.limiter.slow_down(account, requested_s=answer.slow_down_s)


def is_failure(answer: GatewayAnswer | GatewaySilent) -> bool | None:
    """
    Whether a call counts as a failure of the gateway.

    Args:
        answer: What it brought.

    Returns:
        For the circuit breaker; `None` where the call says nothing of the gateway.
    """
    return answer.is_failure if isinstance(answer, GatewaySilent) else False
