"""
Claim debits for submission: each is judged once more and leased, in one transaction that ends before the gateway is called.

A debit that may not be submitted after all is excluded with its reason, or deferred where the reason passes. What may be submitted is
decided by `tether_core.billing.eligibility`; the account's limits for a day are counted here, under a lock.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from time import monotonic

import msgspec
from tether_core import retry
from tether_core.billing import auto_pause, eligibility
from tether_core.billing import run as billing_run
from tether_core.billing.debit_request import debit
from tether_core.billing.run_options import RunOptions
from tether_core.emp.requests import Debit, sdd_init_recurring_sale, sdd_recurring_sale, sdd_sale
from tether_core.errors import Rejected
from tether_core.events import Event
from tether_core.fingerprint_key import FingerprintKeyRefused
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments import returns, submission
from tether_core.payments.gateway_identity import GatewayIdentity
from tether_core.payments.submission import SubmissionRules
from tether_core.recurring.series import Request
from tether_core.sepa_text import Characters
from tether_core.target_calendar import bank_day
from tether_stores import events, fingerprint_key
from tether_stores.accounts import account_pauses, gateway_identities
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.billing import billing_runs
from tether_stores.billing.billing_runs import Run
from tether_stores.billing.candidates import Owing, load_owing
from tether_stores.payments import billing_run_counts, submissions
from tether_stores.payments.submissions import LockedDebit, Written
from tether_stores.postgres import Connection, transaction
from tether_stores.telemetry import logger

from tether_worker.payments.call_limits import BEGIN_S, SubmissionDeps
from tether_worker.recurring.claims import (
    DEFERRING,
    MISSED,
    ScheduledClaim,
    record_excluded,
    record_missed,
    record_requests,
    scheduled,
)

__all__ = ["Claim", "claim"]

_log = logger("billing")


class Claim(msgspec.Struct, frozen=True):
    """
    A claimed debit on its way to the gateway.

    Attributes:
        id: The attempt.
        number: Which call of it this is.
        debit: The request.
        begin_until_s: Until when the call may begin, on the clock of `time.monotonic`.
        permit: The breaker's.
        request: By which request it is submitted.
    """

    id: int
    number: int
    debit: Debit
    begin_until_s: float
    permit: Permit
    request: Request = Request("sale")


async def claim(
    deps: SubmissionDeps,
    run_id: int,
    *,
    account: GatewayAccount,
    identity: GatewayIdentity,
    permit: Permit,
    limit: int,
) -> tuple[list[Claim], int]:
    """
    Judge debits of a run once more, and claim those that may be submitted; committed when this returns.

    Args:
        account: That of the run.
        identity: Where the calls will go.
        permit: The breaker's, for the calls that follow.

    Returns:
        Up to *limit* claims, and how many debits are excluded because they may not be submitted after all.

    Raises:
        Unavailable: when Postgres is away; nothing was claimed then, or it was and its lease will run out.
    """
    begin_until_s = monotonic() + BEGIN_S
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        if deps.watch is not None and not await deps.watch.holds(conn):
            return [], 0  # the database may have gone back; the next look comes after the next probe
        if not (
            await account_pauses.may_submit(conn, account.name)
            and await _has_key(conn, deps.fingerprint_key, now=now)
        ):
            return [], 0
        run = await billing_runs.share(conn, run_id)
        if run is None or run.state not in billing_run.SUBMITTING:
            return [], 0
        # From here on a transaction that records a refusal waits for this claim, and every later claim sees what it recorded.
        counts = await billing_run_counts.share(conn, run_id=run_id, upload_id=run.upload_id, now=now)
        small = await billing_run_counts.small(
            conn, account=run.account, run_id=run_id, planned_count=run.planned_count, now=now
        )
        if auto_pause.refusals(run_id, counts, small=small, now=now).level == "pause":
            return [], 0
        rows = await submissions.ready(
            conn, run_id, canaries_only=run.state == "canary", now=now, limit=limit
        )
        if not rows:
            return [], 0
        rows = _first_of_each_debtor(rows)
        # Another run may be claiming the same debit, made of a row of another upload.
        await submissions.lock_accounts(conn, {row.submission.attempt.iban_fingerprint for row in rows})
        of_schedules = await scheduled(conn, run, rows, now=now)
        owing = await load_owing(
            conn,
            due_item=run.due_item,
            now=now,
            limit=len(rows),
            ids=[row.debtor_id for row in rows],
            without=[row.submission.attempt.id for row in rows],
            overrides=run.overrides,
            amounts=None if of_schedules is None else of_schedules.amounts,
            with_notices=run.options.notice_days is not None,
        )
        capacity = await _day_capacity(conn, account=account, now=now)
        claims, written, facts = _judge(
            rows,
            owing,
            capacity=capacity,
            options=_options(run, account=account),
            characters=account.characters or "latin",
            now=now,
            identity=identity.key,
            rules=deps.rules,
            of_schedules=of_schedules,
        )
        await record_requests(
            conn, of_schedules, [(debtor_id, how) for *_, how, debtor_id in claims], now=now
        )
        if claims:
            await gateway_identities.record(conn, identity, account=account.name, now=now)
        await submissions.write(conn, written, now=now)
        await events.append(conn, [(None, fact) for fact in facts], now=now)
        await record_excluded(conn, of_schedules, _untouched(written), now=now)
        await record_missed(conn, of_schedules, _missed(rows, written), now=now)
        if _has_day_limit(account):
            await submissions.count_day(
                conn,
                account.name,
                day_on=bank_day(now),
                count=len(claims),
                amount_minor=sum(request.amount_minor for _, _, request, _, _ in claims),
            )
    begun = [
        Claim(row_id, number, request, begin_until_s, permit, how)
        for row_id, number, request, how, _ in claims
    ]
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


def _untouched(written: Sequence[Written]) -> list[int]:
    """The excluded debits of which no call can have reached the gateway."""
    return [
        item.submission.attempt.id
        for item in written
        if item.not_submitted_reason is not None and item.submission.is_untouched
    ]


def _missed(rows: Sequence[LockedDebit], written: Sequence[Written]) -> set[int]:
    """The debtors whose first debit for a due item was excluded because it came too late."""
    late = {item.submission.attempt.id for item in written if item.not_submitted_reason == MISSED}
    return {row.debtor_id for row in rows if row.submission.attempt.id in late and not row.again}


def _first_of_each_debtor(rows: list[LockedDebit]) -> list[LockedDebit]:
    """One debit per debtor: in judging one, the others of this claim are excluded."""
    return list({row.debtor_id: row for row in reversed(rows)}.values())[::-1]


class _DayCapacity(msgspec.Struct):
    """What an account may still submit today."""

    count: int | None = None
    amount_minor: int | None = None

    def take(self, amount_minor: int) -> bool:
        """Take the capacity for a debit, where there is enough."""
        if self.count is not None and self.count < 1:
            return False
        if self.amount_minor is not None and self.amount_minor < amount_minor:
            return False
        self.count = None if self.count is None else self.count - 1
        self.amount_minor = None if self.amount_minor is None else self.amount_minor - amount_minor
        return True


def _has_day_limit(account: GatewayAccount) -> bool:
    return account.day_count_max is not None or account.day_amount_max_minor is not None


async def _day_capacity(conn: Connection, *, account: GatewayAccount, now: datetime) -> _DayCapacity:
    if not _has_day_limit(account):
        return _DayCapacity()
    count, amount_minor = await submissions.hold_day(conn, account.name, day_on=bank_day(now))
    most, most_minor = account.day_count_max, account.day_amount_max_minor
    return _DayCapacity(
        None if most is None else most - count, None if most_minor is None else most_minor - amount_minor
    )


def _judge(
    rows: Sequence[LockedDebit],
    owing: Sequence[Owing],
    *,
    capacity: _DayCapacity,
    options: RunOptions,
    characters: Characters,
    now: datetime,
    identity: str,
    rules: SubmissionRules,
    of_schedules: ScheduledClaim | None,
) -> tuple[list[tuple[int, int, Debit, Request, int]], list[Written], list[Event]]:
    """What becomes of each row: claimed, excluded, deferred, or left as it is until another day."""
    known = {debtor.candidate.debtor_id: debtor for debtor in owing}
    # Two debtors of one claim may share an account: what the first is about to pay counts for the second, as when a run is planned.
    paying = Counter[bytes]()
    used_up = set[tuple[bytes, str]]()
    claims, written = list[tuple[int, int, Debit, Request, int]](), list[Written]()
    facts = list[Event]()
    for row in rows:
        how = Request("sale")
        reason, request = "", None
        if of_schedules is not None:
            reason = of_schedules.stopped.get(row.debtor_id, "")
            how = of_schedules.requests.get(row.debtor_id, how)
        debtor = _under_mandate(known.get(row.debtor_id), of_schedules)
        if not reason:
            reason, request = _request(
                row,
                _under_one_off(debtor, used_up),
                paying_minor=paying[row.submission.attempt.iban_fingerprint],
                today=bank_day(now),
                options=options,
                characters=characters,
                how=how,
            )
        if request is None and (reason in eligibility.PASSING or reason in DEFERRING):
            written.append(
                Written(submission.defer(row.submission, until=now + timedelta(seconds=retry.HELD_S)))
            )
            continue
        if request is None:
            after = submission.exclude(row.submission, reason=reason)
            written.append(Written(after.submission, reason))
            facts += after.events
            continue
        if not capacity.take(request.amount_minor):
            continue
        paying[row.submission.attempt.iban_fingerprint] += request.amount_minor
        if debtor is not None and debtor.is_one_off:
            used_up.add((debtor.iban_fingerprint, debtor.key.mandate))
        claimed = submission.claim(row.submission, now=now, identity=identity, rules=rules)
        written.append(Written(claimed))
        claims.append((claimed.attempt.id, claimed.submission_count, request, how, row.debtor_id))
    return claims, written, facts


def _under_mandate(debtor: Owing | None, of_schedules: ScheduledClaim | None) -> Owing | None:
    """A debtor of a schedule with the reference of the mandate in place of that of the row."""
    if debtor is None or of_schedules is None:
        return debtor
    item = of_schedules.items.get(debtor.candidate.debtor_id)
    if item is None:
        return None
    payer = msgspec.structs.replace(debtor.payer, mandate_id=item.reference)
    return msgspec.structs.replace(debtor, payer=payer)


def _under_one_off(debtor: Owing | None, used_up: Collection[tuple[bytes, str]]) -> Owing | None:
    """A debtor, marked where another debit of this claim uses the mandate for one debit that its row names."""
    if (
        debtor is None
        or not debtor.is_one_off
        or (debtor.iban_fingerprint, debtor.key.mandate) not in used_up
    ):
        return debtor
    return msgspec.structs.replace(
        debtor, candidate=msgspec.structs.replace(debtor.candidate, mandate_used=True)
    )


def _outdated(row: LockedDebit, debtor: Owing, *, today: date) -> str | None:
    """Why a debit is not what is owed any more; `None` where it is."""
    attempt, candidate, first_at = row.submission.attempt, debtor.candidate, row.first_tried_at
    if (candidate.amount_minor, candidate.currency) != (attempt.amount_minor, attempt.currency):
        return "amount_changed"
    if debtor.iban_fingerprint != attempt.iban_fingerprint:
        return "account_changed"
    if first_at is not None and returns.is_too_late(first_tried_on=bank_day(first_at), today=today):
        return "retry_too_late"
    return None


def _request(
    row: LockedDebit,
    debtor: Owing | None,
    *,
    paying_minor: int,
    today: date,
    options: RunOptions,
    characters: Characters,
    how: Request,
) -> tuple[str, Debit | None]:
    """Why a debit is not submitted, or its request; its account is about to pay *paying_minor* by other debits of this claim."""
    if debtor is None:
        return "no_debtor", None
    attempt = row.submission.attempt
    outdated = _outdated(row, debtor, today=today)
    if outdated is not None:
        return outdated, None
    candidate = msgspec.structs.replace(
        debtor.candidate, again=row.again, paid_minor=debtor.candidate.paid_minor + paying_minor
    )
    verdict = eligibility.judge(candidate, options=options)
    if not verdict.billable:
        return verdict.code, None
    try:
        request = debit(
            debtor.payer,
            transaction_id=attempt.transaction_id,
            amount_minor=attempt.amount_minor,
            currency=attempt.currency,
            usage=options.usage,
            merchant_name=options.merchant_name,
            remote_ip=options.remote_ip,
            characters=characters,
        )
        request = msgspec.structs.replace(request, email=debtor.email) if how.kind == "first" else request
        _written(request, how)  # what cannot be written must not be claimed
    except Rejected as exc:
        _log.warning("request not built", attempt_id=attempt.id, why=exc.code)
        return "unsendable", None
    return "", request


def _written(debit: Debit, how: Request) -> bytes:
    if how.kind == "first":
        return sdd_init_recurring_sale(debit)
    if how.reference_id is not None:
        return sdd_recurring_sale(
            debit.transaction_id,
            reference_id=how.reference_id,
            amount_minor=debit.amount_minor,
            currency=debit.currency,
            usage=debit.usage,
            remote_ip=debit.remote_ip,
        )
    return sdd_sale(debit)


def _options(run: Run, *, account: GatewayAccount) -> RunOptions:
    # A debit that exceeds the limit of a whole day would wait without end.
    caps = (run.options.debit_max_minor, account.debit_max_minor, account.day_amount_max_minor)
    cap = min((cap for cap in caps if cap is not None), default=None)
    return msgspec.structs.replace(run.options, debit_max_minor=cap)
