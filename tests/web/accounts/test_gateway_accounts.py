"""Gateway accounts over HTTP: limits, open submissions and pauses, and nothing secret."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_sandbox.seed import seed
from tether_stores.accounts.gateway_accounts import GatewayAccount, new_key, put
from tether_stores.postgres import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

NOW = datetime.now(UTC)
KEY = new_key()
SECOND = GatewayAccount(
    name="second",
    api_url="https://gate.example",
    login="its-login",
    passwords=("new-password", "old-password"),
    terminal_tokens=("its-terminal",),
    billing_per_s=20.0,
    day_count_max=5_000,
)
SECRETS = ("its-login", "new-password", "old-password", "its-terminal", "login-of-env", "terminal-of-env")


@pytest.fixture
async def api(
    serving: Serve, environment: dict[str, str], database_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    """The API with the account of the environment, a second one, and a former login of the second."""
    async with open_pool(database_url, name="tests", max_size=1) as pool, pool.connection() as conn:
        await put(conn, SECOND, keys=[KEY], now=NOW)
        former = {"name": "older", "former_of": "second", "enabled": False}
        values = {name: getattr(SECOND, name) for name in SECOND.__struct_fields__}
        await put(conn, GatewayAccount(**{**values, **former}), keys=[KEY], now=NOW)
    more = {
        "EMP_API_URL": "https://gateway.invalid",
        "EMP_API_LOGIN": "login-of-env",
        "EMP_TERMINAL_TOKEN": "terminal-of-env",
        "TETHER_SECRETS_KEY": KEY,
    }
    async with serving(environment | more) as client:
        client.headers["authorization"] = "Bearer test-key"
        yield client


async def test_accounts_are_listed_with_what_is_open_and_without_secrets(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """Before a password or a terminal is removed, somebody must see whose debits still wait for a result."""
    list(seed(database_url, attempts=3, rng=random.Random(1), now=NOW))
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update billing_attempts set account = 'second', payment_stage = 10, state = 'unknown', dispute_stage = 0,"
            " submission_count = 1, submitted_to = '{a}', submitted_at = %s + interval '1 second' * id",
            [NOW],
        )
        conn.execute(
            "update billing_attempts set submitted_to = null where id = (select max(id) from billing_attempts)"
        )
    answer = await api.get("/api/gateway-accounts")
    assert answer.status_code == 200, answer.text
    found = {item["name"]: item for item in answer.json()}
    assert list(found) == ["default", "older", "second"]
    second = found["second"]
    assert (second["passwords"], second["billing_per_s"], second["day_count_max"]) == (2, 20.0, 5_000)
    assert second["status"]["breaker"] == "closed"
    assert second["open_calls"] == 2  # imported debits were submitted by another system
    assert second["open_since_at"] is not None
    assert (found["default"]["open_calls"], found["default"]["open_since_at"]) == (0, None)
    assert found["older"]["former_of"] == "second"
    assert [secret for secret in SECRETS if secret in answer.text] == []


async def test_an_account_is_paused_and_resumed_with_a_reason(api: httpx.AsyncClient) -> None:
    """The acquirer calls: one request stops what leaves, and everybody sees who did it and why."""
    made = await api.post("/api/gateway-accounts/second/pause", json={"reason": " the acquirer\n called "})
    assert made.status_code == 200, made.text
    assert (made.json()["paused_by"], made.json()["reason"]) == ("tests", "the acquirer called")
    listed = {item["name"]: item for item in (await api.get("/api/gateway-accounts")).json()}
    assert (listed["second"]["paused"], listed["default"]["paused"]) == (made.json(), None)
    again = await api.post("/api/gateway-accounts/second/pause", json={"reason": "x"})
    assert (again.status_code, "paused already" in again.json()["detail"]) == (409, True)
    ended = await api.post("/api/gateway-accounts/second/resume")
    assert (ended.status_code, ended.json()) == (200, made.json())
    assert (await api.post("/api/gateway-accounts/second/resume")).status_code == 409


async def test_what_makes_no_sense_is_refused_with_a_sentence(api: httpx.AsyncClient) -> None:
    """A name with a typing error must not be "paused", or somebody believes that nothing leaves."""
    for step, body in (("pause", {"reason": "x"}), ("resume", None)):
        answer = await api.post(f"/api/gateway-accounts/secnd/{step}", json=body)
        assert (answer.status_code, "no such gateway account" in answer.text) == (404, True)
    former = await api.post("/api/gateway-accounts/older/pause", json={"reason": "x"})
    assert (former.status_code, "pause second" in former.json()["detail"]) == (422, True)
    wrong: list[dict[str, object]] = [{}, {"reason": ""}, {"reason": " "}, {"reason": "x", "more": 1}]
    for given in [*wrong, {"reason": "a\u0000b"}]:
        assert (await api.post("/api/gateway-accounts/second/pause", json=given)).status_code in {400, 422}
    assert all(item["paused"] is None for item in (await api.get("/api/gateway-accounts")).json())
