"""
`GET /api/reconciliation-differences[/{id}]`: list reconciliation differences; `POST .../acknowledge`: close one.

`tether_core.reconciliation.differences` defines the kinds and what to do about each; every line contains it.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from prometheus_client import Gauge
from tether_core.audit import facts
from tether_core.reconciliation.differences import DifferenceKind
from tether_stores import audit
from tether_stores.postgres import Connection, connection, transaction
from tether_stores.reconciliation import differences
from tether_stores.reconciliation.differences import DifferenceLine
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import BIGINT_MAX, Id, printable

__all__ = ["OBSERVED", "ROUTER", "Acknowledgement", "observe"]


_OPEN: Final = Gauge(
    "tether_reconciliation_differences",
    "Open reconciliation differences by kind, as last measured by /metrics; each needs a person.",
    ["kind"],
    multiprocess_mode="mostrecent",
)
OBSERVED: Final = frozenset({"tether_reconciliation_differences"})
_log = logger("differences")


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A person's finding about a difference.

    Attributes:
        reason: What was found; stored with the line.
        order_again: For a refund or void that failed later: confirms that it did not happen, so the debit may be refunded again.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    order_again: bool = False


@get("/", summary="List reconciliation differences, newest first", responses=described(Page[DifferenceLine]))
async def listed(
    state: State,
    kind: Annotated[DifferenceKind | None, Parameter(description="Only lines of this kind.")] = None,
    attempt_id: Annotated[
        int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only lines about this debit.")
    ] = None,
    status: Annotated[
        Literal["open", "all"], Parameter(description="`all` includes acknowledged and resolved lines.")
    ] = "open",
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of lines."""

    async def load(cursor: str | None, limit: int) -> Page[DifferenceLine]:
        async with connection(state.pool) as conn:
            rows = await differences.listed(
                conn,
                limit=limit + 1,
                before=decode_cursor(cursor),
                kind=kind,
                attempt_id=attempt_id,
                open_only=status == "open",
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=DifferenceLine, name="differences", cursor=cursor, limit=limit)


@get("/{line_id:int}", summary="One reconciliation difference")
async def detail(state: State, line_id: Id) -> DifferenceLine:
    """One line."""
    async with connection(state.pool) as conn:
        found = await differences.by_id(conn, line_id)
    if found is None:
        raise NotFoundException("There is no such reconciliation difference")
    return found


@post("/{line_id:int}/acknowledge", status_code=200, summary="Acknowledge a reconciliation difference")
async def acknowledge(
    request: ApiRequest, state: State, line_id: Id, data: JSONBody[Acknowledgement]
) -> DifferenceLine:
    """The line is closed with the reason and the name of the key; only new facts open it again."""
    reason = printable(" ".join(data.reason.split()), field="reason")
    now = state.clock()
    async with transaction(state.pool) as conn:
        found = await differences.acknowledge(
            conn,
            line_id,
            by=request.user,
            reason=reason,
            order_again=data.order_again,
            now=now,
        )
        if found is None:
            raise NotFoundException("There is no such reconciliation difference")
        await audit.record(
            conn,
            request.auth.actor,
            "difference.acknowledged",
            subject="difference",
            subject_id=line_id,
            reason=reason,
            after=facts(kind=found.kind, order_again=data.order_again),
            now=now,
        )
    _log.info(
        "reconciliation difference acknowledged",
        difference_id=line_id,
        kind=found.kind,
        by=request.user,
        order_again=data.order_again,
    )
    return found


async def observe(conn: Connection) -> None:
    """Refresh the metric of open differences."""
    for kind, count in (await differences.counts(conn)).items():
        _OPEN.labels(kind).set(count)


ROUTER: Final = Router(
    "/api/reconciliation-differences", route_handlers=[listed, detail, acknowledge], tags=["reconciliation"]
)
