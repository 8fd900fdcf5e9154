"""A sender with one valid signature against real processes: no state changes, no payment is delayed, and true reports are applied in the end."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from tether_core.notifications.excess_deliveries import ROWS_PER_CLASS_MAX
from tether_sandbox.gateway import Crafted, Setup, Simulator, StatusChange, Transition, running
from tether_sandbox.gateway.api import Adopted
from tether_sandbox.seed import Seeded, seed
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services.program import Launch

KEY = {"Authorization": "Bearer test-key"}
LAG_S = 2.0


class World:
    """Web, worker and a gateway whose records lag, and some debits that are collected."""

    def __init__(self, database_url: str, *, url: str, simulator: Simulator, debits: list[Seeded]) -> None:
        self.simulator = simulator
        self.debits = debits
        self.web = httpx.Client(base_url=url, headers=KEY, timeout=60, trust_env=False)
        self.conn = psycopg.connect(database_url, autocommit=True)

    def all(self, query: str) -> list[tuple[Any, ...]]:
        return self.conn.execute(query).fetchall()

    def states(self) -> list[str]:
        return [state for (state,) in self.all("select state from billing_attempts order by id")]


@pytest.fixture
def world(environment: dict[str, str], process: Launch, until: Callable[..., Any]) -> Iterator[World]:
    """Everything running, on this test's own database, with five collected debits."""
    url = f"http://127.0.0.1:{free_port()}"
    setup = Setup(
        login=environment["EMP_API_LOGIN"],
        passwords=(environment["EMP_API_PASSWORD"],),
        terminals=(environment["EMP_TERMINAL_TOKEN"],),
        notify_url=f"{url}/api/webhooks/emp",
        record_lag_s=LAG_S,
    )
    with running(setup) as simulator:
        environ = {**environment, "EMP_API_URL": simulator.url, "RECONCILIATION_RATE_LIMIT": "200"}
        web = process("tether-web", "--port", url.rpartition(":")[2], environ=environ)
        worker = process("tether-worker", "run", "webhooks", environ=environ)
        now = datetime.now(UTC)
        debits = list(seed(environ["DATABASE_URL"], attempts=5, rng=random.Random(1), now=now))
        simulator._answered(
            "POST",
            "/ledger/adopt",
            [
                Adopted(
                    seeded.transaction_id,
                    seeded.unique_id,
                    seeded.amount_minor,
                    "EUR",
                    now,
                    (Transition("approved"),),
                )
                for seeded in debits
            ],
        )
        web.await_url(f"{url}/ready")
        worker.await_line("worker started")
        with (
            (item := World(environ["DATABASE_URL"], url=url, simulator=simulator, debits=debits)).web,
            item.conn,
        ):
            for debit in debits:
                simulator.transition(StatusChange("approved", unique_id=debit.unique_id))
            until(lambda: item.states() == ["approved"] * 5, what="the debits to be collected", timeout_s=120)
            yield item


def test_one_pair_moves_nothing_else_and_a_flood_delays_no_chargeback(
    world: World, until: Callable[..., Any]
) -> None:
    """
    A forger with one signature, and one with the login, against debits whose gateway's records lag by two seconds.

    What breaks here: an item is freed and debited twice, or a true chargeback is lost or kept waiting.
    """
    mine, *others, genuine = world.debits
    pair = mine.unique_id
    forms: list[tuple[str, dict[str, str]]] = [
        ("password", {"notification_type": "wpf", "wpf_unique_id": pair, "wpf_status": "refunded"}),
        (
            "password",
            {"notification_type": "kyc_service_execution", "reference_id": pair, "status": "voided"},
        ),
        ("login", {"notification_type": "kyc_service_execution", "reference_id": pair, "status": "declined"}),
        ("password", {"notification_type": "payee", "unique_id": pair, "status": "declined"}),
    ]
    for other, (signed_with, fields) in zip([*others, mine], forms, strict=True):
        named = {"payment_transaction_unique_id": other.unique_id, "transaction_id": other.transaction_id}
        world.simulator.craft(
            Crafted(pair, fields | named, signed_with="login" if signed_with == "login" else "password")
        )
    world.simulator.craft(
        Crafted(
            pair,
            {
                "notification_type": "apm_external_event",
                "payment_transaction_unique_id": pair,
                "status": "voided",
            },
        )
    )
    for status in ("declined", "error", "voided", "refunded"):
        world.simulator.craft(Crafted(pair, {"unique_id": pair, "status": status}))
    flood = {
        "unique_id": pair,
        "status": "chargebacked",
        "event": "chargeback",
        "reason_code": "AC04",
        "chargeback_unique_id": "forged-{n}",
    }
    world.simulator.craft(Crafted(pair, flood, times=400))
    before = world.simulator.requests().get("reconcile", 0)
    world.simulator.transition(
        StatusChange("chargebacked", "chargeback", error_code="AC04", unique_id=genuine.unique_id)
    )
    world.simulator.resolve()  # each of them was acknowledged

    until(lambda: world.states()[-1] == "chargebacked", what="the true chargeback", timeout_s=120)
    until(
        lambda: not world.all("select from webhook_events where state = 'waiting' or outcome = 'confirm'"),
        what="everything to be inquired about",
        timeout_s=120,
    )
    assert world.states() == ["approved"] * 4 + ["chargebacked"]
    assert world.all("select reason_code from billing_attempts where state = 'chargebacked'") == [("AC04",)]
    assert world.all("select attempt_id, reason_code from blacklist") == [(genuine.id, "AC04")]
    # The flood is bounded in rows and in inquiries, and there is one warning.
    kept = world.all(
        "select count(*) from webhook_events where report_class = 'dispute 1' and attempt_id = 1"
    )
    assert kept[0][0] <= ROWS_PER_CLASS_MAX + 16  # what was recorded at the same time
    assert world.all("select sum(deliveries) from excess_deliveries")[0][0] >= 400 - kept[0][0]
    assert world.simulator.requests().get("reconcile", 0) - before < 100
    until(
        lambda: world.all("select from outbox where name = 'notifications.excess_delivered'"),
        what="a person to be told",
        timeout_s=120,
    )


def test_a_person_replays_what_the_gateway_contradicted(world: World, until: Callable[..., Any]) -> None:
    """A person who knows more than the gateway's record could only wait for a list."""
    debit = world.debits[0]
    world.simulator.craft(Crafted(debit.unique_id, {"unique_id": debit.unique_id, "status": "chargebacked"}))
    until(
        lambda: world.all("select from webhook_events where outcome = 'contradicted'"),
        what="the contradiction",
        timeout_s=120,
    )
    world.conn.execute(
        "update webhook_events set inquiries_began_at = inquiries_began_at - interval '3 days', next_at = now()"
        " where outcome = 'contradicted'"
    )
    until(
        lambda: world.all("select from webhook_events where state = 'contradicted'"),
        what="the end of its inquiries",
        timeout_s=120,
    )
    (row,) = world.web.get("/api/webhook-events", params={"status": "contradicted"}).json()["items"]
    assert row["contradicted_count"] >= 2
    assert 'tether_inbox_rows{state="contradicted"} 1.0' in world.web.get("/metrics").text
    assert world.web.post(f"/api/webhook-events/{row['id']}/replay").status_code == 202
    until(
        lambda: world.all(
            "select from webhook_events where state = 'confirming' and outcome = 'contradicted'"
        ),
        what="it to be inquired anew",
        timeout_s=120,
    )
