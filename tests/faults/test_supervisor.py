"""A supervisor keeps its pools whatever ends, and nothing of it outlives it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import psycopg
from tether_sandbox.services.guard import ended
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tether_sandbox.services.program import Launch, Program

# Impatient, so that the test sees it grow and shrink within seconds.
POOLS = """
[pools.inbox]
queues = ["webhooks"]
processes_min = 2
processes_max = 3
clear_s = 0.5
cooldown_s = 0.1
idle_s = 1
"""
ROWS = 3_000


def _start(process: Launch, environ: dict[str, str], tmp_path: Path) -> Program:
    file = tmp_path / "pools.toml"
    file.write_text(POOLS)
    supervisor = process("tether-worker", "supervise", "--pools", str(file), environ=environ)
    supervisor.await_line("supervisor started")
    return supervisor


def _record(url: str, count: int) -> None:
    """Notifications of no payment, due in a few seconds, so that there is time to hold them up."""
    with psycopg.connect(url) as conn:
        conn.execute(
            "insert into webhook_events (key, content, account, kind, notification_id, status, event, source, content_type,"
            " body, state, failures, received_at, next_at)"
            " select decode(lpad(to_hex(n + (select count(*) from webhook_events)), 32, '0'), 'hex'), '', 'default', 'wpf',"
            " 'n' || n, '', '', 'webhook', 'application/x-www-form-urlencoded', %s, 'waiting', 0, at, at"
            " from generate_series(1, %s) n, (select now() + interval '3 seconds' as at) times",
            (b"wpf_unique_id=n&signature=ab", count),
        )


def _query(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as conn:
        return [row[0] for row in conn.execute(query).fetchall()]


def _workers(url: str) -> list[int]:
    """The process ids of the workers that have written their rows, and run."""
    return _query(url, "select pid from workers where state = 'running' order by started_at")


def _all(found: list[int], count: int) -> list[int] | None:
    return found if len(found) == count else None


def _with(text: str, words: str) -> str | None:
    return text if words in text else None


def _claimed(url: str) -> bool:
    """Whether workers have claimed all rows that wait."""
    query = "select id from webhook_events where state = 'waiting' for update skip locked"
    return bool(_query(url, "select id from webhook_events where state = 'waiting'")) and not _query(
        url, query
    )


def test_a_pool_keeps_its_processes_grows_shrinks_and_drains(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    tmp_path: Path,
    until: Callable[..., Any],
) -> None:
    """A worker that is killed comes back; a burst gets another one; SIGTERM lets each finish what it is at."""
    port = free_port()
    supervisor = _start(process, environment | {"TETHER_WORKER_LISTEN": f"127.0.0.1:{port}"}, tmp_path)
    first = until(lambda: _all(_workers(database_url), 2), what="2 workers")
    psutil.Process(first[0]).kill()
    supervisor.await_line("worker ended by itself")
    second = until(lambda: _all(_workers(database_url), 2), what="another worker in its place")
    assert first[0] not in second
    _record(database_url, ROWS)
    with psycopg.connect(database_url) as busy:
        busy.execute("lock table webhook_events in share mode")  # rows can be claimed and not finished
        until(lambda: len(_workers(database_url)) == 3, what="a third worker")
    until(
        lambda: _query(database_url, "select count(*) from webhook_events where state <> 'processed'") == [0],
        what="all rows to be applied",
    )
    until(lambda: len(_workers(database_url)) == 2, what="the third worker to end")
    metrics: str = until(
        lambda: _with(
            httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60).text,
            'tether_pool_processes{kind="running",pool="inbox"} 2.0',
        ),
        what="the metrics to say so",
    )
    assert 'tether_pool_restarts_total{pool="inbox"} 1.0' in metrics
    # The rows of all processes, of those that have ended too.
    handled = [line for line in metrics.splitlines() if line.startswith("tether_job_rows_total")]
    assert float(handled[0].rpartition(" ")[2]) == ROWS
    assert (
        httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=60).json()["pools"]["inbox"][
            "running"
        ]
        == 2
    )
    children = psutil.Process(supervisor.pid).children()
    _record(database_url, 10)
    with psycopg.connect(database_url) as busy:
        busy.execute("lock table webhook_events in share mode")
        until(lambda: _claimed(database_url), what="a worker to be in its batch")
        supervisor.signal(signal.SIGTERM)
        supervisor.await_line("supervisor stopping")
        until(
            lambda: set(_query(database_url, "select state from workers")) <= {"stopping"},
            what="them to stop",
        )
    assert supervisor.wait() == 0
    assert all(ended(child) for child in children)
    assert _query(database_url, "select count(*) from webhook_events where state <> 'processed'") == [0]
    assert _query(database_url, "select id from workers union all select id from supervisors") == []
    assert "Traceback" not in supervisor.stderr


def test_a_supervisor_that_is_killed_leaves_no_orphans(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    tmp_path: Path,
    until: Callable[..., Any],
) -> None:
    """Workers that nobody supervises would run beside those of the next supervisor, with the settings of yesterday."""
    supervisor = _start(process, environment, tmp_path)
    until(lambda: len(_workers(database_url)) == 2, what="2 workers")
    children = psutil.Process(supervisor.pid).children()
    _record(database_url, 10)
    with psycopg.connect(database_url) as busy:
        busy.execute("lock table webhook_events in share mode")
        until(lambda: _claimed(database_url), what="a worker to be in its batch")
        supervisor.signal(signal.SIGKILL)
        until(lambda: "worker stopping" in supervisor.stderr, what="the workers to notice")
    until(lambda: all(ended(child) for child in children), what="the workers to end by themselves")
    # What they were at was finished.
    assert _query(database_url, "select count(*) from webhook_events where state <> 'processed'") == [0]
    assert _query(database_url, "select id from workers") == []


def test_a_worker_that_cannot_start_is_started_later_each_time(
    environment: dict[str, str], process: Launch, tmp_path: Path, until: Callable[..., Any]
) -> None:
    """A wrong setting must not keep a processor busy with starting processes; the log says what is wrong."""
    supervisor = _start(process, environment | {"TETHER_OBJECTS_DIR": "/dev/null"}, tmp_path)

    def waits() -> list[str]:
        return [line for line in supervisor.stderr.splitlines() if "worker ended by itself" in line]

    until(
        lambda: any('"next_in_s":2' in line for line in waits()), what="processes that ended again and again"
    )
    assert '"next_in_s":0.5' in waits()[0]
    assert supervisor.terminate() == 0


def test_a_restart_replaces_the_workers_one_after_the_other(
    environment: dict[str, str], database_url: str, process: Launch, tmp_path: Path, until: Callable[..., Any]
) -> None:
    """All workers that end at once would leave notifications waiting; one that stays keeps the memory it should give back."""
    supervisor = _start(process, environment, tmp_path)
    before = until(lambda: _all(_workers(database_url), 2), what="two workers")
    with psycopg.connect(database_url) as conn:
        conn.execute("insert into worker_restarts values (now(), 'ada', 'a test')")

    def replaced() -> bool:
        now = _workers(database_url)
        return len(now) == 2 and not set(before) & set(now)

    until(replaced, what="two others")
    assert supervisor.stderr.count("worker process restarting") == 2
    assert "worker ended by itself" not in supervisor.stderr
    assert supervisor.terminate() == 0
