"""
Leases that a living worker renews, and that expire within seconds when it dies.

Status inquiries hold their rows under a lease, because an inquiry can take half a minute and no transaction may be open meanwhile;
reading a file holds its upload likewise. A lease as long as the work would keep a dead worker's rows away for as long. So it is short and
renewed while the work lasts. A lease that expires because its process was frozen costs a second inquiry.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from tether_core.errors import Unavailable

__all__ = ["LEASE_S", "Lease", "LeaseLost", "held"]

# The rows of a dead worker are free after this long.
LEASE_S: Final = 6.0


class LeaseLost(Exception):
    """Another worker holds the upload now; this one writes nothing more."""


class Lease:
    """
    Until when rows belong to this worker; renewed while they are held.

    Attributes:
        length_s: How long they stay without a renewal, in seconds.
        until: The end as written in the rows.
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
    Renew a lease three times in its length while the block runs, until it is lost.

    Args:
        renew: Writes the new end where the old one is still written, given both, and returns whether any row was renewed.
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
                        return  # lost: later writes that name it change nothing
                except Unavailable:
                    continue
                lease.until = until

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        # Signalled and not cancelled: the written and the remembered end must be equal, and a cancellation may get lost in
        # the pool.
        over.set()
        await task
