"""Due items at the moment of submission: what is paused meanwhile stays, and a series begins once."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from tether_core import retry
from tether_core.billing.run_options import RunOptions
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments.submission import SubmissionRules
from tether_sandbox.seed import made_up_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.billing import billing_runs
from tether_stores.limits import Limiter
from tether_stores.postgres import transaction
from tether_stores.recurring import changes, collection_plans, mandates
from tether_stores.recurring.mandates import NewMandate
from tether_stores.redis import open_redis
from tether_stores.settings import Settings
from tether_worker.billing.runs import auto_pause_runs, plan_chunk, try_again
from tether_worker.gateway.clients import open_gateways
from tether_worker.payments.call_limits import SubmissionDeps
from tether_worker.payments.claim import Claim, claim
from tether_worker.recurring.claims import MISSED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.worker.recurring.conftest import Series


@pytest.fixture
async def deps(series: Series, environment: dict[str, str]) -> AsyncIterator[SubmissionDeps]:
    """What a claim needs; the gateway is never called."""
    settings = Settings.from_env(
        environment
        | {
            "EMP_API_URL": "https://gateway.invalid",
            "EMP_API_LOGIN": "login",
            "EMP_API_PASSWORD": "password",
            "EMP_TERMINAL_TOKEN": "terminal",
        }
    )
    async with (
        open_gateways(series.pool, settings=settings, connections_max=1) as gateways,
        open_redis(settings.redis_url, name="tests", timeout_s=20) as cache,
    ):
        yield SubmissionDeps(
            series.pool,
            gateways,
            Limiter(cache),
            SubmissionRules(),
            lambda: series.clock.now,
            asyncio.Event(),
        )


async def _claimed(deps: SubmissionDeps, series: Series, run_id: int | None = None) -> list[Claim]:
    """Claim what may be submitted of a run, the newest one by default, after what was deferred is due again."""
    series.clock.now += timedelta(seconds=retry.HELD_S + 1)
    account = (await deps.gateways.accounts())["default"]
    gateway = await deps.gateways.get("default")
    assert gateway is not None
    if run_id is None:
        [(run_id,)] = await series.rows("select max(id) from billing_runs")
    claims, _ = await claim(
        deps,
        run_id,
        account=account,
        identity=gateway.identity,
        permit=Permit(go=True, generation=0),
        limit=10,
    )
    return claims


async def _submitted(series: Series) -> list[int]:
    return [
        debtor_id
        for (debtor_id,) in await series.rows(
            "select debtor_id from billing_attempts where submission_count > 0 order by 1"
        )
    ]


async def test_a_pause_after_the_order_keeps_debits_from_the_gateway(
    deps: SubmissionDeps, series: Series
) -> None:
    """A member who calls on the due date is not debited an hour later, and is once the schedule is resumed."""
    await series.begin(debtors=2)
    assert await series.tick() == 2
    first, second = series.debtors
    await series.conn.execute("update collection_plans set state = 'paused', state_reason = 'a test'")
    assert await _claimed(deps, series) == []
    assert await _submitted(series) == []
    await series.conn.execute("update collection_plans set state = 'active', state_reason = null")
    await series.conn.execute(
        "update collection_schedules set state = 'paused', state_reason = 'a test' where debtor_id = %s",
        (first,),
    )
    assert len(await _claimed(deps, series)) == 1
    assert await _claimed(deps, series) == []
    assert await _submitted(series) == [second]
    await series.conn.execute("update collection_schedules set state = 'active', state_reason = null")
    assert len(await _claimed(deps, series)) == 1
    assert await _submitted(series) == [first, second]


async def test_a_series_begins_once_and_continues_with_the_gateways_id(
    deps: SubmissionDeps, series: Series
) -> None:
    """Two first debits would be two series; a later one whose first is open has nothing to refer to."""
    await series.begin(recurring_requests=True)
    assert await series.tick() == 1
    [begun] = await _claimed(deps, series)
    assert (begun.request.kind, begun.request.reference_id) == ("first", None)
    assert await series.pass_days(30) == 1
    # The outcome of the first one is open.
    assert await _claimed(deps, series) == []
    await series.conn.execute(
        "update billing_attempts set state = 'approved', payment_stage = 60, unique_id = '44177a21', leased_until = null where id = %s",
        (begun.id,),
    )
    [following] = await _claimed(deps, series)
    assert (following.request.kind, following.request.reference_id) == ("next", "44177a21")
    assert await series.rows("select request from due_items order by due_on") == [("first",), ("next",)]


async def test_a_pause_of_the_account_piles_nothing_up(deps: SubmissionDeps, series: Series) -> None:
    """Orders go on while an account is paused: after three months a member would be debited for four of them in one minute."""
    await series.begin(debtors=2)
    assert await series.tick() == 2
    for day in (date(2026, 7, 1), date(2026, 8, 3), date(2026, 9, 1)):
        series.clock.now = datetime.combine(day, time(9), UTC)
        assert await series.tick() == 2
    uses = "select uses, last_used_on from mandates order by id"
    assert await series.rows(uses) == [(4, None)] * 2
    runs = [run_id for (run_id,) in await series.rows("select id from billing_runs order by id")]
    claims = [await _claimed(deps, series, run_id) for run_id in runs]
    assert [len(some) for some in claims] == [0, 0, 0, 2]
    assert [row[:3] for row in await series.items()][:4] == [
        *((f"2026-{month:02}-01", "missed", MISSED) for month in (6, 7, 8)),
        ("2026-09-01", "ordered", None),
    ]
    assert await series.rows(
        "select distinct state, not_submitted_reason, submission_count from billing_attempts where not_submitted_reason is not null"
    ) == [("error", MISSED, 0)]
    # What was missed is no use of the mandate, whose 36 months would begin anew.
    assert await series.rows(uses) == [(1, date(2026, 9, 1))] * 2
    # A person who collects one of them all the same gets a debit under an id of its own.
    [(item_id,)] = await series.rows(
        "select min(id) from due_items where state = 'missed' and due_item = '2026-08-01'"
    )
    async with transaction(series.pool) as conn:
        plan = await collection_plans.by_id(conn, series.plan_id)
        assert plan is not None
        await changes.recover_item(
            conn, item_id, options=plan.options, collect_on=series.today, now=series.clock.now
        )
    assert await series.tick() == 1
    [again] = await _claimed(deps, series, runs[2])
    assert await series.rows(
        "select count(*), count(distinct transaction_id), sum(submission_count) from billing_attempts where due_item = '2026-08-01'"
    ) == [(3, 3, 1)]
    assert again.debit.amount_minor == 1000


async def test_a_retry_that_waited_too_long_is_not_made(deps: SubmissionDeps, series: Series) -> None:
    """Its due item stays ordered: the first debit was made, and its return is known."""
    await series.begin()
    assert await series.tick() == 1
    [first] = await _claimed(deps, series)
    await series.conn.execute(
        "update billing_attempts set state = 'chargebacked', payment_stage = 60, dispute_stage = 1, reason_code = 'AM04',"
        " unique_id = '44177a21', leased_until = null, return_handled_at = created_at, retry_on = %s, retry_why = 'retry' where id = %s",
        (series.today, first.id),
    )
    await try_again(series.pool, clock=series.clock).do()
    series.clock.now += timedelta(days=6)
    assert await _claimed(deps, series) == []
    assert await series.rows("select try_number, not_submitted_reason from billing_attempts order by id") == [
        (1, None),
        (2, MISSED),
    ]
    assert [state for _, state, _ in await series.items()] == ["ordered"]


async def test_a_debit_that_is_never_submitted_is_no_use_of_the_mandate(
    deps: SubmissionDeps, series: Series
) -> None:
    """A mandate with which nothing was collected for three years would seem in use, and its next debit could be reclaimed for thirteen months."""
    await series.begin(debtors=3)
    assert await series.tick() == 3
    cancelled, excluded, left = series.debtors
    await series.conn.execute("update debtors set name = ' ' where id = %s", (excluded,))
    await series.conn.execute(
        "update billing_attempts set submit_at = submit_at + interval '1 day' where debtor_id = %s",
        (cancelled,),
    )
    assert len(await _claimed(deps, series)) == 1
    await series.conn.execute("update billing_runs set state = 'cancelled', finished_at = now()")
    await auto_pause_runs(series.pool, clock=series.clock).do()
    assert await series.rows(
        "select debtor_id, not_submitted_reason from billing_attempts order by debtor_id"
    ) == [(cancelled, "cancelled"), (excluded, "no_name"), (left, None)]
    assert await series.rows("select debtor_id, uses, last_used_on from mandates order by debtor_id") == [
        (cancelled, 0, None),
        (excluded, 0, None),
        (left, 1, series.today),
    ]


async def _two_runs(series: Series, rows: list[list[Owed]]) -> list[int]:
    """A planned run for each upload, whose rows have references of their own; gives the runs."""
    runs = list[int]()
    for some in rows:
        upload_id, ids = seed_upload(series.database_url, some, now=series.clock.now)
        series.debtors += ids
        runs.append(
            await billing_runs.add(
                series.conn,
                upload_id=upload_id,
                account="default",
                options=RunOptions(recent_days=0),
                created_by="tests",
                now=series.clock.now,
            )
        )
    await series.conn.execute("update debtors set reference = 'RE-' || id")
    while await plan_chunk(series.pool, now=series.clock.now):
        pass
    assert await series.rows("select count(*) from billing_attempts where submission_count = 0") == [(2,)]
    return runs


@pytest.mark.parametrize("uploads", [1, 2])
async def test_a_mandate_for_one_debit_is_debited_once(
    deps: SubmissionDeps, series: Series, uploads: int
) -> None:
    """A debtor who signed for one debit can reclaim each further one for thirteen months; both were planned before either was submitted."""
    account = made_up_iban(random.Random(5))
    first, second = Owed(account, 1_000), Owed(account, 1_001)
    runs = await _two_runs(series, [[first, second]] if uploads == 1 else [[first], [second]])
    for debtor_id, spelling in zip(series.debtors, ("M-017", "m 17"), strict=True):
        await series.conn.execute("update debtors set mandate_id = %s where id = %s", (spelling, debtor_id))
    new = NewMandate(series.debtors[0], "M-17", "DE89***", date(2026, 1, 5))
    await mandates.add(
        series.conn, [new], account="default", created_by="tests", now=series.clock.now, kind="one_off"
    )
    claims = [await _claimed(deps, series, run_id) for run_id in runs]
    assert [len(some) for some in claims] == [1, 0][:uploads]
    assert await series.rows(
        "select debtor_id, submission_count, not_submitted_reason from billing_attempts order by debtor_id"
    ) == [(series.debtors[0], 1, None), (series.debtors[1], 0, "mandate_used")]


async def test_two_runs_of_one_account_share_its_lifetime_maximum(
    deps: SubmissionDeps, series: Series
) -> None:
    """Planned side by side, neither sees the other; claimed side by side, one must see the other."""
    account = made_up_iban(random.Random(5))
    runs = await _two_runs(series, [[Owed(account, 6_000)], [Owed(account, 6_001)]])
    options = RunOptions(recent_days=0, lifetime_max_minor=10_000)
    await series.conn.execute("update billing_runs set options = %s", (msgspec.json.encode(options),))
    claims = await asyncio.gather(*(_claimed(deps, series, run_id) for run_id in runs))
    assert sorted(len(some) for some in claims) == [0, 1]
    assert await series.rows(
        "select submission_count, not_submitted_reason from billing_attempts order by submission_count"
    ) == [(0, "lifetime_cap"), (1, None)]
