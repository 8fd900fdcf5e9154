"""An upload whose debtors are told before they are billed: made once, listed, given, and demanded by a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.target_calendar import bank_day, next_open
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

NOW = datetime.now(UTC)
TODAY = bank_day(NOW)


@pytest.fixture
async def api(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API with an operator's key."""
    async with serving(environment | {"EMP_API_URL": "https://gateway.invalid"}) as client:
        client.headers["authorization"] = "Bearer test-key"
        yield client


@pytest.fixture
def upload_id(database_url: str) -> int:
    """An upload of three debtors, one of them blocked."""
    owed = [Owed(scripted_iban(number), 1_000 + number) for number in range(3)]
    made, debtors = seed_upload(database_url, owed, now=NOW)
    _change(
        database_url,
        "insert into blacklist (iban_fingerprint, iban_masked, action, scope, reason_code, note, source, added_by, created_at)"
        " select iban_fingerprint, 'DE**', 'block', 'iban', 'AC04', '', 'manual', 'ops', now() from debtors where id = %s",
        debtors[-1],
    )
    return made


def _change(url: str, query: str, *values: Any) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(query.encode(), values)


def _query(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(query.encode()).fetchall()


async def _announce(api: httpx.AsyncClient, upload_id: int, **order: Any) -> Any:
    answer = await api.post(
        f"/api/uploads/{upload_id}/pre-notifications", json={"due_item": "2026-12"} | order
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _skipped(api: httpx.AsyncClient, upload_id: int, **options: Any) -> tuple[int, dict[str, int]]:
    """How many a run would bill, and why not the others."""
    order = {"due_item": "2026-12", "notice_days": 14, "dry_run": True} | options
    answer = await api.post(f"/api/uploads/{upload_id}/billing", json=order)
    assert answer.status_code == 200, answer.text
    return answer.json()["count"], answer.json()["skipped"]


async def test_a_run_bills_only_debtors_who_were_notified_in_time(
    api: httpx.AsyncClient, upload_id: int, database_url: str
) -> None:
    """A debtor who was not told, or was told of another day or amount, reclaims the debit and is right."""
    assert await _skipped(api, upload_id) == (0, {"blocked": 1, "not_notified": 2})
    tried = await _announce(api, upload_id, dry_run=True, language="de", creditor_name="Club e.V.")
    due_on = next_open(TODAY + timedelta(days=14))
    assert (tried["debtors"], tried["made"], tried["skipped"]) == (2, 2, {"blocked": 1})
    assert (tried["due_on"], tried["give_on"]) == (str(due_on), str(due_on - timedelta(days=14)))
    assert "Ada Example, wir ziehen 19.99 EUR per Lastschrift von Ihrem Konto DE89" in tried["example"]
    assert _query(database_url, "select count(*) from pre_notifications") == [(0,)]

    made = await _announce(api, upload_id, language="de", creditor_name="Club e.V.")
    assert (made["made"], made["existing"], made["withdrawn"]) == (2, 0, 0)
    again = await _announce(api, upload_id)
    assert (again["made"], again["existing"], again["withdrawn"]) == (0, 2, 0)
    later = due_on + timedelta(days=7)
    moved = await _announce(api, upload_id, due_on=str(later))
    assert (moved["made"], moved["existing"], moved["withdrawn"]) == (2, 0, 2)
    names = _query(
        database_url,
        "select convert_from(payload, 'utf8') from outbox where name = 'pre_notification.status_changed'",
    )
    assert len(names) == 6
    assert not any("Zo" in payload for (payload,) in names)

    query: dict[str, str | int] = {"status": "made", "upload": upload_id}
    listed = (await api.get("/api/pre-notifications", params=query)).json()["items"]
    assert [(row["amount_minor"], row["due_on"]) for row in listed] == [
        (1_000, str(later)),
        (1_001, str(later)),
    ]
    assert "Zoë Miller" in listed[0]["text"]
    as_csv = (await api.get("/api/pre-notifications", params=query | {"format": "csv"})).text
    assert as_csv.count("Zoë Miller") >= 2
    given = await api.post("/api/pre-notifications/give", json={"ids": [row["id"] for row in listed]})
    assert given.json() == {"given": 2}
    proof = (await api.get(f"/api/debtors/{listed[0]['debtor_id']}/pre-notifications")).json()
    assert [(row["status"], row["given_by"]) for row in proof] == [("given", "tests"), ("withdrawn", None)]

    assert await _skipped(api, upload_id) == (0, {"blocked": 1, "not_notified": 2})
    _change(
        database_url,
        "update pre_notifications set given_at = now() - interval '14 days' where state = 'given'",
    )
    # The days have passed, but the debtors were told of a later day.
    assert await _skipped(api, upload_id) == (0, {"blocked": 1, "not_notified": 2})
    _change(database_url, "update pre_notifications set due_on = %s where state = 'given'", TODAY)
    assert await _skipped(api, upload_id) == (2, {"blocked": 1})
    assert await _skipped(api, upload_id, notice_days=15) == (0, {"blocked": 1, "not_notified": 2})
    assert await _skipped(api, upload_id, due_item="2027-01") == (0, {"blocked": 1, "not_notified": 2})
    # The text names the account.
    debtor = f"/api/debtors/{listed[1]['debtor_id']}"
    edit = {"version": 0, "changes": {"iban": scripted_iban(9)}, "reason": "a new account"}
    edited = await api.patch(debtor, json=edit)
    assert edited.status_code == 200, edited.text
    assert await _skipped(api, upload_id) == (1, {"blocked": 1, "not_notified": 1})
    again = await _announce(api, upload_id, due_on=str(later))
    assert (again["made"], again["existing"], again["withdrawn"]) == (2, 0, 0)
    edited = await api.patch(debtor, json=edit | {"version": 1, "changes": {"iban": scripted_iban(10)}})
    assert edited.status_code == 200, edited.text
    again = await _announce(api, upload_id, due_on=str(later))
    assert (again["made"], again["existing"], again["withdrawn"]) == (1, 1, 1)
    _change(database_url, "update debtors set amount_minor = 999 where id = %s", listed[0]["debtor_id"])
    assert await _skipped(api, upload_id) == (0, {"blocked": 1, "not_notified": 2})


async def test_what_cannot_be_announced_is_refused_with_a_sentence(
    api: httpx.AsyncClient, upload_id: int, database_url: str
) -> None:
    """A date that leaves too few days, or a text without the amount, must not reach ten thousand letters."""
    path = f"/api/uploads/{upload_id}/pre-notifications"
    for order, field in (
        ({"due_on": str(TODAY + timedelta(days=13))}, "due_on"),
        ({"due_on": str(TODAY + timedelta(days=400))}, "due_on"),
        ({"text": "You owe {amount}"}, "notice_text"),
        ({"account": "none"}, "account"),
        ({"due_item": "Beitrag!"}, "due_item"),
    ):
        answer = await api.post(path, json=order)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert (await api.post("/api/uploads/99/pre-notifications", json={})).status_code == 404
    assert (await _announce(api, upload_id))["made"] == 2
    await api.delete(f"/api/uploads/{upload_id}", params={"reason": "the wrong file"})
    assert (await api.post(path, json={})).status_code == 409
    assert _query(database_url, "select distinct state from pre_notifications") == [("withdrawn",)]
