"""
Orders for status inquiries: `POST .../inquiry` of a debit, a run or an upload, and `GET /api/inquiries/{id}` for the progress.

An order makes a row for each debit. The worker inquires within the account's rate limit, and the results go through the inbox.
"""

from typing import Annotated, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import facts
from tether_core.inquiry_orders import Inquired, Scope
from tether_stores import audit, inquiry_orders
from tether_stores.inquiry_orders import InquiredAttempt, InquiryOrder
from tether_stores.postgres import reading, transaction
from tether_stores.telemetry import logger

from tether_web import order_keys
from tether_web.http.auth import ApiRequest
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import Id, reason_of
from tether_web.order_keys import KeyHeader

__all__ = ["ROUTERS", "InquiryRequest"]


_NAMES: Final[dict[Scope, str]] = {"attempt": "billing attempt", "run": "billing run", "upload": "upload"}
_log = logger("inquiries")


class InquiryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    An order for status inquiries.

    Attributes:
        reason: Why; stored with the order, the name of your key and the time.
        what: For a run or an upload: "open" for debits that are pending or of unknown outcome, "submitted" for all debits that
            were submitted. A single debit is inquired in any state.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    what: Inquired = "open"


@post("/inquiry", status_code=202, summary="Inquire the status of a debit at the gateway now")
async def of_attempt(
    request: ApiRequest,
    state: State,
    attempt_id: Id,
    data: JSONBody[InquiryRequest],
    idempotency_key: KeyHeader = None,  # noqa: ARG001 - read from the request; here for the description
) -> Response[InquiryOrder]:
    """In any state, even after its automatic inquiries have ended; refused if the debit was never submitted."""
    return await _order(request, state, "attempt", attempt_id, data)


@post("/inquiry", status_code=202, summary="Inquire the status of a run's debits at the gateway now")
async def of_run(
    request: ApiRequest,
    state: State,
    run_id: Id,
    data: JSONBody[InquiryRequest],
    idempotency_key: KeyHeader = None,  # noqa: ARG001 - read from the request; here for the description
) -> Response[InquiryOrder]:
    """At most 10,000 debits in an order, oldest first; `more` says that there are further ones."""
    return await _order(request, state, "run", run_id, data)


@post("/inquiry", status_code=202, summary="Inquire the status of an upload's debits at the gateway now")
async def of_upload(
    request: ApiRequest,
    state: State,
    upload_id: Id,
    data: JSONBody[InquiryRequest],
    idempotency_key: KeyHeader = None,  # noqa: ARG001 - read from the request; here for the description
) -> Response[InquiryOrder]:
    """As of a run, for all runs of the upload."""
    return await _order(request, state, "upload", upload_id, data)


@get("/{order_id:int}", summary="One order for status inquiries, with its progress")
async def detail(state: State, order_id: Id) -> InquiryOrder:
    """The order with its counts."""
    async with reading(state.pool) as conn:
        found = await inquiry_orders.by_id(conn, order_id)
    if found is None:
        raise NotFoundException("There is no such inquiry")
    return found


@get("/{order_id:int}/attempts", summary="The debits of an order for status inquiries")
async def attempts(
    state: State,
    order_id: Id,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
) -> Page[InquiredAttempt]:
    """One page, in the order in which the debits were made."""
    async with reading(state.pool) as conn:
        if await inquiry_orders.by_id(conn, order_id) is None:
            raise NotFoundException("There is no such inquiry")
        rows = await inquiry_orders.listed(conn, order_id, after=decode_cursor(cursor) or 0, limit=limit + 1)
    return page(rows, limit=limit, last_id=rows[:limit][-1].attempt_id if rows else None)


async def _order(
    request: ApiRequest, state: State, scope: Scope, subject_id: int, data: InquiryRequest
) -> Response[InquiryOrder]:
    reason = reason_of(data.reason)
    now = state.clock()
    key = await order_keys.read(request)
    async with transaction(state.pool) as conn:
        if (before := await order_keys.find(conn, key)) is not None:
            return before
        made = await inquiry_orders.order(
            conn, scope, subject_id, what=data.what, ordered_by=request.user, reason=reason, now=now
        )
        if made is None:
            raise NotFoundException(f"There is no such {_NAMES[scope]}")
        await audit.record(
            conn,
            request.auth.actor,
            "inquiry.ordered",
            subject=scope,
            subject_id=subject_id,
            reason=reason,
            after=facts(inquiry_id=made.id, what=data.what, debits=made.debits),
            now=now,
        )
        location = f"/api/inquiries/{made.id}"
        response = await order_keys.placed(conn, key, result=made, status=202, location=location, now=now)
    _log.info("inquiry ordered", inquiry_id=made.id, scope=scope, subject_id=subject_id, debits=made.debits)
    return response


ROUTERS: Final = (
    Router("/api/billing-attempts/{attempt_id:int}", route_handlers=[of_attempt], tags=["reconciliation"]),
    Router("/api/billing-runs/{run_id:int}", route_handlers=[of_run], tags=["reconciliation"]),
    Router("/api/uploads/{upload_id:int}", route_handlers=[of_upload], tags=["reconciliation"]),
    Router("/api/inquiries", route_handlers=[detail, attempts], tags=["reconciliation"]),
)
