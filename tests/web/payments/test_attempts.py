"""Billing attempts over HTTP: found by either id, and listed without a gap while new ones come in."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import psycopg
from tether_sandbox.seed import Seeded, seed

from tests.support.clock import NOON

if TYPE_CHECKING:
    import httpx

KEY = {"authorization": "Bearer test-key"}


def _make(url: str, count: int, *, rng: int = 1) -> list[Seeded]:
    return list(seed(url, attempts=count, rng=random.Random(rng), now=NOON))


async def _get(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    answer = await client.get("/api/billing-attempts", params=params, headers=KEY)
    assert answer.status_code == 200, answer.text
    payload: dict[str, Any] = answer.json()
    return payload


async def test_an_item_says_what_programs_rely_on(client: httpx.AsyncClient, database_url: str) -> None:
    """These names are public; a renamed one breaks every program that reads them.

    And no account number is among them.
    """
    (made,) = _make(database_url, 1)
    assert await _get(client) == {
        "items": [
            {
                "id": made.id,
                "transaction_id": made.transaction_id,
                "unique_id": made.unique_id,
                "status": "pending",
                "amount_minor": made.amount_minor,
                "currency": "EUR",
                "error_code": None,
                "reason_code": None,
                "debtor_id": 1,
                "updated_at": "2026-03-02T12:00:00Z",
                "run_id": None,
                "due_item": None,
                "try_number": None,
                "submission_count": 0,
                "not_submitted_reason": None,
                "account": "default",
                "created_at": "2026-03-02T12:00:00Z",
            }
        ],
        "next": None,
    }
    item = await client.get(f"/api/billing-attempts/{made.id}", headers=KEY)
    assert (item.status_code, item.json()) == (200, (await _get(client))["items"][0])


async def test_filters_find_what_they_name_and_nothing_else(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A support person who looks a payment up must not be shown another one's state."""
    first, second, third = _make(database_url, 3)
    with psycopg.connect(database_url) as conn:
        conn.execute("update billing_attempts set state = 'approved' where id = %s", [second.id])

    async def ids(**params: Any) -> list[int]:
        return [item["id"] for item in (await _get(client, **params))["items"]]

    assert await ids() == [third.id, second.id, first.id]
    assert await ids(status="approved") == [second.id]
    assert await ids(unique_id=first.unique_id) == [first.id]
    assert await ids(transaction_id=third.transaction_id) == [third.id]
    assert await ids(transaction_id=third.transaction_id, status="approved") == []


async def test_filters_combine_and_say_what_to_add(client: httpx.AsyncClient, database_url: str) -> None:
    """An auditor lists the AC04 returns of an account above an amount; an ignored filter would list other debits."""
    made = _make(database_url, 3)
    with psycopg.connect(database_url) as conn:
        conn.execute("update billing_attempts set reason_code = 'AC04', amount_minor = id * 1000")
    old, middle, new = (entry.id for entry in made)

    async def ids(**params: Any) -> list[int]:
        return [item["id"] for item in (await _get(client, **params))["items"]]

    assert await ids(reason_code="AC04", account="default", amount_min_minor=old * 1000 + 1) == [new, middle]
    assert await ids(reason_code="AC04", amount_min_minor=middle * 1000, amount_max_minor=middle * 1000) == [
        middle
    ]
    assert await ids(reason_code="AM04") == []
    assert await ids(debtor=2, updated_from="2026-03-02T12:00:00Z") == [middle]
    assert await ids(debtor=2, updated_to="2026-03-02T12:00:00Z") == []
    assert await ids(run=1) == await ids(upload=1) == []
    found = await _get(client, created_from="2026-03-02T13:00:00+01:00", limit=2)
    assert [item["id"] for item in found["items"]] == [new, middle]
    rest = await _get(client, created_from="2026-03-02T13:00:00+01:00", limit=2, cursor=found["next"])
    assert ([item["id"] for item in rest["items"]], rest["next"]) == ([old], None)

    for params, field, words in (
        ({"amount_min_minor": 5}, "amount_min_minor", "add one of debtor, run, upload"),
        ({"updated_from": "2026-03-02T12:00:00Z"}, "updated_from", "add one of debtor, run, upload"),
        ({"run": 1, "amount_min_minor": 5, "amount_max_minor": 4}, "amount_max_minor", "nothing fits"),
        (
            {"created_from": "2026-03-02T12:00:00Z", "created_to": "2026-03-02T12:00:00Z"},
            "created_to",
            "not later",
        ),
        ({"created_from": "2026-03-02T12:00:00"}, "created_from", "needs an offset"),
        ({"created_from": "2026-03-02T12:00:00Z", "cursor": "aWQ6NDI"}, "cursor", "start again"),
        ({"created_from": "yesterday"}, "created_from", "must be a time like"),
    ):
        answer = await client.get("/api/billing-attempts", params=params, headers=KEY)
        assert answer.status_code in {400, 422}, params
        assert field in answer.text, answer.text
        assert words in answer.text, answer.text


async def test_pages_neither_skip_nor_repeat_while_rows_come_in(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A program that walks a list at night must see every row once, though the list grows under it."""
    made = [entry.id for entry in _make(database_url, 120)]
    seen: list[int] = []
    cursor = None
    while True:
        result = await _get(client, **({"cursor": cursor} if cursor else {}))
        seen += [item["id"] for item in result["items"]]
        cursor = result["next"]
        if cursor is None:
            break
        _make(database_url, 7, rng=len(seen))
    assert seen == made[::-1]


async def test_a_page_has_at_most_its_limit(client: httpx.AsyncClient, database_url: str) -> None:
    """Without a bound one call could ask for a million rows and take the node with it."""
    _make(database_url, 3)
    assert len((await _get(client, limit=2))["items"]) == 2
    for limit in ("0", "-1", "501", "many"):
        answer = await client.get("/api/billing-attempts", params={"limit": limit}, headers=KEY)
        assert answer.status_code == 400, limit
        assert answer.json()["errors"][0]["field"] == "limit"


async def test_unknown_ids_and_senseless_filters_get_a_sentence(client: httpx.AsyncClient) -> None:
    """A person who mistyped must read what to change, in the one form all errors have."""
    for path, status in {
        "/api/billing-attempts/1": 404,
        "/api/billing-attempts/0": 400,
        "/api/billing-attempts/99999999999999999999": 400,
        "/api/billing-attempts/" + "1" * 5_000: 404,
        "/api/billing-attempts/one": 404,
        "/api/billing-attempts?status=paid": 400,
        "/api/billing-attempts?cursor=nonsense": 422,
        "/api/billing-attempts?unique_id=" + "x" * 300: 400,
    }.items():
        answer = await client.get(path, headers=KEY)
        assert answer.status_code == status, path[:60]
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"title", "status", "detail", "code"} <= answer.json().keys()


async def test_a_chargeback_is_forgiven_with_a_reason(client: httpx.AsyncClient, database_url: str) -> None:
    """Without an entry of the blacklist there is nothing to lift, and the account could never be debited again."""
    (made,) = _make(database_url, 1)
    path = f"/api/billing-attempts/{made.id}/forgive"
    assert (await client.post(path, json={"reason": "x"})).status_code == 401
    assert (await client.post(path, json={}, headers=KEY)).status_code == 400
    assert (await client.post(path, json={"reason": " "}, headers=KEY)).status_code == 422
    assert (await client.post(path, json={"reason": "x"}, headers=KEY)).status_code == 409  # not charged back
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "update billing_attempts set dispute_stage = 1, payment_stage = 60, state = 'chargebacked'"
        )
    found = (await client.post(path, json={"reason": "paid  the fee"}, headers=KEY)).json()
    assert (found["is_new"], found["reason"], found["unforgiven"]) == (True, "paid the fee", 0)
    assert (await client.post(path, json={"reason": "again"}, headers=KEY)).json()["is_new"] is False
    assert (
        await client.post("/api/billing-attempts/999/forgive", json={"reason": "x"}, headers=KEY)
    ).status_code == 404


async def test_a_refused_fingerprint_key_shows_in_the_metrics(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """Nothing is billed on such a node, and nobody reads its readiness while notifications are recorded well."""
    _make(database_url, 1)
    assert "tether_fingerprint_key_refused 0.0" in (await client.get("/metrics")).text
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "insert into fingerprint_key (check_value, recorded_at) values ('\\x00112233', now())"
            " on conflict (single) do update set check_value = excluded.check_value"
        )
    assert "tether_fingerprint_key_refused 1.0" in (await client.get("/metrics")).text
