"""Pre-notifications; the queries are in `pre_notifications.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import msgspec
from tether_core.recurring.pre_notification import NoticeState

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_value

__all__ = [
    "ChangedPreNotification",
    "Given",
    "NewNotice",
    "PreNotification",
    "add",
    "batches",
    "claim",
    "collect_from",
    "give",
    "given_on",
    "listed",
    "of_batch",
    "of_debtor",
    "supersede",
    "withdraw",
    "withdraw_of_upload",
]

_SQL: Final = load("recurring/pre_notifications")


class NewNotice(msgspec.Struct, frozen=True):
    """
    A pre-notification to be added.

    Attributes:
        account: The gateway account of the debit.
        upload_id: The debtor's upload.
        debtor_id: Who is notified.
        due_item: What is owed.
        due_item_id: The due item of a schedule; `None` for a billing run's.
        due_on: When the account is debited, by its text.
        give_on: The last day on which it may be given without moving the debit.
        notice_days: Days between giving and debit, at least.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        text: What the debtor reads.
    """

    account: str
    upload_id: int
    debtor_id: int
    due_item: str
    due_item_id: int | None
    due_on: date
    give_on: date
    notice_days: int
    amount_minor: int
    currency: str
    text: str

    def __repr__(self) -> str:
        """Name the debtor's row; the rest is personal."""
        return f"NewNotice(debtor_id={self.debtor_id})"


class PreNotification(msgspec.Struct, frozen=True):
    """
    A pre-notification with the addresses of its debtor.

    Attributes:
        id: Its row.
        account: The gateway account of the debit.
        upload_id: The debtor's upload.
        debtor_id: Who is notified.
        due_item: What is owed.
        due_item_id: The due item of a schedule.
        due_on: When the account is debited, by its text.
        give_on: The last day on which it may be given without moving the debit.
        notice_days: Days between giving and debit, at least.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        text: What the debtor reads.
        state: Of its life cycle.
        batch: The batch in which it is given.
        given_at: When it was given.
        given_by: By which adapter or caller.
        created_at: When it was made.
        updated_at: When it last changed.
        name: Of the debtor.
        email: Of the debtor.
        phone: Of the debtor.
        iban: Of the debtor's account.
    """

    id: int
    account: str
    upload_id: int
    debtor_id: int
    due_item: str
    due_item_id: int | None
    due_on: date
    give_on: date
    notice_days: int
    amount_minor: int
    currency: str
    text: str
    state: NoticeState
    batch: str | None
    given_at: datetime | None
    given_by: str | None
    created_at: datetime
    updated_at: datetime
    name: str
    email: str | None
    phone: str | None
    iban: str

    def __repr__(self) -> str:
        """Name the row; the rest is personal."""
        return f"PreNotification(id={self.id})"


class ChangedPreNotification(msgspec.Struct, frozen=True):
    """
    A pre-notification whose state changed.

    Attributes:
        id: Its row.
        debtor_id: Who is notified.
        due_item: What is owed.
        due_on: When the account is debited.
    """

    id: int
    debtor_id: int
    due_item: str
    due_on: date


class Given(msgspec.Struct, frozen=True):
    """
    A pre-notification that was just given.

    Attributes:
        id: Its row.
        debtor_id: Who was notified.
        due_item: What is owed.
        due_on: When the account is debited.
        due_item_id: The due item of a schedule.
        notice_days: Days between giving and debit, at least.
    """

    id: int
    debtor_id: int
    due_item: str
    due_on: date
    due_item_id: int | None
    notice_days: int


async def add(conn: Connection, new: Sequence[NewNotice], *, now: datetime) -> list[ChangedPreNotification]:
    """Add pre-notifications that are to be given, unless there is one for the debtor, the due item and the day."""
    if not new:
        return []
    return await fetch_all(
        conn,
        _SQL["add"],
        {
            "accounts": [notice.account for notice in new],
            "upload_ids": [notice.upload_id for notice in new],
            "debtor_ids": [notice.debtor_id for notice in new],
            "due_items": [notice.due_item for notice in new],
            "due_item_ids": [notice.due_item_id for notice in new],
            "due_ons": [notice.due_on for notice in new],
            "give_ons": [notice.give_on for notice in new],
            "notice_days": [notice.notice_days for notice in new],
            "amounts_minor": [notice.amount_minor for notice in new],
            "currencies": [notice.currency for notice in new],
            "texts": [notice.text for notice in new],
            "now": now,
        },
        into=ChangedPreNotification,
    )


async def claim(conn: Connection, *, batch: str, limit: int, now: datetime) -> int:
    """Give a batch its name, up to *limit* pre-notifications that no batch has; returns how many."""
    return await fetch_value(conn, _SQL["claim"], {"batch": batch, "limit": limit, "now": now}, into=int)


async def batches(conn: Connection, *, limit: int) -> list[str]:
    """The batches that are not given yet, up to *limit*."""
    return [batch for (batch,) in await (await conn.execute(_SQL["batches"], {"limit": limit})).fetchall()]


async def of_batch(conn: Connection, batch: str) -> list[PreNotification]:
    """What a batch gives, in the order of the rows."""
    return await fetch_all(conn, _SQL["of_batch"], {"batch": batch}, into=PreNotification)


async def give(conn: Connection, ids: Sequence[int], *, given_by: str, now: datetime) -> list[Given]:
    """
    Mark pre-notifications as given.

    Args:
        ids: The rows; those that were given or withdrawn stay as they are.
        given_by: The adapter or the name of the caller.

    Returns:
        Those that changed.
    """
    return await fetch_all(
        conn, _SQL["give"], {"ids": list(ids), "given_by": given_by, "now": now}, into=Given
    )


async def collect_from(conn: Connection, days: Sequence[tuple[int, date]], *, now: datetime) -> None:
    """Let due items that wait for their pre-notification be collected from a day on."""
    if days:
        await conn.execute(
            _SQL["collect_from"],
            {"ids": [item_id for item_id, _ in days], "collect_ons": [on for _, on in days], "now": now},
        )


async def withdraw(
    conn: Connection, due_item_ids: Sequence[int], *, now: datetime
) -> list[ChangedPreNotification]:
    """Withdraw the pre-notifications of due items that are not collected; those given stay as they are."""
    if not due_item_ids:
        return []
    return await fetch_all(
        conn, _SQL["withdraw"], {"due_item_ids": list(due_item_ids), "now": now}, into=ChangedPreNotification
    )


async def supersede(
    conn: Connection, owed: Sequence[tuple[int, int]], *, due_item: str, due_on: date, now: datetime
) -> list[ChangedPreNotification]:
    """
    Withdraw pre-notifications of an upload's debtors that state another day or amount than is to be announced now.

    Args:
        owed: Debtor and amount in whole minor units. What was given, or is being given in a batch, stays as it is.
    """
    values = {
        "debtor_ids": [debtor_id for debtor_id, _ in owed],
        "amounts_minor": [amount_minor for _, amount_minor in owed],
        "due_item": due_item,
        "due_on": due_on,
        "now": now,
    }
    return await fetch_all(conn, _SQL["supersede"], values, into=ChangedPreNotification)


async def withdraw_of_upload(
    conn: Connection, upload_id: int, *, now: datetime
) -> list[ChangedPreNotification]:
    """Withdraw the pre-notifications of an upload; those given stay as they are."""
    return await fetch_all(
        conn, _SQL["withdraw_of_upload"], {"upload_id": upload_id, "now": now}, into=ChangedPreNotification
    )


async def listed(
    conn: Connection,
    *,
    state: str | None,
    upload_id: int | None,
    give_until_on: date | None,
    after: int,
    limit: int,
) -> list[PreNotification]:
    """
    Pre-notifications in the order of their rows, up to *limit*.

    Args:
        state: Only in this state.
        upload_id: Only of this upload.
        give_until_on: Only those that must be given by this day.
        after: Only rows after this one.
    """
    values = {
        "state": state,
        "upload_id": upload_id,
        "give_until_on": give_until_on,
        "after": after,
        "limit": limit,
    }
    return await fetch_all(conn, _SQL["listed"], values, into=PreNotification)


async def of_debtor(conn: Connection, debtor_id: int, *, limit: int = 100) -> list[PreNotification]:
    """The pre-notifications of a debtor, newest first, up to *limit*."""
    values = {"debtor_id": debtor_id, "limit": limit}
    return await fetch_all(conn, _SQL["of_debtor"], values, into=PreNotification)


async def given_on(
    conn: Connection, debtor_ids: Sequence[int], *, due_item: str
) -> dict[int, tuple[datetime, date, int]]:
    """When debtors were last notified of a due item and their present account: the time, the day of the debit and its amount, by debtor."""
    cursor = await conn.execute(_SQL["given_on"], {"debtor_ids": list(debtor_ids), "due_item": due_item})
    return {
        debtor_id: (given_at, due_on, amount_minor)
        for debtor_id, given_at, due_on, amount_minor in await cursor.fetchall()
    }
