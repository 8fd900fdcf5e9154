"""Reconciliation over the whole way: real processes, a gateway that drops, lies and goes away, and the books."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb
from tether_core import iban
from tether_core.emp.requests import Debit
from tether_core.errors import GatewaySilent
from tether_core.payments import stages
from tether_core.payments.attempt import state_of
from tether_core.testing import form_body
from tether_sandbox.gateway import Faults, Setup, Simulator, StatusChange, running, scripted_iban
from tether_sandbox.services.server import free_port
from tether_stores.boot_clock import boot_clock
from tether_worker.gateway import client as calls
from tether_worker.gateway.connections import Account, Gateway, open_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tether_sandbox.services.program import Launch

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
KEY = {"Authorization": "Bearer test-key"}


class World:
    """Web, worker and gateway running, and how a test talks to them."""

    def __init__(
        self, environ: dict[str, str], *, url: str, simulator: Simulator, gateway: Gateway, start: Launch
    ) -> None:
        self.environ = environ
        self.simulator = simulator
        self.gateway = gateway
        self.start = start
        self.web = httpx.Client(base_url=url, headers=KEY, timeout=60, trust_env=False)
        self.conn = psycopg.connect(environ["DATABASE_URL"], autocommit=True)
        self.accounts: dict[str, str] = {}

    def all(self, query: str) -> list[tuple[Any, ...]]:
        return self.conn.execute(query).fetchall()

    def states(self) -> dict[str, str]:
        return dict(self.all("select transaction_id, state from billing_attempts"))

    async def sell(self, name: str, *, script: int = 0, stage: int = stages.IN_PROGRESS) -> str | None:
        """Send a debit and put its stored attempt; returns the gateway's id, where there is one."""
        # An account of each debit's own, so that entries on the blacklist can be distinguished.
        account = iban.validate(scripted_iban(script))
        self.accounts[name] = account
        unique_id = None
        with contextlib.suppress(GatewaySilent):
            answer = await calls.sale(
                self.gateway,
                Debit(
                    transaction_id=name,
                    amount_minor=1000,
                    currency="EUR",
                    usage="x",
                    iban=account,
                    first_name="Zoë",
                    last_name="Miller",
                    country="DE",
                ),
            )
            unique_id = answer.unique_id
        at = datetime.now(UTC) - timedelta(hours=1)
        fingerprint = name.encode().ljust(16, b".")
        debtor = self.conn.execute(
            "insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at)"
            " values (%s, %s, 'Zoë Miller', 1000, 'EUR', %s) returning id",
            (account, fingerprint, at),
        ).fetchone()
        assert debtor is not None
        self.conn.execute(
            "insert into billing_attempts (account, debtor_id, transaction_id, unique_id, amount_minor, currency, state,"
            " payment_stage, dispute_stage, iban_fingerprint, iban_masked, created_at, updated_at, submitted_at, submission_count, submitted_to,"
            " not_found)"
            " values ('default', %s, %s, %s, 1000, 'EUR', %s, %s, 0, %s, %s, %s, %s, %s, 1, %s, %s)",
            (
                debtor[0],
                name,
                unique_id,
                state_of(stage, 0),
                stage,
                fingerprint,
                iban.mask(account),
                at,
                at,
                at,
                [self.gateway.identity.key],
                # As if an earlier worker of this machine got it an hour ago.
                Jsonb([{"boot": boot_clock().name, "at_s": boot_clock().seconds() - 3_600}]),
            ),
        )
        return unique_id

    def post(self, unique_id: str, **fields: str) -> None:
        """Post a genuinely signed notification."""
        body = form_body({"unique_id": unique_id, **fields}, secret=self.environ["EMP_API_PASSWORD"])
        assert self.web.post("/api/webhooks/emp", content=body, headers=FORM).status_code == 200

    def report_fetch(self) -> None:
        """Have today's lists read, as an operator would."""
        today = datetime.now(UTC).date().isoformat()
        program = self.start(
            "tether-worker", "fetch-reports", "--from", today, "--to", today, environ=self.environ
        )
        assert program.wait() == 0

    def completeness(self) -> dict[str, Any]:
        """Today's report, of what was read so far."""
        today = datetime.now(UTC).date().isoformat()
        program = self.start(
            "tether-worker", "completeness", "--from", today, "--to", today, "--json", environ=self.environ
        )
        assert program.wait() in {0, 1, 75}
        payload: dict[str, Any] = json.loads(program.stdout)["report"]
        return payload

    def event(self, unique_id: str, status: str) -> dict[str, Any]:
        """What the API shows of a notification."""
        found = self.web.get("/api/webhook-events", params={"unique_id": unique_id}).json()["items"]
        row = next(item for item in found if item["status"] == status and item["source"] == "webhook")
        payload: dict[str, Any] = self.web.get(f"/api/webhook-events/{row['id']}").json()
        return payload


@pytest.fixture
async def world(environment: dict[str, str], process: Launch) -> AsyncIterator[World]:
    """Everything running, on this test's own database."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        notify_url=f"{url}/api/webhooks/emp",
        result_after_s=3600,  # results come when the test says so
        silence_s=1,
    )
    with running(setup) as simulator:
        environ = {**environment, "EMP_API_URL": simulator.url, "RECONCILIATION_RATE_LIMIT": "200"}
        web = process("tether-web", "--port", str(port), environ=environ)
        worker = process("tether-worker", "run", "webhooks", "reconciliation", environ=environ)
        web.await_url(f"{url}/ready")
        worker.await_line("worker started")
        account = Account(
            "default", simulator.url, setup.login, setup.passwords[0], setup.terminals[0], timeout_s=20
        )
        async with open_gateway(account) as gateway:
            item = World(environ, url=url, simulator=simulator, gateway=gateway, start=process)
            with item.web, item.conn:
                yield item


async def test_whatever_the_gateway_tells_or_does_not(world: World, until: Callable[..., Any]) -> None:
    """
    Dropped, late, unsigned-for and untrue news all end in one set of books.

    What breaks here is money: debits pending for ever, debtors blocked by a lie, accounts debited after they closed.
    """
    result = await world.sell("told")
    await world.sell("dropped", script=24)
    await world.sell("dropped-back", script=25)
    await world.sell("back", script=11)
    bare = await world.sell("bare-back", script=18)
    late = await world.sell("late", script=24)
    innocent = await world.sell("innocent")
    await world.sell("lost", script=30, stage=stages.UNKNOWN_TO_US)
    await world.sell("never-there", script=41, stage=stages.UNKNOWN_TO_US)
    assert None not in {result, bare, late, innocent}
    world.simulator.resolve()

    # A lie: genuinely signed, because a signature covers only the id.
    world.post(str(innocent), status="chargebacked", event="chargeback", reason_code="MD01")
    until(
        lambda: world.event(str(innocent), "chargebacked")["contradicted"],
        what="the lie to be contradicted",
        timeout_s=120,
    )
    until(
        lambda: world.states()["back"] == "chargebacked", what="the chargeback to be confirmed", timeout_s=120
    )

    # Events that were reported without a reason, or not at all, are in the lists.
    world.simulator.transition(StatusChange("chargebacked", "chargeback", "MD07", unique_id=bare))
    world.simulator.resolve()  # its notification contradicts the first one and is kept for a person
    world.report_fetch()
    expected = {
        "told": "approved",
        "dropped": "approved",
        "dropped-back": "chargebacked",
        "back": "chargebacked",
        "bare-back": "chargebacked",
        "late": "approved",
        "innocent": "approved",
        "lost": "approved",
        "never-there": "unknown",
    }
    until(lambda: world.states() == expected, what="the books to agree with the gateway", timeout_s=120)
    until(
        lambda: world.all(
            "select 1 from billing_attempts where transaction_id = 'never-there' and submit_at is not null"
        ),
        what="the debit that never came there to be free again",
        timeout_s=120,
    )

    # The notification of what was fetched comes after all, and a second reading finds nothing new.
    world.post(str(late), status="approved", amount="1000")
    until(
        lambda: world.event(str(late), "approved")["event"]["state"] == "processed",
        what="the late notification to be applied",
        timeout_s=120,
    )
    counts = []
    for _ in range(2):  # the first reading may still find what the gateway did since the last one
        world.report_fetch()
        until(
            lambda: not world.all("select 1 from report_fetches where due_at is not null"),
            what="the lists",
            timeout_s=120,
        )
        until(
            # The lie is inquired about for two days.
            lambda: (
                not world.all(
                    "select 1 from webhook_events where state in ('waiting', 'confirming') and outcome is distinct from 'contradicted'"
                )
            ),
            what="applying",
            timeout_s=120,
        )
        counts.append(world.all("select count(*) from webhook_events"))
    assert counts[0] == counts[1]
    assert world.states() == expected

    # One effect each, whichever way was faster.
    moves = world.all(
        "select convert_from(payload, 'utf8')::json ->> 'transaction_id', convert_from(payload, 'utf8')::json ->> 'after',"
        " count(*) from outbox where name = 'attempt.status_changed' group by 1, 2 having count(*) > 1"
    )
    assert moves == []
    entries = world.all(
        "select transaction_id, b.reason_code from blacklist b join billing_attempts a on a.id = b.attempt_id order by 1"
    )
    assert entries == [("back", "AC04"), ("bare-back", "MD07"), ("dropped-back", "AC04")]
    assert world.event(str(innocent), "chargebacked")["confirmed"]["status"] == "approved"

    report = world.completeness()
    assert report["unexplained"] == 0
    assert report["known"] == report["by_webhook"] + report["fetched"]
    assert report["fetched"] == 3  # dropped, dropped-back and late
    assert report["by_webhook"] == 5  # told, back, bare-back, innocent and lost
    assert world.simulator.sums()["debited_twice"] == []


async def test_while_the_gateway_is_unavailable_nothing_is_applied_and_nothing_is_lost(
    world: World, until: Callable[..., Any]
) -> None:
    """An outage must cost time only: no chargeback may slip through unconfirmed, and none may be forgotten."""
    unique_id = await world.sell("away", script=11)
    world.simulator.faults(Faults(inquiries_failed=1.0))
    world.simulator.resolve()
    await world.sell("away-lost", script=30, stage=stages.UNKNOWN_TO_US)
    until(
        lambda: world.all("select 1 from webhook_events where state = 'confirming' and failures > 0"),
        what="a question without an answer",
        timeout_s=120,
    )
    until(
        lambda: world.all(
            "select 1 from billing_attempts where transaction_id = 'away-lost' and inquire_at is not null"
        ),
        what="a question about the lost answer",
        timeout_s=120,
    )
    assert world.states() == {"away": "approved", "away-lost": "unknown"}
    assert world.all("select 1 from blacklist") == []
    world.simulator.faults(Faults())
    until(lambda: world.states()["away"] == "chargebacked", what="the gateway's word", timeout_s=120)
    until(
        lambda: world.event(str(unique_id), "chargebacked")["event"]["state"] == "processed",
        what="the report to be confirmed, by webhook or by fetch",
        timeout_s=120,
    )
    assert world.event(str(unique_id), "chargebacked")["confirmed"]["reason_code"] == "AC04"
    assert world.simulator.debited(transaction_id="away-lost") == 1
