"""
`/api/bulk-orders`: one action for everything that matches a filter.

Each action needs the permission of its single order. Callers who are limited to some gateway accounts give one of them as filter, or a collection
plan of one of them.

With `dry_run` the response says what would be done to how many rows and how much money. Otherwise an order is stored, and the worker goes through the
rows. `GET /api/bulk-orders/{id}` shows the progress, `GET /api/bulk-orders/{id}/items` the result of each row, `POST .../stop` stops it.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import facts
from tether_core.bulk_orders import (
    PERMISSIONS,
    BulkAction,
    BulkOrderState,
    DeliveryFilter,
    DueItemFilter,
    Filter,
    ScheduleFilter,
    account_of,
    filters_of,
    require_recent,
)
from tether_core.errors import IllegalStep, InvalidRequest, Unavailable
from tether_core.jobs import BULK
from tether_stores import audit, bulk_orders
from tether_stores.accounts import gateway_accounts
from tether_stores.bulk_orders import BulkItem, BulkOrder, BulkTotal
from tether_stores.jobs.queue import wake
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.recurring import collection_plans
from tether_stores.subscribers import subscribers
from tether_stores.telemetry import logger

from tether_web import order_keys
from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import (
    LIMIT,
    Cursor,
    Limit,
    Page,
    decode_cursor,
    decode_timed_cursor,
    encode_timed_cursor,
    page,
)
from tether_web.http.parameters import Id, reason_of
from tether_web.http.permissions import require_role
from tether_web.http.scopes import require_account
from tether_web.order_keys import KeyHeader

__all__ = ["ROUTER", "BulkOrderDetail", "BulkOrderRequest", "BulkPreview"]


# A preview judges so many rows at most, and says that there are more.
PREVIEW_MAX: Final = 10_000
_CHUNK: Final = 500
# Pages that are read at most, of which each may have looked at thousands of rows in vain.
_PAGES_MAX: Final = 40
_log = logger("bulk_orders")


class BulkOrderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    An order to do one thing to everything that matches.

    Attributes:
        action: "replay" notifications, "inquire", "void" or "refund" payments, "lift" blacklist entries, "withdraw" uploads,
            "pause_schedules", "resume_schedules" or "end_schedules", "recover" or "waive" due items, "redeliver" deliveries.
        filters: Which rows, by the parameters of their list, such as {"run": "7"}; at least one.
        reason: Why; stored with the order. Not needed for a dry run.
        dry_run: Only say what would be done to how many rows and how much money.
        previewed: `previewed` of the preview, at most an hour old; rows that were added after it are then not part of the order.
    """

    action: BulkAction
    filters: dict[str, str]
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
    dry_run: bool = False
    previewed: Annotated[str, msgspec.Meta(max_length=100)] | None = None


class BulkPreview(msgspec.Struct, frozen=True):
    """
    What an order would do now; nothing was changed.

    Attributes:
        action: What would be done.
        totals: Rows by what would become of them and by currency.
        more: Whether there are, or may be, more rows than were judged.
        previewed: Give it with the order, within an hour; the order is then about no row that was added later.
    """

    action: BulkAction
    totals: list[BulkTotal]
    more: bool
    previewed: str


class BulkOrderDetail(msgspec.Struct, frozen=True):
    """
    An order with its progress.

    Attributes:
        order: The order.
        totals: Rows so far by what became of them and by currency.
    """

    order: BulkOrder
    totals: list[BulkTotal]


@post("/", status_code=202, summary="Do one thing to everything that matches, or preview it")
async def order(
    request: ApiRequest,
    state: State,
    data: JSONBody[BulkOrderRequest],
    idempotency_key: KeyHeader = None,  # noqa: ARG001 - read from the request; here for the description
) -> Response[BulkOrder | BulkPreview]:
    """Each row is judged when it is its turn, by the rules of the single order. Rows that are added later are not part of it."""
    require_role(request.auth.role, PERMISSIONS[data.action])
    filters = filters_of(data.action, data.filters)
    async with reading(state.pool) as conn:
        await _require_scope(conn, request, filters)
    now = state.clock()
    if data.dry_run:
        async with reading(state.pool) as conn:
            return Response(await _preview(conn, data.action, filters, state=state), status_code=200)
    reason = reason_of(data.reason)
    previewed = None if data.previewed is None else decode_timed_cursor(data.previewed)
    key = await order_keys.read(request)
    async with transaction(state.pool) as conn:
        if (before := await order_keys.find(conn, key)) is not None:
            return before
        if previewed is not None:
            require_recent(previewed[0], now=now)
        given = {name: value for name, value in data.filters.items() if value}
        made = await bulk_orders.add(
            conn,
            data.action,
            given,
            before=await _newest(conn, filters, now=now) if previewed is None else previewed,
            reason=reason,
            actor=request.auth.actor,
            now=now,
        )
        await audit.record(
            conn,
            request.auth.actor,
            "bulk.ordered",
            subject="bulk_order",
            subject_id=made,
            reason=reason,
            after=facts(
                action=data.action, filters=" ".join(f"{name}={value}" for name, value in given.items())
            ),
            now=now,
        )
        found = await bulk_orders.by_id(conn, made)
        assert found is not None
        location = f"/api/bulk-orders/{made}"
        response = await order_keys.placed(conn, key, result=found, status=202, location=location, now=now)
    _log.info("bulk order placed", bulk_order_id=made, action=data.action, by=request.user)
    try:
        await wake(state.billing_wake_up_queue, BULK, slot=0)
    except Unavailable as exc:
        _log.warning("wake-up failed", why=str(exc))
    return response


@get("/", summary="List bulk orders, newest first", responses=described(Page[BulkOrder]))
async def listed(
    state: State,
    action: Annotated[BulkAction | None, Parameter(description="Only orders of this action.")] = None,
    status: Annotated[BulkOrderState | None, Parameter(description="Only orders in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of orders."""

    async def load(cursor: str | None, limit: int) -> Page[BulkOrder]:
        async with reading(state.pool) as conn:
            rows = await bulk_orders.listed(
                conn, limit=limit + 1, before=decode_cursor(cursor), action=action, state=status
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=BulkOrder, name="bulk orders", cursor=cursor, limit=limit)


@get("/{bulk_order_id:int}", summary="One bulk order, with its progress")
async def detail(state: State, bulk_order_id: Id) -> BulkOrderDetail:
    """The order, and its rows by what became of them."""
    async with reading(state.pool) as conn:
        found = await bulk_orders.by_id(conn, bulk_order_id)
        if found is None:
            raise NotFoundException("There is no such bulk order")
        return BulkOrderDetail(found, await bulk_orders.progress(conn, bulk_order_id))


@get(
    "/{bulk_order_id:int}/items",
    summary="The rows of a bulk order, with their results",
    responses=described(Page[BulkItem]),
)
async def items(
    state: State,
    bulk_order_id: Id,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page, the newest row first."""
    async with reading(state.pool) as conn:
        if await bulk_orders.by_id(conn, bulk_order_id) is None:
            raise NotFoundException("There is no such bulk order")

    async def load(cursor: str | None, limit: int) -> Page[BulkItem]:
        async with reading(state.pool) as conn:
            rows = await bulk_orders.items(conn, bulk_order_id, limit=limit + 1, before=decode_cursor(cursor))
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    name = f"bulk order {bulk_order_id}"
    return await in_form(form, load, row=BulkItem, name=name, cursor=cursor, limit=limit)


@post("/{bulk_order_id:int}/stop", status_code=200, summary="Stop a bulk order")
async def stop(request: ApiRequest, state: State, bulk_order_id: Id) -> BulkOrder:
    """The batch under way is finished; what was done stays done. It needs the permission of the order's action."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        found = await bulk_orders.by_id(conn, bulk_order_id)
        if found is None:
            raise NotFoundException("There is no such bulk order")
        require_role(request.auth.role, PERMISSIONS[found.action])
        is_stopped = await bulk_orders.stop(conn, bulk_order_id, now=now)
        found = await bulk_orders.by_id(conn, bulk_order_id)
        assert found is not None
        if not is_stopped:
            raise IllegalStep("bulk order", state=found.state, step="stopped")
        await audit.record(
            conn,
            request.auth.actor,
            "bulk.stopped",
            subject="bulk_order",
            subject_id=bulk_order_id,
            before=facts(state="working"),
            after=facts(state="stopped"),
            now=now,
        )
    _log.info("bulk order stopped", bulk_order_id=bulk_order_id, by=request.user)
    return found


async def _require_scope(conn: Connection, request: ApiRequest, filters: Filter) -> None:
    """Refuse what is outside the caller's gateway accounts, and an order about a plan or a subscriber that does not exist."""
    own = request.auth.accounts
    if isinstance(filters, ScheduleFilter | DueItemFilter):
        plan = await collection_plans.by_id(conn, filters.collection_plan)
        if plan is None or (own is not None and plan.account not in own):
            raise InvalidRequest("there is no such collection plan", field="filters")
        return
    require_account(own, account_of(filters))
    if isinstance(filters, DeliveryFilter) and await subscribers.by_id(conn, filters.subscriber) is None:
        raise InvalidRequest("there is no such subscriber", field="filters")


async def _newest(conn: Connection, filters: Filter, *, now: datetime) -> tuple[datetime, int]:
    """Time and row behind which everything lies that matches now."""
    first = await bulk_orders.matching(conn, filters, before=None, limit=1, now=now)
    if first.ids:
        return now, first.ids[0] + 1
    return now, first.last[1] if first.last else 0


async def _preview(conn: Connection, action: BulkAction, filters: Filter, *, state: State) -> BulkPreview:
    now, before, seen = state.clock(), None, 0
    known = await gateway_accounts.all_accounts(conn, settings=state.settings)
    accounts = frozenset(name for name, account in known.items() if account.enabled)
    newest = await _newest(conn, filters, now=now)
    counts: Counter[tuple[str | None, str | None]] = Counter()
    money: Counter[tuple[str | None, str | None]] = Counter()
    for _ in range(_PAGES_MAX):
        found = await bulk_orders.matching(conn, filters, before=before, limit=_CHUNK, now=now)
        for row in await bulk_orders.judged(conn, action, found.ids, now=now, accounts=accounts, lock=False):
            key = (None if row.refusal is None else row.refusal.code, row.currency)
            counts[key] += 1
            money[key] += row.amount_minor or 0
        seen += len(found.ids)
        before = found.last
        if before is None or seen >= PREVIEW_MAX:
            break
    totals = [BulkTotal(*key, counts[key], money[key]) for key in _in_order(counts)]
    return BulkPreview(action, totals, more=before is not None, previewed=encode_timed_cursor(*newest))


def _in_order(
    keys: Iterable[tuple[str | None, str | None]],
) -> list[tuple[str | None, str | None]]:
    return sorted(keys, key=lambda key: (key[0] or "", key[1] or ""))


ROUTER: Final = Router(
    "/api/bulk-orders", route_handlers=[order, listed, detail, items, stop], tags=["bulk orders"]
)
