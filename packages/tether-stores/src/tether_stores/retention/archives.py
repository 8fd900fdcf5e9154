"""Archives of old notifications and events; the queries are in `retention/archives.sql`, which describes how rows move."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, LiteralString

import msgspec
from tether_core.retention.periods import ArchiveKind

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.reconciliation.differences import CHANGED_DEBITS
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "ArchiveRow",
    "BegunArchive",
    "Examined",
    "OldRow",
    "Pruned",
    "ToPrune",
    "UnconfirmedArchive",
    "abandon",
    "archived_to",
    "begin",
    "by_id",
    "confirm",
    "due_events",
    "due_notifications",
    "examined_notifications",
    "has_rows_left",
    "holding",
    "listed",
    "prune",
    "pruned",
    "removed",
    "restore_notification",
    "to_prune",
    "to_remove",
    "unconfirmed",
    "writers",
]

_SQL: Final = load("retention/archives")
# Far longer than an archive takes to write; its worker has died.
_STALE: Final = timedelta(minutes=15)
_LEFT: Final[dict[ArchiveKind, LiteralString]] = {
    "notifications": _SQL["left_notifications"],
    "events": _SQL["left_events"],
}


class BegunArchive(msgspec.Struct, frozen=True):
    """
    An archive that this worker may write.

    Attributes:
        id: Its row.
        former_key: An object that a worker that died may have written; `None` for none.
    """

    id: int
    former_key: str | None


class Examined(msgspec.Struct, frozen=True):
    """
    A page of the inbox.

    Attributes:
        rows: How many rows it has.
        last_id: The id of the last of them.
        are_old: Whether all of them are old; `False` for none.
    """

    rows: int
    last_id: int
    are_old: bool


class OldRow(msgspec.Struct, frozen=True):
    """
    A row to archive.

    Attributes:
        id: The row.
        version: Another one after each change of the row; "" for events, which never change.
        row: All its columns as JSON.
    """

    id: int
    version: str
    row: str


class ToPrune(msgspec.Struct, frozen=True):
    """
    A confirmed archive whose rows may still be in their table.

    Attributes:
        id: Its row.
        kind: What it holds.
        object_key: Where it lies.
        sha256: The checksum of its bytes.
        first_id: The first row in it.
        last_id: The last row in it.
    """

    id: int
    kind: ArchiveKind
    object_key: str
    sha256: bytes
    first_id: int
    last_id: int


class Pruned(msgspec.Struct, frozen=True):
    """
    The result of one batch.

    Attributes:
        rows: How many rows were deleted.
        last_id: The last of them; `None` for none.
    """

    rows: int
    last_id: int | None


class ArchiveRow(msgspec.Struct, frozen=True):
    """
    An archive in lists.

    Attributes:
        id: Its row.
        kind: "notifications" or "events".
        object_key: Where it lies in the object store.
        rows: How many rows it holds.
        size_bytes: Its size, compressed.
        sha256: The checksum of its bytes, in hexadecimal digits.
        first_id: The first row in it.
        last_id: The last row in it.
        from_at: When its oldest row was received or happened.
        to_at: When its newest row was received or happened.
        confirmed_at: When it was read back after it was written.
        pruned_at: When the last of its rows was deleted from its table; null before.
        removed_at: When its object was removed; null before.
    """

    id: int
    kind: ArchiveKind
    object_key: str
    rows: int
    size_bytes: int
    sha256: str
    first_id: int
    last_id: int
    from_at: datetime
    to_at: datetime
    confirmed_at: datetime
    pruned_at: datetime | None
    removed_at: datetime | None


class UnconfirmedArchive(msgspec.Struct, frozen=True):
    """
    An archive that a worker is writing, or was when it ended.

    Attributes:
        id: Its row.
        kind: What it is to hold.
        began_at: When the worker began it.
    """

    id: int
    kind: ArchiveKind
    began_at: datetime


class _To(msgspec.Struct, frozen=True):
    id: int
    object_key: str


async def begin(
    conn: Connection, kind: ArchiveKind, *, object_key: str, now: datetime
) -> BegunArchive | None:
    """Begin an archive under an object key of its own; `None` while another worker is at one of this kind."""
    values = {"kind": kind, "object_key": object_key, "now": now, "stale_at": now - _STALE}
    return await fetch_one(conn, _SQL["begin"], values, into=BegunArchive)


async def abandon(conn: Connection, archive_id: int, *, object_key: str) -> None:
    """Take back an archive that was begun and not confirmed."""
    await conn.execute(_SQL["abandon"], {"id": archive_id, "object_key": object_key})


async def examined_notifications(conn: Connection, *, after: int, before: datetime, limit: int) -> Examined:
    """How far the next *limit* rows of the inbox reach."""
    found = await fetch_one(
        conn,
        _SQL["examined_notifications"],
        {"after": after, "before": before, "limit": limit},
        into=Examined,
    )
    assert found is not None
    return found


async def due_notifications(
    conn: Connection, *, after: int, to: int, before: datetime, bytes_max: int
) -> list[OldRow]:
    """Notifications to archive with ids beyond *after* up to *to*, in order; their bodies have *bytes_max* bytes or little more."""
    values = {"after": after, "to": to, "before": before, "bytes_max": bytes_max}
    return await fetch_all(conn, _SQL["due_notifications"], values, into=OldRow)


async def due_events(conn: Connection, *, after: int, before: datetime, limit: int) -> list[OldRow]:
    """Events to archive with ids beyond *after*, in order and without a gap."""
    values = {"after": after, "before": before, "limit": limit, "review": CHANGED_DEBITS}
    return await fetch_all(conn, _SQL["due_events"], values, into=OldRow)


async def confirm(
    conn: Connection,
    begun: BegunArchive,
    rows: Sequence[OldRow],
    *,
    kind: ArchiveKind,
    object_key: str,
    size_bytes: int,
    sha256: bytes,
    from_at: datetime,
    to_at: datetime,
    now: datetime,
) -> bool:
    """
    Note that an archive was written and read back, and keep the keys of its notifications.

    Args:
        conn: A transaction. It must be rolled back when the result is `False`.

    Returns:
        Whether it is confirmed; `False` where another worker has superseded this one, or a row has changed since it was read.
    """
    cursor = await conn.execute(
        _SQL["confirm"],
        {
            "id": begun.id,
            "object_key": object_key,
            "rows": len(rows),
            "size_bytes": size_bytes,
            "sha256": sha256,
            "first_id": rows[0].id,
            "last_id": rows[-1].id,
            "from_at": from_at,
            "to_at": to_at,
            "now": now,
        },
    )
    if await cursor.fetchone() is None:
        return False
    if kind == "events":
        return True
    values = {
        "id": begun.id,
        "ids": [row.id for row in rows],
        "versions": [row.version for row in rows],
    }
    return await fetch_value(conn, _SQL["keep_keys"], values, into=int) == len(rows)


async def to_prune(conn: Connection, kind: ArchiveKind) -> ToPrune | None:
    """The oldest confirmed archive whose rows may still be in their table."""
    return await fetch_one(conn, _SQL["to_prune"], {"kind": kind}, into=ToPrune, binary=True)


async def writers(conn: Connection) -> frozenset[str]:
    """The transactions that are writing to the inbox now."""
    return await fetch_value(conn, _SQL["writers"], into=frozenset)


async def prune(conn: Connection, archive: ToPrune, *, after: int, limit: int) -> Pruned:
    """
    Delete the next rows of an archive from their table.

    Args:
        conn: In autocommit mode: each batch is a transaction.
        after: The last id of the batch before; at first the id before the archive's first.
    """
    values = {"id": archive.id, "after": after, "to": archive.last_id, "limit": limit}
    query = _SQL["prune_notifications"] if archive.kind == "notifications" else _SQL["prune_events"]
    found = await fetch_one(conn, query, values, into=Pruned)
    assert found is not None
    return found


async def has_rows_left(conn: Connection, archive: ToPrune) -> bool:
    """Whether any row of an archive is still in its table, such as one that was locked."""
    values = {"id": archive.id, "first_id": archive.first_id, "last_id": archive.last_id}
    return await fetch_value(conn, _LEFT[archive.kind], values, into=bool)


async def pruned(conn: Connection, archive_id: int, *, now: datetime) -> None:
    """Note that no row of an archive is left in its table."""
    await conn.execute(_SQL["pruned"], {"id": archive_id, "now": now})


async def archived_to(conn: Connection) -> int:
    """The last event that is only in an archive, 0 for none."""
    return await fetch_value(conn, _SQL["archived_to"], into=int)


async def to_remove(
    conn: Connection, kind: ArchiveKind, *, before: datetime, limit: int
) -> list[tuple[int, str]]:
    """Row and object of archives whose newest row is older than a time."""
    values = {"kind": kind, "before": before, "limit": limit}
    return [(item.id, item.object_key) for item in await fetch_all(conn, _SQL["to_remove"], values, into=_To)]


async def removed(conn: Connection, archive_id: int, *, object_key: str, now: datetime) -> None:
    """Note that the object of an archive was removed; one that has another object since is removed next time."""
    await conn.execute(_SQL["removed"], {"id": archive_id, "object_key": object_key, "now": now})


async def listed(
    conn: Connection, *, kind: ArchiveKind | None = None, before: int | None = None, limit: int
) -> list[ArchiveRow]:
    """Confirmed archives, newest first."""
    return await fetch_all(
        conn, _SQL["listed"], {"kind": kind, "before": before, "limit": limit}, into=ArchiveRow
    )


async def unconfirmed(conn: Connection, *, kind: ArchiveKind | None = None) -> list[UnconfirmedArchive]:
    """Archives that are not confirmed, newest first; at most one of each kind."""
    return await fetch_all(conn, _SQL["unconfirmed"], {"kind": kind}, into=UnconfirmedArchive)


async def by_id(conn: Connection, archive_id: int) -> ArchiveRow | None:
    """One confirmed archive."""
    return await fetch_one(conn, _SQL["by_id"], {"id": archive_id}, into=ArchiveRow)


async def holding(conn: Connection, kind: ArchiveKind, row_id: int) -> list[ArchiveRow]:
    """The archives that may hold a row, the newest first."""
    return await fetch_all(conn, _SQL["holding"], {"kind": kind, "row_id": row_id}, into=ArchiveRow)


async def restore_notification(conn: Connection, row: bytes, *, now: datetime) -> int | None:
    """
    Put an archived notification back into the inbox, due now.

    Args:
        conn: A transaction.
        row: The notification as the archive has it.

    Returns:
        Its id; `None` where it is not archived any more.
    """
    cursor = await conn.execute(_SQL["restore_notification"], {"row": row.decode(), "now": now})
    found = await cursor.fetchone()
    return None if found is None else int(found[0])
