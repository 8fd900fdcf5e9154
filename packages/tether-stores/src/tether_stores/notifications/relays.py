"""Relays; the queries are in `notifications/relays.sql`, which describes the rows."""

from datetime import datetime
from typing import Final

import msgspec
from tether_core.notifications.relays import RELAYS_MAX, Relay

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = ["ListedRelay", "add", "listed", "live", "revoke"]

_SQL: Final = load("notifications/relays")


class ListedRelay(msgspec.Struct, frozen=True):
    """
    A relay, without its token.

    Attributes:
        id: The row.
        name: Unique among relays that are not revoked.
        account: The gateway account whose passwords verify what comes there.
        created_by: Who created it.
        created_at: When.
        revoked_by: Who revoked it, or null.
        revoked_at: When, or null.
        last_received_at: When the latest new notification came there, or null; repeats of known ones do not count.
    """

    id: int
    name: str
    account: str
    created_by: str
    created_at: datetime
    revoked_by: str | None
    revoked_at: datetime | None
    last_received_at: datetime | None


async def live(conn: Connection) -> dict[bytes, Relay]:
    """The relays that are not revoked, by the digests of their tokens."""
    cursor = await conn.execute(_SQL["live"], {"limit": RELAYS_MAX * 2})
    return {
        bytes(digest): Relay(row_id, name, account)
        for row_id, name, account, digest in await cursor.fetchall()
    }


async def listed(conn: Connection, *, limit: int) -> list[ListedRelay]:
    """All relays, newest first, up to *limit*."""
    return await fetch_all(conn, _SQL["listed"], {"limit": limit}, into=ListedRelay)


async def add(
    conn: Connection, *, name: str, account: str, digest: bytes, created_by: str, now: datetime
) -> int | None:
    """Add a relay; its id, or `None` where another one has the name or there are too many."""
    values = {
        "name": name,
        "account": account,
        "digest": digest,
        "created_by": created_by,
        "now": now,
        "relays_max": RELAYS_MAX,
    }
    row = await (await conn.execute(_SQL["add"], values)).fetchone()
    return None if row is None else int(row[0])


async def revoke(
    conn: Connection, relay_id: int, *, revoked_by: str, now: datetime
) -> tuple[str, str] | None:
    """Revoke a relay; its name and account, or `None` where there is none that is not revoked."""
    values = {"id": relay_id, "revoked_by": revoked_by, "now": now}
    row = await fetch_one(conn, _SQL["revoke"], values, into=dict[str, str])
    return None if row is None else (row["name"], row["account"])
