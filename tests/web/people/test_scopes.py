"""Callers who are limited to some gateway accounts: ids of others do not exist for them, and open streams end with the key."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_core.people.roles import may
from tether_stores.settings import Settings
from tether_web.app import application
from tether_web.events import stream
from tether_web.http.permissions import needed
from tether_web.http.scopes import BY_ID, JUDGED, OPEN

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
