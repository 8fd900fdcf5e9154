"""Metrics of the gateway accounts: circuit breakers, rate limits, and calls that did not end well."""

from typing import Final

from litestar.datastructures import State
from prometheus_client import Gauge
from tether_core.errors import StoreUnreachable
from tether_stores import gateway_calls, limits
from tether_stores.accounts import gateway_accounts
from tether_stores.postgres import connection

__all__ = ["OBSERVED", "observe"]

# The metrics that `observe` refreshes.
OBSERVED: Final = frozenset(
    {
        "tether_gateway_breaker",
        "tether_gateway_calls_left",
        "tether_gateway_rate_part",
        "tether_gateway_connections_replaced",
        "tether_gateway_not_submitted",
    }
)
_BREAKER: Final = Gauge(
    "tether_gateway_breaker",
    "1 for the current circuit breaker state of a gateway account, as last measured by /metrics.",
    ["account", "state"],
    multiprocess_mode="mostrecent",
)
_LEFT: Final = Gauge(
    "tether_gateway_calls_left",
    "Calls an account could make at once: of its shares, and of the common pool, as last measured by /metrics.",
    ["account", "share"],
    multiprocess_mode="mostrecent",
)
_RATE_PART: Final = Gauge(
    "tether_gateway_rate_part",
    "Usable part of an account's rate: 1 all of it, 0 a pause that the gateway requested.",
    ["account"],
    multiprocess_mode="mostrecent",
)
_REPLACED: Final = Gauge(
    "tether_gateway_connections_replaced",
    "Connections closed because a call got no complete response, by phase of the call. Grows; all workers.",
    ["account", "phase"],
    multiprocess_mode="mostrecent",
)
_NOT_SUBMITTED: Final = Gauge(
    "tether_gateway_not_submitted",
    "Calls that submitted nothing, by cause; their debits are submitted again. Grows; all workers.",
    ["account", "cause"],
    multiprocess_mode="mostrecent",
)


async def observe(state: State) -> None:
    """
    Refresh the metrics of the accounts' circuit breakers and rate limits.

    Raises:
        StoreUnreachable: when Postgres or Redis does not answer.
    """
    async with connection(state.pool) as conn:
        accounts = list(await gateway_accounts.all_accounts(conn, settings=state.settings))
    for account_limits in await limits.limit_status(state.cache, accounts):
        if account_limits.breaker == "unknown":
            raise StoreUnreachable("redis")
        for name in ("closed", "open", "half_open"):
            _BREAKER.labels(account_limits.account, name).set(name == account_limits.breaker)
        for share, left in zip(("billing", "reconciliation", "pool"), account_limits.left, strict=False):
            _LEFT.labels(account_limits.account, share).set(left)
        _RATE_PART.labels(account_limits.account).set(account_limits.rate_part)
    for account, counted in zip(accounts, await gateway_calls.counts(state.cache, accounts), strict=True):
        for phase, number in counted.replaced.items():
            _REPLACED.labels(account, phase).set(number)
        for cause, number in counted.not_submitted.items():
            _NOT_SUBMITTED.labels(account, cause).set(number)
