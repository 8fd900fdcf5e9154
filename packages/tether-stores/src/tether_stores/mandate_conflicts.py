"""Mandates used for several accounts; the queries are in `mandate_conflicts.sql`."""

from collections.abc import AsyncIterator
from typing import Final

from tether_core.mandate_conflicts import MandateUse

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["elsewhere", "in_file"]

_SQL: Final = load("mandate_conflicts")
# Rows taken over from the driver at a time.
_FETCHED: Final = 500


async def in_file(conn: Connection, upload_id: int, *, dry_run: bool) -> AsyncIterator[list[MandateUse]]:
    """
    The rows of an upload whose mandate may be used for several accounts of it.

    Args:
        conn: Inside a transaction.
        upload_id: Whose.
        dry_run: Whether the rows are those of a dry run.

    Yields:
        The rows of one mandate, in the order of the file.
    """
    query = _SQL["in_file_dry_run" if dry_run else "in_file"]
    cursor = await conn.execute(query, {"upload_id": upload_id}, binary=True)
    last, some = None, list[MandateUse]()
    while rows := await cursor.fetchmany(_FETCHED):
        for key, row, mandate_id, account in rows:
            if key != last:
                if some:
                    yield some
                last, some = key, []
            some.append(MandateUse(row, mandate_id, account))
    if some:
        yield some


async def elsewhere(
    conn: Connection, upload_id: int, *, dry_run: bool
) -> AsyncIterator[tuple[MandateUse, MandateUse]]:
    """
    The rows of an upload whose mandate may have been used for another account in an earlier one.

    Args:
        conn: Inside a transaction.
        upload_id: Whose.
        dry_run: Whether the rows are those of a dry run.

    Yields:
        The row, and the latest one of the same mandate elsewhere.
    """
    query = _SQL["elsewhere_dry_run" if dry_run else "elsewhere"]
    cursor = await conn.execute(query, {"upload_id": upload_id}, binary=True)
    while rows := await cursor.fetchmany(_FETCHED):
        for row, mandate_id, account, other_upload_id, other_row, other_mandate_id, other_account in rows:
            yield (
                MandateUse(row, mandate_id, account),
                MandateUse(other_row, other_mandate_id, other_account, other_upload_id),
            )
