"""Queues and workers over HTTP, and what of them is in the metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    import httpx


@pytest.fixture
async def api(client: httpx.AsyncClient, database_url: str) -> httpx.AsyncClient:
    """The API, and a worker that lives."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into workers (id, pool, host, pid, version, queues, state, memory_bytes, activity, started_at, seen_at)"
            " values ('w', 'webhooks', 'node-1', 7, '0.1.0', '{webhooks}', 'running', 1,"
            ' \'{"webhooks": {"rows": 600, "busy_s": 3, "running": 1}}\', %(now)s, %(now)s)',
            {"now": datetime.now(UTC)},
        )
    client.headers["authorization"] = "Bearer test-key"
    return client


async def test_a_queue_is_paused_and_resumed_with_a_reason(api: httpx.AsyncClient) -> None:
    """The bank is closed: one request stops billing on all nodes, and everybody sees who did it and why."""
    before = {item["name"]: item for item in (await api.get("/api/queues")).json()}
    assert (before["webhooks"]["workers"], before["webhooks"]["handled_per_s"]) == (1, 10)
    assert (before["billing"]["workers"], before["billing"]["paused"]) == (0, None)
    made = await api.post("/api/queues/billing/pause", json={"reason": "the bank is closed"})
    assert made.status_code == 200
    assert (made.json()["paused_by"], made.json()["reason"]) == ("tests", "the bank is closed")
    after = {item["name"]: item for item in (await api.get("/api/queues")).json()}
    assert after["billing"]["paused"] == made.json()
    again = await api.post("/api/queues/billing/pause", json={"reason": "x"})
    assert (again.status_code, "paused already" in again.json()["detail"]) == (409, True)
    metrics = (await api.get("/metrics")).text
    assert 'tether_queue_paused{queue="billing"} 1.0' in metrics
    assert 'tether_workers_alive{queue="webhooks"} 1.0' in metrics
    assert 'tether_workers_alive{queue="vop"} 0.0' in metrics
    ended = await api.post("/api/queues/billing/resume")
    assert (ended.status_code, ended.json()) == (200, made.json())
    assert (await api.post("/api/queues/billing/resume")).status_code == 409


async def test_what_makes_no_sense_is_refused_with_a_sentence(api: httpx.AsyncClient) -> None:
    """A queue that does not exist must not be "paused", or somebody believes that billing has stopped."""
    for path in ("pause", "resume"):
        answer = await api.post(
            f"/api/queues/biling/{path}", json={"reason": "x"} if path == "pause" else None
        )
        assert answer.status_code == 422
        assert "there are webhooks, billing" in answer.text
    for body in ({}, {"reason": ""}, {"reason": " "}, {"reason": "x", "more": 1}, {"reason": "a\u0000b"}):
        assert (await api.post("/api/queues/vop/pause", json=body)).status_code in {400, 422}, body
    del api.headers["authorization"]
    assert (await api.post("/api/queues/vop/pause", json={"reason": "x"})).status_code == 401


async def test_workers_are_listed(api: httpx.AsyncClient) -> None:
    """Who serves what, and with how much memory."""
    found = (await api.get("/api/workers")).json()
    assert found["supervisors"] == []
    assert [(item["id"], item["queues"], item["host"]) for item in found["workers"]] == [
        ("w", ["webhooks"], "node-1")
    ]
