"""Callers who are limited to some gateway accounts: ids of others do not exist for them, and open streams end with the key."""

from __future__ import annotations

import asyncio
import random
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_core.people.roles import may
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.seed import seed
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.settings import Settings
from tether_web.app import application
from tether_web.events import stream
from tether_web.http.permissions import needed
from tether_web.http.scopes import BY_ID, JUDGED, OPEN

from tests.web.people.conftest import KEY

if TYPE_CHECKING:
    import httpx

NOW = datetime.now(UTC)


@pytest.fixture
def two_accounts(database_url: str) -> str:
    """An upload, a run, a debit, a refund, a void of the run and a notification of each of two accounts, ids 1 and 2."""
    list(seed(database_url, attempts=2, rng=random.Random(1), now=NOW))
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("delete from billing_attempts; delete from debtors")
        conn.execute("alter table debtors alter id restart; alter table billing_attempts alter id restart")
    list(seed(database_url, attempts=2, rng=random.Random(2), now=NOW))
    with psycopg.connect(database_url) as conn:
        for number, account in ((1, "default"), (2, "second")):
            upload_id, _ = seed_upload(database_url, [Owed(scripted_iban(number), 1000)], now=NOW)
            assert upload_id == number
            conn.execute("update debtors set upload_id = %s where id = %s", [number, number])
            conn.execute(
                "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at,"
                " updated_at) values (%(id)s, %(account)s, 'a', 'running', '{}', '{}', 'ops', %(now)s, %(now)s)",
                {"id": number, "account": account, "now": NOW},
            )
            conn.execute(
                "update billing_attempts set account = %s, run_id = %s, due_item = 'a', try_number = 1, submission_count = 1,"
                " submitted_at = %s where id = %s",
                [account, number, NOW, number],
            )
            conn.execute(
                "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body,"
                " state, failures, received_at, handled_at, reason) values (%(key)s, '\\x01', %(account)s, 'payment', 'n', 'x',"
                " 'webhook', '', '', 'parked', 4, %(now)s, %(now)s, 'no such payment')",
                {"key": bytes([number]), "account": account, "now": NOW},
            )
    return database_url


async def test_ids_of_other_accounts_do_not_exist(browser: httpx.AsyncClient, two_accounts: str) -> None:
    """A partner who counts through ids would read, refund or pause the payments of another one."""
    body = {"name": "partner", "role": "operator", "accounts": ["default"]}
    made = await browser.post("/api/api-keys", json=body, headers=KEY)
    assert made.status_code == 201, made.text
    headers = {"authorization": f"Bearer {made.json()['secret']}"}
    for path in ("billing-runs", "billing-attempts", "uploads", "debtors", "webhook-events"):
        assert (await browser.get(f"/api/{path}/1", headers=headers)).status_code == 200, path
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
