"""Add the kept changes of figures to their sums."""

from typing import Final

from tether_stores import figures
from tether_stores.postgres import Pool, transaction

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["add_figures"]

# What is left then is there for the next time.
_BATCHES_MAX: Final = 100


def add_figures(pool: Pool) -> PeriodicTask:
    """
    Add the changes of figures to the sums.

    Figures are exact without it, but each reader adds up all changes that are left.
    """

    async def add() -> None:
        for _ in range(_BATCHES_MAX):
            async with transaction(pool) as conn:
                if not await figures.add_changes(conn):
                    return

    return PeriodicTask("add_figures", 5, add)
