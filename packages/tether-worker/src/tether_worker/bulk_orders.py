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

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from tether_core.audit import facts
from tether_core.bulk_orders import RECORDED, BulkAction, BulkRefusal
from tether_core.errors import Contradicted, Rejected
from tether_core.jobs import BULK
from tether_core.recurring.schedule import ScheduleCause
from tether_core.refunds.allowance import RefundKind
from tether_core.target_calendar import bank_day, next_open
from tether_stores import audit, blacklist, bulk_orders, inquiry_orders
from tether_stores.accounts import gateway_accounts
from tether_stores.bulk_orders import BulkOrder, JudgedRow, LockedBulkOrder
from tether_stores.database_epoch.watch import Watch
from tether_stores.notifications import webhook_events
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.recurring import changes, collection_plans, due_items, schedules
from tether_stores.refunds import orders, refunds
from tether_stores.settings import Settings
from tether_stores.subscribers import deliveries
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
        await bulk_orders.hold(conn, filters)
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
            await _CARRY_OUT[held.order.action](conn, _Doing(held.order, deps, now), row)
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


class _Doing(msgspec.Struct, frozen=True):
    """What is done to the rows of a batch."""

    order: BulkOrder
    deps: BulkDeps
    now: datetime


async def _replay(conn: Connection, doing: _Doing, row: JudgedRow) -> None:
    await webhook_events.replay(conn, row.id, now=doing.now)


async def _lift(conn: Connection, doing: _Doing, row: JudgedRow) -> None:
    order = doing.order
    await blacklist.lift(
        conn, row.id, lifted_by=order.ordered_by, reason=order.reason, forgives="disputes", now=doing.now
    )


async def _inquire(conn: Connection, doing: _Doing, row: JudgedRow) -> None:
    order = doing.order
    await inquiry_orders.order(
        conn, "attempt", row.id, what="open", ordered_by=order.ordered_by, reason=order.reason, now=doing.now
    )


async def _withdraw(conn: Connection, doing: _Doing, row: JudgedRow) -> None:
    order = doing.order
    await withdrawals.withdraw(
        conn,
        row.id,
        withdrawn_by=order.ordered_by,
        reason=order.reason,
        now=doing.now,
        epoch_holds=await doing.deps.watch.holds(conn),
    )


async def _return_money(kind: RefundKind, conn: Connection, doing: _Doing, row: JudgedRow) -> None:
    debit = await refunds.hold_debit(conn, row.id)
    assert debit is not None  # this transaction holds it
    usage = "Void" if kind == "void" else "Refund"
    await orders.place(conn, debit, kind=kind, usage=usage, ordered_by=doing.order.ordered_by, now=doing.now)


async def _change_schedule(cause: ScheduleCause, conn: Connection, doing: _Doing, row: JudgedRow) -> None:
    schedule = await schedules.hold(conn, row.id)
    assert schedule is not None  # this transaction holds it
    reason = None if cause == "resumed" else doing.order.reason
    await changes.change_schedule(conn, schedule, cause, reason=reason, now=doing.now)


async def _recover(conn: Connection, doing: _Doing, row: JudgedRow) -> None:
    item = await due_items.hold(conn, row.id)
    assert item is not None  # this transaction holds it
    plan = await collection_plans.by_id(conn, item.collection_plan_id)
    assert plan is not None
    collect_on = next_open(bank_day(doing.now))
    await changes.recover_item(conn, item.id, options=plan.options, collect_on=collect_on, now=doing.now)


async def _waive(conn: Connection, doing: _Doing, row: JudgedRow) -> None:
    item = await due_items.hold(conn, row.id)
    assert item is not None  # this transaction holds it
    await changes.waive_item(conn, item, now=doing.now)


async def _redeliver(conn: Connection, doing: _Doing, row: JudgedRow) -> None:
    delivery = await deliveries.by_id(conn, row.id)
    assert delivery is not None  # this transaction holds it
    await deliveries.send_again(conn, delivery, now=doing.now)


# What is done to a row that was judged and is locked; each raises what the single order would refuse.
_CARRY_OUT: Final[dict[BulkAction, Callable[[Connection, _Doing, JudgedRow], Awaitable[None]]]] = {
    "replay": _replay,
    "inquire": _inquire,
    "void": partial(_return_money, "void"),
    "refund": partial(_return_money, "refund"),
    "lift": _lift,
    "withdraw": _withdraw,
    "pause_schedules": partial(_change_schedule, "paused"),
    "resume_schedules": partial(_change_schedule, "resumed"),
    "end_schedules": partial(_change_schedule, "ended"),
    "recover": _recover,
    "waive": _waive,
    "redeliver": _redeliver,
}
