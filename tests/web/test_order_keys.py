"""Orders that are repeated: by a client that lost the response, by two people at once, by a script that runs twice."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.payments.attempt import state_of
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.seed import seed
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from .conftest import Serve

NOW = datetime.now(UTC)


@pytest.fixture
def gateway_environment(environment: dict[str, str]) -> dict[str, str]:
    """Settings with a gateway account and two API keys; nobody works, so orders stay as they were placed."""
    return environment | {
        "EMP_API_URL": "https://gateway.invalid",
        "TETHER_API_KEYS": "tests:test-key,other:other-key",
    }


@pytest.fixture
async def api(serving: Serve, gateway_environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client that shows its key."""
    async with serving(gateway_environment) as client:
        client.headers["Authorization"] = "Bearer test-key"
        yield client


@pytest.fixture
def conn(database_url: str) -> Any:
    """The rows in the database."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def upload(database_url: str, debtors: int = 3) -> int:
    """Make an upload of debtors who may be billed."""
    return seed_upload(database_url, [Owed(scripted_iban(n), 1000) for n in range(debtors)], now=NOW)[0]


def debit(database_url: str) -> int:
    """Make a debit that was collected long enough ago to be refunded."""
    (made,) = seed(database_url, attempts=1, rng=random.Random(7), now=NOW - timedelta(days=30))
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update billing_attempts set payment_stage = 60, dispute_stage = 0, state = %s where id = %s",
            [state_of(60, 0), made.id],
        )
    return made.id


def runs(conn: Any) -> int:
    """How many runs were ordered."""
    return int(conn.execute("select count(*) from billing_runs").fetchone()[0])


async def test_a_repeated_order_is_the_first_one(
    api: httpx.AsyncClient, database_url: str, conn: Any
) -> None:
    """A client whose line is cut repeats itself; a cap of five debits must stay one of five, and not become ten."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    first = await api.post(path, json={"count_max": 5, "usage": "March"}, headers={"Idempotency-Key": "k-1"})
    assert first.status_code == 202, first.text
    assert "idempotency-replayed" not in first.headers
    again = await api.post(
        path, json={"usage": "March", "count_max": 5}, headers={"Idempotency-Key": '"k-1"'}
    )
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"] == f"/api/billing-runs/{first.json()['id']}"
    assert again.headers["idempotency-replayed"] == "true"
    # The result stays what it was, although the run has moved on and could not be ordered now.
    await api.post(f"{first.headers['location']}/cancel")
    conn.execute("update uploads set state = 'reading'")
    late = await api.post(path, json={"count_max": 5, "usage": "March"}, headers={"Idempotency-Key": "k-1"})
    assert (late.status_code, late.content) == (202, first.content)
    assert runs(conn) == 1


async def test_many_at_once_with_one_key_place_one_order(
    api: httpx.AsyncClient, database_url: str, conn: Any
) -> None:
    """A proxy that sends a request to two nodes at once, and a client that does not wait, are one order all the same."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    responses = await asyncio.gather(
        *(api.post(path, json={}, headers={"Idempotency-Key": "k-1"}) for _ in range(12))
    )
    assert {response.status_code for response in responses} == {202}
    assert len({response.content for response in responses}) == 1
    assert [response.headers.get("idempotency-replayed") for response in responses].count(None) == 1
    assert runs(conn) == 1


async def test_a_key_belongs_to_one_request(api: httpx.AsyncClient, database_url: str, conn: Any) -> None:
    """A program that makes its keys badly would take the response to one order for that to another."""
    uploads = [upload(database_url), upload(database_url)]
    paths = [f"/api/uploads/{item}/billing" for item in uploads]
    key = {"Idempotency-Key": "k-1"}
    assert (await api.post(paths[0], json={"count_max": 5}, headers=key)).status_code == 202
    for path, body in ((paths[0], {"count_max": 6}), (paths[1], {"count_max": 5}), (paths[0], {})):
        response = await api.post(path, json=body, headers=key)
        assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
        assert response.headers["content-type"] == "application/problem+json"
    # The keys of another client are its own.
    other = await api.post(
        paths[1], json={"count_max": 5}, headers=key | {"Authorization": "Bearer other-key"}
    )
    assert (other.status_code, other.json()["created_by"]) == (202, "other")
    assert runs(conn) == 2


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "k\u00e4y", "a,\tb"])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_key_that_is_none_is_refused(
    api: httpx.AsyncClient, database_url: str, conn: Any, key: str, *, dry_run: bool
) -> None:
    """A key that is passed over protects nobody; its sender must hear of it before money moves, and not after."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    response = await api.post(
        path,
        json={"dry_run": dry_run},
        headers=[(b"Idempotency-Key", key.encode("latin-1"))],
    )
    assert (response.status_code, response.json()["code"]) == (400, "unreadable"), response.text
    assert "Idempotency-Key" in response.json()["detail"]
    assert runs(conn) == 0


async def test_two_keys_in_one_request_are_refused(
    api: httpx.AsyncClient, database_url: str, conn: Any
) -> None:
    """Which of them counts is a guess, and a proxy may make another one."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    response = await api.post(path, json={}, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert response.status_code == 400
    assert runs(conn) == 0


async def test_an_order_that_was_refused_leaves_its_key_free(
    api: httpx.AsyncClient, database_url: str, conn: Any
) -> None:
    """Nothing happened under it; a client that corrects its request and keeps the key must not be rejected for ever."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    key = {"Idempotency-Key": "k-1"}
    assert (await api.post(path, json={"account": "nobody"}, headers=key)).status_code == 422
    assert (await api.post(path, json={"dry_run": True}, headers=key)).status_code == 200
    assert (await api.post(path, json={}, headers=key)).status_code == 202
    assert runs(conn) == 1


async def test_a_request_that_takes_long_is_waited_for_and_then_reported(
    api: httpx.AsyncClient, database_url: str, conn: Any, eventually: Callable[..., Any]
) -> None:
    """Without a response the client would place the order anew; and who waits for ever holds what others need."""
    upload_id = upload(database_url)
    path, key = f"/api/uploads/{upload_id}/billing", {"Idempotency-Key": "k-1"}
    with psycopg.connect(database_url) as holding:
        holding.execute("select 1 from uploads where id = %s for update", [upload_id])
        first = asyncio.create_task(api.post(path, json={}, headers=key))

        def waits() -> bool:
            found = conn.execute(
                "select count(*) from pg_locks where locktype = 'advisory' and granted"
            ).fetchone()
            return bool(found[0])

        await eventually(waits, what="the first request to hold its key")
        second = await api.post(path, json={}, headers=key)
        # Either the first was given up meanwhile, and the second waits for the same row; or it is named.
        assert second.status_code in {409, 503}, second.text
        assert int(second.headers["retry-after"]) >= 1
    response = await first
    assert response.status_code in {202, 503}, response.text
    third = await api.post(path, json={}, headers=key)
    assert third.status_code == 202
    assert runs(conn) == 1


@pytest.mark.parametrize("kind", ["refund", "void"])
async def test_refunds_and_voids_have_keys_too(
    api: httpx.AsyncClient, database_url: str, conn: Any, kind: str
) -> None:
    """A refund that failed may be ordered anew; a repeated request must not do so by itself."""
    debit_id = debit(database_url)
    if kind == "void":
        conn.execute(
            "update billing_attempts set payment_stage = 20, state = 'pending', submitted_at = now(), submission_count = 1"
        )
    path, key = f"/api/billing-attempts/{debit_id}/{kind}", {"Idempotency-Key": "k-1"}
    responses = await asyncio.gather(*(api.post(path, json={}, headers=key) for _ in range(5)))
    assert {response.status_code for response in responses} == {202}, responses[0].text
    assert len({response.content for response in responses}) == 1
    conn.execute("update refunds set state = 'error', payment_stage = 40, submit_at = null")
    late = await api.post(path, json={}, headers=key)
    assert (late.status_code, late.json()["status"]) == (202, "pending")
    assert conn.execute("select count(*) from refunds").fetchone() == (1,)
    other = await api.post(path, json={"usage": "Sorry"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    anew = await api.post(path, json={}, headers={"Idempotency-Key": "k-2"})
    assert (anew.status_code, anew.json()["number"]) == (202, 2)


async def test_a_client_that_hangs_up_finds_its_order(
    api: httpx.AsyncClient, database_url: str, conn: Any, eventually: Callable[..., Any]
) -> None:
    """The order was placed and the response lost: what the client sends again is answered with the same run."""
    path, key = f"/api/uploads/{upload(database_url)}/billing", {"Idempotency-Key": "k-1"}
    for _ in range(20):
        lost = asyncio.create_task(api.post(path, json={}, headers=key))
        await asyncio.wait([lost], timeout=random.Random(len(path)).random() / 100)
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
    found = await api.post(path, json={}, headers=key)
    assert found.status_code == 202
    assert runs(conn) == 1


# --- without a key ---------------------------------------------------------------------------------------------------


async def test_a_second_order_is_refused_with_the_address_of_the_first(
    api: httpx.AsyncClient, database_url: str, conn: Any
) -> None:
    """Two people order one list, or one person twice: the second run would debit again whom the first leaves to be tried."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    run = (await api.post(path, json={"due_item": "2026-03"})).json()
    at = f"/api/billing-runs/{run['id']}"
    for body in ({"due_item": "2026-03"}, {"due_item": "2026-03", "again": True}):
        refused = await api.post(path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "ordered_before")
        assert refused.json()["related"] == at
        assert refused.headers["link"] == f'<{at}>; rel="related"'
        assert str(run["id"]) in refused.json()["detail"]
    assert (await api.post(path, json={"due_item": "2026-04"})).status_code == 202
    conn.execute("update billing_runs set state = 'finished', finished_at = now() where id = %s", [run["id"]])
    refused = await api.post(path, json={"due_item": "2026-03"})
    assert refused.status_code == 409
    assert "again: true" in refused.json()["detail"]
    spelt = await api.post(path, json={"due_item": "2026-3", "again": True})
    assert spelt.status_code == 409
    assert "2026-03" in spelt.json()["detail"]
    second = await api.post(path, json={"due_item": "2026-03", "again": True})
    assert (second.status_code, second.json()["again"]) == (202, True)
    assert (await api.get(second.headers["location"])).json()["run"]["again"] is True


async def test_a_run_cancelled_in_time_leaves_the_upload_as_it_was(
    api: httpx.AsyncClient, database_url: str, conn: Any
) -> None:
    """Who takes back a wrong order before anything went out must be able to place the right one."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    run = (await api.post(path, json={})).json()
    await api.post(f"/api/billing-runs/{run['id']}/cancel")
    second = await api.post(path, json={})
    assert second.status_code == 202
    conn.execute(
        "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage,"
        " dispute_stage, iban_fingerprint, iban_masked, created_at, updated_at, run_id, due_item, try_number, submitted_at, submission_count)"
        " select 'default', id, 't-1', 1000, 'EUR', 'unknown', 10, 0, iban_fingerprint, 'x', now(), now(), %s, 'once', 1,"
        " now(), 1 from debtors limit 1",
        [second.json()["id"]],
    )
    await api.post(f"{second.headers['location']}/cancel")
    assert (await api.post(path, json={})).status_code == 409
    assert (await api.post(path, json={"again": True})).status_code == 202


async def test_many_orders_at_once_make_one_run(api: httpx.AsyncClient, database_url: str, conn: Any) -> None:
    """Each of them sees an upload without a run; only a lock on the upload's row keeps them apart."""
    upload_id = upload(database_url)
    responses = await asyncio.gather(
        *(
            api.post(f"/api/uploads/{upload_id}/billing", json={}, headers={"Idempotency-Key": f"k-{n}"})
            for n in range(10)
        )
    )
    assert sorted(response.status_code for response in responses) == [202] + [409] * 9
    assert {response.json()["code"] for response in responses if response.status_code == 409} == {
        "ordered_before"
    }
    assert runs(conn) == 1


async def test_an_order_waits_for_who_changes_the_upload(
    api: httpx.AsyncClient, database_url: str, conn: Any, eventually: Callable[..., Any]
) -> None:
    """An upload that is withdrawn at the same time must not be billed: the second request sees the result of the first."""
    upload_id = upload(database_url)
    with psycopg.connect(database_url) as withdrawing:
        withdrawing.execute(
            "update uploads set state = 'failed', failure_code = 'x', failure = 'x' where id = %s",
            [upload_id],
        )
        order = asyncio.create_task(api.post(f"/api/uploads/{upload_id}/billing", json={}))

        def waits() -> bool:
            found = conn.execute("select count(*) from pg_locks where not granted").fetchone()
            return bool(found[0])

        await eventually(waits, what="the order to wait for the upload")
    response = await order
    assert response.status_code == 409, response.text
    assert runs(conn) == 0


async def test_a_dry_run_warns_of_the_same_debt_under_another_name(
    api: httpx.AsyncClient, database_url: str, conn: Any
) -> None:
    """March is collected as `2026-03`; the next person writes `march` or `2026-3`, and everybody pays March twice."""
    upload_id = upload(database_url)
    path = f"/api/uploads/{upload_id}/billing"
    run = (await api.post(path, json={"due_item": "2026-03"})).json()
    conn.execute(
        "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage,"
        " dispute_stage, iban_fingerprint, iban_masked, created_at, updated_at, run_id, due_item, try_number)"
        " select 'default', id, 't-' || id, 1000, 'EUR', states[n], stages[n], 0, iban_fingerprint, 'x', now(), now(), %s,"
        " '2026-03', 1 from (select id, iban_fingerprint, row_number() over (order by id) n from debtors) d,"
        " (select array['pending', 'approved', 'declined'] states, array[0, 60, 50] stages) s",
        [run["id"]],
    )
    plain = (await api.post(path, json={"due_item": "2026-03", "dry_run": True})).json()
    assert (plain["count"], plain["warnings"]) == (1, [])
    assert f"run {run['id']}" in plain["ordered_before"]
    for item, code in (("2026-3", "spelling"), ("march", "name")):
        preview = (await api.post(path, json={"due_item": item, "dry_run": True, "recent_days": 0})).json()
        (warning,) = preview["warnings"]
        assert (warning["code"], warning["due_item"], warning["debtors"], warning["amount_minor"]) == (
            code, "2026-03", 2, 2000,
        )  # fmt: skip
        assert (preview["ordered_before"] is None) is (code == "name")
    # There is no warning about debtors who would not be billed.
    capped = (
        await api.post(path, json={"due_item": "march", "dry_run": True, "debit_min_minor": 2000})
    ).json()
    assert (capped["count"], capped["warnings"]) == (0, [])
    assert runs(conn) == 1


# --- overrides -------------------------------------------------------------------------------------------------------


async def test_an_override_is_kept_with_who_gave_it(api: httpx.AsyncClient, database_url: str) -> None:
    """A year later an auditor must find who debited a refunded debtor, when and why."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    order = {
        "overrides": [{"verdicts": ["refunded_before"], "reason": "Refunded by mistake", "debtor_ids": [1]}]
    }
    run = (await api.post(path, json=order)).json()
    (override,) = (await api.get(f"/api/billing-runs/{run['id']}")).json()["run"]["overrides"]
    assert override.pop("given_at")
    assert override == {**order["overrides"][0], "given_by": "tests"}


async def test_accounts_with_an_earlier_chargeback_are_billed_for_a_reason(
    api: httpx.AsyncClient, database_url: str, conn: Any
) -> None:
    """An option without a reason set the verdict aside, and nobody could say who agreed to it."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    refused = await api.post(path, json={"after_chargeback": True})
    assert refused.status_code == 422
    assert "override of the verdict charged_back with a reason" in refused.json()["detail"]
    assert runs(conn) == 0
    preview = await api.post(path, json={"after_chargeback": True, "dry_run": True})
    assert preview.status_code == 200  # what it would mean may be looked at
    agreed = {"overrides": [{"verdicts": ["charged_back"], "reason": "New mandates are signed"}]}
    assert (await api.post(path, json=agreed)).status_code == 202


@pytest.mark.parametrize(
    ("override", "status"),
    [
        ({"verdicts": ["collected"], "reason": "x"}, 422),
        ({"verdicts": ["blocked"], "reason": "x"}, 422),
        ({"verdicts": ["refunded_before"], "reason": "  "}, 422),
        ({"verdicts": ["refunded_before"], "reason": "a\nb"}, 422),
        ({"verdicts": ["refunded_before"], "reason": ""}, 400),
        ({"verdicts": ["refunded_before"]}, 400),
        ({"verdicts": [], "reason": "x"}, 400),
        ({"verdicts": ["refunded_before"], "reason": "x", "debtor_ids": []}, 400),
        ({"verdicts": ["refunded_before"], "reason": "x", "given_by": "the boss"}, 400),
    ],
)
async def test_an_override_without_a_reason_or_of_anything_else_is_refused(
    api: httpx.AsyncClient, database_url: str, conn: Any, override: dict[str, Any], status: int
) -> None:
    """Nobody may set aside that a debtor has paid; nor sign with another's name."""
    path = f"/api/uploads/{upload(database_url)}/billing"
    response = await api.post(path, json={"overrides": [override]})
    assert response.status_code == status, response.text
    assert runs(conn) == 0
