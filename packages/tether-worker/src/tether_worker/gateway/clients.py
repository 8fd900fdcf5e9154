"""
The gateway accounts of this process and their open connections, kept up to date.

Accounts are read again from time to time, so a password that was changed and an account that was added need no
restart. Connections are opened when an account is first used, and anew when its address or password has changed; the old
ones stay open until the process ends, since calls may still be under way on them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import monotonic
from typing import Final, TypeAlias

from tether_core.errors import StoreUnreachable
from tether_core.limits.rate_limit import Limits
from tether_stores.accounts import gateway_accounts
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.postgres import Pool, connection
from tether_stores.settings import Settings
from tether_stores.telemetry import logger

from tether_worker.gateway.connections import Account, Call, CallOutcome, Calls, Gateway, open_gateway

__all__ = ["Gateways", "ObserveCall", "open_gateways"]

# A changed password is used within this time.
_REREAD_S: Final = 60.0

ObserveCall: TypeAlias = Callable[[str, Call, CallOutcome, float], None]

_log = logger("gateways")


class Gateways:
    """One per process and use: reads accounts, and opens connections to those that are used."""

    def __init__(
        self,
        pool: Pool,
        *,
        settings: Settings,
        stack: AsyncExitStack,
        connections_max: int,
        observe: ObserveCall = lambda *_: None,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        """
        Prepare; use `open_gateways`.

        Args:
            settings: With the account of the environment and the limits of accounts that have none of their own.
            stack: Closes connections when the process ends.
            connections_max: Connections to each account.
            observe: As for `open_gateways`.
            clock_s: Seconds of a clock that only grows.
        """
        self._pool = pool
        self._settings = settings
        self._stack = stack
        self._connections_max = connections_max
        self._observe = observe
        self._clock_s = clock_s
        self._accounts: dict[str, GatewayAccount] = {}
        self._open: dict[str, Gateway] = {}
        self._calls: dict[str, Calls] = {}
        self._read_at_s = float("-inf")
        self._opening = asyncio.Lock()

    async def accounts(self) -> dict[str, GatewayAccount]:
        """
        All accounts by name, at most a minute old.

        Raises:
            StoreUnreachable: when they were never read and Postgres is away; an old reading is better than none.
        """
        if self._clock_s() - self._read_at_s >= _REREAD_S:
            try:
                async with connection(self._pool) as conn:
                    self._accounts = await gateway_accounts.all_accounts(conn, settings=self._settings)
                self._read_at_s = self._clock_s()
            except StoreUnreachable:
                if not self._accounts:
                    raise
        return self._accounts

    async def get(self, name: str) -> Gateway | None:
        """
        An account's open connections.

        Args:
            name: The account.

        Returns:
            The gateway to call, or `None` where there is no such account.
        """
        known = (await self.accounts()).get(name)
        if known is None:
            return None
        async with self._opening:
            wanted = self._wanted(known)
            current_status = self._open.get(name)
            if current_status is None or current_status.account != wanted:
                if current_status is not None:
                    _log.info("account changed; opening connections anew", account=name)
                calls = self._calls.setdefault(name, Calls(observe=partial(self._observe, name)))
                self._open[name] = await self._stack.enter_async_context(open_gateway(wanted, calls=calls))
            return self._open[name]

    @property
    def calls(self) -> Mapping[str, Calls]:
        """Results of calls, by account; counted since this process started."""
        return self._calls

    def rates(self, account: GatewayAccount) -> Limits:
        """The limits of an account; see `tether_stores.accounts.gateway_accounts.rates`."""
        return gateway_accounts.rates(account, settings=self._settings)

    def _wanted(self, known: GatewayAccount) -> Account:
        return Account(
            known.name,
            known.api_url.rstrip("/"),
            known.login,
            known.passwords[0],
            known.terminal_tokens[0],
            timeout_s=self._settings.emp_timeout_s,
            connect_timeout_s=min(self._settings.emp_connect_timeout_s, self._settings.emp_timeout_s),
            connections_max=self._connections_max,
        )


@asynccontextmanager
async def open_gateways(
    pool: Pool, *, settings: Settings, connections_max: int, observe: ObserveCall = lambda *_: None
) -> AsyncIterator[Gateways]:
    """
    The gateway accounts for the life of a process.

    Args:
        settings: With the account of the environment.
        connections_max: Connections to each account that is used.
        observe: Called after each call: account, what it was for, whether it got a response, and its duration in seconds.

    Yields:
        The accounts; connections open when first used.
    """
    async with AsyncExitStack() as stack:
        yield Gateways(pool, settings=settings, stack=stack, connections_max=connections_max, observe=observe)
