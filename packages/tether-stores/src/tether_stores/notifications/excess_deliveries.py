"""Deliveries beyond the stored ones; the queries are in `notifications/excess_deliveries.sql`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_pair

__all__ = ["Excess", "count", "counts", "of", "representing", "take_unannounced"]

_SQL: Final = load("notifications/excess_deliveries")


class Excess(msgspec.Struct, frozen=True):
    """
    Excess deliveries that were not announced yet.

    Attributes:
        webhook_event_id: The notification that represents them.
        deliveries: How many so far.
        kind: Of the notification.
        account: The gateway account that signed.
    """

    webhook_event_id: int
    deliveries: int
    kind: str
    account: str


async def representing(
    conn: Connection, deliveries: Sequence[tuple[str, str, str]]
) -> list[tuple[int | None, int | None]]:
    """
    The notifications that represent deliveries which were not stored.

    Args:
        deliveries: Account, id and report class of n deliveries.

    Returns:
        n pairs: the notification or `None`, and one of the same class that the gateway contradicted or `None`.
    """
    accounts, notification_ids, report_classes = zip(*deliveries, strict=True)
    cursor = await conn.execute(
        _SQL["representing"],
        {
            "accounts": list(accounts),
            "notification_ids": list(notification_ids),
            "report_classes": list(report_classes),
        },
    )
    return [(row_id, contradicted_id) for _, row_id, contradicted_id in await cursor.fetchall()]


async def count(conn: Connection, deliveries: Mapping[int, int], *, now: datetime) -> None:
    """Add deliveries to the counts of the notifications that represent them."""
    if deliveries:
        numbers = {"ids": list(deliveries), "deliveries": list(deliveries.values()), "now": now}
        await conn.execute(_SQL["count"], numbers)


async def take_unannounced(conn: Connection, *, limit: int, now: datetime) -> list[Excess]:
    """Mark up to *limit* unannounced counts as announced and return them; inside the transaction that announces them."""
    return await fetch_all(conn, _SQL["take_unannounced"], {"limit": limit, "now": now}, into=Excess)


async def counts(conn: Connection) -> tuple[int, int]:
    """Notifications with excess deliveries, and the number of these deliveries."""
    return await fetch_pair(conn, _SQL["counts"])


async def of(conn: Connection, webhook_event_id: int) -> int:
    """Excess deliveries that a notification represents."""
    row = await (await conn.execute(_SQL["of"], {"id": webhook_event_id})).fetchone()
    return 0 if row is None else int(row[0])
