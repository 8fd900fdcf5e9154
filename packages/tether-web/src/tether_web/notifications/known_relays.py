"""
The relays in the memory of a process, read again every few seconds.

A request of a relay is answered from here, without a query. A new relay is known on all nodes, and a revoked one refused, after `REFRESH_S` seconds at
most; on the node where it was created or revoked at once. While Postgres is unavailable the last ones stay in use: nothing can be recorded then anyway.
Until they were read once, nobody knows which tokens are genuine, so requests are answered with 503.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from tether_core.errors import TetherError
from tether_core.notifications.relays import Relay, digest
from tether_stores.notifications import relays
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger

__all__ = ["REFRESH_S", "KnownRelays"]

REFRESH_S: Final = 5.0
_STOP_MAX_S: Final = 3.0
_log = logger("relays")


class KnownRelays:
    """The relays that are not revoked, as last read."""

    def __init__(self) -> None:
        """Start without having read them."""
        self._relays: Mapping[bytes, Relay] | None = None
        self._refreshing = asyncio.Lock()

    @property
    def is_loaded(self) -> bool:
        """Whether they were read at least once."""
        return self._relays is not None

    def find(self, token: str) -> Relay | None:
        """The relay of a token; `None` for a text that is no token, an unknown token, and one that was revoked."""
        key = digest(token)
        return None if key is None or self._relays is None else self._relays.get(key)

    async def refresh(self, pool: Pool) -> None:
        """
        Read them.

        Raises:
            StoreUnreachable: when Postgres is unavailable; the last ones stay.
        """
        # One after the other: an older reading must not replace a newer one, in which a relay was revoked.
        async with self._refreshing, connection(pool) as conn:
            self._relays = await relays.live(conn)

    @classmethod
    @asynccontextmanager
    async def kept(cls, pool: Pool, *, every_s: float = REFRESH_S) -> AsyncIterator["KnownRelays"]:
        """Relays that are read every *every_s* seconds until the block ends."""
        known, stopping = cls(), asyncio.Event()

        async def run() -> None:
            while not stopping.is_set():
                try:
                    await known.refresh(pool)
                except TetherError as exc:
                    _log.warning("relays not read", why=str(exc))
                except Exception as exc:  # noqa: BLE001 - the next reading may succeed; this task must go on
                    _log.error("relays not read", exc_info=exc)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), every_s)

        task = asyncio.create_task(run())
        try:
            yield known
        finally:
            stopping.set()
            await asyncio.wait([task], timeout=_STOP_MAX_S)
            task.cancel()
