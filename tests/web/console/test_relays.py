"""The console's forms of relays and of announcements: an address shown once, and who would be told before anybody is."""

from __future__ import annotations

from datetime import UTC, datetime
from html import unescape
from typing import TYPE_CHECKING

import pytest
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload

from tests.web.console.conftest import flaws

if TYPE_CHECKING:
    import httpx

NOW = datetime.now(UTC)


@pytest.fixture
def console_environment(environment: dict[str, str]) -> dict[str, str]:
    """With a gateway account."""
    return environment | {"EMP_API_URL": "https://gateway.invalid"}


async def _page(browser: httpx.AsyncClient, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    assert flaws(answer.text) == []
    return unescape(answer.text)


async def test_a_relay_is_created_and_revoked_with_forms(browser: httpx.AsyncClient) -> None:
    """An address that a page shows again is everybody's in the room; one that nobody can end stays open."""
    assert "There are no relays." in await _page(browser, "/gateway-accounts")
    form = {"name": "partner", "account": "default", "reason": "their proxy"}
    made = await browser.post("/relays", data=form)
    assert (made.status_code, flaws(made.text)) == (200, [])
    assert "/api/webhooks/emp/relay_" in unescape(made.text)
    page = await _page(browser, "/gateway-accounts")
    assert "relay_" not in page.replace("relay_revoked", "")
    assert "<td>partner</td>" in page
    again = await browser.post("/relays", data=form)
    assert (again.status_code, "a relay with this name exists" in again.text.lower()) == (422, True)
    assert (await browser.post("/relays/revoke", data={"relay": "one"})).status_code == 422
    gone = await browser.post("/relays/revoke", data={"relay": "1", "reason": "it leaked"})
    assert gone.headers["location"] == "/gateway-accounts?done=relay_revoked"
    assert "revoked by tests" in await _page(browser, gone.headers["location"])
    assert (await browser.post("/relays/revoke", data={"relay": "1"})).status_code == 404


async def test_an_upload_is_announced_after_a_look_at_the_text(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """Ten thousand letters with a wrong name are sent once; who orders them must see one before."""
    upload_id, _ = seed_upload(
        database_url, [Owed(scripted_iban(number), 1_000) for number in range(2)], now=NOW
    )
    at = f"/uploads/{upload_id}/pre-notifications"
    assert "Announce a debit to the debtors" in await _page(browser, f"/uploads/{upload_id}")
    form = {"due_item": "2026-12", "notice_days": "14", "language": "de", "creditor_name": "Club <e.V.>"}
    shown = await browser.post(at, data=form | {"what": "dry_run"})
    assert (shown.status_code, flaws(shown.text)) == (200, [])
    text = unescape(shown.text)
    assert "2 debtors would be billed for 2026-12" in text
    assert "Guten Tag Ada Example" in text
    wrong = await browser.post(at, data=form | {"due_on": NOW.date().isoformat(), "what": "dry_run"})
    assert (wrong.status_code, "or a later day" in wrong.text) == (422, True)
    done = await browser.post(at, data=form | {"what": "order"})
    assert done.headers["location"].startswith("/pre-notifications?status=made&upload=")
    page = await _page(browser, done.headers["location"])
    assert "I have given the 2 of this page that wait" in page
