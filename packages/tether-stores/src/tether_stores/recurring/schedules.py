"""Schedules of collection plans; the queries are in `schedules.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core.recurring.collection_plan import PlanOptions
from tether_core.recurring.schedule import ScheduleState

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = [
    "Applicant",
    "DueSchedule",
    "NewSchedule",
    "Schedule",
    "add",
    "advance",
    "applicants",
    "by_id",
    "change",
    "completed",
    "for_notice",
    "hold",
    "listed",
    "lock_due",
    "of_debtors",
    "of_mandates",
    "of_plan",
]

_SQL: Final = load("recurring/schedules")


class Schedule(msgspec.Struct, frozen=True):
    """
    One debtor under a collection plan.

    Attributes:
        id: Its row.
        collection_plan_id: The plan.
        debtor_id: Who pays.
        mandate_id: By which mandate.
        amount_minor: What is owed on each due date, whole minor units.
        first_due_on: The first due date.
        last_due_on: No due date after this; `None` for no end.
        next_number: The number of the next due date without a due item.
        make_on: When that item is made; `None` where no due date is left.
        state: Of its life cycle.
        state_reason: Why it is paused or ended.
        created_by: The name of the caller who added it.
        created_at: When that was.
        updated_at: When it last changed.
    """

    id: int
    collection_plan_id: int
    debtor_id: int
    mandate_id: int
    amount_minor: int
    first_due_on: date
    last_due_on: date | None
    next_number: int
    make_on: date | None
    state: ScheduleState
    state_reason: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class NewSchedule(msgspec.Struct, frozen=True):
    """
    A schedule to be added.

    Attributes:
        debtor_id: Who pays.
        mandate_id: By which mandate.
        amount_minor: What is owed on each due date.
    """

    debtor_id: int
    mandate_id: int
    amount_minor: int


class Applicant(msgspec.Struct, frozen=True):
    """
    A debtor who may get a schedule.

    Attributes:
        id: The debtor.
        iban: Of the account.
        iban_fingerprint: Of it.
        amount_minor: Of the row, whole minor units.
        currency: ISO 4217.
        mandate_id: The reference of the mandate in the row.
        mandate_signed_on: When it was signed, by the row.
        verdict: Of screening.
        has_schedule: Whether the debtor has a live schedule.
    """

    id: int
    iban: str
    iban_fingerprint: bytes
    amount_minor: int
    currency: str
    mandate_id: str | None
    mandate_signed_on: date | None
    verdict: str
    has_schedule: bool

    def __repr__(self) -> str:
        """Name the row; the rest is personal."""
        return f"Applicant(id={self.id})"


class DueSchedule(msgspec.Struct, frozen=True):
    """
    A schedule whose next due item is to be made.

    Attributes:
        id: Its row.
        collection_plan_id: The plan.
        account: The gateway account.
        options: Of the plan.
        debtor_id: Who pays.
        upload_id: The debtor's upload.
        amount_minor: What is owed on each due date.
        currency: ISO 4217.
        first_due_on: The first due date.
        last_due_on: No due date after this.
        next_number: The number of the next due date.
        name: Of the debtor.
        iban: Of the account.
        reference: What the debtor knows the debt by.
        mandate: The reference of the mandate.
    """

    id: int
    collection_plan_id: int
    account: str
    options: PlanOptions
    debtor_id: int
    upload_id: int
    amount_minor: int
    currency: str
    first_due_on: date
    last_due_on: date | None
    next_number: int
    name: str
    iban: str
    reference: str | None
    mandate: str

    def __repr__(self) -> str:
        """Name the row; the rest is personal."""
        return f"DueSchedule(id={self.id})"


async def add(
    conn: Connection,
    new: Sequence[NewSchedule],
    *,
    plan_id: int,
    first_due_on: date,
    last_due_on: date | None,
    make_on: date,
    created_by: str,
    now: datetime,
) -> dict[int, int]:
    """
    Add active schedules.

    Args:
        new: n schedules of different debtors.
        plan_id: The collection plan.
        first_due_on: The first due date.
        last_due_on: No due date after this; `None` for no end.
        make_on: When the first due item is made.
        created_by: The name of the caller.

    Returns:
        The row of each by its debtor; none for a debtor who has a live schedule.
    """
    if not new:
        return {}
    cursor = await conn.execute(
        _SQL["add"],
        {
            "collection_plan_id": plan_id,
            "debtor_ids": [schedule.debtor_id for schedule in new],
            "mandate_ids": [schedule.mandate_id for schedule in new],
            "amounts_minor": [schedule.amount_minor for schedule in new],
            "first_due_on": first_due_on,
            "last_due_on": last_due_on,
            "make_on": make_on,
            "created_by": created_by,
            "now": now,
        },
    )
    return {debtor_id: schedule_id for schedule_id, debtor_id in await cursor.fetchall()}


async def applicants(
    conn: Connection, upload_id: int, *, after: int, limit: int, debtor_id: int | None = None
) -> list[Applicant]:
    """
    Debtors of an upload in the order of their rows, up to *limit*.

    Args:
        upload_id: The upload.
        after: Only debtors after this one.
        debtor_id: Only this debtor; `None` for all.
    """
    values = {"upload_id": upload_id, "after": after, "limit": limit, "debtor_id": debtor_id}
    return await fetch_all(conn, _SQL["candidates"], values, into=Applicant, binary=True)


async def lock_due(conn: Connection, *, today: date, limit: int) -> list[DueSchedule]:
    """Lock schedules whose next due item is to be made, up to *limit*; those another worker has locked are skipped."""
    values = {"today": today, "limit": limit}
    return await fetch_all(conn, _SQL["lock_due"], values, into=_due, binary=True)


async def for_notice(conn: Connection, schedule_id: int) -> DueSchedule | None:
    """A schedule with what a pre-notification says, or `None`."""
    return await fetch_one(conn, _SQL["for_notice"], {"id": schedule_id}, into=_due, binary=True)


async def advance(
    conn: Connection, continued: Sequence[tuple[int, int, date | None]], *, now: datetime
) -> None:
    """
    Write where schedules continue.

    Args:
        conn: The transaction that locked them.
        continued: Schedule, number of its next due date, and when that item is made.
    """
    await conn.execute(
        _SQL["advance"],
        {
            "ids": [schedule_id for schedule_id, _, _ in continued],
            "next_numbers": [number for _, number, _ in continued],
            "make_ons": [make_on for _, _, make_on in continued],
            "now": now,
        },
    )


async def by_id(conn: Connection, schedule_id: int) -> Schedule | None:
    """One schedule, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": schedule_id}, into=Schedule)


async def hold(conn: Connection, schedule_id: int) -> Schedule | None:
    """Lock one schedule for a change until this transaction ends; `None` for no such schedule."""
    return await fetch_one(conn, _SQL["hold"], {"id": schedule_id}, into=Schedule)


async def listed(
    conn: Connection, plan_id: int, *, state: str | None, before_id: int | None, limit: int
) -> list[Schedule]:
    """Schedules of a plan, newest first, up to *limit*."""
    values = {"collection_plan_id": plan_id, "state": state, "before_id": before_id, "limit": limit}
    return await fetch_all(conn, _SQL["listed"], values, into=Schedule)


async def of_debtors(conn: Connection, debtor_ids: Sequence[int]) -> dict[int, int]:
    """The live schedules of debtors, by debtor."""
    if not debtor_ids:
        return {}
    cursor = await conn.execute(_SQL["of_debtors"], {"debtor_ids": list(debtor_ids)})
    return dict(await cursor.fetchall())


async def of_mandates(conn: Connection, mandate_ids: Sequence[int]) -> list[Schedule]:
    """Lock the live schedules of mandates."""
    return await fetch_all(conn, _SQL["of_mandates"], {"mandate_ids": list(mandate_ids)}, into=Schedule)


async def of_plan(conn: Connection, plan_id: int, *, limit: int) -> list[Schedule]:
    """Lock live schedules of a plan, up to *limit*."""
    values = {"collection_plan_id": plan_id, "limit": limit}
    return await fetch_all(conn, _SQL["of_plan"], values, into=Schedule)


async def change(
    conn: Connection, schedule_ids: Sequence[int], *, state: ScheduleState, reason: str | None, now: datetime
) -> None:
    """Write the new state of schedules, inside the transaction that holds them."""
    await conn.execute(
        _SQL["change"], {"ids": list(schedule_ids), "state": state, "state_reason": reason, "now": now}
    )


async def completed(conn: Connection, schedule_ids: Sequence[int]) -> list[Schedule]:
    """Lock those of some active schedules that have neither a due date nor an open due item left."""
    return await fetch_all(conn, _SQL["completed"], {"ids": list(schedule_ids)}, into=Schedule)


def _due(*, options: bytes, **columns: Any) -> DueSchedule:
    return DueSchedule(options=msgspec.json.decode(options, type=PlanOptions), **columns)
