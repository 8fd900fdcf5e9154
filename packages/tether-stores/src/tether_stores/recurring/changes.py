"""Changes of schedules, due items and mandates with what follows from them, each inside the transaction of its caller."""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta

from tether_core import iban
from tether_core.events import (
    DueItemStatusChanged,
    Event,
    MandateStatusChanged,
    PreNotificationStatusChanged,
    ScheduleStatusChanged,
)
from tether_core.recurring import due_dates, due_item, mandate, pre_notification, schedule
from tether_core.recurring.collection_plan import PlanOptions
from tether_core.recurring.due_item import DueItemCause
from tether_core.recurring.mandate import MandateCause
from tether_core.recurring.pre_notification import Notice
from tether_core.recurring.schedule import ScheduleCause
from tether_core.target_calendar import bank_day

from tether_stores import events
from tether_stores.postgres import Connection
from tether_stores.recurring import collection_plans, due_items, mandates, pre_notifications, schedules
from tether_stores.recurring.due_items import DueItem
from tether_stores.recurring.pre_notifications import ChangedPreNotification, NewNotice
from tether_stores.recurring.schedules import DueSchedule, Schedule

__all__ = [
    "add_notices",
    "announce",
    "change_schedule",
    "change_schedules",
    "complete_schedules",
    "end_mandates",
    "give_notices",
    "item_changed",
    "miss_ordered",
    "notice_of",
    "recover_item",
    "waive_item",
    "waive_items",
    "withdraw_notices",
    "withdraw_notices_of_upload",
]


async def change_schedule(
    conn: Connection, row: Schedule, cause: ScheduleCause, *, reason: str | None, now: datetime
) -> None:
    """
    Pause, resume or end a schedule, as a person orders it. A resumed one continues with the first due date from today on.

    Args:
        conn: The transaction that locked the schedule.
        row: The schedule.
        cause: What is ordered.
        reason: Why; `None` for a resumed one.

    Raises:
        IllegalStep: when the schedule has no such step.
    """
    await change_schedules(conn, [row], cause, reason=reason, now=now)
    if cause != "resumed":
        return
    plan = await collection_plans.share(conn, row.collection_plan_id)
    assert plan is not None
    options = plan.options
    first = due_dates.first_from(row.first_due_on, options.interval, on=bank_day(now))
    number = max(row.next_number, first)
    on = schedule.make_on(row.first_due_on, number, last_on=row.last_due_on, options=options)
    await schedules.advance(conn, [(row.id, number, on)], now=now)
    await complete_schedules(conn, [row.id], now=now)


async def change_schedules(
    conn: Connection,
    changed: Sequence[Schedule],
    cause: ScheduleCause,
    *,
    reason: str | None,
    now: datetime,
    spared: Collection[int] = (),
) -> None:
    """
    Pause, resume or end schedules.

    With a schedule its open due items end, and their pre-notifications are withdrawn.

    Args:
        conn: The transaction that locked the schedules.
        changed: The schedules.
        cause: What happens.
        reason: Why, as a code or a sentence; `None` for resumed ones.
        spared: Due items whose outcome the caller writes.

    Raises:
        IllegalStep: when a schedule has no such step.
    """
    if not changed:
        return
    afters = {row.id: schedule.step(row.state, cause) for row in changed}
    for state in sorted(set(afters.values())):
        ids = [row_id for row_id, after in afters.items() if after == state]
        await schedules.change(conn, ids, state=state, reason=reason, now=now)
    facts: list[Event] = [
        ScheduleStatusChanged(row.id, row.debtor_id, row.state, afters[row.id], reason or "")
        for row in changed
    ]
    await events.append(conn, [(None, fact) for fact in facts], now=now)
    if cause == "ended":
        items = await due_items.open_of(conn, [row.id for row in changed])
        items = [item for item in items if item.id not in spared]
        await waive_items(conn, items, reason="schedule_ended", now=now)


async def complete_schedules(conn: Connection, schedule_ids: Sequence[int], *, now: datetime) -> None:
    """End those of some schedules that have neither a due date nor an open due item left."""
    completed = await schedules.completed(conn, sorted(set(schedule_ids)))
    await change_schedules(conn, completed, "ended", reason=schedule.COMPLETED, now=now)


async def waive_item(conn: Connection, item: DueItem, *, now: datetime) -> None:
    """
    Waive an open due item, as a person orders it; its schedule ends where nothing of it is left.

    Args:
        conn: The transaction that locked it, after the lock of its plan.
        item: The due item.

    Raises:
        IllegalStep: when it is not open.
    """
    await waive_items(conn, [item], reason="waived", now=now)
    await complete_schedules(conn, [item.schedule_id], now=now)


async def waive_items(conn: Connection, items: Sequence[DueItem], *, reason: str, now: datetime) -> None:
    """
    Waive open due items, and withdraw their pre-notifications.

    Args:
        conn: The transaction that locked them.
        items: The due items.
        reason: Why.

    Raises:
        IllegalStep: when an item is not open.
    """
    facts = [item_changed(item, "waived", reason=reason) for item in items]
    ids = [item.id for item in items]
    await due_items.waive(conn, ids, reason=reason, now=now)
    await events.append(conn, [(None, fact) for fact in facts], now=now)
    await withdraw_notices(conn, ids, now=now)


async def miss_ordered(conn: Connection, item_ids: Sequence[int], *, reason: str, now: datetime) -> None:
    """
    Mark ordered due items as missed, and withdraw their pre-notifications.

    Args:
        conn: The transaction that excludes their debits, none of which any call has submitted.
        item_ids: The due items.
        reason: Why the debits were not submitted.

    Raises:
        IllegalStep: when an item is not ordered.
    """
    items = [
        item for item_id in sorted(item_ids) if (item := await due_items.hold(conn, item_id)) is not None
    ]
    facts = [item_changed(item, "missed", reason=reason) for item in items]
    await due_items.unorder(conn, [item.id for item in items], reason=reason, now=now)
    await events.append(conn, [(None, fact) for fact in facts], now=now)
    await withdraw_notices(conn, [item.id for item in items], now=now)


async def withdraw_notices(conn: Connection, item_ids: Sequence[int], *, now: datetime) -> None:
    """Withdraw the pre-notifications of due items that are not collected, where they were not given yet."""
    withdrawn = await pre_notifications.withdraw(conn, item_ids, now=now)
    await events.append(conn, [(None, fact) for fact in _moved(withdrawn, "withdrawn")], now=now)


async def recover_item(
    conn: Connection, item_id: int, *, options: PlanOptions, collect_on: date, now: datetime
) -> None:
    """
    Let a missed due item be collected.

    Args:
        conn: The transaction that locked it.
        item_id: The due item.
        options: Of its plan. Where a pre-notification is required, or made at all, a new one is made, and the debit waits for its days.
        collect_on: The first day on which it may be collected without a pre-notification.

    Raises:
        IllegalStep: when it is not missed.
    """
    item = await due_items.hold(conn, item_id)
    assert item is not None
    fact = item_changed(item, "recovered")
    today = bank_day(now)
    due = None if options.notice_days is None else await schedules.for_notice(conn, item.schedule_id)
    notice = due and notice_of(
        due, due_item_name=item.due_item, due_item_id=item.id, due_on=collect_on, today=today, waits=True
    )
    on = None if options.notice_required else notice.due_on if notice else collect_on
    await due_items.recover(conn, item.id, collect_on=on, now=now)
    await events.append(conn, [(None, fact)], now=now)
    await add_notices(conn, [notice] if notice else [], now=now)


def item_changed(item: DueItem, cause: DueItemCause, *, reason: str = "") -> Event:
    """The event about a step of a due item; raises IllegalStep where its life has no such step."""
    after = due_item.step(item.state, cause)
    return DueItemStatusChanged(
        item.id, item.schedule_id, item.debtor_id, item.due_item, item.state, after, reason
    )


async def end_mandates(
    conn: Connection,
    ended: Sequence[tuple[int, int]],
    cause: MandateCause,
    *,
    reason: str,
    code: str,
    now: datetime,
) -> None:
    """
    Revoke or cancel active mandates, and end their schedules.

    Args:
        conn: The transaction that locked the mandates.
        ended: Row and debtor of each.
        cause: What happened.
        reason: Why, for people.
        code: Why the schedules end.
    """
    if not ended:
        return
    ids = [mandate_id for mandate_id, _ in ended]
    after = mandate.step("active", cause)
    await mandates.set_ended(conn, ids, state=after, reason=reason, now=now)
    facts = [MandateStatusChanged(mandate_id, debtor_id, "active", after) for mandate_id, debtor_id in ended]
    await events.append(conn, [(None, fact) for fact in facts], now=now)
    await change_schedules(conn, await schedules.of_mandates(conn, ids), "ended", reason=code, now=now)


def notice_of(
    due: DueSchedule, *, due_item_name: str, due_item_id: int, due_on: date, today: date, waits: bool
) -> NewNotice | None:
    """
    The pre-notification of a due item, or `None` where the plan makes none.

    Args:
        due: The schedule.
        due_item_name: What is owed.
        due_item_id: The due item's row.
        due_on: The due date, or the day on which a missed item is collected.
        today: The day at the banks.
        waits: Whether the item is collected on the day that is stated, however late that is.
    """
    options: PlanOptions = due.options
    if options.notice_days is None:
        return None
    on = pre_notification.stated_on(due_on, today=today, days=options.notice_days, waits=waits)
    notice = Notice(
        name=due.name,
        amount_minor=due.amount_minor,
        currency=due.currency,
        due_on=on,
        iban_masked=iban.mask(due.iban),
        mandate=due.mandate,
        creditor=options.creditor_name,
        creditor_id=options.creditor_id,
        reference=due.reference or "",
    )
    return NewNotice(
        account=due.account,
        upload_id=due.upload_id,
        debtor_id=due.debtor_id,
        due_item=due_item_name,
        due_item_id=due_item_id,
        due_on=on,
        give_on=on - timedelta(days=options.notice_days),
        notice_days=options.notice_days,
        amount_minor=due.amount_minor,
        currency=due.currency,
        text=pre_notification.text(notice, language=options.notice_language, template=options.notice_text),
    )


async def add_notices(conn: Connection, new: Sequence[NewNotice], *, now: datetime) -> int:
    """Add pre-notifications that are to be given, with their events; returns how many are new."""
    added = await pre_notifications.add(conn, new, now=now)
    facts = [
        PreNotificationStatusChanged(row.id, row.debtor_id, row.due_item, row.due_on.isoformat(), "", "made")
        for row in added
    ]
    await events.append(conn, [(None, fact) for fact in facts], now=now)
    return len(added)


async def announce(conn: Connection, new: Sequence[NewNotice], *, now: datetime) -> tuple[int, int]:
    """
    Add pre-notifications of an upload's debtors, all of one due item and day, in place of those that state another day or amount.

    Returns:
        How many are new, and how many were withdrawn for them; a debtor who has one of this day already gets no second one.
    """
    if not new:
        return 0, 0
    superseded = await pre_notifications.supersede(
        conn,
        [(notice.debtor_id, notice.amount_minor) for notice in new],
        due_item=new[0].due_item,
        due_on=new[0].due_on,
        now=now,
    )
    await events.append(conn, [(None, fact) for fact in _moved(superseded, "withdrawn")], now=now)
    return await add_notices(conn, new, now=now), len(superseded)


async def withdraw_notices_of_upload(conn: Connection, upload_id: int, *, now: datetime) -> None:
    """Withdraw the pre-notifications of an upload that is withdrawn; those given stay as proof."""
    moved = await pre_notifications.withdraw_of_upload(conn, upload_id, now=now)
    await events.append(conn, [(None, fact) for fact in _moved(moved, "withdrawn")], now=now)


async def give_notices(conn: Connection, ids: Sequence[int], *, given_by: str, now: datetime) -> int:
    """
    Mark pre-notifications as given; due items that waited for them are collected when their days have passed.

    Args:
        ids: The rows; those that were given or withdrawn before stay as they are.
        given_by: The adapter or the name of the caller.

    Returns:
        How many were given.
    """
    given = await pre_notifications.give(conn, ids, given_by=given_by, now=now)
    today = bank_day(now)
    await pre_notifications.collect_from(
        conn,
        [
            (
                row.due_item_id,
                pre_notification.collectable_on(row.due_on, given_on=today, days=row.notice_days),
            )
            for row in given
            if row.due_item_id is not None
        ],
        now=now,
    )
    moved = [ChangedPreNotification(row.id, row.debtor_id, row.due_item, row.due_on) for row in given]
    await events.append(conn, [(None, fact) for fact in _moved(moved, "given")], now=now)
    return len(given)


def _moved(rows: Sequence[ChangedPreNotification], cause: pre_notification.NoticeCause) -> list[Event]:
    after = pre_notification.step("made", cause)
    return [
        PreNotificationStatusChanged(
            row.id, row.debtor_id, row.due_item, row.due_on.isoformat(), "made", after
        )
        for row in rows
    ]
