"""
Refunds and voids: `POST /api/billing-attempts/{id}/refund` and `.../void`.

An order stores a row; the worker submits it. While an order for a debit is active, the same order again returns the active one, and
an order of the other kind is refused. With an `Idempotency-Key` a repeated request gives the result of the first, even after that
order has ended. `GET /api/billing-attempts/{id}/refunds` and `GET /api/refunds` list the orders.
"""

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import facts
from tether_core.errors import IllegalStep, InvalidRequest, MoneyHeld, Unavailable
from tether_core.holds import refund_hold
from tether_core.jobs import SUBMIT_REFUNDS
from tether_core.refunds import allowance
from tether_core.refunds import refund as refund_rules
from tether_core.refunds.allowance import RefundKind
from tether_core.refunds.refund import RefundState
from tether_stores import audit, holds
from tether_stores.accounts import gateway_accounts
from tether_stores.jobs.queue import wake
from tether_stores.payments import billing_attempts
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.reconciliation import gateway_refunds
from tether_stores.reconciliation.gateway_refunds import GatewayRefund
from tether_stores.refunds import orders as orders_store
from tether_stores.refunds import refunds
from tether_stores.refunds.refunds import ListedRefund
from tether_stores.telemetry import logger
from tether_stores.traces import parents

from tether_web import order_keys
from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import Id, printable
from tether_web.order_keys import KeyHeader

__all__ = ["ROUTERS", "RefundOrder", "require_account"]


_STEPS: Final[dict[RefundKind, str]] = {"refund": "refunded", "void": "voided"}
_log = logger("refunds")


class RefundOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    An order to refund or void a debit, always its full amount.

    Attributes:
        usage: The text on the debtor's bank statement.
        reason: Why; stored in the audit.
    """

    usage: Annotated[str, msgspec.Meta(min_length=1, max_length=140)] = "Refund"
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


@post("/refund", status_code=202, summary="Refund a collected debit")
async def refund(
    request: ApiRequest,
    state: State,
    attempt_id: Id,
    data: JSONBody[RefundOrder],
    idempotency_key: KeyHeader = None,  # noqa: ARG001 - read from the request; here for the description
) -> Response[ListedRefund]:
    """Refused while the bank may still return the debit, and permanently after a chargeback or return."""
    return await _order(request, state, attempt_id, kind="refund", data=data)


@post("/void", status_code=202, summary="Void a debit of today, before it goes to the banks")
async def void(
    request: ApiRequest,
    state: State,
    attempt_id: Id,
    data: JSONBody[RefundOrder],
    idempotency_key: KeyHeader = None,  # noqa: ARG001 - read from the request; here for the description
) -> Response[ListedRefund]:
    """Possible on the day the debit was submitted; the gateway decides."""
    return await _order(request, state, attempt_id, kind="void", data=data)


@get("/refunds", summary="Refunds and voids of a debit, newest first")
async def of_attempt(state: State, attempt_id: Id) -> list[ListedRefund]:
    """All orders. Two are active only where the gateway approved one after all that had failed."""
    async with reading(state.pool) as conn:
        if await billing_attempts.by_id(conn, attempt_id) is None:
            raise NotFoundException("There is no such billing attempt")
        return await refunds.of_attempt(conn, attempt_id)


@get("/gateway-refunds", summary="Refunds and voids of a debit made in the gateway's back office")
async def of_gateway(state: State, attempt_id: Id) -> list[GatewayRefund]:
    """All that notifications and reports name, newest first; while one is reported or approved, new orders are refused."""
    async with reading(state.pool) as conn:
        if await billing_attempts.by_id(conn, attempt_id) is None:
            raise NotFoundException("There is no such billing attempt")
        return await gateway_refunds.of_attempt(conn, attempt_id)


@get(
    "/",
    summary="List refunds and voids, newest first",
    responses=described(Page[ListedRefund]),
)
async def listed(
    state: State,
    status: Annotated[RefundState | None, Parameter(description="Only orders in this state.")] = None,
    account: Annotated[
        str | None, Parameter(description="Only orders of this gateway account.", max_length=32)
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of orders."""

    async def load(cursor: str | None, limit: int) -> Page[ListedRefund]:
        async with reading(state.pool) as conn:
            rows = await refunds.listed(
                conn, limit=limit + 1, before=decode_cursor(cursor), state=status, account=account
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=ListedRefund, name="refunds", cursor=cursor, limit=limit)


async def _order(
    request: ApiRequest, state: State, attempt_id: int, *, kind: RefundKind, data: RefundOrder
) -> Response[ListedRefund]:
    usage = printable(data.usage, field="usage")
    now = state.clock()
    key = await order_keys.read(request)
    location = f"/api/billing-attempts/{attempt_id}/refunds"
    async with transaction(state.pool) as conn:
        if (before := await order_keys.find(conn, key)) is not None:
            return before
        held = await refunds.hold_debit(conn, attempt_id)
        if held is None:
            raise NotFoundException("There is no such billing attempt")
        active = await _active_refund(conn, attempt_id)
        if active is not None:
            if active.kind != kind:
                raise IllegalStep("billing attempt", state=f"{active.kind} ordered", step=_STEPS[kind])
            return await order_keys.placed(conn, key, result=active, status=200, location=location, now=now)
        verdict = allowance.judge(kind, held.debit, submitted_at=held.submitted_at, now=now)
        if not verdict.allowed:
            why = allowance.sentence(kind, verdict)
            raise IllegalStep("billing attempt", state=verdict.why, step=_STEPS[kind], why=why)
        hold = refund_hold((await holds.of_refunds(conn, [attempt_id], now=now))[attempt_id])
        if hold is not None:
            raise MoneyHeld(hold.code, why=hold.text, step=_STEPS[kind])
        await require_account(conn, state, held.debit.account)
        made = await orders_store.place(conn, held, kind=kind, usage=usage, ordered_by=request.user, now=now)
        assert made is not None  # the debit is locked, so no other order could be made
        await parents.remember(conn, "refund", [made], now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "refund.ordered" if kind == "refund" else "void.ordered",
            subject="attempt",
            subject_id=attempt_id,
            reason=data.reason,
            before=facts(status=held.debit.state),
            after=facts(refund_id=made, amount_minor=held.debit.amount_minor, currency=held.debit.currency),
            now=now,
        )
        order = await _active_refund(conn, attempt_id)
        assert order is not None
        response = await order_keys.placed(conn, key, result=order, status=202, location=location, now=now)
    _log.info("refund ordered", refund_id=made, attempt_id=attempt_id, kind=kind)
    await _wake(state)
    return response


async def _active_refund(conn: Connection, attempt_id: int) -> ListedRefund | None:
    orders = await refunds.of_attempt(conn, attempt_id)
    return next((order for order in orders if order.status in refund_rules.ACTIVE), None)


async def require_account(conn: Connection, state: State, name: str) -> None:
    """
    Refuse an order for a debit whose gateway account is not configured or not enabled.

    Raises:
        InvalidRequest: when it is not configured, or not enabled.
    """
    account = (await gateway_accounts.all_accounts(conn, settings=state.settings)).get(name)
    if account is None:
        raise InvalidRequest(f"the gateway account {name} of this debit is not configured", field="account")
    if not account.enabled:
        raise InvalidRequest(f"the gateway account {name} of this debit is not enabled", field="account")


async def _wake(state: State) -> None:
    try:
        await wake(state.billing_wake_up_queue, SUBMIT_REFUNDS, slot=0)
    except Unavailable as exc:
        _log.warning("wake-up failed", why=str(exc))


ROUTERS: Final = (
    Router(
        "/api/billing-attempts/{attempt_id:int}",
        route_handlers=[refund, void, of_attempt, of_gateway],
        tags=["refunds and voids"],
    ),
    Router("/api/refunds", route_handlers=[listed], tags=["refunds and voids"]),
)
