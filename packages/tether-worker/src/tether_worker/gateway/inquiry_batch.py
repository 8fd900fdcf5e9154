"""
Inquiry batches: rows of unknown or pending outcome are claimed, held under a lease, and inquired about side by side.

```text
lease, committed ─► inquire by our id (no transaction is open), lease renewed ─► replies, for the caller to record
```

Shared by attempts and refunds. `tether_core.reconciliation.status_inquiry` decides which rows, when, and what counts as an answer; what a
reply means for a row is decided by the caller.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

import msgspec
from tether_core import retry
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent, InvalidRequest
from tether_core.payments import stages
from tether_core.payments.gateway_identity import EVERY
from tether_core.payments.not_found import Inquiry
from tether_core.reconciliation.status_inquiry import (
    PENDING_AGE_S,
    TRIES_MAX,
    UNKNOWN_AGE_S,
    InquiryKind,
    InquiryResult,
    inquiry_result,
)
from tether_stores.accounts import gateway_identities
from tether_stores.payments.inquiries import InquiryRow, InquiryTable
from tether_stores.postgres import connection
from tether_stores.telemetry import logger

from tether_worker.gateway.status_inquiry import INQUIRIES_MAX, GatewayClient, InquiryDeps, inquire
from tether_worker.jobs.leases import Lease, held

__all__ = [
    "Again",
    "InquiryBatch",
    "Reply",
    "any_due",
    "inquire_batch",
    "kind_at",
    "reschedule",
]

# Why there are inquiries about a row -> its payment stages, and the seconds without news before the first inquiry.
# In this order: money of unknown outcome has not moved, and may not be submitted again.
_KINDS: Final[dict[InquiryKind, tuple[tuple[int, ...], int]]] = {
    "unknown": ((stages.UNKNOWN_TO_US, stages.UNKNOWN_TO_GATEWAY), UNKNOWN_AGE_S),
    "pending": ((stages.IN_PROGRESS,), PENDING_AGE_S),
}
# For rows that were inquired about often enough: they do not delay those that wait for their first inquiry.
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
# The gateway's reports go back no further, so an older lost history cannot be found anyway.
_RECENT_DAYS: Final = 31
# A batch begins no further inquiry after this time. After a lost history each row needs up to a dozen calls, and at the lowest rates a whole
# batch of them would outlast its job, which records at the end.
_BEGIN_S: Final = 20.0

_log = logger("inquiries")

# A row, its answers so far that resolved nothing, and when to inquire again (`None`: as if never inquired).
Again = tuple[int, int, datetime | None]


class Reply(msgspec.Struct, frozen=True):
    """
    The result of a status inquiry about a row.

    Attributes:
        result: What kind of answer; `None` where there was none.
        answer: The answer, where the payment was found.
        not_found_at: The keys of the gateway identities that answered "not found".
        configured: The keys of all identities of its account.
    """

    row: InquiryRow
    result: InquiryResult | None
    answer: GatewayAnswer | None = None
    not_found_at: frozenset[str] = frozenset()
    configured: frozenset[str] = frozenset()

    @property
    def nothing(self) -> "Reply":
        """The same inquiry with an answer that says nothing about the row, because it was about another payment."""
        return Reply(self.row, "nothing")


class InquiryBatch(msgspec.Struct, frozen=True):
    """
    The results of one inquiry batch.

    Attributes:
        inquired_at: When it began: the age of "not found" counts from the inquiry, not from the answer.
        replies: One for each claimed row.
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
        """Where and when a reply "not found" was inquired; its weight depends on that."""
        return Inquiry(
            reply.not_found_at,
            reply.configured,
            boot=self.boot,
            inquired_s=self.inquired_s,
            answered_s=self.answered_s,
            stepped_s=self.stepped_s,
        )


async def any_due(deps: InquiryDeps, table: InquiryTable) -> bool:
    """Whether any row of a table is due for a status inquiry."""
    now = deps.clock()
    async with connection(deps.pool) as conn:
        for payment_stages, age_s in _KINDS.values():
            since = now - timedelta(seconds=age_s)
            if await table.any_due(
                conn, payment_stages=payment_stages, silent_since=since, inquiry_count_max=TRIES_MAX, now=now
            ):
                return True
    return False


async def inquire_batch(
    deps: InquiryDeps,
    table: InquiryTable,
    *,
    limit: int,
    further: Callable[[Sequence[Reply]], Awaitable[Sequence[Reply]]],
) -> InquiryBatch:
    """
    Inquire about rows of a table that are due, at most *limit* of them.

    Args:
        further: Makes the inquiries that follow from the replies, under the same lease, and gives what the replies mean then.

    Returns:
        The replies, to be recorded at once; none where no row was due.

    Raises:
        Unavailable: when Postgres is away; the rows become due again.
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
        # No more at once than there are connections: a row whose calls all wait in line with those of others would seldom get through
        # all of them.
        slots, end_s = asyncio.Semaphore(INQUIRIES_MAX), monotonic() + _BEGIN_S

        async def reply_about(row: InquiryRow) -> Reply | None:
            async with slots:
                if monotonic() > end_s:
                    return None
                return await _inquire(row, deps=deps, clients=clients, recent=recent)

        found = await asyncio.gather(*(reply_about(row) for row in rows))
        answered_s = deps.boot.seconds()
        # The lease of the others ends, and another batch takes them.
        replies = await further([reply for reply in found if reply is not None])
    silent = sum(reply.result is None for reply in replies)
    if silent:
        _log.warning("status inquiries unanswered", rows=silent)
    return InquiryBatch(
        inquired_at,
        replies,
        boot=deps.boot.name,
        inquired_s=inquired_s,
        answered_s=answered_s,
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
    """The recent identities of accounts whose lost history may have submitted to any of them."""
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
        # By our own id, which is known with any result of the call.
        found = await inquire(deps, clients, row, recent=recent.get(row.account, frozenset()))
    except GatewaySilent:
        return Reply(row, None)
    except InvalidRequest as exc:
        _log.error("status inquiry rejected", transaction_id=row.transaction_id, why=str(exc))
        return Reply(row, "nothing")
    if found.answer is None and not found.not_found_at and row.payment_stage != stages.UNKNOWN_TO_US:
        return Reply(row, None)  # no inquiry was possible: its account is not configured
    meaning = inquiry_result(found.answer, unique_id=row.unique_id, transaction_id=row.transaction_id)
    return Reply(
        row,
        meaning,
        found.answer if meaning == "found" else None,
        not_found_at=found.not_found_at,
        configured=found.configured,
    )


def reschedule(
    reply: Reply,
    kind: InquiryKind,
    *,
    deps: InquiryDeps,
    now: datetime,
    cause: str = "",
    again_at: datetime | None = None,
) -> Again:
    """
    When to inquire about a row again, and how many inquiries were answered by then.

    Args:
        kind: Why there will be another inquiry.
        cause: What `tether_core.payments.submission.resolve` made of "not found"; "" where it did not decide.
        again_at: When it wants the next inquiry, or `None`.
    """
    item = reply.row
    if cause in {"too_early", "not_found", "given_up"}:
        return item.id, item.inquiry_count, again_at  # waiting for the grace period counts as no inquiry
    if cause == "not_found_elsewhere":
        # It is inquired again within a day, for as long as it takes, so that news of it is not missed.
        count = min(item.inquiry_count + 1, TRIES_MAX - 1)
        return (
            item.id,
            count,
            retry.next_try(retry.INQUIRY_S["unknown"], count, now=now, jitter=deps.jitter()),
        )
    if reply.result is None:
        return (
            item.id,
            item.inquiry_count,
            now + timedelta(seconds=retry.SILENCE_S * (0.9 + 0.2 * deps.jitter())),
        )
    return (
        item.id,
        item.inquiry_count + 1,
        retry.next_try(retry.INQUIRY_S[kind], item.inquiry_count + 1, now=now, jitter=deps.jitter())
        or _NEVER,
    )


def kind_at(payment_stage: int) -> InquiryKind:
    """Why there are inquiries about a row at a payment stage."""
    return "pending" if payment_stage == stages.IN_PROGRESS else "unknown"
