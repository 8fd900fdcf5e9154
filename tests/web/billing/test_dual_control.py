"""Dual control: a large run waits until somebody else than who ordered it releases it."""

from __future__ import annotations

from datetime import UTC, datetime, time
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.target_calendar import add_target_days, bank_day
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.postgres import open_pool
from tether_worker.billing.runs import plan_chunk
from tether_worker.recurring.collection import order_due
from tether_worker.recurring.due_items import make_due

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

LIMIT_MINOR = 3_000


@pytest.fixture
async def client(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which knows three people by their keys."""
    keys = {
        "EMP_API_URL": "http://127.0.0.1:9",
        "TETHER_API_KEYS": "ada:key-of-ada,bob:key-of-bob,cyd:key-of-cyd",
    }
    async with serving(environment | keys) as opened:
        yield opened


async def _post(client: httpx.AsyncClient, path: str, *, by: str, status: int, **body: Any) -> Any:
    headers = {"authorization": f"Bearer key-of-{by}"}
    answer = await client.post(path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def _plan(database_url: str) -> None:
    async with open_pool(database_url, name="tests", max_size=1) as pool:
        while await plan_chunk(pool, now=datetime.now(UTC), dual_control_minor=LIMIT_MINOR):
            pass


async def test_who_orders_a_large_run_cannot_release_it(client: httpx.AsyncClient, database_url: str) -> None:
    """One person with a wrong file, or with bad intent, would debit everybody before anyone else looks."""
    upload_id, _ = seed_upload(
        database_url, [Owed(scripted_iban(n), 1_001) for n in range(3)], now=datetime.now(UTC)
    )
    order = f"/api/uploads/{upload_id}/billing"
    # The first order is below the limit; with the second one, the parts together are above it.
    small = await _post(client, order, by="ada", status=202, due_item="2026-03", count_max=2)
    await _plan(database_url)
    large = await _post(client, order, by="ada", status=202, due_item="2026-04", count_max=1)
    await _plan(database_url)
    headers = {"authorization": "Bearer key-of-ada"}
    first, second = [
        (await client.get(f"/api/billing-runs/{run['id']}", headers=headers)).json()["run"]
        for run in (small, large)
    ]
    assert (first["state"], first["awaits_release"]) == ("running", False)
    assert (second["state"], second["awaits_release"], second["pause_reason"]) == (
        "paused",
        True,
        "30.03 EUR is above the limit of 30.00 EUR: a second person must release it.",
    )
    run = f"/api/billing-runs/{large['id']}"
    refused = await _post(client, f"{run}/resume", by="ada", status=409)
    assert refused["code"] == "second_person_required"
    assert "another person" in refused["detail"]
    released = await _post(client, f"{run}/resume", by="bob", status=200)
    assert (released["state"], released["awaits_release"], released["released_by"]) == (
        "running",
        False,
        "bob",
    )
    # Once released it is paused and resumed like any other, and what bob released does not count for the next order.
    await _post(client, f"{run}/pause", by="bob", status=200, reason="a look")
    await _post(client, f"{run}/resume", by="ada", status=200)
    with psycopg.connect(database_url) as conn:
        found = conn.execute("select actor, action from audit where subject = 'run' order by id").fetchall()
    assert found == [
        ("ada", "run.ordered"),
        ("ada", "run.ordered"),
        ("bob", "run.released"),
        ("bob", "run.paused"),
        ("ada", "run.resumed"),
    ]


async def test_a_list_in_several_uploads_waits_too(client: httpx.AsyncClient, database_url: str) -> None:
    """Who may not release a large run would cut the list into small ones, which nobody looks at."""

    async def ordered(number: int, *, by: str) -> Any:
        upload_id, _ = seed_upload(
            database_url, [Owed(scripted_iban(number), 1_600 + number)], now=datetime.now(UTC)
        )
        run = await _post(client, f"/api/uploads/{upload_id}/billing", by=by, status=202)
        await _plan(database_url)
        headers = {"authorization": f"Bearer key-of-{by}"}
        return (await client.get(f"/api/billing-runs/{run['id']}", headers=headers)).json()["run"]

    assert (await ordered(1, by="ada"))["state"] == "running"
    second = await ordered(2, by="ada")
    assert (second["state"], second["awaits_release"], second["pause_reason"]) == (
        "paused",
        True,
        "32.03 EUR is above the limit of 30.00 EUR: a second person must release it.",
    )
    # Another person's small order is another order, and so is ada's own of another day.
    assert (await ordered(3, by="bob"))["state"] == "running"
    with psycopg.connect(database_url) as conn:
        conn.execute("update billing_runs set created_at = created_at - interval '25 hours'")
    assert (await ordered(4, by="ada"))["state"] == "running"


async def test_what_a_cancelled_run_has_submitted_counts(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """Who cancels each run just before its last debit would collect any amount alone."""
    accounts = count()

    async def ordered(*amounts: int) -> Any:
        owed = [Owed(scripted_iban(next(accounts)), amount) for amount in amounts]
        upload_id, _ = seed_upload(database_url, owed, now=datetime.now(UTC))
        run = await _post(client, f"/api/uploads/{upload_id}/billing", by="ada", status=202)
        await _plan(database_url)
        headers = {"authorization": "Bearer key-of-ada"}
        return (await client.get(f"/api/billing-runs/{run['id']}", headers=headers)).json()["run"]

    async def cancel(run: Any) -> None:
        await _post(client, f"/api/billing-runs/{run['id']}/cancel", by="ada", status=200, reason="a test")

    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        first = await ordered(1_501, 1_002)
        await conn.execute(
            "update billing_attempts set submission_count = 1, submitted_at = now(), submit_at = null, payment_stage = 20"
            " where amount_minor = 1501"
        )
        await cancel(first)
        # What was not submitted does not count.
        assert (await ordered(1_499))["state"] == "running"
        waiting = await ordered(50)
        assert (waiting["state"], waiting["awaits_release"]) == ("paused", True)
        await cancel(waiting)
        # Nor does what the gateway refused.
        await conn.execute(
            "update billing_attempts set state = 'error', payment_stage = 40 where amount_minor = 1501"
        )
        assert (await ordered(1_501))["state"] == "running"


async def test_who_ordered_a_waiting_run_may_withdraw_it(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A run that waits for somebody who is on holiday must not keep its upload for ever."""
    upload_id, _ = seed_upload(
        database_url, [Owed(scripted_iban(n), 2_000) for n in range(2)], now=datetime.now(UTC)
    )
    made = await _post(client, f"/api/uploads/{upload_id}/billing", by="ada", status=202, canary_share=0.5)
    await _plan(database_url)
    headers = {"authorization": "Bearer key-of-ada"}
    answer = await client.delete(f"/api/uploads/{upload_id}", params={"reason": "a test"}, headers=headers)
    assert answer.status_code == 200, answer.text
    run = (await client.get(f"/api/billing-runs/{made['id']}", headers=headers)).json()["run"]
    assert (run["state"], run["awaits_release"]) == ("cancelled", False)
    assert (await _post(client, f"/api/billing-runs/{made['id']}/resume", by="bob", status=409))[
        "code"
    ] == "illegal_step"


async def test_nobody_who_set_a_plan_up_releases_its_run(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """The clock orders the run of a collection plan, so those who made the plan and enrolled its debtors answer for it."""
    upload_id, _ = seed_upload(
        database_url, [Owed(scripted_iban(n), 1_001) for n in range(3)], now=datetime.now(UTC)
    )
    day = add_target_days(bank_day(datetime.now(UTC)), 1)
    plan = await _post(
        client, "/api/collection-plans", by="ada", status=201, name="Members", options={"notice_days": None}
    )
    await _post(
        client,
        f"/api/collection-plans/{plan['id']}/schedules",
        by="bob",
        status=200,
        upload_id=upload_id,
        first_due_on=str(day),
        mandate_signed_on="2026-01-05",
    )
    noon = datetime.combine(day, time(11), UTC)
    async with open_pool(database_url, name="tests", max_size=2) as pool:
        while await make_due(pool, now=noon):
            pass
        assert await order_due(pool, now=noon, dual_control_minor=LIMIT_MINOR) == 3
    with psycopg.connect(database_url) as conn:
        [(run_id,)] = conn.execute("select id from billing_runs").fetchall()
    for person in ("ada", "bob"):
        refused = await _post(client, f"/api/billing-runs/{run_id}/resume", by=person, status=409)
        assert refused["code"] == "second_person_required"
    released = await _post(client, f"/api/billing-runs/{run_id}/resume", by="cyd", status=200)
    assert (released["state"], released["released_by"]) == ("running", "cyd")
