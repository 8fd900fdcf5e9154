"""
Archive old notifications and events, and delete them once their archive is confirmed.

```text
old rows ─► one object in the store ─► read back ─► archive confirmed, keys kept ─► writers ended ─► rows deleted in batches
```

Rules: `tether_core.retention`; how rows move and why a repeat is never recorded again: `tether_stores/retention/archives.sql` and
docs/concepts/retention.md. Each step can be repeated, so a worker may die between any two.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from time import monotonic
from typing import Final

import msgspec
from tether_core.retention.archive import (
    Header,
    checksum,
    object_key,
    pack,
)
from tether_core.retention.periods import ARCHIVED, ArchiveKind, Periods
from tether_stores import objects
from tether_stores.objects import Objects
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.retention import archives
from tether_stores.retention.archive_files import fetched
from tether_stores.retention.archives import BegunArchive, OldRow, ToPrune
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["REST_RATIO", "ArchiveDeps", "archive_once", "archiving"]

# A worker rests this many times as long as an archive took, so that of a hundred requests six meet the deleting of old rows, and
# the other 94 are answered as fast as ever (docs/decisions/0081).
REST_RATIO: Final = 15.0
_REST_MAX_S: Final = 30.0
# How often a resting worker looks whether its process ends.
_LOOK_S: Final = 0.25

# Of an archive: some hundred kilobytes in the store, and little in memory.
_ROWS_MAX: Final = 2_000
_BYTES_MAX: Final = 8 << 20
# Of one statement that deletes: some ten milliseconds. Between two of them others have the disk.
_BATCH: Final = 200
_PAUSE_S: Final = 0.02
# Of one run of the task, in archives, so that a table that grew for years does not keep a stopping worker.
_ARCHIVES_MAX: Final = 50
_WRITERS_PAUSE_S: Final = 0.05
_REMOVED_MAX: Final = 100
_EVERY_S: Final = 300.0

_log = logger("retention")


class ArchiveDeps(msgspec.Struct, frozen=True):
    """
    What archiving works with.

    Attributes:
        store: Where archives are kept.
        periods: How long rows stay in their tables.
        clock: The shared clock.
        token: Draws a name that no other archive has.
        stopping: Whether the process is about to end.
        writers_wait_s: How long a run waits for transactions that were writing to the inbox, in seconds.
        rest_ratio: How many times as long as an archive took a run rests before the next one; 0 for no rest.
    """

    pool: Pool
    store: Objects
    periods: Periods
    clock: Callable[[], datetime]
    token: Callable[[], str]
    stopping: Callable[[], bool]
    writers_wait_s: float = 20.0
    rest_ratio: float = 0.0


class _Times(msgspec.Struct, frozen=True):
    """The time of a row, by either name."""

    received_at: datetime | None = None
    occurred_at: datetime | None = None

    @property
    def at(self) -> datetime:
        found = self.received_at or self.occurred_at
        assert found is not None
        return found


def archiving(deps: ArchiveDeps) -> PeriodicTask:
    """Archive and delete what is old, and remove archives whose own period is over."""

    async def work() -> None:
        for kind in ARCHIVED:
            rows = await archive_once(deps, kind)
            if rows:
                _log.info("rows archived", kind=kind, rows=rows)
            await _remove(deps, kind)

    return PeriodicTask("archive_old_rows", _EVERY_S, work)


async def archive_once(deps: ArchiveDeps, kind: ArchiveKind) -> int:
    """
    Archive what is old, up to fifty archives, and delete it.

    Returns:
        How many rows were deleted from their table.
    """
    done, is_clear = await _prune(deps, kind)
    after: int | None = 0
    for _ in range(_ARCHIVES_MAX):
        # While archived rows are left in their table, nothing is archived: they would be in two archives.
        if not is_clear or after is None or deps.stopping():
            break
        began_s = monotonic()
        rows, after = await _old_rows(deps, kind, after=after)
        if rows:
            if not await _write(deps, kind, rows):
                break
            count, is_clear = await _prune(deps, kind)
            done += count
            await _rest(deps, worked_s=monotonic() - began_s)
    return done


async def _rest(deps: ArchiveDeps, *, worked_s: float) -> None:
    rest_s = min(worked_s * deps.rest_ratio, _REST_MAX_S)
    for _ in range(math.ceil(rest_s / _LOOK_S)):
        if deps.stopping():
            return
        await asyncio.sleep(_LOOK_S)


async def _old_rows(deps: ArchiveDeps, kind: ArchiveKind, *, after: int) -> tuple[list[OldRow], int | None]:
    """The next old rows, and the id beyond which to go on; `None` where nothing beyond is old."""
    before = deps.periods.before(kind, now=deps.clock())
    async with connection(deps.pool) as conn:
        if kind == "events":
            rows = await archives.due_events(conn, after=after, before=before, limit=_ROWS_MAX)
            return rows, rows[-1].id if rows else None
        # Rows that wait for a person stay, so the walk begins at the first row each time and passes over them.
        found = await archives.examined_notifications(conn, after=after, before=before, limit=_ROWS_MAX)
        rows = await archives.due_notifications(
            conn, after=after, to=found.last_id, before=before, bytes_max=_BYTES_MAX
        )
    if rows and sum(len(row.row) for row in rows) >= _BYTES_MAX:
        return rows, rows[-1].id  # cut off by their size
    return rows, found.last_id if found.are_old else None


async def _write(deps: ArchiveDeps, kind: ArchiveKind, rows: Sequence[OldRow]) -> bool:
    """Write an archive, read it back and confirm it; whether that was done."""
    now = deps.clock()
    key = object_key(kind, deps.token(), archived_at=now)
    async with connection(deps.pool) as conn:
        begun = await archives.begin(conn, kind, object_key=key, now=now)
    if begun is None:
        return False  # another worker is at it
    if begun.former_key is not None:
        await objects.delete(deps.store, begun.former_key)
    header = Header(kind=kind, rows=len(rows), first_id=rows[0].id, last_id=rows[-1].id, archived_at=now)
    data = await asyncio.to_thread(pack, header, [row.row for row in rows])
    await objects.put(deps.store, key, _once(data))
    await _read_back(deps.store, key, checksum(data))
    if await _confirmed(deps, begun, rows, kind=kind, key=key, data=data):
        return True
    async with connection(deps.pool) as conn:
        await archives.abandon(conn, begun.id, object_key=key)
    await objects.delete(deps.store, key)
    _log.warning("archive abandoned", kind=kind, why="its rows changed meanwhile")
    return False


async def _confirmed(
    deps: ArchiveDeps,
    begun: BegunArchive,
    rows: Sequence[OldRow],
    *,
    kind: ArchiveKind,
    key: str,
    data: bytes,
) -> bool:
    times = [msgspec.json.decode(row.row, type=_Times).at for row in rows]
    async with transaction(deps.pool) as conn, conn.transaction() as savepoint:
        done = await archives.confirm(
            conn,
            begun,
            rows,
            kind=kind,
            object_key=key,
            size_bytes=len(data),
            sha256=checksum(data),
            from_at=min(times),
            to_at=max(times),
            now=deps.clock(),
        )
        if not done:
            savepoint.force_rollback = True
    return done


async def _prune(deps: ArchiveDeps, kind: ArchiveKind) -> tuple[int, bool]:
    """Delete the rows of all confirmed archives from their table; returns how many, and whether none is left."""
    done = 0
    while not deps.stopping():
        async with connection(deps.pool) as conn:
            archive = await archives.to_prune(conn, kind)
        if archive is None:
            return done, True
        # It may have been confirmed long ago, by a worker that died.
        await _read_back(deps.store, archive.object_key, archive.sha256)
        if kind == "notifications" and not await _writers_ended(deps):
            _log.warning("pruning deferred", why="a transaction has been writing to the inbox for long")
            break
        count, is_empty = await _prune_archive(deps, archive)
        done += count
        if not is_empty:
            break  # rows are locked; the next run goes on
    return done, False


async def _prune_archive(deps: ArchiveDeps, archive: ToPrune) -> tuple[int, bool]:
    done, after = 0, archive.first_id - 1
    while not deps.stopping():
        async with connection(deps.pool) as conn:
            batch = await archives.prune(conn, archive, after=after, limit=_BATCH)
        if batch.last_id is None:
            break
        done, after = done + batch.rows, batch.last_id
        await asyncio.sleep(_PAUSE_S)
    async with connection(deps.pool) as conn:
        if await archives.has_rows_left(conn, archive):
            return done, False
        await archives.pruned(conn, archive.id, now=deps.clock())
    return done, True


async def _writers_ended(deps: ArchiveDeps) -> bool:
    """Wait until all that may not see the kept keys have ended."""
    async with connection(deps.pool) as conn:
        awaited = await archives.writers(conn)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + deps.writers_wait_s
    while awaited:
        if loop.time() > ends_at or deps.stopping():
            return False
        await asyncio.sleep(_WRITERS_PAUSE_S)
        async with connection(deps.pool) as conn:
            awaited &= await archives.writers(conn)
    return True


async def _remove(deps: ArchiveDeps, kind: ArchiveKind) -> None:
    now = deps.clock()
    before = deps.periods.before("archives", now=now)
    async with connection(deps.pool) as conn:
        old = await archives.to_remove(conn, kind, before=before, limit=_REMOVED_MAX)
    for archive_id, key in old:
        await objects.delete(deps.store, key)
        async with connection(deps.pool) as conn:
            await archives.removed(conn, archive_id, object_key=key, now=now)
        _log.info("archive removed", archive=archive_id)


async def _read_back(store: Objects, key: str, sha256: bytes) -> None:
    await fetched(store, key, sha256=sha256)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
