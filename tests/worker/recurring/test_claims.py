"""Due items at the moment of submission: what is paused meanwhile stays, and a series begins once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tether_core import retry
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments.submission import Rules
from tether_stores.limits import Limiter
from tether_stores.redis import open_redis
from tether_stores.settings import Settings
from tether_worker.gateway.clients import open_gateways
from tether_worker.payments.call_limits import SubmissionDeps
from tether_worker.payments.claim import Claim, claim

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
            series.pool, gateways, Limiter(cache), Rules(), lambda: series.clock.now, asyncio.Event()
        )


async def _claimed(deps: SubmissionDeps, series: Series) -> list[Claim]:
    """Claim what may be submitted of the newest run, after what was deferred is due again."""
    series.clock.now += timedelta(seconds=retry.HELD_S + 1)
    account = (await deps.gateways.accounts())["default"]
    gateway = await deps.gateways.get("default")
    assert gateway is not None
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
