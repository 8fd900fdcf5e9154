"""
Bulk orders: each row that matches is judged once, and gets what was ordered or a reason why not.

```text
lock the order ─► the next rows that match ─► judge each ─┬─ fits ─► what the single order would do
                                                          └─ not ──► the reason is kept for the result
              └► the position moves behind the batch; all in one transaction
```

What is ordered here is submitted, inquired and confirmed by the jobs that do so for single orders, and judged there once more. Each row
that something is done to gets its own row of the audit, in the name of the person who ordered it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
from tether_core.audit import facts
from tether_core.bulk_orders import RECORDED, BulkRefusal
from tether_core.errors import Contradicted, Rejected
from tether_core.jobs import BULK
from tether_stores import audit, blacklist, bulk_orders, inquiry_orders
from tether_stores.accounts import gateway_accounts
from tether_stores.bulk_orders import JudgedRow, LockedBulkOrder
from tether_stores.database_epoch.watch import Watch
from tether_stores.notifications import webhook_events
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.refunds import orders, refunds
from tether_stores.settings import Settings
from tether_stores.telemetry import logger
from tether_stores.uploads import withdrawals

from tether_worker.jobs.run import Work

__all__ = ["BulkDeps", "bulk_batch", "working_bulk_orders"]

# A batch makes a few statements for each row; notifications of its debits wait for as long.
BATCH_SIZE: Final = 100

_log = logger("bulk_orders")


class BulkDeps(msgspec.Struct, frozen=True):
    """
    What bulk orders need.

    Attributes:
        watch: Whether the database went back; an upload is withdrawn only while it did not.
    """

    pool: Pool
    settings: Settings
    clock: Callable[[], datetime]
    watch: Watch


def working_bulk_orders(deps: BulkDeps) -> Work:
    """Bulk orders as a kind of work."""

    async def run_batch() -> int:
        return await bulk_batch(deps)

    async def has_pending() -> bool:
        async with connection(deps.pool) as conn:
            return await bulk_orders.any_working(conn)

    return Work(BULK, run_batch, has_pending)


async def bulk_batch(deps: BulkDeps, *, limit: int = BATCH_SIZE) -> int:
    """
    Carry out the next rows of an order.

    Args:
        limit: Rows at most.

    Returns:
        How many were judged, 1 at least where an order was taken; 0 where none waits.

    Raises:
        Unavailable: when Postgres is away; the batch is repeated.
    """
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        taken = await bulk_orders.take(conn)
        if taken is None:
            return 0
        held, filters = taken
        known = await gateway_accounts.all_accounts(conn, settings=deps.settings)
        page = await bulk_orders.matching(conn, filters, before=held.before, limit=limit, now=now)
        judged = await bulk_orders.judged(
            conn,
            held.order.action,
            page.ids,
            now=now,
            accounts=frozenset(name for name, account in known.items() if account.enabled),
            lock=True,
        )
        rows = [
            row if row.refusal else await _carried_out(conn, held, row, deps=deps, now=now) for row in judged
        ]
        await bulk_orders.add_items(conn, held.order.id, rows)
        await bulk_orders.advance(
            conn, held.order.id, before=page.last or held.before, finished=page.last is None, now=now
        )
    _log.info(
        "bulk order batch done",
        bulk_order_id=held.order.id,
        action=held.order.action,
        rows=len(rows),
        refused=sum(row.refusal is not None for row in rows),
        finished=page.last is None,
    )
    return max(len(rows), 1)


async def _carried_out(
    conn: Connection, held: LockedBulkOrder, row: JudgedRow, *, deps: BulkDeps, now: datetime
) -> JudgedRow:
    """Do to one row what a single order would do; a refusal of it is kept, and does not hold the others up."""
    try:
        async with conn.transaction():
            await _carry_out(conn, held, row, deps=deps, now=now)
            action, subject = RECORDED[held.order.action]
            await audit.record(
                conn,
                held.actor,
                action,
                subject=subject,
                subject_id=row.id,
                reason=held.order.reason,
                after=facts(bulk_order_id=held.order.id),
                now=now,
            )
    except (Rejected, Contradicted) as exc:
        return msgspec.structs.replace(row, refusal=BulkRefusal(exc.code, str(exc)))
    return row


async def _carry_out(
    conn: Connection, held: LockedBulkOrder, row: JudgedRow, *, deps: BulkDeps, now: datetime
) -> None:
    order = held.order
    if order.action == "replay":
        await webhook_events.replay(conn, row.id, now=now)
    elif order.action == "lift":
        await blacklist.lift(
            conn, row.id, lifted_by=order.ordered_by, reason=order.reason, forgives="disputes", now=now
        )
    elif order.action == "inquire":
        await inquiry_orders.order(
            conn, "attempt", row.id, what="open", ordered_by=order.ordered_by, reason=order.reason, now=now
        )
    elif order.action == "withdraw":
        await withdrawals.withdraw(
            conn,
            row.id,
            withdrawn_by=order.ordered_by,
            reason=order.reason,
            now=now,
            epoch_holds=await deps.watch.holds(conn),
        )
    else:
        debit = await refunds.hold_debit(conn, row.id)
        assert debit is not None  # this transaction holds it
        usage = "Void" if order.action == "void" else "Refund"
        await orders.place(conn, debit, kind=order.action, usage=usage, ordered_by=order.ordered_by, now=now)
