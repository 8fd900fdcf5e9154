"""Sessions of the console: one short function per query of `sessions.sql`, which describes their life cycle."""

from datetime import datetime
from typing import Final

import msgspec

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_one

__all__ = ["Session", "add", "find", "mark_used", "prune", "remove"]

_SQL: Final = load("sessions")
_PRUNED: Final = 100


class Session(msgspec.Struct, frozen=True):
    """
    A session that has not ended.

    Attributes:
        holder: The name of the API key it was begun with.
        last_used_at: When it was last noted as used; up to some minutes ago even while it is in use.
    """

    holder: str
    last_used_at: datetime


async def add(conn: Connection, *, token_digest: bytes, holder: str, now: datetime) -> None:
    """Begin a session."""
    await conn.execute(_SQL["add"], {"token_digest": token_digest, "holder": holder, "now": now})


async def find(
    conn: Connection, *, token_digest: bytes, used_after: datetime, begun_after: datetime
) -> Session | None:
    """The session of a token, `None` where there is none or it has ended by itself."""
    given = {"token_digest": token_digest, "used_after": used_after, "begun_after": begun_after}
    return await fetch_one(conn, _SQL["find"], given, into=Session)


async def mark_used(conn: Connection, *, token_digest: bytes, now: datetime) -> None:
    """Note that a session was used."""
    await conn.execute(_SQL["mark_used"], {"token_digest": token_digest, "now": now})


async def remove(conn: Connection, *, token_digest: bytes) -> None:
    """End a session; one that does not exist has ended already."""
    await conn.execute(_SQL["remove"], {"token_digest": token_digest})


async def prune(conn: Connection, *, idle_before: datetime, before: datetime) -> None:
    """Remove some sessions that were last used, or begun, before a time."""
    await conn.execute(_SQL["prune"], {"idle_before": idle_before, "before": before, "limit": _PRUNED})
