"""Add the kept changes of row counts to the counts."""

from typing import Final

from tether_stores import row_counts
from tether_stores.postgres import Pool, transaction

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["add_row_counts"]

# What is left then is there for the next time.
_COUNT_BATCHES_MAX: Final = 100


def add_row_counts(pool: Pool) -> PeriodicTask:
    """
    Add the changes of counts to the counts.

    Counts are exact without it, but each reader adds up all changes that are left.
    """

    async def add() -> None:
        for _ in range(_COUNT_BATCHES_MAX):
            async with transaction(pool) as conn:
                if not await row_counts.add_changes(conn):
                    return

    return PeriodicTask("add_row_counts", 5, add)
