"""Faults on the way of a notification, with real programs: each is survived without a restart of a program."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import psycopg
import pytest
from tether_core.emp.notification import FORM
from tether_sandbox.gateway import encode, sign
from tether_sandbox.seed import Seeded, seed
from tether_sandbox.services.guard import ended
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services import Services
    from tether_sandbox.services.program import Launch, Program

PASSWORD = "s3cret-password"
# Far above the deadline of a commit that is set there, far below what a connection to a dead Postgres may hang.
ANSWER_MAX_S = 30
# How long a commit may be held up where it must not be given up.
HELD_UP_S = 120


def _body(unique_id: str, **fields: str) -> bytes:
    result = {"unique_id": unique_id, "status": "approved", "signature": sign(unique_id, password=PASSWORD)}
    return encode(result | fields, content_type=FORM)


def _send(node: str, unique_id: str, **fields: str) -> httpx.Response:
    with httpx.Client(timeout=60, trust_env=False) as client:
        return client.post(
            f"{node}/api/webhooks/emp", content=_body(unique_id, **fields), headers={"content-type": FORM}
        )


def _taken(node: str, unique_id: str, until: Callable[..., Any]) -> bool:
    """Send until it is answered 200, as the gateway does: a busy machine may miss a short deadline."""
    return bool(until(lambda: _send(node, unique_id).status_code == 200, what=f"{unique_id} to be taken"))


def _web(process: Launch, environ: dict[str, str], *options: str) -> tuple[Program, str]:
    port = free_port()
    # A request that waits for a connection while Postgres hangs is given up as soon as in production.
    web = process("tether-web", "--port", str(port), *options, environ={**environ, "DATABASE_POOL_WAIT": "2"})
    node = f"http://127.0.0.1:{port}"
    web.await_url(f"{node}/health")
    return web, node


def _worker(process: Launch, environ: dict[str, str]) -> Program:
    worker = process("tether-worker", "run", "webhooks", environ=environ)
    worker.await_line('"worker started"')
    return worker


def _query(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query).fetchall()


def _seed(url: str, attempts: int) -> list[Seeded]:
    return list(seed(url, attempts=attempts, rng=random.Random(attempts), now=datetime.now(UTC)))


def _is_blocked(url: str, *, by: str) -> bool:
    query = (
        "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        f" and application_name = '{by}'"
    )
    return bool(_query(url, query))


# --- Postgres ---


def test_postgres_stopped_frozen_and_restarted_under_a_node(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    services: Services,
    until: Callable[..., Any],
) -> None:
    """While Postgres is away every sender gets 503 in time. When it is back, no restart is needed."""
    if services.postgres is None:
        pytest.fail("this test needs a Postgres of its own; unset DATABASE_URL")
    web, node = _web(process, environment | {"TETHER_COMMIT_DEADLINE": "0.5"})
    assert _taken(node, "before", until)
    acknowledged = ["before"]
    for number, trouble in enumerate(("stopped", "frozen", "killed")):
        {
            "stopped": services.postgres.stop,
            "frozen": services.postgres.pause,
            "killed": services.postgres.kill,
        }[trouble]()
        for n in range(3):
            began = monotonic()
            answer = _send(node, f"{trouble}-{n}")
            assert monotonic() - began < ANSWER_MAX_S
            assert (answer.status_code, list(answer.json())) == (503, ["error"]), trouble
            assert int(answer.headers["retry-after"]) >= 1
        services.postgres.resume()
        services.postgres.start()

        def taken(name: str = f"after-{number}") -> bool:
            return _send(node, name).status_code == 200

        until(taken, what=f"a notification to be taken after Postgres was {trouble}")
        acknowledged.append(f"after-{number}")
        for n in range(3):
            assert _taken(node, f"{trouble}-{n}", until)
            acknowledged.append(f"{trouble}-{n}")
    names = [name for (name,) in _query(database_url, "select notification_id from webhook_events")]
    assert sorted(names) == sorted(acknowledged)
    assert web.returncode is None
    assert web.terminate() == 0


def test_a_node_that_is_stopped_answers_who_is_there(
    environment: dict[str, str], database_url: str, process: Launch, until: Callable[..., Any]
) -> None:
    """A deploy under load: each accepted request gets its answer, and only after its commit."""
    web, node = _web(process, environment | {"TETHER_COMMIT_DEADLINE": str(HELD_UP_S)})
    with ThreadPoolExecutor(8) as pool:
        with psycopg.connect(database_url) as busy:
            busy.execute("lock table webhook_events in share mode")
            answers = [pool.submit(_send, node, f"u-{n}") for n in range(8)]
            until(lambda: _is_blocked(database_url, by="tether-inbox"), what="a commit to be held up")
            until(lambda: _inside(node) >= 8, what="all of them to be let in")
            web.signal(signal.SIGTERM)
            until(lambda: not _listens(node), what="the node to take no more")
            assert not any(answer.done() for answer in answers)
        began = monotonic()
        assert [answer.result(timeout=HELD_UP_S).status_code for answer in answers] == [200] * 8
    assert web.wait() == 0
    assert monotonic() - began < HELD_UP_S
    assert len(_query(database_url, "select id from webhook_events")) == 8


def test_a_node_that_is_stopped_says_so_before_it_cuts_connections(
    environment: dict[str, str], process: Launch
) -> None:
    """A proxy sends the next request over the connection it keeps open; cut off, that request is lost or sent twice."""
    web, node = _web(process, environment)
    with httpx.Client(timeout=60, trust_env=False, base_url=node) as proxy:

        def send(unique_id: str) -> httpx.Response:
            return proxy.post("/api/webhooks/emp", content=_body(unique_id), headers={"content-type": FORM})

        assert "connection" not in send("before").headers
        web.signal(signal.SIGTERM)

        # Without a rest in between: the announcement lasts half a second.
        while (answer := send("meanwhile")).headers.get("connection") != "close":
            assert answer.status_code == 200
        assert answer.status_code == 200
    assert web.wait() == 0


def test_no_process_of_a_node_outlives_the_first_one(
    environment: dict[str, str], process: Launch, until: Callable[..., Any]
) -> None:
    """Killed for want of memory, the first process stops nobody: orphans would hold the port against their successors."""
    web, node = _web(process, environment, "--workers", "2")

    def others() -> list[psutil.Process]:
        return [child for child in psutil.Process(web.pid).children() if not ended(child)]

    children = until(lambda: others() if len(others()) >= 2 else None, what="two processes")
    assert _taken(node, "before", until)
    web.signal(signal.SIGKILL)
    until(lambda: all(ended(child) for child in children), what="the other processes to end by themselves")
    assert not _listens(node)


def _inside(node: str) -> int:
    """How many connections the node has."""
    port = int(node.rpartition(":")[2])
    return sum(
        net_connection.laddr.port == port and net_connection.status == psutil.CONN_ESTABLISHED
        for net_connection in psutil.net_connections("tcp")
    )


def _listens(node: str) -> bool:
    port = int(node.rpartition(":")[2])
    return any(
        net_connection.laddr.port == port and net_connection.status == psutil.CONN_LISTEN
        for net_connection in psutil.net_connections("tcp")
    )


def test_a_node_ends_while_postgres_hangs(
    environment: dict[str, str], process: Launch, services: Services, until: Callable[..., Any]
) -> None:
    """An outage is when nodes are moved.

    A process that waits for a hanging store is killed, with the requests it serves.
    """
    web, node = _web(process, environment | {"TETHER_COMMIT_DEADLINE": "0.5"}, "--grace", "120")
    assert _taken(node, "before", until)
    if services.postgres:
        services.postgres.pause()
        assert _send(node, "meanwhile").status_code == 503
    assert web.terminate(timeout_s=120) == 0


def test_a_process_of_a_node_dies_and_the_node_goes_on(
    environment: dict[str, str], database_url: str, process: Launch, until: Callable[..., Any]
) -> None:
    """Memory runs out, a library crashes: the other process answers on, and the dead one is replaced."""
    web, node = _web(process, environment, "--workers", "2")
    assert _send(node, "before").status_code == 200

    def serving() -> list[psutil.Process]:
        return [child for child in psutil.Process(web.pid).children() if not ended(child)]

    first = until(lambda: serving() if len(serving()) >= 2 else None, what="two processes")
    first[0].kill()
    until(
        lambda: len({item.pid for item in serving()} - {row.pid for row in first}) >= 1, what="a new process"
    )

    def taken() -> bool:
        return _send(node, "after").status_code == 200

    until(taken, what="the node to take notifications", despite=(httpx.TransportError,))
    assert sorted(_query(database_url, "select notification_id from webhook_events")) == [
        ("after",),
        ("before",),
    ]
    assert web.terminate() == 0


# --- the worker ---

# Where a worker can be held in the middle of a batch, in the order in which it comes by: what it is about to do.
_STEPS = ("update billing_attempts", "insert blacklist", "insert outbox", "update webhook_events", "commit")


@pytest.fixture
def steps(database_url: str) -> str:
    """Have every step of applying wait for an advisory lock with its number; gives the database's URL."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "create function hold() returns trigger language plpgsql as $$ begin"
            " perform pg_advisory_xact_lock_shared(tg_argv[0]::bigint); return new; end $$"
        )
        for number, step in enumerate(_STEPS):
            verb, _, table = step.partition(" ")
            conn.execute(
                "create constraint trigger hold_commit after update on webhook_events deferrable initially deferred"
                f" for each row execute function hold({number})"
                if step == "commit"
                else f"create trigger hold before {verb} on {table} for each row execute function hold({number})"
            )
    return database_url


@contextlib.contextmanager
def _held(url: str, statement: str) -> Iterator[None]:
    """Hold what *statement* takes for the length of a `with` block."""
    with psycopg.connect(url) as conn:
        conn.execute(statement)
        yield


def _resolved(url: str) -> bool:
    return not _query(url, "select id from webhook_events where state = 'waiting'")


RETURNED = {"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"}


def _assert_applied_once(url: str, payments: int) -> None:
    """Check that each payment's return is applied, announced and blacklisted exactly once."""
    query = "select state, outcome, failures, count(*) from webhook_events group by 1, 2, 3"
    assert _query(url, query) == [("processed", "applied", 0, payments)]
    query = "select state, count(*) from billing_attempts group by 1"
    assert _query(url, query) == [("chargebacked", payments)]
    once = [(payments, payments)]
    assert _query(url, "select count(*), count(distinct attempt_id) from blacklist") == once
    for name in ("attempt.status_changed", "iban.blocked"):
        query = f"select count(*), count(distinct webhook_event_id) from outbox where name = '{name}'"
        assert _query(url, query) == once


def test_a_worker_is_killed_between_any_two_steps(
    environment: dict[str, str], steps: str, process: Launch, until: Callable[..., Any]
) -> None:
    """Power fails at any step.

    The next worker has the row within seconds, and all its effects are there once.
    """
    # The first thing that a batch asks about the payments of what it has claimed.
    holds = ["lock table refunds"]
    holds += [f"select pg_advisory_xact_lock({number})" for number in range(len(_STEPS))]
    made = _seed(steps, len(holds))
    _, node = _web(process, environment)
    for hold, payment in zip(holds, made, strict=True):
        worker = _worker(process, environment)
        until(lambda: _resolved(steps), what="what the dead one left to be applied")
        with _held(steps, hold):
            assert _send(node, payment.unique_id, **RETURNED).status_code == 200
            until(lambda: _is_blocked(steps, by="tether-worker"), what=f"the worker to wait for {hold}")
            worker.kill()
    _worker(process, environment)
    until(lambda: _resolved(steps), what="the last row to be applied")
    _assert_applied_once(steps, len(holds))


def test_a_frozen_worker_loses_its_rows_and_goes_on_when_it_wakes(
    environment: dict[str, str], steps: str, process: Launch, until: Callable[..., Any]
) -> None:
    """A machine is suspended in the middle of a batch.

    Its rows must not sleep with it, nor be applied again after.
    """
    first, second = _seed(steps, 2)
    _, node = _web(process, environment)
    frozen = _worker(process, environment)
    with _held(steps, "select pg_advisory_xact_lock(1)"):
        assert _send(node, first.unique_id, **RETURNED).status_code == 200
        until(lambda: _is_blocked(steps, by="tether-worker"), what="the worker to be in its batch")
        frozen.signal(signal.SIGSTOP)
    other = _worker(process, environment)
    until(lambda: _resolved(steps), what="the rows of the frozen one to be applied")
    assert other.terminate() == 0
    frozen.signal(signal.SIGCONT)
    assert _send(node, second.unique_id, **RETURNED).status_code == 200
    until(lambda: _resolved(steps), what="the next row to be applied by the one that woke up")
    _assert_applied_once(steps, 2)
    assert frozen.terminate() == 0


# --- Redis ---


def test_redis_flushed_frozen_and_gone_under_load(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    services: Services,
    until: Callable[..., Any],
) -> None:
    """Redis may forget all, hang or go for good. Answers go on, nothing is lost, nothing is applied twice."""
    made = iter(_seed(database_url, 3_000))
    nodes = [_web(process, environment)[1] for _ in range(2)]
    worker = _worker(process, environment)
    sent: list[str] = []
    slowest_s = 0.0
    stop = threading.Event()

    def gateway(number: int) -> None:
        nonlocal slowest_s
        with httpx.Client(timeout=60, trust_env=False) as client:
            for turn in count():
                if stop.is_set():
                    return
                payment = next(made)
                body = _body(payment.unique_id)
                for repeat in range(2):
                    began = monotonic()
                    answer = client.post(
                        f"{nodes[(number + turn + repeat) % 2]}/api/webhooks/emp",
                        content=body,
                        headers={"content-type": FORM},
                    )
                    slowest_s = max(slowest_s, monotonic() - began)
                    assert answer.status_code == 200
                sent.append(payment.unique_id)

    def more(number: int) -> None:
        goal = len(sent) + number
        until(
            lambda: len(sent) >= goal or failed(), what="further notifications to be answered", timeout_s=120
        )

    def failed() -> bool:
        return any(sender.done() and sender.exception() for sender in senders)

    with ThreadPoolExecutor(4) as pool:
        senders = [pool.submit(gateway, number) for number in range(4)]
        try:
            more(60)
            if services.redis:
                for _ in range(5):
                    services.redis.flush()
                    more(20)
                services.redis.pause()
                more(60)
                services.redis.resume()
                more(40)
                services.redis.kill()
            more(60)
        finally:
            stop.set()
        for sender in senders:
            sender.result()
    until(lambda: _resolved(database_url), what="everything to be applied without Redis")
    assert slowest_s < ANSWER_MAX_S  # a frozen Redis would else be waited for by each of them
    query = "select count(*), count(distinct notification_id), min(state), max(state) from webhook_events"
    assert _query(database_url, query) == [(len(sent), len(sent), "processed", "processed")]
    query = "select count(*) from billing_attempts where state = 'approved'"
    assert _query(database_url, query) == [(len(sent),)]
    query = "select count(*), count(distinct webhook_event_id) from outbox"
    assert _query(database_url, query) == [(len(sent), len(sent))]
    assert worker.terminate() == 0
