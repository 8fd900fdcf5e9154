"""
After the database went back: every submission that was ready or unfinished becomes an inquiry first.

```text
the watch begins an epoch ─► review, chunk by chunk: ready, submitting, unknown ─► unknown ─► claims go on
                          └► the gateway's reports of the lost days are fetched again
```

Nothing is claimed before the review has ended (`tether_stores.database_epoch.watch.Watch.holds`). What is made later for
older rows may have been made, and submitted, by the lost history under the same id: it begins as an inquiry too.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.database_epoch import lost_days
from tether_core.refunds import refund
from tether_stores.database_epoch import lost_history
from tether_stores.database_epoch.lost_history import Review
from tether_stores.postgres import Connection, Pool, transaction
from tether_stores.refunds import refunds
from tether_stores.telemetry import logger

from tether_worker.gateway.status_inquiry import InquiryDeps
from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.lost_history import inquire_attempts
from tether_worker.reconciliation.report_fetches import want
from tether_worker.refunds.write import write

__all__ = ["review", "review_submissions", "want_lost_days"]

_CHUNK: Final = 1_000

_log = logger("database-epoch")


def review_submissions(pool: Pool, *, clock: Callable[[], datetime]) -> PeriodicTask:
    """Make inquiries of all submissions that are older than the current epoch."""

    async def run() -> None:
        while await review(pool, now=clock()):
            pass

    return PeriodicTask("review_submissions", 1, run)


async def review(pool: Pool, *, now: datetime, limit: int = _CHUNK) -> bool:
    """
    Review the next submissions that are older than the current epoch.

    Args:
        limit: Debits at most, and refunds and voids at most.

    Returns:
        Whether more are left.

    Raises:
        Unavailable: when Postgres is away; nothing was reviewed.
    """
    async with transaction(pool) as conn:
        found = await lost_history.to_review(conn)
        if found is None:
            return False
        attempts = await lost_history.unfinished_attempts(
            conn, after=found.attempts_reviewed_to, to=found.attempts_to, limit=limit
        )
        orders = await lost_history.unfinished_orders(
            conn, after=found.orders_reviewed_to, to=found.orders_to, limit=limit
        )
        count = await inquire_attempts(conn, attempts, at=found.began_at, now=now)
        count += await _inquire_orders(conn, orders, at=found.began_at, now=now)
        further = msgspec.structs.replace(
            found,
            attempts_reviewed_to=attempts[-1] if len(attempts) == limit else found.attempts_to,
            orders_reviewed_to=orders[-1] if len(orders) == limit else found.orders_to,
        )
        left = _is_left(further)
        await lost_history.reviewed(conn, further, submissions=count, reviewed_at=None if left else now)
    _log.warning(
        "submissions reviewed",
        epoch=found.number,
        inquiries=count,
        review="going on" if left else "done",
    )
    return left


def _is_left(review: Review) -> bool:
    return (review.attempts_reviewed_to, review.orders_reviewed_to) != (review.attempts_to, review.orders_to)


async def _inquire_orders(conn: Connection, ids: Sequence[int], *, at: datetime, now: datetime) -> int:
    if not ids:
        return 0
    rows = await refunds.locked(conn, ids)
    before = [row.refund for row in rows.values()]
    await write(conn, before, [refund.lose_history(item, at=at) for item in before], now=now)
    await lost_history.inquire_orders_anew(conn, list(rows))
    return len(rows)


def want_lost_days(deps: InquiryDeps) -> PeriodicTask:
    """Fetch the reports of the lost days again, because acknowledged notifications are gone."""

    async def run() -> None:
        accounts = list(await deps.clients())
        if not accounts:
            return
        now = deps.clock()
        async with transaction(deps.pool) as conn:
            lost = await lost_history.lists_to_want(conn)
            if lost is None:
                return
            days = lost_days(lost.since, until=lost.until)
            wanted = await want(conn, accounts, days, now=now)
            await lost_history.lists_wanted(conn, lost, now=now)
        _log.warning("lost days due for report fetches", epoch=lost.number, reports=wanted, days=len(days))

    return PeriodicTask("want_lost_days", 5, run)
