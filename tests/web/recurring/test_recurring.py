"""The API of recurring collection: plans, enrolment, schedules, due items, mandates and pre-notifications."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.target_calendar import bank_day
from tether_sandbox.seed import made_up_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.postgres import open_pool
from tether_worker.billing.runs import plan_chunk
from tether_worker.recurring.due_items import make_due

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

KEY = {"authorization": "Bearer test-key"}
WHY = {"reason": "asked by phone"}


@pytest.fixture
async def api(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API with a gateway account."""
    async with serving(environment | {"EMP_API_URL": "https://gateway.invalid"}) as client:
        client.headers.update(KEY)
        yield client


@pytest.fixture
def upload_id(database_url: str) -> int:
    """An upload of four debtors: 5.00 to 8.00."""
    found, _ = seed_upload(
        database_url,
        [Owed(made_up_iban(random.Random(number)), 500 + 100 * number) for number in range(4)],
        now=datetime.now(UTC),
    )
    return found


async def _plan(api: httpx.AsyncClient, **options: Any) -> int:
    made = await api.post("/api/collection-plans", json={"name": "Members", "options": options})
    assert made.status_code == 201, made.text
    return int(made.json()["id"])


async def _make_due(database_url: str, *, now: datetime) -> None:
    async with open_pool(database_url, name="tests", max_size=2) as pool:
        while await make_due(pool, now=now):
            pass


async def test_a_dry_run_of_an_enrolment_says_who_was_billed(
    api: httpx.AsyncClient, database_url: str, upload_id: int
) -> None:
    """Who pays the year at once and is then enrolled pays it once more by the month, and the dry run of a run said so already."""
    plan_id = await _plan(api, notice_days=None)
    first = bank_day(datetime.now(UTC)) + timedelta(days=10)
    order = {
        "upload_id": upload_id,
        "first_due_on": str(first),
        "mandate_signed_on": "2026-01-05",
        "dry_run": True,
    }
    path = f"/api/collection-plans/{plan_id}/schedules"
    assert (await api.post(path, json=order)).json()["warnings"] == []
    for due_item in ("2026-03", "fee"):
        assert (
            await api.post(f"/api/uploads/{upload_id}/billing", json={"due_item": due_item})
        ).status_code == 202
    async with open_pool(database_url, name="tests", max_size=2) as pool:
        while await plan_chunk(pool, now=datetime.now(UTC)):
            pass
    with psycopg.connect(database_url) as conn:
        # One was collected, one was refused, and one is of a debtor who gets no schedule: the others are still to be submitted.
        conn.execute(
            "update billing_attempts set state = 'approved', payment_stage = 60, submit_at = null where id = 1"
        )
        conn.execute(
            "update billing_attempts set state = 'declined', payment_stage = 50, submit_at = null where id = 2"
        )
        conn.execute("update debtors set verdict = 'blacklisted', cause = 'x' where id = 4")
        conn.execute(
            "update billing_attempts set due_item = null, try_number = null where due_item = 'fee' and debtor_id = 3"
        )
    tried = (await api.post(path, json=order)).json()
    assert tried["enrolled"] == 3
    assert [
        (found["code"], found["due_item"], found["debtors"], found["amount_minor"])
        for found in tried["warnings"]
    ] == [
        ("billed", "2026-03", 2, 500 + 700),
        ("billed", "fee", 2, 500 + 600),
        ("billed", "once", 1, 700),
    ]
    assert tried["warnings"][0]["text"].startswith(
        "2 of these debtors have an open or collected debit of a billing run for 2026-03;"
    )
    # Debits of the plan itself are no news.
    order["dry_run"] = False
    done = (await api.post(path, json=order)).json()
    assert (done["enrolled"], done["warnings"]) == (3, [])
    with psycopg.connect(database_url) as conn:
        conn.execute("update billing_runs set collection_plan_id = %s", [plan_id])
        conn.execute("update collection_schedules set state = 'ended', make_on = null")
    again = (await api.post(path, json=order | {"dry_run": True})).json()
    assert (again["enrolled"], again["warnings"]) == (3, [])


async def test_from_a_list_to_a_forecast(api: httpx.AsyncClient, database_url: str, upload_id: int) -> None:
    """The person who enrols a list sees who is left out and why, and what the plan will take, before anything is stored."""
    plan_id = await _plan(
        api, price_bands=[{"min_minor": 500, "max_minor": 700}], notice_days=None, day_count_max=2
    )
    with psycopg.connect(database_url) as conn:
        conn.execute("update debtors set mandate_id = 'M-7', mandate_signed_on = '2026-02-03' where id = 1")
    first = bank_day(datetime.now(UTC)) + timedelta(days=10)
    order = {"upload_id": upload_id, "first_due_on": str(first), "dry_run": True}
    path = f"/api/collection-plans/{plan_id}/schedules"
    tried = (await api.post(path, json=order)).json()
    assert tried["verdicts"] == {"enrolled": 1, "no_mandate": 2, "outside_price_bands": 1}
    order["mandate_signed_on"] = "2026-01-05"
    assert (await api.post(path, json=order)).json()["enrolled"] == 3
    assert (await api.get(path)).json()["items"] == []
    order["dry_run"] = False
    done = (await api.post(path, json=order)).json()
    assert (done["enrolled"], done["amount_minor"], done["next"]) == (3, 1_800, None)
    assert [debtor["verdict"] for debtor in done["debtors"]] == ["outside_price_bands"]
    assert (await api.post(path, json=order)).json()["verdicts"] == {
        "has_schedule": 3,
        "outside_price_bands": 1,
    }
    mandates = (await api.get("/api/mandates")).json()["items"]
    assert sorted((item["reference"], item["signed_on"]) for item in mandates) == [
        ("M-7", "2026-02-03"),
        ("T-2", "2026-01-05"),
        ("T-3", "2026-01-05"),
    ]
    forecast = (await api.get(f"/api/collection-plans/{plan_id}/forecast", params={"days": 90})).json()
    assert forecast["count"] == 9
    assert forecast["amount_minor"] == 5_400
    assert [day["count"] for day in forecast["expected"]] == [2, 1] * 3
    assert all(date.fromisoformat(day["on"]).weekday() < 5 for day in forecast["expected"])
    detail = (await api.get(f"/api/collection-plans/{plan_id}")).json()
    assert (detail["schedules"], detail["amount_minor"]) == (3, 1_800)


async def test_a_wrong_order_gets_a_sentence(api: httpx.AsyncClient, upload_id: int) -> None:
    """A typing error must not become a plan, and a second plan of the same name would confuse everybody."""
    plan_id = await _plan(api)
    today = bank_day(datetime.now(UTC))
    wrong: list[tuple[str, dict[str, Any], int, str]] = [
        ("/api/collection-plans", {"name": "Members"}, 422, "of that name"),
        ("/api/collection-plans", {"name": "x", "account": "none"}, 422, "account"),
        ("/api/collection-plans", {"name": "x", "options": {"pay_days": [32]}}, 400, "pay_days"),
        ("/api/collection-plans", {"name": "x", "options": {"intervall": {}}}, 400, "intervall"),
        (
            f"/api/collection-plans/{plan_id}/schedules",
            {"upload_id": upload_id, "first_due_on": str(today - timedelta(days=1))},
            422,
            "first_due_on",
        ),
        (
            f"/api/collection-plans/{plan_id}/schedules",
            {"upload_id": 987, "first_due_on": str(today)},
            422,
            "upload_id",
        ),
        (
            "/api/collection-plans/987/schedules",
            {"upload_id": upload_id, "first_due_on": str(today)},
            404,
            "plan",
        ),
        ("/api/mandates", {"debtor_id": 987, "reference": "M", "signed_on": "2026-01-05"}, 422, "debtor_id"),
        ("/api/mandates", {"debtor_id": 1, "reference": " - ", "signed_on": "2026-01-05"}, 422, "reference"),
        ("/api/mandates", {"debtor_id": 1, "reference": "M", "signed_on": "2999-01-05"}, 422, "signed_on"),
        ("/api/schedules/987/pause", WHY, 404, "schedule"),
        ("/api/due-items/987/waive", WHY, 404, "due item"),
        ("/api/mandates/987/cancel", WHY, 404, "mandate"),
    ]
    for path, body, status, word in wrong:
        answer = await api.post(path, json=body)
        assert answer.status_code in {status, 422 if status == 400 else status}, (path, answer.text)
        assert word in answer.text, (path, answer.text)


async def test_pauses_missed_items_and_ends(
    api: httpx.AsyncClient, database_url: str, upload_id: int
) -> None:
    """What a person pauses stays paused; what was missed waits for a person; what ends takes its open items with it."""
    plan_id = await _plan(api, notice_days=None)
    today = bank_day(datetime.now(UTC))
    order = {"upload_id": upload_id, "first_due_on": str(today), "mandate_signed_on": "2026-01-05"}
    assert (await api.post(f"/api/collection-plans/{plan_id}/schedules", json=order)).is_success
    await _make_due(database_url, now=datetime.now(UTC) + timedelta(days=95))
    items = (await api.get(f"/api/collection-plans/{plan_id}/due-items", params={"status": "missed"})).json()[
        "items"
    ]
    assert len(items) == 12
    recovered = await api.post(f"/api/due-items/{items[0]['id']}/recover", json=WHY)
    assert (recovered.status_code, recovered.json()["state"]) == (200, "waiting")
    assert recovered.json()["collect_on"] >= str(today)
    again = await api.post(f"/api/due-items/{items[0]['id']}/recover", json=WHY)
    assert (again.status_code, "cannot be recovered" in again.text) == (409, True)
    assert (await api.post(f"/api/due-items/{items[1]['id']}/waive", json=WHY)).json()["state"] == "waived"
    schedule_id = items[2]["schedule_id"]
    assert (await api.post(f"/api/schedules/{schedule_id}/resume")).status_code == 409
    assert (await api.post(f"/api/schedules/{schedule_id}/pause", json=WHY)).json()["state"] == "paused"
    resumed = (await api.post(f"/api/schedules/{schedule_id}/resume")).json()
    assert (resumed["state"], resumed["state_reason"]) == ("active", None)
    assert (await api.post(f"/api/schedules/{schedule_id}/end", json=WHY)).json()["state"] == "ended"
    detail = (await api.get(f"/api/schedules/{schedule_id}")).json()
    assert {item["state"] for item in detail["due_items"]} == {"waived"}
    path = f"/api/collection-plans/{plan_id}"
    assert (await api.post(f"{path}/pause", json=WHY)).json()["state"] == "paused"
    assert (await api.post(f"{path}/schedules", json=order)).status_code == 409
    assert (await api.get(f"{path}/forecast")).json()["count"] == 0
    assert (await api.post(f"{path}/resume")).json()["state"] == "active"
    assert (await api.post(f"{path}/end", json=WHY)).json()["state"] == "ended"
    states = {item["state"] for item in (await api.get(f"{path}/schedules")).json()["items"]}
    assert states == {"ended"}
    left = (await api.get(f"{path}/due-items", params={"status": "missed"})).json()["items"]
    assert left == []


async def test_a_cancelled_mandate_ends_its_schedule_and_an_edited_account_needs_an_amendment(
    api: httpx.AsyncClient, database_url: str, upload_id: int
) -> None:
    """A debit from an account that nobody signed for is an unauthorised one, for thirteen months."""
    plan_id = await _plan(api, notice_days=None)
    today = bank_day(datetime.now(UTC))
    order = {"upload_id": upload_id, "first_due_on": str(today), "mandate_signed_on": "2026-01-05"}
    assert (await api.post(f"/api/collection-plans/{plan_id}/schedules", json=order)).is_success
    first, second = [item["id"] for item in (await api.get("/api/mandates")).json()["items"]][::-1][:2]
    cancelled = await api.post(f"/api/mandates/{first}/cancel", json=WHY)
    assert (cancelled.json()["state"], cancelled.json()["ended_reason"]) == ("cancelled", "asked by phone")
    again = await api.post(f"/api/mandates/{first}/cancel", json=WHY)
    assert (again.status_code, "new mandate" in again.text) == (409, True)
    schedules = (await api.get(f"/api/collection-plans/{plan_id}/schedules")).json()["items"]
    assert [item["state_reason"] for item in schedules if item["mandate_id"] == first] == [
        "mandate_cancelled"
    ]
    edit = {"version": 0, "changes": {"iban": "DE89370400440532013000"}, **WHY}
    edited = await api.patch("/api/debtors/2", json=edit)
    assert edited.is_success, edited.text
    assert (await api.get(f"/api/mandates/{second}")).json()["is_of_other_account"] is True
    amended = await api.post(f"/api/mandates/{second}/amend", json={"signed_on": str(today), **WHY})
    assert (amended.json()["is_of_other_account"], amended.json()["iban_masked"]) == (
        False,
        "DE89**************3000",
    )


async def test_the_list_of_pre_notifications(
    api: httpx.AsyncClient, database_url: str, upload_id: int
) -> None:
    """The mailing gets names, texts and days; what it confirms is proof, once."""
    plan_id = await _plan(
        api, notice_days=3, notice_required=True, creditor_name="=Club", notice_language="fr"
    )
    today = bank_day(datetime.now(UTC))
    order = {
        "upload_id": upload_id,
        "first_due_on": str(today + timedelta(days=4)),
        "mandate_signed_on": "2026-01-05",
    }
    assert (await api.post(f"/api/collection-plans/{plan_id}/schedules", json=order)).is_success
    await _make_due(database_url, now=datetime.now(UTC))
    listed = (await api.get("/api/pre-notifications", params={"status": "made", "limit": 3})).json()
    assert len(listed["items"]) == 3
    rest = (
        await api.get("/api/pre-notifications", params={"status": "made", "cursor": listed["next"]})
    ).json()
    assert [item["id"] for item in listed["items"] + rest["items"]] == [1, 2, 3, 4]
    file = await api.get("/api/pre-notifications", params={"format": "csv"})
    assert file.headers["content-type"].startswith("text/csv")
    assert "5.00" in file.text
    assert "prélèverons" in file.text
    with psycopg.connect(database_url) as conn:
        for (account,) in conn.execute("select iban from debtors").fetchall():
            assert account not in file.text
    assert (await api.post("/api/pre-notifications/give", json={"ids": [1, 2, 2]})).json() == {"given": 2}
    assert (await api.post("/api/pre-notifications/give", json={"ids": [1, 2]})).json() == {"given": 0}
    (proof,) = (await api.get("/api/debtors/1/pre-notifications")).json()
    assert (proof["status"], proof["given_by"]) == ("given", "tests")
    items = (await api.get(f"/api/collection-plans/{plan_id}/due-items")).json()["items"]
    assert [item["collect_on"] is not None for item in items[::-1]] == [True, True, False, False]
