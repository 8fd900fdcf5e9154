"""What the gateway knows: one short function per query of `sql/completeness.sql`."""

from datetime import date
from typing import Final

from tether_core.completeness import Delays, Line, Way

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["delays", "lines"]

_SQL: Final = load("completeness")


async def lines(conn: Connection, *, from_on: date, to_on: date) -> list[Line]:
    """The rows of known events of some days, both included, counted by way, state and outcome."""
    cursor = await conn.execute(_SQL["lines"], {"from_on": from_on, "to_on": to_on})
    return [Line(*row) for row in await cursor.fetchall()]


async def delays(conn: Connection, *, from_on: date, to_on: date) -> dict[Way, Delays]:
    """How long the news of some days took, by way; ways without any moment are left out."""
    cursor = await conn.execute(_SQL["delays"], {"from_on": from_on, "to_on": to_on})
    return {way: Delays(p50_s, p95_s, max_s) for way, p50_s, p95_s, max_s in await cursor.fetchall()}
