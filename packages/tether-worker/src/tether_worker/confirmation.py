"""
Confirming claims: the gateway is asked whether a notification is true, before it takes effect.

```text
confirming ─► lease, committed ─► ask the gateway (no transaction is open) ─┬─► its word beside the claim ─► waiting
                                                                            └─► no answer: wait on, by the ladder
```

A genuine signature covers only the id, so what a notification says about it is a claim (`tether_core.billing`). Booking
sets claims aside that must be confirmed; here they get the gateway's own word, and booking takes them up again.
What the word does to the claim is decided there and nowhere else.

For a claim of a dispute the payment's record and its chargebacks are both asked for: the first says how far
the payment has come, the second why. While the gateway does not answer, or says that it has no such payment, the claim
waits: it is neither applied nor lost, and only after a fortnight it is parked for a person.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from tether_core import reconciling
from tether_core.billing import Confirmation
from tether_core.emp import codes
from tether_core.emp.answers import Chargeback, GatewayAnswer
from tether_core.emp.notification import Notification, decode
from tether_core.errors import GatewaySilent, InvalidRequest, Unreadable
from tether_core.inbox import next_attempt
from tether_core.jobs import CONFIRM
from tether_stores import webhook_events
from tether_stores.postgres import connection, transaction
from tether_stores.telemetry import logger
from tether_stores.webhook_events import ToConfirm, Unconfirmed

from tether_worker.asking import Asking, Party, chargebacks_of, payment
from tether_worker.leases import Lease, held
from tether_worker.work import Work

__all__ = ["confirm", "confirming"]

# Two questions each at 20 a second: a batch takes some seconds, and one slow answer holds up no more than these.
BATCH_MAX: Final = 32

_log = logger("confirmation")


def confirming(has: Asking) -> Work:
    """
    Confirmation as a kind of work.

    Args:
        has: What asking needs.

    Returns:
        The work for queue "webhooks".
    """

    async def bite() -> int:
        return await confirm(has)

    async def waits() -> bool:
        async with connection(has.pool) as conn:
            return await webhook_events.confirmable(conn, now=has.clock())

    return Work(CONFIRM, bite, waits)


async def confirm(has: Asking, *, limit: int = BATCH_MAX) -> int:
    """
    Ask the gateway about claims that wait for its word, at most *limit* of them.

    Args:
        has: What asking needs.
        limit: Claims at most.

    Returns:
        How many were asked about.

    Raises:
        Unavailable: when Postgres is away; the claims wait on.
    """
    now = has.clock()
    lease = Lease(now)
    async with connection(has.pool) as conn:
        rows = await webhook_events.claim_to_confirm(conn, now=now, leased_until=lease.until, limit=limit)
    if not rows:
        return 0

    async def prolong(leased_until: datetime, until: datetime) -> bool:
        async with connection(has.pool) as conn:
            ids = [row.id for row in rows]
            return bool(await webhook_events.prolong(conn, ids, leased_until=leased_until, until=until))

    async with held(lease, prolong=prolong, clock=has.clock):
        parties = await has.parties()
        found = await asyncio.gather(*(_ask(row, has=has, parties=parties) for row in rows))
    words = [(row.id, told) for row, told in zip(rows, found, strict=True) if isinstance(told, Confirmation)]
    silent = [(row, told) for row, told in zip(rows, found, strict=True) if isinstance(told, str)]
    now = has.clock()
    async with transaction(has.pool) as conn:
        await webhook_events.confirmed(conn, words, leased_until=lease.until, now=now)
        await webhook_events.unconfirmed(
            conn, _waiting_on(silent, has=has, now=now), leased_until=lease.until, now=now
        )
    if silent:
        _log.warning("claims wait on for the gateway's word", rows=len(silent), why=silent[0][1])
    return len(rows)


def _waiting_on(silent: Sequence[tuple[ToConfirm, str]], *, has: Asking, now: datetime) -> list[Unconfirmed]:
    return [
        Unconfirmed(
            row.id,
            why,
            row.failures + 1,
            next_attempt(
                row.failures + 1, now=now, jitter=has.chance(), ladder_s=reconciling.CONFIRM_LADDER_S
            ),
        )
        for row, why in silent
    ]


async def _ask(row: ToConfirm, *, has: Asking, parties: Mapping[str, Party]) -> Confirmation | str:
    """The gateway's word about one claim, or why there is none."""
    party = parties.get(row.account)
    if party is None:
        return "no_such_account"
    try:
        claim = decode(row.body, content_type=row.content_type)
        return await _word(claim, has=has, party=party)
    except Unreadable:
        return "unreadable"  # it was readable when it was booked, so the reader has changed since
    except GatewaySilent:
        return "gateway_silent"
    except InvalidRequest as problem:
        _log.error("the gateway refuses our question", webhook_event_id=row.id, why=str(problem))
        return "question_refused"


async def _word(claim: Notification, *, has: Asking, party: Party) -> Confirmation | str:
    answer = await payment(
        has,
        party,
        unique_id=claim.unique_id,
        transaction_id=None if claim.unique_id else claim.transaction_id,
        terminal_hint=claim.terminal_token,
    )
    told = reconciling.heard(answer, unique_id=claim.unique_id)
    if told != "told":
        # An id that was signed exists; so "not there" means "not yet", or that no terminal of ours took it.
        return "not_there" if told == "not_there" else "no_word"
    assert answer is not None
    found: tuple[Chargeback, ...] = ()
    step = codes.meaning(claim.status, event=claim.event)
    if step is not None and step.track == "dispute" and answer.unique_id is not None:
        found = await _chargebacks(answer, has=has, party=party)
    return reconciling.confirmation(answer, chargebacks=found)


async def _chargebacks(answer: GatewayAnswer, *, has: Asking, party: Party) -> tuple[Chargeback, ...]:
    assert answer.unique_id is not None
    try:
        return await chargebacks_of(has, party, unique_id=answer.unique_id)
    except InvalidRequest as problem:
        # Lists of chargebacks are a service of their own, which not every account has. The payment's record is enough
        # to decide; a reason that is missing is found by the pulls, or by a person.
        _log.error("the gateway refuses to list chargebacks", why=str(problem))
        return ()
