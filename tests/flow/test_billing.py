"""From an upload to collected money, over real processes and a gateway that answers, drops, refuses and lies."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from tether_sandbox.gateway import Faults, Setup, Simulator, StatusChange, running, scripted_iban
from tether_sandbox.services.server import free_port
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services.program import Launch, Program

KEY = {"Authorization": "Bearer test-key"}

# What becomes of a debit in the end, by the simulator's script for its account.
DISPOSITIONS = {
    **dict.fromkeys((0, 1, 24, 30, 31, 32, 33, 34, 35, 36, 37), "approved"),
    **dict.fromkeys((2, 4, 5), "declined"),
    **dict.fromkeys((3, 6, 41, 42, 43, 45, 46, 47), "error"),
    **dict.fromkeys((11, 15, 16), "chargebacked"),
}

# The first answers "not found" become an hour older too: a grace period runs on the machine's boot clock.
OLDER = (
    "not_found = (select jsonb_agg(jsonb_set(one, '{at_s}', to_jsonb((one->>'at_s')::float8 - 3600)))"
    " from jsonb_array_elements(not_found) as one)"
)


_GOOD = 20


class World:
    """Web, worker and gateway, and how a test talks to them."""

    def __init__(self, environ: dict[str, str], *, url: str, simulator: Simulator) -> None:
        self.environ = environ
        self.simulator = simulator
        self.api = httpx.Client(base_url=url, headers=KEY, timeout=60, trust_env=False)
        self.conn = psycopg.connect(environ["DATABASE_URL"], autocommit=True)

    def all(self, query: str) -> list[tuple[Any, ...]]:
        return self.conn.execute(query).fetchall()

    def order(self, owed: list[Owed], **options: Any) -> int:
        """Make an upload and have it billed; gives the run's id."""
        upload_id, _ = seed_upload(self.environ["DATABASE_URL"], owed, now=datetime.now(UTC))
        answer = self.api.post(f"/api/uploads/{upload_id}/billing", json=options)
        assert answer.status_code == 202, answer.text
        return int(answer.json()["id"])

    def run(self, run_id: int) -> dict[str, Any]:
        payload: dict[str, Any] = self.api.get(f"/api/billing-runs/{run_id}").json()
        return payload

    def state(self, attempt_id: int) -> str:
        state: str = self.api.get(f"/api/billing-attempts/{attempt_id}").json()["status"]
        return state

    def sent(self) -> bool:
        """Whether nothing may be sent and nothing is being sent."""
        return not self.all(
            "select 1 from billing_attempts where submit_at is not null or leased_until is not null"
        ) and not (self.all("select 1 from billing_runs where state = 'planning'"))

    @contextmanager
    def alone_with(self, table: str) -> Iterator[None]:
        """Let nobody else lock rows of a table meanwhile: a change of many in no order would deadlock with theirs."""
        with self.conn.transaction():
            self.conn.execute(f"lock table {table} in exclusive mode")
            yield

    def an_hour_passes(self) -> None:
        """Let everything that waits for time have waited, except for calls that are under way."""
        with self.alone_with("billing_attempts"):
            self.conn.execute(
                "update billing_attempts set submitted_at = submitted_at - interval '1 hour', submit_at = submit_at - interval '1 hour',"
                f" updated_at = updated_at - interval '1 hour', inquire_at = inquire_at - interval '1 hour', {OLDER}"
                " where state in ('pending', 'unknown') and leased_until is null"
            )
        self.conn.execute(
            "update webhook_events set next_at = next_at - interval '1 hour' where next_at is not null"
        )

    def resolved(self, expected: Counter[str]) -> bool:
        """Whether attempts stand as expected; while nothing is being sent, another hour passes."""
        if Counter(state for (state,) in self.all("select state from billing_attempts")) == expected:
            return True
        if self.sent():
            self.an_hour_passes()
        return False


@pytest.fixture
def world(environment: dict[str, str], process: Launch) -> Iterator[World]:
    """Everything running, on this test's own database."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        notify_url=f"{url}/api/webhooks/emp",
        result_after_s=0.2,
        silence_s=5,
    )
    with running(setup) as simulator:
        environ = {
            **environment,
            "EMP_API_URL": simulator.url,
            "EMP_TIMEOUT": "1",
            "EMP_RATE_LIMIT": "500",
            "RECONCILIATION_RATE_LIMIT": "500",
        }
        web = process("tether-web", "--port", str(port), environ=environ)
        worker = start_worker(process, environ)
        web.await_url(f"{url}/ready")
        worker.await_line("worker started")
        item = World(environ, url=url, simulator=simulator)
        with item.api, item.conn:
            yield item


def start_worker(process: Launch, environ: dict[str, str]) -> Program:
    """A worker that does everything about money."""
    return process("tether-worker", "run", "billing", "webhooks", "reconciliation", environ=environ)


def test_every_debit_comes_to_its_end_and_nobody_pays_twice(world: World, until: Callable[..., Any]) -> None:
    """
    Each way an answer can come or fail to come, side by side in one run.

    What breaks here is money: somebody debited twice, a debit that stands and that we do not know of, a debt that
    hangs in the air, or a sum that does not add up.
    """
    owed = [Owed(scripted_iban(script), 1_000 + n) for n in range(4) for script in DISPOSITIONS]
    # Enough good ones before them that the refusals among them do not pause the run.
    owed = [*(Owed(scripted_iban(0), 2_000 + n) for n in range(_GOOD)), *owed]
    run_id = world.order(owed)
    until(lambda: world.run(run_id)["run"]["count"] == len(owed), what="the plan", timeout_s=120)
    until(world.sent, what="all debits to be sent", timeout_s=120)
    planned = sum(item.amount_minor for item in owed)
    result = world.run(run_id)
    assert sum(some["amount_minor"] for some in result["states"].values()) == planned
    assert set(result["steps"]) == {"ended", "unknown"}

    # The rest is asking, waiting, and sending again what is not there; five times at most.
    expected = Counter(
        {disposition: 4 * count for disposition, count in Counter(DISPOSITIONS.values()).items()}
    )
    expected["approved"] += _GOOD
    until(lambda: world.resolved(expected), what="the books to agree with the gateway's", timeout_s=180)
    world.simulator.resolve()
    assert world.simulator.sums()["debited_twice"] == []
    for transaction_id, state in world.all("select transaction_id, state from billing_attempts"):
        debited = world.simulator.debited(transaction_id=transaction_id)
        assert debited == (state in {"approved", "chargebacked"}), (transaction_id, state)
    sums = world.run(run_id)["states"]
    assert sum(some["amount_minor"] for some in sums.values()) == planned
    assert world.run(run_id)["steps"].keys() == {"ended"}


def test_an_outage_of_the_gateway_costs_time_only(world: World, until: Callable[..., Any]) -> None:
    """Without the breaker an hour's outage makes a whole run unknown; with a broken one the run never goes on."""
    world.simulator.faults(Faults(refused=1.0))
    owed = [Owed(scripted_iban(0), 1_000 + n) for n in range(200)]
    run_id = world.order(owed)
    until(
        lambda: world.run(run_id)["gateway"]["breaker"] in {"open", "half_open"},
        what="the breaker to open",
        timeout_s=120,
    )
    world.simulator.faults(Faults())
    until(
        lambda: world.run(run_id)["gateway"]["breaker"] == "closed",
        what="the breaker to close",
        timeout_s=120,
    )
    until(lambda: "ready" not in world.run(run_id)["steps"], what="the rest to be sent", timeout_s=120)

    until(
        lambda: world.resolved(Counter(approved=len(owed))), what="every debit to be collected", timeout_s=180
    )
    sums = world.simulator.sums()
    assert sums["debited_twice"] == []
    assert len(world.simulator.records()) == len(owed)


def test_what_is_refunded_is_refunded_once(world: World, until: Callable[..., Any]) -> None:
    """
    Refunds and voids over every kind of answer, and the gateway's ledger beside ours.

    What breaks here is money: a debtor paid twice, a refund nobody carried out, or books that do not agree to the cent.
    """
    lost = (
        1930,
        1931,
        1932,
        1933,
        1935,
        1937,
    )  # the order stands; the end of the amount says what came of the answer
    never = 1945  # the gateway does not take it, and does not say so
    owed = [Owed(scripted_iban(0), 1_000 + n) for n in range(4)] + [
        Owed(scripted_iban(0), item) for item in (*lost, never)
    ]
    run_id = world.order(owed)
    until(lambda: world.run(run_id)["run"]["count"] == len(owed), what="the plan")
    until(
        lambda: world.resolved(Counter(approved=len(owed))), what="every debit to be collected", timeout_s=120
    )
    ids = [row for (row,) in world.all("select id from billing_attempts order by id")]
    void, late, back, *refunded = ids

    world.conn.execute("update billing_attempts set submitted_at = %s", [datetime.now(UTC)])
    assert world.api.post(f"/api/billing-attempts/{void}/void", json={}).status_code == 202
    refused = world.api.post(f"/api/billing-attempts/{late}/refund", json={})
    assert (refused.status_code, "the bank may still return it" in refused.json()["detail"]) == (409, True)
    world.conn.execute(
        "update billing_attempts set submitted_at = submitted_at - interval '30 days' where id <> %s", [void]
    )
    ((transaction_id,),) = world.all(f"select transaction_id from billing_attempts where id = {back}")
    world.simulator.transition(
        StatusChange("chargebacked", "chargeback", "MD06", transaction_id=transaction_id)
    )
    until(lambda: world.state(back) == "chargebacked", what="the chargeback")
    assert world.api.post(f"/api/billing-attempts/{back}/refund", json={}).status_code == 409
    for attempt_id in (*refunded, *refunded):
        assert world.api.post(f"/api/billing-attempts/{attempt_id}/refund", json={}).status_code in {200, 202}

    def refunds_made() -> bool:
        with world.alone_with("refunds"):
            world.conn.execute(
                "update refunds set submitted_at = submitted_at - interval '1 hour', updated_at = updated_at - interval '3 hours',"
                f" inquire_at = inquire_at - interval '1 hour', {OLDER} where state in ('pending', 'unknown') and leased_until is null"
                " and submit_at is null"
            )
        return not world.all("select 1 from refunds where state in ('pending', 'unknown')")

    until(refunds_made, what="every order to be carried out", timeout_s=120)
    sums = world.simulator.sums()
    assert (sums["debited_twice"], sums["refunded_and_charged_back"]) == ([], [])
    states = world.run(run_id)["states"]
    theirs = {state: (item["debits"], item["amount_minor"]) for state, item in sums["by_status"].items()}
    assert theirs == {state: (item["count"], item["amount_minor"]) for state, item in states.items()}
    assert sums["refunded"]["sdd_refund"]["orders"] == states["refunded"]["count"] == len(refunded) - 1
    assert sums["refunded"]["sdd_refund"]["amount_minor"] == states["refunded"]["amount_minor"]
    assert sums["refunded"]["void"] == {"orders": 1, "amount_minor": states["voided"]["amount_minor"]}
    assert world.all(
        "select amount_minor, state, error_code, submission_count from refunds where state <> 'approved'"
    ) == [(never, "error", "460", 5)]
    assert world.state(ids[-1]) == "approved"
