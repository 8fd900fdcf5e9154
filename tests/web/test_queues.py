"""Queues and workers over HTTP, and what of them is in the metrics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_core.jobs import WEBHOOKS
from tether_stores.jobs.queue import open_wake_up_queue, wake

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


async def test_wake_ups_are_cleared_and_the_work_stays(
    api: httpx.AsyncClient, database_url: str, redis_url: str
) -> None:
    """In other systems this deletes jobs; here a person who orders it in a panic must lose nothing."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body, state,"
            " failures, received_at, next_at) values ('\\x01', '', 'default', 'payment', 'n', 's', 'webhook', 'c', '', 'waiting', 0,"
            " now(), now() - interval '1 minute')"
        )
    async with open_wake_up_queue(redis_url, queue="webhooks") as wake_up_queue:
        await wake(wake_up_queue, WEBHOOKS, slot=1)
    used = (await api.get("/api/store-status")).json()
    assert used["redis"]["wake_ups"]["webhooks"] == 1
    assert used["redis"]["memory_bytes"] > 0
    assert 0 < used["postgres"]["connections"] <= used["postgres"]["connections_max"]
    cleared = await api.post("/api/queues/webhooks/clear", json={"reason": "a test"})
    assert cleared.json() == {"queue": "webhooks", "wake_ups": 1, "rows": 1}
    assert (await api.get("/api/store-status")).json()["redis"]["wake_ups"]["webhooks"] == 0
    after = {item["name"]: item for item in (await api.get("/api/queues")).json()}
    assert after["webhooks"]["rows"] == 1
    assert (await api.post("/api/queues/webhooks/clear", json={"reason": " "})).status_code == 422


async def test_parked_notifications_are_retried_with_a_reason(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """Forty notifications are parked after a defect: one order replays them, and the audit has who and why."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body, state,"
            " reason, failures, received_at) select decode(lpad(to_hex(n), 32, '0'), 'hex'), '', 'default', 'payment', 'n', 's',"
            " 'webhook', 'c', '', 'parked', 'failed', 5, now() from generate_series(1, 40) n"
        )
    done = await api.post("/api/queues/webhooks/retry", json={"reason": "the defect is gone"})
    assert done.json() == {"queue": "webhooks", "rows": 40, "more": False, "note": ""}
    assert (await api.get("/api/webhook-events", params={"status": "parked"})).json()["items"] == []
    rows = (await api.get("/api/audit", params={"action": "queue.retried"})).json()["items"]
    assert [(row["actor"], row["reason"], row["after"]["rows"]) for row in rows] == [
        ("tests", "the defect is gone", 40)
    ]


async def test_a_restart_says_how_many_workers_it_reaches(api: httpx.AsyncClient) -> None:
    """A worker without a supervisor ends; who runs it by hand must know."""
    made = (await api.post("/api/workers/restart", json={"reason": "memory grows"})).json()
    assert (made["ordered_by"], made["supervised"], made["alone"]) == ("tests", 0, 1)
    assert (await api.post("/api/workers/restart", json={})).status_code in {400, 422}
