"""
Counts of rows that are kept as rows are written, so that nobody reads a large table for them.

`row_counts.sql` says how; what counts are read is said beside the tables that are counted.
"""

from typing import Final

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["add_changes"]

_SQL: Final = load("row_counts")
# Few enough for a statement of some milliseconds; what is left is added by the next one.
_BATCH_SIZE: Final = 5_000


async def add_changes(conn: Connection, *, limit: int = _BATCH_SIZE) -> int:
    """
    Add changes to the counts.

    Args:
        conn: Inside a transaction. While another one adds changes, nothing is done.
        limit: Changes at most, of billing attempts and of other rows.

    Returns:
        How many changes were added.
    """
    row = await (await conn.execute(_SQL["begin"])).fetchone()
    if row is None or not row[0]:
        return 0
    attempts = await (await conn.execute(_SQL["add_attempts"], {"limit": limit})).fetchone()
    words = await (await conn.execute(_SQL["add_words"], {"limit": limit})).fetchone()
    assert attempts is not None
    assert words is not None
    return int(attempts[0] + words[0])
