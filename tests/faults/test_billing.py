"""Workers that die while they bill, held against the gateway's own books: nobody is debited twice, nothing is forgotten."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_sandbox.gateway import Faults, Setup, Simulator, running, scripted_iban
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services import Services
    from tether_sandbox.services.program import Launch, Program

SLOW = 49  # the simulator takes it at once and answers two seconds later

# The first answers "not found" become an hour older too: a grace period runs on the machine's boot clock.
OLDER = (
    "not_found = (select jsonb_agg(jsonb_set(one, '{at_s}', to_jsonb((one->>'at_s')::float8 - 3600)))"
    " from jsonb_array_elements(not_found) as one)"
)


class Books:
    """Ours, and the gateway's."""

    def __init__(self, url: str, simulator: Simulator) -> None:
        self.url = url
        self.simulator = simulator
        self.conn = psycopg.connect(url, autocommit=True)

    def connect_again(self) -> None:
        """Take a new connection after the database was away."""
        self.conn.close()
        self.conn = psycopg.connect(self.url, autocommit=True)

    def all(self, query: str) -> list[tuple[Any, ...]]:
        return self.conn.execute(query).fetchall()

    def count(self, condition: str) -> int:
        return int(self.all(f"select count(*) from billing_attempts where {condition}")[0][0])

    def order(self, count: int, *, script: int = 0) -> None:
        """Have some debtors billed."""
        now = datetime.now(UTC)
        owed = [Owed(scripted_iban(script), 1_000 + n) for n in range(count)]
        upload_id, _ = seed_upload(self.url, owed, now=now)
        self.conn.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
            " values (%s, 'default', 'once', 'planning', %s, '{}', 'tests', %s, %s)",
            (upload_id, b"{}", now, now),
        )

    def leases_run_out(self, *, older_s: int = 0) -> None:
        """Let the time pass that a dead worker's leases have, or those of calls that are surely over."""
        self._alone(
            "update billing_attempts set submitted_at = submitted_at - interval '1 hour',"
            " leased_until = leased_until - interval '1 hour', updated_at = updated_at - interval '1 hour'"
            " where leased_until is not null and submitted_at < now() - make_interval(secs => %s)",
            (older_s,),
        )

    def time_passes(self) -> None:
        """Let everything that waits have waited, except for calls that are under way."""
        self._alone(
            "update billing_attempts set submitted_at = submitted_at - interval '1 hour', submit_at = submit_at - interval '1 hour',"
            f" updated_at = updated_at - interval '1 hour', inquire_at = inquire_at - interval '1 hour', {OLDER}"
            " where state in ('pending', 'unknown') and leased_until is null"
        )

    def _alone(self, query: str, result: tuple[int, ...] = ()) -> None:
        """Change many attempts while nobody else locks any: in no order, that would deadlock with theirs."""
        with self.conn.transaction():
            self.conn.execute("lock table billing_attempts in exclusive mode")
            self.conn.execute(query, result)

    def agree(self, count: int) -> bool:
        """Whether every debit is known to stand; while nothing is being sent, time passes."""
        if self.count("payment_stage >= 20") == count:
            return True
        if not self.count("leased_until is not null or submit_at is not null"):
            self.time_passes()
        return False

    def check(self, count: int) -> None:
        """Hold both books against each other."""
        sums = self.simulator.sums()
        assert sums["debited_twice"] == []
        known = {
            transaction_id for (transaction_id,) in self.all("select transaction_id from billing_attempts")
        }
        assert {record["order"]["transaction_id"] for record in self.simulator.records()} == known
        assert len(known) == count
        assert not self.count("state not in ('pending', 'approved')")


@pytest.fixture
def simulator(environment: dict[str, str]) -> Iterator[Simulator]:
    """A gateway that takes a second debit under the same id; it does not help anybody."""
    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        result_after_s=3600,
        silence_s=5,
    )
    with running(setup) as item:
        yield item


@pytest.fixture
def books(database_url: str, simulator: Simulator) -> Iterator[Books]:
    """Both books."""
    item = Books(database_url, simulator)
    yield item
    item.conn.close()


@pytest.fixture
def start(process: Launch, environment: dict[str, str], simulator: Simulator) -> Callable[..., Program]:
    """Start a worker."""

    def started(*queues: str, **more: str) -> Program:
        environ = {
            **environment,
            "EMP_API_URL": simulator.url,
            "EMP_TIMEOUT": "5",
            "EMP_RATE_LIMIT": "200",
            "RECONCILIATION_RATE_LIMIT": "500",
            **more,
        }
        worker = process("tether-worker", "run", *queues, environ=environ)
        worker.await_line("worker started")
        return worker

    return started


def test_a_worker_killed_between_call_and_record(
    books: Books, start: Callable[..., Program], until: Callable[..., Any]
) -> None:
    """The gateway accepted it without a response to us: submitted again, the debtor pays twice; forgotten, the money is lost."""
    books.order(20, script=SLOW)
    worker = start("billing")
    until(lambda: len(books.simulator.records()) == 20, what="the gateway to have taken all", timeout_s=120)
    worker.signal(signal.SIGKILL)
    worker.wait()
    assert books.count("leased_until is not null") > 0
    start("billing")
    books.leases_run_out()
    until(lambda: not books.count("leased_until is not null"), what="the leases to be noticed", timeout_s=120)
    assert books.count("state = 'unknown'") > 0
    assert len(books.simulator.records()) == 20  # asked about, not sent again
    start("webhooks", "reconciliation")
    until(lambda: books.agree(20), what="the books to agree", timeout_s=120)
    books.check(20)


def test_a_worker_killed_again_and_again(
    books: Books, start: Callable[..., Program], until: Callable[..., Any]
) -> None:
    """After a death at any step, planning, claiming, calling or recording, the next worker continues from the committed state."""
    books.simulator.faults(Faults(silent=0.02, hung_up=0.02, dropped=0.02))
    books.order(400)
    for target in (1, 60, 150, 260):
        worker = start("billing")
        until(
            lambda target=target: len(books.simulator.records()) >= target,
            what=f"{target} debits",
            timeout_s=120,
        )
        worker.signal(signal.SIGKILL)
        worker.wait()
        books.leases_run_out()
    books.simulator.faults(Faults())
    start("billing", "webhooks", "reconciliation")
    until(lambda: books.agree(400), what="the books to agree", timeout_s=180)
    books.check(400)


def test_a_worker_that_is_stopped_leaves_nothing_open(
    books: Books, start: Callable[..., Program], until: Callable[..., Any]
) -> None:
    """Each deploy would else leave some dozen debits of unknown outcome behind, to be asked about for nothing."""
    books.order(300)
    worker = start("billing", EMP_RATE_LIMIT="100")
    until(lambda: len(books.simulator.records()) >= 30, what="some debits", timeout_s=120)
    assert worker.terminate() == 0
    assert not books.count("leased_until is not null or state = 'unknown'")
    sent = books.count("submission_count > 0")
    assert 30 <= sent < 300
    assert len(books.simulator.records()) == sent


def test_redis_wiped_and_stopped_while_billing(
    books: Books, start: Callable[..., Program], until: Callable[..., Any], services: Services
) -> None:
    """Redis holds the limits and wake-ups: without it debits go out slower, and never faster or twice."""
    assert services.redis is not None
    start("billing", EMP_RATE_LIMIT="100")
    books.order(300)
    until(lambda: len(books.simulator.records()) >= 10, what="the first debits", timeout_s=120)
    services.redis.flush()
    services.redis.stop()
    before = len(books.simulator.records())
    until(lambda: len(books.simulator.records()) >= before + 20, what="debits without Redis", timeout_s=120)
    rates = books.simulator.rates("sale", window_s=1.0)
    # What waited while a busy machine stopped the gateway comes at once; without a limit two to three hundred come in a second.
    assert rates["most_in_window"] <= 100 + 60
    services.redis.start()
    until(lambda: books.count("payment_stage >= 20") == 300, what="the rest", timeout_s=120)
    books.check(300)


def test_postgres_restarted_while_billing(
    books: Books, start: Callable[..., Program], until: Callable[..., Any], services: Services
) -> None:
    """An answer that cannot be recorded must wait for the database, or its debit be asked about; never sent again."""
    assert services.postgres is not None
    start("billing", "webhooks", "reconciliation", EMP_RATE_LIMIT="100")
    books.order(200)
    until(lambda: len(books.simulator.records()) >= 40, what="some debits", timeout_s=120)
    services.postgres.stop_immediately()
    services.postgres.start()
    books.connect_again()

    def agree() -> bool:
        books.leases_run_out(older_s=10)  # a claim that broke in its commit may have left one
        return books.agree(200)

    until(agree, what="the books to agree", timeout_s=120)
    books.check(200)
