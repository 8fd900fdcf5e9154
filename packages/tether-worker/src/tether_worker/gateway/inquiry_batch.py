"""
Rounds of questions: rows whose fate the gateway has to be asked for are claimed, held, and asked about side by side.

```text
lease, committed ─► ask by our id (no transaction is open), the lease prolonged ─► replies, for the caller to record
```

Attempts and orders to give one back are asked about alike; `tether_core.reconciliation.status_inquiry` says which, when, and what
an answer is. What a reply means for a row is its own module's business.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from tether_core.emp import codes
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent, InvalidRequest
from tether_core.payments.gateway_identity import EVERY
from tether_core.payments.not_found import Inquiry
from tether_core.reconciliation.status_inquiry import (
    PENDING_AGE_S,
    SILENCE_S,
    TRIES_MAX,
    UNKNOWN_AGE_S,
    Asked,
    Heard,
    heard,
    next_ask,
)
from tether_stores.accounts import gateway_identities
from tether_stores.payments.inquiries import Ask, Asks
from tether_stores.postgres import connection
from tether_stores.telemetry import logger

from tether_worker.gateway.status_inquiry import Asking, Party, inquire
from tether_worker.jobs.leases import Lease, held

__all__ = ["Again", "Reply", "Round", "again", "again_elsewhere", "any_due", "ask", "kind_at"]

# Why a row is asked about -> its payment stages, and the seconds without news before its first question.
# In this order: money of unknown outcome has neither moved nor is it free to be sent again.
_KINDS: Final[dict[Asked, tuple[tuple[int, ...], int]]] = {
    "unknown": ((codes.UNKNOWN_TO_US, codes.UNKNOWN_TO_GATEWAY), UNKNOWN_AGE_S),
    "pending": ((codes.IN_PROGRESS,), PENDING_AGE_S),
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
        ask: The row.
        heard: What the answer is; `None` for silence, which is none.
        answer: The answer, where it "told" of the row.
        not_found_at: Where it is "not there", the keys of the gateway identities that said so.
        configured: Then also the keys of all identities of its account.
    """

    ask: Ask
    heard: Heard | None
    answer: GatewayAnswer | None = None
    not_found_at: frozenset[str] = frozenset()
    configured: frozenset[str] = frozenset()

    @property
    def nothing(self) -> "Reply":
        """The same question with an answer that says nothing of the row, since what it told was of another."""
        return Reply(self.ask, "nothing")


class Round(msgspec.Struct, frozen=True):
    """
    One round of questions.

    Attributes:
        asked_at: When it began: "not there" is believed by the moment it was asked, not by the moment it came.
        replies: One per row that was claimed.
        boot: The boot of this machine.
        asked_s: When it began, on the boot clock, in seconds.
        answered_s: When it was over, on the boot clock.
        stepped_s: When a clock was last seen to step by then; `None` for never.
    """

    asked_at: datetime
    replies: Sequence[Reply]
    boot: str = ""
    asked_s: float = 0.0
    answered_s: float = 0.0
    stepped_s: float | None = None

    def inquiry(self, reply: Reply) -> Inquiry:
        """What a reply "not there" is worth."""
        return Inquiry(
            reply.not_found_at,
            reply.configured,
            boot=self.boot,
            asked_s=self.asked_s,
            answered_s=self.answered_s,
            stepped_s=self.stepped_s,
        )


async def any_due(has: Asking, table: Asks) -> bool:
    """
    Whether any row is due for a question.

    Args:
        has: What asking needs.
        table: Whose rows.

    Returns:
        Whether `ask` would find any.
    """
    now = has.clock()
    async with connection(has.pool) as conn:
        for stages, age_s in _KINDS.values():
            since = now - timedelta(seconds=age_s)
            if await table.any_due(
                conn, payment_stages=stages, silent_since=since, asks_max=TRIES_MAX, now=now
            ):
                return True
    return False


async def ask(has: Asking, table: Asks, *, limit: int) -> Round:
    """
    Ask about rows that are due for a question, at most *limit* of them.

    Args:
        has: What asking needs.
        table: Whose rows.
        limit: Rows at most.

    Returns:
        The replies, to be recorded at once; none where no row was due.

    Raises:
        Unavailable: when Postgres is away; the rows are asked about again.
    """
    lease = Lease(has.clock())
    asks = await _claim(has, table, lease, limit=limit)
    if not asks:
        return Round(has.clock(), ())

    async def prolong(leased_until: datetime, until: datetime) -> bool:
        async with connection(has.pool) as conn:
            ids = [one.id for one in asks]
            return bool(await table.prolong(conn, ids, leased_until=leased_until, until=until))

    async with held(lease, prolong=prolong, clock=has.clock):
        parties = await has.parties()
        recent = await _recent(has, asks)
        asked_at, asked_s = has.clock(), has.boot.seconds()
        replies = await asyncio.gather(*(_ask(one, has=has, parties=parties, recent=recent) for one in asks))
    silent = sum(one.heard is None for one in replies)
    if silent:
        _log.warning("questions without an answer", rows=silent)
    return Round(
        asked_at,
        replies,
        boot=has.boot.name,
        asked_s=asked_s,
        answered_s=has.boot.seconds(),
        stepped_s=has.stepped_s(),
    )


async def _claim(has: Asking, table: Asks, lease: Lease, *, limit: int) -> list[Ask]:
    now = has.clock()
    asks: list[Ask] = []
    async with connection(has.pool) as conn:
        for stages, age_s in _KINDS.values():
            asks += await table.claim(
                conn,
                payment_stages=stages,
                silent_since=now - timedelta(seconds=age_s),
                asks_max=TRIES_MAX,
                now=now,
                leased_until=lease.until,
                limit=limit - len(asks),
            )
    return asks


async def _recent(has: Asking, asks: Sequence[Ask]) -> dict[str, frozenset[str]]:
    """What accounts had lately, where that says what a lost history may have submitted to."""
    accounts = {one.account for one in asks if EVERY in (one.submitted_to or ())}
    if not accounts:
        return {}
    async with connection(has.pool) as conn:
        since = has.clock().date() - timedelta(days=_RECENT_DAYS)
        return await gateway_identities.recent(conn, accounts, since=since)


async def _ask(
    one: Ask, *, has: Asking, parties: Mapping[str, Party], recent: Mapping[str, frozenset[str]]
) -> Reply:
    try:
        # By our own id: it is the one that is there whatever became of the call.
        found = await inquire(has, parties, one, recent=recent.get(one.account, frozenset()))
    except GatewaySilent:
        return Reply(one, None)
    except InvalidRequest as problem:
        _log.error("the gateway refuses our question", transaction_id=one.transaction_id, why=str(problem))
        return Reply(one, "nothing")
    if found.answer is None and not found.not_found_at and one.payment_stage != codes.UNKNOWN_TO_US:
        return Reply(one, None)  # nobody could be asked: its account is not configured
    told = heard(found.answer, unique_id=one.unique_id, transaction_id=one.transaction_id)
    return Reply(
        one,
        told,
        found.answer if told == "told" else None,
        not_found_at=found.not_found_at,
        configured=found.configured,
    )


def again(reply: Reply, kind: Asked, *, has: Asking, now: datetime) -> Again:
    """
    When to ask about a row again that its reply did not settle, and how often it was asked about by then.

    Args:
        reply: The reply.
        kind: Why it will be asked about.
        has: What asking needs.
        now: The present moment.

    Returns:
        What `Asks.note` takes.
    """
    one = reply.ask
    if reply.heard is None:
        return one.id, one.asks, now + timedelta(seconds=SILENCE_S * (0.9 + 0.2 * has.chance()))
    return one.id, one.asks + 1, next_ask(kind, one.asks + 1, now=now, jitter=has.chance()) or _NEVER


def again_elsewhere(reply: Reply, *, has: Asking, now: datetime) -> Again:
    """
    When to inquire again about a row that was "not found", but not wherever it was submitted.

    It is never left alone: a day at the longest, so that news of it is heard whenever there is any.

    Args:
        reply: The reply.
        has: What asking needs.
        now: The present moment.

    Returns:
        What `Asks.note` takes.
    """
    asks = min(reply.ask.asks + 1, TRIES_MAX - 1)
    return reply.ask.id, asks, next_ask("unknown", asks, now=now, jitter=has.chance())


def kind_at(payment_stage: int) -> Asked:
    """Why a row at a payment stage is asked about."""
    return "pending" if payment_stage == codes.IN_PROGRESS else "unknown"
