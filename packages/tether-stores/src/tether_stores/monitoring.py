"""What only metrics read; the queries are in `monitoring.sql`."""

from datetime import date, datetime
from typing import Final

import msgspec

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = [
    "NEWEST",
    "ReportState",
    "archives",
    "awaiting_release",
    "late",
    "reports",
    "runs",
    "subscribers",
    "uploads",
]

_SQL: Final = load("monitoring")
# How many runs and uploads are counted: older ones that still need a person were seen when they were among these.
NEWEST: Final = 1_000


class ReportState(msgspec.Struct, frozen=True):
    """
    How far the gateway's reports of some days are read.

    Attributes:
        account: Whose.
        name: "transactions", "chargebacks" or "imports".
        unexplained: Items that the gateway lists and we do not hold.
        read_age_s: Seconds since the latest reading to its end began; `None` for none.
    """

    account: str
    name: str
    unexplained: int
    read_age_s: float | None


async def runs(conn: Connection) -> dict[str, int]:
    """The newest billing runs by state; states without any are excluded."""
    cursor = await conn.execute(_SQL["runs"], {"newest": NEWEST})
    return dict(await cursor.fetchall())


async def uploads(conn: Connection, *, now: datetime) -> dict[str, tuple[int, float]]:
    """The newest uploads by state: how many, and for how many seconds the oldest has been in it."""
    cursor = await conn.execute(_SQL["uploads"], {"newest": NEWEST, "now": now})
    return {state: (count, age_s) for state, count, age_s in await cursor.fetchall()}


async def reports(conn: Connection, *, since_on: date, now: datetime) -> list[ReportState]:
    """How far the reports of the days since *since_on* are read, by account and list."""
    return await fetch_all(conn, _SQL["reports"], {"since_on": since_on, "now": now}, into=ReportState)


async def awaiting_release(conn: Connection) -> int:
    """Of the newest billing runs, how many wait for a second person."""
    row = await (await conn.execute(_SQL["awaiting_release"], {"newest": NEWEST})).fetchone()
    return row[0] if row else 0


async def subscribers(conn: Connection, *, now: datetime) -> dict[str, tuple[int, float]]:
    """Subscribers by state: how many, and for how many seconds one has failed without a success."""
    cursor = await conn.execute(_SQL["subscribers"], {"now": now})
    return {state: (count, failing_s) for state, count, failing_s in await cursor.fetchall()}


async def late(conn: Connection, *, today: date) -> dict[str, int]:
    """What recurring collection should have done before a day (UTC), by step: make, order, recover, notify; a thousand at most."""
    cursor = await conn.execute(_SQL["late"], {"today": today, "newest": NEWEST})
    return dict(await cursor.fetchall())


async def archives(conn: Connection, *, now: datetime) -> dict[str, float]:
    """For how many seconds the oldest archive has waited for a step: confirm, prune; 0 for none."""
    cursor = await conn.execute(_SQL["archives"], {"now": now})
    return dict(await cursor.fetchall())
