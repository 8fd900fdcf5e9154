"""
Billing runs: plan them in chunks, auto-pause, finish, and reopen them for another attempt.

Planning takes the run's next debtors, judges each by `tether_core.billing.eligibility`, and makes attempts for those that are billed, in
one transaction a chunk. The rest are periodic tasks, each safe to run twice and on several nodes at once, because each locks the rows
it changes.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from tether_core import iban
from tether_core.billing import auto_pause, dual_control
from tether_core.billing import run as billing_run
from tether_core.billing.planning import Totals, plan
from tether_core.events import Event
from tether_core.jobs import PLAN
from tether_core.payments import submission
from tether_core.payments.submission import SubmissionRules
from tether_core.payments.transaction_ids import transaction_id
from tether_core.reconciliation.differences import open_debits
from tether_core.target_calendar import bank_day
from tether_stores import events
from tether_stores import fingerprint_key as key_store
from tether_stores.billing import billing_runs
from tether_stores.billing.billing_runs import Run
from tether_stores.billing.candidates import Owing, load_owing
from tether_stores.payments import billing_run_counts, submissions
from tether_stores.payments.submissions import NewAttempt, Written
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.reconciliation import differences
from tether_stores.recurring import due_items, mandates
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.jobs.run import Work
from tether_worker.lost_history import inquire_first

__all__ = [
    "auto_pause_runs",
    "expire_leases",
    "new_try",
    "pause_account",
    "pause_if_refused",
    "plan_chunk",
    "planning",
    "try_again",
]

# Large enough to share the commit, small enough that a pause waits some tens of milliseconds.
CHUNK: Final = 1_000
# From this many new attempts on, the query planner needs new statistics.
_STOCK_MIN: Final = 1_000
_EXPIRE_MAX: Final = 500
_AGAIN_MAX: Final = 200
_CANCEL_MAX: Final = 5_000
_RULES: Final = SubmissionRules()

_log = logger("runs")


def planning(
    pool: Pool, *, clock: Callable[[], datetime], fingerprint_key: bytes, dual_control_minor: int = 0
) -> Work:
    """
    Planning as a kind of work.

    Args:
        fingerprint_key: `TETHER_FINGERPRINT_KEY`.
        dual_control_minor: `TETHER_DUAL_CONTROL_MINOR`.
    """

    async def batch() -> int:
        return await plan_chunk(
            pool, now=clock(), fingerprint_key=fingerprint_key, dual_control_minor=dual_control_minor
        )

    async def has_pending() -> bool:
        async with connection(pool) as conn:
            return await billing_runs.to_plan(conn)

    return Work(PLAN, batch, has_pending)


async def plan_chunk(
    pool: Pool,
    *,
    now: datetime,
    limit: int = CHUNK,
    fingerprint_key: bytes | None = None,
    dual_control_minor: int = 0,
) -> int:
    """
    Plan the next debtors of the run whose turn it is: the one whose last chunk was the longest ago.

    Args:
        fingerprint_key: `TETHER_FINGERPRINT_KEY`; `None`, where no worker runs, leaves it unchecked.
        dual_control_minor: Above this amount a planned run waits for a second person; 0 for never.

    Returns:
        How many debtors were looked at, and one for a run whose planning ended; 0 when there is nothing to plan.

    Raises:
        Unavailable: when Postgres is away; nothing was planned.
        FingerprintKeyRefused: when the key is not the database's; the run waits.
    """
    async with transaction(pool) as conn:
        run = await billing_runs.hold_to_plan(conn)
        if run is None:
            return 0
        if fingerprint_key is not None:
            await key_store.require(conn, fingerprint_key, now=now)
        owing = await load_owing(
            conn,
            due_item=run.due_item,
            now=now,
            limit=limit,
            upload_id=run.upload_id,
            after=run.planned_to,
            overrides=run.overrides,
            with_notices=run.options.notice_days is not None,
        )
        if not owing:
            canaries = run.options.canary_share > 0 and run.planned_count > 0
            cause: billing_run.RunCause = "planned with canaries" if canaries else "planned"
            run = msgspec.structs.replace(run, state=billing_run.step(run.state, cause))
            amount_minor = await billing_runs.unreleased_amount(conn, run)
            reason = dual_control.pause_reason(amount_minor, limit_minor=dual_control_minor)
            if reason is not None and run.planned_count:
                run = msgspec.structs.replace(
                    run,
                    state=billing_run.step(run.state, "paused"),
                    paused_from=run.state,
                    pause_reason=reason,
                    awaits_release=True,
                )
            await billing_runs.change(conn, run, now=now)
            await billing_run_counts.begin(conn, run.id)
            if run.planned_count >= _STOCK_MIN:
                await submissions.analyze(conn)
            _log.info("run planned", run_id=run.id, debits=run.planned_count, run_state=run.state)
            return 1
        await billing_runs.change(conn, await _planned(conn, run, owing, now=now), now=now)
    return len(owing)


async def _planned(conn: Connection, run: Run, owing: Sequence[Owing], *, now: datetime) -> Run:
    decided = plan(
        [debtor.candidate for debtor in owing],
        options=run.options,
        so_far=Totals(run.planned_count, run.planned_amount_minor),
    )
    tries = [
        new_try(item, due_item=run.due_item, canary=choice.canary)
        for item, choice in zip(owing, decided.choices, strict=True)
        if choice.verdict.billable
    ]
    made = await submissions.add(
        conn, tries, run_id=run.id, account=run.account, due_item=run.due_item, now=now
    )
    await inquire_first(conn, run_id=run.id, debtor_ids=[debtor_id for debtor_id, _ in made], now=now)
    skipped = Counter(choice.verdict.code for choice in decided.choices if not choice.verdict.billable)
    skipped["under_way"] += len(tries) - len(made)  # another run was faster
    return msgspec.structs.replace(
        run,
        planned_to=owing[-1].candidate.debtor_id,
        planned_count=run.planned_count + len(made),
        planned_amount_minor=run.planned_amount_minor + sum(amount for _, amount in made),
        skipped=dict(+(Counter(run.skipped) + skipped)),
    )


def new_try(debtor: Owing, *, due_item: str, canary: bool = False, retry_of: int | None = None) -> NewAttempt:
    """
    The next attempt to collect a due item from a debtor.

    Args:
        debtor: Who owes.
        due_item: What is owed.
        canary: Whether it is a canary.
        retry_of: The returned attempt that is tried again.
    """
    candidate = debtor.candidate
    return NewAttempt(
        debtor_id=candidate.debtor_id,
        transaction_id=transaction_id(
            candidate.debtor_id,
            due_item=due_item,
            number=debtor.next_number,
            amount_minor=candidate.amount_minor,
            currency=candidate.currency,
            iban_fingerprint=debtor.iban_fingerprint,
        ),
        amount_minor=candidate.amount_minor,
        currency=candidate.currency,
        iban_fingerprint=debtor.iban_fingerprint,
        iban_masked=iban.mask(candidate.iban),
        number=debtor.next_number,
        canary=canary,
        retry_of=retry_of,
    )


# --- pausing ---------------------------------------------------------------------------------------------------------


async def pause_account(pool: Pool, account: str, *, reason: str, now: datetime) -> int:
    """
    Pause every active run of an account.

    Args:
        reason: Why, for people.

    Returns:
        How many were paused.
    """
    async with connection(pool) as conn:
        active = [run.id for run in await billing_runs.live(conn) if run.account == account]
    return sum([await _pause(pool, run_id, reason=reason, now=now) for run_id in active])


async def _pause(pool: Pool, run_id: int, *, reason: str, now: datetime) -> bool:
    async with transaction(pool) as conn:
        run = await billing_runs.hold(conn, run_id)
        if run is None or run.state not in billing_run.SUBMITTING:
            return False
        paused = msgspec.structs.replace(
            run, state=billing_run.step(run.state, "paused"), pause_reason=reason, paused_from=run.state
        )
        await billing_runs.change(conn, paused, now=now)
    _log.error("run paused; a person resumes it", run_id=run_id, why=reason)
    return True


async def pause_if_refused(pool: Pool, run_id: int, *, now: datetime) -> bool:
    """
    Pause an active run when too many debits of it, of other runs of its upload, or of small runs before it were refused.

    Returns:
        Whether it was paused.
    """
    async with transaction(pool) as conn:
        run = await billing_runs.hold(conn, run_id)
        if run is None or run.state not in billing_run.SUBMITTING:
            return False
        counts = await billing_run_counts.of_upload(conn, run.upload_id)
        small = await _small_runs(conn, run, now=now)
        excerpt = auto_pause.refusals(run_id, counts, small=small, now=now)
        if excerpt.level != "pause":
            return False
        paused = msgspec.structs.replace(
            run,
            state=billing_run.step(run.state, "paused"),
            warning=excerpt.text,
            pause_reason=excerpt.text,
            paused_from=run.state,
        )
        await billing_runs.change(conn, paused, now=now)
    _log_change(run, paused)
    return True


async def _small_runs(conn: Connection, run: Run, *, now: datetime) -> list[auto_pause.RunCounts]:
    """The small runs that a run is judged with; none where all its debits are answered: pausing it would only keep it from finishing."""
    if not (auto_pause.is_small(run.planned_count) and await billing_runs.open_attempts(conn, run.id)):
        return []
    return await billing_run_counts.small(
        conn, account=run.account, run_id=run.id, planned_count=run.planned_count, now=now
    )


# --- periodic tasks -------------------------------------------------------------------------------------------------


def expire_leases(
    pool: Pool, *, clock: Callable[[], datetime], rules: SubmissionRules = _RULES
) -> PeriodicTask:
    """
    Make debits unknown whose lease has expired.

    Args:
        rules: How long a lease is.
    """

    async def expire() -> None:
        now = clock()
        async with transaction(pool) as conn:
            latest = now + timedelta(seconds=2 * rules.lease_s)
            rows = await submissions.expired(conn, now=now, latest=latest, limit=_EXPIRE_MAX)
            afters = [submission.expire(row.submission, now=now, rules=rules) for row in rows]
            await submissions.write(conn, [Written(after.submission) for after in afters], now=now)
            facts: list[tuple[int | None, Event]] = [
                (None, fact) for after in afters for fact in after.events
            ]
            await events.append(conn, facts, now=now)
        if rows:
            _log.warning("leases expired; status inquiries follow", debits=len(rows))

    return PeriodicTask("expire_leases", 5, expire)


def auto_pause_runs(pool: Pool, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """Advance active runs: auto-pause, submit the rest after the canaries, finish; empty cancelled runs."""

    async def look() -> None:
        now = clock()
        async with connection(pool) as conn:
            await submissions.unschedule_ended(conn, now=now)
            active = await billing_runs.live(conn)
            cancelled = await billing_runs.cancelled_unsent(conn)
            accounts = {
                account: await billing_runs.returns_of_account(
                    conn,
                    account,
                    since=now - timedelta(days=auto_pause.ACCOUNT_DAYS),
                    excluded=auto_pause.EXCLUDED,
                )
                for account in {run.account for run in active}
            }
        for run in active:
            await _advance(pool, run.id, of_account=accounts[run.account], now=now)
        for run_id in cancelled:
            await _cancel_rest(pool, run_id, now=now)

    return PeriodicTask("auto_pause_runs", 10, look)


async def _advance(pool: Pool, run_id: int, *, of_account: tuple[int, int], now: datetime) -> None:
    async with transaction(pool) as conn:
        run = await billing_runs.hold(conn, run_id)
        if run is None or run.state not in billing_run.SUBMITTING:
            return
        counts = await billing_run_counts.of_upload(conn, run.upload_id)
        own = next(
            (run_counts for run_counts in counts if run_counts.run_id == run_id), auto_pause.RunCounts(run_id)
        )
        returned = await billing_runs.returns_of_upload(conn, run.upload_id, excluded=auto_pause.EXCLUDED)
        gauges = auto_pause.Counts((own.canaries_answered, own.canaries_refused), returned, of_account)
        small = await _small_runs(conn, run, now=now)
        look = auto_pause.worst(
            (
                auto_pause.refusals(run_id, counts, small=small, now=now),
                *auto_pause.looks(gauges, released_share=run.released_share),
            )
        )
        open_too_long = (await differences.of_run(conn, run_id)).get("pending_too_long", 0)
        after = msgspec.structs.replace(run, warning=look.text or open_debits(open_too_long))
        if look.level == "pause":
            after = msgspec.structs.replace(
                after,
                state=billing_run.step(run.state, "paused"),
                pause_reason=look.text,
                paused_from=run.state,
            )
        elif run.state == "canary" and not await billing_runs.canaries_open(conn, run_id):
            after = msgspec.structs.replace(after, state=billing_run.step(run.state, "canaries went well"))
        elif run.state == "running" and not await billing_runs.open_attempts(conn, run_id):
            after = msgspec.structs.replace(
                after, state=billing_run.step(run.state, "all ended"), finished_at=now
            )
        if after != run:
            await billing_runs.change(conn, after, now=now)
    _log_change(run, after)


def _log_change(run: Run, after: Run) -> None:
    if after.state != run.state:
        _log.info("run state changed", run_id=run.id, before=run.state, after=after.state)
    if after.state == "paused":
        _log.error("run paused; a person resumes it", run_id=run.id, why=after.pause_reason)
    elif after.warning and run.warning is None:
        _log.warning("run has a warning", run_id=run.id, why=after.warning)


def try_again(
    pool: Pool,
    *,
    clock: Callable[[], datetime],
    fingerprint_key: bytes | None = None,
    is_day_known: Callable[[], bool] = lambda: True,
) -> PeriodicTask:
    """
    Make the next attempt for returned debits whose day to be tried again has come.

    Args:
        fingerprint_key: `TETHER_FINGERPRINT_KEY`; `None`, where no worker runs, leaves it unchecked.
        is_day_known: Whether the clocks agree on the day; while they do not, nothing is made.
    """

    async def again() -> None:
        if not is_day_known():
            return
        now = clock()
        made = 0
        async with transaction(pool) as conn:
            if fingerprint_key is not None:
                await key_store.require(conn, fingerprint_key, now=now)
            for due in await submissions.due_again(conn, today=bank_day(now), limit=_AGAIN_MAX):
                made += await _try_again(conn, due, now=now)
        if made:
            _log.info("debits retried", debits=made)

    return PeriodicTask("try_again", 60, again)


async def _try_again(conn: Connection, due: submissions.DueAgain, *, now: datetime) -> int:
    run = await billing_runs.hold(conn, due.run_id)
    if run is None:
        return 0
    ids = [due.debtor_id]
    amounts = None if run.collection_plan_id is None else await due_items.amounts(conn, run.id, ids)
    owing = await load_owing(
        conn, due_item=due.due_item, now=now, limit=1, ids=ids, without=[], amounts=amounts
    )
    if not owing:
        return 0
    state = billing_run.step(run.state, "tried again")
    again = new_try(owing[0], due_item=due.due_item, retry_of=due.id)
    made = await submissions.add(
        conn,
        [again],
        run_id=run.id,
        account=run.account,
        due_item=due.due_item,
        now=now,
        is_scheduled=amounts is not None,
    )
    await inquire_first(conn, run_id=run.id, debtor_ids=[debtor_id for debtor_id, _ in made], now=now)
    await billing_runs.change(conn, msgspec.structs.replace(run, state=state, finished_at=None), now=now)
    return len(made)


async def _cancel_rest(pool: Pool, run_id: int, *, now: datetime) -> None:
    """Exclude the debits of a cancelled run that were not submitted."""
    async with transaction(pool) as conn:
        rows = await submissions.unsent(conn, run_id, limit=_CANCEL_MAX)
        await mandates.unorder(
            conn,
            [row.submission.attempt.id for row in rows if row.submission.is_untouched],
            now=now,
        )
        afters = [submission.exclude(row.submission, reason="cancelled") for row in rows]
        await submissions.write(conn, [Written(after.submission, "cancelled") for after in afters], now=now)
        await events.append(conn, [(None, fact) for after in afters for fact in after.events], now=now)
    if rows:
        _log.info("cancelled run emptied", run_id=run_id, excluded=len(rows))
