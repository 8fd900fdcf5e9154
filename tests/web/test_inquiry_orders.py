"""Ordered inquiries over HTTP and from a terminal: placed once, with a reason, and readable."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_sandbox.seed import seed

from tests.support.clock import NOON

if TYPE_CHECKING:
    import httpx
    from tether_sandbox.services.program import Program

REASON = {"reason": "the bank says that it was credited"}


@pytest.fixture
async def api(client: httpx.AsyncClient, database_url: str) -> httpx.AsyncClient:
    """The API, two debits of run 1 that are pending, and one that was never submitted."""
    list(seed(database_url, attempts=3, rng=random.Random(1), now=NOON))
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)"
            " values ('a', 'a.csv', 1, '', 'completed', %(now)s, %(now)s)",
            {"now": NOON},
        )
        conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
            " values (1, 'default', 'a', 'running', '{}', '{}', 'ops', %(now)s, %(now)s)",
            {"now": NOON},
        )
        conn.execute(
            "update billing_attempts set run_id = 1, due_item = 'a', try_number = 1, submitted_at = %s,"
            " submission_count = case when id < 3 then 1 else 0 end, unique_id = case when id < 3 then unique_id end",
            [NOON],
        )
    client.headers["authorization"] = "Bearer test-key"
    return client


async def test_an_order_is_placed_once_and_shows_its_debits(api: httpx.AsyncClient) -> None:
    """Somebody clicks twice; the gateway is inquired once about each debit."""
    headers = {"Idempotency-Key": "k"}
    first = await api.post("/api/billing-runs/1/inquiry", json=REASON, headers=headers)
    again = await api.post("/api/billing-runs/1/inquiry", json=REASON, headers=headers)
    assert (first.status_code, first.content) == (202, again.content)
    payload = first.json()
    assert (
        payload["scope"],
        payload["subject_id"],
        payload["reason"],
        payload["debits"],
        payload["waiting"],
    ) == (
        *("run", 1, REASON["reason"]),
        *(2, 2),
    )
    assert (await api.get(first.headers["location"])).json() == payload
    page = (await api.get(f"{first.headers['location']}/attempts", params={"limit": 1})).json()
    assert [(item["attempt_id"], item["is_waiting"]) for item in page["items"]] == [(1, True)]
    rest = (await api.get(f"{first.headers['location']}/attempts", params={"cursor": page["next"]})).json()
    assert [item["attempt_id"] for item in rest["items"]] == [2]
    other = await api.post("/api/uploads/1/inquiry", json=REASON | {"what": "submitted"})
    assert (other.status_code, other.json()["debits"]) == (202, 0)  # both wait already


async def test_what_makes_no_sense_is_refused_with_a_sentence(api: httpx.AsyncClient) -> None:
    """A debit that was never submitted, one that is not there, an order without a reason."""
    never = await api.post("/api/billing-attempts/3/inquiry", json=REASON)
    assert (never.status_code, never.json()["code"]) == (409, "nothing_to_inquire")
    assert "never submitted" in never.json()["detail"]
    for path in ("billing-attempts/9", "billing-runs/9", "uploads/9"):
        answer = await api.post(f"/api/{path}/inquiry", json=REASON)
        assert (answer.status_code, "There is no such" in answer.text) == (404, True), path
    assert (await api.get("/api/inquiries/1")).status_code == 404
    assert (await api.get("/api/inquiries/1/attempts")).status_code == 404
    assert (await api.post("/api/billing-runs/1/inquiry", json={})).status_code == 400
    assert "Say why" in (await api.post("/api/billing-runs/1/inquiry", json={"reason": " "})).text


async def test_an_inquiry_is_ordered_from_a_terminal(
    api: httpx.AsyncClient, process: Any, environment: dict[str, str]
) -> None:
    """On a machine without the API's key the same order is one command."""

    def run(*arguments: str) -> tuple[int, str]:
        program: Program = process("tether-worker", "inquire", *arguments, environ=environment)
        return program.wait(), program.stdout + program.stderr

    code, output = run("--run", "1", "--by", "ada", "--reason", "the bank says")
    assert (code, "inquiry 1: 2 debits will be inquired" in output) == (0, True), output
    assert (await api.get("/api/inquiries/1")).json()["ordered_by"] == "ada"
    code, output = run("--upload", "7", "--by", "ada", "--reason", "x")
    assert (code, "There is no upload with this id" in output) == (2, True), output
    code, output = run("--attempt", "3", "--by", "ada", "--reason", "x")
    assert (code != 0, "never submitted" in output) == (True, True), output
