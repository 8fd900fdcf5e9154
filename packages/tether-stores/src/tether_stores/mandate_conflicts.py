"""Mandates used for several accounts; the queries are in `mandate_conflicts.sql`."""

from collections.abc import AsyncIterator
from typing import Final

from tether_core.mandate_conflicts import MandateUse

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["uses"]

_SQL: Final = load("mandate_conflicts")
# Rows taken over from the driver at a time.
_FETCHED: Final = 500


async def uses(
    conn: Connection, upload_id: int, *, dry_run: bool
) -> AsyncIterator[tuple[list[MandateUse], MandateUse | None]]:
    """
    The rows of an upload whose mandate may be used for several accounts.

    Args:
        conn: Inside a transaction, whose planner is set for queries that look up few rows each.
        upload_id: Whose.
        dry_run: Whether the rows are those of a dry run.

    Yields:
        The rows of one mandate in the order of the file, and `None`; or one row, and the latest one of its mandate in another upload.
    """
    await conn.execute(_SQL["guard"])
    query = _SQL["uses_dry_run" if dry_run else "uses"]
    cursor = await conn.execute(query, {"upload_id": upload_id}, binary=True)
    last, some = None, list[MandateUse]()
    while rows := await cursor.fetchmany(_FETCHED):
        for is_elsewhere, key, row, mandate_id, account, *other in rows:
            use = MandateUse(row, mandate_id, account)
            if is_elsewhere:
                other_upload_id, other_row, other_mandate_id, other_account = other
                yield [use], MandateUse(other_row, other_mandate_id, other_account, other_upload_id)
                continue
            if key != last:
                if some:
                    yield some, None
                last, some = key, []
            some.append(use)
    if some:
        yield some, None
