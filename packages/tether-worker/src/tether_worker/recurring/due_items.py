"""
The clock of due items: make those that are due, and recover missed ones.

Each batch locks schedules, adds their items and advances them, in one transaction, so that an item is made once with any number of workers.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from tether_core.events import DueItemStatusChanged
from tether_core.recurring import due_item, schedule
from tether_core.recurring.due_dates import nth
from tether_core.target_calendar import bank_day, next_open
from tether_stores import events
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.recurring import changes, collection_plans, due_items, schedules
from tether_stores.recurring.collection_plans import CollectionPlan
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["make_due", "make_due_items", "recover_missed"]

_BATCH: Final = 500
# Batches of one tick; the next tick follows.
_BATCHES_MAX: Final = 40
_RECOVERED_MAX: Final = 500

_log = logger("recurring")


def make_due_items(
    pool: Pool, *, clock: Callable[[], datetime], is_day_known: Callable[[], bool] = lambda: True
) -> PeriodicTask:
    """
    Make the due items of all schedules, and let missed ones be collected where the plan spreads them.

    Args:
        is_day_known: Whether the clocks agree on the day; while they do not, nothing is made.
    """

    async def tick() -> None:
        if not is_day_known():
            _log.error("due items wait: the clocks of this machine and of Postgres differ by an hour or more")
            return
        now = clock()
        for _ in range(_BATCHES_MAX):
            if not await make_due(pool, now=now):
                break
        await recover_missed(pool, now=now)

    return PeriodicTask("make_due_items", 20, tick)


async def make_due(pool: Pool, *, now: datetime, limit: int = _BATCH) -> int:
    """
    Make the due items of some schedules.

    Returns:
        How many schedules were looked at.

    Raises:
        Unavailable: when Postgres is away; nothing was made.
    """
    today = bank_day(now)
    made = []
    async with transaction(pool) as conn:
        due = await schedules.lock_due(conn, today=today, limit=limit)
        if not due:
            return 0
        continued = []
        for row in due:
            result = schedule.due(
                row.first_due_on, row.next_number, last_on=row.last_due_on, options=row.options, today=today
            )
            made += [(row, item) for item in result.items]
            continued.append((row.id, result.next_number, result.make_on))
        ids = await due_items.add(conn, made, now=now)
        new = [(row, item, ids[row.id, item.due_on]) for row, item in made if (row.id, item.due_on) in ids]
        facts = [
            DueItemStatusChanged(
                item_id,
                row.id,
                row.debtor_id,
                item.due_item,
                "",
                item.state,
                "" if item.state == "waiting" else "missed",
            )
            for row, item, item_id in new
        ]
        await events.append(conn, [(None, fact) for fact in facts], now=now)
        notices = [
            changes.notice_of(
                row,
                due_item_name=item.due_item,
                due_item_id=item_id,
                due_on=item.due_on,
                today=today,
                waits=row.options.notice_required,
            )
            for row, item, item_id in new
            if item.state == "waiting"
        ]
        await changes.add_notices(conn, [notice for notice in notices if notice], now=now)
        await schedules.advance(conn, continued, now=now)
    missed = sum(item.state != "waiting" for _, item, _ in new)
    _log.info("due items made", items=len(new), missed=missed)
    if missed:
        _log.warning("due dates missed", items=missed)
    return len(due)


async def recover_missed(pool: Pool, *, now: datetime) -> int:
    """
    Let the oldest missed due item of each schedule be collected, in plans that spread them.

    Returns:
        How many.
    """
    async with connection(pool) as conn:
        plans = [plan for plan in await collection_plans.active(conn) if plan.options.recover == "spread"]
    recovered = 0
    for plan in plans:
        recovered += await _recover(pool, plan, now=now)
    if recovered:
        _log.info("missed due items recovered", items=recovered)
    return recovered


async def _recover(pool: Pool, plan: CollectionPlan, *, now: datetime) -> int:
    today = bank_day(now)
    options = plan.options
    spacing = timedelta(days=options.recover_spacing_days)
    recovered = 0
    async with transaction(pool) as conn:
        for missed in await due_items.recoverable(
            conn, plan.id, ordered_until_on=today - spacing, limit=_RECOVERED_MAX
        ):
            if not due_item.is_recovered(
                waiting=missed.waiting,
                last_ordered_on=missed.last_ordered_on,
                next_due_on=nth(missed.first_due_on, options.interval, missed.next_number)
                if missed.has_next
                else None,
                today=today,
                spacing_days=options.recover_spacing_days,
            ):
                continue
            await changes.recover_item(conn, missed.id, options=options, collect_on=next_open(today), now=now)
            recovered += 1
    return recovered
