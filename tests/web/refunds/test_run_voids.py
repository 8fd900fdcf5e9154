"""Voids of whole runs over HTTP: seen before they are ordered, ordered once, shown with what became of each debit."""

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
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

NOW = datetime.now(UTC)
REASON = {"reason": "the list of last month"}


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
        client.headers["authorization"] = "Bearer test-key"
        yield client


def _run(
    url: str, *, state: str = "finished", payments: tuple[int, ...] = (), days_ago: int = 0
) -> list[int]:
    """A run with a debit of each payment stage; gives the debits."""
    at = NOW - timedelta(days=days_ago)
    made = [seeded.id for seeded in seed(url, attempts=len(payments), rng=random.Random(1), now=at)]
    with psycopg.connect(url) as conn:
        conn.execute(
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at)"
            " values ('a', 'a.csv', 1, '', 'completed', %(at)s, %(at)s)",
            {"at": NOW},
        )
        conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, finished_at, created_by,"
            " created_at, updated_at) values (1, 'default', 'a', %(state)s, '{}', '{}', %(end)s, 'ops', %(at)s, %(at)s)",
            {"state": state, "at": NOW, "end": NOW if state in {"finished", "cancelled"} else None},
        )
        for number, (row_id, stage) in enumerate(zip(made, payments, strict=True)):
            conn.execute(
                "update billing_attempts set run_id = 1, due_item = %s, try_number = 1, payment_stage = %s, state = %s,"
                " amount_minor = 100, submission_count = 1, submitted_at = %s where id = %s",
                [str(number), stage, state_of(stage, 0), at, row_id],
            )
    return made


async def _void(
    api: httpx.AsyncClient, run: int = 1, *, key: str | None = None, **content: Any
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await api.post(f"/api/billing-runs/{run}/void", json=REASON | content, headers=headers)


async def test_a_dry_run_counts_what_would_be_voided_and_what_not(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """A person who voids a run must know before how much money stays collected."""
    _run(database_url, payments=(60, 60, 20, 50, 10))
    result = await _void(api, dry_run=True)
    assert (result.status_code, result.json()["voids"]) == (200, {"count": 3, "amount_minor": 300})
    assert [(item["code"], item["count"], item["amount_minor"]) for item in result.json()["refused"]] == [
        ("nothing_collected", 1, 100),
        ("outcome_unknown", 1, 100),
    ]
    assert all(item["text"].endswith(".") for item in result.json()["refused"])
    with psycopg.connect(database_url) as conn:
        assert conn.execute("select count(*) from run_voids").fetchone() == (0,)
        assert conn.execute("select count(*) from refunds").fetchone() == (0,)


async def test_an_order_is_placed_once_and_shows_its_progress(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """A double click, or a client that lost the answer, must not go through the run twice."""
    _run(database_url, payments=(60, 60))
    answers = await asyncio.gather(*(_void(api, key="k") for _ in range(4)))
    assert len({answer.content for answer in answers}) == 1
    assert {answer.status_code for answer in answers} == {202}
    without_key = await _void(api)
    assert (without_key.status_code, without_key.json()["id"]) == (200, answers[0].json()["id"])
    assert (await _void(api, key="k", usage="Other")).status_code == 422
    order = answers[0].json()
    assert (order["state"], order["reason"], order["ordered_by"]) == (
        "working",
        REASON["reason"],
        without_key.json()["ordered_by"],
    )
    assert answers[0].headers["location"] == f"/api/run-voids/{order['id']}"
    excerpt = (await api.get(f"/api/run-voids/{order['id']}")).json()
    assert (excerpt["debits"], excerpt["judged"]) == (
        {"count": 2, "amount_minor": 200},
        {"count": 0, "amount_minor": 0},
    )
    assert (await api.get("/api/billing-runs/1/voids")).json() == [excerpt["order"]]
    assert (await api.get(f"/api/run-voids/{order['id']}/debits")).json() == {"items": [], "next": None}


async def test_results_are_listed_by_debit(api: httpx.AsyncClient, database_url: str) -> None:
    """The person who ordered it answers for each debit that was not voided, and needs its reason."""
    first, second, third = _run(database_url, payments=(60, 50, 60))
    order = (await _void(api)).json()["id"]
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into refunds (attempt_id, kind, number, account, transaction_id, amount_minor, currency, usage, state,"
            " payment_stage, ordered_by, created_at, updated_at) values (%s, 'void', 1, 'default', 'v', 100, 'EUR', 'x',"
            " 'approved', 60, 'ops', %s, %s)",
            [first, NOW, NOW],
        )
        conn.execute(
            "insert into run_void_debits values (%(order)s, %(first)s, 100, 1, null, null),"
            " (%(order)s, %(second)s, 100, null, 'nothing_collected', 'It was refused.'),"
            " (%(order)s, %(third)s, 100, null, 'earlier_day', 'It was earlier.')",
            {"order": order, "first": first, "second": second, "third": third},
        )
    path = f"/api/run-voids/{order}"
    page = (await api.get(f"{path}/debits", params={"limit": 2})).json()
    rest = (await api.get(f"{path}/debits", params={"limit": 2, "cursor": page["next"]})).json()
    assert [item["attempt_id"] for item in (*page["items"], *rest["items"])] == [first, second, third]
    assert (page["items"][0]["void_id"], page["items"][0]["void_status"]) == (1, "approved")
    assert rest["next"] is None
    refused = (await api.get(f"{path}/debits", params={"what": "refused"})).json()["items"]
    assert [(item["refused"], item["reason"]) for item in refused] == [
        ("nothing_collected", "It was refused."),
        ("earlier_day", "It was earlier."),
    ]
    excerpt = (await api.get(path)).json()
    assert excerpt["voids"] == {"approved": {"count": 1, "amount_minor": 100}}
    assert [item["code"] for item in excerpt["refused"]] == ["earlier_day", "nothing_collected"]
    assert excerpt["judged"] == {"count": 3, "amount_minor": 300}


@pytest.mark.parametrize("state", ["planning", "canary", "running"])
@pytest.mark.parametrize("asked", [{"dry_run": False}, {"dry_run": True}])
async def test_a_run_that_submits_is_not_voided(
    api: httpx.AsyncClient, database_url: str, state: str, asked: Any
) -> None:
    """While its debits are voided on one side, others would be submitted on the other."""
    _run(database_url, state=state)
    result = await _void(api, **asked)
    assert (result.status_code, result.json()["code"]) == (409, "run_not_voidable")
    assert "pause or cancel it" in result.json()["detail"]


async def test_what_makes_no_sense_is_refused_with_a_sentence(
    api: httpx.AsyncClient, database_url: str, serving: Serve, environment: dict[str, str]
) -> None:
    """An order without a reason, about nothing, or that nobody could carry out."""
    _run(database_url)
    assert (await _void(api, 2)).status_code == 404
    assert (await _void(api, 2, dry_run=True)).status_code == 404
    assert (await api.post("/api/billing-runs/1/void", json={})).status_code == 400
    assert "Say why" in (await _void(api, reason="  ")).text
    for path in ("/api/billing-runs/2/voids", "/api/run-voids/1", "/api/run-voids/1/debits"):
        assert (await api.get(path)).status_code == 404, path
    async with serving(environment) as bare:
        bare.headers["authorization"] = "Bearer test-key"
        result = await _void(bare)
        assert (result.status_code, "is not configured" in result.text) == (422, True)
