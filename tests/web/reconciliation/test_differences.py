"""Books that differ, over HTTP: listed by page, acknowledged with a reason, counted."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_sandbox.seed import seed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

PATH = "/api/reconciliation-differences"


@pytest.fixture
async def api(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API."""
    async with serving(environment) as client:
        client.headers["authorization"] = "Bearer test-key"
        yield client


def _lines(url: str, count: int) -> list[int]:
    made = list(seed(url, attempts=count, rng=random.Random(1), now=datetime.now(UTC)))
    with psycopg.connect(url) as conn:
        for seeded in made:
            conn.execute(
                "insert into reconciliation_differences (kind, attempt_id, subject, ours, theirs, holds_refunds, first_seen_at,"
                " last_seen_at) values ('state_differs', %s, 'declined', 'approved', 'declined', true, now(), now())",
                [seeded.id],
            )
    return [seeded.id for seeded in made]


async def test_lines_are_paged_and_say_what_to_do(api: httpx.AsyncClient, database_url: str) -> None:
    """A person works through them, and none is skipped or shown twice."""
    debits = _lines(database_url, 3)
    first = (await api.get(PATH, params={"limit": 2})).json()
    rest = (await api.get(PATH, params={"limit": 2, "cursor": first["next"]})).json()
    items = first["items"] + rest["items"]
    assert sorted(item["attempt_id"] for item in items) == sorted(debits)
    assert rest["next"] is None
    line = items[0]
    assert (line["state"], line["ours"], line["theirs"], line["holds_refunds"]) == (
        "open",
        "approved",
        "declined",
        True,
    )
    assert line["text"].endswith(".")
    assert line["action"].endswith(".")
    assert (await api.get(PATH, params={"attempt_id": debits[0]})).json()["items"][0]["attempt_id"] == debits[
        0
    ]
    assert (await api.get(PATH, params={"kind": "collected_twice"})).json()["items"] == []
    assert (await api.get(PATH, params={"kind": "unheard_of"})).status_code == 400
    assert 'tether_reconciliation_differences{kind="state_differs"} 3.0' in (await api.get("/metrics")).text


async def test_a_line_is_acknowledged_once_with_a_reason(api: httpx.AsyncClient, database_url: str) -> None:
    """Who looked, and what was found, stays with the line."""
    _lines(database_url, 1)
    (line,) = (await api.get(PATH)).json()["items"]
    url = f"{PATH}/{line['id']}/acknowledge"
    assert (await api.post(url, json={})).status_code == 400
    assert (await api.post(url, json={"reason": "  "})).status_code == 422
    refused = await api.post(url, json={"reason": "x", "order_again": True})
    assert (refused.status_code, "order_again" in refused.json()["detail"]) == (422, True)
    done = await api.post(url, json={"reason": "The bank returned it."})
    assert done.status_code == 200
    assert {name: done.json()[name] for name in ("state", "acknowledged_by", "acknowledged_reason")} == {
        "state": "acknowledged",
        "acknowledged_by": "tests",
        "acknowledged_reason": "The bank returned it.",
    }
    assert (await api.post(url, json={"reason": "again"})).status_code == 409
    assert (await api.get(PATH)).json()["items"] == []
    assert len((await api.get(PATH, params={"status": "all"})).json()["items"]) == 1
    assert (await api.get(f"{PATH}/{line['id']}")).json()["state"] == "acknowledged"
    assert (await api.get(f"{PATH}/999")).status_code == 404
    assert (await api.post(f"{PATH}/999/acknowledge", json={"reason": "x"})).status_code == 404


async def test_an_outcome_is_stated_once_and_only_where_nobody_can_inquire(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """It closes what no program can; an inquiry that is possible always comes first."""
    (made,) = list(seed(database_url, attempts=1, rng=random.Random(1), now=datetime.now(UTC)))
    path = f"/api/billing-attempts/{made.id}/outcome"
    seen = {"outcome": "approved", "unique_id": "44177a21403427eb", "reason": "back office"}
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update billing_attempts set payment_stage = 10, state = 'unknown', unique_id = null, submitted_to = '{gone}',"
            " submission_count = 1, submitted_at = now() - interval '1 day', unresolved_reason = 'not_found_elsewhere'"
        )
    assert (await api.post(path, json={"outcome": "approved", "reason": "x"})).status_code == 422
    assert (await api.post(path, json={"outcome": "guessed", "reason": "x"})).status_code == 400
    closed = await api.post(path, json=seen)
    assert closed.status_code == 200, closed.text
    assert (closed.json()["status"], closed.json()["refund_id"]) == ("approved", None)
    assert (await api.post(path, json=seen)).status_code == 409
    (kept,) = (await api.get(f"/api/billing-attempts/{made.id}/outcomes")).json()
    assert (kept["outcome"], kept["unique_id"], kept["reason"]) == (
        "approved",
        "44177a21403427eb",
        "back office",
    )
    assert (await api.post("/api/billing-attempts/999/outcome", json=seen)).status_code == 404
    assert (await api.post("/api/refunds/999/outcome", json=seen)).status_code == 404
