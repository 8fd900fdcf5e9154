"""Callers who are limited to some gateway accounts: ids of others do not exist for them, and open streams end with the key."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from typing import TYPE_CHECKING, get_args

import psycopg
import pytest
from tether_core.figures import Basis, By
from tether_core.people.roles import may
from tether_stores.settings import Settings
from tether_web.app import application
from tether_web.events import stream
from tether_web.http.permissions import needed
from tether_web.http.scopes import BY_ID, FILTERED, JUDGED, OPEN

from tests.web.people.conftest import KEY

if TYPE_CHECKING:
    import httpx


async def test_ids_of_other_accounts_do_not_exist(browser: httpx.AsyncClient, two_accounts: str) -> None:
    """A partner who counts through ids would read, refund or pause the payments of another one."""
    body = {"name": "partner", "role": "operator", "accounts": ["default"]}
    made = await browser.post("/api/api-keys", json=body, headers=KEY)
    assert made.status_code == 201, made.text
    headers = {"authorization": f"Bearer {made.json()['secret']}"}
    for path in ("billing-runs", "billing-attempts", "uploads", "debtors", "webhook-events"):
        assert (await browser.get(f"/api/{path}/1", headers=headers)).status_code == 200, path
    # An entry of the blacklist holds for all accounts, so it may be another partner's.
    assert (await browser.get("/api/debtors/1/history", headers=headers)).json()["blacklist"] is None
    app = application(Settings.from_env({}))
    before = (await browser.get("/api/audit", headers=KEY)).json()["items"]
    tried = 0
    for route in app.routes:
        for method in sorted(set(getattr(route, "methods", ())) - {"OPTIONS", "HEAD"}):
            if not route.path.startswith("/api/") or route.path.startswith("/api/schema"):
                continue
            if f"{method} {route.path}" in OPEN | JUDGED:
                continue
            names = re.findall(r"\{(\w+):", route.path)
            path = re.sub(r"\{\w+:\w+\}", "2", route.path)
            answer = await browser.request(method, path, headers=headers)
            missing = await browser.request(method, path.replace("/2", "/987654"), headers=headers)
            tried += 1
            permission = needed(method, re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path))
            assert permission is not None, route.path
            if set(names) & BY_ID.keys() and may("operator", permission):
                assert answer.status_code == 404, (method, path, answer.text)
                assert (missing.status_code, missing.content) == (404, answer.content), path
            else:
                assert (answer.status_code, missing.status_code) == (403, 403), (method, path, answer.text)
    assert tried > 50
    assert (await browser.get("/api/audit", headers=KEY)).json()["items"] == before
    mine = await browser.get("/api/billing-attempts", params={"account": "default"}, headers=headers)
    assert [item["account"] for item in mine.json()["items"]] == ["default"]
    for params in ({"account": "second"}, {}):
        other = await browser.get("/api/billing-attempts", params=params, headers=headers)
        assert other.status_code == 403
    order = {"account": "second", "due_item": "b"}
    refused = await browser.post("/api/uploads/1/billing", json=order, headers=headers)
    assert (refused.status_code, "no gateway account" in refused.text.lower()) == (422, True)
    wider = {"name": "wider", "role": "viewer"}
    assert (await browser.post("/api/api-keys", json=wider, headers=headers)).status_code == 403


def _with_money(database_url: str) -> None:
    """Give each of the two accounts a collected debit, a refund that was declined, and a notification that waits."""
    with psycopg.connect(database_url) as conn:
        conn.execute("update webhook_events set notification_id = 'same', reason = 'of ' || account")
        conn.execute(
            "update billing_attempts set amount_minor = case id when 1 then 1111 else 7777 end, unique_id = 'id-' || account,"
            " bank_bic = case id when 1 then 'COBADEFF' else 'DEUTDEFF' end"
        )
        conn.execute("update billing_attempts set payment_stage = 60, state = 'approved', updated_at = now()")
        conn.execute(
            "insert into refunds (attempt_id, kind, number, account, transaction_id, amount_minor, currency, usage, state, payment_stage,"
            " ordered_by, created_at, updated_at) select id, 'refund', 1, account, 'back-' || account, amount_minor, 'EUR', 'x',"
            " 'declined', 50, 'ops', now(), now() from billing_attempts"
        )


async def _partner(browser: httpx.AsyncClient, role: str) -> dict[str, str]:
    """The headers of a caller who is limited to the first account."""
    key = {"name": f"partner-{role}", "role": role, "accounts": ["default"]}
    made = await browser.post("/api/api-keys", json=key, headers=KEY)
    assert made.status_code == 201, made.text
    return {"authorization": f"Bearer {made.json()['secret']}"}


def _has_form(path: str, form: str) -> bool:
    """Figures and chargebacks are not counted; the sums by code are JSON alone."""
    if form == "count":
        return not any(part in path for part in ("/figures", "/chargebacks"))
    return form == "json" or not path.endswith("by-code")


async def test_lists_and_sums_of_a_limited_caller_hold_nothing_of_others(
    browser: httpx.AsyncClient, two_accounts: str
) -> None:
    """A partner reads the money of another one where one list, one grouping or one file forgets the account."""
    _with_money(two_accounts)
    headers = await _partner(browser, "viewer")
    asked = [
        *(f"/api/figures?by={by}&basis={basis}" for by in get_args(By) for basis in get_args(Basis)),
        *(f"/api/figures?upload=2&by={by}" for by in ("total", "run")),
        *("/api/figures?run=2", "/api/figures?bank=DEUTDEFF", "/api/figures/exposure"),
        *(
            "/api/billing-attempts?run=2",
            "/api/billing-attempts?unique_id=id-second",
            "/api/mandates?debtor=2",
        ),
        *("/api/billing-runs", "/api/billing-runs?upload=2", "/api/refunds", "/api/refunds?status=declined"),
        *("/api/webhook-events?status=parked", "/api/webhook-events?unique_id=same", "/api/collection-plans"),
        *("/api/chargebacks", "/api/chargebacks?reason_code=AC04", "/api/chargebacks/by-code"),
        *("/api/uploads", "/api/uploads?filename=csv"),
    ]
    assert {f"GET {path.partition('?')[0]}" for path in asked} == FILTERED
    of_others = ("second", "DEUTDEFF", "7777", "77.77", "8888", "88.88")
    own = 0
    for path in asked:
        mark = "&" if "?" in path else "?"
        for form in ("json", "csv", "count"):
            if not _has_form(path, form):
                continue
            url = f"{path}{mark}account=default" + ("" if form == "json" else f"&format={form}")
            answer = await browser.get(url, headers=headers)
            assert answer.status_code == 200, (url, answer.text)
            assert not any(mark in answer.text for mark in of_others), (url, answer.text)
            own += "1111" in answer.text or "11.11" in answer.text
        for more in ("", f"{mark}account=second", f"{mark}account=default&account=second"):
            assert (await browser.get(f"{path}{more}", headers=headers)).status_code == 403, path
    assert own > 10


async def test_filters_and_bulk_orders_of_a_limited_caller_reach_nothing_of_others(
    browser: httpx.AsyncClient, two_accounts: str
) -> None:
    """A filter that names another one's upload tells whether it exists, and an order about everything is about theirs."""
    _with_money(two_accounts)
    headers = await _partner(browser, "viewer")
    for path in ("figures/exposure", "chargebacks", "chargebacks/by-code"):
        theirs = await browser.get(f"/api/{path}?account=default&upload=2", headers=headers)
        missing = await browser.get(f"/api/{path}?account=default&upload=987654", headers=headers)
        assert (theirs.status_code, theirs.content) == (404, missing.content), path
    mine = await browser.get("/api/figures/exposure?account=default&upload=1", headers=headers)
    assert mine.json()["totals"][0]["refundable"]["amount_minor"] == 1111
    for path in (
        "/api/figures/ageing?upload=2&account=default",
        "/api/events?account=default",
        "/api/debtors",
        "/api/debtors?account=default",
    ):
        assert (await browser.get(path, headers=headers)).status_code == 403, path
    own = (await browser.get("/api/debtors?upload=1", headers=headers)).json()["items"]
    assert {row["upload_id"] for row in own} == {1}
    for query in ("upload=2", "upload=1&upload=2", "upload=987654", f"upload={2**64}", "upload=x", "upload="):
        refused = await browser.get(f"/api/debtors?{query}", headers=headers)
        assert (refused.status_code, "no such upload" in refused.text) == (404, True), query
    # A debtor of whom another account has a mandate belongs to both.
    with psycopg.connect(two_accounts) as conn:
        conn.execute(
            "insert into mandates (account, debtor_id, reference, reference_key, signed_on, kind, state, iban_masked, account_since_at,"
            " created_by, created_at, updated_at) values ('second', 1, 'M', 'm', '2026-01-05', 'recurrent', 'active', 'DE', now(),"
            " 'ops', now(), now())"
        )
    for path in ("debtors/1", "debtors/1/history"):
        assert (await browser.get(f"/api/{path}", headers=headers)).status_code == 404, path
    # Notifications of an account are found beside another filter; no index leads from an account to those that are processed.
    for query in ("account=default", "account=default&status=processed"):
        wide = await browser.get(f"/api/webhook-events?{query}", headers=headers)
        assert (wide.status_code, "status other than processed" in wide.text) == (422, True)

    # The same for everything that matches.
    headers = await _partner(browser, "operator")
    order = {"action": "replay", "filters": {"status": "parked", "account": "default"}, "dry_run": True}
    preview = await browser.post("/api/bulk-orders", json=order, headers=headers)
    assert [total["count"] for total in preview.json()["totals"]] == [1], preview.text
    for filters in ({"status": "parked"}, {"status": "parked", "account": "second"}):
        refused = await browser.post("/api/bulk-orders", json={**order, "filters": filters}, headers=headers)
        assert refused.status_code == 403, refused.text


async def test_the_console_of_a_limited_person_begins_with_the_own_account(
    browser: httpx.AsyncClient, two_accounts: str
) -> None:
    """A page full of refusals is of no use to a partner, and sends the partner to ask for more rights than needed."""
    with psycopg.connect(two_accounts) as conn:
        conn.execute("update billing_attempts set amount_minor = case id when 1 then 1111 else 7777 end")
        conn.execute(
            "update billing_attempts set payment_stage = 60, state = 'approved', updated_at = now(), submitted_at = now()"
        )
    made = await browser.post(
        "/api/api-keys", json={"name": "partner", "role": "viewer", "accounts": ["default"]}, headers=KEY
    )
    assert (await browser.post("/sign-in", data={"key": made.json()["secret"]})).status_code == 303
    front = unescape((await browser.get("/")).text)
    assert "this is about the account <strong>default</strong>" in front
    assert "11.11 EUR" in front
    assert "could not be read" not in front
    assert '/notifications?status=parked&account=default"><strong>1</strong>' in front
    figures = unescape((await browser.get("/figures")).text)
    assert "11.11" in figures
    assert "77.77" not in front + figures
    assert "could not be read" not in figures
    # The files have what the page shows.
    assert "/api/figures/exposure?days=430&account=default&format=csv" in figures
    assert "/api/figures/exposure?by=upload&account=default&format=csv" in figures
    for path in ("/runs", "/refunds", "/payments", "/notifications?status=parked"):
        page = await browser.get(path)
        assert page.status_code == 200, (path, page.text)
        assert 'name="account" value="default"' in page.text, path
    runs = unescape((await browser.get("/runs")).text)
    assert ('href="/runs/1"' in runs, 'href="/runs/2"' in runs) == (True, False)


async def test_an_open_stream_ends_with_its_key(
    browser: httpx.AsyncClient, two_accounts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was shut out this morning would go on reading every payment through a connection of yesterday."""
    monkeypatch.setattr(stream, "CHECK_S", 0.0)
    made = await browser.post("/api/api-keys", json={"name": "ci", "role": "viewer"}, headers=KEY)
    headers = {"authorization": f"Bearer {made.json()['secret']}"}
    # The client of this test returns a response once it has ended.
    following = asyncio.create_task(browser.get("/api/events?after=0", headers=headers, timeout=None))
    assert (await browser.delete("/api/api-keys/1", headers=KEY)).status_code == 200
    with psycopg.connect(two_accounts) as conn:
        conn.execute(
            "insert into outbox (name, version, payload, occurred_at) values ('attempt.status_changed', 1, '{}', now())"
        )
    assert (await asyncio.wait_for(following, 60)).status_code in {200, 401}
    assert (await browser.get("/api/events?after=0", headers=headers)).status_code == 401
