"""Dossiers read from the tables and from archives; the queries are in `dossier.sql`."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.audit import change_text
from tether_core.blacklist import email_key, name_key
from tether_core.dossier import FORMAT, shown_fields
from tether_core.emp.notification import decode
from tether_core.errors import Contradicted, Unreadable

from tether_stores import audit, debtor_edits, stated_outcomes
from tether_stores.audit import AuditFilters
from tether_stores.debtors import debtors
from tether_stores.dossier.contents import (
    Dossier,
    DossierAction,
    DossierCheck,
    DossierDueItem,
    DossierEntry,
    DossierForgiven,
    DossierInquiry,
    DossierMandate,
    DossierNotice,
    DossierNotification,
    DossierPayment,
    DossierPaymentHistory,
    DossierRow,
    DossierSchedule,
)
from tether_stores.objects import Objects
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.reconciliation import differences, gateway_refunds
from tether_stores.refunds import refunds
from tether_stores.retention.archive_files import fetched
from tether_stores.rows import fetch_all
from tether_stores.uploads import problems

__all__ = ["ArchiveRead", "archives_of", "made", "with_archives"]

_SQL: Final = load("dossier/dossier")
# Of each thing, for the actions about it and its differences: far more than a person causes.
_LISTED_MAX: Final = 200


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
