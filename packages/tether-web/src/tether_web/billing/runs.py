"""
Billing runs and their progress; pause, resume, cancel.

`GET /api/billing-runs/{id}` shows the progress of a run, and `POST .../pause`, `.../resume` and `.../cancel` control it. After the response
to a pause no further submission begins.
"""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import Action, facts
from tether_core.billing import auto_pause, dual_control
from tether_core.billing import run as billing_run
from tether_core.billing.overrides import Override
from tether_core.billing.run import RunCause, RunState
from tether_core.billing.run_options import RunOptions
from tether_core.errors import Unavailable
from tether_core.jobs import PLAN, SUBMIT, Job
from tether_stores import audit, limits
from tether_stores.billing import billing_runs
from tether_stores.billing.billing_runs import Run
from tether_stores.jobs.queue import wake
from tether_stores.limits import LimitStatus
from tether_stores.payments import billing_run_counts
from tether_stores.postgres import Connection, connection, reading, transaction
from tether_stores.recurring import collection_plans
from tether_stores.telemetry import logger

from tether_web.billing.refusals import Refusals, refusals
from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import BIGINT_MAX, Id, OptionalReason, reason_of

__all__ = ["ROUTERS", "DebitTotal", "RunDetail", "RunResponse", "response", "wake_worker"]

_log = logger("billing")


class RunResponse(msgspec.Struct, frozen=True):
    """
    A billing run.

    Attributes:
        id: The run.
        upload_id: The upload with its debtors.
        account: The gateway account.
        state: See docs/concepts/billing.md.
        options: Its options.
        count: Debits planned so far.
        amount_minor: Total of the planned debits.
        skipped: Debtors not billed, by verdict.
        warning: The warning of the auto-pause, or null.
        pause_reason: Why it is paused, or null.
        created_by: The name of the key that ordered it.
        created_at: When it was ordered.
        updated_at: When it last changed.
        finished_at: When its last debit had ended, or null.
        again: Whether it bills a due item of its upload again: only debtors who have no open, collected, returned, refunded or
            voided debit for it.
        overrides: Verdicts that a person has overridden, with who, when and why.
        awaits_release: Whether it waits for a second person, who resumes it; who ordered it cannot.
        released_by: The second person who released it, or null.
    """

    id: int
    upload_id: int
    account: str
    state: RunState
    options: RunOptions
    count: int
    amount_minor: int
    skipped: dict[str, int]
    warning: str | None
    pause_reason: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    again: bool
    overrides: tuple[Override, ...]
    awaits_release: bool
    released_by: str | None


class DebitTotal(msgspec.Struct, frozen=True):
    """
    Count and total of some debits.

    Attributes:
        count: Number of debits.
        amount_minor: Their total.
    """

    count: int
    amount_minor: int


class RunDetail(msgspec.Struct, frozen=True):
    """
    A billing run and its progress.

    Attributes:
        run: The run.
        steps: Its debits by step of their submission: ready, submitting, unknown, ended.
        states: Its debits by state; together they are the planned debits.
        refusals: The gateway's refusals so far.
        gateway: Rate limit and circuit breaker of its account.
    """

    run: RunResponse
    steps: dict[str, DebitTotal]
    states: dict[str, DebitTotal]
    refusals: Refusals
    gateway: LimitStatus


class PauseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A request to pause a run.

    Attributes:
        reason: Why; shown with the run.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] = "A person paused it."


@get("/", summary="The billing runs of an upload, newest first")
async def of_upload(state: State, upload_id: Id) -> list[RunResponse]:
    """At most a hundred runs."""
    async with reading(state.pool) as conn:
        if await billing_runs.upload_state(conn, upload_id) is None:
            raise NotFoundException("There is no such upload")
        return [response(run) for run in await billing_runs.of_upload(conn, upload_id)]


@get(
    "/",
    summary="List billing runs, newest first",
    responses=described(Page[RunResponse]),
)
async def listed(
    state: State,
    status: Annotated[RunState | None, Parameter(description="Only runs in this state.")] = None,
    upload: Annotated[
        int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only runs of this upload.")
    ] = None,
    account: Annotated[
        str | None, Parameter(description="Only runs of this gateway account.", max_length=32)
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of runs."""

    async def load(cursor: str | None, limit: int) -> Page[RunResponse]:
        async with reading(state.pool) as conn:
            runs = await billing_runs.listed(
                conn,
                state=status,
                upload_id=upload,
                account=account,
                before_id=decode_cursor(cursor),
                limit=limit + 1,
            )
        responses = [response(run) for run in runs]
        return page(responses, limit=limit, last_id=responses[:limit][-1].id if responses else None)

    return await in_form(form, load, row=RunResponse, name="billing runs", cursor=cursor, limit=limit)


@get("/{run_id:int}", summary="One billing run, with its progress")
async def detail(state: State, run_id: Id) -> RunDetail:
    """The run, its debits by step and by state, and the limits of its gateway account."""
    async with reading(state.pool) as conn:
        run = await billing_runs.by_id(conn, run_id)
        if run is None:
            raise NotFoundException("There is no such billing run")
        progress = await billing_runs.progress(conn, run_id)
        refused = refusals(await _counts(conn, run))
    steps, states = dict[str, DebitTotal](), dict[str, DebitTotal]()
    for some in progress:
        for sums, key in ((steps, some.step), (states, some.state)):
            so_far = sums.get(key, DebitTotal(0, 0))
            sums[key] = DebitTotal(so_far.count + some.count, so_far.amount_minor + some.amount_minor)
    (account_limits,) = await limits.limit_status(state.cache, [run.account])
    return RunDetail(response(run), steps, states, refused, account_limits)


@post("/{run_id:int}/pause", status_code=200, summary="Pause a run")
async def pause(request: ApiRequest, state: State, run_id: Id, data: JSONBody[PauseRequest]) -> RunResponse:
    """After the response no further submission of the run begins; those in flight end normally."""
    reason = reason_of(data.reason)

    def paused(run: Run) -> dict[str, Any]:
        return {"pause_reason": reason, "paused_from": run.state}

    return await _change(request, state, run_id, "paused", paused, reason=reason)


@post("/{run_id:int}/resume", status_code=200, summary="Resume a paused run")
async def resume(request: ApiRequest, state: State, run_id: Id, reason: OptionalReason = "") -> RunResponse:
    """A run that waits for a second person is released, by another person than who ordered it. The current values of the auto-pause are accepted: the counts of refusals of the upload's runs restart, and small runs of the account before them no longer pause them; other shares pause the run again only if they grow."""
    async with connection(state.pool) as conn:
        run = await billing_runs.by_id(conn, run_id)
        if run is None:
            raise NotFoundException("There is no such billing run")
        seen = await _bad_share(conn, run, now=state.clock())
        ordered_by = {run.owner}
        # Also for a run that does not wait yet: it may, once it is locked.
        if run.collection_plan_id is not None:
            ordered_by |= await collection_plans.people(conn, run.collection_plan_id, run_id=run.id)

    def resumed(run: Run) -> dict[str, Any]:
        fields = {"pause_reason": None, "paused_from": None, "released_share": seen}
        if not run.awaits_release:
            return fields
        dual_control.require_second_person(run.id, ordered_by=ordered_by, released_by=request.auth.owner)
        return {**fields, "awaits_release": False, "released_by": request.user}

    changed = await _change(request, state, run_id, "resumed", resumed, reason=reason, releases=True)
    await wake_worker(state, PLAN if changed.state == "planning" else SUBMIT)
    return changed


@post(
    "/{run_id:int}/cancel",
    status_code=200,
    summary="Cancel a run; debits that were not submitted stay unsubmitted",
)
async def cancel(request: ApiRequest, state: State, run_id: Id, reason: OptionalReason = "") -> RunResponse:
    """A cancelled run cannot be resumed; its debtors can be billed by another run."""

    def cancelled(_: Run) -> dict[str, Any]:
        return {"pause_reason": None, "paused_from": None, "finished_at": state.clock()}

    return await _change(request, state, run_id, "cancelled", cancelled, reason=reason)


_ACTIONS: Final[dict[RunCause, Action]] = {
    "paused": "run.paused",
    "resumed": "run.resumed",
    "cancelled": "run.cancelled",
}


async def _change(
    request: ApiRequest,
    state: State,
    run_id: int,
    cause: RunCause,
    fields: Any,
    *,
    reason: str | None = None,
    releases: bool = False,
) -> RunResponse:
    now = state.clock()
    async with transaction(state.pool) as conn:
        run = await billing_runs.hold(conn, run_id)
        if run is None:
            raise NotFoundException("There is no such billing run")
        after_step = billing_run.step(run.state, cause, paused_from=run.paused_from)
        changed = msgspec.structs.replace(run, state=after_step, **fields(run))
        await billing_runs.change(conn, changed, now=now)
        if releases:
            await billing_run_counts.release(
                conn, run.upload_id, by=request.user, reason=f"Run {run_id} was resumed.", now=now
            )
        await audit.record(
            conn,
            request.auth.actor,
            "run.released" if run.awaits_release and cause == "resumed" else _ACTIONS[cause],
            subject="run",
            subject_id=run_id,
            reason=reason,
            before=facts(state=run.state, pause_reason=run.pause_reason),
            after=facts(state=changed.state, pause_reason=changed.pause_reason),
            now=now,
        )
        after = await billing_runs.by_id(conn, run_id)
    assert after is not None
    _log.info("run changed", run_id=run_id, cause=cause, run_state=after.state)
    return response(after)


async def _counts(conn: Connection, run: Run) -> auto_pause.RunCounts:
    counts = await billing_run_counts.of_upload(conn, run.upload_id)
    return next(
        (run_counts for run_counts in counts if run_counts.run_id == run.id), auto_pause.RunCounts(run.id)
    )


async def _bad_share(conn: Connection, run: Run, *, now: datetime) -> float:
    """The largest share that the auto-pause measures for a run, without its refusals, whose counts restart."""
    since = now - timedelta(days=auto_pause.ACCOUNT_DAYS)
    own = await _counts(conn, run)
    counts = auto_pause.Counts(
        (own.canaries_answered, own.canaries_refused),
        await billing_runs.returns_of_upload(conn, run.upload_id, excluded=auto_pause.EXCLUDED),
        await billing_runs.returns_of_account(conn, run.account, since=since, excluded=auto_pause.EXCLUDED),
    )
    return max(look.share for look in auto_pause.looks(counts))


def response(run: Run) -> RunResponse:
    """A run, as responses show it: the fields of the stored run that a response has."""
    fields: dict[str, Any] = {"count": run.planned_count, "amount_minor": run.planned_amount_minor}
    fields |= {name: getattr(run, name) for name in RunResponse.__struct_fields__ if name not in fields}
    return RunResponse(**fields)


async def wake_worker(state: State, job: Job) -> None:
    """Wake a worker for a job of billing; without Redis the worker finds the work by itself."""
    try:
        await wake(state.billing_wake_up_queue, job, slot=0)
    except Unavailable as exc:
        _log.warning("wake-up failed", why=str(exc))


ROUTERS: Final = (
    Router("/api/uploads/{upload_id:int}/billing", route_handlers=[of_upload], tags=["billing"]),
    Router("/api/billing-runs", route_handlers=[listed, detail, pause, resume, cancel], tags=["billing"]),
)
