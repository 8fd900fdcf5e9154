"""Accounts and their secrets: readable only with the key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest
from tether_core.errors import InvalidRequest
from tether_stores.accounts.gateway_accounts import (
    GatewayAccount,
    all_accounts,
    credentials,
    default_account,
    enable,
    new_key,
    put,
    rates,
)
from tether_stores.settings import Settings

if TYPE_CHECKING:
    from tether_stores.postgres import Connection

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY, OTHER_KEY = new_key(), new_key()
SECOND = GatewayAccount(
    name="second",
    api_url="https://gate.example",
    login="its-login",
    passwords=("new-password", "old-password"),
    terminal_tokens=("its-terminal",),
    billing_per_s=20.0,
    day_count_max=5_000,
)
ENVIRONMENT = {
    "EMP_API_URL": "https://gate.example",
    "EMP_API_LOGIN": "login",
    "EMP_API_PASSWORD": "password",
    "EMP_TERMINAL_TOKEN": "terminal",
}


def settings(**more: str) -> Settings:
    """Settings with the account of the environment."""
    return Settings.from_env(ENVIRONMENT | more)


async def test_an_account_is_found_again_with_its_key(conn: Connection) -> None:
    """A secret that does not come back as it was cannot sign in, and no notification of its debits is believed."""
    await put(conn, SECOND, keys=[KEY], now=NOW)
    found = await all_accounts(conn, settings=settings(TETHER_SECRETS_KEY=KEY))
    assert list(found) == ["default", "second"]
    assert found["second"] == msgspec.structs.replace(SECOND, characters="latin")
    assert [credential.account for credential in credentials(found.values())] == ["default", "second"]
    assert credentials([SECOND])[0].passwords == ("new-password", "old-password")


async def test_nothing_secret_is_readable_in_the_table(conn: Connection) -> None:
    """A backup of the table ends up in many hands."""
    await put(conn, SECOND, keys=[KEY], now=NOW)
    row = await (await conn.execute("select gateway_accounts::text, sealed from gateway_accounts")).fetchone()
    assert row is not None
    for secret in ("its-login", "new-password", "old-password", "its-terminal"):
        assert secret not in row[0]
        assert secret.encode() not in bytes(row[1])
        assert secret not in repr(SECOND)


async def test_keys_are_changed_one_after_the_other(conn: Connection) -> None:
    """Between the first and the last program that gets the new key, rows of both must open."""
    await put(conn, SECOND, keys=[KEY], now=NOW)
    both = settings(TETHER_SECRETS_KEY=f"{OTHER_KEY},{KEY}")
    assert "second" in await all_accounts(conn, settings=both)
    await put(conn, SECOND, keys=both.secrets_key, now=NOW)
    assert "second" in await all_accounts(conn, settings=settings(TETHER_SECRETS_KEY=OTHER_KEY))


@pytest.mark.parametrize("key", ["", OTHER_KEY], ids=["no key", "another"])
async def test_a_row_that_no_key_opens_stops_nobody_else(conn: Connection, key: str) -> None:
    """One account with a lost key must not take the notifications of all the others with it."""
    await put(conn, SECOND, keys=[KEY], now=NOW)
    assert list(await all_accounts(conn, settings=settings(TETHER_SECRETS_KEY=key))) == ["default"]


async def test_a_row_cannot_be_given_the_secrets_of_another(conn: Connection) -> None:
    """Otherwise write access to the table would be enough to submit one account's debits with another's password."""
    await put(conn, SECOND, keys=[KEY], now=NOW)
    await put(conn, msgspec.structs.replace(SECOND, name="third", login="other"), keys=[KEY], now=NOW)
    await conn.execute(
        "update gateway_accounts set sealed = (select sealed from gateway_accounts where name = 'third')"
        " where name = 'second'"
    )
    found = await all_accounts(conn, settings=settings(TETHER_SECRETS_KEY=KEY))
    assert list(found) == ["default", "third"]


async def test_an_account_is_replaced_and_disabled(conn: Connection) -> None:
    """A changed password must replace the old one, and a disabled account must still be known."""
    await put(conn, SECOND, keys=[KEY], now=NOW)
    await put(conn, msgspec.structs.replace(SECOND, passwords=("newest",)), keys=[KEY], now=NOW)
    assert await enable(conn, "second", enabled=False, now=NOW)
    assert not await enable(conn, "third", enabled=False, now=NOW)
    found = (await all_accounts(conn, settings=settings(TETHER_SECRETS_KEY=KEY)))["second"]
    assert (found.passwords, found.enabled) == (("newest",), False)


async def test_a_former_login_counts_for_the_account_that_had_it(conn: Connection) -> None:
    """Its password signs the chargebacks of older debits; as an account of its own it would sign for nobody's debits."""
    former = msgspec.structs.replace(SECOND, name="before-march", enabled=False, former_of="default")
    await put(conn, former, keys=[KEY], now=NOW)
    found = await all_accounts(conn, settings=settings(TETHER_SECRETS_KEY=KEY))
    assert found["before-march"].former_of == "default"
    assert [credential.account for credential in credentials(found.values())] == ["default", "default"]
    assert not await enable(conn, "before-march", enabled=True, now=NOW)
    assert await enable(conn, "before-march", enabled=False, now=NOW)
    await put(conn, msgspec.structs.replace(former, passwords=("newest",)), keys=[KEY], now=NOW)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"enabled": True}, "enabled"),
        ({"former_of": "third"}, "former_of"),
        ({"former_of": "older"}, "former_of"),
        ({"former_of": "before"}, "former_of"),
        ({"name": "second", "former_of": "default"}, "former_of"),
    ],
    ids=["enabled", "of nobody", "of a former one", "of itself", "of one that has a former one"],
)
async def test_a_former_login_that_can_be_nobodys_is_refused(
    conn: Connection, wrong: dict[str, object], field: str
) -> None:
    """Debits would go to a login that was given up, or what it signs would count for no account."""
    await put(conn, SECOND, keys=[KEY], now=NOW)
    older = msgspec.structs.replace(SECOND, name="older", enabled=False, former_of="second")
    await put(conn, older, keys=[KEY], now=NOW)
    former = msgspec.structs.replace(older, name="before", former_of="default")
    with pytest.raises(InvalidRequest) as caught:
        await put(conn, msgspec.structs.replace(former, **wrong), keys=[KEY], now=NOW)
    assert caught.value.field == field


async def test_the_default_account_is_the_environments(conn: Connection) -> None:
    """Two sources for one account would disagree one day, and nobody would know which one sends."""
    with pytest.raises(InvalidRequest, match="environment"):
        await put(conn, msgspec.structs.replace(SECOND, name="default"), keys=[KEY], now=NOW)
    with pytest.raises(psycopg.errors.CheckViolation):
        await conn.execute(
            "insert into gateway_accounts (name, sealed, api_url, enabled, created_at, updated_at)"
            " values ('default', '', '', true, now(), now())"
        )
    assert default_account(Settings.from_env({})) is None
    only = await all_accounts(conn, settings=settings())
    assert only["default"].login == "login"


async def test_without_a_key_nothing_is_kept(conn: Connection) -> None:
    """Secrets must never be written in clear because a setting was forgotten."""
    for keys in ([], ["not-a-key"]):
        with pytest.raises(InvalidRequest, match="TETHER_SECRETS_KEY") as refused:
            await put(conn, SECOND, keys=keys, now=NOW)
        assert "not-a-key" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Second!"},
        {"api_url": "gate.example"},
        {"passwords": []},
        {"terminal_tokens": [""]},
        {"day_count_max": 0},
        {"billing_per_s": 0},
        {"pasword": "x"},
    ],
)
def test_an_account_that_cannot_work_is_refused(wrong: dict[str, object]) -> None:
    """A mistyped field would show itself in the night, when the first debit is sent."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(msgspec.structs.asdict(SECOND) | wrong, GatewayAccount)


def test_an_accounts_own_limits_go_before_the_environments() -> None:
    """An account with a low limit of its own would be driven at the speed of the others."""
    mine = rates(SECOND, settings=settings(EMP_RATE_LIMIT="50", RECONCILIATION_RATE_LIMIT="20"))
    assert [(share.name, share.ceiling_per_s) for share in mine.shares] == [
        ("billing", 20.0),
        ("reconciliation", 20.0),
    ]
    assert sum(share.guaranteed_per_s for share in mine.shares) == 20.0
