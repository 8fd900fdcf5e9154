"""Pre-flight over HTTP: from the own history, signed, stored, verified later, and shown by the dry run of a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from tether_core.errors import InvalidRequest
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.accounts.gateway_accounts import new_key
from tether_stores.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

NOW = datetime.now(UTC)
KEY = {"authorization": "Bearer test-key"}
OWED = [Owed(scripted_iban(number), 1_000) for number in range(10)]


@pytest.fixture
def secrets() -> list[str]:
    """Two keys: the present one, and the former one."""
    return [new_key(), new_key()]


@pytest.fixture
async def api(
    serving: Serve, environment: dict[str, str], secrets: list[str]
) -> AsyncIterator[httpx.AsyncClient]:
    """The API with fees, limits and a key that signs."""
    more = {
        "TETHER_SECRETS_KEY": ",".join(secrets),
        "TETHER_FEES": "default 0.25 3.50 EUR",
        "TETHER_PREFLIGHT_RETURNED_MAX": "0.5",
        "EMP_API_URL": "https://gateway.invalid",
    }
    async with serving(environment | more) as client:
        client.headers.update(KEY)
        yield client


@pytest.fixture
def upload_id(database_url: str) -> int:
    """An upload of ten debtors, one of them on the blacklist, and 400 debits of three months ago: 20 returned, 8 declined."""
    made, debtors = seed_upload(database_url, OWED, now=NOW)
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage, iban_fingerprint,"
            " iban_masked, created_at, updated_at, submitted_at, submission_count) select 'default', %(debtor)s, 'old-' || n, 1000, 'EUR',"
            " case when n <= 8 then 'declined' else 'approved' end, case when n <= 8 then 50 else 60 end, 0, ('account ' || n)::bytea, 'DE**',"
            " %(at)s, %(at)s, %(at)s, 1 from generate_series(1, 400) n",
            {"debtor": debtors[0], "at": NOW - timedelta(days=90)},
        )
        conn.execute(
            "update billing_attempts set dispute_stage = 1, state = 'chargebacked', reason_code = 'MS03', updated_at = %s where id in"
            " (select id from billing_attempts where state = 'approved' order by id limit 20)",
            [NOW - timedelta(days=80)],
        )
        # Too young to be sure of: their eight weeks are not over.
        conn.execute(
            "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage, iban_fingerprint,"
            " iban_masked, created_at, updated_at, submitted_at, submission_count) select 'default', %(debtor)s, 'new-' || n, 1000, 'EUR',"
            " 'approved', 60, 0, ('account ' || n)::bytea, 'DE**', %(at)s, %(at)s, %(at)s, 1 from generate_series(1, 50) n",
            {"debtor": debtors[0], "at": NOW - timedelta(days=10)},
        )
        conn.execute(
            "insert into blacklist (iban_fingerprint, iban_masked, action, scope, reason_code, note, source, added_by, created_at)"
            " select iban_fingerprint, 'DE**', 'block', 'iban', 'AC04', '', 'manual', 'ops', %s from debtors where id = %s",
            [NOW, debtors[-1]],
        )
    return made


async def test_a_report_is_made_from_the_own_history_and_can_be_shown_later(
    api: httpx.AsyncClient, serving: Serve, environment: dict[str, str], secrets: list[str], upload_id: int
) -> None:
    """Who ordered the run shows in a year what was known before it, and that nobody changed it."""
    path = f"/api/uploads/{upload_id}/preflight"
    assert (await api.get(path)).status_code == 404
    answer = await api.post(path, json={})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    report = made["report"]
    assert (report["verdict"], report["history_debits"], report["upload_id"]) == ("go", 400, upload_id)
    (euros,) = report["currencies"]
    assert (euros["count"], euros["amount_minor"]) == (9, 9_000)
    assert euros["returned"]["low_count"] == 0
    assert euros["returned"]["count"] in {0, 1}
    assert 0 < euros["returned"]["high_minor"] < 4_500
    assert euros["fees"]["low_minor"] == 9 * 25
    assert "Zoë" not in answer.text
    assert (await api.get(path)).json() == made

    shown = await api.get(f"/api/preflight-reports/{made['id']}", params={"format": "markdown"})
    assert shown.headers["content-type"].startswith("text/markdown")
    assert f"# Pre-flight of upload {upload_id}" in shown.text
    assert "**Go.**" in shown.text

    async def verified(client: httpx.AsyncClient, body: Any) -> tuple[bool, bool]:
        answer = await client.post(
            "/api/preflight-reports/verify", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["verified"], answer.json()["stored"]

    assert await verified(api, msgspec.json.format(msgspec.json.encode(made), indent=2)) == (True, True)
    assert await verified(api, msgspec.json.encode({**made, "report": {**report, "verdict": "no_go"}})) == (
        False,
        False,
    )
    assert await verified(api, msgspec.json.encode({**made, "signature": None})) == (False, True)
    added = msgspec.json.encode({**made, "report": {**report, "approved_by": "the board"}})
    assert (
        await api.post(
            "/api/preflight-reports/verify", content=added, headers={"content-type": "application/json"}
        )
    ).status_code == 400
    # After a change of the key the former one still verifies; without it, nothing does.
    for keys, signed in (([new_key(), *secrets], True), ([new_key()], False)):
        async with serving(environment | {"TETHER_SECRETS_KEY": ",".join(keys)}) as other:
            other.headers.update(KEY)
            assert await verified(other, msgspec.json.encode(made)) == (signed, True)


async def test_a_dry_run_shows_what_is_expected(api: httpx.AsyncClient, upload_id: int) -> None:
    """The person who orders sees the odds beside the sum, on the same page."""
    answer = await api.post(f"/api/uploads/{upload_id}/billing", json={"due_item": "june", "dry_run": True})
    assert answer.status_code == 200, answer.text
    expected = answer.json()["preflight"]
    assert (expected["verdict"], expected["currencies"][0]["count"]) == ("go", 9)
    path, order = f"/api/uploads/{upload_id}/billing", {"due_item": "june", "dry_run": True}
    first = (await api.post(path, json=order, params={"limit": 1})).json()
    second = (await api.post(path, json=order, params={"limit": 1, "cursor": first["next"]})).json()
    assert (first["preflight"] is None, second["preflight"]) == (False, None)


async def test_debtors_of_blocked_banks_and_without_a_check_are_excluded(
    api: httpx.AsyncClient, database_url: str, upload_id: int
) -> None:
    """The report counts what a run would collect, and says of whom it does not: the dry run of the same run agrees with it."""
    path = f"/api/uploads/{upload_id}/preflight"
    with psycopg.connect(database_url) as conn:
        debtors = [row[0] for row in conn.execute("select id from debtors order by id")]
        conn.execute("update debtors set bic = null, bank_bic = null")
        conn.execute("update debtors set bank_bic = 'COBADEFF' where id = any(%s)", [debtors[:2]])
        conn.execute(
            "update debtors set bic = 'INGDDEFF100', bank_bic = 'INGDDEFF' where id = %s", [debtors[2]]
        )
        conn.execute("update debtors set bic = 'INGDDEFF', bank_bic = 'INGDDEFF' where id = %s", [debtors[3]])
        conn.execute(
            "insert into vop_checks (debtor_id, state, score, answered, result, checked_at, requested_at) select id, 'checked', 80, 100, 'verified', %s, %s"
            " from debtors where id = any(%s)",
            [NOW, NOW, debtors[:6]],
        )
    for bic in ("COBA*", "INGDDEFF100"):
        entered = await api.post(
            "/api/blacklist", json={"bic": bic, "reason": "MANUAL", "note": "many returns"}
        )
        assert entered.status_code == 201, entered.text

    async def excluded(body: dict[str, Any]) -> dict[str, tuple[int, int]]:
        answer = await api.post(path, json=body)
        assert answer.status_code == 201, answer.text
        (euros,) = answer.json()["report"]["currencies"]
        assert answer.json()["report"]["vop_score_min"] == body.get("vop_score_min")
        found = {part["verdict"]: (part["count"], part["amount_minor"]) for part in euros["excluded"]}
        assert euros["count"] == 10 - sum(count for count, _ in found.values())
        return found

    assert await excluded({}) == {"blocked": (1, 1_000), "blacklisted_bank": (3, 3_000)}
    assert await excluded({"vop_score_min": 80}) == {
        "blocked": (1, 1_000),
        "blacklisted_bank": (3, 3_000),
        "unchecked": (3, 3_000),
    }
    assert (await excluded({"vop_score_min": 81}))["check_failed"] == (3, 3_000)
    assert (await api.post(path, json={"vop_score_min": 101})).status_code in {400, 422}
    page = await api.get(
        f"/api/preflight-reports/{(await api.get(path)).json()['id']}", params={"format": "markdown"}
    )
    assert "| excluded: the bank is on the blacklist | 3 | 30.00 |" in page.text
    dry_run = await api.post(
        f"/api/uploads/{upload_id}/billing",
        json={"due_item": "june", "dry_run": True, "vop_score_min": 80},
    )
    assert dry_run.status_code == 200, dry_run.text
    (euros,) = dry_run.json()["preflight"]["currencies"]
    verdicts = {part["verdict"]: part["count"] for part in euros["excluded"]}
    assert {name: dry_run.json()["skipped"].get(name) for name in verdicts} == verdicts


async def test_without_history_fees_or_limits_nothing_is_claimed(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A new installation knows nothing; the report says so and is not signed without a key."""
    upload_id, _ = seed_upload(database_url, OWED[:2], now=NOW)
    client.headers.update(KEY)
    answer = await client.post(f"/api/uploads/{upload_id}/preflight", json={})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["signature"] is None
    assert (made["report"]["verdict"], made["report"]["fees"], made["report"]["history_debits"]) == (
        "no_rule",
        None,
        0,
    )
    (euros,) = made["report"]["currencies"]
    assert (euros["returned"], euros["fees"], euros["kept_minor"]) == (None, None, None)
    unknown = await client.post(f"/api/uploads/{upload_id}/preflight", json={"account": "nobody"})
    assert unknown.status_code == 422
    assert "no gateway account" in unknown.json()["detail"].lower()
    assert (await client.post("/api/uploads/99/preflight", json={})).status_code == 404


@pytest.mark.parametrize(
    "environ",
    [
        {"TETHER_FEES": "default 0.25"},
        {"TETHER_PREFLIGHT_RETURNED_MAX": "5"},
        {"TETHER_PREFLIGHT_FEES_MAX": "1.0"},
    ],
)
def test_settings_that_decide_nothing_stop_the_start(
    environment: dict[str, str], environ: dict[str, str]
) -> None:
    """5 in place of 0.05 lets every upload go; it is refused with the name of the setting."""
    with pytest.raises(InvalidRequest, match=next(iter(environ))):
        Settings.from_env(environment | environ)
