"""
Voids of whole runs: each debit of the run is judged once, and gets a void or a reason why not.

```text
hold the order, and a batch of its run's debits ─► judge each ─┬─ voidable ─► an order like any other (refunds)
                                                               └─ not ──────► the reason is kept for the result
                └► the position moves behind the batch; all in one transaction
```

What is ordered here is submitted, inquired and confirmed by the work that does so for single voids, and judged
there once more: a void that reaches the gateway too late is refused by it, and the result says so.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from tether_core.holds import refund_hold
from tether_core.jobs import VOID_RUNS
from tether_core.refunds.run_voids import judge
from tether_stores import holds
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.refunds import orders, refunds, run_voids
from tether_stores.refunds.run_voids import LockedRunVoid, RunDebit, VoidResult
from tether_stores.telemetry import logger

from tether_worker.jobs.run import Work

__all__ = ["void_batch", "voiding_runs"]

# Orders of a batch are a few statements each, and notifications of its debits wait for so long.
BATCH_SIZE: Final = 100

_log = logger("run_voids")


def voiding_runs(pool: Pool, *, clock: Callable[[], datetime]) -> Work:
    """Voids of whole runs as a kind of work."""

    async def run_batch() -> int:
        return await void_batch(pool, now=clock())

    async def has_pending() -> bool:
        async with connection(pool) as conn:
            return await run_voids.any_working(conn)

    return Work(VOID_RUNS, run_batch, has_pending)


async def void_batch(pool: Pool, *, now: datetime, limit: int = BATCH_SIZE) -> int:
    """
    Judge the next debits of an order, at most *limit* of them.

    Returns:
        How many were judged, 1 at least where an order was finished; 0 where none waits.

    Raises:
        Unavailable: when Postgres is away; the batch is judged again.
    """
    async with transaction(pool) as conn:
        order = await run_voids.take(conn)
        if order is None:
            return 0
        ids = await run_voids.hold_debits(conn, order.run_id, after=order.position, limit=limit)
        # Read once they are held: each is what it is until this transaction ends.
        debits = await run_voids.debits(conn, order.run_id, after=order.position, limit=len(ids))
        reported = await holds.of_refunds(conn, ids, now=now)
        judged = []
        for debit in debits:
            refusal = judge(
                debit.attempt,
                submitted_at=debit.submitted_at,
                now=now,
                is_submitted=debit.is_submitted,
                ordered=debit.ordered,
                hold=refund_hold(reported[debit.attempt.id]),
            )
            refund_id = None if refusal is not None else await _ordered(conn, order, debit, now=now)
            judged.append(VoidResult(debit.attempt, refund_id, refusal))
        await run_voids.judged(conn, order.id, judged)
        finished = len(ids) < limit
        position = ids[-1] if ids else order.position
        await run_voids.advance(conn, order.id, position=position, finished=finished, now=now)
    _log.info(
        "run void batch judged",
        run_void_id=order.id,
        run_id=order.run_id,
        debits=len(judged),
        refused=sum(item.refusal is not None for item in judged),
        finished=finished,
    )
    return max(len(judged), 1)


async def _ordered(conn: Connection, order: LockedRunVoid, debit: RunDebit, *, now: datetime) -> int:
    """The void of a debit: the one that is active, or a new one."""
    if debit.refund_id is not None:
        return debit.refund_id
    held = await refunds.hold_debit(conn, debit.attempt.id)
    assert held is not None  # this transaction holds it
    made = await orders.place(
        conn, held, kind="void", usage=order.usage, ordered_by=order.ordered_by, now=now
    )
    assert made is not None  # none was active, and nobody else can make one meanwhile
    return made
