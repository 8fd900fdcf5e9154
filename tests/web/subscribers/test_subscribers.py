"""Subscribers over the API: who may add them, what is shown once, and what is refused with a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.events import NAMES
from tether_stores.accounts.gateway_accounts import new_key
from tether_stores.subscribers import secrets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.web.conftest import Serve

SECRETS_KEY = new_key()
NOW = datetime.now(UTC)
BOOKS = {"name": "Books", "url": "https://books.example/events", "types": ["iban.blocked"]}


@pytest.fixture
async def api(serving: Serve, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API with a key for secrets and a gateway account."""
    more = {"TETHER_SECRETS_KEY": SECRETS_KEY, "EMP_API_URL": "https://gateway.invalid"}
    async with serving(environment | more) as client:
        client.headers["authorization"] = "Bearer test-key"
        yield client


def _stored(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query.encode()).fetchall()


async def test_a_subscriber_from_its_first_secret_to_its_removal(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """A secret that can be read later, or that a rotation ends at once, loses events or the trust in them."""
    added = await api.post("/api/subscribers", json=BOOKS)
    assert added.status_code == 201, added.text
    secret, shown = added.json()["secret"], added.json()["subscriber"]
    assert (shown["name"], shown["types"], shown["accounts"], shown["state"]) == (
        "books",
        ["iban.blocked"],
        None,
        "active",
    )
    assert secret.startswith("whsec_")
    path = f"/api/subscribers/{shown['id']}"

    def opened() -> tuple[str, ...]:
        (text,) = _stored(database_url, "select sealed from subscribers")[0]
        assert secret.encode() not in text
        assert secrets.opened(shown["id"] + 1, text, keys=[SECRETS_KEY]) == ()
        return secrets.opened(shown["id"], text, keys=[SECRETS_KEY])

    assert opened() == (secret,)
    rotated = (await api.post(f"{path}/rotate", json={})).json()
    assert opened() == (rotated["secret"], secret)
    assert rotated["subscriber"]["old_secret_until"] is not None
    leaked = (await api.post(f"{path}/rotate", json={"overlap_hours": 0, "reason": "leaked"})).json()
    assert opened() == (leaked["secret"],)

    changed = (await api.patch(path, json={"types": None, "accounts": ["default"]})).json()
    assert (changed["types"], changed["accounts"]) == (None, ["default"])
    assert (await api.post(f"{path}/pause", json={"reason": "moves"})).json()["state"] == "paused"
    assert (await api.post(f"{path}/pause", json={})).json()["state"] == "paused"  # a repeat changes nothing
    assert (await api.post(f"{path}/activate", json={})).json()["state"] == "active"
    everything = (await api.get("/api/subscribers")).text + (await api.get(path)).text
    assert "whsec_" not in everything
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
    assert (await api.get("/api/subscribers")).json() == []
    assert (await api.post("/api/subscribers", json=BOOKS)).status_code == 201  # the name is free again


async def test_a_topic_is_an_address_where_its_broker_is_configured(
    serving: Serve, environment: dict[str, str]
) -> None:
    """The operator says which brokers there are; a caller names a topic of them, and nothing else."""
    more = {"TETHER_SECRETS_KEY": SECRETS_KEY, "TETHER_NATS_SERVERS": "nats://127.0.0.1:4222"}
    async with serving(environment | more) as api:
        api.headers["authorization"] = "Bearer test-key"
        added = await api.post("/api/subscribers", json=BOOKS | {"url": " nats:tether.events "})
        assert added.status_code == 201, added.text
        assert added.json()["subscriber"]["url"] == "nats:tether.events"
        path = f"/api/subscribers/{added.json()['subscriber']['id']}"
        refused = await api.patch(path, json={"url": "kafka:payments"})
        assert (refused.status_code, "TETHER_KAFKA_SERVERS" in refused.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "two words"}, "letters, digits"),
        ({"url": "http://books.example/"}, "https://"),
        ({"url": "https://127.0.0.1:5432/"}, "TETHER_SUBSCRIBER_NETWORKS"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "TETHER_SUBSCRIBER_NETWORKS"),
        ({"url": "kafka:payments"}, "TETHER_KAFKA_SERVERS"),
        ({"url": "nats:payments.>"}, "without wildcards"),
        ({"types": ["iban.freed"]}, "no event is named"),
        ({"types": []}, "at least one"),
        ({"accounts": ["other"]}, "no gateway account"),
        ({"after": 12}, "no event has this id"),
    ],
)
async def test_what_is_refused_and_why(api: httpx.AsyncClient, change: dict[str, Any], words: str) -> None:
    """A person who reads the answer must know what to change."""
    answer = await api.post("/api/subscribers", json=BOOKS | change)
    assert answer.status_code == 422, answer.text
    assert words.lower() in answer.json()["detail"].lower()


async def test_names_are_unique_and_a_key_of_the_operator_is_needed(
    api: httpx.AsyncClient, serving: Serve, environment: dict[str, str]
) -> None:
    """Without the key a secret would be stored as it is; two of one name cannot be told apart in the audit."""
    assert (await api.post("/api/subscribers", json=BOOKS)).status_code == 201
    again = await api.post("/api/subscribers", json=BOOKS)
    assert (again.status_code, "exists" in again.text) == (422, True)
    other = (await api.post("/api/subscribers", json=BOOKS | {"name": "other"})).json()["subscriber"]
    taken = await api.patch(f"/api/subscribers/{other['id']}", json={"name": "books"})
    assert (taken.status_code, "exists" in taken.text) == (422, True)
    async with serving(environment) as keyless:
        keyless.headers["authorization"] = "Bearer test-key"
        refused = await keyless.post("/api/subscribers", json=BOOKS | {"name": "third"})
        assert (refused.status_code, "TETHER_SECRETS_KEY" in refused.text) == (422, True)


async def test_only_an_administrator_decides_where_events_go(api: httpx.AsyncClient) -> None:
    """An operator's key in wrong hands must not send all events elsewhere; at night an operator must be able to resume."""
    shown = (await api.post("/api/subscribers", json=BOOKS)).json()["subscriber"]
    made = await api.post("/api/api-keys", json={"name": "ops", "role": "operator"})
    key = {"authorization": f"Bearer {made.json()['secret']}"}
    path = f"/api/subscribers/{shown['id']}"
    assert (await api.post("/api/subscribers", json=BOOKS | {"name": "x"}, headers=key)).status_code == 403
    assert (await api.patch(path, json={"url": "https://evil.example/"}, headers=key)).status_code == 403
    assert (await api.post(f"{path}/rotate", json={}, headers=key)).status_code == 403
    assert (await api.delete(path, headers=key)).status_code == 403
    assert (await api.post(f"{path}/pause", json={}, headers=key)).status_code == 200
    limited = await api.post("/api/api-keys", json={"name": "club", "role": "admin", "accounts": ["default"]})
    club = {"authorization": f"Bearer {limited.json()['secret']}"}
    assert (await api.get("/api/subscribers", headers=club)).status_code == 403
    assert (await api.get("/api/deliveries/1", headers=club)).status_code == 403


async def test_the_delivery_log_and_replays(api: httpx.AsyncClient, database_url: str) -> None:
    """A receiver that says it got nothing is answered from the log, and gets the range again."""
    subscriber_id = (await api.post("/api/subscribers", json=BOOKS)).json()["subscriber"]["id"]
    path = f"/api/subscribers/{subscriber_id}"
    with psycopg.connect(database_url) as conn:
        for number in range(1, 6):
            conn.execute(
                "insert into outbox (name, version, payload, occurred_at) values ('iban.blocked', 1, '{}', %s)",
                [NOW + timedelta(hours=number)],
            )
        conn.execute("update subscribers set position = 5")
        conn.execute(
            "insert into deliveries (subscriber_id, event_id, event_name, state, tries, created_at, ended_at, http_status, error)"
            " select 1, n, 'iban.blocked', case n when 3 then 'given_up' else 'delivered' end, 1, %(now)s, %(now)s, 500, 'status'"
            " from generate_series(1, 5) as n",
            {"now": NOW},
        )
        conn.execute("insert into delivery_tries values (3, 1, %s, 12, 500, 'status')", [NOW])
    first = (await api.get(f"{path}/deliveries", params={"limit": 3})).json()
    second = (await api.get(f"{path}/deliveries", params={"limit": 3, "cursor": first["next"]})).json()
    assert [item["event_id"] for item in first["items"] + second["items"]] == [5, 4, 3, 2, 1]
    given_up = (await api.get(f"{path}/deliveries", params={"state": "given_up"})).json()["items"]
    assert [item["event_id"] for item in given_up] == [3]
    assert len((await api.get(f"{path}/deliveries", params={"format": "csv"})).text.splitlines()) == 6
    detail = (await api.get("/api/deliveries/3")).json()
    assert [(item["number"], item["http_status"]) for item in detail["tries"]] == [(1, 500)]
    assert [item["id"] for item in (await api.get("/api/deliveries", params={"event_id": 3})).json()] == [3]
    assert (await api.post("/api/deliveries/3/replay", json={})).json()["delivery"]["state"] == "waiting"
    assert (await api.post("/api/deliveries/99/replay", json={})).status_code == 404

    for wrong in (
        {},
        {"after": 1, "since": NOW.isoformat()},
        {"after": 5},
        {"after": 1, "types": ["x"]},
        {"after": 1, "reason": "a\0"},
    ):
        assert (await api.post(f"{path}/replay", json=wrong)).status_code == 422, wrong
    since = (NOW + timedelta(hours=1, minutes=30)).isoformat()
    ordered = await api.post(f"{path}/replay", json={"since": since, "up_to": 99, "reason": "lost"})
    assert ordered.status_code == 202, ordered.text
    assert (ordered.json()["position"], ordered.json()["up_to"]) == (1, 5)
    waits = await api.post(f"{path}/replay", json={"after": 0})
    assert (waits.status_code, "in progress" in waits.text) == (422, True)
    assert [item["reason"] for item in (await api.get(f"{path}/replays")).json()] == ["lost"]


async def test_the_catalogue_lists_every_event(api: httpx.AsyncClient) -> None:
    """A type that is not in the catalogue cannot be subscribed to by a reader of it."""
    found = (await api.get("/api/event-types")).json()
    assert [item["name"] for item in found] == list(NAMES)
    assert all(item["type"] == f"tether.{item['name']}.{item['version']}" for item in found)
