"""Warn of mandates that are used for several accounts, once all rows of an upload are screened."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from tether_core import mandate_conflicts as rules
from tether_core.mandate_conflicts import MandateUse
from tether_core.spreadsheet import FileDecision, Plan, Problem
from tether_core.spreadsheet.cells import excerpt
from tether_stores import mandate_conflicts
from tether_stores.postgres import Connection
from tether_stores.uploads import problems, uploads
from tether_stores.uploads.turns import DueUpload

from tether_worker.jobs.leases import LeaseLost

__all__ = ["warn"]

# Rows warned of in one statement.
_BATCH: Final = 10_000


async def warn(
    conn: Connection, due: DueUpload, *, plan: Plan, lease: str, now: datetime
) -> FileDecision | None:
    """
    Write a warning to each row of an upload whose mandate is used for another account.

    Rows that have the warning keep it; a worker that repeats this writes and counts nothing twice.

    Args:
        due: The upload.
        plan: How it was read.
        lease: Of this worker.

    Returns:
        How many rows and accounts it is about, for the plan; `None` for none.

    Raises:
        LeaseLost: when another worker has the upload.
    """
    column = next((column.header for column in plan.columns if column.field == "mandate_id"), None)
    if column is None:
        return None
    pending: dict[int, Problem] = {}
    warned, added = 0, 0
    async for use, other in _pairs(conn, due):
        if use.row is not None and use.row not in pending:
            note = rules.sentence(other)
            pending[use.row] = Problem(use.row, column, rules.CODE, excerpt(use.mandate_id), note, "warning")
        if len(pending) >= _BATCH:
            rows, fresh = await problems.warn(conn, due.id, list(pending.values()))
            added, warned = added + rows, warned + fresh
            pending.clear()
    rows, fresh = await problems.warn(conn, due.id, list(pending.values()))
    added, warned = added + rows, warned + fresh
    total = await problems.count(conn, due.id, code=rules.CODE)
    if not total:
        return None
    if added and not await uploads.count_warnings(
        conn, due.id, code=rules.CODE, rows=added, warned=warned, lease=lease, now=now
    ):
        raise LeaseLost
    return FileDecision(
        rules.CODE,
        f"{total:,} {'row' if total == 1 else 'rows'}",
        f"The mandates of {total:,} {'row is' if total == 1 else 'rows are'} used for other accounts, too, in this file or in earlier "
        f"uploads; the warnings {rules.CODE} name them. A mandate belongs to one account.",
    )


async def _pairs(conn: Connection, due: DueUpload) -> AsyncIterator[tuple[MandateUse, MandateUse]]:
    """Rows of the file whose mandate another account has, each with a row of that account."""
    async for some, elsewhere in mandate_conflicts.uses(conn, due.id, dry_run=due.dry_run):
        if elsewhere is None:
            for pair in rules.of_several_accounts(some):
                yield pair
        elif rules.is_same(some[0].mandate_id, elsewhere.mandate_id):
            yield some[0], elsewhere
