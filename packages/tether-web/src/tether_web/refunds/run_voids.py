"""
`POST /api/billing-runs/{id}/void`: void the debits of a whole run that can still be voided.

With `dry_run` the response counts the debits that would be voided, and those that would not, by reason. Otherwise an order is stored,
and the worker goes through the run's debits. `GET /api/run-voids/{id}` shows the progress, `GET /api/run-voids/{id}/debits` the outcome
of each debit.
"""

from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import facts
from tether_core.errors import Unavailable
from tether_core.holds import refund_hold
from tether_core.jobs import VOID_RUNS
from tether_core.refunds.run_voids import VOID_REFUSALS, VoidRefusalCode, judge, require_voidable
from tether_stores import audit, holds
from tether_stores.billing import billing_runs
from tether_stores.billing.billing_runs import Run
from tether_stores.jobs.queue import wake
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.refunds import run_voids
from tether_stores.refunds.run_voids import RunVoid, VoidedDebit
from tether_stores.telemetry import logger

from tether_web import order_keys
from tether_web.billing.runs import DebitTotal
from tether_web.http.auth import ApiRequest
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import Id, printable, reason_of
from tether_web.order_keys import KeyHeader
from tether_web.refunds.refunds import require_account

__all__ = ["ROUTERS", "RunVoidDetail", "RunVoidOrder", "RunVoidPreview"]


_CHUNK: Final = 1_000
_log = logger("run_voids")


class RunVoidOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    An order to void a run.

    Attributes:
        reason: Why; stored with the order, the name of your key and the time.
        usage: The text on the debtors' bank statements, if the bank shows it.
        dry_run: Only count the debits that would be voided, and those that would not, by reason.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    usage: Annotated[str, msgspec.Meta(min_length=1, max_length=140)] = "Void"
    dry_run: bool = False


class NotVoided(msgspec.Struct, frozen=True):
    """
    Debits that are not voided, for one reason.

    Attributes:
        code: The reason, a stable code.
        text: The reason as a sentence, with what to do.
        count: Number of debits.
        amount_minor: Their total.
    """

    code: VoidRefusalCode
    text: str
    count: int
    amount_minor: int


class RunVoidPreview(msgspec.Struct, frozen=True):
    """
    What voiding a run would do now; nothing was changed.

    Attributes:
        run_id: The run.
        voids: Debits that would be voided; the gateway decides on each.
        refused: Debits that would not be voided, by reason.
    """

    run_id: int
    voids: DebitTotal
    refused: list[NotVoided]


class RunVoidDetail(msgspec.Struct, frozen=True):
    """
    An order to void a run, with its progress.

    Attributes:
        order: The order.
        debits: All planned debits of the run.
        judged: Debits among them that were judged so far.
        voids: Debits with a void, by its state: "approved" once the debit is voided, "declined" or "error" if the gateway
            refused it or it was not submitted.
        refused: Debits without a void, by reason.
    """

    order: RunVoid
    debits: DebitTotal
    judged: DebitTotal
    voids: dict[str, DebitTotal]
    refused: list[NotVoided]


@post("/void", status_code=202, summary="Void the debits of a run, or preview it")
async def void(
    request: ApiRequest,
    state: State,
    run_id: Id,
    data: JSONBody[RunVoidOrder],
    idempotency_key: KeyHeader = None,  # noqa: ARG001 - read from the request; here for the description
) -> Response[RunVoid | RunVoidPreview]:
    """
    Refused while the run submits debits: pause or cancel it first.

    While an order for the run is active, a repeated order returns the active one. Only debits submitted today can be
    voided; the others are listed with the reason.
    """
    reason = reason_of(data.reason)
    usage = printable(data.usage, field="usage")
    now = state.clock()
    key = await order_keys.read(request)
    if data.dry_run:
        async with reading(state.pool) as conn:
            run = await billing_runs.by_id(conn, run_id)
            if run is None:
                raise NotFoundException("There is no such billing run")
            preview = await _preview(conn, run, state=state)
        return Response(preview, status_code=200)
    async with transaction(state.pool) as conn:
        if (before := await order_keys.find(conn, key)) is not None:
            return before
        run = await billing_runs.hold(conn, run_id)
        if run is None:
            raise NotFoundException("There is no such billing run")
        active = await run_voids.working(conn, run_id)
        if active is not None:
            location = f"/api/run-voids/{active.id}"
            return await order_keys.placed(conn, key, result=active, status=200, location=location, now=now)
        require_voidable(run.state)
        await require_account(conn, state, run.account)
        made = await run_voids.add(conn, run_id, usage=usage, reason=reason, ordered_by=request.user, now=now)
        assert made is not None  # the run is locked, so no other order could be made
        await audit.record(
            conn,
            request.auth.actor,
            "run.voided",
            subject="run",
            subject_id=run_id,
            reason=reason,
            after=facts(run_void_id=made),
            now=now,
        )
        order = await run_voids.by_id(conn, made)
        assert order is not None
        location = f"/api/run-voids/{made}"
        response = await order_keys.placed(conn, key, result=order, status=202, location=location, now=now)
    _log.info("run void ordered", run_void_id=made, run_id=run_id, by=request.user)
    try:
        await wake(state.billing_wake_up_queue, VOID_RUNS, slot=0)
    except Unavailable as exc:
        _log.warning("wake-up failed", why=str(exc))
    return response


@get("/voids", summary="Orders to void a run, newest first")
async def of_run(state: State, run_id: Id) -> list[RunVoid]:
    """At most a hundred orders; at most one is active."""
    async with reading(state.pool) as conn:
        if await billing_runs.by_id(conn, run_id) is None:
            raise NotFoundException("There is no such billing run")
        return await run_voids.of_run(conn, run_id)


@get("/{void_id:int}", summary="One order to void a run, with its progress")
async def detail(state: State, void_id: Id) -> RunVoidDetail:
    """The order, and its debits by outcome."""
    async with reading(state.pool) as conn:
        order = await run_voids.by_id(conn, void_id)
        if order is None:
            raise NotFoundException("There is no such order to void a run")
        found = await run_voids.progress(conn, void_id)
        planned = await billing_runs.progress(conn, order.run_id)
    voids, refused = dict[str, DebitTotal](), dict[VoidRefusalCode, DebitTotal]()
    for some in found:
        if some.refused is not None:
            refused[some.refused] = DebitTotal(some.count, some.amount_minor)
        elif some.void_state is not None:
            voids[some.void_state] = DebitTotal(some.count, some.amount_minor)
    return RunVoidDetail(
        order,
        _sum([DebitTotal(some.count, some.amount_minor) for some in planned]),
        _sum([*voids.values(), *refused.values()]),
        voids,
        _refused(refused),
    )


@get("/{void_id:int}/debits", summary="The debits of an order to void a run, with their outcomes")
async def debits(
    state: State,
    void_id: Id,
    what: Annotated[
        Literal["all", "refused"],
        Parameter(description="`refused`: only debits that are not voided, each with the reason."),
    ] = "all",
    cursor: Cursor = None,
    limit: Limit = LIMIT,
) -> Page[VoidedDebit]:
    """One page, in the order in which the debits were made."""
    async with reading(state.pool) as conn:
        if await run_voids.by_id(conn, void_id) is None:
            raise NotFoundException("There is no such order to void a run")
        rows = await run_voids.listed(
            conn, void_id, after=decode_cursor(cursor) or 0, limit=limit + 1, refused_only=what == "refused"
        )
    return page(rows, limit=limit, last_id=rows[:limit][-1].attempt_id if rows else None)


async def _preview(conn: Connection, run: Run, *, state: State) -> RunVoidPreview:
    require_voidable(run.state)
    now = state.clock()
    voids, refused, after = DebitTotal(0, 0), dict[VoidRefusalCode, DebitTotal](), 0
    while found := await run_voids.debits(conn, run.id, after=after, limit=_CHUNK):
        after = found[-1].attempt.id
        facts = await holds.of_refunds(conn, [debit.attempt.id for debit in found], now=now)
        for debit in found:
            item = DebitTotal(1, debit.attempt.amount_minor)
            refusal = judge(
                debit.attempt,
                submitted_at=debit.submitted_at,
                now=now,
                is_submitted=debit.is_submitted,
                ordered=debit.ordered,
                hold=refund_hold(facts[debit.attempt.id]),
            )
            if refusal is None:
                voids = _sum([voids, item])
            else:
                refused[refusal.code] = _sum([refused.get(refusal.code, DebitTotal(0, 0)), item])
    return RunVoidPreview(run.id, voids, _refused(refused))


def _sum(sums: list[DebitTotal]) -> DebitTotal:
    return DebitTotal(sum(item.count for item in sums), sum(item.amount_minor for item in sums))


def _refused(sums: dict[VoidRefusalCode, DebitTotal]) -> list[NotVoided]:
    return [
        NotVoided(code, VOID_REFUSALS[code], found.count, found.amount_minor)
        for code, found in sorted(sums.items())
    ]


ROUTERS: Final = (
    Router("/api/billing-runs/{run_id:int}", route_handlers=[void, of_run], tags=["refunds and voids"]),
    Router("/api/run-voids", route_handlers=[detail, debits], tags=["refunds and voids"]),
)
