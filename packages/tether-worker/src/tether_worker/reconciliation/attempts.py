"""
Status inquiries about attempts of unknown outcome, and about those without news for too long.

```text
lease, committed ─► inquire by id (no transaction is open) ─┬─ found ─────► a report record for the inbox, decided like any other
                                                            ├─ not found ─► tether_core.payments.submission decides
                                                            └─ no answer ─► inquired again later
```

What the gateway reports about a *payment* goes through the inbox, like notifications and fetched reports. That it never received a
*call* concerns only attempts of unknown outcome: they may be submitted again after the grace period. These are not decided here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from tether_core.errors import Unreadable
from tether_core.events import Event
from tether_core.jobs import RECONCILE
from tether_core.payments import stages, submission
from tether_core.payments.submission import After, SubmissionRules
from tether_core.reconciliation.report_records import ReportRecord, from_answer
from tether_core.reconciliation.status_inquiry import InquiryKind
from tether_stores import events
from tether_stores.payments import billing_attempts, submissions
from tether_stores.payments.inquiries import InquiryTable
from tether_stores.postgres import Connection, transaction

from tether_worker.gateway import inquiry_batch
from tether_worker.gateway.inquiry_batch import Again, InquiryBatch, Reply
from tether_worker.gateway.status_inquiry import InquiryDeps
from tether_worker.jobs.run import Work
from tether_worker.lost_history import without_later_tries
from tether_worker.reconciliation.differences import compare_report
from tether_worker.reconciliation.report_fetches import take_in

__all__ = ["reconcile", "reconciling"]

# One inquiry each at 20 a second: a batch takes some seconds, and a slow answer delays no more rows than these.
BATCH_MAX: Final = 64


_RULES: Final = SubmissionRules()


class _Answered(msgspec.Struct, frozen=True):
    """The reply about an attempt, and the report record it contains."""

    reply: Reply
    record: ReportRecord | None = None


def reconciling(deps: InquiryDeps, *, rules: SubmissionRules = _RULES) -> Work:
    """
    The job that inquires about attempts.

    Args:
        rules: When "not found" counts.
    """

    async def batch() -> int:
        return await reconcile(deps, rules=rules)

    async def has_pending() -> bool:
        return await inquiry_batch.any_due(deps, billing_attempts.INQUIRIES)

    return Work(RECONCILE, batch, has_pending)


async def reconcile(
    deps: InquiryDeps,
    *,
    rules: SubmissionRules = _RULES,
    limit: int = BATCH_MAX,
    table: InquiryTable = billing_attempts.INQUIRIES,
) -> int:
    """
    Inquire about attempts that are due, at most *limit* of them.

    Args:
        rules: When "not found" counts.
        table: Which attempts are due: by their own schedule, or because a person ordered it.

    Returns:
        How many inquiries were made.

    Raises:
        Unavailable: when Postgres is away; the attempts become due again.
    """
    batch = await inquiry_batch.inquire_batch(
        deps, table, limit=limit, further=partial(without_later_tries, deps)
    )
    if not batch.replies:
        return 0
    found = [_read(reply) for reply in batch.replies]
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        # Lock all of them first, in the order of their ids, as applying notifications does.
        rows = await submissions.locked(conn, [reply.row.id for reply in batch.replies])
        # A database that went back meanwhile lacks some rows, and may have reused their ids.
        found = [item for item in found if _is_of(rows.get(item.reply.row.id), item.reply)]
        records = [item.record for item in found if item.record is not None]
        await take_in(conn, records, now=now)
        await compare_report(conn, records, now=now)
        afters = await _resolve_calls(conn, batch, [item.reply for item in found], rows, rules=rules, now=now)
        await table.reschedule(conn, [_next(item, afters=afters, deps=deps, now=now) for item in found])
    return len(batch.replies)


def _is_of(row: submissions.LockedDebit | None, reply: Reply) -> bool:
    return row is not None and row.submission.attempt.transaction_id == reply.row.transaction_id


def _read(reply: Reply) -> _Answered:
    if reply.answer is None:
        return _Answered(reply)
    try:
        return _Answered(reply, from_answer(reply.answer, account=reply.row.account))
    except Unreadable:
        return _Answered(reply.nothing)


async def _resolve_calls(
    conn: Connection,
    batch: InquiryBatch,
    replies: Sequence[Reply],
    rows: Mapping[int, submissions.LockedDebit],
    *,
    rules: SubmissionRules,
    now: datetime,
) -> dict[int, After]:
    """Decide what "not found" means for our calls; by attempt."""
    afters: dict[int, After] = {}
    for reply in replies:
        row = rows[reply.row.id]
        if reply.result != "not_found" or row.submission.step != "unknown":
            # The gateway named this payment before; that it misses it now changes nothing.
            continue
        afters[reply.row.id] = submission.resolve(
            row.submission,
            None,
            inquired_at=batch.inquired_at,
            inquiry=batch.inquiry(reply),
            rules=rules,
        )
    written = [
        submissions.Written(
            after.submission, unresolved=after.cause if after.submission.step == "unknown" else None
        )
        for after in afters.values()
    ]
    await submissions.write(conn, written, now=now)
    facts: list[tuple[int | None, Event]] = [
        (None, fact) for after in afters.values() for fact in after.events
    ]
    await events.append(conn, facts, now=now)
    return afters


def _next(answered: _Answered, *, afters: Mapping[int, After], deps: InquiryDeps, now: datetime) -> Again:
    """When to inquire about an attempt again."""
    after = afters.get(answered.reply.row.id)
    return inquiry_batch.reschedule(
        answered.reply,
        _kind(answered),
        deps=deps,
        now=now,
        cause="" if after is None else after.cause,
        again_at=None if after is None else after.again_at,
    )


def _kind(answered: _Answered) -> InquiryKind:
    if answered.record is None:
        return inquiry_batch.kind_at(answered.reply.row.payment_stage)
    # A payment that the gateway reports as pending can wait like any other pending one.
    notification = answered.record.notification
    step = stages.meaning(notification.status, event=None, error_code=notification.error_code)
    return "unknown" if step is not None and step.stage == stages.UNKNOWN_TO_GATEWAY else "pending"
