"""
Status inquiries about refunds and voids of unknown or pending outcome.

```text
inquire by our id ─┬─ found ─────► recorded; the debit follows
                   └─ not found ─► ready again, after the grace period
```
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

import psycopg
from tether_core.jobs import INQUIRE_REFUNDS
from tether_core.payments.submission import SubmissionRules
from tether_core.refunds import refund
from tether_core.refunds.refund import Outcome, Refund
from tether_stores.postgres import transaction
from tether_stores.refunds import refunds
from tether_stores.telemetry import logger

from tether_worker.gateway import inquiry_batch
from tether_worker.gateway.inquiry_batch import Again, InquiryBatch, Reply
from tether_worker.gateway.status_inquiry import InquiryDeps
from tether_worker.jobs.run import Work
from tether_worker.lost_history import without_later_orders
from tether_worker.reconciliation.differences import compare_refunds
from tether_worker.refunds.write import write

__all__ = ["inquire_refunds", "inquiring_refunds"]

_BATCH_MAX: Final = 16
_RULES: Final = SubmissionRules()

_log = logger("refunds")


def inquiring_refunds(deps: InquiryDeps, *, rules: SubmissionRules = _RULES) -> Work:
    """
    The job that inquires about refunds and voids.

    Args:
        rules: When "not found" counts.
    """

    async def batch() -> int:
        return await inquire_refunds(deps, rules=rules)

    async def has_pending() -> bool:
        return await inquiry_batch.any_due(deps, refunds.INQUIRIES)

    return Work(INQUIRE_REFUNDS, batch, has_pending)


async def inquire_refunds(
    deps: InquiryDeps, *, rules: SubmissionRules = _RULES, limit: int = _BATCH_MAX
) -> int:
    """
    Inquire about orders that are due, at most *limit* of them.

    Args:
        rules: When "not found" counts.

    Returns:
        How many inquiries were made.

    Raises:
        Unavailable: when Postgres is away; the orders become due again.
    """
    batch = await inquiry_batch.inquire_batch(
        deps, refunds.INQUIRIES, limit=limit, further=partial(without_later_orders, deps)
    )
    if not batch.replies:
        return 0
    try:
        await _apply(deps, batch, batch.replies, rules=rules)
    except psycopg.errors.UniqueViolation:
        for reply in batch.replies:
            await _apply_alone(deps, batch, reply, rules=rules)
    return len(batch.replies)


async def _apply_alone(
    deps: InquiryDeps, batch: InquiryBatch, reply: Reply, *, rules: SubmissionRules
) -> None:
    try:
        await _apply(deps, batch, [reply], rules=rules)
    except psycopg.errors.UniqueViolation:
        # The gateway named an id that is stored for another order, so the answer is not about this one.
        _log.error("response names another payment", refund_id=reply.row.id)
        await _apply(deps, batch, [reply.nothing], rules=rules)


async def _apply(
    deps: InquiryDeps, batch: InquiryBatch, replies: Sequence[Reply], *, rules: SubmissionRules
) -> None:
    """Write the answers about orders, in one transaction."""
    now = deps.clock()
    before, outcomes, agains = list[Refund](), list[Outcome](), list[Again]()
    async with transaction(deps.pool) as conn:
        rows = await refunds.locked(conn, [reply.row.id for reply in replies])
        for reply in replies:
            row = rows.get(reply.row.id)
            if row is None or row.refund.order.attempt.transaction_id != reply.row.transaction_id:
                continue  # the database went back while the inquiry was under way
            item = row.refund
            outcome = None
            if reply.answer is not None:
                outcome = refund.apply_record(item, reply.answer)
            elif reply.result == "not_found":
                outcome = refund.resolve(
                    item, inquired_at=batch.inquired_at, inquiry=batch.inquiry(reply), rules=rules
                )
            if outcome is not None:
                before.append(item)
                outcomes.append(outcome)
            agains.append(_next(reply, outcome, deps=deps, now=now))
        await write(conn, before, outcomes, now=now)
        await compare_refunds(conn, [reply.answer for reply in replies if reply.answer is not None], now=now)
        await refunds.INQUIRIES.reschedule(conn, agains)


def _next(reply: Reply, outcome: Outcome | None, *, deps: InquiryDeps, now: datetime) -> Again:
    """When to inquire about an order again."""
    stage = reply.row.payment_stage if outcome is None else outcome.order.attempt.payment_stage
    return inquiry_batch.reschedule(
        reply,
        inquiry_batch.kind_at(stage),
        deps=deps,
        now=now,
        cause="" if outcome is None else outcome.cause,
        again_at=None if outcome is None else outcome.again_at,
    )
