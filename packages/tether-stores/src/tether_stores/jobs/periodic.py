"""Ticks of standing duties: one short function per query of `jobs/periodic.sql`, which tells how its rows live."""

from datetime import datetime
from typing import Final

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["prune", "take"]

_SQL: Final = load("jobs/periodic")


async def take(conn: Connection, duty: str, *, tick_at: datetime, now: datetime) -> bool:
    """
    Take a tick.

    Args:
        conn: Inside the transaction that does the duty, so that a worker that dies gives the tick back.
        duty: Its name.
        tick_at: The moment it is for, the same for all who ask.
        now: The present moment.

    Returns:
        Whether it was free. Where somebody is at it, this waits until they are done or dead.
    """
    cursor = await conn.execute(_SQL["take"], {"duty": duty, "tick_at": tick_at, "now": now})
    return await cursor.fetchone() is not None


async def prune(conn: Connection, *, before: datetime) -> int:
    """Forget ticks from before a moment; returns how many."""
    row = await (await conn.execute(_SQL["prune"], {"before": before})).fetchone()
    assert row is not None
    return int(row[0])
