"""What people see of reconciliation: claims beside the gateway's word, completeness, exposure, account checks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core import iban
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy, Confirmation, state_of
from tether_core.testing import form_body
from tether_core.vop import Answers, scored
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import vop
from tether_stores.notifications import confirmations
from tether_stores.postgres import open_pool
from tether_stores.vop import Checked
from tether_worker.notifications.apply import ApplyDeps, apply_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from tether_stores.postgres import Connection

KEY = {"Authorization": "Bearer test-key"}
UNIQUE_ID = "44177a21403427eb96664a6d7e5d5d48"


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Connection]:
    """A connection in autocommit mode."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


async def _debtor(conn: Connection) -> int:
    account = scripted_iban(1)
    cursor = await conn.execute(
        "insert into debtors (upload_id, iban, iban_fingerprint, name, amount_minor, currency, created_at)"
        " values (7, %s, %s, 'Zoë Miller', 1000, 'EUR', %s) returning id",
        (account, iban.fingerprint(account), datetime.now(UTC)),
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def _attempt(conn: Connection, *, stages: tuple[int, int], at: datetime, **columns: Any) -> int:
    values = {
        "account": "default",
        "debtor_id": await _debtor(conn),
        "transaction_id": "t-7",
        "unique_id": UNIQUE_ID,
        "amount_minor": 1000,
        "currency": "EUR",
        "state": state_of(*stages),
        "payment_stage": stages[0],
        "dispute_stage": stages[1],
        "iban_fingerprint": b"f" * 16,
        "iban_masked": "DE30**************0001",
        "created_at": at,
        "updated_at": at,
        "submitted_at": at,
        "submission_count": 1,
        **columns,
    }
    names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, values))
    places = psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(values))
    query = psycopg.sql.SQL("insert into billing_attempts ({}) values ({}) returning id").format(
        names, places
    )
    row = await (await conn.execute(query, list(values.values()))).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_contradicted_report_is_shown_beside_the_gateways_record(
    client: httpx.AsyncClient, conn: Connection, environment: dict[str, str]
) -> None:
    """A person must see the reported status, the gateway's own status, and that the notification had no effect."""
    await _attempt(conn, stages=(stages.APPROVED, stages.UNDISPUTED), at=datetime.now(UTC))
    claim = {"unique_id": UNIQUE_ID, "status": "chargebacked", "event": "chargeback", "reason_code": "MD01"}
    body = form_body(claim, secret=environment["EMP_API_PASSWORD"])
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.post("/api/webhooks/emp", content=body, headers=headers)).status_code == 200
    before = (await client.get("/api/webhook-events/1", headers=KEY)).json()
    assert (before["confirmed"], before["contradicted"]) == (None, False)

    async with open_pool(environment["DATABASE_URL"], name="tests", max_size=2) as pool:
        applying = ApplyDeps(pool, ApplyPolicy(confirm="chargebacks"), lambda: datetime.now(UTC), lambda: 0.5)
        await apply_batch(applying)
        now = datetime.now(UTC)
        lease = now + timedelta(minutes=1)
        [row] = await confirmations.claim(conn, now=now, leased_until=lease, limit=1)
        await confirmations.store(conn, [(row.id, Confirmation("approved"))], leased_until=lease, now=now)
        await apply_batch(applying)
    payload = (await client.get("/api/webhook-events/1", headers=KEY)).json()
    assert payload["reported"] == {"status": "chargebacked", "error_code": None, "reason_code": "MD01"}
    assert payload["confirmed"] == {"status": "approved", "error_code": None, "reason_code": None}
    assert payload["contradicted"] is True


async def test_completeness(client: httpx.AsyncClient, conn: Connection) -> None:
    """The dashboard's number must come from the same report as the command's, and say how far each list was read."""
    await conn.execute(
        "insert into report_fetches (account, list, day_on, wanted_at, listed, held, unread, read_at)"
        " select 'default', 'transactions', day::date, day, 12, 12, 0, day + interval '1 day'"
        " from generate_series('2026-03-01'::timestamptz, '2026-03-03', '1 day') as day"
    )
    result = await client.get(
        "/api/completeness", params={"from": "2026-03-02", "to": "2026-03-03"}, headers=KEY
    )
    assert result.status_code == 200
    report = result.json()["report"]
    assert (report["from_on"], report["to_on"], report["known"], report["unexplained"]) == (
        "2026-03-02",
        "2026-03-03",
        0,
        0,
    )
    fetches = result.json()["fetches"]
    assert [(row["day"], row["name"], row["listed"], row["held"], row["unread"]) for row in fetches] == [
        ("2026-03-02", "transactions", 12, 12, 0),
        ("2026-03-03", "transactions", 12, 12, 0),
    ]
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    assert (await client.get("/api/completeness", headers=KEY)).json()["report"]["from_on"] == yesterday


@pytest.mark.parametrize(
    "days",
    [
        {"from": "2026-03-02", "to": "2026-03-01"},
        {"from": "2020-01-01", "to": "2026-03-01"},
        {"from": "soon"},
    ],
)
async def test_completeness_of_impossible_days(client: httpx.AsyncClient, days: dict[str, str]) -> None:
    """A typing mistake must be named, and years must not be counted in one request."""
    assert (await client.get("/api/completeness", params=days, headers=KEY)).status_code in {400, 422}


@pytest.mark.parametrize(
    "path", ["/api/completeness", "/api/billing-attempts/1/exposure", "/api/uploads/7/vop"]
)
async def test_nothing_without_a_key(client: httpx.AsyncClient, path: str) -> None:
    """Amounts and accounts are nobody else's business."""
    assert (await client.get(path)).status_code == 401


async def test_exposure_of_a_collected_debit(client: httpx.AsyncClient, conn: Connection) -> None:
    """Money that may go back for 13 months must not be shown as final."""
    attempt_id = await _attempt(
        conn, stages=(stages.APPROVED, stages.UNDISPUTED), at=datetime(2026, 3, 2, 12, tzinfo=UTC)
    )
    payload = (await client.get(f"/api/billing-attempts/{attempt_id}/exposure", headers=KEY)).json()
    assert (
        payload["settled_on"],
        payload["return_on"],
        payload["refund_on"],
        payload["unauthorised_on"],
    ) == (
        "2026-03-03",
        "2026-03-10",
        "2026-04-28",
        "2027-04-03",
    )
    assert (payload["refundable"], payload["refundable_why"]) == (
        True,
        "This attempt is collected and can be refunded.",
    )
    assert (await client.get("/api/billing-attempts/999/exposure", headers=KEY)).status_code == 404


async def test_exposure_of_a_returned_debit(client: httpx.AsyncClient, conn: Connection) -> None:
    """A person who refunds what the bank has refunded pays the debtor twice."""
    attempt_id = await _attempt(
        conn,
        stages=(stages.APPROVED, stages.CHARGEBACKED),
        at=datetime(2026, 3, 2, 12, tzinfo=UTC),
        return_handled_at=datetime(2026, 3, 5, tzinfo=UTC),
        retry_why="retry",
        retry_on=datetime(2026, 3, 10, tzinfo=UTC).date(),
    )
    payload = (await client.get(f"/api/billing-attempts/{attempt_id}/exposure", headers=KEY)).json()
    assert (payload["refundable"], payload["refundable_why"], payload["retry_on"]) == (
        False,
        "This attempt cannot be refunded: the debtor's bank has taken the money back. Look at its dispute.",
        "2026-03-10",
    )


async def test_accounts_of_an_upload_are_checked(
    client: httpx.AsyncClient, conn: Connection, database_url: str
) -> None:
    """A person who bills must see which accounts were checked, and the progress of the checks."""
    upload_id, [debtor_id] = seed_upload(database_url, [Owed(scripted_iban(1), 1_000)], now=datetime.now(UTC))
    url = f"/api/uploads/{upload_id}/vop"
    asked = await client.post(url, headers=KEY)
    assert (asked.status_code, asked.json()) == (202, {"requested": 1})
    assert (await client.get(url, headers=KEY)).json()["waiting"] == 1
    now = datetime.now(UTC)
    lease = now + timedelta(minutes=1)
    [check] = await vop.claim(conn, now=now, leased_until=lease, limit=1)
    answers = Answers(iban="yes", country="yes")
    made = Checked(check.debtor_id, answers, scored(answers))
    await vop.checked(conn, [made], provider="tests", leased_until=lease, now=now)
    payload = (await client.get(url, headers=KEY)).json()
    assert (payload["waiting"], payload["results"]) == (0, {"likely_verified": 1})
    [item] = payload["checks"]["items"]
    assert (item["debtor_id"], item["result"], item["answered"]) == (debtor_id, "likely_verified", 35)
    assert "iban_answer" not in item
    assert scripted_iban(1) not in str(payload)
    assert (await client.post(url, headers=KEY)).json() == {"requested": 0}
    assert (await client.post(f"{url}?again=true", headers=KEY)).json() == {"requested": 1}
    assert (await client.post("/api/uploads/99/vop", headers=KEY)).status_code == 404
    assert (await client.get("/api/uploads/99/vop", headers=KEY)).status_code == 404
