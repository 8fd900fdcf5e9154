"""Dossiers: what is stored about one person; the queries are in `dossier.sql`."""

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core.audit import change_text
from tether_core.blacklist import email_key, name_key
from tether_core.dossier import FORMAT, shown_fields
from tether_core.emp.notification import decode
from tether_core.errors import Contradicted, Unreadable

from tether_stores import audit, debtor_edits, stated_outcomes
from tether_stores.audit import AuditFilters
from tether_stores.debtor_edits import ListedEdit
from tether_stores.debtors import debtors
from tether_stores.debtors.debtors import DebtorDetail
from tether_stores.objects import Objects
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.reconciliation import differences, gateway_refunds
from tether_stores.reconciliation.differences import DifferenceLine
from tether_stores.reconciliation.gateway_refunds import GatewayRefund
from tether_stores.refunds import refunds
from tether_stores.refunds.refunds import ListedRefund
from tether_stores.retention.archive_files import fetched
from tether_stores.rows import fetch_all
from tether_stores.stated_outcomes import KeptStatement
from tether_stores.uploads import problems
from tether_stores.uploads.problems import ListedProblem

__all__ = [
    "ArchiveRead",
    "Dossier",
    "DossierAction",
    "DossierCheck",
    "DossierDueItem",
    "DossierEntry",
    "DossierForgiven",
    "DossierInquiry",
    "DossierMandate",
    "DossierNotice",
    "DossierNotification",
    "DossierPayment",
    "DossierPaymentHistory",
    "DossierRow",
    "DossierSchedule",
    "archives_of",
    "made",
    "with_archives",
]

_SQL: Final = load("dossier")
# Of each thing, for the actions about it and its differences: far more than a person causes.
_LISTED_MAX: Final = 200


class DossierCheck(msgspec.Struct, frozen=True, kw_only=True):
    """
    The check of an account before it was debited.

    Attributes:
        debtor_id: Whose account.
        state: "waiting", "checked" or "parked".
        provider: Who answered.
        score: How well all answers fit, in whole percent.
        answered: The share of answered questions, in whole percent.
        result: What the score means, see `tether_core.vop`.
        iban_answer: Whether the IBAN is one.
        bank_answer: Whether its bank is known.
        debit_answer: Whether the bank takes direct debits.
        country_answer: Whether account and debtor are of one country.
        name_answer: Whether the name is that of the account.
        name_percent: How well the names fit, in whole percent.
        bank_name: The bank's name.
        bic: The bank's BIC.
        requested_at: When it was requested.
        checked_at: When it was answered.
    """

    debtor_id: int
    state: str
    provider: str | None
    score: int | None
    answered: int | None
    result: str | None
    iban_answer: str | None
    bank_answer: str | None
    debit_answer: str | None
    country_answer: str | None
    name_answer: str | None
    name_percent: int | None
    bank_name: str | None
    bic: str | None
    requested_at: datetime
    checked_at: datetime | None


class DossierRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    A row of a file about the person.

    Attributes:
        debtor_id: The debtor.
        iban: Its account in clear; "" once it is erased.
        former_ibans: Accounts that it had before people edited it.
        debtor: All fields, as they are now.
        warnings: Warnings about the row when it was read.
        edits: What people changed, newest first.
        check: The check of its account.
    """

    debtor_id: int
    iban: str
    former_ibans: list[str]
    debtor: DebtorDetail
    warnings: list[ListedProblem]
    edits: list[ListedEdit]
    check: DossierCheck | None


class DossierMandate(msgspec.Struct, frozen=True, kw_only=True):
    """
    A mandate.

    Attributes:
        id: Its row.
        debtor_id: Whose it is.
        account: The gateway account.
        reference: The creditor's reference of it.
        kind: "recurrent" or "one_off".
        state: "active", "revoked" or "cancelled".
        iban_masked: The account it is for, masked.
        signed_on: When it was signed.
        last_used_on: The last day on which it was used.
        uses: How often it was used.
        created_at: When it was recorded.
        created_by: By whom.
        ended_at: When it ended.
        ended_reason: Why.
    """

    id: int
    debtor_id: int
    account: str
    reference: str
    kind: str
    state: str
    iban_masked: str
    signed_on: date
    last_used_on: date | None
    uses: int
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    ended_reason: str | None


class DossierSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """
    A schedule of a collection plan.

    Attributes:
        id: Its row.
        debtor_id: Whose it is.
        mandate_id: Its mandate.
        collection_plan: The name of the plan.
        amount_minor: What is collected each time, whole minor units.
        first_due_on: The first due date.
        last_due_on: The last due date.
        state: "active", "paused" or "ended".
        state_reason: Why it is paused or ended.
        created_at: When it was made.
    """

    id: int
    debtor_id: int
    mandate_id: int
    collection_plan: str
    amount_minor: int
    first_due_on: date
    last_due_on: date | None
    state: str
    state_reason: str | None
    created_at: datetime


class DossierDueItem(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a schedule owes on a due date.

    Attributes:
        schedule_id: Its schedule.
        due_item: Its name.
        due_on: Its due date.
        amount_minor: Whole minor units.
        state: "waiting", "missed", "ordered", "skipped" or "waived".
        reason: The verdict against it, or why it is not collected.
        sequence: The sequence type of the debit.
        run_id: The billing run that collects it.
        ordered_on: When it was ordered.
    """

    schedule_id: int
    due_item: str
    due_on: date
    amount_minor: int
    state: str
    reason: str | None
    sequence: str | None
    run_id: int | None
    ordered_on: date | None


class DossierNotice(msgspec.Struct, frozen=True, kw_only=True):
    """
    A pre-notification, with the proof that it was given.

    Attributes:
        id: Its row.
        debtor_id: Who is notified.
        due_item: What is owed.
        due_on: When the account is debited, by its text.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        text: What the debtor reads.
        state: "made", "given" or "withdrawn".
        given_at: When it was given.
        given_by: By which adapter or caller.
        created_at: When it was made.
    """

    id: int
    debtor_id: int
    due_item: str
    due_on: date
    amount_minor: int
    currency: str
    text: str
    state: str
    given_at: datetime | None
    given_by: str | None
    created_at: datetime


class DossierNotification(msgspec.Struct, frozen=True, kw_only=True):
    """
    A notification of the gateway, decoded.

    Attributes:
        id: Its row.
        notification_id: The gateway's id of what it is about.
        source: "webhook", or "report" for a fetched record.
        status: What it reports.
        event: What it reports besides, such as a chargeback.
        state: What became of it.
        outcome: The result of applying it.
        confirmed_status: The status by inquiry at the gateway.
        confirmed_at: When that was inquired.
        received_at: When it was received.
        handled_at: When it was applied.
        archive_id: The archive that it was read from.
        fields: Its fields, without signature and terminal; empty where it cannot be read.
    """

    id: int
    notification_id: str
    source: str
    status: str
    event: str | None
    state: str
    outcome: str | None
    confirmed_status: str | None
    confirmed_at: datetime | None
    received_at: datetime
    handled_at: datetime | None
    archive_id: int | None
    fields: dict[str, str]


class DossierForgiven(msgspec.Struct, frozen=True, kw_only=True):
    """
    A chargeback that a person has forgiven.

    Attributes:
        attempt_id: The debit.
        forgiven_at: When.
        reason: Why.
    """

    attempt_id: int
    forgiven_at: datetime
    reason: str


class DossierInquiry(msgspec.Struct, frozen=True, kw_only=True):
    """
    A status inquiry that a person ordered.

    Attributes:
        attempt_id: The debit.
        ordered_at: When.
        reason: Why.
        is_inquired: Whether the gateway was asked.
    """

    attempt_id: int
    ordered_at: datetime
    reason: str
    is_inquired: bool


class DossierPayment(msgspec.Struct, frozen=True, kw_only=True):
    """
    A debit.

    Attributes:
        id: The billing attempt.
        debtor_id: Whose account was debited.
        account: The gateway account.
        transaction_id: Our id of it at the gateway.
        unique_id: The gateway's id.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        state: Its state.
        error_code: The gateway's code of an error or decline.
        reason_code: The bank's reason of a return.
        iban_masked: The debited account, masked.
        due_item: What was owed.
        try_number: Which try it was.
        run_id: The billing run.
        created_at: When it was made.
        submitted_at: When it was submitted last.
        submission_count: Calls to the gateway.
        not_submitted_reason: Why it was not submitted.
        inquiry_count: Status inquiries without a final result.
        collected_on: When it was recorded as collected.
        returned_on: When it was recorded as returned.
        refunded_on: When it was recorded as refunded.
        return_handled_at: When its return was handled.
        retry_on: When it was to be tried again.
        retry_why: Why, or why not.
        updated_at: When it last changed.
        imported_at: When it was imported from another system.
    """

    id: int
    debtor_id: int
    account: str
    transaction_id: str
    unique_id: str | None
    amount_minor: int
    currency: str
    state: str
    error_code: str | None
    reason_code: str | None
    iban_masked: str
    due_item: str | None
    try_number: int | None
    run_id: int | None
    created_at: datetime
    submitted_at: datetime | None
    submission_count: int
    not_submitted_reason: str | None
    inquiry_count: int
    collected_on: date | None
    returned_on: date | None
    refunded_on: date | None
    return_handled_at: datetime | None
    retry_on: date | None
    retry_why: str | None
    updated_at: datetime
    imported_at: datetime | None


class DossierPaymentHistory(msgspec.Struct, frozen=True, kw_only=True):
    """
    A debit with everything that happened to it.

    Attributes:
        payment: The debit.
        refunds: Refunds and voids that were ordered here.
        gateway_refunds: Refunds of the gateway's back office.
        stated_outcomes: Outcomes that people stated.
        inquiries: Status inquiries that people ordered.
        differences: Differences between the gateway's records and ours.
        forgiven: Chargebacks that were forgiven.
        notifications: Notifications, the oldest first.
    """

    payment: DossierPayment
    refunds: list[ListedRefund]
    gateway_refunds: list[GatewayRefund]
    stated_outcomes: list[KeptStatement]
    inquiries: list[DossierInquiry]
    differences: list[DifferenceLine]
    forgiven: list[DossierForgiven]
    notifications: list[DossierNotification]


class DossierEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    An entry of the blacklist.

    Attributes:
        id: Its row.
        iban_masked: The account it is about, masked.
        name: The name it is about.
        email: The e-mail address it is about.
        action: "hold" or "block".
        scope: "iban", "mandate", "name" or "email".
        reason_code: Why it was made.
        note: Further explanation.
        source: "chargeback", "manual" or "import".
        attempt_id: The debit that caused it.
        created_at: When it was made.
        expires_at: When it expires.
        lifted_at: When it was lifted.
        lifted_reason: Why.
    """

    id: int
    iban_masked: str | None
    name: str | None
    email: str | None
    action: str
    scope: str
    reason_code: str
    note: str
    source: str
    attempt_id: int | None
    created_at: datetime
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_reason: str | None


class DossierAction(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a person or program of the creditor did about it.

    Attributes:
        acted_at: When.
        action: What, as in the audit.
        subject: The kind of thing.
        subject_id: Its id.
        actor: Who.
        reason: Why.
        change: What changed.
    """

    acted_at: datetime
    action: str
    subject: str
    subject_id: str | None
    actor: str
    reason: str | None
    change: str


class Dossier(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that is stored about one person.

    Attributes:
        format: The name and version of this form.
        made_at: When it was made.
        debtor_id: The debtor it was made for.
        rows: The rows of files about the person.
        mandates: Mandates.
        schedules: Schedules of collection plans.
        due_items: What these owed, by due date.
        pre_notifications: Pre-notifications, with proof.
        payments: Debits, the oldest first.
        blacklist: Entries of the blacklist.
        actions: What people and programs of the creditor did, the oldest first.
        unread: What could not be read, as sentences; empty for a complete dossier.
    """

    format: str
    made_at: datetime
    debtor_id: int
    rows: list[DossierRow]
    mandates: list[DossierMandate]
    schedules: list[DossierSchedule]
    due_items: list[DossierDueItem]
    pre_notifications: list[DossierNotice]
    payments: list[DossierPaymentHistory]
    blacklist: list[DossierEntry]
    actions: list[DossierAction]
    unread: list[str]


class ArchiveRead(msgspec.Struct, frozen=True):
    """
    An archive that holds notifications of the person.

    Attributes:
        id: Its row.
        object_key: Where it lies.
        sha256: The checksum of its bytes.
    """

    id: int
    object_key: str
    sha256: bytes


class _Account(msgspec.Struct, frozen=True):
    debtor_id: int
    iban: str
    former_ibans: list[str]


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    notification_id: str
    source: str
    kind: str
    status: str
    event: str | None
    state: str
    outcome: str | None
    confirmed_status: str | None
    confirmed_at: datetime | None
    received_at: datetime
    handled_at: datetime | None
    content_type: str


class _Stored(_Event, frozen=True, kw_only=True):
    body: bytes


class _Archived(_Event, frozen=True, kw_only=True):
    attempt_id: int | None
    body: str  # hexadecimal digits


async def made(conn: Connection, debtor_id: int, debtor_ids: Sequence[int], *, now: datetime) -> Dossier:
    """
    The dossier of a person, without what is only in archives.

    Args:
        conn: Should read one snapshot.
        debtor_id: The debtor that was named.
        debtor_ids: All rows about the person (`tether_stores.data_subjects`).
    """
    values: dict[str, Any] = {"debtor_ids": list(debtor_ids)}
    rows = [
        await _row(conn, account)
        for account in await fetch_all(conn, _SQL["accounts"], values, into=_Account)
    ]
    checks = {
        check.debtor_id: check for check in await fetch_all(conn, _SQL["checks"], values, into=DossierCheck)
    }
    rows = [msgspec.structs.replace(row, check=checks.get(row.debtor_id)) for row in rows]
    found_mandates = await fetch_all(conn, _SQL["mandates"], values, into=DossierMandate)
    values["mandate_ids"] = [mandate.id for mandate in found_mandates]
    schedules = await fetch_all(conn, _SQL["schedules"], values, into=DossierSchedule)
    values["schedule_ids"] = [schedule.id for schedule in schedules]
    details = [row.debtor for row in rows]
    values["name_keys"] = sorted({name_key(row.debtor.name) for row in details if row.debtor.name})
    values["emails"] = sorted({email_key(row.email) for row in details if row.email})
    entries = await fetch_all(conn, _SQL["entries"], values, into=DossierEntry)
    payments = await _payments(conn, debtor_ids)
    subjects = [
        *(("debtor", row_id) for row_id in debtor_ids),
        *(("mandate", mandate.id) for mandate in found_mandates),
        *(("schedule", schedule.id) for schedule in schedules),
        *(("blacklist_entry", entry.id) for entry in entries if entry.name is None),
        *(("attempt", payment.payment.id) for payment in payments),
        *(("refund", refund.id) for payment in payments for refund in payment.refunds),
        *(("difference", line.id) for payment in payments for line in payment.differences),
        *(("notification", item.id) for payment in payments for item in payment.notifications),
    ]
    return Dossier(
        format=FORMAT,
        made_at=now,
        debtor_id=debtor_id,
        rows=rows,
        mandates=found_mandates,
        schedules=schedules,
        due_items=await fetch_all(conn, _SQL["due_items"], values, into=DossierDueItem),
        pre_notifications=await fetch_all(conn, _SQL["pre_notifications"], values, into=DossierNotice),
        payments=payments,
        blacklist=entries,
        actions=await _actions(conn, subjects),
        unread=[],
    )


async def _row(conn: Connection, account: _Account) -> DossierRow:
    detail = await debtors.by_id(conn, account.debtor_id)
    assert detail is not None
    upload_id, row = detail.debtor.upload_id, detail.debtor.row
    warnings = [] if upload_id is None or row is None else await problems.of_row(conn, upload_id, row=row)
    return DossierRow(
        debtor_id=account.debtor_id,
        iban=account.iban,
        former_ibans=account.former_ibans,
        debtor=detail,
        warnings=warnings,
        edits=await debtor_edits.listed(conn, account.debtor_id),
        check=None,
    )


async def _payments(conn: Connection, debtor_ids: Sequence[int]) -> list[DossierPaymentHistory]:
    found = await fetch_all(conn, _SQL["payments"], {"debtor_ids": list(debtor_ids)}, into=DossierPayment)
    values: dict[str, Any] = {"attempt_ids": [payment.id for payment in found]}
    forgiven = await fetch_all(conn, _SQL["forgiven"], values, into=DossierForgiven)
    inquiries = await fetch_all(conn, _SQL["inquiries"], values, into=DossierInquiry)
    return [
        await _payment(
            conn,
            payment,
            forgiven=[item for item in forgiven if item.attempt_id == payment.id],
            inquiries=[item for item in inquiries if item.attempt_id == payment.id],
        )
        for payment in found
    ]


async def _payment(
    conn: Connection,
    payment: DossierPayment,
    *,
    forgiven: list[DossierForgiven],
    inquiries: list[DossierInquiry],
) -> DossierPaymentHistory:
    ordered = await refunds.of_attempt(conn, payment.id)
    outside = await gateway_refunds.of_attempt(conn, payment.id)
    ids = [
        payment.unique_id,
        *(refund.unique_id for refund in ordered),
        *(refund.unique_id for refund in outside),
    ]
    values = {"notification_ids": sorted({text for text in ids if text is not None})}
    stored = await fetch_all(conn, _SQL["notifications"], values, into=_Stored, binary=True)
    return DossierPaymentHistory(
        payment=payment,
        refunds=ordered,
        gateway_refunds=outside,
        stated_outcomes=await stated_outcomes.of_attempt(conn, payment.id),
        inquiries=inquiries,
        differences=await differences.listed(conn, limit=_LISTED_MAX, attempt_id=payment.id, open_only=False),
        forgiven=forgiven,
        notifications=[_notification(item, item.body, archive_id=None) for item in stored],
    )


def _notification(stored: _Event, body: bytes, *, archive_id: int | None) -> DossierNotification:
    try:
        fields = decode(body, content_type=stored.content_type).fields
    except Unreadable:
        fields = {}
    return DossierNotification(
        id=stored.id,
        notification_id=stored.notification_id,
        source=stored.source,
        status=stored.status,
        event=stored.event,
        state=stored.state,
        outcome=stored.outcome,
        confirmed_status=stored.confirmed_status,
        confirmed_at=stored.confirmed_at,
        received_at=stored.received_at,
        handled_at=stored.handled_at,
        archive_id=archive_id,
        fields=shown_fields(fields),
    )


async def _actions(conn: Connection, subjects: Sequence[tuple[str, int]]) -> list[DossierAction]:
    found = []
    for subject, subject_id in subjects:
        filters = AuditFilters(subject=subject, subject_id=str(subject_id))
        found += (await audit.page_of(conn, filters, before_id=None, limit=_LISTED_MAX)).rows
    return [
        DossierAction(
            acted_at=row.acted_at,
            action=row.action,
            subject=row.subject,
            subject_id=row.subject_id,
            actor=row.actor,
            reason=row.reason,
            change=change_text(row.before, row.after),
        )
        for row in sorted(found, key=lambda row: row.id)
    ]


async def archives_of(conn: Connection, dossier: Dossier) -> list[ArchiveRead]:
    """The archives that hold notifications of the person's debits."""
    values = {"attempt_ids": [payment.payment.id for payment in dossier.payments]}
    return await fetch_all(conn, _SQL["archives"], values, into=ArchiveRead, binary=True)


async def with_archives(
    dossier: Dossier, archives: Sequence[ArchiveRead], *, store: Objects | None
) -> Dossier:
    """
    A dossier with the notifications of archives.

    Args:
        dossier: From `made`.
        archives: From `archives_of`.
        store: Where they are; `None` where none is configured.

    Returns:
        The dossier; an archive that cannot be read is named in it.

    Raises:
        StoreUnreachable: when the store does not answer.
    """
    by_attempt: dict[int, list[DossierNotification]] = {
        history.payment.id: [] for history in dossier.payments
    }
    attempt_of = {
        history.payment.unique_id: history.payment.id
        for history in dossier.payments
        if history.payment.unique_id
    }
    unread: list[str] = []
    for archive in archives:
        if store is None:
            unread.append(f"Archive {archive.id} was not read: no object store is configured.")
            continue
        try:
            content = await fetched(store, archive.object_key, sha256=archive.sha256)
        except Contradicted as exc:
            unread.append(f"Archive {archive.id} was not read. {exc}")
            continue
        for row in await asyncio.to_thread(_decoded, content.rows):
            attempt_id = row.attempt_id or attempt_of.get(row.notification_id)
            if attempt_id in by_attempt:
                body = bytes.fromhex(row.body.removeprefix("\\x"))
                by_attempt[attempt_id].append(_notification(row, body, archive_id=archive.id))
    payments = [
        msgspec.structs.replace(
            history,
            notifications=sorted(
                [*by_attempt[history.payment.id], *history.notifications], key=lambda item: item.received_at
            ),
        )
        for history in dossier.payments
    ]
    return msgspec.structs.replace(dossier, payments=payments, unread=unread)


def _decoded(rows: Sequence[msgspec.Raw]) -> list[_Archived]:
    decoder = msgspec.json.Decoder(_Archived)
    return [decoder.decode(row) for row in rows]
