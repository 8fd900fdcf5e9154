"""Gateway accounts that are terminals of one login: a notification counts for the account of its payment."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.emp.notification import FORM
from tether_core.payments.attempt import state_of
from tether_core.testing import form_body
from tether_sandbox.seed import Seeded, seed
from tether_stores.accounts.gateway_accounts import GatewayAccount, new_key, put
from tether_stores.postgres import open_pool
from tether_web.notifications.receive import PATH

if TYPE_CHECKING:
    import httpx

    from tests.web.conftest import Serve

KEY = new_key()
API = {"authorization": "Bearer test-key"}
SHARED, OWN = "s3cret-password", "third-password"


def _account(name: str, password: str) -> GatewayAccount:
    return GatewayAccount(
        name=name,
        api_url="https://gate.example",
        login="m",
        passwords=(password,),
        terminal_tokens=(f"terminal-{name}",),
    )


@pytest.fixture
async def shared(environment: dict[str, str], database_url: str) -> dict[str, str]:
    """An environment whose account "default" shares its login with the account "second", and not with "third"."""
    async with open_pool(database_url, name="tests", max_size=1) as pool, pool.connection() as conn:
        for account in (_account("second", SHARED), _account("third", OWN)):
            await put(conn, account, keys=[KEY], now=datetime.now(UTC))
    return environment | {
        "EMP_API_URL": "https://gate.example",
        "EMP_API_LOGIN": "m",
        "EMP_API_PASSWORD": SHARED,
        "EMP_TERMINAL_TOKEN": "terminal-default",
        "TETHER_SECRETS_KEY": KEY,
    }


def _debit(url: str, *, account: str, seed_of: int = 1) -> Seeded:
    at = datetime.now(UTC) - timedelta(days=30)
    (made,) = seed(url, attempts=1, rng=random.Random(seed_of), now=at)
    with psycopg.connect(url) as conn:
        conn.execute(
            "update billing_attempts set payment_stage = 60, state = %s, account = %s where id = %s",
            [state_of(60, 0), account, made.id],
        )
    return made


def _body(unique_id: str, *, secret: str = SHARED, **fields: str) -> bytes:
    return form_body({"unique_id": unique_id} | fields, secret=secret)


async def _post(client: httpx.AsyncClient, body: bytes, *, path: str = PATH) -> int:
    return (await client.post(path, content=body, headers={"content-type": FORM})).status_code


def _accounts(url: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as conn:
        return [account for (account,) in conn.execute("select account from webhook_events order by id")]


CHARGEBACK = {"status": "chargebacked", "event": "chargeback"}


async def test_a_chargeback_that_names_no_terminal_holds_the_refund_of_its_debit(
    serving: Serve, shared: dict[str, str], database_url: str
) -> None:
    """Taken for one of the first account, it is parked, and the refund pays back what the bank has returned already."""
    debit = _debit(database_url, account="second")
    async with serving(shared) as client:
        assert await _post(client, _body(debit.unique_id, **CHARGEBACK)) == 200
        answer = await client.post(f"/api/billing-attempts/{debit.id}/refund", json={}, headers=API)
    assert (answer.status_code, answer.json()["code"]) == (409, "money_held")
    assert _accounts(database_url) == ["second"]


@pytest.mark.parametrize(
    ("owner", "secret", "fields", "account"),
    [
        ("second", SHARED, {}, "second"),
        ("default", SHARED, {}, "default"),
        # A terminal that is configured no more, and one that another debit was submitted with.
        ("second", SHARED, {"terminal_token": "gone"}, "second"),
        ("second", SHARED, {"terminal_token": "terminal-default"}, "second"),
        # An account must not speak for another that has a password of its own.
        ("third", SHARED, {}, "default"),
        ("second", OWN, {}, "third"),
        # A payment that is not known counts as before.
        (None, SHARED, {}, "default"),
        (None, SHARED, {"terminal_token": "terminal-second"}, "second"),
    ],
)
async def test_the_account_of_the_payment_counts_where_it_has_the_password(
    serving: Serve,
    shared: dict[str, str],
    database_url: str,
    owner: str | None,
    secret: str,
    fields: dict[str, str],
    account: str,
) -> None:
    """A guess parks what is genuine, and an account that is believed about others moves their money."""
    unique_id = "unheard-of" if owner is None else _debit(database_url, account=owner).unique_id
    async with serving(shared) as client:
        assert await _post(client, _body(unique_id, secret=secret, status="approved", **fields)) == 200
    assert _accounts(database_url) == [account]


async def test_every_way_of_naming_a_payment_leads_to_its_account(
    serving: Serve, shared: dict[str, str], database_url: str
) -> None:
    """A response that is not recorded yet, an order to refund, and a refund of the back office name the debit in other ways."""
    debit = _debit(database_url, account="second")
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "insert into refunds (attempt_id, kind, number, account, transaction_id, unique_id, amount_minor, currency, usage,"
            " state, payment_stage, ordered_by, created_at, updated_at) values (%s, 'refund', 1, 'second', 'our-refund', 'its-refund',"
            " 1, 'EUR', 'x', 'pending', 10, 'x', now(), now())",
            [debit.id],
        )
    named = [
        {"unique_id": "a-1", "transaction_id": debit.transaction_id},
        {"unique_id": "its-refund"},
        {"unique_id": "a-2", "transaction_id": "our-refund"},
        {
            "unique_id": "a-3",
            "transaction_type": "sdd_refund",
            "reference_transaction_unique_id": debit.unique_id,
        },
        {"unique_id": "a-4", "transaction_id": "nothing of ours"},
    ]
    async with serving(shared) as client:
        for fields in named:
            assert await _post(client, form_body({"status": "approved"} | fields, secret=SHARED)) == 200
    assert _accounts(database_url) == ["second"] * 4 + ["default"]


async def test_a_relay_and_the_quarantine_keep_to_the_rule(
    serving: Serve, shared: dict[str, str], database_url: str
) -> None:
    """A partner speaks for the account of its address alone, and what waited for a password must not be parked afterwards."""
    first, second = (_debit(database_url, account="second", seed_of=number) for number in (1, 2))
    async with serving(shared | {"EMP_API_PASSWORD": "wrong"}) as client:
        order = {"name": "partner", "account": "default"}
        relay = (await client.post("/api/relays", json=order, headers=API)).json()
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("delete from gateway_accounts where name = 'second'")
    async with serving(shared | {"EMP_API_PASSWORD": "wrong"}) as client:
        assert await _post(client, _body(first.unique_id, **CHARGEBACK)) == 401
    async with open_pool(database_url, name="tests", max_size=1) as pool, pool.connection() as conn:
        await put(conn, _account("second", SHARED), keys=[KEY], now=datetime.now(UTC))
    async with serving(shared) as client:
        taken = await client.post("/api/quarantine/reverify", json={"reason": "mended"}, headers=API)
        assert [(part["account"], part["count"]) for part in taken.json()["by_password"]] == [("second", 1)]
        path = f"{PATH}/{relay['path'].rpartition('/')[2]}"
        assert await _post(client, _body(second.unique_id, **CHARGEBACK), path=path) == 200
    assert _accounts(database_url) == ["second", "default"]
