"""Pauses: a worker that runs obeys them within seconds, and shows what it does."""

from __future__ import annotations

from datetime import UTC, datetime
from operator import gt
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from tether_sandbox.services.server import free_port
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_worker.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services.program import Launch


async def _record(url: str, name: str) -> None:
    """Put a notification of no payment into the inbox."""
    key = name.encode().ljust(16, b".")
    body = f"wpf_unique_id={name}&signature=ab".encode()
    row = Recording(key, key, "default", "wpf", name, "", "", "application/x-www-form-urlencoded", body)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await webhook_events.record(conn, [row], now=datetime.now(UTC))


def _get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=60)


def _query(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as conn:
        return [row[0] for row in conn.execute(query).fetchall()]


async def test_a_paused_queue_waits_on_every_worker_and_goes_on(
    environment: dict[str, str], database_url: str, process: Launch, until: Callable[..., Any]
) -> None:
    """Somebody stops a queue in the night and restarts a worker: neither that worker nor a new one may work on it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    worker = process(
        "tether-worker",
        "run",
        "webhooks",
        environ=environment | {"TETHER_WORKER_LISTEN": f"127.0.0.1:{port}"},
    )
    worker.await_line("worker started")
    paused = process(
        "tether-worker", "queues", "pause", "webhooks", "--reason", "a test", environ=environment
    )
    assert paused.wait() == 0
    worker.await_line("queues paused")
    late = process("tether-worker", "run", "webhooks", environ=environment)
    late.await_line("worker started")
    await _record(database_url, "a")

    def seen() -> list[datetime]:
        return _query(database_url, "select seen_at from workers order by id")

    for _ in range(2):  # both have looked for rows since then
        before = seen()
        until(lambda was=before: all(map(gt, seen(), was)), what="their rows")
    assert _query(database_url, "select state from webhook_events") == ["waiting"]
    assert _get(f"{url}/health").json()["paused"] == ["webhooks"]
    resumed = process("tether-worker", "queues", "resume", "webhooks", environ=environment)
    assert resumed.wait() == 0
    until(
        lambda: _query(database_url, "select state from webhook_events") == ["processed"],
        what="the row to be applied",
    )
    late.kill()  # its row stays until it is too old
    await _record(database_url, "b")
    until(
        lambda: 'tether_job_rows_total{job="drain_webhooks",queue="webhooks"}' in _get(f"{url}/metrics").text,
        what="its rows in its metrics",
    )
    assert worker.terminate() == 0
    assert len(_query(database_url, "select id from workers")) == 1


def test_a_restart_ends_a_worker_that_has_no_supervisor(
    environment: dict[str, str], database_url: str, process: Launch, until: Callable[..., Any]
) -> None:
    """Memory that grows, or a setting of a file that changed: one order restarts all, and a new worker is not restarted again."""
    ordered = "insert into worker_restarts values (now() {}, 'ada', 'a test')"
    with psycopg.connect(database_url) as conn:
        conn.execute(ordered.format("+ interval '1 hour'"))  # of a clock that was wrong: left alone
        conn.execute(ordered.format("- interval '1 hour'"))
    worker = process("tether-worker", "run", "webhooks", environ=environment)
    worker.await_line("worker started")
    until(lambda: _query(database_url, "select pid from workers"), what="its row")
    with psycopg.connect(database_url) as conn:
        conn.execute("delete from worker_restarts")
        conn.execute(ordered.format(""))
    assert worker.wait() == 75
    assert _query(database_url, "select pid from workers") == []
    again = process("tether-worker", "run", "webhooks", environ=environment)
    again.await_line("worker started")
    before = until(lambda: _query(database_url, "select seen_at from workers"), what="its row")
    until(
        lambda: all(map(gt, _query(database_url, "select seen_at from workers"), before)), what="its next row"
    )
    assert again.terminate() == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("resume", "billing"), "Queue billing is not paused"),
        (("pause", "billing", "--reason", " "), "--reason: Say why"),
        (("pause", "billing", "--reason", "a\nb\x00"), "--reason: Say why"),
    ],
)
def test_senseless_arguments_get_a_sentence(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    words: str,
) -> None:
    """A traceback in the night says nothing."""
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert main(["queues", *argv]) in {2, 75}
    assert words in capsys.readouterr().err
    assert main(["queues", "list"]) == 0
    assert "webhooks" in capsys.readouterr().out
