"""Accounts that change while a process lives."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from tether_core.errors import StoreUnreachable
from tether_stores.accounts.gateway_accounts import GatewayAccount, enable, new_key, put
from tether_stores.postgres import open_pool
from tether_stores.settings import Settings
from tether_worker.gateway.clients import Gateways

from tests.support.clock import Seconds

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

NOW = datetime.now(UTC)
KEY = new_key()
SECOND = GatewayAccount(
    name="second", api_url="https://gate.example/", login="l", passwords=("p1",), terminal_tokens=("t1", "t2")
)


def settings(environment: dict[str, str]) -> Settings:
    """Settings with an account and a key for others."""
    return Settings.from_env(
        environment | {"EMP_API_URL": "https://gate.example", "TETHER_SECRETS_KEY": KEY, "EMP_TIMEOUT": "5"}
    )


async def test_a_changed_password_is_used_within_a_minute_and_calls_go_on(
    pool: Pool, conn: Connection, environment: dict[str, str]
) -> None:
    """Else a password can only be changed with every worker stopped, and no debit goes out meanwhile."""
    clock = Seconds()
    await put(conn, SECOND, keys=[KEY], now=NOW)
    async with AsyncExitStack() as stack:
        gateways = Gateways(
            pool, settings=settings(environment), stack=stack, connections_max=2, clock_s=clock
        )
        first = await gateways.get("second")
        assert first is not None
        assert (first.account.url, first.account.terminal_token) == ("https://gate.example", "t1")
        assert first.account.connect_timeout_s == 5.0  # never longer than the whole
        await put(conn, msgspec.structs.replace(SECOND, passwords=("p2", "p1")), keys=[KEY], now=NOW)
        assert await gateways.get("second") is first
        clock.now_s += 61
        changed = await gateways.get("second")
        assert changed is not None
        assert changed.account.password == "p2"
        assert await gateways.get("second") is changed
        assert not first.session.closed  # calls may be under way on it
        await enable(conn, "second", enabled=False, now=NOW)
        clock.now_s += 61
        assert not (await gateways.accounts())["second"].enabled
        assert await gateways.get("nobody") is None


async def test_an_old_reading_is_better_than_none(environment: dict[str, str]) -> None:
    """While Postgres is away nothing is sent anyway; but forgetting all accounts would stop what is under way."""
    clock = Seconds()
    async with AsyncExitStack() as stack:
        nowhere = await stack.enter_async_context(
            open_pool("postgresql://127.0.0.1:1/x", name="tests", max_size=1, wait_s=0.1)
        )
        gateways = Gateways(
            nowhere, settings=settings(environment), stack=stack, connections_max=1, clock_s=clock
        )
        try:
            await gateways.accounts()
        except StoreUnreachable:
            gateways._accounts = {"second": SECOND}
        assert await gateways.accounts() == {"second": SECOND}


async def test_rates_are_the_accounts_own(pool: Pool, environment: dict[str, str]) -> None:
    """An account with a limit of its own would be driven at the speed of all."""
    async with AsyncExitStack() as stack:
        gateways = Gateways(pool, settings=settings(environment), stack=stack, connections_max=1)
        shares = gateways.rates(msgspec.structs.replace(SECOND, billing_per_s=7.0)).shares
    assert [(share.name, share.ceiling_per_s) for share in shares] == [
        ("billing", 7.0),
        ("reconciliation", 20.0),
    ]


async def test_what_calls_became_is_added_up_for_all_workers(
    pool: Pool, environment: dict[str, str], redis_url: str
) -> None:
    """Dead connections were not seen for months, because nobody counted them."""
    from tether_core.errors import NotSubmitted
    from tether_stores import gateway_calls
    from tether_stores.redis import open_redis
    from tether_worker.gateway.calls import publish_calls
    from tether_worker.gateway.client import reconcile

    down = Settings.from_env(
        environment
        | {
            "EMP_API_URL": "http://127.0.0.1:1",
            "EMP_API_LOGIN": "l",
            "EMP_API_PASSWORD": "p",
            "EMP_TERMINAL_TOKEN": "t",
        }
    )
    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(open_redis(redis_url, name="tests", timeout_s=20))
        for _ in range(2):  # two workers
            gateways = Gateways(pool, settings=down, stack=stack, connections_max=1)
            opened = await gateways.get("default")
            assert opened is not None
            periodic_task = publish_calls(gateways, cache)
            for _ in range(2):
                with pytest.raises(NotSubmitted):
                    await reconcile(opened, transaction_id="t-1")
                await periodic_task.do()
            await periodic_task.do()  # nothing new
        (seen,) = await gateway_calls.counts(cache, ["default"])
        assert dict(seen.not_submitted) == {"connect": 4}
        assert dict(seen.replaced) == {}
