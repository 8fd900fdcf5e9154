"""Ticks of periodic tasks: one short function per query of `jobs/periodic.sql`, which tells how its rows live."""

from datetime import datetime
from typing import Final

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_value

__all__ = ["prune", "take"]

_SQL: Final = load("jobs/periodic")


async def take(conn: Connection, periodic_task: str, *, tick_at: datetime, now: datetime) -> bool:
    """
    Take a tick.

    Args:
        conn: Inside the transaction that does the periodic task, so that a worker that dies gives the tick back.
        periodic_task: Its name.
        tick_at: The time it is for, the same for all who ask.
        now: The current time.

    Returns:
        Whether it was free. Where somebody is at it, this waits until they are done or dead.
    """
    cursor = await conn.execute(
        _SQL["take"], {"periodic_task": periodic_task, "tick_at": tick_at, "now": now}
    )
    return await cursor.fetchone() is not None


async def prune(conn: Connection, *, before: datetime) -> int:
    """Forget ticks from before a time; returns how many."""
    return await fetch_value(conn, _SQL["prune"], {"before": before}, into=int)
