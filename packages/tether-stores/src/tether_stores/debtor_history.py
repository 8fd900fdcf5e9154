"""What happened to one debtor: blacklist entries, the check of its account, notifications, actions of people; the queries are in `debtor_history.sql`."""

from datetime import datetime
from typing import Final

import msgspec
from tether_core import banks
from tether_core.blacklist import email_key, name_keys

from tether_stores import audit, blacklist, vop
from tether_stores.audit import AuditRow
from tether_stores.blacklist import ListedEntry
from tether_stores.notifications import event_lists
from tether_stores.notifications.event_lists import WebhookEvent
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one
from tether_stores.vop import ListedCheck

__all__ = ["SHOWN_MAX", "History", "history_of"]

_SQL: Final = load("debtor_history")
# Rows of each list; the dossier has all.
SHOWN_MAX: Final = 50
# Debits whose notifications and actions are looked up: those of some years, each month.
_DEBITS_MAX: Final = 100


class History(msgspec.Struct, frozen=True):
    """
    What happened to a debtor; each list has `SHOWN_MAX` rows at most, the newest first.

    Attributes:
        blacklist: Entries about its account, name, e-mail address and bank, active ones first.
        check: The check of its account, where one was requested.
        notifications: Of its debits and their refunds.
        actions: About it and what belongs to it.
    """

    blacklist: list[ListedEntry]
    check: ListedCheck | None
    notifications: list[WebhookEvent]
    actions: list[AuditRow]


class _Subject(msgspec.Struct, frozen=True):
    name: str | None
    email: str | None
    bic: str | None
    bank: str | None


class _Debit(msgspec.Struct, frozen=True):
    id: int
    unique_id: str | None


class _Belonging(msgspec.Struct, frozen=True):
    subject: str
    id: int
    unique_id: str | None


async def history_of(conn: Connection, debtor_id: int, *, now: datetime) -> History | None:
    """
    What happened to a debtor; `None` where there is no such debtor.

    Args:
        conn: Should read one snapshot.
    """
    subject = await fetch_one(conn, _SQL["subject"], {"debtor_id": debtor_id}, into=_Subject)
    if subject is None:
        return None
    entries = await blacklist.of_debtor(
        conn,
        debtor_id,
        name_keys=name_keys(subject.name) if subject.name else (),
        emails=(email_key(subject.email),) if subject.email else (),
        bics=banks.written_as(bic=subject.bic, bank=subject.bank),
        limit=SHOWN_MAX,
        now=now,
    )
    debits = await fetch_all(
        conn, _SQL["debits"], {"debtor_id": debtor_id, "limit": _DEBITS_MAX}, into=_Debit
    )
    values = {"debtor_id": debtor_id, "attempt_ids": [debit.id for debit in debits]}
    belongings = await fetch_all(conn, _SQL["belongings"], values, into=_Belonging)
    unique_ids = {debit.unique_id for debit in debits} | {row.unique_id for row in belongings}
    notifications = await event_lists.of_ids(
        conn, sorted(text for text in unique_ids if text is not None), limit=SHOWN_MAX
    )
    things = [
        ("debtor", debtor_id),
        *(("attempt", debit.id) for debit in debits),
        *((row.subject, row.id) for row in belongings if row.subject != "gateway_refund"),
        # What people did about an entry for a name or a bank was about other people, too.
        *(("blacklist_entry", entry.id) for entry in entries if entry.iban_masked is not None),
        *(("notification", event.id) for event in notifications),
    ]
    return History(
        blacklist=entries,
        check=await vop.of_debtor(conn, debtor_id),
        notifications=notifications,
        actions=await audit.about(conn, things, limit=SHOWN_MAX),
    )
