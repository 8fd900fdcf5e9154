"""
Leases that a living worker prolongs and a dead one lets go within seconds.

Whoever asks the gateway holds its rows under a lease, because a question can take half a minute and no transaction may be
open meanwhile. A lease that is long enough for that would keep a dead worker's rows away for as long. So it is short, and
moved on while the work lasts. One that ran out all the same, because this process was frozen, costs a second question.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from tether_core.errors import Unavailable

__all__ = ["LEASE_S", "Lease", "held"]

# A worker that dies gives its rows back after this long; one that lives holds them for as long as it asks.
LEASE_S: Final = 6.0


class Lease:
    """
    Until when rows are ours; it moves on while they are held.

    Attributes:
        until: The moment that stands in the rows.
    """

    def __init__(self, now: datetime) -> None:
        self.until = now + timedelta(seconds=LEASE_S)


@contextlib.asynccontextmanager
async def held(
    lease: Lease,
    *,
    prolong: Callable[[datetime, datetime], Awaitable[object]],
    clock: Callable[[], datetime],
) -> AsyncIterator[None]:
    """
    Prolong a lease from time to time, for as long as the block lasts.

    Args:
        lease: As it was written.
        prolong: Writes another end of it, given the old one and the new one; rows that somebody else holds by then are
            left alone.
        clock: Gives the present moment, aware, UTC.
    """
    over = asyncio.Event()

    async def keep() -> None:
        while not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), LEASE_S / 3)
            except TimeoutError:
                until = clock() + timedelta(seconds=LEASE_S)
                try:
                    await prolong(lease.until, until)
                except Unavailable:
                    continue
                lease.until = until

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        over.set()  # and not cancelled: what it writes and what it remembers must be the same moment
        await task
