"""
`/api/schedules` and `/api/due-items`: one debtor under a collection plan, and what it owes on its due dates.

```text
GET  /api/schedules/{id}            one schedule, with its due items
POST /api/schedules/{id}/pause      nothing of it is made, ordered or submitted any more
POST /api/schedules/{id}/resume     go on with the next due date; those that passed meanwhile are left out
POST /api/schedules/{id}/end        end it; open due items are waived
POST /api/due-items/{id}/recover    collect a missed due item
POST /api/due-items/{id}/waive      do not collect an open due item
```
"""

from datetime import datetime
from typing import Final

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import Action, facts
from tether_core.recurring.schedule import ScheduleCause
from tether_core.target_calendar import bank_day, next_open
from tether_stores import audit
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.recurring import changes, collection_plans, due_items, mandates, schedules
from tether_stores.recurring.collection_plans import CollectionPlan
from tether_stores.recurring.due_items import DueItem
from tether_stores.recurring.mandates import MandateRow
from tether_stores.recurring.schedules import Schedule
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id, reason_of
from tether_web.recurring.collection_plans import WhyRequest

__all__ = ["ROUTERS", "ScheduleDetail"]

_ITEMS: Final = 200
_MISSING: Final = "There is no such schedule"
_ITEM_MISSING: Final = "There is no such due item"

_log = logger("recurring")


class ScheduleDetail(msgspec.Struct, frozen=True):
    """
    A schedule with what belongs to it.

    Attributes:
        schedule: The schedule.
        mandate: Its mandate.
        due_items: The latest 200 due items, newest first.
    """

    schedule: Schedule
    mandate: MandateRow
    due_items: list[DueItem]


@get("/{schedule_id:int}", summary="One schedule, with its mandate and its due items")
async def detail(state: State, schedule_id: Id) -> ScheduleDetail:
    """What a debtor owes under a collection plan, and what became of it."""
    async with reading(state.pool) as conn:
        row = await schedules.by_id(conn, schedule_id)
        if row is None:
            raise NotFoundException(_MISSING)
        mandate = await mandates.by_id(conn, row.mandate_id)
        assert mandate is not None
        return ScheduleDetail(row, mandate, await due_items.of_schedule(conn, row.id, limit=_ITEMS))


@post("/{schedule_id:int}/pause", status_code=200, summary="Pause a schedule")
async def pause(request: ApiRequest, state: State, schedule_id: Id, data: JSONBody[WhyRequest]) -> Schedule:
    """After the response nothing of the schedule is made, ordered or submitted."""
    return await _change(request, state, schedule_id, "paused", reason=reason_of(data.reason))


@post("/{schedule_id:int}/resume", status_code=200, summary="Resume a schedule")
async def resume(request: ApiRequest, state: State, schedule_id: Id) -> Schedule:
    """It continues with the next due date; those that passed while it was paused are left out."""
    return await _change(request, state, schedule_id, "resumed", reason=None)


@post("/{schedule_id:int}/end", status_code=200, summary="End a schedule")
async def end(request: ApiRequest, state: State, schedule_id: Id, data: JSONBody[WhyRequest]) -> Schedule:
    """Open due items are waived. A debit that was submitted continues to its outcome."""
    return await _change(request, state, schedule_id, "ended", reason=reason_of(data.reason))


@post("/{due_item_id:int}/recover", status_code=200, summary="Collect a missed due item")
async def recover(request: ApiRequest, state: State, due_item_id: Id, data: JSONBody[WhyRequest]) -> DueItem:
    """It is ordered on the next TARGET day, or once its pre-notification was given in time."""
    reason, now = reason_of(data.reason), state.clock()
    async with transaction(state.pool) as conn:
        before, plan = await _item(conn, due_item_id)
        await changes.recover_item(
            conn, before.id, options=plan.options, collect_on=next_open(bank_day(now)), now=now
        )
        return await _recorded(conn, request, "due_item.recovered", before, reason=reason, now=now)


@post("/{due_item_id:int}/waive", status_code=200, summary="Do not collect an open due item")
async def waive(request: ApiRequest, state: State, due_item_id: Id, data: JSONBody[WhyRequest]) -> DueItem:
    """Its schedule continues with the next due date."""
    reason, now = reason_of(data.reason), state.clock()
    async with transaction(state.pool) as conn:
        before, _ = await _item(conn, due_item_id)
        await changes.waive_item(conn, before, now=now)
        return await _recorded(conn, request, "due_item.waived", before, reason=reason, now=now)


_ACTIONS: Final[dict[ScheduleCause, Action]] = {
    "paused": "schedule.paused",
    "resumed": "schedule.resumed",
    "ended": "schedule.ended",
}


async def _change(
    request: ApiRequest, state: State, schedule_id: int, cause: ScheduleCause, *, reason: str | None
) -> Schedule:
    now = state.clock()
    async with transaction(state.pool) as conn:
        row = await schedules.hold(conn, schedule_id)
        if row is None:
            raise NotFoundException(_MISSING)
        await changes.change_schedule(conn, row, cause, reason=reason, now=now)
        after = await schedules.by_id(conn, schedule_id)
        assert after is not None
        await audit.record(
            conn,
            request.auth.actor,
            _ACTIONS[cause],
            subject="schedule",
            subject_id=schedule_id,
            reason=reason,
            before=facts(state=row.state),
            after=facts(state=after.state),
            now=now,
        )
    _log.info("schedule changed", schedule_id=schedule_id, schedule_state=after.state, by=request.user)
    return after


async def _item(conn: Connection, item_id: int) -> tuple[DueItem, CollectionPlan]:
    """A due item and its plan, both locked; the plan first, as orders of due items do."""
    known = await due_items.by_id(conn, item_id)
    if known is None:
        raise NotFoundException(_ITEM_MISSING)
    await collection_plans.lock(conn, known.collection_plan_id)
    plan = await collection_plans.share(conn, known.collection_plan_id)
    before = await due_items.hold(conn, item_id)
    assert plan is not None
    assert before is not None
    return before, plan


async def _recorded(
    conn: Connection, request: ApiRequest, action: Action, before: DueItem, *, reason: str, now: datetime
) -> DueItem:
    after = await due_items.by_id(conn, before.id)
    assert after is not None
    await audit.record(
        conn,
        request.auth.actor,
        action,
        subject="due_item",
        subject_id=before.id,
        reason=reason,
        before=facts(state=before.state),
        after=facts(state=after.state),
        now=now,
    )
    return after


ROUTERS: Final = (
    Router("/api/schedules", route_handlers=[detail, pause, resume, end], tags=["recurring collection"]),
    Router("/api/due-items", route_handlers=[recover, waive], tags=["recurring collection"]),
)
