"""The console's pages of subscribers and gateway accounts: what they show, and what their forms do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_stores.accounts.gateway_accounts import new_key

from tests.web.console.conftest import flaws

if TYPE_CHECKING:
    import httpx

NOW = datetime.now(UTC)
BOOKS = {"name": "books", "url": "https://books.example/events", "begin": "new events"}


@pytest.fixture
def console_environment(environment: dict[str, str]) -> dict[str, str]:
    """With a key for secrets and a gateway account."""
    return environment | {"TETHER_SECRETS_KEY": new_key(), "EMP_API_URL": "https://gateway.invalid"}


@pytest.fixture
async def subscriber(browser: httpx.AsyncClient) -> str:
    """A subscriber that gets two types of events; the path of its page."""
    types = ["iban.blocked", "attempt.status_changed"]
    added = await browser.post("/subscribers", data={**BOOKS, "types": types})
    assert added.status_code == 200, added.text
    assert flaws(added.text) == []
    assert "whsec_" in added.text
    found = re.search(r'href="(/subscribers/\d+)"', added.text)
    assert found is not None
    return found[1]


async def _page(browser: httpx.AsyncClient, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    assert flaws(answer.text) == []
    return unescape(answer.text)


async def test_a_subscriber_is_changed_and_its_secret_is_shown_once(
    browser: httpx.AsyncClient, subscriber: str
) -> None:
    """A secret on a page that stays open, or that is shown again, is a secret of everybody in the room."""
    page = await _page(browser, subscriber)
    assert "whsec_" not in page
    assert re.search(r"It gets (iban\.blocked|attempt\.status_changed), ", page)
    rotated = await browser.post(f"{subscriber}/rotate", data={"overlap_hours": "24", "reason": "yearly"})
    assert (rotated.status_code, "whsec_" in rotated.text) == (200, True)
    assert "whsec_" not in await _page(browser, subscriber)
    wrong = await browser.post(f"{subscriber}/rotate", data={"overlap_hours": "soon", "reason": "x"})
    assert (wrong.status_code, "whsec_" in wrong.text) == (422, False)
    changed = await browser.post(
        f"{subscriber}/change", data={**BOOKS, "accounts": "default", "reason": "all events"}
    )
    assert changed.headers["location"] == f"{subscriber}?done=subscriber_changed"
    assert "It gets all events of default." in await _page(browser, subscriber)
    refused = await browser.post(f"{subscriber}/change", data={**BOOKS, "url": "http://10.0.0.1/"})
    assert refused.status_code == 422
    assert 'value="http://10.0.0.1/"' in unescape(refused.text)
    for step, state in (("pause", "paused"), ("activate", "active")):
        done = await browser.post(f"{subscriber}/{step}", data={"reason": "moves"})
        assert done.status_code == 303, done.text
        assert f">{state}</span>" in await _page(browser, subscriber)
    assert (await browser.post(f"{subscriber}/burn", data={"reason": "x"})).status_code == 404
    removed = await browser.post(f"{subscriber}/remove", data={"reason": "no longer used"})
    assert removed.headers["location"] == "/subscribers?done=subscriber_removed"
    assert (await browser.get(subscriber)).status_code == 404


async def test_deliveries_are_shown_with_their_tries_and_sent_again(
    browser: httpx.AsyncClient, subscriber: str, database_url: str
) -> None:
    """A bookkeeping program that was down for a week must get what it missed, and somebody must see that it did."""
    with psycopg.connect(database_url) as conn:
        row = conn.execute(
            "insert into outbox (name, version, payload, occurred_at) values ('iban.blocked', 1, '{}', %s) returning id",
            [NOW],
        ).fetchone()
        assert row is not None
        conn.execute(
            "update subscribers set position = %s, state = 'disabled', disabled_reason = 'failing'", [row[0]]
        )
        conn.execute(
            "insert into deliveries (subscriber_id, event_id, event_name, state, tries, failures, created_at, ended_at, http_status,"
            " error) values (1, %(event)s, 'iban.blocked', 'given_up', 2, 2, %(now)s, %(now)s, 500, 'status')",
            {"now": NOW, "event": row[0]},
        )
        conn.execute(
            "insert into delivery_tries (delivery_id, number, tried_at, took_ms, http_status, error)"
            " values (1, 1, %(now)s, 15000, null, 'timeout'), (1, 2, %(now)s, 20, 500, 'status')",
            {"now": NOW},
        )
    assert "disabled: its endpoint failed" in await _page(browser, "/")
    page = await _page(browser, subscriber)
    assert "It failed for five days without one success" in page
    assert "given up" in page
    log = await _page(browser, f"{subscriber}/deliveries?state=given_up")
    assert "<strong>1</strong> match" in log
    assert 'href="/deliveries/1"' in log
    assert 'value="subscriber=1&state=given_up"' in log
    bulk = {"action": "redeliver", "filters": "subscriber=1&state=given_up"}
    preview = await browser.post("/bulk-orders", data=bulk)
    assert (preview.status_code, "Redeliver all that match" in preview.text) == (200, True)
    placed = await browser.post("/bulk-orders", data={**bulk, "order_key": "k" * 20, "reason": "up again"})
    assert placed.status_code == 303, placed.text
    shown = await _page(browser, placed.headers["location"])
    assert "/subscribers/1/deliveries?state=given_up" in shown
    shown = await _page(browser, "/deliveries/1")
    assert "15000 ms" in shown
    assert "timeout" in shown
    again = await browser.post("/deliveries/1/replay", data={"reason": "it is up again"})
    assert again.headers["location"] == "/deliveries/1?done=delivery_replayed"
    assert ">waiting</span>" in await _page(browser, "/deliveries/1")
    assert (await browser.post(f"{subscriber}/activate", data={"reason": "up again"})).status_code == 303
    form = {"since": NOW.date().isoformat(), "until": "", "reason": "the week of the outage"}
    ordered = await browser.post(f"{subscriber}/replay", data=form)
    assert ordered.headers["location"] == f"{subscriber}?done=deliveries_replayed"
    assert "the week of the outage" in await _page(browser, subscriber)
    nothing = await browser.post(f"{subscriber}/replay", data={"since": "2020-01-01", "until": "2020-01-02"})
    assert nothing.status_code == 422
    assert (await browser.get("/deliveries/99")).status_code == 404


async def test_a_gateway_account_is_paused_and_resumed_with_forms(browser: httpx.AsyncClient) -> None:
    """The acquirer calls the person on duty, who has a browser: what leaves stops, and the overview says why."""
    refused = await browser.post("/gateway-accounts/default/pause", data={"reason": " "})
    assert refused.status_code == 422
    assert 'aria-invalid="true"' in refused.text
    done = await browser.post("/gateway-accounts/default/pause", data={"reason": "the acquirer <called>"})
    assert done.headers["location"] == "/gateway-accounts?done=account_paused"
    page = await _page(browser, done.headers["location"])
    assert "the acquirer <called>" in page
    assert "breaker closed" in page
    assert "a second" in page
    overview = await _page(browser, "/")
    assert "gateway account, paused by tests: the acquirer <called>" in overview
    at_work = overview.partition("<h2>At work</h2>")[2].partition("<h2>")[0]
    assert "<strong>0</strong> rows wait on the queues" in at_work
    assert "<strong>0</strong> workers live" in at_work
    assert "all circuit breakers are closed" in at_work
    assert (await browser.post("/gateway-accounts/default/resume")).status_code == 303
    assert (await browser.post("/gateway-accounts/default/resume")).status_code == 409
    assert (await browser.post("/gateway-accounts/other/pause", data={"reason": "x"})).status_code == 404
