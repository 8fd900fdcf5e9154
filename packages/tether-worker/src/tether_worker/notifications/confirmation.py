"""
Confirmation of notifications by status inquiries, before they take effect.

```text
confirming ─► lease, committed ─► inquire once per payment (no transaction is open) ─┬─► record beside all its rows ──► waiting
                                                                                    └─► no answer: retried by the schedule
```

A signature covers only the id, so a notification only reports a status (`tether_core.payments.attempt`). Processing sets rows aside
that must be confirmed; this job adds the gateway's own record to them, and processing decides with it.

One inquiry answers all due rows of a payment, and a batch takes payments, not rows, those first that have waited longest: a flood
about one payment delays the others by one inquiry. For a reported dispute both the payment's record and its chargebacks are inquired: the
first shows the status, the second the reason. While the gateway does not answer, or answers "not found", the row waits; after a
fortnight it is parked for a person.

Notifications of other kinds only name a payment. The gateway's record of it goes into the inbox as a row of its own, like every
report record.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core import retry
from tether_core.emp.notification import decode
from tether_core.emp.responses import Chargeback, GatewayAnswer
from tether_core.errors import CredentialsRejected, GatewaySilent, InvalidRequest, Unreadable
from tether_core.jobs import CONFIRM
from tether_core.payments import stages
from tether_core.payments.attempt import Confirmation
from tether_core.reconciliation import status_inquiry
from tether_core.reconciliation.report_records import ReportRecord, from_answer
from tether_stores.notifications import confirmations
from tether_stores.notifications.confirmations import ToConfirm, Unconfirmed
from tether_stores.postgres import connection, transaction
from tether_stores.telemetry import logger

from tether_worker.gateway.status_inquiry import (
    GatewayClient,
    InquiryDeps,
    chargebacks_of,
    clients_for,
    payment,
)
from tether_worker.jobs.leases import Lease, held
from tether_worker.jobs.run import Work
from tether_worker.reconciliation.report_fetches import take_in

__all__ = ["confirm", "confirming"]

# Payments, with two inquiries each at 20 a second: a batch takes some seconds, and one slow answer holds up no more than these.
BATCH_MAX: Final = 32

_log = logger("confirmation")


class _Word(msgspec.Struct, frozen=True):
    """
    The gateway's word about one payment.

    Attributes:
        confirmation: For the rows that report of it.
        record: The same as a record that we fetched, for rows that only name it.
    """

    confirmation: Confirmation
    record: ReportRecord | None


def confirming(deps: InquiryDeps) -> Work:
    """The job that confirms notifications."""

    async def batch() -> int:
        return await confirm(deps)

    async def has_pending() -> bool:
        async with connection(deps.pool) as conn:
            return await confirmations.any_due(conn, now=deps.clock())

    return Work(CONFIRM, batch, has_pending)


async def confirm(deps: InquiryDeps, *, limit: int = BATCH_MAX) -> int:
    """
    Inquire about payments whose notifications wait for confirmation, at most *limit* of them.

    Returns:
        How many notifications were inquired about.

    Raises:
        Unavailable: when Postgres is away; the rows wait on.
    """
    now = deps.clock()
    lease = Lease(now)
    async with connection(deps.pool) as conn:
        rows = await confirmations.claim(conn, now=now, leased_until=lease.until, limit=limit)
    if not rows:
        return 0
    payments: dict[tuple[str, str], list[ToConfirm]] = {}
    for row in rows:
        payments.setdefault(row.payment, []).append(row)

    async def renew(leased_until: datetime, until: datetime) -> bool:
        async with connection(deps.pool) as conn:
            ids = [row.id for row in rows]
            return bool(await confirmations.renew(conn, ids, leased_until=leased_until, until=until))

    async with held(lease, renew=renew, clock=deps.clock):
        clients = await deps.clients()
        found = await asyncio.gather(
            *(_inquire(same, deps=deps, clients=clients) for same in payments.values())
        )
    words: list[tuple[int, Confirmation]] = []
    records: list[ReportRecord] = []
    silent: list[tuple[ToConfirm, str]] = []
    for same, result in zip(payments.values(), found, strict=True):
        if isinstance(result, str):
            silent += [(row, result) for row in same]
            continue
        words += [(row.id, result.confirmation) for row in same]
        if result.record is not None and any(row.kind != "payment" for row in same):
            records.append(result.record)
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        await confirmations.store(conn, words, leased_until=lease.until, now=now)
        await confirmations.defer(
            conn, _waiting_on(silent, deps=deps, now=now), leased_until=lease.until, now=now
        )
        await take_in(conn, records, now=now)
    if silent:
        _log.warning("confirmation deferred", rows=len(silent), why=silent[0][1])
    return len(rows)


def _waiting_on(
    silent: Sequence[tuple[ToConfirm, str]], *, deps: InquiryDeps, now: datetime
) -> list[Unconfirmed]:
    return [
        Unconfirmed(
            row.id,
            why,
            row.failures + 1,
            retry.next_try(retry.CONFIRMATION_S, row.failures + 1, now=now, jitter=deps.jitter()),
        )
        for row, why in silent
    ]


async def _inquire(
    rows: Sequence[ToConfirm], *, deps: InquiryDeps, clients: Mapping[str, GatewayClient]
) -> _Word | str:
    """The gateway's word about the payment of some rows, or why there is none."""
    known = clients_for(rows[0].account, clients=clients)
    if not known:
        return "no_such_account"
    try:
        return await _word(rows, deps=deps, clients=known)
    except CredentialsRejected as exc:
        _log.error("inquiry rejected by the gateway", webhook_event_id=rows[0].id, why=str(exc))
        return exc.code
    except GatewaySilent:
        return "gateway_silent"
    except InvalidRequest as exc:
        _log.error("inquiry rejected by the gateway", webhook_event_id=rows[0].id, why=str(exc))
        return "question_refused"


async def _word(
    rows: Sequence[ToConfirm], *, deps: InquiryDeps, clients: Sequence[GatewayClient]
) -> _Word | str:
    first = rows[0]
    unique_id = first.notification_id if first.kind == "payment" else first.unique_id
    transaction_id = None if unique_id else first.transaction_id
    if unique_id is None and transaction_id is None:
        return "no_payment"
    answer, client = await payment(
        deps, clients, unique_id=unique_id, transaction_id=transaction_id, terminal_hint=_terminal_hint(rows)
    )
    result = status_inquiry.inquiry_result(answer, unique_id=unique_id, transaction_id=transaction_id)
    if result != "found":
        # An id that was signed exists; so "not found" means "not yet", or that none of our terminals accepted it.
        return "not_found" if result == "not_found" else "no_word"
    assert answer is not None
    found: tuple[Chargeback, ...] = ()
    if answer.unique_id is not None and any(map(_reports_dispute, rows)):
        found = await _chargebacks(answer, deps=deps, client=client)
    return _Word(
        status_inquiry.confirmation(answer, chargebacks=found), _record(answer, account=first.account)
    )


def _record(answer: GatewayAnswer, *, account: str) -> ReportRecord | None:
    try:
        return from_answer(answer, account=account)
    except Unreadable:
        return None


def _reports_dispute(row: ToConfirm) -> bool:
    step = stages.meaning(row.status, event=row.event)
    return row.kind == "payment" and step is not None and step.track == "dispute"


def _terminal_hint(rows: Sequence[ToConfirm]) -> str | None:
    """Name the terminal that a notification names; it only says which of the account's terminals is inquired first."""
    for row in rows:
        if row.body is not None and row.content_type is not None:
            try:
                return decode(row.body, content_type=row.content_type).terminal_token
            except Unreadable:
                return None  # it was readable when it was recorded, so the reader has changed since
    return None


async def _chargebacks(
    answer: GatewayAnswer, *, deps: InquiryDeps, client: GatewayClient
) -> tuple[Chargeback, ...]:
    assert answer.unique_id is not None
    try:
        return await chargebacks_of(deps, client, unique_id=answer.unique_id)
    except InvalidRequest as exc:
        # Lists of chargebacks are a service of their own, which not every account has. The payment's record is enough
        # to decide; a reason that is missing is found by the fetches, or by a person.
        _log.error("chargeback report rejected", why=str(exc))
        return ()
