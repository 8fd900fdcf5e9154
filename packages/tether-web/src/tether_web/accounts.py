"""
The gateway accounts that may have signed a notification, kept up to date while the process lives.

The account of the environment is there from the start. The rows of `gateway_accounts` are read at the start and every
minute, so an account that was added, or a password that was changed, needs no restart. While Postgres is away the
last reading stands: a notification could not be recorded then anyway.
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

__all__ = ["REREAD_S", "kept", "read"]

REREAD_S: Final = 60.0
_LEAVE_S: Final = 3.0
_log = logger("accounts")


async def read(pool: Pool, *, settings: Settings) -> tuple[Credential, ...]:
    """
    All that notifications may be signed with.

    Args:
        pool: Of Postgres.
        settings: With the account of the environment.

    Returns:
        One credential an account, the environment's first.

    Raises:
        StoreUnreachable: when Postgres is away.
        InvalidRequest: when `TETHER_SECRETS_KEY` is none.
    """
    async with connection(pool) as conn:
        accounts = await gateway_accounts.all_accounts(conn, settings=settings)
    rows = (gateway_account for gateway_account in accounts.values() if gateway_account.name != DEFAULT)
    # The environment's account verifies even where it lacks what calls need, such as an address.
    return (*settings.credentials, *gateway_accounts.credentials(rows))


@asynccontextmanager
async def kept(
    state: State, pool: Pool, *, settings: Settings, every_s: float = REREAD_S
) -> AsyncIterator[None]:
    """
    Keep `state.credentials` up to date.

    Args:
        state: The application's; its credentials are those of the environment until the first reading.
        pool: Of Postgres.
        settings: With the account of the environment.
        every_s: Seconds between two readings.

    Yields:
        Nothing; the readings end with the block.
    """
    over = asyncio.Event()

    async def keep() -> None:
        while not over.is_set():
            try:
                state.credentials = await read(pool, settings=settings)
            except TetherError as exc:
                _log.warning("gateway accounts not read", why=str(exc))
            except Exception as exc:  # noqa: BLE001 - the next reading may succeed; without this task no account would ever change
                _log.error("gateway accounts not read", exc_info=exc)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), every_s)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        # Told and not cancelled: a cancellation can be lost inside a reading that is under way. A Postgres that hangs
        # must not hold the end up either.
        over.set()
        await asyncio.wait([keeping], timeout=_LEAVE_S)
        keeping.cancel()
