"""A replay does what its preview shows."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.seed import seed
from tether_stores.postgres import open_pool
from tether_stores.settings import Settings
from tether_worker.notifications.apply import ApplyDeps, apply_batch

from tests.web.conftest import _serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

KEY = {"authorization": "Bearer test-key"}
# Fields of a notification about a debit, and what the preview says of it: at once, and if the gateway confirms it.
CASES: dict[str, tuple[dict[str, str], str, str | None]] = {
    "approved": ({"status": "approved"}, "applied", None),
    "again": ({"status": "pending_async"}, "unchanged", None),
    "charged back": (
        {"status": "chargebacked", "event": "chargeback", "reason_code": "AC04"},
        "confirm",
        "applied",
    ),
    "declined": ({"status": "declined", "error_code": "510"}, "confirm", "applied"),
    "of nobody": ({"status": "approved", "unique_id": "nobody"}, "not_yet", None),
    "strange": ({"status": "frobnicated"}, "park", None),
}


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Settings with a gateway account, which status inquiries need."""
    return environment | {"EMP_API_URL": "https://gateway.invalid"}


@pytest.fixture
async def client(environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which confirms failures as by default."""
    async with _serving(environment) as opened:
        yield opened


def _ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(query.encode()).fetchall()


async def test_a_replay_does_what_its_preview_shows(
    client: httpx.AsyncClient, database_url: str, environment: dict[str, str]
) -> None:
    """
    A preview that differs from the replay makes a person put a payment into a state that nobody wanted.

    And a preview that changes anything, or a state in which no replay is possible, must not look like one.
    """
    now = datetime.now(UTC)
    list(seed(database_url, attempts=len(CASES), rng=random.Random(4), now=now))
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update billing_attempts set unique_id = 'u' || id, state = 'pending', payment_stage = 20, submission_count = 1,"
            " submitted_at = now()"
        )
        first = conn.execute("select min(id) from billing_attempts").fetchone()
        assert first is not None
    for number, (fields, _, _) in enumerate(CASES.values()):
        body = form_body(
            {"unique_id": f"u{first[0] + number}", **fields}, secret=environment["EMP_API_PASSWORD"]
        )
        answer = await client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
        assert answer.status_code == 200, answer.text
    refused = await client.get("/api/webhook-events/1/replay-preview", headers=KEY)
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_step")
    _ask(
        database_url,
        "update webhook_events set state = 'parked', next_at = null, failures = 3, reason = 'failed', handled_at = now() returning 1",
    )
    before = _ask(database_url, "select * from webhook_events order by id")
    attempts = _ask(database_url, "select * from billing_attempts order by id")

    previews = []
    for number, (name, (_, at_once, then)) in enumerate(CASES.items(), start=1):
        answer = await client.get(f"/api/webhook-events/{number}/replay-preview", headers=KEY)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["now"]["outcome"] == at_once, name
        assert (found["confirmed"] and found["confirmed"]["outcome"]) == then, name
        previews.append(found)
    assert _ask(database_url, "select * from webhook_events order by id") == before
    assert _ask(database_url, "select * from billing_attempts order by id") == attempts
    assert _ask(database_url, "select count(*) from outbox") == [(0,)]
    assert previews[2]["confirmed"]["blacklist"] == ["block: AC04"]
    assert (await client.get("/api/webhook-events/99/replay-preview", headers=KEY)).status_code == 404

    for number in range(1, len(CASES) + 1):
        answer = await client.post(f"/api/webhook-events/{number}/replay", headers=KEY)
        assert answer.status_code == 202, answer.text
    settings = Settings.from_env(environment)
    async with open_pool(database_url, name="tests", max_size=2) as pool:
        deps = ApplyDeps(pool, settings.policy, lambda: datetime.now(UTC), lambda: 0.5)
        assert await apply_batch(deps) == len(CASES)
        _compare(database_url, [found["now"] for found in previews])
        # The gateway confirms what is reported.
        _ask(
            database_url,
            "update webhook_events set state = 'waiting', next_at = now() - interval '1 second', confirmed_status = status,"
            " confirmed_at = now(), confirmed_reason_code = case when status = 'chargebacked' then 'AC04' end,"
            " confirmed_error_code = case when status = 'declined' then '510' end where state = 'confirming' returning 1",
        )
        assert await apply_batch(deps) == sum(found["confirmed"] is not None for found in previews)
        _compare(database_url, [found["confirmed"] or found["now"] for found in previews])


def _compare(database_url: str, effects: list[dict[str, Any]]) -> None:
    """The stored rows are as the effects say."""
    rows = _ask(database_url, "select state, outcome, reason from webhook_events order by id")
    assert rows == [(effect["state"], effect["outcome"], effect["reason"]) for effect in effects]
    states = dict(_ask(database_url, "select id, state from billing_attempts"))
    names = [
        (name.rpartition(".")[0])
        for (name,) in _ask(
            database_url, "select convert_from(payload, 'utf8')::json ->> 'event' from outbox order by id"
        )
    ]
    changed = [change for effect in effects for change in effect["changes"]]
    for change in changed:
        if change["field"] == "status":
            assert states[change["subject_id"]] == change["after"]
    assert len({change["subject_id"] for change in changed}) == sum(
        state != "pending" for state in states.values()
    )
    expected = sorted(name for effect in effects for name in effect["events"])
    assert [name for name in sorted(names) if name != "iban.blocked"] == expected
    blocked = _ask(database_url, "select action || ': ' || reason_code from blacklist")
    assert [entry for effect in effects for entry in effect["blacklist"]] == [entry for (entry,) in blocked]
