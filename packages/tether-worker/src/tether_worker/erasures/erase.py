"""
Erase what people ordered to be erased, and erase it again after a restore.

```text
order ─► entered in the list in the object store ─► rows erased in one transaction ─► files removed, archives rewritten ─► finished
```

Rules: `tether_core.erasures`; the locks: `tether_stores/erasures/rows.sql`; docs/concepts/erasure.md. Each step can be repeated, so a worker may
die between any two.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec
from tether_core.erasures import (
    PREFIX,
    EntryDebtor,
    ErasureEntry,
    NotErasable,
    object_key,
    read_entry,
    row_scrubbed,
    write_entry,
)
from tether_core.errors import Unreadable
from tether_core.retention import archive as archive_format
from tether_stores import objects
from tether_stores.erasures import orders, rows
from tether_stores.erasures.rows import ArchiveOf, GatewayIds, HeldOrder
from tether_stores.objects import Objects
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.retention import pruning
from tether_stores.retention.archive_files import fetched
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = [
    "ErasureDeps",
    "Step",
    "apply_list",
    "erase_late",
    "erase_once",
    "erase_order",
    "erasing",
    "reviewing_erasures",
]

_EVERY_S: Final = 10.0
_REVIEW_EVERY_S: Final = 3_600.0
_ORDERS_MAX: Final = 100
# An order enters its entry in the list before it notes that; an entry that is younger may have an order that is about to do so.
_ENTRY_AGE: Final = timedelta(minutes=10)
_PAGE: Final = 100
_AGAIN: Final = "erased before the database was restored"

_log = logger("erasures")

# What became of an order: it is "finished"; something came in its way before it began, so it was "refused"; or it "waits".
Step: TypeAlias = Literal["finished", "refused", "waits", "elsewhere"]


class ErasureDeps(msgspec.Struct, frozen=True):
    """
    What erasing works with.

    Attributes:
        store: Where files, archives and the list of erasures are.
        clock: The shared clock.
        token: Draws a name that no other object has.
        stopping: Whether the process is about to end.
    """

    pool: Pool
    store: Objects
    clock: Callable[[], datetime]
    token: Callable[[], str]
    stopping: Callable[[], bool]


def erasing(deps: ErasureDeps) -> PeriodicTask:
    """Carry out orders to erase."""

    async def work() -> None:
        await erase_once(deps)

    return PeriodicTask("erase_personal_data", _EVERY_S, work)


def reviewing_erasures(deps: ErasureDeps) -> PeriodicTask:
    """Erase again what a restore brought back, and what came after an erasure."""

    async def work() -> None:
        await apply_list(deps)
        await erase_late(deps)

    return PeriodicTask("review_erasures", _REVIEW_EVERY_S, work)


async def erase_once(deps: ErasureDeps) -> dict[int, Step]:
    """Carry out all open orders, each as far as it gets; returns what became of them."""
    async with connection(deps.pool) as conn:
        found = await rows.open_orders(conn, limit=_ORDERS_MAX)
    steps: dict[int, Step] = {}
    for order_id in found:
        if deps.stopping():
            break
        steps[order_id] = await erase_order(deps, order_id)
    return steps


async def erase_order(deps: ErasureDeps, order_id: int) -> Step:
    """Carry out one order as far as it gets."""
    async with transaction(deps.pool) as conn:
        order = await rows.hold(conn, order_id)
        if order is None:
            return "elsewhere"
        if order.object_key is None and (found := await _in_the_way(conn, order, now=deps.clock())):
            await rows.refuse(conn, order_id, reason=found, now=deps.clock())
            _log.warning("erasure refused", erasure=order_id)
            return "refused"
    if order.object_key is None and not await _listed(deps, order):
        return "elsewhere"
    if order.erased_at is None and not await _rows_erased(deps, order_id):
        return "waits"
    # A node that reads an archive of notifications now confirms it only if no row has changed since.
    async with connection(deps.pool) as conn:
        ids = await rows.gateway_ids(conn, order.debtor_ids)
    done = await _remove_files(deps, order)
    await _rewrite_archives(deps, ids)
    if not done:
        _log.info("erasure waits", erasure=order_id, why="a file with the debtor is being read")
        return "waits"
    async with transaction(deps.pool) as conn:
        await rows.finish(conn, order_id, now=deps.clock())
    _log.info("erasure finished", erasure=order_id, debtors=len(order.debtor_ids))
    return "finished"


async def _in_the_way(conn: Connection, order: HeldOrder, *, now: datetime) -> str | None:
    found = await orders.in_the_way(
        conn, order.debtor_ids, now=now, accepts_reversible=order.accepts_reversible
    )
    return str(NotErasable(found)) if found else None


async def _listed(deps: ErasureDeps, order: HeldOrder) -> bool:
    """Enter an order in the list of erasures; whether this worker did."""
    key = object_key(deps.token(), ordered_at=order.created_at)
    entry = ErasureEntry(
        debtors=tuple(map(EntryDebtor, order.debtor_ids, order.stored_ats)),
        ordered_at=order.created_at,
        ordered_by=order.ordered_by,
        accepts_reversible=order.accepts_reversible,
    )
    await objects.put(deps.store, key, _once(write_entry(entry)))
    async with transaction(deps.pool) as conn:
        held = await rows.hold(conn, order.id)
        is_first = held is not None and held.object_key is None
        if is_first:
            await rows.list_entry(conn, order.id, object_key=key)
    if not is_first:
        await objects.delete(deps.store, key)
    return is_first


async def _rows_erased(deps: ErasureDeps, order_id: int) -> bool:
    async with transaction(deps.pool) as conn:
        order = await rows.hold(conn, order_id)
        if order is None or order.erased_at is not None:
            return order is not None
        # The database that knows the order is the one that has its debtors, or one that was restored and has others under their ids.
        ours = await rows.stored_at_these_times(conn, order.debtor_ids, order.stored_ats)
        order = msgspec.structs.replace(order, debtor_ids=ours)
        await rows.lock(conn, ours)
        found = await _in_the_way(conn, order, now=deps.clock())
        if found:
            _log.warning("erasure waits", erasure=order_id, why="something is in the way; see the debtor")
            return False
        count = await rows.erase(conn, order, now=deps.clock())
    _log.info("personal data erased", erasure=order_id, debtors=count)
    return True


async def _remove_files(deps: ErasureDeps, order: HeldOrder) -> bool:
    """Remove the stored files with the debtors; whether none is left."""
    async with connection(deps.pool) as conn:
        found = await rows.files(conn, order.debtor_ids)
    for file in found:
        if not file.is_over:
            continue
        await objects.delete(deps.store, file.object_key)
        async with connection(deps.pool) as conn:
            await pruning.file_removed(conn, file.id, now=deps.clock())
    return all(file.is_over for file in found)


async def _rewrite_archives(deps: ErasureDeps, ids: GatewayIds) -> None:
    """Write the archives with notifications of some debits anew, without what may be personal."""
    await _delete_former(deps)
    async with connection(deps.pool) as conn:
        found = await rows.archives_of(conn, ids.attempt_ids)
    for archive in found:
        await _rewrite(deps, archive, ids)
        await _delete_former(deps)


async def _rewrite(deps: ErasureDeps, archive: ArchiveOf, ids: GatewayIds) -> None:
    read = await fetched(deps.store, archive.object_key, sha256=archive.sha256)
    own = (frozenset(ids.attempt_ids), frozenset(ids.notification_ids))
    after = await asyncio.to_thread(_scrubbed, read.rows, *own)
    if after is None:
        return
    key = archive_format.object_key(read.header.kind, deps.token(), archived_at=read.header.archived_at)
    data = await asyncio.to_thread(archive_format.pack, read.header, after)
    digest = archive_format.checksum(data)
    await objects.put(deps.store, key, _once(data))
    await fetched(deps.store, key, sha256=digest)
    async with transaction(deps.pool) as conn:
        is_replaced = await rows.replace_archive(
            conn, archive, object_key=key, sha256=digest, size_bytes=len(data)
        )
    if not is_replaced:  # another worker did, or the archive was removed
        await objects.delete(deps.store, key)


def _scrubbed(
    given: Sequence[msgspec.Raw], attempt_ids: frozenset[int], notification_ids: frozenset[str]
) -> list[str] | None:
    changed, found = False, list[str]()
    for row in given:
        after = row_scrubbed(bytes(row), attempt_ids=attempt_ids, notification_ids=notification_ids)
        changed = changed or after is not None
        found.append((bytes(row) if after is None else after).decode())
    return found if changed else None


async def _delete_former(deps: ErasureDeps) -> None:
    """Delete the objects that archives no longer have; those of a worker that died in between, too."""
    async with connection(deps.pool) as conn:
        found = await rows.former_objects(conn)
    for former in found:
        await objects.delete(deps.store, former.former_key)
        async with connection(deps.pool) as conn:
            await rows.former_deleted(conn, former.id)


async def apply_list(deps: ErasureDeps, *, at_once: bool = False) -> list[int]:
    """
    Order again what is in the list of erasures, and of which the database has no order: it was restored from an older backup.

    Args:
        at_once: Whether entries of the last minutes are read, too; their orders may be about to note them.

    Returns:
        The orders that were made.
    """
    made: list[int] = []
    page: list[str] = []
    async for stored in objects.listed(deps.store, PREFIX):
        page.append(stored.key)
        if len(page) == _PAGE:
            made += await _ordered_again(deps, page, at_once=at_once)
            page = []
    if page:
        made += await _ordered_again(deps, page, at_once=at_once)
    return made


async def _ordered_again(deps: ErasureDeps, keys: Sequence[str], *, at_once: bool) -> list[int]:
    async with connection(deps.pool) as conn:
        known = await rows.listed_keys(conn, keys)
    made: list[int] = []
    for key in keys:
        if key in known:
            continue
        try:
            entry = read_entry(b"".join([chunk async for chunk in await objects.get(deps.store, key)]))
        except Unreadable as exc:
            _log.error("entry of the list of erasures not read", why=str(exc))
            continue
        if not at_once and entry.ordered_at > deps.clock() - _ENTRY_AGE:
            continue
        order_id = await _order_again(deps, key, entry)
        if order_id is not None:
            _log.warning("erased data was restored; it is erased again", erasure=order_id)
            made.append(order_id)
    return made


async def _order_again(deps: ErasureDeps, key: str, entry: ErasureEntry) -> int | None:
    ids = [debtor.id for debtor in entry.debtors]
    async with transaction(deps.pool) as conn:
        ours = await rows.stored_at_these_times(conn, ids, [debtor.stored_at for debtor in entry.debtors])
        if not ours or await orders.all_erased(conn, ours):
            return None
        return await orders.add(
            conn,
            ours,
            reason=_AGAIN,
            ordered_by=entry.ordered_by,
            accepts_reversible=entry.accepts_reversible,
            object_key=key,
            now=deps.clock(),
        )


async def erase_late(deps: ErasureDeps) -> int:
    """Remove what may be personal from notifications that came after the erasure of their debtors; returns how many there were."""
    done, after = 0, 0
    while not deps.stopping():
        async with connection(deps.pool) as conn:
            found = await rows.late_debtors(conn, after=after, limit=_PAGE)
        if not found:
            break
        async with transaction(deps.pool) as conn:
            done += await rows.scrub_notifications(conn, [item for _, ids in found for item in ids])
        after = found[-1][0]
    if done:
        _log.info("late notifications erased", rows=done)
    return done


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
