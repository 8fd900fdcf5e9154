"""Health, readiness and metrics: correct and in time, also when a service is unavailable."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import psycopg
from prometheus_client import REGISTRY
from tether_core import __version__
from tether_core.emp.notification import FORM
from tether_core.notifications.inbox import TRANSITIONS
from tether_core.testing import form_body
from tether_stores import telemetry
from tether_stores.migrate import migrate
from tether_worker.jobs.metrics import WorkerMetrics
from tether_worker.scaling.metrics import PoolMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Any, Protocol

    import httpx
    import pytest
    from tether_sandbox.services import Services

    class Serve(Protocol):
        def __call__(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


PASSWORD = "s3cret-password"
# Written by the job that makes backups: docs/guides/monitoring.md.
BACKUP = "tether_backup_success_timestamp_seconds"
AUTHORIZED = {"authorization": "Bearer test-key"}


async def _send(client: httpx.AsyncClient, unique_id: str, *, secret: str = PASSWORD) -> None:
    body = form_body({"unique_id": unique_id, "status": "approved"}, secret=secret)
    await client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})


async def _metric(client: httpx.AsyncClient, name: str) -> float:
    """The value of a metric, its labels included in *name*; 0 where it has none yet."""
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = re.search(rf"^{re.escape(name)} (\S+)$", answer.text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def test_ready_means_that_notifications_can_be_recorded(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A load balancer sends traffic to ready nodes, and an alert fires on the age of the oldest waiting row."""
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "ready": True,
            "postgres": True,
            "migrated": True,
            "redis": True,
            "objects": True,
            "gateway_password": True,
            "oldest_waiting_s": 0.0,
            "fingerprint_key": "matches",
            "refused": None,
        },
    )
    await _send(client, "a")
    earlier = datetime.now(UTC) - timedelta(seconds=90)
    with psycopg.connect(database_url) as conn:
        conn.execute("update webhook_events set next_at = %s", [earlier])
    assert 90 <= (await client.get("/ready")).json()["oldest_waiting_s"] < 120
    assert 90 <= await _metric(client, "tether_oldest_waiting_seconds") < 120


async def test_without_a_password_the_node_is_not_ready(serving: Serve, environment: dict[str, str]) -> None:
    """A node that refuses every notification must not be given any; the others of the deploy take them."""
    async with serving(environment | {"EMP_API_PASSWORD": ""}) as client:
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["gateway_password"]) == (503, False)
        assert (await client.get("/health")).json() == {"status": "alive", "version": __version__}


async def test_a_missing_redis_is_reported_and_costs_no_readiness(
    serving: Serve, environment: dict[str, str]
) -> None:
    """Redis is a shortcut: taking all nodes out of service because of it would be the outage."""
    async with serving(environment | {"REDIS_URL": "redis://127.0.0.1:1"}) as client:
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["redis"], answer.json()["ready"]) == (200, False, True)


async def test_a_database_that_was_not_migrated_is_distinguished_from_an_unreachable_one(
    serving: Serve, environment: dict[str, str], empty_database_url: str
) -> None:
    """The first mistake of a first deploy. As an internal error it sends people to read code, although one command corrects it."""
    fresh = {"DATABASE_URL": empty_database_url, "DATABASE_DIRECT_URL": empty_database_url}
    async with serving(environment | fresh) as client:
        answer = await client.get("/ready")
        assert answer.status_code == 503
        assert (answer.json()["postgres"], answer.json()["migrated"]) == (False, False)
        assert (await client.get("/metrics")).status_code == 200
        asked = await client.get("/api/billing-attempts", headers={"authorization": "Bearer test-key"})
        assert (asked.status_code, asked.json()["code"]) == (503, "schema_behind")
        assert "tether-worker migrate" in asked.json()["detail"]
        sent = form_body({"unique_id": "a"}, secret=PASSWORD)
        result = await client.post("/api/webhooks/emp", content=sent, headers={"content-type": FORM})
        assert (result.status_code, "retry-after" in result.headers) == (503, True)
        migrate(empty_database_url, now=datetime.now(UTC))
        assert (await client.get("/ready")).json()["migrated"] is True


async def test_probes_are_answered_in_time_while_postgres_hangs(
    client: httpx.AsyncClient, services: Services, eventually: Callable[..., Any]
) -> None:
    """A probe must get a response in time, also a negative one; /health stays positive."""
    if services.postgres is None:
        assert (await client.get("/health")).status_code == 200
        return
    assert (await client.get("/ready")).status_code == 200
    with services.postgres.paused():
        began = monotonic()
        answers = await asyncio.gather(
            *(client.get(path) for path in ("/ready", "/ready", "/metrics", "/health"))
        )
        assert monotonic() - began < 60  # a hanging Postgres would hold them for ever; a busy machine is slow
        assert [answer.status_code for answer in answers] == [503, 503, 200, 200]
        assert answers[0].json()["oldest_waiting_s"] is None

    async def ready() -> bool:
        return (await client.get("/ready")).status_code == 200

    await eventually(ready, what="the node to be ready again")


async def test_searches_cannot_make_a_node_unready(
    serving: Serve, environment: dict[str, str], database_url: str, eventually: Callable[..., Any]
) -> None:
    """A balancer takes out every node that is not ready, so a few slow searches would be an outage of notifications."""
    async with (
        serving(environment | {"DATABASE_POOL_WAIT": "2"}) as client,
        await psycopg.AsyncConnection.connect(database_url) as conn,
    ):
        await conn.execute("lock table debtors in access exclusive mode")
        searches = [
            asyncio.create_task(client.get("/api/debtors?name=nobody", headers=AUTHORIZED)) for _ in range(24)
        ]

        async def held() -> bool:
            found = await conn.execute("select count(*) from pg_locks where not granted")
            row = await found.fetchone()
            return row is not None and row[0] >= 8

        await eventually(held, what="searches to hold every connection of the API")
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["oldest_waiting_s"]) == (200, None)
        await _send(client, "a")
        # Each is stopped after its time.
        fields = {(item.status_code, item.json()["code"]) for item in await asyncio.gather(*searches)}
        assert fields == {(503, "query_too_slow"), (503, "store_unreachable")}
        await conn.rollback()
        assert (await client.get("/ready")).json()["oldest_waiting_s"] is not None


async def test_a_node_that_cannot_record_is_not_ready_though_postgres_answers(
    client: httpx.AsyncClient, database_url: str, eventually: Callable[..., Any]
) -> None:
    """A standby or a locked table answers queries and accepts no notifications: traffic must go to other nodes."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        with conn.transaction():
            conn.execute("lock table webhook_events in share mode")
            assert (await client.get("/ready")).status_code == 503

        async def ready() -> bool:
            return (await client.get("/ready")).status_code == 200

        await eventually(ready, what="the node to be ready again")
        row = conn.execute("select current_database()").fetchone()
        assert row is not None
        conn.execute(f'alter database "{row[0]}" set default_transaction_read_only = on')
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
            row,
        )

        async def unready() -> bool:
            return (await client.get("/ready")).status_code == 503

        await eventually(unready, what="the node to see that nothing can be written")
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["postgres"]) == (503, False)
        conn.execute("set default_transaction_read_only = off")
        conn.execute(f'alter database "{row[0]}" reset default_transaction_read_only')
        await eventually(ready, what="the node to record again, without a restart")
        assert conn.execute("select count(*) from webhook_events").fetchone() == (0,)


async def test_metrics_exclude_what_they_could_not_refresh(
    client: httpx.AsyncClient, services: Services, eventually: Callable[..., Any]
) -> None:
    """An old value looks like a true one, and a scrape that hangs loses all the others."""
    names = ("tether_oldest_waiting_seconds", "tether_inbox_rows")

    async def all_there() -> bool:
        text = (await client.get("/metrics")).text
        return all(f"\n{name}" in text for name in names)

    await eventually(all_there, what="all of them")  # a busy machine may not refresh each in time
    if services.postgres is None:
        return
    with services.postgres.paused():
        began = monotonic()
        text = (await client.get("/metrics")).text
        took_s = monotonic() - began
    assert took_s < 30  # below a second where the machine is not busy
    assert not any(f"\n{name}" in text for name in names)
    assert "\ntether_http_seconds_count" in text


async def test_what_waits_for_a_person_is_counted(client: httpx.AsyncClient, database_url: str) -> None:
    """Somebody is woken by this number; parked rows that no alert sees wait until the customer calls."""
    for unique_id in ("a", "b"):
        await _send(client, unique_id)
    for state, count in (("waiting", 2), ("confirming", 0), ("parked", 0), ("conflicting", 0)):
        assert await _metric(client, f'tether_inbox_rows{{state="{state}"}}') == count
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update webhook_events set state = 'parked', next_at = null, reason = 'unknown_status', handled_at = now() "
            "where notification_id = 'a'"
        )
    assert await _metric(client, 'tether_inbox_rows{state="parked"}') == 1
    assert await _metric(client, 'tether_inbox_rows{state="waiting"}') == 1


def test_alerts_and_dashboards_ask_for_metrics_that_exist() -> None:
    """An alert on a metric that was renamed never fires, and its silence looks like peace."""
    deploy = Path(__file__).parents[2] / "deploy"
    files = [deploy / "alerts/prometheus.yaml", *deploy.glob("grafana/*.json")]
    alerts = "".join(file.read_text() for file in files).replace(BACKUP, "")
    asked = {re.sub("_(?:bucket|count|sum)$", "", name) for name in re.findall(r"\btether_\w+", alerts)}
    workers, pools = WorkerMetrics(), PoolMetrics()
    pools.close()
    registries = (REGISTRY, workers._registry, pools._registry)
    there = {family.name for registry in registries for family in registry.collect()}
    assert len(asked) > 3
    assert {name.removesuffix("_total") for name in asked} <= there


def test_alerts_watch_only_states_that_end() -> None:
    """An alert on rows that stay for good never clears, and is soon muted together with what comes after it."""
    alerts = (Path(__file__).parents[2] / "deploy/alerts/prometheus.yaml").read_text()
    watched = re.findall(r'tether_inbox_rows\{state=~?"([\w|]+)"', alerts)
    final = {state for state, steps in TRANSITIONS.items() if not steps}
    assert watched
    assert not final & set("|".join(watched).split("|"))
    assert 'increase(tether_webhook_notifications_total{outcome="conflicting"}[1h])' in alerts


async def test_every_notification_is_counted_by_what_came_of_it(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attack shows as a count of refusals; were they not counted, nobody would know of it."""

    async def counts() -> dict[str, float]:
        return {
            outcome: await _metric(client, f'tether_webhook_notifications_total{{outcome="{outcome}"}}')
            for outcome in ("recorded", "repeated", "refused", "unreadable")
        }

    before = await counts()
    for unique_id, secret in (("a", PASSWORD), ("a", PASSWORD), ("b", PASSWORD), ("c", "wrong")):
        await _send(client, unique_id, secret=secret)
    await client.post("/api/webhooks/emp", content=b"", headers={"content-type": FORM})
    after = await counts()
    assert {name: after[name] - before[name] for name in after} == {
        "recorded": 2,
        "repeated": 1,
        "refused": 1,
        "unreadable": 1,
    }
    monkeypatch.setattr(telemetry, "dropped", lambda: 7)
    assert await _metric(client, "tether_log_lines_dropped") == 7


async def test_balancers_may_probe_with_head(serving: Serve, environment: dict[str, str]) -> None:
    """Some load balancers can only probe with HEAD; a 405 would take every node out of service."""
    for changes, status in (({}, 200), ({"EMP_API_PASSWORD": ""}, 503)):
        async with serving(environment | changes) as client:
            for path, wanted in (("/health", 200), ("/ready", status)):
                answer = await client.head(path)
                assert (answer.status_code, answer.content) == (wanted, b"")
