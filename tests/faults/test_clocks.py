"""Workers on machines whose clocks are wrong: they go by Postgres', so nobody's work is late or taken for lost."""

from __future__ import annotations

import random
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from tether_core.emp.notification import FORM
from tether_sandbox.gateway import Setup, Simulator, encode, running, scripted_iban, sign
from tether_sandbox.seed import seed
from tether_sandbox.services.server import free_port
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services.program import Launch, Program

SLOW = 49  # the simulator takes it at once and answers two seconds later
HOUR_S = 3600


def _skewed(process: Launch, environ: dict[str, str], *queues: str, by_s: int) -> Program:
    worker = process(
        "python", "-m", "tether_sandbox.chaos.clock_skew", str(by_s), "run", *queues, environ=environ
    )
    worker.await_line('"worker started"', timeout_s=120)
    return worker


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection in autocommit mode."""
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


@pytest.fixture
def simulator(environment: dict[str, str]) -> Iterator[Simulator]:
    """A gateway that takes a second debit under the same id; it does not help anybody."""
    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        result_after_s=3600,
    )
    with running(setup) as item:
        yield item


def test_a_worker_an_hour_behind_books_what_comes(
    environment: dict[str, str], database_url: str, process: Launch, until: Callable[..., Any]
) -> None:
    """By its own clock nothing would be due for an hour, and who waits for the money would not know why."""
    (made,) = seed(database_url, attempts=1, rng=random.Random(1), now=datetime.now(UTC))
    port = free_port()
    web = process("tether-web", "--port", str(port), environ=environment)
    web.await_url(f"http://127.0.0.1:{port}/health", timeout_s=120)
    worker = _skewed(process, environment, "webhooks", by_s=-HOUR_S)
    fields = {
        "unique_id": made.unique_id,
        "status": "approved",
        "signature": sign(made.unique_id, password=environment["EMP_API_PASSWORD"]),
    }
    answer = httpx.post(
        f"http://127.0.0.1:{port}/api/webhooks/emp",
        content=encode(fields),
        headers={"content-type": FORM},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 200

    def applied() -> bool:
        with psycopg.connect(database_url) as conn:
            return conn.execute("select state from billing_attempts").fetchall() == [("approved",)]

    until(applied, what="the notification to be applied", timeout_s=120)
    assert "clock of this machine wrong" in worker.stderr


def test_a_worker_an_hour_ahead_leaves_the_calls_of_others_alone(
    environment: dict[str, str],
    database_url: str,
    conn: psycopg.Connection,
    process: Launch,
    simulator: Simulator,
    until: Callable[..., Any],
) -> None:
    """
    By its own clock each lease would be over, and "not there" the gateway's last word.

    A debit that is only on its way would be free to be sent again: the debtor pays twice.
    """
    environ = {**environment, "EMP_API_URL": simulator.url, "EMP_RATE_LIMIT": "200"}

    def order(count: int, *, script: int) -> None:
        now = datetime.now(UTC)
        owed = [Owed(scripted_iban(script), 1_000 + n) for n in range(count)]
        upload_id, _ = seed_upload(database_url, owed, now=now)
        conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
            " values (%s, 'default', 'once', 'planning', %s, '{}', 'tests', %s, %s)",
            (upload_id, b"{}", now, now),
        )

    def ask(query: str) -> Any:
        return conn.execute(query).fetchall()

    first = process("tether-worker", "run", "billing", environ=environ)
    first.await_line('"worker started"', timeout_s=120)
    order(10, script=SLOW)
    until(lambda: len(simulator.records()) == 10, what="the gateway to have taken all", timeout_s=120)
    first.signal(signal.SIGSTOP)
    under_way = "select count(*) from billing_attempts where leased_until is not null"
    ((held,),) = ask(under_way)
    _skewed(process, environ, "billing", by_s=HOUR_S)
    # Its first look at leases comes before it can have planned and sent anything.
    order(1, script=0)
    until(lambda: len(simulator.records()) == 11, what="a debit of the worker that is ahead", timeout_s=120)
    assert held > 0
    assert ask("select count(*) from billing_attempts where state = 'unknown'") == [(0,)]
    until(
        lambda: ask(f"{under_way} and due_item = 'once'") == [(held,)],
        what="its own call to be recorded",
        timeout_s=120,
    )
    first.signal(signal.SIGCONT)
    until(lambda: ask(under_way) == [(0,)], what="the first worker to record what it heard", timeout_s=120)
    assert ask("select distinct state from billing_attempts") == [("pending",)]
    assert simulator.sums()["debited_twice"] == []


# A clock of Postgres that can be set: this function is found before Postgres's own.
SETTABLE = """
create schema settable;
create table settable.clock (ahead interval not null);
insert into settable.clock values ('0');
create function settable.clock_timestamp() returns timestamptz language sql volatile as
    'select pg_catalog.clock_timestamp() + ahead from settable.clock';
"""


def test_a_step_of_postgres_clock_submits_nothing_again(
    environment: dict[str, str],
    database_url: str,
    conn: psycopg.Connection,
    process: Launch,
    until: Callable[..., Any],
) -> None:
    """
    One step by twenty minutes ended the lease and the grace period at once.

    The gateway has the debit and does not show it yet: submitted again, the debtor pays twice.
    """
    conn.execute(SETTABLE)
    name = conn.info.dbname
    conn.execute(f'alter database "{name}" set search_path = settable, pg_catalog, public')
    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        hidden_s=3600,
        silence_s=2,
    )
    with running(setup) as gateway:
        environ = {**environment, "EMP_API_URL": gateway.url, "EMP_TIMEOUT": "1"}
        worker = process("tether-worker", "run", "billing", "reconciliation", environ=environ)
        worker.await_line('"worker started"', timeout_s=120)
        now = datetime.now(UTC)
        upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(38), 1_000)], now=now)
        conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
            " values (%s, 'default', 'once', 'planning', %s, '{}', 'tests', %s, %s)",
            (upload_id, b"{}", now, now),
        )

        def row() -> tuple[Any, ...] | None:
            return conn.execute(
                "select state, unresolved_reason, not_found, submit_at, cardinality(submitted_to) from billing_attempts"
            ).fetchone()

        until(lambda: (row() or "?")[0] == "unknown", what="the answer to be lost", timeout_s=120)
        conn.execute("update billing_attempts set updated_at = updated_at - interval '1 minute'")
        until(lambda: (row() or "??")[1] == "too_early", what="the first inquiry", timeout_s=120)
        first = row()
        assert first is not None
        conn.execute("update settable.clock set ahead = '20 minutes'")
        until(lambda: "clock stepped" in worker.stderr, what="the step to be noticed", timeout_s=120)
        # By Postgres the next inquiry is due now; it finds nothing, and starts the grace period anew.
        until(lambda: (row() or "???")[2] != first[2], what="the inquiry after the step", timeout_s=120)
        assert gateway.requests()["reconcile"] >= 2
        until(
            lambda: conn.execute("select 1 from outbox where name = 'clock.stepped'").fetchone(),
            what="the step to be announced",
            timeout_s=120,
        )
        assert row() is not None
        assert (row() or ())[3:] == (None, 1)
        assert gateway.requests()["sale"] == 1
        assert gateway.sums()["debited_twice"] == []
