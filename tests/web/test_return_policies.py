"""The return policy over HTTP: a version is made, tried over real returns, switched on with a reason, and taken back at once."""

from __future__ import annotations

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
WHY = {"reason": "fewer returns"}
# Account, days ago when submitted and when last changed, dispute stage, reason, try, the try before it, amount.
DEBITS = [
    ("a", 205, 200, 1, "AG02", 1, None, 1_000),
    ("a", 150, 148, 0, None, 1, None, 1_100),
    ("a", 110, 100, 1, "AM04", 1, None, 1_200),
    ("b", 303, 300, 1, "AM04", 1, None, 2_000),
    ("b", 292, 290, 0, None, 2, 4, 2_000),
    ("c", 255, 250, 1, "AM04", 1, None, 3_000),
    ("c", 245, 240, 1, "AM04", 2, 6, 3_000),
    ("c", 235, 230, 1, "AM04", 3, 7, 3_000),
    ("d", 95, 90, 1, "SL01", 1, None, 500),
    # Kept out by another entry, so nothing is gained by lifting the rule for SL01.
    ("e", 95, 90, 1, "SL01", 1, None, 700),
    ("e", 98, 97, 1, "AC04", 1, None, 700),
    # Too long ago.
    ("f", 500, 490, 1, "AG02", 1, None, 9_000),
]


@pytest.fixture
def history(database_url: str) -> None:
    """A year and more of returns, tries after them, and one that came back again."""
    seed_upload(database_url, [Owed(scripted_iban(1), 1000)], now=NOW)
    with psycopg.connect(database_url) as conn:
        for number, (account, made, changed, dispute, reason, tried, before, amount) in enumerate(DEBITS, 1):
            conn.execute(
                "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage,"
                " dispute_stage, reason_code, iban_fingerprint, iban_masked, created_at, updated_at, submitted_at, submission_count,"
                " due_item, try_number, retry_of) values ('default', 1, %(id)s, %(amount)s, 'EUR', %(state)s, 60, %(dispute)s, %(reason)s,"
                " %(account)s, 'DE**', %(made)s, %(made)s, %(made)s, 1, %(item)s, %(tried)s, %(before)s)",
                {
                    "id": f"t-{number}",
                    "amount": amount,
                    "state": state_of(60, 0),
                    "dispute": 0,
                    "reason": None,
                    "account": account.encode(),
                    "made": NOW - timedelta(days=made),
                    "item": f"item {number}",
                    "tried": tried,
                    "before": before,
                },
            )
            if dispute:
                conn.execute(
                    "update billing_attempts set dispute_stage = 1, state = 'chargebacked', reason_code = %s, updated_at = %s where id = %s",
                    [reason, NOW - timedelta(days=changed), number],
                )


async def _call(
    client: httpx.AsyncClient, method: str, path: str = "", *, status: int = 200, **more: Any
) -> Any:
    client.headers["authorization"] = "Bearer test-key"
    answer = await client.request(method, f"/api/return-policies{path}", **more)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.usefixtures("history")
async def test_a_version_is_tried_over_past_returns_before_it_decides(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """Extra collected, returned and blocked are read off the books; without a dry run nobody switches."""
    rules = {
        "AG02": {"action": "block"},
        "SL01": {"action": "none"},
        "AM04": {"action": "none", "retries": 1},
    }
    made = await _call(client, "POST", status=201, json={"based_on": 0, "rules": rules, **WHY})
    assert (made["version"], made["active"], made["active_version"], made["dry_run"]) == (1, False, 0, None)
    assert [change["code"] for change in made["changes"]] == ["AG02", "AM04", "SL01"]

    refused = await _call(client, "POST", "/1/switch", status=422, json={"active": 0, **WHY})
    assert "dry run of version 1 against version 0" in refused["detail"]
    tried = await _call(client, "POST", "/1/dry-run", json={})
    assert (tried["result"]["version"], tried["result"]["against"]) == (1, 0)
    (euros,) = tried["result"]["currencies"]
    # a would be blocked, d would not; e has another reason, f came before the year.
    assert euros["blocked"] == {"count": 0, "amount_minor": 500}
    # From a nothing would have been collected after its return; the third try of c would not have been made.
    assert euros["collected"]["expected"] == {"count": -1, "amount_minor": -1_100}
    assert euros["returned"]["expected"] == {"count": -2, "amount_minor": -4_200}
    assert euros["tries"] == {"count": -1, "amount_minor": -3_000}
    assert (await _call(client, "GET", "/1"))["dry_run"]["result"] == tried["result"]

    stale = await _call(client, "POST", "/1/switch", status=409, json={"active": 7, **WHY})
    assert "Version 0 decides now, not version 7" in stale["detail"]
    done = await _call(client, "POST", "/1/switch", json={"active": 0, **WHY})
    assert (done["version"], done["version_before"], done["dry_run_id"]) == (1, 0, tried["id"])
    versions = await _call(client, "GET")
    assert [(version["version"], version["active"]) for version in versions] == [(1, True), (0, False)]
    await _call(client, "POST", "/1/switch", status=409, json={"active": 1, **WHY})

    # One try more than the active version: what it brings is estimated from the tries that were made.
    more = await _call(
        client,
        "POST",
        status=201,
        json={"based_on": 1, "rules": {"AM04": {"action": "none", "retries": 2}}, **WHY},
    )
    assert more["version"] == 2
    estimated = (await _call(client, "POST", "/2/dry-run", json={"days": 365}))["result"]["currencies"][0]
    assert estimated["tries"] == {"count": 1, "amount_minor": 3_000}
    collected = estimated["collected"]
    assert collected["low"]["amount_minor"] < collected["expected"]["amount_minor"] == 1_000
    assert collected["high"]["amount_minor"] > 1_000

    # The built-in version can be tried before going back to it; at night going back needs no dry run.
    back = (await _call(client, "POST", "/0/dry-run", json={}))["result"]
    assert (back["version"], back["against"]) == (0, 1)
    await _call(client, "POST", "/0/switch", json={"active": 1, "reason": "as before"})
    switches = await _call(client, "GET", "/switches")
    assert [(switch["version_before"], switch["version"], switch["reason"]) for switch in switches] == [
        (1, 0, "as before"),
        (0, 1, "fewer returns"),
    ]
    with psycopg.connect(database_url) as conn:
        audited = conn.execute("select action, subject_id, reason from audit order by id").fetchall()
    assert audited[:3] == [
        ("return_policy.added", "1", "fewer returns"),
        ("return_policy.tried", "1", None),
        ("return_policy.switched", "1", "fewer returns"),
    ]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (
            {"based_on": 0, "rules": {"AC04": {"action": "none", "retries": 1}}, **WHY},
            422,
            "Only AM04 and MS03",
        ),
        ({"based_on": 0, "rules": {"AC04": {"action": "block"}}, **WHY}, 422, "at least one rule"),
        ({"based_on": 0, "rules": {}, **WHY}, 422, "at least one rule"),
        ({"based_on": 5, "rules": {"AC04": {"action": "none"}}, **WHY}, 422, "no such version"),
        ({"based_on": 0, "rules": {"AC04": {"action": "none"}}, "reason": "  "}, 422, "Say why"),
        ({"based_on": 0, "rules": {"AC04": {"action": "shout"}}, **WHY}, 400, ""),
        ({"based_on": 0, "rules": {"AC04": {"action": "none", "tries": 1}}, **WHY}, 400, ""),
    ],
)
async def test_what_no_version_may_say_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, words: str
) -> None:
    """A sentence that says what to change; nothing is stored."""
    refused = await _call(client, "POST", status=status, json=body)
    assert words in refused["detail"]
    assert [version["version"] for version in await _call(client, "GET")] == [0]
    for path in ("/1", "/1/dry-run", "/1/switch"):
        call = {} if path == "/1" else {"json": {"active": 0, **WHY} if path == "/1/switch" else {}}
        await _call(client, "POST" if call else "GET", path, status=404, **call)
