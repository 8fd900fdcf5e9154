"""The worker as a process: starts with any store away, handles wake-ups, and stops on a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
from tether_core.jobs import WEBHOOKS
from tether_stores.jobs.queue import WakeUpQueue, open_wake_up_queue, wake
from tether_stores.migrate import migrate, numbered
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_worker.__main__ import main
from tether_worker.jobs.wake_ups import wake_up_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services import Services
    from tether_sandbox.services.program import Launch, Program


def _start(process: Launch, environ: dict[str, str]) -> Program:
    worker = process("tether-worker", "run", "webhooks", environ=environ)
    worker.await_line("worker started")
    return worker


async def _record(url: str, name: str, *, due_in_s: float = 0) -> None:
    """Put a notification of no payment into the inbox: applying it asks for nothing else."""
    key = name.encode().ljust(16, b".")
    body = f"wpf_unique_id={name}&signature=ab".encode()
    row = Recording(key, key, "default", "wpf", name, "", "", "application/x-www-form-urlencoded", body)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await webhook_events.record(conn, [row], now=datetime.now(UTC) + timedelta(seconds=due_in_s))


def _states(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        return [state for (state,) in conn.execute("select state from webhook_events order by id").fetchall()]


def test_a_missing_fingerprint_key_is_logged_at_the_start(
    environment: dict[str, str], process: Launch
) -> None:
    """It cannot be set later: who reads of it after a year of uploads has to live with it."""
    for more, count in ({}, 1), ({"TETHER_FINGERPRINT_KEY": "k"}, 0):
        worker = _start(process, environment | more)
        assert worker.terminate() == 0
        assert worker.stderr.count("TETHER_FINGERPRINT_KEY is not set") == count


async def test_rows_are_applied_with_redis_and_without_it(
    environment: dict[str, str],
    database_url: str,
    redis_url: str,
    process: Launch,
    services: Services,
    until: Callable[..., Any],
) -> None:
    """Redis may be away when a worker starts, come, and go for good.

    It costs a second each time and no row.
    """
    if services.redis:
        services.redis.stop()
    worker = _start(process, environment)
    await _record(database_url, "without")
    until(lambda: _states(database_url) == ["processed"], what="the row to be applied without Redis")
    if services.redis:
        services.redis.start()
    await _record(database_url, "woken")
    async with open_wake_up_queue(redis_url, queue="webhooks") as wake_up_queue:
        await wake(wake_up_queue, WEBHOOKS, slot=1)
        until(lambda: _states(database_url) == ["processed"] * 2, what="the row to be applied")
    with redis.Redis.from_url(redis_url) as server:
        # The worker takes wake-ups again: the slot is free for the next one.
        until(lambda: server.zcard("saq:webhooks:incomplete") == 0, what="the wake-up to be answered")
    if services.redis:
        services.redis.kill()
    await _record(database_url, "again")
    until(lambda: _states(database_url) == ["processed"] * 3, what="the row to be applied without Redis")
    assert worker.terminate() == 0
    assert "Traceback" not in worker.stderr


async def test_a_worker_may_be_there_before_its_tables(
    environment: dict[str, str], empty_database_url: str, process: Launch, until: Callable[..., Any]
) -> None:
    """A deploy starts everything at once. A worker that came before the migration must work after it."""
    worker = _start(process, environment | {"DATABASE_URL": empty_database_url})
    worker.await_line("worker row not written")
    migrate(empty_database_url, now=datetime.now(UTC))
    await _record(empty_database_url, "a")
    until(lambda: _states(empty_database_url) == ["processed"], what="the row to be applied")
    assert worker.terminate() == 0


def test_an_idle_worker_ends_soon(environment: dict[str, str], process: Launch, services: Services) -> None:
    """A deploy waits for each worker.

    One that sits out its grace period makes it take minutes, Redis or not.
    """
    workers = [
        process("tether-worker", "run", "webhooks", "--grace", "300", environ=environment) for _ in range(3)
    ]
    for worker in workers:
        worker.await_line("worker started")
    just_started, idle, without_redis = workers
    just_started.signal(signal.SIGTERM)
    idle.signal(signal.SIGINT)
    assert just_started.wait() == 0
    assert idle.wait() == 0
    if services.redis:
        services.redis.pause()
    assert without_redis.terminate() == 0
    for worker in workers:
        assert "worker stopped" in worker.stderr
        assert "Traceback" not in worker.stderr


async def test_a_worker_that_is_stopped_before_it_began_ends() -> None:
    """A node that is taken back within its first second must not stay until it is killed."""
    wake_up_queue = WakeUpQueue(redis.asyncio.Redis.from_url("redis://127.0.0.1:1"), name="webhooks")
    worker = wake_up_worker(wake_up_queue, [], grace_s=300)
    worker.drain()
    async with asyncio.timeout(120):
        await worker.start()


async def test_a_worker_finishes_the_batch_it_is_at(
    environment: dict[str, str], database_url: str, process: Launch, until: Callable[..., Any]
) -> None:
    """A batch that is cut off is done again from its start.

    In a night of deploys nothing would be finished.
    """
    worker = _start(process, environment)
    await _record(database_url, "a", due_in_s=1)
    with psycopg.connect(database_url) as busy:
        busy.execute("lock table webhook_events in share mode")  # rows can be claimed and not finished
        until(lambda: _is_blocked(database_url), what="the worker to be in its batch")
        worker.signal(signal.SIGTERM)
        worker.await_line("worker stopping")
    assert worker.wait() == 0
    assert _states(database_url) == ["processed"]


def test_a_gateway_that_says_nothing_keeps_no_worker(environment: dict[str, str], process: Launch) -> None:
    """Reports were fetched for up to a minute after the signal: systemd kills a worker after 40 s, in the middle of a call."""
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        changes = {
            "EMP_API_URL": f"http://127.0.0.1:{gateway.getsockname()[1]}",
            "EMP_API_LOGIN": "login",
            "EMP_API_PASSWORD": "password",
            "EMP_TERMINAL_TOKEN": "terminal",
            "EMP_TIMEOUT": "600",
        }
        worker = process(
            "tether-worker", "run", "reconciliation", "--grace", "1", environ=environment | changes
        )
        gateway.settimeout(120)
        call, _ = gateway.accept()  # the first report is fetched
        with call:
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
    assert "work cancelled" in worker.stderr
    assert "worker stopped" in worker.stderr
    assert "Traceback" not in worker.stderr


def _is_blocked(url: str) -> bool:
    query = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    with psycopg.connect(url) as conn:
        return bool(conn.execute(query).rowcount)


# --- the command line ---


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command with the settings of this test, and changes to them."""

    def _run(*argv: str, **changes: str) -> int:
        for name, text in (environment | changes).items():
            monkeypatch.setenv(name, text)
        return main(argv)

    return _run


def test_migrating_says_what_it_did(
    run: Callable[..., int], empty_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deploy checks here whether the schema is the one that the code expects."""
    assert run("migrate", DATABASE_DIRECT_URL=empty_database_url) == 0
    assert [line.removeprefix("applied ") for line in capsys.readouterr().out.splitlines()[:-1]] == list(
        numbered()
    )
    assert run("migrate", "--phase", "post", DATABASE_DIRECT_URL=empty_database_url) == 0
    assert capsys.readouterr().out == "the database is up to date\n"


def test_missing_settings_and_unavailable_stores_get_a_sentence(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A supervisor tells by the code whether starting again helps; a person reads what to change."""
    assert run("run", "webhooks", REDIS_URL="") == 2
    assert "REDIS_URL must be set" in capsys.readouterr().err
    assert run("status", DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x") == 75
    assert run("migrate", DATABASE_DIRECT_URL="postgresql://u:hunter2@127.0.0.1:1/x") == 75
    said = capsys.readouterr().err
    assert said.count("Postgres is not reachable") == 2
    assert "hunter2" not in said
