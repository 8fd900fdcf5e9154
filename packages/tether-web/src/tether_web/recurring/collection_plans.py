"""
`/api/collection-plans`: debits that repeat.

```text
POST /api/collection-plans                     add a plan
GET  /api/collection-plans                     the plans, newest first
GET  /api/collection-plans/{id}                one plan, with its live schedules
POST /api/collection-plans/{id}/pause          nothing of it is made, ordered or submitted any more
POST /api/collection-plans/{id}/resume         go on; due dates that passed are missed
POST /api/collection-plans/{id}/end            end it with all its schedules
GET  /api/collection-plans/{id}/forecast       what the next days are expected to collect
GET  /api/collection-plans/{id}/schedules      its schedules, newest first
GET  /api/collection-plans/{id}/due-items      its due items, newest first
```
"""

from datetime import date
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import Action, facts
from tether_core.errors import InvalidRequest
from tether_core.recurring import due_dates, schedule
from tether_core.recurring.collection_plan import PlanOptions
from tether_core.recurring.due_dates import FORECAST_DAYS_MAX, Expected
from tether_core.recurring.due_item import DueItemState
from tether_core.recurring.schedule import ScheduleCause, ScheduleState
from tether_core.target_calendar import bank_day
from tether_stores import audit
from tether_stores.accounts import gateway_accounts
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.recurring import changes, collection_plans, due_items, schedules
from tether_stores.recurring.collection_plans import CollectionPlan
from tether_stores.recurring.due_items import DueItem
from tether_stores.recurring.schedules import Schedule
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import (
    LIMIT,
    Cursor,
    Limit,
    Page,
    decode_cursor,
    page,
)
from tether_web.http.parameters import Id, printable, reason_of

__all__ = [
    "MISSING",
    "ROUTER",
    "Forecast",
    "PlanDetail",
    "PlanOrder",
    "WhyRequest",
]


_CHUNK: Final = 1_000
MISSING: Final = "There is no such collection plan"

_log = logger("recurring")


class PlanOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A collection plan to be added.

    Attributes:
        name: For people; once in a gateway account.
        account: The gateway account.
        options: What its debits may do.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    account: Annotated[str, msgspec.Meta(max_length=32)] = gateway_accounts.DEFAULT
    options: PlanOptions = PlanOptions()


class PlanDetail(msgspec.Struct, frozen=True):
    """
    A collection plan and its schedules.

    Attributes:
        plan: The plan.
        schedules: Its live schedules.
        amount_minor: Their money on each due date.
        waiting: Due items that wait to be collected.
        waiting_minor: The money of these.
    """

    plan: CollectionPlan
    schedules: int
    amount_minor: int
    waiting: int
    waiting_minor: int


class WhyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Why a person pauses, ends, cancels or waives something.

    Attributes:
        reason: Stored with it and in the audit.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Forecast(msgspec.Struct, frozen=True):
    """
    What the next days are expected to collect; nothing is changed.

    Attributes:
        from_on: The first day.
        days: How many days.
        count: Debits in all.
        amount_minor: Their money.
        expected: The days on which something is expected. Returns, exclusions and holds are not known before, and not counted off.
    """

    from_on: date
    days: int
    count: int
    amount_minor: int
    expected: list[Expected]


@post("/", status_code=201, summary="Add a collection plan")
async def add(request: ApiRequest, state: State, data: JSONBody[PlanOrder]) -> CollectionPlan:
    """Its schedules begin with an order to enrol debtors. 422 where the account has a plan of that name."""
    name = printable(" ".join(data.name.split()), field="name")
    if not name:
        raise InvalidRequest("give the plan a name", field="name")
    now = state.clock()
    async with transaction(state.pool) as conn:
        await _require_account(conn, request, state, data.account)
        plan_id = await collection_plans.add(
            conn, name=name, account=data.account, options=data.options, created_by=request.user, now=now
        )
        if plan_id is None:
            raise InvalidRequest(
                "the gateway account has a collection plan of that name; give another one", field="name"
            )
        await audit.record(
            conn,
            request.auth.actor,
            "collection_plan.added",
            subject="collection_plan",
            subject_id=plan_id,
            after=facts(
                account=data.account,
                unit=data.options.interval.unit,
                every=data.options.interval.every,
                amount_minor=data.options.amount_minor,
                lifetime_max_minor=data.options.lifetime_max_minor,
                notice_days=data.options.notice_days,
                notice_required=data.options.notice_required,
            ),
            now=now,
        )
        plan = await collection_plans.by_id(conn, plan_id)
    assert plan is not None
    _log.info("collection plan added", collection_plan_id=plan_id, by=request.user)
    return plan


@get("/", summary="List collection plans, newest first", responses=described(Page[CollectionPlan]))
async def listed(
    state: State,
    status: Annotated[ScheduleState | None, Parameter(description="Only plans in this state.")] = None,
    account: Annotated[
        str | None, Parameter(description="Only plans of this gateway account.", max_length=32)
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of plans."""

    async def load(cursor: str | None, limit: int) -> Page[CollectionPlan]:
        async with reading(state.pool) as conn:
            rows = await collection_plans.listed(
                conn, state=status, account=account, before_id=decode_cursor(cursor), limit=limit + 1
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=CollectionPlan, name="collection plans", cursor=cursor, limit=limit)


@get("/{collection_plan_id:int}", summary="One collection plan, with its live schedules")
async def detail(state: State, collection_plan_id: Id) -> PlanDetail:
    """The plan, how many schedules live, and what waits to be collected."""
    async with reading(state.pool) as conn:
        plan = await _plan(conn, collection_plan_id)
        count, amount_minor = await collection_plans.counts(conn, plan.id)
        waiting = await collection_plans.waiting(conn, plan.id)
    return PlanDetail(
        plan,
        count,
        amount_minor,
        sum(items for _, items, _ in waiting),
        sum(minor for _, _, minor in waiting),
    )


@post("/{collection_plan_id:int}/pause", status_code=200, summary="Pause a collection plan")
async def pause(
    request: ApiRequest, state: State, collection_plan_id: Id, data: JSONBody[WhyRequest]
) -> CollectionPlan:
    """After the response nothing of the plan is made, ordered or submitted."""
    return await _change(request, state, collection_plan_id, "paused", reason=reason_of(data.reason))


@post("/{collection_plan_id:int}/resume", status_code=200, summary="Resume a collection plan")
async def resume(request: ApiRequest, state: State, collection_plan_id: Id) -> CollectionPlan:
    """Due dates that passed meanwhile are missed, and treated as the plan's `recover` says."""
    return await _change(request, state, collection_plan_id, "resumed", reason=None)


@post(
    "/{collection_plan_id:int}/end", status_code=200, summary="End a collection plan with all its schedules"
)
async def end(
    request: ApiRequest, state: State, collection_plan_id: Id, data: JSONBody[WhyRequest]
) -> CollectionPlan:
    """Open due items are waived. Debits that were submitted continue to their outcome."""
    return await _change(request, state, collection_plan_id, "ended", reason=reason_of(data.reason))


@get("/{collection_plan_id:int}/forecast", summary="What the next days are expected to collect")
async def forecast(
    state: State,
    collection_plan_id: Id,
    days: Annotated[int, Parameter(ge=1, le=FORECAST_DAYS_MAX, description="Days from today on.")] = 90,
) -> Forecast:
    """A dry run over all active schedules; nothing is stored."""
    today = bank_day(state.clock())
    async with reading(state.pool) as conn:
        plan = await _plan(conn, collection_plan_id)
        groups = await collection_plans.groups(conn, plan.id) if plan.state == "active" else []
        waiting = await collection_plans.waiting(conn, plan.id) if plan.state == "active" else []
    groups += [
        due_dates.ScheduleGroup(max(day_on, today), 0, max(day_on, today), count, amount_minor)
        for day_on, count, amount_minor in waiting
    ]
    expected = due_dates.forecast(
        groups,
        plan.options.interval,
        today=today,
        days=days,
        day_count_max=plan.options.day_count_max,
        day_amount_max_minor=plan.options.day_amount_max_minor,
    )
    return Forecast(
        today,
        days,
        sum(day.count for day in expected),
        sum(day.amount_minor for day in expected),
        expected,
    )


@get(
    "/{collection_plan_id:int}/schedules",
    summary="List the schedules of a collection plan, newest first",
    responses=described(Page[Schedule]),
)
async def schedules_of_plan(
    state: State,
    collection_plan_id: Id,
    status: Annotated[ScheduleState | None, Parameter(description="Only schedules in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of schedules."""

    async def load(cursor: str | None, limit: int) -> Page[Schedule]:
        async with reading(state.pool) as conn:
            plan = await _plan(conn, collection_plan_id)
            rows = await schedules.listed(
                conn, plan.id, state=status, before_id=decode_cursor(cursor), limit=limit + 1
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=Schedule, name="schedules", cursor=cursor, limit=limit)


@get(
    "/{collection_plan_id:int}/due-items",
    summary="List the due items of a collection plan, newest first",
    responses=described(Page[DueItem]),
)
async def items_of_plan(
    state: State,
    collection_plan_id: Id,
    status: Annotated[
        DueItemState | None, Parameter(description="Only due items in this state, e.g. missed.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of due items."""

    async def load(cursor: str | None, limit: int) -> Page[DueItem]:
        async with reading(state.pool) as conn:
            plan = await _plan(conn, collection_plan_id)
            rows = await due_items.listed(
                conn, plan.id, state=status, before_id=decode_cursor(cursor), limit=limit + 1
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=DueItem, name="due items", cursor=cursor, limit=limit)


_ACTIONS: Final[dict[ScheduleCause, Action]] = {
    "paused": "collection_plan.paused",
    "resumed": "collection_plan.resumed",
    "ended": "collection_plan.ended",
}


async def _change(
    request: ApiRequest, state: State, plan_id: int, cause: ScheduleCause, *, reason: str | None
) -> CollectionPlan:
    now = state.clock()
    async with transaction(state.pool) as conn:
        plan = await collection_plans.hold(conn, plan_id)
        if plan is None:
            raise NotFoundException(MISSING)
        after = msgspec.structs.replace(
            plan, state=schedule.step(plan.state, cause, what="collection plan"), state_reason=reason
        )
        await collection_plans.change(conn, after, now=now)
        ended = 0
        while cause == "ended" and (some := await schedules.of_plan(conn, plan_id, limit=_CHUNK)):
            await changes.change_schedules(conn, some, "ended", reason="plan_ended", now=now)
            ended += len(some)
        await audit.record(
            conn,
            request.auth.actor,
            _ACTIONS[cause],
            subject="collection_plan",
            subject_id=plan_id,
            reason=reason,
            before=facts(state=plan.state),
            after=facts(state=after.state, schedules_ended=ended),
            now=now,
        )
    _log.info("collection plan changed", collection_plan_id=plan_id, plan_state=after.state, by=request.user)
    return msgspec.structs.replace(after, updated_at=now)


async def _plan(conn: Connection, plan_id: int) -> CollectionPlan:
    plan = await collection_plans.by_id(conn, plan_id)
    if plan is None:
        raise NotFoundException(MISSING)
    return plan


async def _require_account(conn: Connection, request: ApiRequest, state: State, name: str) -> None:
    own = request.auth.accounts
    account = (await gateway_accounts.all_accounts(conn, settings=state.settings)).get(name)
    if account is None or (own is not None and name not in own):
        raise InvalidRequest("no gateway account has this name", field="account")
    if not account.enabled:
        raise InvalidRequest("this gateway account is not enabled", field="account")


ROUTER: Final = Router(
    "/api/collection-plans",
    route_handlers=[
        add,
        listed,
        detail,
        pause,
        resume,
        end,
        forecast,
        schedules_of_plan,
        items_of_plan,
    ],
    tags=["recurring collection"],
)
