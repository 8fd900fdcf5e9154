"""Remove stored files that no upload names."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final

from tether_core.uploads.file_keys import is_object_key
from tether_stores import objects
from tether_stores.objects import Objects, Stored
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import logger
from tether_stores.uploads import uploads

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["sweep_objects"]

# No request lasts nearly this long; and within it a database can be restored whose rows name these objects.
_ORPHAN_AGE: Final = timedelta(days=7)
_ASKED_KEYS: Final = 1_000
# More keys than this are not held in memory; the next pass removes the rest.
_REMOVED_MAX: Final = 10_000

_log = logger("objects")


def sweep_objects(pool: Pool, store: Objects, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """
    Remove files that no upload names: a web node was killed between storing a file and writing its row.

    Only objects under keys that Tether makes, and older than a week, are considered. What is older than the first upload stays. Where
    most objects have no upload, the database is the wrong one: empty, of staging, restored from long ago, or of another
    installation. Then nothing is removed, and an error is logged.
    """

    async def sweep() -> None:
        async with connection(pool) as conn:
            first_at = await uploads.first_at(conn)
        named = unnamed = 0
        orphans: list[str] = []
        async for some in _old(store, before=clock() - _ORPHAN_AGE):
            async with connection(pool) as conn:
                known = await uploads.referenced(conn, [item.key for item in some])
            strange = [item for item in some if item.key not in known]
            named += len(known)
            unnamed += len(strange)
            orphans += [item.key for item in strange if first_at is not None and item.modified_at >= first_at]
            del orphans[_REMOVED_MAX:]
        if unnamed > named:
            _log.error(
                "more files are without an upload than with one, so none was removed; check that DATABASE_URL and "
                "the bucket (AWS_BUCKET, or TETHER_OBJECTS_DIR) belong to one installation and to no other",
                files_without=unnamed,
                files_with=named,
            )
            return
        for key in orphans:
            await objects.delete(store, key)
        if orphans:
            _log.info("files without an upload removed", files=len(orphans))

    return PeriodicTask("sweep_objects", 21_600, sweep)


async def _old(store: Objects, *, before: datetime) -> AsyncIterator[list[Stored]]:
    some: list[Stored] = []
    async for stored in objects.listed(store, "uploads"):
        if is_object_key(stored.key) and stored.modified_at < before:
            some.append(stored)
        if len(some) == _ASKED_KEYS:
            yield some
            some = []
    if some:
        yield some
