"""The key of the secrets: after its change every sealed text opens under the new key alone, and what cannot be helped is said."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from tether_core.emp.signature import Credential
from tether_core.errors import InvalidRequest
from tether_stores import secrets_key
from tether_stores.accounts import gateway_accounts
from tether_stores.accounts.gateway_accounts import GatewayAccount, new_key, opened_keys
from tether_stores.notifications import quarantine
from tether_stores.notifications.quarantine import NewRow
from tether_stores.people import second_factor
from tether_stores.secrets_key import SealedCounts
from tether_stores.settings import Settings
from tether_stores.subscribers import secrets
from tether_worker.__main__ import main
from tether_worker.secrets_key import count, reseal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
OLD, NEW, LOST = new_key(), new_key(), new_key()
SECRET = secrets.written(b"s" * 32)
BODIES = 5


async def _sealed_texts(conn: Connection, *, key: str) -> dict[str, int]:
    """One account, one subscriber, one second factor and five refused notifications, sealed under a key; ids by kind."""
    account = GatewayAccount(
        name="second",
        api_url="https://gate.example",
        login="its-login",
        passwords=("its-password",),
        terminal_tokens=("its-terminal",),
    )
    await gateway_accounts.put(conn, account, keys=[key], now=NOW)

    async def added(query: str) -> int:
        row = await (await conn.execute(query.encode(), {"now": NOW})).fetchone()
        assert row is not None
        return int(row[0])

    subscriber_id = await added(
        "insert into subscribers (name, url, state, sealed, position, created_by, created_at, updated_at)"
        " values ('books', 'https://books.example', 'active', '', 0, 'ops', %(now)s, %(now)s) returning id"
    )
    user_id = await added(
        "insert into users (name, role, created_at, updated_at) values ('ada', 'admin', %(now)s, %(now)s) returning id"
    )
    await conn.execute(
        "update subscribers set sealed = %s where id = %s",
        (secrets.sealed(subscriber_id, [SECRET], keys=[key]), subscriber_id),
    )
    await conn.execute(
        "update users set second_factor = %s where id = %s",
        (second_factor.sealed("JBSWY3DPEHPK3PXP", user_id=user_id, keys=[key]), user_id),
    )
    await conn.execute(
        "insert into users (name, role, created_at, updated_at) values ('bea', 'viewer', now(), now())"
    )
    await _refuse(conn, [f"unique_id={number}".encode() for number in range(BODIES)], key=key)
    return {"subscriber": subscriber_id, "user": user_id}


async def _refuse(conn: Connection, bodies: Sequence[bytes], *, key: str) -> None:
    keys = opened_keys([key])
    assert keys is not None
    rows = [
        NewRow(
            digest=(digest := quarantine.digest_of(body)),
            account="default",
            notification_id="1",
            report_class="unknown",
            attempt_id=None,
            sealed=quarantine.sealed(digest, "application/x-www-form-urlencoded", body, keys=keys),
            size_bytes=len(body),
            sender="",
            deliveries=1,
            received_at=NOW,
            last_received_at=NOW,
        )
        for body in bodies
    ]
    await quarantine.add(conn, rows)


async def _bodies(conn: Connection, *, key: str) -> list[bytes]:
    """The bodies that a key opens."""
    keys = opened_keys([key])
    assert keys is not None
    rows = await quarantine.page(conn, after_at=datetime(2000, 1, 1, tzinfo=UTC), after_id=0, limit=100)
    return [kept.body for row in rows if (kept := quarantine.opened(row, keys=keys)) is not None]


async def _audited(conn: Connection) -> list[tuple[Any, ...]]:
    query = "select reason, before, after from audit where action = 'secrets.resealed' order by id"
    return await (await conn.execute(query)).fetchall()


async def test_everything_opens_under_the_new_key_alone(
    conn: Connection, pool: Pool, database_url: str
) -> None:
    """A text that is left under the old key is lost with it: an account that submits nothing, a person who is locked out, a payment nobody takes in."""
    ids = await _sealed_texts(conn, key=OLD)
    await _refuse(conn, [b"nobody opens this"], key=LOST)
    keys = [NEW, OLD]
    former = dict.fromkeys(("accounts", "subscribers", "second_factors"), SealedCounts(former=1))
    assert await count(conn, keys, batch_max=2) == {**former, "quarantine": SealedCounts(0, BODIES, 1)}

    # Another transaction holds a row: it is passed over, and nothing waits for it.
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("select 1 from quarantined_notifications order by id limit 1 for update")
        done = await reseal(pool, keys, ordered_by="ada", reason="the old key leaked", batch_max=2)
    assert done == {"accounts": 1, "subscribers": 1, "second_factors": 1, "quarantine": BODIES - 1}
    assert (await count(conn, keys))["quarantine"] == SealedCounts(BODIES - 1, 1, 1)
    again = await reseal(pool, keys, ordered_by="ada", reason="the rest", batch_max=2)
    assert again == {"accounts": 0, "subscribers": 0, "second_factors": 0, "quarantine": 1}
    assert await reseal(pool, keys, ordered_by="ada", reason="once more") is None

    only_new = Settings.from_env({"TETHER_SECRETS_KEY": NEW})
    accounts = await gateway_accounts.all_accounts(conn, settings=only_new)
    assert gateway_accounts.credentials(accounts.values()) == (
        Credential("second", "its-login", ("its-password",), ("its-terminal",)),
    )
    row = await (await conn.execute("select sealed from subscribers")).fetchone()
    assert row is not None
    assert secrets.opened(ids["subscriber"], bytes(row[0]), keys=[NEW]) == (SECRET,)
    row = await (await conn.execute("select second_factor from users where name = 'ada'")).fetchone()
    assert row is not None
    assert second_factor.opened(bytes(row[0]), user_id=ids["user"], keys=[NEW]) == "JBSWY3DPEHPK3PXP"
    assert sorted(await _bodies(conn, key=NEW)) == [
        f"unique_id={number}".encode() for number in range(BODIES)
    ]
    assert await _bodies(conn, key=OLD) == []
    assert await _bodies(conn, key=LOST) == [b"nobody opens this"]

    (first, before, after), (second, *_) = await _audited(conn)
    assert (first, second) == ("the old key leaked", "the rest")
    assert (before["former_quarantine"], after) == (BODIES, {"by": "ada"})


async def test_a_text_that_was_written_meanwhile_is_not_replaced(conn: Connection, pool: Pool) -> None:
    """A password that was changed while the command ran would be put back to the one before."""
    await _sealed_texts(conn, key=OLD)
    some = await secrets_key.texts(conn, "accounts", after=None, limit=10)
    changed = GatewayAccount(
        name="second", api_url="https://gate.example", login="b", passwords=("c",), terminal_tokens=("d",)
    )
    await gateway_accounts.put(conn, changed, keys=[OLD], now=NOW)
    replacing = list(secrets_key.resealed(some, keys=[NEW, OLD]))
    assert (len(replacing), await secrets_key.replace(conn, "accounts", replacing)) == (1, 0)
    assert (await reseal(pool, [NEW, OLD], ordered_by="ada", reason="x") or {})["accounts"] == 1
    accounts = await gateway_accounts.all_accounts(
        conn, settings=Settings.from_env({"TETHER_SECRETS_KEY": NEW})
    )
    assert accounts["second"].login == "b"
    with pytest.raises(InvalidRequest, match="nothing is sealed"):
        await count(conn, [])


@pytest.fixture
def run(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run a command with some keys; gives its exit code and what it printed."""
    for name, value in (environment | {"COLUMNS": "200"}).items():
        monkeypatch.setenv(name, value)

    def start(*words: str, keys: str) -> tuple[int, str]:
        monkeypatch.setenv("TETHER_SECRETS_KEY", keys)
        code = main(words)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return start


async def _prepared(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        await _sealed_texts(conn, key=OLD)


def test_the_command_says_what_is_left(run: Callable[..., tuple[int, str]], database_url: str) -> None:
    """The old key is removed by what this command says: it must not end well while anything needs that key."""
    assert run("secrets", "show", keys="")[0] == 2
    assert run("secrets", "show", keys=NEW)[0] == 0
    asyncio.run(_prepared(database_url))
    code, text = run("secrets", "show", keys=f"{NEW},{OLD}")
    assert (code, "5 refused notifications are sealed under a former key" in text) == (1, True)
    code, text = run("secrets", "show", keys=NEW)
    assert (code, "1 gateway accounts are opened by no key here" in text) == (1, True)
    assert run("secrets", "reseal", "--by", " ", "--reason", "x", keys=f"{NEW},{OLD}")[0] == 2
    code, text = run("secrets", "reseal", "--by", "ada", "--reason", "yearly", keys=f"{NEW},{OLD}")
    assert (code, "sealed anew: 8 texts" in text) == (0, True)
    assert not any(secret in text for secret in (OLD, NEW, "its-password", SECRET))
    assert run("secrets", "show", keys=NEW)[0] == 0
    assert "nothing to do" in run("secrets", "reseal", "--by", "ada", "--reason", "yearly", keys=NEW)[1]


def test_the_doctor_says_what_a_former_key_still_seals(
    run: Callable[..., tuple[int, str]], database_url: str
) -> None:
    """Who only checks that all is well before the old key goes, and never heard of `secrets show`, loses accounts and second factors with it."""

    def said(keys: str) -> dict[str, list[str]]:
        _, text = run("doctor", "--json", "--without-gateway", keys=keys)
        found: dict[str, list[str]] = {"well": [], "advice": [], "wrong": []}
        for item in msgspec.json.decode(text.partition("\n")[0]):
            if "TETHER_SECRETS_KEY" in item["text"]:
                found[item["verdict"]].append(item["text"])
        return found

    nothing = "the first key of TETHER_SECRETS_KEY opens all that is sealed"
    assert said(NEW) == {"well": [nothing], "advice": [], "wrong": []}
    asyncio.run(_prepared(database_url))
    assert said(OLD) == {"well": [nothing], "advice": [], "wrong": []}
    (sentence,) = said(f"{NEW},{OLD}")["advice"]
    assert sentence == (
        "A former key of TETHER_SECRETS_KEY still seals 1 gateway accounts, 1 subscribers, 1 second factors, 5 refused notifications. "
        "Run `tether-worker secrets reseal` before that key is removed."
    )
    lost = said(NEW)
    assert [text.partition(":")[0] for text in lost["wrong"]] == [
        f"1 {kind} are opened by no key here"
        for kind in ("gateway accounts", "subscribers", "second factors")
    ]
    assert lost["advice"][0].startswith("5 refused notifications are opened by no key here")
    (sentence,) = said("")["wrong"]
    assert sentence == (
        "TETHER_SECRETS_KEY is not set, and nothing here opens what is sealed under it: "
        "gateway accounts, subscribers, second factors, refused notifications. Set it as it was."
    )
    assert run("secrets", "reseal", "--by", "ada", "--reason", "yearly", keys=f"{NEW},{OLD}")[0] == 0
    assert said(NEW) == {"well": [nothing], "advice": [], "wrong": []}
