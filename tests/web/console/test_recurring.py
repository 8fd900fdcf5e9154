"""The console's pages of recurring collection: what they show, and what their forms do."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_core.target_calendar import bank_day
from tether_sandbox.seed import made_up_iban
from tether_sandbox.uploads import Owed, seed_upload

from tests.web.console.conftest import flaws

if TYPE_CHECKING:
    import httpx

NOW = datetime.now(UTC)
FIRST = bank_day(NOW) + timedelta(days=10)
PLAN = {"name": "Members", "every": "1", "unit": "month", "recover": "ask", "notice_language": "en"}


@pytest.fixture
def console_environment(environment: dict[str, str]) -> dict[str, str]:
    """With a gateway account."""
    return environment | {"EMP_API_URL": "https://gateway.invalid"}


@pytest.fixture
def upload_id(database_url: str) -> int:
    """An upload of three debtors: 5.00 to 7.00."""
    owed = [Owed(made_up_iban(random.Random(number)), 500 + 100 * number) for number in range(3)]
    found, _ = seed_upload(database_url, owed, now=NOW)
    return found


async def _page(browser: httpx.AsyncClient, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    assert flaws(answer.text) == []
    return unescape(answer.text)


async def _posted(browser: httpx.AsyncClient, path: str, **form: str) -> str:
    """Send a form that is accepted; gives where it leads."""
    answer = await browser.post(path, data=form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def test_a_plan_is_added_with_debtors_and_ended_in_the_browser(
    browser: httpx.AsyncClient, upload_id: int
) -> None:
    """Who enrols a list sees first who is left out and what will be collected, without a command line."""
    assert "There is no collection plan yet" in await _page(browser, "/collection-plans")
    added = await _posted(browser, "/collection-plans", **PLAN, lifetime_max_minor="750")
    assert added == "/collection-plans/1?done=plan_added"
    page = await _page(browser, added)
    assert "every month" in page
    assert "750.00 EUR" in page
    assert "Nothing. Enrol debtors first." in page

    form = {"upload_id": str(upload_id), "first_due_on": str(FIRST)}
    tried = await browser.post("/collection-plans/1/enrol", data={**form, "what": "dry_run"})
    assert tried.status_code == 200
    assert flaws(tried.text) == []
    assert "<strong>0</strong> debtors would get a schedule" in tried.text
    assert "No mandate: 3" in tried.text
    assert f'value="{FIRST}"' in tried.text  # what was typed stays for the order
    form["mandate_signed_on"] = "2026-01-05"
    assert await _posted(browser, "/collection-plans/1/enrol", **form) == "/collection-plans/1?done=enrolled"
    page = await _page(browser, "/collection-plans/1")
    assert "<strong>3</strong> live schedules, 18.00 EUR on each due date" in page
    assert "data-plot=" in page
    assert "54.00 EUR" in page  # three months of 18.00

    listed = await _page(browser, "/collection-plans/1/schedules?status=active")
    assert "<strong>3</strong> match" in listed
    assert "/api/collection-plans/1/schedules?status=active&format=csv" in listed
    paused = await _posted(browser, "/collection-plans/1/pause", reason="the bank <closed>")
    assert "the bank <closed>" in await _page(browser, paused)
    await _posted(browser, "/collection-plans/1/resume")
    refused = await browser.post("/collection-plans/1/end", data={"reason": " "})
    assert (refused.status_code, "say why" in refused.text.lower()) == (422, True)
    await _posted(browser, "/collection-plans/1/end", reason="moved")
    assert "Steer" not in await _page(browser, "/collection-plans/1")


async def test_a_field_that_is_wrong_says_so_and_nothing_typed_is_lost(browser: httpx.AsyncClient) -> None:
    """A long form that comes back empty is filled in a second time with less care."""
    wrong = {**PLAN, "creditor_name": 'Club "e.V."', "day_count_max": "many"}
    answer = await browser.post("/collection-plans", data=wrong)
    assert answer.status_code == 422
    assert flaws(answer.text) == []
    page = unescape(answer.text)
    assert 'value="Club "e.V.""' in page
    field = page.partition('name="day_count_max"')[2].partition("</div>")[0]
    assert 'value="many"' in field
    assert 'aria-invalid="true"' in field
    assert "Write limits and numbers of rows as whole numbers" in field
    twice = await browser.post("/collection-plans", data={**PLAN, "notice_days": "90"})
    assert twice.status_code in {400, 422}
    assert 'aria-invalid="true"' in twice.text.partition('name="notice_days"')[2].partition("</div>")[0]
    assert (await browser.get("/api/collection-plans")).json()["items"] == []


async def test_a_missed_due_item_is_collected_or_given_up_with_a_reason(
    browser: httpx.AsyncClient, database_url: str, upload_id: int
) -> None:
    """After an outage somebody decides for each debtor, and must find the ones that wait for it."""
    await _posted(browser, "/collection-plans", **PLAN)
    form = {"upload_id": str(upload_id), "first_due_on": str(FIRST), "mandate_signed_on": "2026-01-05"}
    await _posted(browser, "/collection-plans/1/enrol", **form)
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into due_items (schedule_id, collection_plan_id, upload_id, debtor_id, due_on, due_item, amount_minor, is_last,"
            " state, reason, created_at, updated_at) select id, 1, %(upload)s, debtor_id, %(on)s - 40, 'x' || id, amount_minor, false,"
            " 'missed', 'too_late', %(now)s, %(now)s from collection_schedules",
            {"upload": upload_id, "on": FIRST, "now": NOW},
        )
    assert "3 due items were missed" in await _page(browser, "/collection-plans/1")
    page = await _page(browser, "/schedules/1")
    assert "/schedules/1/due-items/1/recover" in page
    refused = await browser.post("/schedules/1/due-items/1/recover", data={"reason": ""})
    assert (refused.status_code, "Say why" in refused.text) == (422, True)
    await _posted(browser, "/schedules/1/due-items/1/waive", reason="agreed by phone")
    assert "/schedules/1/due-items/1/" not in await _page(browser, "/schedules/1")
    await _posted(browser, "/schedules/2/due-items/2/recover", reason="agreed by phone")
    assert "2 due items" not in await _page(browser, "/collection-plans/1")
    assert (await browser.post("/schedules/2/due-items/2/burn", data={"reason": "x"})).status_code == 404
    await _posted(browser, "/schedules/3/pause", reason="moves")
    assert "Resume the schedule" in await _page(browser, "/schedules/3")


async def test_all_due_items_and_schedules_that_match_are_decided_at_once(
    browser: httpx.AsyncClient, database_url: str, upload_id: int
) -> None:
    """After an outage a club has hundreds of missed due items; a person decides once, and sees before how much money it is."""
    await _posted(browser, "/collection-plans", **PLAN)
    form = {"upload_id": str(upload_id), "first_due_on": str(FIRST), "mandate_signed_on": "2026-01-05"}
    await _posted(browser, "/collection-plans/1/enrol", **form)
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into due_items (schedule_id, collection_plan_id, upload_id, debtor_id, due_on, due_item, amount_minor, is_last,"
            " state, reason, created_at, updated_at) select id, 1, %(upload)s, debtor_id, %(on)s - 40, 'x' || id, amount_minor, false,"
            " case when id = 1 then 'waived' else 'missed' end, 'too_late', %(now)s, %(now)s from collection_schedules",
            {"upload": upload_id, "on": FIRST, "now": NOW},
        )
    for page, action, filters, result in (
        ("due-items?status=missed", "waive", "collection_plan=1&status=missed", ("2", "13.00 EUR")),
        ("due-items", "recover", "collection_plan=1", ("2", "13.00 EUR")),
        ("schedules", "pause_schedules", "collection_plan=1", ("3", "18.00 EUR")),
    ):
        listed = await _page(browser, f"/collection-plans/1/{page}")
        assert f'value="{filters}"' in listed
        assert f'name="action" value="{action}"' in listed
        assert f"<strong>{2 if 'missed' in page else 3}</strong> match" in listed
        preview = await browser.post("/bulk-orders", data={"action": action, "filters": filters})
        assert preview.status_code == 200, preview.text
        assert flaws(preview.text) == []
        first = preview.text.partition("Would be done")[2].partition("</tr>")[0]
        assert all(f">{value}<" in first for value in result), first
        assert f"/collection-plans/1/{page.partition('?')[0]}" in unescape(preview.text)
    order = {"action": "waive", "filters": "collection_plan=1&status=missed", "order_key": "k" * 20}
    refused = await browser.post("/bulk-orders", data=order)
    assert (refused.status_code, "Say why" in refused.text) == (422, True)
    placed = await _posted(browser, "/bulk-orders", **order, reason="the hall was closed")
    assert "/collection-plans/1/due-items?status=missed" in await _page(browser, placed)


async def test_a_mandate_is_added_amended_and_cancelled(
    browser: httpx.AsyncClient, database_url: str, upload_id: int
) -> None:
    """After a change of account nothing is debited until somebody has recorded the new signature."""
    assert upload_id
    form = {"debtor_id": "1", "reference": "M-9", "signed_on": "2026-03-02", "kind": "recurrent"}
    assert await _posted(browser, "/mandates", **form) == "/mandates/1?done=mandate_added"
    again = await browser.post("/mandates", data=form)
    assert again.status_code == 422
    assert 'aria-invalid="true"' in again.text.partition('name="reference"')[2].partition("</div>")[0]
    assert "M-9" in await _page(browser, "/mandates")
    for debtor, is_hers in ((1, True), (2, False)):
        assert ("M-9" in await _page(browser, f"/mandates?debtor={debtor}")) is is_hers
        assert ("M-9" in await _page(browser, f"/debtors/{debtor}")) is is_hers
    with psycopg.connect(database_url) as conn:
        conn.execute("update debtors set iban_fingerprint = '\\x09' where id = 1")
    await _posted(browser, "/mandates/1/amend", signed_on="2026-04-01", reason="new account")
    await _posted(browser, "/mandates/1/cancel", reason="moved away")
    assert "Cancel the mandate" not in await _page(browser, "/mandates/1")


async def test_pre_notifications_are_stated_as_given(browser: httpx.AsyncClient) -> None:
    """The name of who sent the mailing is the proof that debtors were told."""
    assert "No pre-notification waits" in await _page(browser, "/pre-notifications")
    given = await _posted(browser, "/pre-notifications/give", ids="7")
    assert given == "/pre-notifications?done=notices_given"
    assert (await browser.post("/pre-notifications/give", data={"ids": "x"})).status_code == 422
    assert (await browser.get("/schedules/99")).status_code == 404
    assert (await browser.get("/mandates/99")).status_code == 404
    assert (await browser.get("/collection-plans/99")).status_code == 404
