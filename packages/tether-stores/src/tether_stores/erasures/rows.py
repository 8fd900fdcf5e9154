"""What a worker erases; the queries are in `erasures/rows.sql`, which describes the locks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core import iban as ibans
from tether_core.blacklist import email_key, name_key
from tether_core.erasures import patterns, scrubbed
from tether_core.events import DebtorErased

from tether_stores import events
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = [
    "ArchiveOf",
    "File",
    "FormerObject",
    "GatewayIds",
    "HeldOrder",
    "archives_of",
    "erase",
    "files",
    "finish",
    "former_deleted",
    "former_objects",
    "gateway_ids",
    "hold",
    "late_debtors",
    "list_entry",
    "listed_keys",
    "lock",
    "open_orders",
    "refuse",
    "replace_archive",
    "scrub_notifications",
    "stored_at_these_times",
]

_SQL: Final = load("erasures/rows")
# In the order in which they are written.
_ERASED: Final = (
    _SQL["erase_edits"],
    _SQL["erase_previews"],
    _SQL["erase_problems"],
    _SQL["erase_checks"],
    _SQL["erase_check_file_rows"],
    _SQL["erase_dry_run_rows"],
    _SQL["erase_mandates"],
    _SQL["erase_pre_notifications"],
    _SQL["withdraw_pre_notifications"],
    _SQL["erase_refunds"],
    _SQL["erase_notes"],
    _SQL["erase_statements"],
    _SQL["erase_forgiveness"],
    _SQL["erase_acknowledgements"],
    _SQL["erase_inquiry_orders"],
    _SQL["erase_quarantined"],
    # The last, because the others find their rows by it.
    _SQL["erase_debtors"],
)


class HeldOrder(msgspec.Struct, frozen=True):
    """
    An open order that this worker holds.

    Attributes:
        id: Its row.
        debtor_ids: The debtors.
        stored_ats: When each of them was stored.
        reason: Why.
        ordered_by: By whom.
        accepts_reversible: As in `tether_core.erasures.obstacles`.
        created_at: When it was ordered.
        object_key: Its place in the list of erasures; `None` before it is there.
        erased_at: When the rows were erased; `None` before.
    """

    id: int
    debtor_ids: list[int]
    stored_ats: list[datetime]
    reason: str
    ordered_by: str
    accepts_reversible: bool
    created_at: datetime
    object_key: str | None
    erased_at: datetime | None


class GatewayIds(msgspec.Struct, frozen=True):
    """
    What notifications of some debtors are found by.

    Attributes:
        attempt_ids: Their debits.
        notification_ids: The gateway's ids of these debits and of their refunds.
    """

    attempt_ids: list[int]
    notification_ids: list[str]


class File(msgspec.Struct, frozen=True):
    """
    A stored file that holds a person.

    Attributes:
        id: The upload.
        object_key: Where it lies.
        is_over: Whether nobody reads it any more.
    """

    id: int
    object_key: str
    is_over: bool


class ArchiveOf(msgspec.Struct, frozen=True):
    """
    An archive that holds notifications of a person.

    Attributes:
        id: Its row.
        object_key: Where it lies.
        sha256: The checksum of its bytes.
    """

    id: int
    object_key: str
    sha256: bytes


class FormerObject(msgspec.Struct, frozen=True):
    """
    An object that an archive no longer has, and that is not deleted yet.

    Attributes:
        id: The archive.
        former_key: Where it lies.
    """

    id: int
    former_key: str


class _Debtor(msgspec.Struct, frozen=True):
    id: int
    upload_id: int | None
    iban: str
    iban_fingerprint: bytes
    name: str
    email: str | None


class _Former(msgspec.Struct, frozen=True):
    iban: str
    fingerprint: bytes


class _Id(msgspec.Struct, frozen=True):
    id: int


class _Key(msgspec.Struct, frozen=True):
    object_key: str


class _Body(msgspec.Struct, frozen=True):
    id: int
    content_type: str
    body: bytes


async def open_orders(conn: Connection, *, limit: int) -> list[int]:
    """Orders that are neither finished nor refused, the oldest first."""
    return [row.id for row in await fetch_all(conn, _SQL["open"], {"limit": limit}, into=_Id)]


async def hold(conn: Connection, order_id: int) -> HeldOrder | None:
    """Lock an open order until this transaction ends; `None` where it is over or another worker has it."""
    return await fetch_one(conn, _SQL["hold"], {"id": order_id}, into=HeldOrder)


async def list_entry(conn: Connection, order_id: int, *, object_key: str) -> None:
    """Store the place of an order in the list of erasures."""
    await conn.execute(_SQL["list_entry"], {"id": order_id, "object_key": object_key})


async def finish(conn: Connection, order_id: int, *, now: datetime) -> None:
    """Note that nothing is left to erase."""
    await conn.execute(_SQL["finished"], {"id": order_id, "now": now})


async def refuse(conn: Connection, order_id: int, *, reason: str, now: datetime) -> None:
    """Note why nothing was erased."""
    await conn.execute(_SQL["refused"], {"id": order_id, "reason": reason, "now": now})


async def listed_keys(conn: Connection, object_keys: Sequence[str]) -> frozenset[str]:
    """Which of some entries of the list of erasures have an order."""
    found = await fetch_all(conn, _SQL["listed_keys"], {"object_keys": list(object_keys)}, into=_Key)
    return frozenset(row.object_key for row in found)


async def stored_at_these_times(
    conn: Connection, debtor_ids: Sequence[int], stored_ats: Sequence[datetime]
) -> list[int]:
    """Those of some debtors that were stored at the given times."""
    values = {"debtor_ids": list(debtor_ids), "stored_ats": list(stored_ats)}
    return [row.id for row in await fetch_all(conn, _SQL["stored_at_these_times"], values, into=_Id)]


async def lock(conn: Connection, debtor_ids: Sequence[int]) -> None:
    """Lock the uploads of some debtors, then the debtors, against orders, edits and planners until this transaction ends."""
    values = {"debtor_ids": list(debtor_ids)}
    await conn.execute(_SQL["hold_uploads"], values)
    await conn.execute(_SQL["hold_debtors"], values)


async def erase(conn: Connection, order: HeldOrder, *, now: datetime) -> int:
    """
    Erase the rows of an order, announce it, and note it.

    Args:
        conn: Inside a transaction; the debtors are locked, and nothing is in the way.

    Returns:
        How many debtors were erased; those that were erased before are not counted.
    """
    values = {"debtor_ids": order.debtor_ids}
    found = await fetch_all(conn, _SQL["hold_debtors"], values, into=_Debtor, binary=True)
    former = await fetch_all(conn, _SQL["former_accounts"], values, into=_Former, binary=True)
    if found:
        await _erase_rows(conn, found, former, now=now)
    await scrub_notifications(conn, order.debtor_ids)
    await conn.execute(_SQL["erased"], {"id": order.id, "now": now})
    erased = [(None, DebtorErased(debtor.id, debtor.upload_id)) for debtor in found]
    await events.append(conn, erased, now=now)
    return len(found)


async def _erase_rows(
    conn: Connection, found: Sequence[_Debtor], former: Sequence[_Former], *, now: datetime
) -> None:
    accounts = {ibans.compact(debtor.iban) for debtor in found} | {
        ibans.compact(item.iban) for item in former
    }
    values = {
        "debtor_ids": [debtor.id for debtor in found],
        "upload_ids": sorted({debtor.upload_id for debtor in found if debtor.upload_id is not None}),
        "fingerprints": sorted(
            {debtor.iban_fingerprint for debtor in found} | {item.fingerprint for item in former}
        ),
        "patterns": patterns([*accounts, *(debtor.email for debtor in found)]),
        "name_patterns": patterns([debtor.name for debtor in found]),
        "emails": sorted({email_key(debtor.email) for debtor in found if debtor.email}),
        "name_keys": sorted({name_key(debtor.name) for debtor in found}),
        "now": now,
    }
    for query in _ERASED:
        await conn.execute(query, values)


async def scrub_notifications(conn: Connection, debtor_ids: Sequence[int]) -> int:
    """Remove what may be personal from the stored notifications of some debtors; returns how many were changed."""
    ids = await gateway_ids(conn, debtor_ids)
    values = {"notification_ids": ids.notification_ids}
    bodies = await fetch_all(conn, _SQL["bodies"], values, into=_Body, binary=True)
    changed = [
        (row.id, row.body, after)
        for row in bodies
        if (after := scrubbed(row.body, content_type=row.content_type)) != row.body
    ]
    if changed:
        await conn.execute(
            _SQL["write_bodies"],
            {
                "ids": [row_id for row_id, _, _ in changed],
                "befores": [before for _, before, _ in changed],
                "afters": [after for _, _, after in changed],
            },
        )
    return len(changed)


async def gateway_ids(conn: Connection, debtor_ids: Sequence[int]) -> GatewayIds:
    """What notifications of some debtors are found by."""
    found = await fetch_one(conn, _SQL["gateway_ids"], {"debtor_ids": list(debtor_ids)}, into=GatewayIds)
    assert found is not None
    return found


async def files(conn: Connection, debtor_ids: Sequence[int]) -> list[File]:
    """The stored files that hold some debtors, and those with the same bytes."""
    return await fetch_all(conn, _SQL["files"], {"debtor_ids": list(debtor_ids)}, into=File)


async def archives_of(conn: Connection, attempt_ids: Sequence[int]) -> list[ArchiveOf]:
    """The archives that hold notifications of some debits."""
    values = {"attempt_ids": list(attempt_ids)}
    return await fetch_all(conn, _SQL["archives_of"], values, into=ArchiveOf, binary=True)


async def replace_archive(
    conn: Connection, archive: ArchiveOf, *, object_key: str, sha256: bytes, size_bytes: int
) -> bool:
    """
    Let an archive have another object.

    Returns:
        Whether it does; `False` where it changed meanwhile.
    """
    values = {
        "id": archive.id,
        "former_key": archive.object_key,
        "object_key": object_key,
        "sha256": sha256,
        "size_bytes": size_bytes,
    }
    return await (await conn.execute(_SQL["replace_archive"], values)).fetchone() is not None


async def former_objects(conn: Connection) -> list[FormerObject]:
    """Objects of archives that were replaced and are not deleted yet."""
    return await fetch_all(conn, _SQL["former_objects"], into=FormerObject)


async def former_deleted(conn: Connection, archive_id: int) -> None:
    """Note that the former object of an archive was deleted."""
    await conn.execute(_SQL["former_deleted"], {"id": archive_id})


class _Late(msgspec.Struct, frozen=True):
    id: int
    debtor_ids: list[int]


async def late_debtors(conn: Connection, *, after: int, limit: int) -> list[tuple[int, list[int]]]:
    """Finished erasures after one, with their debtors: notifications may come later."""
    values = {"after": after, "limit": limit}
    return [
        (row.id, row.debtor_ids) for row in await fetch_all(conn, _SQL["late_debtors"], values, into=_Late)
    ]
