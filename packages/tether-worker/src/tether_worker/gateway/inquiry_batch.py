"""
Rounds of questions: rows whose fate the gateway has to be asked for are claimed, held, and asked about side by side.

```text
lease, committed ─► ask by our id (no transaction is open), the lease renewed ─► replies, for the caller to record
```

Attempts and refund are asked about alike; `tether_core.reconciliation.status_inquiry` says which, when, and what
an answer is. What a reply means for a row is its own module's business.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent, InvalidRequest
from tether_core.payments import stages
from tether_core.payments.gateway_identity import EVERY
from tether_core.payments.not_found import Inquiry
from tether_core.reconciliation.status_inquiry import (
    PENDING_AGE_S,
    SILENCE_S,
    TRIES_MAX,
    UNKNOWN_AGE_S,
    Heard,
    InquiryKind,
    heard,
    next_inquiry,
)
from tether_stores.accounts import gateway_identities
from tether_stores.payments.inquiries import InquiryRow, InquiryTable
from tether_stores.postgres import connection
from tether_stores.telemetry import logger

from tether_worker.gateway.status_inquiry import GatewayClient, InquiryDeps, inquire
from tether_worker.jobs.leases import Lease, held

__all__ = [
    "Again",
    "InquiryBatch",
    "Reply",
    "again",
    "again_elsewhere",
    "any_due",
    "inquire_batch",
    "kind_at",
]

# Why a row is asked about -> its payment stages, and the seconds without news before its first question.
# In this order: money of unknown outcome has neither moved nor is it free to be sent again.
_KINDS: Final[dict[InquiryKind, tuple[tuple[int, ...], int]]] = {
    "unknown": ((stages.UNKNOWN_TO_US, stages.UNKNOWN_TO_GATEWAY), UNKNOWN_AGE_S),
    "pending": ((stages.IN_PROGRESS,), PENDING_AGE_S),
}
# For rows that were asked about often enough: they stay out of the way of those that wait for their first question.
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
# A lost history that is older than the gateway's lists go back is beyond any of this.
_RECENT_DAYS: Final = 31

_log = logger("rounds")

# A row, answers so far that settled nothing, and when to ask again (`None`: as if never asked).
Again = tuple[int, int, datetime | None]


class Reply(msgspec.Struct, frozen=True):
    """
    What asking about a row brought.

    Attributes:
        row: The row.
        heard: What the answer is; `None` for silence, which is none.
        answer: The answer, where it "found" of the row.
        not_found_at: Where it is "not there", the keys of the gateway identities that said so.
        configured: Then also the keys of all identities of its account.
    """

    row: InquiryRow
    heard: Heard | None
    answer: GatewayAnswer | None = None
    not_found_at: frozenset[str] = frozenset()
    configured: frozenset[str] = frozenset()

    @property
    def nothing(self) -> "Reply":
        """The same question with an answer that says nothing of the row, since what it told was of another."""
        return Reply(self.row, "nothing")


class InquiryBatch(msgspec.Struct, frozen=True):
    """
    One round of questions.

    Attributes:
        inquired_at: When it began: "not there" is believed by the time it was asked, not by the time it came.
        replies: One per row that was claimed.
        boot: The boot of this machine.
        inquired_s: When it began, on the boot clock, in seconds.
        answered_s: When it was over, on the boot clock.
        stepped_s: When a clock was last seen to step by then; `None` for never.
    """

    inquired_at: datetime
    replies: Sequence[Reply]
    boot: str = ""
    inquired_s: float = 0.0
    answered_s: float = 0.0
    stepped_s: float | None = None

    def inquiry(self, reply: Reply) -> Inquiry:
        """What a reply "not there" is worth."""
        return Inquiry(
            reply.not_found_at,
            reply.configured,
            boot=self.boot,
            inquired_s=self.inquired_s,
            answered_s=self.answered_s,
            stepped_s=self.stepped_s,
        )


async def any_due(deps: InquiryDeps, table: InquiryTable) -> bool:
    """
    Whether any row is due for a question.

    Args:
        table: Whose rows.

    Returns:
        Whether `ask` would find any.
    """
    now = deps.clock()
    async with connection(deps.pool) as conn:
        for payment_stages, age_s in _KINDS.values():
            since = now - timedelta(seconds=age_s)
            if await table.any_due(
                conn, payment_stages=payment_stages, silent_since=since, inquiry_count_max=TRIES_MAX, now=now
            ):
                return True
    return False


async def inquire_batch(deps: InquiryDeps, table: InquiryTable, *, limit: int) -> InquiryBatch:
    """
    Ask about rows that are due for a question, at most *limit* of them.

    Args:
        table: Whose rows.

    Returns:
        The replies, to be recorded at once; none where no row was due.

    Raises:
        Unavailable: when Postgres is away; the rows are asked about again.
    """
    lease = Lease(deps.clock())
    rows = await _claim(deps, table, lease, limit=limit)
    if not rows:
        return InquiryBatch(deps.clock(), ())

    async def renew(leased_until: datetime, until: datetime) -> bool:
        async with connection(deps.pool) as conn:
            ids = [row.id for row in rows]
            return bool(await table.renew(conn, ids, leased_until=leased_until, until=until))

    async with held(lease, renew=renew, clock=deps.clock):
        clients = await deps.clients()
        recent = await _recent(deps, rows)
        inquired_at, inquired_s = deps.clock(), deps.boot.seconds()
        replies = await asyncio.gather(
            *(_inquire(row, deps=deps, clients=clients, recent=recent) for row in rows)
        )
    silent = sum(reply.heard is None for reply in replies)
    if silent:
        _log.warning("status inquiries unanswered", rows=silent)
    return InquiryBatch(
        inquired_at,
        replies,
        boot=deps.boot.name,
        inquired_s=inquired_s,
        answered_s=deps.boot.seconds(),
        stepped_s=deps.stepped_s(),
    )


async def _claim(deps: InquiryDeps, table: InquiryTable, lease: Lease, *, limit: int) -> list[InquiryRow]:
    now = deps.clock()
    rows: list[InquiryRow] = []
    async with connection(deps.pool) as conn:
        for payment_stages, age_s in _KINDS.values():
            rows += await table.claim(
                conn,
                payment_stages=payment_stages,
                silent_since=now - timedelta(seconds=age_s),
                inquiry_count_max=TRIES_MAX,
                now=now,
                leased_until=lease.until,
                limit=limit - len(rows),
            )
    return rows


async def _recent(deps: InquiryDeps, rows: Sequence[InquiryRow]) -> dict[str, frozenset[str]]:
    """What accounts had lately, where that says what a lost history may have submitted to."""
    accounts = {row.account for row in rows if EVERY in (row.submitted_to or ())}
    if not accounts:
        return {}
    async with connection(deps.pool) as conn:
        since = deps.clock().date() - timedelta(days=_RECENT_DAYS)
        return await gateway_identities.recent(conn, accounts, since=since)


async def _inquire(
    row: InquiryRow,
    *,
    deps: InquiryDeps,
    clients: Mapping[str, GatewayClient],
    recent: Mapping[str, frozenset[str]],
) -> Reply:
    try:
        # By our own id: it is the one that is there whatever became of the call.
        found = await inquire(deps, clients, row, recent=recent.get(row.account, frozenset()))
    except GatewaySilent:
        return Reply(row, None)
    except InvalidRequest as exc:
        _log.error("status inquiry rejected", transaction_id=row.transaction_id, why=str(exc))
        return Reply(row, "nothing")
    if found.answer is None and not found.not_found_at and row.payment_stage != stages.UNKNOWN_TO_US:
        return Reply(row, None)  # nobody could be asked: its account is not configured
    meaning = heard(found.answer, unique_id=row.unique_id, transaction_id=row.transaction_id)
    return Reply(
        row,
        meaning,
        found.answer if meaning == "found" else None,
        not_found_at=found.not_found_at,
        configured=found.configured,
    )


def again(reply: Reply, kind: InquiryKind, *, deps: InquiryDeps, now: datetime) -> Again:
    """
    When to ask about a row again that its reply did not settle, and how often it was asked about by then.

    Args:
        reply: The reply.
        kind: Why it will be asked about.

    Returns:
        What `Asks.note` takes.
    """
    item = reply.row
    if reply.heard is None:
        return item.id, item.inquiry_count, now + timedelta(seconds=SILENCE_S * (0.9 + 0.2 * deps.jitter()))
    return (
        item.id,
        item.inquiry_count + 1,
        next_inquiry(kind, item.inquiry_count + 1, now=now, jitter=deps.jitter()) or _NEVER,
    )


def again_elsewhere(reply: Reply, *, deps: InquiryDeps, now: datetime) -> Again:
    """
    When to inquire again about a row that was "not found", but not wherever it was submitted.

    It is never left alone: a day at the longest, so that news of it is heard whenever there is any.

    Args:
        reply: The reply.

    Returns:
        What `Asks.note` takes.
    """
    rows = min(reply.row.inquiry_count + 1, TRIES_MAX - 1)
    return reply.row.id, rows, next_inquiry("unknown", rows, now=now, jitter=deps.jitter())


def kind_at(payment_stage: int) -> InquiryKind:
    """Why a row at a payment stage is asked about."""
    return "pending" if payment_stage == stages.IN_PROGRESS else "unknown"
