"""Everyday work on an upload: exclude who charged back, add up all runs, and export who paid and never came back."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.payments.attempt import state_of
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    import httpx

NOW = datetime.now(UTC)
# Debtor, run, payment stage, dispute stage, days ago.
DEBITS = [
    (1, 1, 60, 0, 60),
    (1, 2, 60, 0, 50),
    (2, 1, 60, 1, 60),
    (3, 1, 60, 1, 60),
    (3, 2, 10, 0, 5),
    (4, 1, 50, 0, 60),
    (5, 1, 60, 0, 3),
    (6, 1, 60, 2, 90),
    (8, 1, 60, 1, 60),
]


@pytest.fixture
def world(database_url: str) -> int:
    """An upload of nine debtors and two runs.

    They have paid twice, charged back, charged back and tried again, declined, paid lately, won back,
    never billed, forgiven, never billed and in francs.
    """
    owed = [
        Owed(scripted_iban(number), 1_000 + number, currency="CHF" if number == 9 else "EUR")
        for number in range(1, 10)
    ]
    upload_id, debtors = seed_upload(database_url, owed, now=NOW)
    with psycopg.connect(database_url) as conn:
        for item in ("may", "june"):
            conn.execute(
                "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at, finished_at)"
                " values (%s, 'default', %s, 'finished', '{}', '{}', 'ops', %s, %s, %s)",
                [upload_id, item, NOW, NOW, NOW],
            )
        for number, (debtor, run, payment, dispute, days) in enumerate(DEBITS):
            conn.execute(
                "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage,"
                " iban_fingerprint, iban_masked, created_at, updated_at, submitted_at, submission_count, run_id, due_item, try_number)"
                " select 'default', id, %(name)s, amount_minor, currency, %(state)s, %(payment)s, %(dispute)s, iban_fingerprint, 'DE**', %(at)s,"
                " %(at)s, %(at)s, 1, %(run)s, 'item ' || %(run)s, 1 from debtors where id = %(debtor)s",
                {
                    "name": f"t-{number}",
                    "state": state_of(payment, dispute),
                    "payment": payment,
                    "dispute": dispute,
                    "at": NOW - timedelta(days=days),
                    "run": run,
                    "debtor": debtors[debtor - 1],
                },
            )
        conn.execute(
            "insert into forgiven_disputes (attempt_id, dispute_stage, forgiven_at, forgiven_by, reason)"
            " select id, 1, %s, 'ops', 'new mandate' from billing_attempts where debtor_id = %s",
            [NOW, debtors[7]],
        )
    return upload_id


async def _call(client: httpx.AsyncClient, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
    client.headers["authorization"] = "Bearer test-key"
    answer = await client.request(method, f"/api{path}", **more)
    assert answer.status_code == status, answer.text
    return answer.json() if "json" in answer.headers["content-type"] else answer.content.decode("utf-8-sig")


async def test_charged_back_debtors_are_excluded_in_one_action(
    client: httpx.AsyncClient, world: int, database_url: str
) -> None:
    """Who charged back is counted and billed no more; who has a debit under way, or was forgiven, stays."""
    path = f"/uploads/{world}/exclude-charged-back"
    seen = await _call(client, "POST", path, json={"dry_run": True})
    # Debtor 2; debtor 3 has a debit of unknown outcome, debtor 8 was forgiven, debtor 6 was won back.
    assert seen["excluded"] == [{"currency": "EUR", "has_debit": False, "count": 1, "amount_minor": 1_002}]
    assert seen["kept"] == [{"currency": "EUR", "has_debit": True, "count": 1, "amount_minor": 1_003}]
    before = (await _call(client, "GET", f"/uploads/{world}"))["upload"]["row_counts"]
    assert "say why" in (await _call(client, "POST", path, status=422, json={}))["detail"].lower()
    done = await _call(client, "POST", path, json={"reason": "as every month"})
    assert (done["excluded"], done["dry_run"]) == (seen["excluded"], False)
    after = (await _call(client, "GET", f"/uploads/{world}"))["upload"]["row_counts"]
    assert (after["stored"], after["excluded"]) == (before["stored"] - 1, before["excluded"] + 1)
    assert after["amount_minor"] == before["amount_minor"] - 1_002
    assert after["verdicts"]["chargebacked_before"] == 1
    again = await _call(client, "POST", path, json={"reason": "as every month"})
    assert (again["excluded"], again["kept"]) == ([], seen["kept"])
    with psycopg.connect(database_url) as conn:
        audited = conn.execute(
            "select after from audit where action = 'upload.debtors_excluded' order by id"
        ).fetchall()
    assert audited == [({"debtors": 1, "kept": 1},), ({"debtors": 0, "kept": 1},)]
    await _call(client, "POST", "/uploads/99/exclude-charged-back", status=404, json={"dry_run": True})


async def test_totals_add_up_all_runs_and_no_two_currencies(client: httpx.AsyncClient, world: int) -> None:
    """A person asks what is left of the file, not of one of its runs."""
    found = await _call(client, "GET", f"/uploads/{world}/totals")
    assert found["runs"] == {"finished": 2}
    assert found["owed"] == [
        {"currency": "CHF", "debtors": 1, "owed_minor": 1_009, "unbilled": 1, "unbilled_minor": 1_009},
        {"currency": "EUR", "debtors": 8, "owed_minor": 8_036, "unbilled": 1, "unbilled_minor": 1_007},
    ]
    assert {
        (row["state"], row["debits"], row["debtors"], row["amount_minor"]) for row in found["debits"]
    } == {
        ("approved", 4, 3, 2 * 1_001 + 1_005 + 1_006),
        ("chargebacked", 3, 3, 1_002 + 1_003 + 1_008),
        ("declined", 1, 1, 1_004),
        ("unknown", 1, 1, 1_003),
    }
    await _call(client, "GET", "/uploads/99/totals", status=404)


async def test_who_paid_and_never_came_back_is_exported_by_account_number(
    client: httpx.AsyncClient, world: int, database_url: str
) -> None:
    """A list that is debited again: one line for each account, nobody with a return, and no cell that runs as a formula."""
    assert world
    # A later debtor with the account of debtor 1, and a name that a spreadsheet program would run.
    seed_upload(database_url, [Owed(scripted_iban(1), 2_500, name="=cmd()")], now=NOW)
    rows = list(csv.reader(io.StringIO(await _call(client, "GET", "/debtors/clean-payers")), delimiter=";"))
    assert rows[0][2:6] == ["Name", "IBAN", "BIC", "Amount"]
    assert [(row[3], row[5], row[7]) for row in rows[1:]] == [(scripted_iban(1), "25.00", "2")]
    assert not rows[1][2].startswith("=")
    assert len((await _call(client, "GET", "/debtors/clean-payers", params={"debits": 3})).splitlines()) == 1
    # Debtor 5 paid three days ago.
    lately = await _call(client, "GET", "/debtors/clean-payers", params={"days": 2})
    assert scripted_iban(5) in lately
    other = await _call(client, "GET", "/debtors/clean-payers", params={"account": "second"})
    assert len(other.splitlines()) == 1
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into blacklist (iban_fingerprint, iban_masked, action, scope, reason_code, note, source, added_by, created_at)"
            " select iban_fingerprint, 'DE**', 'hold', 'iban', 'MD06', '', 'manual', 'ops', %s from debtors where iban = %s limit 1",
            [NOW, scripted_iban(1)],
        )
    assert len((await _call(client, "GET", "/debtors/clean-payers")).splitlines()) == 1
