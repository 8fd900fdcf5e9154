"""The commands of the return policy, of pre-flight reports and of everyday work on uploads, against a real node."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_client.__main__ import main
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.services.server import free_port
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.accounts.gateway_accounts import new_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tether_sandbox.services.program import Launch

NOW = datetime.now(UTC)
WHY = ("--reason", "agreed on Monday")


@pytest.fixture
def tether(
    environment: dict[str, str], process: Launch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Call the command inside this process; gives its JSON, or its text, and demands its exit code."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    more = {
        "TETHER_SECRETS_KEY": new_key(),
        "TETHER_FEES": "default 0.25 3.50 EUR",
        "TETHER_PREFLIGHT_RETURNED_MAX": "0.9",
        "EMP_API_URL": "https://gateway.invalid",
    }
    process("tether-web", "--port", str(port), environ=environment | more).await_url(f"{url}/ready")
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "TETHER_URL": url, "TETHER_API_KEY": "test-key"}

    def call(*words: str, code: int = 0, text: bool = False) -> Any:
        ended = main([*words, *([] if text else ["--json"])], environ=environ)
        out, errors = capsys.readouterr()
        assert ended == code, out + errors
        if code not in {0, 1}:
            return errors
        return out if text else json.loads(out)

    return call


@pytest.fixture
def upload_id(database_url: str) -> str:
    """An upload of three debtors: one collected, one charged back, one never billed."""
    owed = [Owed(scripted_iban(number), 1_000) for number in range(3)]
    made, debtors = seed_upload(database_url, owed, now=NOW)
    with psycopg.connect(database_url) as conn:
        for number, debtor in enumerate(debtors[:2]):
            conn.execute(
                "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage, iban_fingerprint,"
                " iban_masked, created_at, updated_at, submitted_at, submission_count, due_item, try_number) select 'default', id, %(name)s, 1000,"
                " 'EUR', 'approved', 60, 0, iban_fingerprint, 'DE**', %(at)s, %(at)s, %(at)s, 1, 'a', 1 from debtors where id = %(id)s",
                {"name": f"t-{number}", "id": debtor, "at": NOW - timedelta(days=90)},
            )
        conn.execute(
            "update billing_attempts set dispute_stage = 1, state = 'chargebacked', reason_code = 'AG02', updated_at = %s where debtor_id = %s",
            [NOW - timedelta(days=80), debtors[1]],
        )
    return str(made)


def test_a_policy_is_made_tried_switched_on_and_taken_back(
    tether: Callable[..., Any], upload_id: str
) -> None:
    """Who changes what happens to thousands of debtors sees the price first, and needs one line to go back."""
    assert upload_id
    made = tether("policy", "add", "--set", "ag02=block", "--set", "SL01=none", *WHY)
    assert (made["version"], made["based_on"]) == (1, 0)
    assert "AG02: none -> block" in tether("policy", "diff", "1", text=True)
    assert "decides as version 0" in tether("policy", "diff", "0", text=True)
    assert "dry run of version 1" in tether("policy", "switch", "1", "--yes", *WHY, code=2)
    said = tether("policy", "dry-run", "1", text=True)
    assert "extra blocked    +1 (10.00) of accounts" in said
    assert "extra collected  +0 (0.00)" in said
    # Nobody agrees: nothing is switched.
    assert "from version 0 to version 1" in tether("policy", "switch", "1", *WHY, code=2)
    assert tether("policy", "switch", "1", "--yes", *WHY)["version_before"] == 0
    assert "decides now" in tether("policy", "switch", "0", "--active", "0", "--yes", *WHY, code=2)
    assert "version 0 decides" in tether("policy", "switch", "0", "--yes", *WHY, text=True)
    assert [version["active"] for version in tether("policy", "list")] == [False, True]
    assert "agreed on Monday" in tether("policy", "history", text=True)
    assert "The account is closed." in tether("policy", "show", "1", text=True)


def test_an_upload_is_examined_cleaned_and_added_up(
    tether: Callable[..., Any], upload_id: str, tmp_path: Path
) -> None:
    """A script that bills only what may go reads the exit code; an auditor reads the file."""
    # Two earlier debits, one of them returned: nearly nothing is known, so nearly everything may come back.
    report = tether("uploads", "preflight", upload_id, code=1)
    assert report["report"]["verdict"] == "no_go"
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report, indent=2))
    assert tether("uploads", "preflight-verify", str(file)) == {
        "verified": True,
        "stored": True,
        "verdict": "no_go",
    }
    file.write_text(json.dumps({**report, "report": {**report["report"], "account": "x"}}))
    assert "NOT signed" in tether("uploads", "preflight-verify", str(file), code=1, text=True)
    file.write_text("no report")
    assert "is no report" in tether("uploads", "preflight-verify", str(file), code=2)
    assert f"# Pre-flight of upload {upload_id}" in tether(
        "uploads", "preflight", upload_id, "--last", text=True, code=1
    )
    preview = tether("uploads", "bill", upload_id, "--due-item", "june", "--dry-run", text=True)
    assert "pre-flight: no go" in preview
    assert "EUR: expected returns" in preview

    assert "1 debtors owing 10.00 EUR" in tether(
        "uploads", "exclude-charged-back", upload_id, "--dry-run", text=True
    )
    assert "--reason" in tether("uploads", "exclude-charged-back", upload_id, "--yes", code=2)
    assert tether("uploads", "exclude-charged-back", upload_id, "--yes", *WHY)["excluded"][0]["count"] == 1
    totals = tether("uploads", "totals", upload_id, text=True)
    assert "EUR: 2 debtors owe 20.00; 1 of them, with 10.00, were never billed" in totals

    payers = tmp_path / "payers.csv"
    assert tether("debtors", "clean-payers", str(payers))["size_bytes"] == payers.stat().st_size
    assert payers.read_text("utf-8-sig").count("\n") == 2
    assert "exists" in tether("debtors", "clean-payers", str(payers), code=2)

    assert tether("texts", "set", "Example club", "--month", "2026-12")[0]["text"] == "Example club"
    assert "2026-12" in tether("texts", "list", text=True)
    assert tether("texts", "remove", "--month", "2026-12") == []
