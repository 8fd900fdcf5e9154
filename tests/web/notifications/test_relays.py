"""Relays over HTTP: an address of one account, which costs no query and verifies with that account's passwords only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_stores.accounts.gateway_accounts import GatewayAccount, new_key, put
from tether_stores.postgres import open_pool
from tether_web.notifications.receive import PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.web.conftest import Serve

KEY = new_key()
API = {"authorization": "Bearer test-key"}
DEFAULT, SECOND, FORMER = "s3cret-password", "second-password", "former-password"


def _account(name: str, password: str, **more: Any) -> GatewayAccount:
    return GatewayAccount(
        name=name,
        api_url="https://gate.example",
        login=f"login-{name}",
        passwords=(password,),
        terminal_tokens=(f"terminal-{name}",),
        **more,
    )


@pytest.fixture
async def accounts(environment: dict[str, str], database_url: str) -> dict[str, str]:
    """An environment with the account "default", a second node, and a former login of the second."""
    async with open_pool(database_url, name="tests", max_size=1) as pool, pool.connection() as conn:
        now = datetime.now(UTC)
        await put(conn, _account("second", SECOND), keys=[KEY], now=now)
        await put(conn, _account("older", FORMER, former_of="second", enabled=False), keys=[KEY], now=now)
    return environment | {"TETHER_SECRETS_KEY": KEY}


def _body(unique_id: str, secret: str, **fields: str) -> bytes:
    return form_body({"unique_id": unique_id, "status": "approved"} | fields, secret=secret)


async def _post(client: httpx.AsyncClient, path: str, body: bytes, **headers: str) -> httpx.Response:
    return await client.post(path, content=body, headers={"content-type": FORM} | headers)


async def _create(client: httpx.AsyncClient, name: str, **order: str) -> Any:
    answer = await client.post("/api/relays", json={"name": name} | order, headers=API)
    assert answer.status_code == 201, answer.text
    return answer.json()


def _query(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(query.encode()).fetchall()


_INBOX = "select notification_id, account, relay_id, sender from webhook_events order by id"


async def test_only_the_account_of_a_relay_is_heard_there(
    serving: Serve,
    accounts: dict[str, str],
    database_url: str,
    eventually: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A partner's proxy must not speak for other accounts; and whose address brought a notification is asked after an incident."""
    async with serving(accounts) as client:

        async def accounts_are_read() -> bool:
            return (await _post(client, PATH, _body("n0", SECOND))).status_code == 200

        await eventually(accounts_are_read, what="the gateway accounts of the database")
        made = await _create(client, "partner", account="second")
        relay_id, path, token = made["relay"]["id"], made["path"], made["token"]
        assert path == f"{PATH}/{token}"
        for unique_id, secret in (("n1", SECOND), ("n2", FORMER)):
            answer = await _post(
                client, path, _body(unique_id, secret), **{"x-forwarded-for": "6.6.6.6, 203.0.113.9"}
            )
            assert (answer.status_code, unique_id in answer.text) == (200, True)
        refused = await _post(client, path, _body("n3", DEFAULT), **{"x-forwarded-for": "203.0.113.7"})
        assert (refused.status_code, refused.json()) == (401, {"error": "Invalid signature"})
        # What came by the plain route first is a repeat here; the other way round, too.
        assert (await _post(client, path, _body("n0", SECOND))).status_code == 200
        assert (await _post(client, PATH, _body("n1", SECOND))).status_code == 200
        # Other content than the stored one is kept for a person, with the relay that brought it.
        assert (await _post(client, path, _body("n1", SECOND, amount="1"))).status_code == 200
        assert (await client.get(path)).status_code == 405
        (listed,) = (await client.get("/api/relays", headers=API)).json()
        assert listed["last_received_at"] is not None
        assert token not in (await client.get("/api/relays", headers=API)).text
        events = (await client.get("/api/webhook-events", headers=API)).json()["items"]
        assert {event["relay_id"] for event in events} == {None, relay_id}
    assert _query(database_url, _INBOX) == [
        ("n0", "second", None, None),
        ("n1", "second", relay_id, "203.0.113.9"),
        ("n2", "second", relay_id, "203.0.113.9"),
        ("n1", "second", relay_id, "127.0.0.1"),
    ]
    assert _query(database_url, "select state from webhook_events order by id desc limit 1") == [
        ("conflicting",)
    ]
    # The refused one is kept as one of the relay: the right password of another account does not take it in.
    # (n0 came until the accounts were read; it is genuine, and a repeat by now.)
    kept = "select notification_id, relay_id, sender from quarantined_notifications where notification_id <> 'n0'"
    assert _query(database_url, kept) == [("n3", relay_id, "203.0.113.7")]
    async with serving(accounts) as client:
        order: dict[str, Any] = {"json": {"reason": "its password was missing"}, "headers": API}
        assert (await client.post("/api/quarantine/reverify", **order)).json()["recorded"] == 0
        assert _query(database_url, kept) == [("n3", relay_id, "203.0.113.7")]
        async with open_pool(database_url, name="tests", max_size=1) as pool, pool.connection() as conn:
            both = _account("second", SECOND)
            values = {name: getattr(both, name) for name in both.__struct_fields__}
            await put(
                conn,
                GatewayAccount(**{**values, "passwords": (SECOND, DEFAULT)}),
                keys=[KEY],
                now=datetime.now(UTC),
            )
        assert (await client.post("/api/quarantine/reverify", **order)).json()["recorded"] == 1
    assert _query(database_url, _INBOX)[-1] == ("n3", "second", relay_id, "203.0.113.7")
    log = capsys.readouterr().out
    assert "relay created" in log
    assert token not in log
    dumped = str(_query(database_url, "select r::text from relays r")) + str(
        _query(database_url, "select a::text from audit a")
    )
    assert "partner" in dumped
    assert token not in dumped


async def test_an_unknown_or_revoked_token_gets_404_without_a_query(
    serving: Serve, accounts: dict[str, str], database_url: str, eventually: Callable[..., Any]
) -> None:
    """Anybody may try tokens at any rate: that must not reach Postgres. A token that leaked must end on every node."""
    async with serving(accounts) as node:
        made = await _create(node, "partner")
        relay_id, path = made["relay"]["id"], made["path"]
        async with serving(accounts) as other:

            async def known(client: httpx.AsyncClient = other) -> bool:
                return (await _post(client, path, _body("n1", DEFAULT))).status_code == 200

            await eventually(known, what="the relay on the other node")
            with psycopg.connect(database_url) as conn:
                conn.execute("lock table relays, gateway_accounts in access exclusive mode")
                for wrong in ("x", "relay_" + "A" * 43, made["token"][:-1], made["token"] + "/x"):
                    answer = await _post(node, f"{PATH}/{wrong}", _body("n2", DEFAULT))
                    assert answer.status_code == 404, wrong
                assert (await _post(node, path, _body("n2", DEFAULT))).status_code == 200
            address = f"/api/relays/{relay_id}"
            gone = await node.delete(address, headers=API, params={"reason": "it leaked"})
            assert gone.json()[0]["revoked_by"] == "tests"
            assert (await _post(node, path, _body("n3", DEFAULT))).status_code == 404

            async def refused() -> bool:
                return (await _post(other, path, _body("n1", DEFAULT))).status_code == 404

            await eventually(refused, what="the revocation on the other node")
            assert (await node.delete(address, headers=API)).status_code == 404
            again = await _create(node, "partner")
            assert again["token"] != made["token"]
    inbox = _query(database_url, "select notification_id from webhook_events order by id")
    assert inbox == [("n1",), ("n2",)]
    audited = _query(
        database_url,
        "select action, reason from audit where subject = 'relay' and subject_id = '1' order by id",
    )
    assert audited == [("relay.created", None), ("relay.revoked", "it leaked")]


async def test_a_relay_needs_a_name_of_its_own_and_an_account(
    serving: Serve, accounts: dict[str, str]
) -> None:
    """A relay of an account that does not exist refuses everything that is sent there, in silence."""
    async with serving(accounts) as client:
        await _create(client, "partner")
        for order, field in (
            ({"name": "partner"}, "name"),
            ({"name": "A partner"}, "name"),
            ({"name": "x", "account": "none"}, "account"),
            ({"name": "x", "account": "older"}, "account"),
        ):
            answer = await client.post("/api/relays", json=order, headers=API)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
