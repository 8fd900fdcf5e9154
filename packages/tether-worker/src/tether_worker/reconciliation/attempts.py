"""
Reconciliation: payments of unknown outcome, and those that were silent for too long, are asked about one by one.

```text
lease, committed ─► ask by id (no transaction is open) ─┬─ told ──────► a claim for the inbox, decided like any other
                                                        ├─ not there ─► tether_core.payments.submission says what that means
                                                        └─ nothing ───► asked again later
```

What the gateway says about a *payment* goes through the inbox, so it meets notifications and pulled lists on one way.
What it says about a *call* of ours, that it never got it, concerns only attempts of unknown outcome: it may make
them free to be sent again, after the grace period. Neither is decided here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.emp import codes
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import Unreadable
from tether_core.events import Event
from tether_core.jobs import RECONCILE
from tether_core.payments import submission
from tether_core.payments.submission import After, Rules
from tether_core.reconciliation.report_records import Pulled, from_answer
from tether_core.reconciliation.status_inquiry import Asked
from tether_stores import events
from tether_stores.payments import billing_attempts, submissions
from tether_stores.payments.inquiries import Asks
from tether_stores.postgres import Connection, transaction

from tether_worker.gateway import inquiry_batch
from tether_worker.gateway.inquiry_batch import Again, Reply, Round
from tether_worker.gateway.status_inquiry import Asking
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
    claim: Pulled | None = None


def reconciling(has: Asking, *, rules: Rules = _RULES) -> Work:
    """
    Reconciliation as a kind of work.

    Args:
        has: What asking needs.
        rules: When the word "not there" counts.

    Returns:
        The work for queue "reconciliation".
    """

    async def bite() -> int:
        return await reconcile(has, rules=rules)

    async def waits() -> bool:
        return await inquiry_batch.any_due(has, billing_attempts.ASKS)

    return Work(RECONCILE, bite, waits)


async def reconcile(
    has: Asking, *, rules: Rules = _RULES, limit: int = BATCH_MAX, table: Asks = billing_attempts.ASKS
) -> int:
    """
    Ask about attempts that are due for a question, at most *limit* of them.

    Args:
        has: What asking needs.
        rules: When the word "not there" counts.
        limit: Attempts at most.
        table: Which attempts are due: by their own schedule, or because a person ordered it.

    Returns:
        How many were asked about.

    Raises:
        Unavailable: when Postgres is away; the attempts are asked about again.
    """
    asked = await inquiry_batch.ask(has, table, limit=limit)
    if not asked.replies:
        return 0
    found = [_read(one) for one in await without_later_tries(has, asked.replies)]
    now = has.clock()
    async with transaction(has.pool) as conn:
        # All of them first, in the order of their ids, as whoever books does.
        rows = await submissions.locked(conn, [one.ask.id for one in asked.replies])
        # A database that went back while they were under way lacks some, and may have given their ids again.
        found = [one for one in found if _is_of(rows.get(one.reply.ask.id), one.reply)]
        records = [one.claim for one in found if one.claim is not None]
        await take_in(conn, records, now=now)
        await compare_report(conn, records, now=now)
        afters = await _settle_calls(conn, asked, [one.reply for one in found], rows, rules=rules, now=now)
        await table.note(conn, [_next(one, afters=afters, has=has, now=now) for one in found])
    return len(asked.replies)


def _is_of(row: submissions.Row | None, reply: Reply) -> bool:
    return row is not None and row.send.attempt.transaction_id == reply.ask.transaction_id


def _read(reply: Reply) -> _Answered:
    if reply.answer is None:
        return _Answered(reply)
    try:
        return _Answered(reply, from_answer(reply.answer, account=reply.ask.account))
    except Unreadable:
        return _Answered(reply.nothing)


async def _settle_calls(
    conn: Connection,
    asked: Round,
    replies: Sequence[Reply],
    rows: Mapping[int, submissions.Row],
    *,
    rules: Rules,
    now: datetime,
) -> dict[int, After]:
    """Decide what "not there" means for calls of ours; by attempt."""
    afters: dict[int, After] = {}
    for reply in replies:
        row = rows[reply.ask.id]
        if reply.heard != "not_there" or row.send.step != "unknown":
            # What the gateway named once, and misses now, is its own matter until it speaks again.
            continue
        afters[reply.ask.id] = submission.resolve(
            row.send, _NOT_THERE, asked_at=asked.asked_at, inquiry=asked.inquiry(reply), rules=rules
        )
    written = [
        submissions.Written(after.send, unresolved=after.cause if after.send.step == "unknown" else None)
        for after in afters.values()
    ]
    await submissions.write(conn, written, now=now)
    facts: list[tuple[int | None, Event]] = [
        (None, fact) for after in afters.values() for fact in after.events
    ]
    await events.append(conn, facts, now=now)
    return afters


def _next(one: _Answered, *, afters: Mapping[int, After], has: Asking, now: datetime) -> Again:
    """When to ask about an attempt again, and how often it was asked about by then."""
    ask = one.reply.ask
    after = afters.get(ask.id)
    if after is not None and (after.send.step != "unknown" or after.again_at is not None):
        return ask.id, ask.asks, after.again_at  # waiting for the grace period is no try
    if after is not None and after.cause == "not_found_elsewhere":
        return inquiry_batch.again_elsewhere(one.reply, has=has, now=now)
    return inquiry_batch.again(one.reply, _kind(one), has=has, now=now)


def _kind(one: _Answered) -> Asked:
    if one.claim is None:
        return inquiry_batch.kind_at(one.reply.ask.payment_stage)
    # What was unknown and is under way by the gateway's word can wait like anything under way.
    step = codes.meaning(
        one.claim.notification.status, event=None, error_code=one.claim.notification.error_code
    )
    return "unknown" if step is not None and step.stage == codes.UNKNOWN_TO_GATEWAY else "pending"
