"""Due items of schedules; the queries are in `due_items.sql`, which describes the rows."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
from tether_core.recurring.collection_plan import PlanOptions
from tether_core.recurring.due_item import DueItemState
from tether_core.recurring.mandate import Mandate
from tether_core.recurring.mandate import Sequence as SequenceType
from tether_core.recurring.schedule import NewItem, ScheduleState
from tether_core.recurring.series import First, RequestKind

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.recurring.mandates import facts
from tether_stores.recurring.schedules import DueSchedule
from tether_stores.rows import fetch_all, fetch_one, fetch_pair, fetch_value

__all__ = [
    "ClaimedDueItem",
    "DueItem",
    "DueItemGroup",
    "Missed",
    "WaitingDueItem",
    "add",
    "amounts",
    "by_id",
    "groups",
    "hold",
    "listed",
    "lock_waiting",
    "miss",
    "of_claim",
    "of_schedule",
    "open_of",
    "order",
    "ordered_on",
    "plans_of",
    "postpone",
    "recover",
    "recoverable",
    "series",
    "set_requests",
    "skip",
    "unorder",
    "unreleased_on",
    "waiting_of",
    "waive",
]

_SQL: Final = load("recurring/due_items")


class DueItem(msgspec.Struct, frozen=True):
    """
    What a schedule owes on a due date.

    Attributes:
        id: Its row.
        schedule_id: The schedule.
        collection_plan_id: The plan.
        upload_id: The debtor's upload.
        debtor_id: Who pays.
        due_on: The due date.
        due_item: The name of what is owed.
        amount_minor: Whole minor units.
        is_last: Whether no due date follows.
        state: Of its life cycle.
        collect_from_on: The first day on which it could be ordered; `None` while its pre-notification is not given.
        collect_on: The next day on which it is ordered.
        reason: The last verdict against it, or why it is not collected.
        sequence: The sequence type of its debit.
        request: How its debit was requested.
        run_id: The run with its debit.
        ordered_on: When its debit was made.
        created_at: When the clock made it.
        updated_at: When it last changed.
    """

    id: int
    schedule_id: int
    collection_plan_id: int
    upload_id: int
    debtor_id: int
    due_on: date
    due_item: str
    amount_minor: int
    is_last: bool
    state: DueItemState
    collect_from_on: date | None
    collect_on: date | None
    reason: str | None
    sequence: SequenceType | None
    request: RequestKind | None
    run_id: int | None
    ordered_on: date | None
    created_at: datetime
    updated_at: datetime


class DueItemGroup(msgspec.Struct, frozen=True):
    """
    Due items that one run collects.

    Attributes:
        collection_plan_id: Of this plan.
        upload_id: From debtors of this upload.
        due_item: With this name.
    """

    collection_plan_id: int
    upload_id: int
    due_item: str


class WaitingDueItem(msgspec.Struct, frozen=True):
    """
    A due item that may be ordered, with its mandate.

    Attributes:
        id: Its row.
        schedule_id: The schedule.
        debtor_id: Who pays.
        amount_minor: Whole minor units.
        due_on: The due date.
        is_last: Whether no due date follows.
        collect_from_on: The first day on which it could be ordered.
        mandate_id: The mandate.
        mandate: Its facts.
    """

    id: int
    schedule_id: int
    debtor_id: int
    amount_minor: int
    due_on: date
    is_last: bool
    collect_from_on: date
    mandate_id: int
    mandate: Mandate


class Missed(msgspec.Struct, frozen=True):
    """
    The oldest missed due item of a schedule.

    Attributes:
        id: Its row.
        schedule_id: The schedule.
        due_on: The due date.
        amount_minor: Whole minor units.
        waiting: Items of the schedule that wait to be collected.
        last_ordered_on: When an item of it was last ordered.
        first_due_on: The first due date of the schedule.
        next_number: The number of its next due date.
        has_next: Whether it has a next due date.
    """

    id: int
    schedule_id: int
    due_on: date
    amount_minor: int
    waiting: int
    last_ordered_on: date | None
    first_due_on: date
    next_number: int
    has_next: bool


class ClaimedDueItem(msgspec.Struct, frozen=True):
    """
    What decides whether an ordered due item may be submitted now.

    Attributes:
        debtor_id: Who pays.
        id: The due item.
        amount_minor: Whole minor units.
        schedule_state: Of its schedule.
        schedule_reason: Why the schedule is paused or ended.
        mandate_id: The mandate.
        reference: Of the mandate.
        mandate: Its facts.
    """

    debtor_id: int
    id: int
    amount_minor: int
    schedule_state: ScheduleState
    schedule_reason: str | None
    mandate_id: int
    reference: str
    mandate: Mandate

    def __repr__(self) -> str:
        """Name the row; the rest is personal."""
        return f"ClaimedDueItem(id={self.id})"


async def add(
    conn: Connection, made: Sequence[tuple[DueSchedule, NewItem]], *, now: datetime
) -> dict[tuple[int, date], int]:
    """
    Add due items.

    Args:
        conn: The transaction that locked the schedules.
        made: Each item with its schedule. A waiting item whose pre-notification is required has no day of collection yet.

    Returns:
        The row of each by schedule and due date; none for a due date that has an item.
    """
    if not made:
        return {}
    cursor = await conn.execute(
        _SQL["add"],
        {
            "schedule_ids": [schedule.id for schedule, _ in made],
            "plan_ids": [schedule.collection_plan_id for schedule, _ in made],
            "upload_ids": [schedule.upload_id for schedule, _ in made],
            "debtor_ids": [schedule.debtor_id for schedule, _ in made],
            "due_ons": [item.due_on for _, item in made],
            "due_items": [item.due_item for _, item in made],
            "amounts_minor": [schedule.amount_minor for schedule, _ in made],
            "are_last": [item.is_last for _, item in made],
            "states": [item.state for _, item in made],
            "collect_ons": [
                None if schedule.options.notice_required else item.collect_on for schedule, item in made
            ],
            "reasons": ["missed" if item.state != "waiting" else None for _, item in made],
            "now": now,
        },
    )
    return {(schedule_id, due_on): item_id for item_id, schedule_id, due_on in await cursor.fetchall()}


async def groups(conn: Connection, *, today: date, limit: int) -> list[DueItemGroup]:
    """Which plans, uploads and due items have items to order, up to *limit*."""
    return await fetch_all(conn, _SQL["groups"], {"today": today, "limit": limit}, into=DueItemGroup)


async def lock_waiting(
    conn: Connection, group: DueItemGroup, *, today: date, limit: int
) -> list[WaitingDueItem]:
    """Lock due items of a group that may be ordered, up to *limit*, in the order of their debtors."""
    values = {**msgspec.structs.asdict(group), "today": today, "limit": limit}
    return await fetch_all(conn, _SQL["lock_waiting"], values, into=_waiting)


async def waiting_of(
    conn: Connection, schedule_ids: Sequence[int], *, today: date
) -> dict[int, list[tuple[int, date]]]:
    """The items of schedules that may be ordered today, by schedule: item and the first day on which it could be."""
    cursor = await conn.execute(_SQL["waiting_of"], {"schedule_ids": list(schedule_ids), "today": today})
    found = defaultdict[int, list[tuple[int, date]]](list)
    for schedule_id, item_id, could_on in await cursor.fetchall():
        found[schedule_id].append((item_id, could_on))
    return found


async def ordered_on(conn: Connection, plan_id: int, *, day_on: date) -> tuple[int, int]:
    """How many items of a plan were ordered on a day, and their money in whole minor units."""
    return await fetch_pair(conn, _SQL["ordered_on"], {"collection_plan_id": plan_id, "day_on": day_on})


async def unreleased_on(conn: Connection, plan_id: int, *, day_on: date, run_id: int) -> int:
    """The money that a plan ordered on a day and no second person released, in minor units; all of the given run counts."""
    values = {"collection_plan_id": plan_id, "day_on": day_on, "run_id": run_id}
    return await fetch_value(conn, _SQL["unreleased_on"], values, into=int)


async def order(
    conn: Connection, items: Sequence[tuple[int, SequenceType]], *, run_id: int, day_on: date, now: datetime
) -> None:
    """Mark items as ordered in a run, each with the sequence type of its debit."""
    if items:
        await conn.execute(
            _SQL["order"],
            {
                "ids": [item_id for item_id, _ in items],
                "sequences": [sequence for _, sequence in items],
                "run_id": run_id,
                "day_on": day_on,
                "now": now,
            },
        )


async def postpone(
    conn: Connection, items: Sequence[tuple[int, str]], *, collect_on: date, now: datetime
) -> None:
    """Postpone items to a day, each with its verdict."""
    if items:
        await conn.execute(_SQL["postpone"], {**_reasoned(items), "collect_on": collect_on, "now": now})


async def skip(conn: Connection, items: Sequence[tuple[int, str]], *, now: datetime) -> None:
    """Skip items, each with its verdict."""
    if items:
        await conn.execute(_SQL["skip"], {**_reasoned(items), "now": now})


async def miss(conn: Connection, item_ids: Sequence[int], *, now: datetime) -> None:
    """Mark waiting items as missed."""
    if item_ids:
        await conn.execute(_SQL["miss"], {"ids": list(item_ids), "now": now})


async def unorder(conn: Connection, item_ids: Sequence[int], *, reason: str, now: datetime) -> None:
    """Mark ordered items as missed whose debits were not submitted in time."""
    await conn.execute(_SQL["unorder"], {"ids": list(item_ids), "reason": reason, "now": now})


async def waive(conn: Connection, item_ids: Sequence[int], *, reason: str, now: datetime) -> None:
    """Waive open items."""
    if item_ids:
        await conn.execute(_SQL["waive"], {"ids": list(item_ids), "reason": reason, "now": now})


async def recover(conn: Connection, item_id: int, *, collect_on: date | None, now: datetime) -> None:
    """Let a missed item be collected from a day on; `None` for once its pre-notification is given."""
    await conn.execute(_SQL["recover"], {"id": item_id, "collect_on": collect_on, "now": now})


async def recoverable(conn: Connection, plan_id: int, *, ordered_until_on: date, limit: int) -> list[Missed]:
    """
    Lock the oldest missed item of each schedule of a plan that has no waiting one, up to *limit*.

    Args:
        plan_id: The plan.
        ordered_until_on: Only schedules of which no item was ordered after this day.
    """
    values = {"collection_plan_id": plan_id, "ordered_until_on": ordered_until_on, "limit": limit}
    return await fetch_all(conn, _SQL["recoverable"], values, into=Missed)


async def by_id(conn: Connection, item_id: int) -> DueItem | None:
    """One due item, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": item_id}, into=DueItem)


async def hold(conn: Connection, item_id: int) -> DueItem | None:
    """Lock one due item for a change until this transaction ends; `None` for no such item."""
    return await fetch_one(conn, _SQL["hold"], {"id": item_id}, into=DueItem)


async def of_schedule(conn: Connection, schedule_id: int, *, limit: int) -> list[DueItem]:
    """The due items of a schedule, newest first, up to *limit*."""
    values = {"schedule_id": schedule_id, "limit": limit}
    return await fetch_all(conn, _SQL["of_schedule"], values, into=DueItem)


async def open_of(conn: Connection, schedule_ids: Sequence[int]) -> list[DueItem]:
    """Lock the open due items of schedules."""
    return await fetch_all(conn, _SQL["open_of"], {"schedule_ids": list(schedule_ids)}, into=DueItem)


async def listed(
    conn: Connection, plan_id: int, *, state: str | None, before_id: int | None, limit: int
) -> list[DueItem]:
    """Due items of a plan, newest first, up to *limit*."""
    values = {"collection_plan_id": plan_id, "state": state, "before_id": before_id, "limit": limit}
    return await fetch_all(conn, _SQL["listed"], values, into=DueItem)


async def of_claim(conn: Connection, run_id: int, debtor_ids: Sequence[int]) -> dict[int, ClaimedDueItem]:
    """
    What decides whether the due items of a run may be submitted now, by debtor.

    Args:
        conn: The transaction that claims them; it keeps their schedules and mandates from being changed.
        run_id: The run.
        debtor_ids: Of its debits.
    """
    values = {"run_id": run_id, "debtor_ids": list(debtor_ids)}
    found = await fetch_all(conn, _SQL["of_claim"], values, into=_claimed)
    return {item.debtor_id: item for item in found}


async def amounts(conn: Connection, run_id: int, debtor_ids: Sequence[int]) -> dict[int, int]:
    """What debtors owe by the due items that a run collects, by debtor."""
    cursor = await conn.execute(_SQL["amounts"], {"run_id": run_id, "debtor_ids": list(debtor_ids)})
    return dict(await cursor.fetchall())


async def set_requests(
    conn: Connection, requests: Sequence[tuple[int, RequestKind]], *, now: datetime
) -> None:
    """Write by which request the debits of items are submitted."""
    if requests:
        await conn.execute(
            _SQL["set_requests"],
            {
                "ids": [item_id for item_id, _ in requests],
                "requests": [request for _, request in requests],
                "now": now,
            },
        )


async def series(
    conn: Connection, mandate_ids: Sequence[int], *, without: Sequence[int]
) -> dict[int, list[First]]:
    """
    The first debits of series under mandates, newest first, by mandate.

    Args:
        mandate_ids: The mandates.
        without: Due items that do not count.
    """
    cursor = await conn.execute(_SQL["series"], {"mandate_ids": list(mandate_ids), "without": list(without)})
    found = defaultdict[int, list[First]](list)
    for mandate_id, state, unique_id, is_submitted in await cursor.fetchall():
        found[mandate_id].append(First(state, unique_id, is_submitted))
    return found


async def plans_of(conn: Connection, attempt_ids: Sequence[int]) -> dict[int, PlanOptions]:
    """The options of the plans whose due items some attempts collect, by attempt."""
    cursor = await conn.execute(_SQL["pay_days"], {"attempt_ids": list(attempt_ids)}, binary=True)
    return {
        attempt_id: msgspec.json.decode(options, type=PlanOptions)
        for attempt_id, options in await cursor.fetchall()
    }


def _reasoned(items: Sequence[tuple[int, str]]) -> dict[str, list[Any]]:
    return {"ids": [item_id for item_id, _ in items], "reasons": [reason for _, reason in items]}


def _waiting(**row: Any) -> WaitingDueItem:
    own = {field: row[field] for field in WaitingDueItem.__struct_fields__ if field != "mandate"}
    return WaitingDueItem(mandate=facts(row), **own)


def _claimed(**row: Any) -> ClaimedDueItem:
    own = {field: row[field] for field in ClaimedDueItem.__struct_fields__ if field != "mandate"}
    return ClaimedDueItem(mandate=facts(row), **own)
