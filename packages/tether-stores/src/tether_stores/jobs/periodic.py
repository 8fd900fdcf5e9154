"""Ticks of periodic tasks; the queries are in `jobs/periodic.sql`, which describes the rows."""

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
        tick_at: The time it is for, the same in all processes.

    Returns:
        Whether it was free. While another worker holds it, this waits until that worker commits or dies.
    """
    cursor = await conn.execute(
        _SQL["take"], {"periodic_task": periodic_task, "tick_at": tick_at, "now": now}
    )
    return await cursor.fetchone() is not None


async def prune(conn: Connection, *, before: datetime) -> int:
    """Forget ticks from before a time; returns how many."""
    return await fetch_value(conn, _SQL["prune"], {"before": before}, into=int)
