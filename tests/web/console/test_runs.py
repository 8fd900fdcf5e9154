"""The console's page of a billing run: with which options it was ordered, and what the gateway refused of it."""

from __future__ import annotations

from datetime import UTC, datetime
from html import unescape
from typing import TYPE_CHECKING

import psycopg
import pytest
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload

from tests.web.console.conftest import flaws

if TYPE_CHECKING:
    import httpx


@pytest.fixture
def console_environment(environment: dict[str, str]) -> dict[str, str]:
    """With a gateway account."""
    return environment | {"EMP_API_URL": "https://gateway.invalid"}


async def test_a_run_shows_its_options_and_its_refusals_are_released(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """A run that pauses again after each resume, because nobody can release the refusals of last week, is given up."""
    owed = [Owed(scripted_iban(number), 1_000) for number in range(3)]
    upload_id, _ = seed_upload(database_url, owed, now=datetime.now(UTC))
    page = unescape((await browser.get(f"/uploads/{upload_id}")).text)
    assert '<option value="default">default</option>' in page.partition("Gateway account that collects")[2]
    order = {
        "due_item": "2026-12",
        "what": "order",
        "order_key": "k" * 20,
        "account": "default",
        "canary_share": "10",
        "debit_max_minor": "99.50",
        "tries_max": "3",
        "override": "charged_back",
        "override_reason": "they <all> asked for it",
    }
    done = await browser.post(f"/uploads/{upload_id}/billing", data=order)
    assert done.status_code == 303, done.text
    assert done.headers["location"] == "/runs/1?done=ordered"
    shown = await browser.get("/runs/1")
    assert flaws(shown.text) == []
    options = unescape(shown.text).partition("<h2>Options</h2>")[2].partition("<h2>")[0]
    for text in (
        "2026-12",
        "10 %",
        "99.50 EUR",
        "charged back, for all debtors, by tests: they <all> asked for it",
    ):
        assert text in options
    assert "Tries" not in options
    assert "Release the refusals" not in shown.text
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "insert into billing_run_counts (run_id, answered, refused, refused_at) values (1, 30, 25, now())"
            " on conflict (run_id) do update set answered = 30, refused = 25, refused_at = now()"
        )
    form = 'action="/runs/1/release-refusals"'
    before = unescape((await browser.get("/runs/1")).text)
    assert "refused 25 of 30 debits" in before
    assert form in before
    refused = await browser.post("/runs/1/release-refusals", data={"reason": ""})
    assert (refused.status_code, flaws(refused.text)) == (422, [])
    gone_on = await browser.post("/runs/1/release-refusals", data={"reason": "the terminal was wrong"})
    assert gone_on.headers["location"] == "/runs/1?done=refusals_released"
    after = unescape((await browser.get("/runs/1")).text)
    assert "Released by tests: the terminal was wrong." in after
    assert form not in after
