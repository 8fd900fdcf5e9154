"""The audit: every action leaves a row with its author, no row ever changes, and no IBAN is in it."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from tether_core.payments.attempt import state_of
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.seed import seed
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.accounts.gateway_accounts import new_key

from tests.support.audit_cases import CASES, WHY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

NOW = datetime.now(UTC)
KEY = {"authorization": "Bearer test-key"}
# Payment stage, dispute stage and settings of the debits 1 to 6.
DEBITS = [(60, 0, ""), (60, 0, "today"), (10, 0, ""), (60, 1, ""), (10, 0, "unreachable"), (60, 0, "today")]


@pytest.fixture
async def api(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API with a gateway account; nobody works, so orders stay as they were made."""
    async with serving(
        environment | {"EMP_API_URL": "https://gateway.invalid", "TETHER_SECRETS_KEY": new_key()}
    ) as client:
        client.headers.update(KEY)
        yield client


@pytest.fixture
def world(database_url: str) -> str:
    """Two uploads, two runs, six debits, a parked notification, a stored answer and a difference; the URL of the database."""
    seed_upload(database_url, [Owed(scripted_iban(number), 1000) for number in range(3)], now=NOW)
    made = list(seed(database_url, attempts=len(DEBITS), rng=random.Random(1), now=NOW))
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at, failure_code, failure)"
            " values ('b', 'b.csv', 1, '\\x00', 'failed', %(now)s, %(now)s, 'unreadable', 'It is empty.')",
            {"now": NOW},
        )
        for state in ("running", "finished"):
            conn.execute(
                "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at,"
                " updated_at, finished_at) values (1, 'default', %(state)s, %(state)s, '{}', '{}', 'ops', %(now)s, %(now)s, %(end)s)",
                {"state": state, "now": NOW, "end": NOW if state == "finished" else None},
            )
        for seeded, (payment, dispute, kind) in zip(made, DEBITS, strict=True):
            conn.execute(
                "update billing_attempts set payment_stage = %(payment)s, dispute_stage = %(dispute)s, state = %(state)s,"
                " submission_count = 1, submitted_at = %(at)s, run_id = %(run)s, due_item = 'd' || id, try_number = 1,"
                " unique_id = case when %(kind)s = 'unreachable' then null else unique_id end,"
                " submitted_to = case when %(kind)s = 'unreachable' then '{gone}'::text[] else submitted_to end,"
                " unresolved_reason = case when %(kind)s = 'unreachable' then 'not_found_elsewhere' end where id = %(id)s",
                {
                    "payment": payment,
                    "dispute": dispute,
                    "state": state_of(payment, dispute),
                    "at": NOW if kind == "today" else datetime(2026, 3, 2, tzinfo=UTC),
                    "run": 2 if seeded.id == made[-1].id else 1,
                    "kind": kind,
                    "id": seeded.id,
                },
            )
        conn.execute(
            "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body,"
            " state, failures, received_at, handled_at, reason) values ('\\x01', '\\x01', 'default', 'payment', 'n', 'x', 'webhook', '', '',"
            " 'parked', 4, %(now)s, %(now)s, 'no such payment')",
            {"now": NOW},
        )
        conn.execute(
            "insert into collection_plans (name, account, options, state, created_by, created_at, updated_at)"
            " values ('a', 'default', '{}', 'active', 'ops', %(now)s, %(now)s)",
            {"now": NOW},
        )
        conn.execute(
            "insert into mandates (account, debtor_id, reference, reference_key, kind, state, iban_masked, signed_on, account_since_at,"
            " created_by, created_at, updated_at) values ('default', 2, 'M-1', 'm-1', 'recurrent', 'active', 'AT**', '2026-01-05', %(now)s,"
            " 'ops', %(now)s, %(now)s)",
            {"now": NOW},
        )
        conn.execute(
            "insert into collection_schedules (collection_plan_id, debtor_id, mandate_id, amount_minor, first_due_on, make_on, state, created_by,"
            " created_at, updated_at) values (1, 2, 1, 1000, '2026-01-05', '2030-01-05', 'active', 'ops', %(now)s, %(now)s)",
            {"now": NOW},
        )
        for number in (1, 2):
            conn.execute(
                "insert into due_items (schedule_id, collection_plan_id, upload_id, debtor_id, due_on, due_item, amount_minor, is_last, state,"
                " created_at, updated_at) values (1, 1, 1, 2, %(day)s::date, %(day)s::text, 1000, false, 'missed', %(now)s, %(now)s)",
                {"day": f"2026-0{number}-05", "now": NOW},
            )
        conn.execute(
            "insert into pre_notifications (account, upload_id, debtor_id, due_item, due_on, give_on, notice_days, amount_minor, currency,"
            " text, state, created_at, updated_at) values ('default', 1, 1, 'x', '2030-01-05', '2030-01-01', 4, 1000, 'EUR', 'x', 'made',"
            " %(now)s, %(now)s)",
            {"now": NOW},
        )
        conn.execute(
            "insert into layout_answers (layout, subject, answer, days_min, upload_id, answered_by, answered_at)"
            " values ('\\x01', 'collected_before', 'take', 26, 1, 'ops', %s)",
            [NOW],
        )
        conn.execute(
            "insert into subscribers (name, url, state, sealed, position, created_by, created_at, updated_at)"
            " values ('former', 'https://former.example/', 'active', '', 9, 'ops', %(now)s, %(now)s)",
            {"now": NOW},
        )
        conn.execute(
            "insert into deliveries (subscriber_id, event_id, event_name, state, created_at, ended_at)"
            " values (1, 5, 'iban.blocked', 'delivered', %(now)s, %(now)s)",
            {"now": NOW},
        )
        conn.execute(
            "insert into reconciliation_differences (kind, attempt_id, subject, ours, theirs, holds_refunds, first_seen_at,"
            " last_seen_at) values ('state_differs', 3, 'declined', 'approved', 'declined', false, %(now)s, %(now)s)",
            {"now": NOW},
        )
    return database_url


def rows(url: str) -> list[dict[str, Any]]:
    """All rows, oldest first."""
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as conn:
        return conn.execute("select * from audit order by id").fetchall()


async def test_every_action_leaves_a_row_with_its_author(api: httpx.AsyncClient, world: str) -> None:
    """Money moved and nobody can say who ordered it; or an account number stays in a table that is never erased."""
    done: list[str] = []

    async def call(route: str) -> None:
        case = CASES[route]
        if case.after is not None and case.after not in done:
            await call(case.after)
        if route in done:
            return
        before = len(rows(world))
        if route.startswith("POST /api/refunds/"):
            with psycopg.connect(world) as conn:
                conn.execute(
                    "update refunds set payment_stage = 10, state = 'unknown', submitted_to = '{gone}', submission_count = 1, submit_at = null,"
                    " submitted_at = now() - interval '1 day', unresolved_reason = 'not_found_elsewhere'"
                )
        answer = await api.request(route.partition(" ")[0], case.path, **case.request)
        assert answer.is_success, (route, answer.text)
        new = rows(world)[before:]
        assert [(row["action"], row["subject"], row["subject_id"]) for row in new] == [
            (case.action, *case.subject)
        ], route
        assert (new[0]["actor_kind"], new[0]["actor"], new[0]["address"]) == ("api_key", "tests", "127.0.0.1")
        if WHY in case.request.values():
            assert new[0]["reason"] == "asked by phone, DE89**************3000", route
        done.append(route)

    for route in CASES:
        await call(route)
    text = str(rows(world))
    assert "DE89370400440532013000" not in text
    assert "AT611904300234573201" not in text


async def test_what_is_refused_or_repeated_leaves_no_row(api: httpx.AsyncClient, world: str) -> None:
    """The audit lists what was done; a repeat under the same key did nothing."""
    order: dict[str, Any] = {"json": {}, "headers": {"Idempotency-Key": "k"}}
    assert (await api.post("/api/billing-attempts/1/refund", **order)).status_code == 202
    assert (await api.post("/api/billing-attempts/1/refund", **order)).status_code == 202
    assert (await api.post("/api/billing-attempts/3/refund", json={})).status_code == 409
    assert (await api.post("/api/billing-runs/9/pause", json=WHY)).status_code == 404
    assert (
        await api.post("/api/webhook-events/1/replay", headers={"authorization": "Bearer x"})
    ).status_code == 401
    assert [row["action"] for row in rows(world)] == ["refund.ordered"]


async def test_no_row_of_the_audit_ever_changes(api: httpx.AsyncClient, world: str) -> None:
    """Somebody who reached the database could otherwise remove the traces, or a defect could."""
    await api.post("/api/billing-runs/1/pause", json=WHY)
    before = rows(world)
    with psycopg.connect(world, autocommit=True) as conn:
        for statement in ("update audit set actor = 'x'", "delete from audit", "truncate audit"):
            with pytest.raises(psycopg.errors.RestrictViolation, match="never changed"):
                conn.execute(statement.encode())
    assert rows(world) == before


async def test_the_row_and_the_action_are_one_transaction(api: httpx.AsyncClient, world: str) -> None:
    """An action whose row cannot be written must not happen."""
    with psycopg.connect(world, autocommit=True) as conn:
        conn.execute("alter table audit add constraint full_disk check (action <> 'run.paused')")
    assert (await api.post("/api/billing-runs/1/pause", json=WHY)).status_code == 500
    assert (await api.get("/api/billing-runs/1")).json()["run"]["state"] == "running"


@pytest.mark.parametrize(
    ("forwarded", "trusted", "address"),
    [
        ("6.6.6.6, 203.0.113.9", "127.0.0.1", "203.0.113.9"),
        ("6.6.6.6", "10.0.0.0/8", "127.0.0.1"),
        ("nonsense", "127.0.0.1", "127.0.0.1"),
    ],
)
async def test_an_address_is_believed_only_from_a_proxy(
    serving: Serve, environment: dict[str, str], world: str, forwarded: str, trusted: str, address: str
) -> None:
    """A client that writes its own X-Forwarded-For would act under somebody else's address."""
    async with serving(environment | {"TETHER_TRUSTED_PROXIES": trusted}) as client:
        headers = {**KEY, "x-forwarded-for": forwarded}
        assert (await client.post("/api/billing-runs/1/pause", json=WHY, headers=headers)).is_success
        cookies = {"sec-fetch-site": "same-origin", "x-forwarded-for": forwarded}
        await client.post("/sign-in", data={"key": "test-key"}, headers=cookies)
        assert (await client.post("/runs/1/resume", headers=cookies)).status_code == 303
    runs = [row for row in rows(world) if row["subject"] == "run"]
    assert [row["address"] for row in runs] == [address, address]


async def test_the_audit_is_filtered_paged_and_exported(api: httpx.AsyncClient, world: str) -> None:
    """A person who asks who paused a run finds it, and hands an auditor all of it as a file."""
    for _ in range(3):
        await api.post("/api/billing-runs/1/pause", json={"reason": "=1+1"})
        await api.post("/api/billing-runs/1/resume")
    await api.post("/api/billing-attempts/1/refund", json={})
    seen: list[int] = []
    cursor = None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/api/audit", params=params)).json()
        seen += [entry["id"] for entry in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == len(rows(world)) == 7
    for params, count in (
        ({"action": "run.paused"}, 3),
        ({"actor": "tests"}, 7),
        ({"actor": "somebody"}, 0),
        ({"subject": "run", "subject_id": "1"}, 6),
        ({"subject": "attempt"}, 1),
        ({"subject": "run", "subject_id": "1", "action": "run.resumed"}, 3),
        ({"from": "2020-01-01T00:00:00Z"}, 7),
        ({"to": "2020-01-01T00:00:00Z"}, 0),
    ):
        page = (await api.get("/api/audit", params=params)).json()
        assert (len(page["items"]), page["next"]) == (count, None), params
    newest = (await api.get("/api/audit", params={"action": "run.paused", "limit": 1})).json()["items"][0]
    assert newest["change"] == "state: running to paused; pause_reason: =1+1"
    for wrong in (
        {"action": "run.stolen"},
        {"subject_id": "1"},
        {"from": "2020-01-01T00:00:00"},
        {"who": "x"},
    ):
        assert (await api.get("/api/audit", params=wrong)).status_code in {400, 422}, wrong
    lines = (await api.get("/api/audit", params={"format": "ndjson"})).text.splitlines()
    assert [msgspec.json.decode(line)["id"] for line in lines] == seen
    table = list(
        csv.DictReader(io.StringIO((await api.get("/api/audit?format=csv")).text.removeprefix("\ufeff")))
    )
    assert [int(row["id"]) for row in table] == seen
    assert table[-1]["reason"] == "'=1+1"
