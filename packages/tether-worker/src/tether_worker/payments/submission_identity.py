"""
Warn of submissions whose gateway identity is not configured, and announce clocks that stepped.

The rules are in `tether_core.payments.not_found` and `tether_core.clock_steps`; both tasks are safe to do twice and on several
nodes at once.
"""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

from tether_core.clock_steps import ClockStep
from tether_core.events import ClockStepped
from tether_stores import events
from tether_stores.accounts import gateway_accounts, gateway_identities
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.settings import Settings
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["announce_steps", "check_identities"]

# How often an identity that came back is noticed, and how many checks are between two searches through all open calls.
_EVERY_S: Final = 60.0
_SEARCH_EVERY: Final = 10

_log = logger("submissions")


def check_identities(pool: Pool, *, settings: Settings, clock: Callable[[], datetime]) -> PeriodicTask:
    """
    Warn of open calls to gateway identities that are not configured, and wake submissions whose identities are again.

    Args:
        settings: With the account of the environment.

    Returns:
        The periodic task; it runs first when the worker starts.
    """
    looks = 0
    logged: list[str] = []

    async def check() -> None:
        nonlocal looks, logged
        async with connection(pool) as conn:
            accounts = (await gateway_accounts.all_accounts(conn, settings=settings)).values()
            keys = {
                gateway_identity.key
                for account in accounts
                for gateway_identity in gateway_identities.configured(account)
            }
            await gateway_identities.record_configured(conn, accounts, now=clock())
            woken = await gateway_identities.wake(conn, keys=keys, now=clock())
            calls = (
                await gateway_identities.open_calls(conn, accounts=accounts)
                if looks % _SEARCH_EVERY == 0
                else None
            )
        looks += 1
        if woken:
            _log.info("submissions woken: their gateway identities are configured again", submissions=woken)
        if calls is not None:
            warnings = gateway_identities.diagnostics(calls, accounts=list(accounts))
            for warning in warnings:
                if warning not in logged:
                    _log.error(warning)
            logged = warnings

    return PeriodicTask("check_identities", _EVERY_S, check)


def announce_steps(pool: Pool, steps: deque[ClockStep], *, clock: Callable[[], datetime]) -> PeriodicTask:
    """
    Announce clocks that were seen to step.

    Args:
        steps: Steps that were noticed; they leave it once they are announced.
    """

    async def announce() -> None:
        if not steps:
            return
        some = list(steps)
        async with transaction(pool) as conn:
            facts = [(None, ClockStepped(step.clock, round(step.by_s * 1_000))) for step in some]
            await events.append(conn, facts, now=clock())
        for _ in some:
            steps.popleft()

    return PeriodicTask("announce_steps", 2, announce)
