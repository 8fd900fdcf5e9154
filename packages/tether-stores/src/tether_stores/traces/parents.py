"""Which trace a row belongs to; the queries are in `parents.sql`. While traces are off nothing is read or written."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from tether_core.traces import Traced

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.traces import spans

__all__ = ["found", "prune", "remember", "remember_notifications"]

_SQL: Final = load("traces/parents")


async def remember(conn: Connection, subject: Traced, row_ids: Iterable[int], *, now: datetime) -> None:
    """Note that rows belong to the current trace, if there is one."""
    if parent := spans.traceparent():
        values = {"subject": subject, "ids": list(row_ids), "traceparent": parent, "now": now}
        await conn.execute(_SQL["remember"], values)


async def remember_notifications(
    conn: Connection, parents: Sequence[tuple[bytes, str]], *, now: datetime
) -> None:
    """
    Note the traces of notifications, which are recorded together and come from requests of their own.

    Args:
        parents: The key of each and its header `traceparent`.
    """
    if parents:
        values = {
            "keys": [key for key, _ in parents],
            "traceparents": [parent for _, parent in parents],
            "now": now,
        }
        await conn.execute(_SQL["remember_notifications"], values)


async def found(conn: Connection, subject: Traced, row_ids: Sequence[int]) -> Mapping[int, str]:
    """The headers `traceparent` of rows, by row; none while traces are off."""
    if not row_ids or not spans.is_on():
        return {}
    cursor = await conn.execute(_SQL["found"], {"subject": subject, "ids": list(row_ids)})
    return dict(await cursor.fetchall())


async def prune(conn: Connection, *, before: datetime, limit: int) -> int:
    """Forget the traces of rows that were made before; returns how many."""
    row = await (await conn.execute(_SQL["prune"], {"before": before, "limit": limit})).fetchone()
    return int(row[0]) if row else 0
