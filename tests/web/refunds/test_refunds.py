"""Refunds and voids over HTTP: ordered once, refused with a sentence, shown with what came of them."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.payments.attempt import state_of
from tether_sandbox.seed import seed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from tests.web.conftest import Serve


KEY = {"authorization": "Bearer test-key"}


@pytest.fixture
async def api(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API with a gateway account; nobody works, so orders stay as they were made."""
    account = {
        "EMP_API_URL": "https://gateway.invalid",
        "EMP_API_LOGIN": "login",
        "EMP_API_PASSWORD": "s3cret",
        "EMP_TERMINAL_TOKEN": "terminal",
    }
    async with serving(environment | account) as client:
        client.headers.update(KEY)
        yield client


def _debit(
    url: str, *, days_ago: int = 30, payment: int = 60, dispute: int = 0, account: str = "default"
) -> int:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    (made,) = seed(url, attempts=1, rng=random.Random(days_ago + payment + dispute), now=at)
    with psycopg.connect(url) as conn:
        conn.execute(
            "update billing_attempts set payment_stage = %s, dispute_stage = %s, state = %s, account = %s where id = %s",
            [payment, dispute, state_of(payment, dispute), account, made.id],
        )
    return made.id


async def _post(api: httpx.AsyncClient, debit: int, kind: str, **content: Any) -> httpx.Response:
    return await api.post(f"/api/billing-attempts/{debit}/{kind}", json=content)


async def test_a_refund_is_ordered_once_however_often_it_is_requested(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """A double click would pay a debtor twice."""
    debit = _debit(database_url)
    answers = await asyncio.gather(*(_post(api, debit, "refund", usage="Sorry") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    payload = answers[0].json()
    assert {
        name: payload[name]
        for name in (
            "attempt_id",
            "kind",
            "number",
            "status",
            "usage",
            "submission_count",
            "not_submitted_reason",
        )
    } == {
        "attempt_id": debit,
        "kind": "refund",
        "number": 1,
        "status": "pending",
        "usage": "Sorry",
        "submission_count": 0,
        "not_submitted_reason": None,
    }
    excerpt = await api.get(f"/api/billing-attempts/{debit}/refunds")
    assert excerpt.json() == [payload]
    assert (await api.get("/api/refunds", params={"status": "pending"})).json()["items"] == [payload]
    assert (await api.get("/api/refunds", params={"status": "approved"})).json()["items"] == []

    other = await _post(api, debit, "void")
    assert (other.status_code, other.json()["code"]) == (409, "illegal_step")
    assert "has a refund that is under way" in other.json()["detail"]


async def test_a_refund_of_a_debit_older_than_a_loss_is_inquired_first(
    api: httpx.AsyncClient, database_url: str, eventually: Callable[..., Any]
) -> None:
    """
    The lost history may have refunded it, under the very id that this order has.

    Submitted at once, the debtor has the money twice. A debit that is younger was refunded by nobody.
    """
    older = _debit(database_url)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("update database_epochs set timeline = timeline + 1")  # as a promoted standby differs
        await eventually(
            lambda: conn.execute("select from database_epochs where number = 2").fetchall(),
            what="the node to notice",
        )
        younger = _debit(database_url, days_ago=31)
        assert (await _post(api, older, "refund")).json()["status"] == "unknown"
        assert (await _post(api, younger, "refund")).json()["status"] == "pending"
        ready = "select g.attempt_id from refunds g where g.submit_at is not null"
        assert conn.execute(ready).fetchall() == [(younger,)]


@pytest.mark.parametrize(
    ("kind", "days_ago", "payment", "dispute", "words"),
    [
        ("refund", 1, 60, 0, ": the bank may still return it."),
        ("refund", 30, 60, 1, "the debtor's bank has taken the money back"),
        ("refund", 30, 60, 3, "the debtor's bank has taken the money back"),
        ("refund", 30, 80, 0, "its money was refunded or voided before"),
        ("refund", 30, 50, 0, "only an approved attempt can be refunded"),
        ("refund", 30, 10, 0, "only an approved attempt can be refunded"),
        ("void", 2, 60, 0, "it was submitted on an earlier day. Refund it after the return window."),
        ("void", 0, 10, 0, "its outcome is not known. Order the void again"),
        ("void", 0, 60, 1, "the debtor's bank has taken the money back"),
    ],
)
async def test_what_may_not_be_refunded_says_why(
    api: httpx.AsyncClient,
    database_url: str,
    *,
    kind: str,
    days_ago: int,
    payment: int,
    dispute: int,
    words: str,
) -> None:
    """Money would go back twice, or a person would not know what to do instead."""
    debit = _debit(database_url, days_ago=days_ago, payment=payment, dispute=dispute)
    answer = await _post(api, debit, kind)
    assert answer.status_code == 409, answer.text
    assert words in answer.json()["detail"]
    assert (await api.get(f"/api/billing-attempts/{debit}/refunds")).json() == []


async def test_wrong_orders_get_a_sentence(api: httpx.AsyncClient, database_url: str) -> None:
    """A misspelt field that is taken for a default refunds another sum than the caller meant."""
    debit = _debit(database_url)
    for content, status in (
        ({"amount_minor": 100}, 400),
        ({"usage": ""}, 400),
        ({"usage": "x" * 141}, 400),
        ({"usage": 7}, 400),
        ([], 400),
    ):
        answer = await api.post(f"/api/billing-attempts/{debit}/refund", json=content)
        assert answer.status_code == status, content
    assert (await api.post(f"/api/billing-attempts/{debit}/refund", content=b"{")).status_code == 400
    for missing in (10**9, 2**63 - 1):
        assert (await _post(api, missing, "refund")).status_code == 404
        assert (await api.get(f"/api/billing-attempts/{missing}/refunds")).status_code == 404
    assert (await _post(api, 2**63, "refund")).status_code in {400, 404}
    elsewhere = _debit(database_url, days_ago=31, account="gone")
    answer = await _post(api, elsewhere, "refund")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "gone" in answer.json()["detail"]
    unprintable = await _post(api, debit, "refund", usage="Tschüß \x01")
    assert (unprintable.status_code, unprintable.json()["detail"][:6]) == (422, "usage:")


async def test_exposure_says_what_may_be_done_today(api: httpx.AsyncClient, database_url: str) -> None:
    """Exposure must give the same verdict as an order for a refund."""
    today, old = _debit(database_url, days_ago=0), _debit(database_url)
    payload = (await api.get(f"/api/billing-attempts/{today}/exposure")).json()
    assert (payload["voidable"], payload["voidable_why"], payload["refundable"]) == (
        True,
        "This attempt was submitted today and can be voided until the end of the bank's day.",
        False,
    )
    payload = (await api.get(f"/api/billing-attempts/{old}/exposure")).json()
    assert (payload["voidable"], payload["refundable"], payload["refundable_why"]) == (
        False,
        True,
        "This attempt is collected and can be refunded.",
    )


async def test_a_refund_waits_for_the_news_of_its_debit(api: httpx.AsyncClient, database_url: str) -> None:
    """A refused order says why it must wait, and exposure says the same."""
    debit = _debit(database_url)
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into webhook_events (key, content, account, kind, notification_id, status, event, source, content_type,"
            " body, state, failures, received_at, next_at) select 'k', 'c', account, 'payment', unique_id, 'chargebacked',"
            " 'chargeback', 'webhook', 'form', 'x', 'confirming', 0, now(), now() from billing_attempts where id = %s",
            [debit],
        )
    answer = await _post(api, debit, "refund")
    assert (answer.status_code, answer.json()["code"]) == (409, "money_held")
    assert "being confirmed with the gateway; try again in some minutes" in answer.json()["detail"]
    excerpt = (await api.get(f"/api/billing-attempts/{debit}/exposure")).json()
    assert (excerpt["refundable"], "being confirmed" in excerpt["refundable_why"]) == (False, True)
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update webhook_events set state = 'processed', outcome = 'contradicted', next_at = null"
        )
    assert (await _post(api, debit, "refund")).status_code == 202
