"""The commands of recurring collection and of subscribers, against a real node."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_client.__main__ import main
from tether_core.target_calendar import bank_day
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.server import free_port
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.accounts.gateway_accounts import new_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tether_sandbox.services.program import Launch

WHY = ("--reason", "asked by phone")


@pytest.fixture
def url(environment: dict[str, str], process: Launch) -> str:
    """The address of a node with a gateway account and a key for secrets."""
    port = free_port()
    more = {"TETHER_SECRETS_KEY": new_key(), "EMP_API_URL": "https://gateway.invalid"}
    address = f"http://127.0.0.1:{port}"
    process("tether-web", "--port", str(port), environ=environment | more).await_url(f"{address}/ready")
    return address


@pytest.fixture
def tether(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Call the command inside this process; gives its JSON, or its text, and demands its exit code."""
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "TETHER_URL": url, "TETHER_API_KEY": "test-key"}

    def call(*words: str, code: int = 0, text: bool = False) -> Any:
        ended = main([*words, *([] if text else ["--json"])], environ=environ)
        out, errors = capsys.readouterr()
        assert ended == code, out + errors
        if code:
            return errors
        return out if text else json.loads(out)

    return call


def test_a_plan_from_its_forecast_to_its_end(tether: Callable[..., Any], url: str, database_url: str) -> None:
    """Who stops a plan in the night, without a browser, must see first what ends with it."""
    owed = [Owed(made_up_iban(random.Random(number)), 500 + 100 * number) for number in range(2)]
    upload_id, _ = seed_upload(database_url, owed, now=datetime.now(UTC))
    first = bank_day(datetime.now(UTC)) + timedelta(days=10)
    assert tether("plans", "add", "Members", '{"notice_days": null}')["options"]["notice_days"] is None
    assert "name" in tether("plans", "add", "Members", code=2)
    assert "no_such_option" in tether("plans", "add", "Others", '{"no_such_option": 1}', code=2)
    order = ("plans", "enrol", "1", str(upload_id), "--first-due-on", str(first))
    text = tether(*order, "--dry-run", text=True)
    assert "0 debtors would get a schedule" in text
    assert "not enrolled, no_mandate: 2" in text
    signed_order = (*order, "--mandate-signed-on", "2026-01-05")
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage,"
            " iban_fingerprint, iban_masked, created_at, updated_at) select 'default', id, 't-1', 500, 'EUR', 'approved', 60, 0,"
            " iban_fingerprint, 'DE**', now(), now() from debtors order by id limit 1"
        )
    text = tether(*signed_order, "--dry-run", text=True)
    assert "warning: 1 of these debtors has an open or collected debit of a billing run for once" in text
    # Without an agreement nobody is enrolled.
    assert "Enrol 2 debtors, 11.00 on each due date?" in tether(*signed_order, code=2)
    assert tether("plans", "show", "1")["schedules"] == 0
    assert tether(*signed_order, "--yes")["enrolled"] == 2
    again = tether(*signed_order, "--yes")
    assert (again["enrolled"], again["verdicts"]) == (0, {"has_schedule": 2})

    assert [plan["name"] for plan in tether("plans", "list", "--status", "active")["items"]] == ["Members"]
    assert tether("plans", "forecast", "1", "--days", "15")["amount_minor"] == 1_100
    assert "2 debits of 11.00 in 15 days" in tether("plans", "forecast", "1", "--days", "15", text=True)
    assert "live schedules: 2, 11.00 on each due date" in tether("plans", "show", "1", text=True)
    assert tether("plans", "pause", "1", *WHY)["state"] == "paused"
    assert tether("plans", "forecast", "1")["count"] == 0
    assert tether("plans", "resume", "1")["state"] == "active"

    schedule = tether("schedules", "list", "1")["items"][0]["id"]
    assert tether("schedules", "pause", str(schedule), *WHY)["state"] == "paused"
    assert tether("schedules", "resume", str(schedule))["state"] == "active"
    assert tether("schedules", "end", str(schedule), "--yes", *WHY)["state"] == "ended"
    assert tether("schedules", "show", str(schedule))["schedule"]["state"] == "ended"
    assert tether("due-items", "list", "1")["items"] == []
    assert tether("pre-notifications", "list", "--give-until", "2026-03-02")["items"] == []
    assert tether("pre-notifications", "give", "7", "--yes")["given"] == 0

    debtor = str(tether("schedules", "show", str(schedule))["schedule"]["debtor_id"])
    signed = ("--signed-on", "2026-03-02")
    mandate = tether("mandates", "add", debtor, "--reference", "M-9", *signed, "--kind", "one_off")
    assert (mandate["kind"], mandate["state"]) == ("one_off", "active")
    assert "M-9" in tether("mandates", "list", text=True)
    assert tether("mandates", "show", str(mandate["id"])) == mandate
    # Without an agreement nothing ends.
    assert "--yes" in tether("mandates", "cancel", str(mandate["id"]), *WHY, code=2)
    assert tether("mandates", "cancel", str(mandate["id"]), "--yes", *WHY)["state"] == "cancelled"
    assert "1 schedules end" in tether("plans", "end", "1", *WHY, code=2)
    assert tether("plans", "end", "1", "--yes", *WHY)["state"] == "ended"


def test_a_subscriber_from_its_secret_to_its_end(tether: Callable[..., Any]) -> None:
    """A secret that is piped to where it is kept must come alone, and only once."""
    added = tether("subscribers", "add", "ledger", "https://ledger.example/events")
    subscriber = str(added["subscriber"]["id"])
    rotated = tether("subscribers", "rotate", subscriber, text=True)
    assert rotated.startswith("whsec_")
    assert len(rotated.split()) == 1
    assert rotated.strip() != added["secret"]
    # It would cut off a receiver that has not got the new secret yet.
    assert "--yes" in tether("subscribers", "rotate", subscriber, "--overlap-hours", "0", code=2)
    leaked = tether("subscribers", "rotate", subscriber, "--overlap-hours", "0", "--yes")
    assert leaked["subscriber"]["old_secret_until"] is None

    assert tether("subscribers", "pause", subscriber, *WHY)["state"] == "paused"
    assert tether("subscribers", "activate", subscriber)["state"] == "active"
    for shown in (
        tether("subscribers", "list", text=True),
        tether("subscribers", "show", subscriber, text=True),
    ):
        assert "ledger.example" in shown
        assert "whsec_" not in shown
    assert tether("subscribers", "deliveries", subscriber, "--status", "given_up")["items"] == []
    assert tether("deliveries", "list", "--event", "1") == []
    assert "no such delivery" in tether("deliveries", "show", "1", code=2)
    assert "--since" in tether("subscribers", "replay", subscriber, code=2)
    assert "no event in this range" in tether("subscribers", "replay", subscriber, "--after", "0", code=2)
    assert "--yes" in tether("subscribers", "remove", subscriber, code=2)
    assert tether("subscribers", "remove", subscriber, "--yes") == {"removed": int(subscriber)}
    assert tether("subscribers", "list") == []
