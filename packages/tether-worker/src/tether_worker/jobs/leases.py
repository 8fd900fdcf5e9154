"""
Leases that a living worker renews and a dead one lets go within seconds.

Whoever asks the gateway holds its rows under a lease, because a question can take half a minute and no transaction may be
open meanwhile; whoever reads a file holds its upload so. A lease that is long enough for the work would keep a dead
worker's rows away for as long. So it is short, and moved on while the work lasts. One that ran out all the same, because
this process was frozen, costs a second question.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from tether_core.errors import Unavailable

__all__ = ["LEASE_S", "Lease", "LeaseLost", "held"]

# A worker that dies gives its rows back after this long; one that lives holds them for as long as it asks.
LEASE_S: Final = 6.0


class LeaseLost(Exception):
    """Another worker has taken the upload over; what this one was about to write is not written."""


class Lease:
    """
    Until when rows are ours; it moves on while they are held.

    Attributes:
        length_s: How long they stay ours without a sign of life, in seconds.
        until: The time that stands in the rows.
    """

    def __init__(self, now: datetime, *, length_s: float = LEASE_S) -> None:
        self.length_s = length_s
        self.until = now + timedelta(seconds=length_s)


@contextlib.asynccontextmanager
async def held(
    lease: Lease,
    *,
    renew: Callable[[datetime, datetime], Awaitable[bool]],
    clock: Callable[[], datetime],
) -> AsyncIterator[None]:
    """
    Renew a lease three times in its length, for as long as the block lasts and it is not lost.

    Args:
        lease: As it was written.
        renew: Writes another end of it, given the old one and the new one, and says whether any row is ours still; rows
            that somebody else holds by then are left alone.
    """
    over = asyncio.Event()

    async def keep() -> None:
        while not over.is_set():
            try:
                await asyncio.wait_for(over.wait(), lease.length_s / 3)
            except TimeoutError:
                try:
                    until = clock() + timedelta(seconds=lease.length_s)
                    if not await renew(lease.until, until):
                        return  # what is written in its name from now on changes nothing
                except Unavailable:
                    continue
                lease.until = until

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        # Told and not cancelled: what it writes and what it remembers must be the same time, and a cancellation may get
        # lost in the pool.
        over.set()
        await task
