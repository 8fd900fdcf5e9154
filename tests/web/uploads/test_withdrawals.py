"""Withdrawing an upload over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    Serve = Callable[..., Any]

FILE = b"Name;IBAN;Betrag\nAnn Lee;DE89370400440532013000;10,00\n"


@pytest.fixture
async def api(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client that shows its key, with a gateway that could be called."""
    async with serving(environment | {"EMP_API_URL": "http://127.0.0.1:9"}) as client:
        client.headers["Authorization"] = "Bearer test-key"
        yield client


async def withdraw(api: httpx.AsyncClient, upload_id: int, **params: str) -> httpx.Response:
    """Withdraw an upload."""
    return await api.delete(f"/api/uploads/{upload_id}", params={"reason": "wrong month"} | params)


async def test_a_file_is_withdrawn_with_a_reason_and_can_be_sent_again(api: httpx.AsyncClient) -> None:
    """Who withdrew an upload, and why, must be known later; and the same file must not count as a repeat."""
    sent = (await api.post("/api/uploads", files={"file": ("a.csv", FILE)})).json()
    unexplained = await withdraw(api, sent["id"], reason=" ")
    assert (unexplained.status_code, unexplained.json()["detail"]) == (
        422, "reason: Say why; it is stored.",
    )  # fmt: skip
    assert (await withdraw(api, 999)).status_code == 404
    answer = await withdraw(api, sent["id"])
    payload = answer.json()
    assert (answer.status_code, payload["upload"]["state"]) == (200, "withdrawn")
    assert (payload["withdrawal"]["by"], payload["withdrawal"]["reason"]) == ("tests", "wrong month")
    assert payload["summary"].startswith("Withdrawn by tests on ")
    again = await withdraw(api, sent["id"], reason="another reason")
    assert (again.status_code, again.json()["withdrawal"]["reason"]) == (200, "wrong month")
    assert (await api.get("/api/uploads", params={"status": "withdrawn"})).json()["items"][0]["id"] == sent[
        "id"
    ]
    repeated = await api.post("/api/uploads", files={"file": ("a.csv", FILE)})
    assert (repeated.status_code, repeated.json()["id"] != sent["id"]) == (202, True)
    for refused in (
        await api.post(f"/api/uploads/{sent['id']}/billing", json={}),
        await api.post(f"/api/uploads/{sent['id']}/answers", json={}),
        await api.post(f"/api/uploads/{sent['id']}/vop"),
    ):
        assert (refused.status_code, "withdrawn" in refused.json()["detail"]) == (409, True), refused.text


async def test_an_upload_of_which_a_debit_was_submitted_is_not_withdrawn(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """The error says what to do instead; the run goes on."""
    upload_id, ids = seed_upload(database_url, [Owed(scripted_iban(0), 1000)], now=datetime.now(UTC))
    run = (await api.post(f"/api/uploads/{upload_id}/billing", json={})).json()
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage,"
            " dispute_stage, iban_fingerprint, iban_masked, created_at, updated_at, run_id, due_item, try_number, submission_count, submitted_at)"
            " values ('default', %s, 't-1', 1000, 'EUR', 'declined', 50, 0, 'f', 'DE**', now(), now(), %s, 'once', 1, 1, now())",
            (ids[0], run["id"]),
        )
    answer = await withdraw(api, upload_id)
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (
        409,
        "not_withdrawable",
        (
            f"1 debit of upload {upload_id} was submitted, so it cannot be withdrawn. Cancel its runs to stop the rest, and void or "
            "refund what was collected."
        ),
    )
    assert (await api.get(f"/api/billing-runs/{run['id']}")).json()["run"]["state"] == "planning"
