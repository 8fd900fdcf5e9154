"""Counts of the gateway's responses per run; the queries are in `payments/billing_run_counts.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from tether_core.billing import auto_pause
from tether_core.billing.auto_pause import COUNTED_FOR, RunCounts
from tether_core.payments.attempt import Attempt

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["add", "begin", "of_upload", "release", "share", "small"]

_SQL: Final = load("payments/billing_run_counts")


async def add(conn: Connection, attempts: Sequence[Attempt], *, now: datetime) -> None:
    """
    Count the responses that attempts are about to record, before they are written.

    Args:
        conn: The transaction that locks them.
        attempts: Their new state, without those that are not submitted.
    """
    answered = [attempt for attempt in attempts if attempt.payment_stage >= _ANSWERED]
    if not answered:
        return
    await conn.execute(
        _SQL["add"],
        {
            "ids": [attempt.id for attempt in answered],
            "payment_stages": [attempt.payment_stage for attempt in answered],
            "now": now,
        },
    )


# As in the query: from this stage on the gateway has responded. Stages only grow, so an attempt below it was below it before.
_ANSWERED: Final = 20


async def begin(conn: Connection, run_id: int) -> None:
    """Insert the row of a run that has none, so that it can be locked."""
    await conn.execute(_SQL["begin"], {"run_id": run_id})


async def share(conn: Connection, *, run_id: int, upload_id: int, now: datetime) -> list[RunCounts]:
    """
    The counts that decide whether a run may continue, locked in share mode until this transaction ends.

    Args:
        conn: The transaction that claims debits of the run.
        upload_id: The upload of the run.

    Returns:
        The counts of the run, and of other runs of the upload with recent refusals; in the order of their ids.
    """
    given = {"run_id": run_id, "upload_id": upload_id, "since": now - COUNTED_FOR}
    counts = await _rows(conn, "share", given)
    if not any(count.run_id == run_id for count in counts):
        await begin(conn, run_id)
        counts = await _rows(conn, "share", given)
    return counts


async def of_upload(conn: Connection, upload_id: int) -> list[RunCounts]:
    """The counts of all runs of an upload, in the order of their ids."""
    return await _rows(conn, "of_upload", {"upload_id": upload_id})


async def small(
    conn: Connection, *, account: str, run_id: int, planned_count: int, now: datetime
) -> list[RunCounts]:
    """
    The counts of the small runs of an account that were ordered before a small run, for `auto_pause.small_runs`; not locked.

    Args:
        run_id: The run.
        planned_count: Its debits.

    Returns:
        Those of runs first answered within `COUNTED_FOR`, by their first answer, the newest first; none where the run is not small.
    """
    if not auto_pause.is_small(planned_count):
        return []
    given = {
        "account": account,
        "before_id": run_id,
        "since": now - COUNTED_FOR,
        "runs_max": auto_pause.RUNS_MAX,
        "answered_max": auto_pause.REFUSALS.counted_min - 1,
        "limit": auto_pause.SMALL_RUNS.counted_min,
    }
    return await _rows(conn, "small", given)


async def release(
    conn: Connection, upload_id: int, *, by: str, reason: str, now: datetime
) -> list[RunCounts]:
    """
    Record that a person has released the runs of an upload in spite of their refusals.

    Those that are not over are no longer judged by the small runs before them. Nothing of other uploads is released.

    Args:
        by: Who.
        reason: Why its runs may continue.

    Returns:
        The counts of the runs that had refusals since they were last released; in the order of their ids.
    """
    given = {"upload_id": upload_id, "by": by, "reason": reason, "now": now}
    return await _rows(conn, "release", given)


async def _rows(conn: Connection, name: str, given: dict[str, Any]) -> list[RunCounts]:
    return await fetch_all(conn, _SQL[name], given, into=RunCounts, binary=True)
