"""
Reconciliation: payments of unknown outcome, and those that were silent for too long, are asked about one by one.

```text
lease, committed ─► ask by id (no transaction is open) ─┬─ told ──────► a claim for the inbox, decided like any other
                                                        ├─ not there ─► tether_core.payments.submission says what that means
                                                        └─ nothing ───► asked again later
```

What the gateway says about a *payment* goes through the inbox, so it meets notifications and fetched lists on one way.
What it says about a *call* of ours, that it never got it, concerns only attempts of unknown outcome: it may make
them free to be sent again, after the grace period. Neither is decided here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import Unreadable
from tether_core.events import Event
from tether_core.jobs import RECONCILE
from tether_core.payments import stages, submission
from tether_core.payments.submission import After, Rules
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

# One question each at 20 a second: a batch takes some seconds, and one slow answer holds up no more than these.
BATCH_MAX: Final = 64

# "Not there" as sending reads it; the client has taken the answer's place already.
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(
    """
    unique_id transaction_id transaction_type message technical_message amount_minor currency timestamp_at
    terminal_token reference_id reason_code redirect_url mode
    """.split()
)
_NOT_THERE: Final = GatewayAnswer(status="error", code=submission.ABSENT, **_NOTHING, fields={})

_RULES: Final = Rules()


class _Answered(msgspec.Struct, frozen=True):
    """An attempt that was asked about, what came back, and what that claims."""

    reply: Reply
    claim: ReportRecord | None = None


def reconciling(deps: InquiryDeps, *, rules: Rules = _RULES) -> Work:
    """
    Reconciliation as a kind of work.

    Args:
        rules: When the word "not there" counts.
    """

    async def batch() -> int:
        return await reconcile(deps, rules=rules)

    async def has_pending() -> bool:
        return await inquiry_batch.any_due(deps, billing_attempts.INQUIRIES)

    return Work(RECONCILE, batch, has_pending)


async def reconcile(
    deps: InquiryDeps,
    *,
    rules: Rules = _RULES,
    limit: int = BATCH_MAX,
    table: InquiryTable = billing_attempts.INQUIRIES,
) -> int:
    """
    Ask about attempts that are due for a question, at most *limit* of them.

    Args:
        rules: When the word "not there" counts.
        table: Which attempts are due: by their own schedule, or because a person ordered it.

    Returns:
        How many were asked about.

    Raises:
        Unavailable: when Postgres is away; the attempts are asked about again.
    """
    asked = await inquiry_batch.inquire_batch(deps, table, limit=limit)
    if not asked.replies:
        return 0
    found = [_read(reply) for reply in await without_later_tries(deps, asked.replies)]
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        # All of them first, in the order of their ids, as whoever books does.
        rows = await submissions.locked(conn, [reply.row.id for reply in asked.replies])
        # A database that went back while they were under way lacks some, and may have given their ids again.
        found = [item for item in found if _is_of(rows.get(item.reply.row.id), item.reply)]
        records = [item.claim for item in found if item.claim is not None]
        await take_in(conn, records, now=now)
        await compare_report(conn, records, now=now)
        afters = await _resolve_calls(conn, asked, [item.reply for item in found], rows, rules=rules, now=now)
        await table.reschedule(conn, [_next(item, afters=afters, deps=deps, now=now) for item in found])
    return len(asked.replies)


def _is_of(row: submissions.Row | None, reply: Reply) -> bool:
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
    asked: InquiryBatch,
    replies: Sequence[Reply],
    rows: Mapping[int, submissions.Row],
    *,
    rules: Rules,
    now: datetime,
) -> dict[int, After]:
    """Decide what "not there" means for calls of ours; by attempt."""
    afters: dict[int, After] = {}
    for reply in replies:
        row = rows[reply.row.id]
        if reply.heard != "not_found" or row.submission.step != "unknown":
            # What the gateway named once, and misses now, is its own matter until it speaks again.
            continue
        afters[reply.row.id] = submission.resolve(
            row.submission,
            _NOT_THERE,
            inquired_at=asked.inquired_at,
            inquiry=asked.inquiry(reply),
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
    """When to ask about an attempt again, and how often it was asked about by then."""
    ask = answered.reply.row
    after = afters.get(ask.id)
    if after is not None and (after.submission.step != "unknown" or after.again_at is not None):
        return ask.id, ask.inquiry_count, after.again_at  # waiting for the grace period is no try
    if after is not None and after.cause == "not_found_elsewhere":
        return inquiry_batch.again_elsewhere(answered.reply, deps=deps, now=now)
    return inquiry_batch.again(answered.reply, _kind(answered), deps=deps, now=now)


def _kind(answered: _Answered) -> InquiryKind:
    if answered.claim is None:
        return inquiry_batch.kind_at(answered.reply.row.payment_stage)
    # What was unknown and is under way by the gateway's word can wait like anything under way.
    step = stages.meaning(
        answered.claim.notification.status, event=None, error_code=answered.claim.notification.error_code
    )
    return "unknown" if step is not None and step.stage == stages.UNKNOWN_TO_GATEWAY else "pending"
