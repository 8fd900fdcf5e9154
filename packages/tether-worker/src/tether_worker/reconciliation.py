"""
Reconciliation: payments of unknown outcome, and those that were silent for too long, are asked about one by one.

```text
lease, committed ─► ask by id (no transaction is open) ─┬─ told ──────► a claim for the inbox, decided like any other
                                                        ├─ not there ─► tether_core.sending says what that means
                                                        └─ nothing ───► asked again later
```

What the gateway says about a *payment* goes through the inbox, so it meets notifications and pulled lists on one way.
What it says about a *call* of ours, that it never got it, concerns only attempts of unknown outcome: it may make
them free to be sent again, after a settling time. Neither is decided here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from tether_core import sending
from tether_core.emp import codes
from tether_core.emp.answers import GatewayAnswer
from tether_core.errors import GatewaySilent, InvalidRequest, Unreadable
from tether_core.events import Event
from tether_core.jobs import RECONCILE
from tether_core.pulled import Pulled, from_answer
from tether_core.reconciling import (
    PENDING_AGE_S,
    SILENCE_S,
    TRIES_MAX,
    UNKNOWN_AGE_S,
    Asked,
    Heard,
    heard,
    next_ask,
)
from tether_core.sending import Rules
from tether_stores import billing_attempts, outbox, sends
from tether_stores.billing_attempts import Ask
from tether_stores.postgres import Connection, connection, transaction
from tether_stores.telemetry import logger

from tether_worker.asking import Asking, Party, payment
from tether_worker.leases import Lease, held
from tether_worker.pulls import take_in
from tether_worker.work import Work

__all__ = ["NEVER", "reconcile", "reconciling"]

# One question each at 20 a second: a batch takes some seconds, and one slow answer holds up no more than these.
BATCH_MAX: Final = 64

# Why an attempt is asked about -> its payment stages, and the seconds without news before its first question.
# In this order: a debit of unknown outcome is neither collected nor free to be sent again.
_KINDS: Final[dict[Asked, tuple[tuple[int, ...], int]]] = {
    "unknown": ((codes.UNKNOWN_TO_US, codes.UNKNOWN_TO_GATEWAY), UNKNOWN_AGE_S),
    "pending": ((codes.IN_PROGRESS,), PENDING_AGE_S),
}
# "Not there" as sending reads it; the client has taken the answer's place already.
_NOT_THERE: Final = GatewayAnswer(
    status="error",
    code=sending.ABSENT,
    **dict.fromkeys(
        """
        unique_id transaction_id transaction_type message technical_message amount_minor currency timestamp_at
        terminal_token reference_id reason_code redirect_url mode
        """.split()
    ),
    fields={},
)

_RULES: Final = Rules()
# For attempts that were asked about often enough: they stay out of the way of those that wait for their first question.
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)

_log = logger("reconciliation")


class _Answered(msgspec.Struct, frozen=True):
    """An attempt that was asked about, what was heard (`None` for silence), and what that claims."""

    ask: Ask
    heard: Heard | None
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
        now = has.clock()
        async with connection(has.pool) as conn:
            for stages, age_s in _KINDS.values():
                if await billing_attempts.askable(
                    conn,
                    payment_stages=stages,
                    silent_since=now - timedelta(seconds=age_s),
                    asks_max=TRIES_MAX,
                    now=now,
                ):
                    return True
        return False

    return Work(RECONCILE, bite, waits)


async def reconcile(has: Asking, *, rules: Rules = _RULES, limit: int = BATCH_MAX) -> int:
    """
    Ask about attempts that are due for a question, at most *limit* of them.

    Args:
        has: What asking needs.
        rules: When the word "not there" counts.
        limit: Attempts at most.

    Returns:
        How many were asked about.

    Raises:
        Unavailable: when Postgres is away; the attempts are asked about again.
    """
    lease = Lease(has.clock())
    asks = await _claim(has, lease, limit=limit)
    if not asks:
        return 0

    async def prolong(leased_until: datetime, until: datetime) -> None:
        async with connection(has.pool) as conn:
            await billing_attempts.prolong(
                conn, [one.id for one in asks], leased_until=leased_until, until=until
            )

    parties = await has.parties()
    # "Not there" is believed by the moment it was asked, not by the moment it came.
    asked_at = has.clock()
    async with held(lease, prolong=prolong, clock=has.clock):
        found = await asyncio.gather(*(_ask(one, has=has, parties=parties) for one in asks))
    now = has.clock()
    async with transaction(has.pool) as conn:
        # All of them first, in the order of their ids, as whoever books does.
        rows = await sends.locked(conn, [one.id for one in asks])
        await take_in(conn, [one.claim for one in found if one.claim is not None], now=now)
        absent = [rows[one.ask.id] for one in found if one.heard == "not_there"]
        settled = await _settle_calls(conn, absent, rules=rules, asked_at=asked_at, now=now)
        await billing_attempts.asked(conn, [_next(one, settled=settled, has=has, now=now) for one in found])
    silent = sum(one.heard is None for one in found)
    if silent:
        _log.warning("questions without an answer", rows=silent)
    return len(asks)


async def _claim(has: Asking, lease: Lease, *, limit: int) -> list[Ask]:
    now = has.clock()
    asks: list[Ask] = []
    async with connection(has.pool) as conn:
        for stages, age_s in _KINDS.values():
            asks += await billing_attempts.claim_to_ask(
                conn,
                payment_stages=stages,
                silent_since=now - timedelta(seconds=age_s),
                asks_max=TRIES_MAX,
                now=now,
                leased_until=lease.until,
                limit=limit - len(asks),
            )
    return asks


async def _ask(ask: Ask, *, has: Asking, parties: Mapping[str, Party]) -> _Answered:
    party = parties.get(ask.account)
    if party is None:
        return _Answered(ask, None)
    try:
        # By our own id: it is the one that is there whatever became of the call.
        answer = await payment(has, party, transaction_id=ask.transaction_id)
    except GatewaySilent:
        return _Answered(ask, None)
    except InvalidRequest as problem:
        _log.error("the gateway refuses our question", attempt_id=ask.id, why=str(problem))
        return _Answered(ask, "nothing")
    told = heard(answer, unique_id=ask.unique_id, transaction_id=ask.transaction_id)
    if told != "told" or answer is None:
        return _Answered(ask, told)
    try:
        return _Answered(ask, told, from_answer(answer, account=ask.account))
    except Unreadable:
        return _Answered(ask, "nothing")


async def _settle_calls(
    conn: Connection, absent: Sequence[sends.Row], *, rules: Rules, asked_at: datetime, now: datetime
) -> dict[int, datetime | None]:
    """
    Decide what "not there" means for calls of ours.

    Returns:
        Attempts for which this was no try: when to ask again, or `None` where nothing is left to ask.
    """
    settled: dict[int, datetime | None] = {}
    written: list[sends.Written] = []
    facts: list[tuple[int | None, Event]] = []
    for row in absent:
        if row.send.step != "unknown":
            # The gateway named it once; that it is missing now is its own matter, until it speaks again.
            continue
        after = sending.resolve(row.send, _NOT_THERE, asked_at=asked_at, rules=rules)
        written.append(sends.Written(after.send))
        facts.extend((None, fact) for fact in after.events)
        if after.send.step != "unknown":
            settled[row.send.attempt.id] = None
        elif after.again_at is not None:
            settled[row.send.attempt.id] = after.again_at
    await sends.write(conn, written, now=now)
    await outbox.append(conn, facts, now=now)
    return settled


def _next(
    one: _Answered, *, settled: Mapping[int, datetime | None], has: Asking, now: datetime
) -> tuple[int, int, datetime | None]:
    """When to ask about an attempt again, and how often it was asked about by then."""
    ask = one.ask
    if one.heard is None:
        return ask.id, ask.asks, now + timedelta(seconds=SILENCE_S * (0.9 + 0.2 * has.chance()))
    if ask.id in settled:
        return ask.id, ask.asks, settled[ask.id]
    again_at = next_ask(_kind(one), ask.asks + 1, now=now, jitter=has.chance())
    return ask.id, ask.asks + 1, again_at or NEVER


def _kind(one: _Answered) -> Asked:
    if one.claim is None:
        return "pending" if one.ask.payment_stage == codes.IN_PROGRESS else "unknown"
    # What was unknown and is under way by the gateway's word can wait like anything under way.
    step = codes.meaning(
        one.claim.notification.status, event=None, error_code=one.claim.notification.error_code
    )
    return "unknown" if step is not None and step.stage == codes.UNKNOWN_TO_GATEWAY else "pending"
