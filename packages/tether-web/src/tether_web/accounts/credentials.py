"""
Gateway credentials for signature checks, refreshed while the process runs.

The account of the environment is available from the start. The rows of `gateway_accounts` are read at the start and every
minute, so a new account or a changed password needs no restart. While Postgres is unavailable the last credentials stay in
use; notifications could not be recorded then anyway.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from litestar.datastructures import State
from tether_core.emp.signature import Credential
from tether_core.errors import TetherError
from tether_stores.accounts import gateway_accounts
from tether_stores.accounts.gateway_accounts import DEFAULT
from tether_stores.postgres import Pool, connection
from tether_stores.settings import Settings
from tether_stores.telemetry import logger

__all__ = ["REFRESH_S", "read", "refreshed"]

REFRESH_S: Final = 60.0
_STOP_MAX_S: Final = 3.0
_log = logger("accounts")


async def read(pool: Pool, *, settings: Settings) -> tuple[Credential, ...]:
    """
    The credentials of all gateway accounts, the environment's first.

    Raises:
        StoreUnreachable: when Postgres is unavailable.
        InvalidRequest: when `TETHER_SECRETS_KEY` is not a valid key.
    """
    async with connection(pool) as conn:
        accounts = await gateway_accounts.all_accounts(conn, settings=settings)
    rows = (account for account in accounts.values() if account.name != DEFAULT)
    # The environment's account verifies even if it lacks what calls need, such as a URL.
    return (*settings.credentials, *gateway_accounts.credentials(rows))


@asynccontextmanager
async def refreshed(
    state: State, pool: Pool, *, settings: Settings, every_s: float = REFRESH_S
) -> AsyncIterator[None]:
    """
    Refresh `state.credentials` every *every_s* seconds until the block ends.

    Until the first refresh they are those of the environment.
    """
    stopping = asyncio.Event()

    async def refresh() -> None:
        while not stopping.is_set():
            try:
                state.credentials = await read(pool, settings=settings)
            except TetherError as exc:
                _log.warning("gateway accounts not read", why=str(exc))
            except Exception as exc:  # noqa: BLE001 - the next refresh may succeed; this task must go on
                _log.error("gateway accounts not read", exc_info=exc)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), every_s)

    task = asyncio.create_task(refresh())
    try:
        yield
    finally:
        # An event instead of a cancellation, which a query in progress may swallow. A hanging Postgres must not delay the
        # shutdown either.
        stopping.set()
        await asyncio.wait([task], timeout=_STOP_MAX_S)
        task.cancel()
