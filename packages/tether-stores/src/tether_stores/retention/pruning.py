"""Old rows that are removed without an archive; the queries are in `retention/pruning.sql`."""

from datetime import datetime
from typing import Final

import msgspec

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_value

__all__ = [
    "OldFile",
    "advance",
    "examined_debtors",
    "file_removed",
    "hold_position",
    "old_files",
    "old_problems",
    "problems_removed",
    "prune_debtors",
    "prune_orders",
    "prune_problems",
]

_SQL: Final = load("retention/pruning")
_DEBTORS: Final = "debtors"
# Results before their orders, so that none is left without one.
_ORDERS: Final = (
    _SQL["prune_bulk_items"],
    _SQL["prune_bulk_orders"],
    _SQL["prune_inquired"],
    _SQL["prune_inquiry_orders"],
    _SQL["prune_replays"],
)


class OldFile(msgspec.Struct, frozen=True):
    """
    An upload whose file is to be removed.

    Attributes:
        id: The upload.
        object_key: Its file.
    """

    id: int
    object_key: str


class _Upload(msgspec.Struct, frozen=True):
    id: int


async def old_files(conn: Connection, *, before: datetime, limit: int) -> list[OldFile]:
    """Uploads that are over, from before a time, whose files are kept."""
    return await fetch_all(conn, _SQL["old_files"], {"before": before, "limit": limit}, into=OldFile)


async def file_removed(conn: Connection, upload_id: int, *, now: datetime) -> None:
    """Note that the file of an upload was removed."""
    await conn.execute(_SQL["file_removed"], {"id": upload_id, "now": now})


async def old_problems(conn: Connection, *, before: datetime, limit: int) -> list[int]:
    """Uploads that are over, from before a time, whose problems are kept."""
    found = await fetch_all(conn, _SQL["old_problems"], {"before": before, "limit": limit}, into=_Upload)
    return [item.id for item in found]


async def prune_problems(conn: Connection, upload_id: int, *, limit: int) -> int:
    """Delete up to *limit* problems of an upload; returns how many."""
    return await fetch_value(conn, _SQL["prune_problems"], {"upload_id": upload_id, "limit": limit}, into=int)


async def problems_removed(conn: Connection, upload_id: int, *, now: datetime) -> None:
    """Note that the problems of an upload were removed."""
    await conn.execute(_SQL["problems_removed"], {"id": upload_id, "now": now})


async def hold_position(conn: Connection, *, now: datetime) -> int | None:
    """How far the debtors were walked, held until the transaction ends; `None` while another worker holds it."""
    await conn.execute(_SQL["begin_position"], {"name": _DEBTORS, "now": now})
    row = await (await conn.execute(_SQL["position"], {"name": _DEBTORS})).fetchone()
    return None if row is None else int(row[0])


async def advance(conn: Connection, position: int, *, now: datetime) -> None:
    """Note how far the debtors were walked, inside the transaction that holds the position."""
    await conn.execute(_SQL["advance"], {"name": _DEBTORS, "position": position, "now": now})


async def examined_debtors(conn: Connection, *, after: int, before: datetime, limit: int) -> int | None:
    """The last of the next *limit* debtors that are old; `None` where the next one is not."""
    values = {"after": after, "before": before, "limit": limit}
    row = await (await conn.execute(_SQL["examined_debtors"], values)).fetchone()
    assert row is not None
    return None if row[0] is None else int(row[0])


async def prune_debtors(conn: Connection, *, after: int, to: int) -> int:
    """Delete the debtors between two ids that never had a debit; returns how many."""
    return await fetch_value(conn, _SQL["prune_debtors"], {"after": after, "to": to}, into=int)


async def prune_orders(conn: Connection, *, before: datetime, limit: int) -> int:
    """
    Delete orders that ended before a time, and their results: up to *limit* rows of each table.

    Args:
        conn: In autocommit mode: each statement is a transaction.

    Returns:
        How many rows were deleted.
    """
    values = {"before": before, "limit": limit}
    return sum([await fetch_value(conn, query, values, into=int) for query in _ORDERS])
