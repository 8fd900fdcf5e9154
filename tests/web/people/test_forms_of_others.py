"""Every form of the console, sent by who may not: a viewer, a page of another address, and a person limited to other gateway accounts."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_stores.settings import Settings
from tether_web.app import application

from tests.web.people.conftest import KEY

if TYPE_CHECKING:
    import httpx

# What each form may want, so that none is refused for want of a field before somebody asks who sends it.
FORM = {
    "reason": "a test",
    "order_key": "k" * 20,
    "due_item": "a",
    "what": "order",
    "version": "0",
    "amount": "1.00",
    "was_amount": "1.00",
    "upload_id": "1",
    "first_due_on": "2090-01-05",
    "debtor_id": "1",
    "debtor_ids": "1",
    "reference": "M-1",
    "signed_on": "2026-01-05",
    "ids": "1",
    "key": "1",
    "name": "eve",
    "role": "admin",
    "url": "https://books.example",
    "overlap_hours": "1",
    "since": "2026-01-01",
    "every": "1",
    "unit": "month",
    "share": "100",
    "code": "AM04",
    "retries": "1",
    "based_on": "0",
    "active": "0",
    "text": "Club",
    "queue": "webhooks",
    "relay": "2",
    "iban": "DE89370400440532013000",
    "action": "void",
    "filters": "run=1",
    "enabled": "on",
}
# Forms that want a file as well.
WITH_FILE = {"/blacklist/import", "/checks"}
FILE = {"file": ("accounts.csv", b"iban;name\nDE89370400440532013000;Eve\n", "text/csv")}
# The own session and account of the caller that sends them.
OWN_FORMS = {"/sign-in", "/sign-out", "/second-factor"}
STEPS = {"mandates": "cancel", "due-items": "waive", "payments": "refund"}


def forms_of_the_console() -> list[str]:
    """The address of each form, about row 2 of everything; rows of it exist in `two_accounts`."""
    found = set()
    for route in application(Settings.from_env({})).routes:
        if "POST" not in getattr(route, "methods", ()) or route.path.startswith("/api/"):
            continue
        if route.path in OWN_FORMS or route.path.startswith("/account/"):
            continue
        path = re.sub(r"\{\w+:int\}", "2", route.path).replace("{name:str}", "billing")
        word = next((word for part, word in STEPS.items() if f"/{part}/" in path), "pause")
        found.add(re.sub(r"\{\w+:str\}", word, path))
    return sorted(found)


def _state(database_url: str) -> list[tuple[object, ...]]:
    """What a refused form must leave as it is; the rows of the audit, and of what orders make."""
    with psycopg.connect(database_url) as conn:
        return conn.execute(
            "select (select count(*) from audit where action not like 'session.%'), (select count(*) from refunds),"
            " (select count(*) from billing_runs where state = 'running'), (select count(*) from uploads), (select count(*) from users),"
            " (select count(*) from bulk_orders), (select count(*) from blacklist)"
        ).fetchall()


async def _signed_in(browser: httpx.AsyncClient, **key: object) -> None:
    made = await browser.post("/api/api-keys", json={"name": "caller", **key}, headers=KEY)
    assert made.status_code == 201, made.text
    answer = await browser.post("/sign-in", data={"key": made.json()["secret"]})
    assert answer.status_code == 303, answer.text


async def test_a_viewer_orders_nothing_by_any_form(browser: httpx.AsyncClient, two_accounts: str) -> None:
    """Who may look must not find the one button that forgot to ask."""
    await _signed_in(browser, role="viewer")
    before = _state(two_accounts)
    paths = forms_of_the_console()
    assert len(paths) > 45
    refused = 0
    assert set(paths) >= WITH_FILE
    for path in paths:
        answer = await browser.post(path, data=FORM, files=FILE if path in WITH_FILE else None)
        assert answer.status_code in {403, 404}, (path, answer.status_code, answer.headers.get("location"))
        refused += answer.status_code == 403
    assert refused > 25
    assert _state(two_accounts) == before


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}])
async def test_no_form_is_accepted_from_another_address(
    browser: httpx.AsyncClient, two_accounts: str, headers: dict[str, str]
) -> None:
    """A page that an administrator visits would otherwise refund, bill and make users with the administrator's session."""
    await browser.post("/sign-in", data={"key": "test-key"})
    before = _state(two_accounts)
    for path in [*forms_of_the_console(), "/sign-out", "/account/password", "/sign-in"]:
        answer = await browser.post(path, data=FORM, headers=headers)
        assert answer.status_code == 401, path
    assert _state(two_accounts) == before
    assert (await browser.get("/payments")).status_code == 200


async def test_a_limited_operator_reaches_nothing_of_another_account_in_the_console(
    browser: httpx.AsyncClient, two_accounts: str
) -> None:
    """A partner with a browser counts through the addresses of pages and forms, and reads what filters say."""
    await _signed_in(browser, role="operator", accounts=["default"])
    with psycopg.connect(two_accounts) as conn:
        row = conn.execute(
            "select a.transaction_id, d.name from billing_attempts a join debtors d on d.id = a.debtor_id where a.id = 2"
        ).fetchone()
    assert row is not None
    marks = [str(mark) for mark in row]
    before = _state(two_accounts)
    for path in forms_of_the_console():
        answer = await browser.post(path, data=FORM | {"filters": "run=2&account=second"})
        assert answer.status_code in {403, 404, 422}, (path, answer.status_code)
        assert not any(mark in answer.text for mark in marks), path
    assert _state(two_accounts) == before
    pages = [
        re.sub(r"\{\w+:\w+\}", "2", route.path)
        for route in application(Settings.from_env({})).routes
        if "GET" in getattr(route, "methods", ())
        and not route.path.startswith(("/api", "/static", "/metrics"))
    ]
    assert {"/payments/2", "/debtors/2", "/uploads/2", "/notifications/2", "/runs/2"} <= set(pages)
    own = 0
    for path in pages:
        is_list = not re.search(r"\d", path)
        for query in ("", "?account=second", "?account=default&account=second", "?run=2")[
            : None if is_list else 1
        ]:
            answer = await browser.get(f"{path}{query}")
            assert not any(mark in answer.text for mark in marks), f"{path}{query}"
            own += answer.status_code == 200
    assert own > 10
    mine = await browser.get("/payments/1")
    assert mine.status_code == 200
    # The list begins with the own account, so that it is of use without knowing its name.
    listed = unescape((await browser.get("/payments")).text)
    assert 'href="/payments/1"' in listed
    assert 'name="account" value="default"' in listed
    assert (await browser.get("/mandates")).status_code == 200
    assert (await browser.get("/mandates?account=second")).status_code == 403
    for query in ("account=default&run=2", "account=default&debtor=2", "account=default&upload=2"):
        for form in ("json", "csv", "count"):
            found = await browser.get(f"/api/billing-attempts?{query}&format={form}")
            assert found.status_code == 200, found.text
            assert not any(mark in found.text for mark in marks), (query, form)
    many = await browser.get("/api/billing-attempts?account=default&account=second&format=csv")
    assert many.status_code == 403
