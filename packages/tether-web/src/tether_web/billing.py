"""
Billing runs: order or preview a run, follow its progress, pause, resume and cancel it.

`POST /api/uploads/{id}/billing` orders a run, `GET /api/billing-runs/{id}` shows its progress, and `POST .../pause`, `.../resume` and
`.../cancel` control it. An order only stores a row: the worker plans and submits. After the response to a pause no further
submission begins.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from prometheus_client import Gauge
from tether_core import iban
from tether_core.audit import Action, facts
from tether_core.billing import auto_pause, dual_control, eligibility
from tether_core.billing import run as billing_run
from tether_core.billing.eligibility import RunOptions, Totals
from tether_core.billing.overrides import Override, require_known, require_reason
from tether_core.billing.run import RunCause, RunState, require_new
from tether_core.errors import IllegalStep, InvalidRequest, OrderedBefore, StoreUnreachable, Unavailable
from tether_core.fingerprint_key import FingerprintKeyRefused
from tether_core.jobs import PLAN, SUBMIT, Job
from tether_core.payments import due_items
from tether_core.payments.due_items import Warned
from tether_stores import audit, billing, fingerprint_key, gateway_calls, limits
from tether_stores.accounts import gateway_accounts
from tether_stores.billing import Run
from tether_stores.jobs.queue import wake
from tether_stores.limits import CurrentStatus
from tether_stores.payments import billing_run_counts
from tether_stores.postgres import Connection, connection, reading, transaction
from tether_stores.recurring import collection_plans
from tether_stores.telemetry import logger

from tether_web import order_keys
from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, LIMIT_MAX, Page, decode_cursor, encode_cursor, page
from tether_web.http.parameters import printable
from tether_web.order_keys import KeyHeader

__all__ = [
    "OBSERVED",
    "ROUTERS",
    "DebitTotal",
    "Preview",
    "PreviewedDebtor",
    "RunDetail",
    "RunOrder",
    "RunResponse",
    "observe",
]

Id = Annotated[int, Parameter(ge=1, le=2**63 - 1)]

_CHUNK: Final = 1_000
_PAGE_ROWS: Final = 100
_PAGE_ROWS_MAX: Final = 1_000
_log = logger("billing")

# The metrics that `observe` refreshes.
OBSERVED: Final = frozenset(
    {
        "tether_gateway_breaker",
        "tether_gateway_calls_left",
        "tether_gateway_rate_part",
        "tether_gateway_connections_replaced",
        "tether_gateway_not_submitted",
    }
)

_BREAKER: Final = Gauge(
    "tether_gateway_breaker",
    "1 for the current circuit breaker state of a gateway account, as last measured by /metrics.",
    ["account", "state"],
    multiprocess_mode="mostrecent",
)
_LEFT: Final = Gauge(
    "tether_gateway_calls_left",
    "Calls an account could make at once: of its shares, and of the common pool, as last measured by /metrics.",
    ["account", "share"],
    multiprocess_mode="mostrecent",
)
_RATE_PART: Final = Gauge(
    "tether_gateway_rate_part",
    "Usable part of an account's rate: 1 all of it, 0 a pause that the gateway requested.",
    ["account"],
    multiprocess_mode="mostrecent",
)
_REPLACED: Final = Gauge(
    "tether_gateway_connections_replaced",
    "Connections closed because a call got no complete response, by phase of the call. Grows; all workers.",
    ["account", "phase"],
    multiprocess_mode="mostrecent",
)
_NOT_SUBMITTED: Final = Gauge(
    "tether_gateway_not_submitted",
    "Calls that submitted nothing, by cause; their debits are submitted again. Grows; all workers.",
    ["account", "cause"],
    multiprocess_mode="mostrecent",
)


_Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class OverrideOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Verdicts that are ignored for some debtors of a run.

    Attributes:
        verdicts: Codes of verdicts: "refunded_before", "charged_back", "waiting_elsewhere", "repeated", "recently_tried".
        reason: Why; stored with the run, the name of your key and the time.
        debtor_ids: The debtors; null for all debtors of the run.
    """

    verdicts: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=40)], ...], msgspec.Meta(min_length=1, max_length=20)
    ]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    debtor_ids: Annotated[tuple[_Id, ...], msgspec.Meta(min_length=1, max_length=10_000)] | None = None


class RunOrder(RunOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    An order for a billing run.

    In addition to `tether_core.billing.eligibility.RunOptions`:

    Attributes:
        account: The gateway account.
        dry_run: Only preview which debtors would be billed, and which not and why.
        again: Order the same due item of the same upload again after the previous run has ended. It bills the debtors who
            have no open, collected, returned, refunded or voided debit for it.
        overrides: Verdicts to ignore, each with a reason.
    """

    account: Annotated[str, msgspec.Meta(max_length=32)] = gateway_accounts.DEFAULT
    dry_run: bool = False
    again: bool = False
    overrides: Annotated[tuple[OverrideOrder, ...], msgspec.Meta(max_length=20)] = ()


class PreviewedDebtor(msgspec.Struct, frozen=True):
    """
    One debtor of a preview.

    Attributes:
        debtor_id: The debtor.
        iban_masked: The account, masked.
        amount_minor: The amount to be debited.
        currency: ISO 4217.
        verdict: "billable", or why not; see docs/concepts/billing.md.
        text: The facts behind the verdict.
        canary: Whether the debit would be one of the canaries, which are submitted first.
        reasons: All verdicts against billing; `verdict` is the first of them, or a cap of the run.
    """

    debtor_id: int
    iban_masked: str
    amount_minor: int
    currency: str
    verdict: str
    text: str
    canary: bool
    reasons: list[eligibility.Eligibility]


class Preview(msgspec.Struct, frozen=True):
    """
    What a run would do; nothing was changed.

    Attributes:
        count: Debits it would make.
        amount_minor: Total of these debits.
        canaries: Debits among them that would be submitted first.
        skipped: Debtors it would not bill, by verdict.
        warnings: Debits of the same debtors under another spelling or name of the due item.
        ordered_before: Why an order would be refused because of an earlier run of the upload, or null.
        debtors: One page of the debtors, in the order of their rows.
        next: The `cursor` of the next page; null on the last one.
    """

    count: int
    amount_minor: int
    canaries: int
    skipped: dict[str, int]
    warnings: list[Warned]
    ordered_before: str | None
    debtors: list[PreviewedDebtor]
    next: str | None


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


class Refusals(msgspec.Struct, frozen=True):
    """
    The gateway's refusals of a run.

    Attributes:
        run_id: The run.
        answered: Debits that the gateway has accepted or refused.
        refused: Debits among them that were declined or ended in an error.
        refused_at: When the last refusal was recorded, or null.
        released_at: When a person last released the refusals, or null; the counts restart from then.
        released_by: The name of that person's key, or null.
        released_reason: Why they were released, or null.
    """

    run_id: int
    answered: int
    refused: int
    refused_at: datetime | None
    released_at: datetime | None
    released_by: str | None
    released_reason: str | None


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
    gateway: CurrentStatus


class ReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Release the refusals of an upload's runs, so that they do not pause its next run.

    Attributes:
        reason: Why; stored with the runs, the name of your key and the time.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class PauseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A request to pause a run.

    Attributes:
        reason: Why; shown with the run.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] = "A person paused it."


@post("/", status_code=202, summary="Order a billing run of an upload, or preview it")
async def order(
    request: ApiRequest,
    state: State,
    upload_id: Id,
    data: JSONBody[RunOrder],
    idempotency_key: KeyHeader = None,  # noqa: ARG001 - read from the request; here for the description
    cursor: Annotated[
        str | None, Parameter(description="Of a dry run: `next` of the previous page.", max_length=100)
    ] = None,
    limit: Annotated[
        int, Parameter(ge=1, le=_PAGE_ROWS_MAX, description="Of a dry run: debtors in a page.")
    ] = _PAGE_ROWS,
) -> Response[RunResponse | Preview]:
    """
    Place the order and wake the worker; with `dry_run`, only judge the debtors.

    An upload is billed once for a due item: a second order is refused with the path of the first run until that has ended, and
    after that unless it says `again`. With an Idempotency-Key a repeated request gives the same run.
    """
    own = request.auth.accounts
    if own is not None and data.account not in own:
        raise InvalidRequest("no gateway account has this name", field="account")
    options = msgspec.convert(
        {name: getattr(data, name) for name in RunOptions.__struct_fields__}, RunOptions, from_attributes=True
    )
    now = state.clock()
    overrides = _overrides(data.overrides, by=request.user, now=now)
    key = await order_keys.read(request)
    if data.dry_run:
        async with connection(state.pool) as conn:
            _require_billable(await billing.upload_state(conn, upload_id))
            await _require_key(conn, state)
            await _require_account(conn, state, data.account)
            after = decode_cursor(cursor) or 0
            preview = await _preview(
                conn, upload_id, options=options, overrides=overrides, now=now, after=after, limit=limit
            )
            try:
                require_new(
                    await billing.ordered(conn, upload_id), due_item=options.due_item, again=data.again
                )
            except OrderedBefore as exc:
                preview = msgspec.structs.replace(preview, ordered_before=str(exc))
        return Response(preview, status_code=200)
    require_reason(after_chargeback=options.after_chargeback)
    async with transaction(state.pool) as conn:
        if (before := await order_keys.find(conn, key)) is not None:
            return before
        # This lock serialises two orders for one upload, and an order and a withdrawal.
        _require_billable(await billing.hold_upload(conn, upload_id))
        await _require_key(conn, state)
        await _require_account(conn, state, data.account)
        require_new(await billing.ordered(conn, upload_id), due_item=options.due_item, again=data.again)
        run_id = await billing.add(
            conn,
            upload_id=upload_id,
            account=data.account,
            options=options,
            created_by=request.user,
            owner=request.auth.owner,
            now=now,
            again=data.again,
            overrides=overrides,
        )
        run = await billing.by_id(conn, run_id)
        assert run is not None
        await audit.record(
            conn,
            request.auth.actor,
            "run.ordered",
            subject="run",
            subject_id=run_id,
            reason="; ".join(override.reason for override in overrides),
            after=facts(
                upload_id=upload_id,
                account=data.account,
                due_item=options.due_item,
                count_max=options.count_max,
                amount_max_minor=options.amount_max_minor,
                again=data.again,
                overrides=len(overrides),
            ),
            now=now,
        )
        location = f"/api/billing-runs/{run_id}"
        response = await order_keys.placed(
            conn, key, result=_response(run), status=202, location=location, now=now
        )
    _log.info("run ordered", run_id=run_id, upload_id=upload_id, again=data.again, overrides=len(overrides))
    await _wake(state, PLAN)
    return response


def _overrides(ordered: tuple[OverrideOrder, ...], *, by: str, now: datetime) -> tuple[Override, ...]:
    for order in ordered:
        printable(order.reason, field="overrides")
    overrides = tuple(
        Override(order.verdicts, order.reason, order.debtor_ids, given_by=by, given_at=now)
        for order in ordered
    )
    for override in overrides:
        require_known(override)
    return overrides


@get("/", summary="The billing runs of an upload, newest first")
async def of_upload(state: State, upload_id: Id) -> list[RunResponse]:
    """At most a hundred runs."""
    async with reading(state.pool) as conn:
        if await billing.upload_state(conn, upload_id) is None:
            raise NotFoundException("There is no such upload")
        return [_response(run) for run in await billing.of_upload(conn, upload_id)]


@post(
    "/release",
    status_code=200,
    summary="Release the refusals of an upload's runs, so that they do not pause its next run",
)
async def release(
    request: ApiRequest, state: State, upload_id: Id, data: JSONBody[ReleaseRequest]
) -> list[Refusals]:
    """The counts of refusals restart; a paused run continues when it is resumed. Returns the runs that had refusals."""
    reason = printable(data.reason, field="reason")
    if not reason.strip():
        raise InvalidRequest("say why; it is stored with the runs", field="reason")
    async with transaction(state.pool) as conn:
        if await billing.upload_state(conn, upload_id) is None:
            raise NotFoundException("There is no such upload")
        now = state.clock()
        released = await billing_run_counts.release(conn, upload_id, by=request.user, reason=reason, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "refusals.released",
            subject="upload",
            subject_id=upload_id,
            reason=reason,
            after=facts(runs=len(released), refused=sum(counts.refused for counts in released)),
            now=now,
        )
    _log.info("refusals released", upload_id=upload_id, runs=len(released))
    return [_refusals(counts) for counts in released]


def _refusals(counts: auto_pause.RunCounts) -> Refusals:
    return Refusals(
        counts.run_id,
        counts.answered,
        counts.refused,
        counts.refused_at,
        counts.released_at,
        counts.released_by,
        counts.released_reason,
    )


@get(
    "/",
    summary="List billing runs, newest first",
    responses=described(Page[RunResponse]),
)
async def listed(
    state: State,
    status: Annotated[RunState | None, Parameter(description="Only runs in this state.")] = None,
    upload: Annotated[
        int | None, Parameter(ge=1, le=2**63 - 1, description="Only runs of this upload.")
    ] = None,
    cursor: Annotated[str | None, Parameter(description="`next` of the page before.", max_length=100)] = None,
    limit: Annotated[int, Parameter(ge=1, le=LIMIT_MAX, description="Rows a page has.")] = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of runs."""

    async def load(cursor: str | None, limit: int) -> Page[RunResponse]:
        async with reading(state.pool) as conn:
            runs = await billing.listed(
                conn, state=status, upload_id=upload, before_id=decode_cursor(cursor), limit=limit + 1
            )
        shown = [_response(run) for run in runs]
        return page(shown, limit=limit, last_id=shown[:limit][-1].id if shown else None)

    return await in_form(form, load, row=RunResponse, name="billing runs", cursor=cursor, limit=limit)


@get("/{run_id:int}", summary="One billing run, with its progress")
async def detail(state: State, run_id: Id) -> RunDetail:
    """The run, its debits by step and by state, and the limits of its gateway account."""
    async with reading(state.pool) as conn:
        run = await billing.by_id(conn, run_id)
        if run is None:
            raise NotFoundException("There is no such billing run")
        progress = await billing.progress(conn, run_id)
        refusals = _refusals(await _counts(conn, run))
    steps, states = dict[str, DebitTotal](), dict[str, DebitTotal]()
    for some in progress:
        for sums, key in ((steps, some.step), (states, some.state)):
            so_far = sums.get(key, DebitTotal(0, 0))
            sums[key] = DebitTotal(so_far.count + some.count, so_far.amount_minor + some.amount_minor)
    (account_limits,) = await limits.current_status(state.cache, [run.account])
    return RunDetail(_response(run), steps, states, refusals, account_limits)


@post("/{run_id:int}/pause", status_code=200, summary="Pause a run")
async def pause(request: ApiRequest, state: State, run_id: Id, data: JSONBody[PauseRequest]) -> RunResponse:
    """After the response no further submission of the run begins; those in flight end normally."""
    reason = printable(data.reason, field="reason")

    def paused(run: Run) -> dict[str, Any]:
        return {"pause_reason": reason, "paused_from": run.state}

    return await _change(request, state, run_id, "paused", paused, reason=reason)


@post("/{run_id:int}/resume", status_code=200, summary="Resume a paused run")
async def resume(request: ApiRequest, state: State, run_id: Id) -> RunResponse:
    """A run that waits for a second person is released, by another person than who ordered it. The current values of the auto-pause are accepted: the counts of refusals of the upload's runs restart, and other shares pause the run again only if they grow."""
    async with connection(state.pool) as conn:
        run = await billing.by_id(conn, run_id)
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

    response = await _change(request, state, run_id, "resumed", resumed, releases=True)
    await _wake(state, PLAN if response.state == "planning" else SUBMIT)
    return response


@post(
    "/{run_id:int}/cancel",
    status_code=200,
    summary="Cancel a run; debits that were not submitted stay unsubmitted",
)
async def cancel(request: ApiRequest, state: State, run_id: Id) -> RunResponse:
    """A cancelled run cannot be resumed; its debtors can be billed by another run."""

    def cancelled(_: Run) -> dict[str, Any]:
        return {"pause_reason": None, "paused_from": None, "finished_at": state.clock()}

    return await _change(request, state, run_id, "cancelled", cancelled)


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
        run = await billing.hold(conn, run_id)
        if run is None:
            raise NotFoundException("There is no such billing run")
        after_step = billing_run.step(run.state, cause, paused_from=run.paused_from)
        changed = msgspec.structs.replace(run, state=after_step, **fields(run))
        await billing.change(conn, changed, now=now)
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
        after = await billing.by_id(conn, run_id)
    assert after is not None
    _log.info("run changed", run_id=run_id, cause=cause, run_state=after.state)
    return _response(after)


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
        await billing.returns_of_upload(conn, run.upload_id, excluded=auto_pause.EXCLUDED),
        await billing.returns_of_account(conn, run.account, since=since, excluded=auto_pause.EXCLUDED),
    )
    return max(look.share for look in auto_pause.looks(counts))


async def _preview(
    conn: Connection,
    upload_id: int,
    *,
    options: RunOptions,
    overrides: tuple[Override, ...],
    now: datetime,
    after: int,
    limit: int,
) -> Preview:
    so_far, last, canaries = Totals(), 0, 0
    skipped, debtors = Counter[str](), list[PreviewedDebtor]()
    others = dict[str, tuple[int, int]]()
    while owing := await billing.owing(
        conn,
        due_item=options.due_item,
        now=now,
        limit=_CHUNK,
        upload_id=upload_id,
        after=last,
        overrides=overrides,
        with_notices=options.notice_days is not None,
    ):
        last = owing[-1].candidate.debtor_id
        planned = eligibility.plan([debtor.candidate for debtor in owing], options=options, so_far=so_far)
        so_far = planned.so_far
        canaries += sum(choice.canary for choice in planned.choices)
        skipped.update(choice.verdict.code for choice in planned.choices if not choice.verdict.billable)
        billed = [choice.candidate.debtor_id for choice in planned.choices if choice.verdict.billable]
        for item, count, amount_minor in await billing.other_items(conn, billed, due_item=options.due_item):
            before = others.get(item, (0, 0))
            others[item] = (before[0] + count, before[1] + amount_minor)
        wanted = (choice for choice in planned.choices if choice.candidate.debtor_id > after)
        debtors += [
            _previewed(choice) for choice, _ in zip(wanted, range(limit + 1 - len(debtors)), strict=False)
        ]
    more = len(debtors) > limit
    debtors = debtors[:limit]
    return Preview(
        so_far.count,
        so_far.amount_minor,
        canaries,
        dict(skipped),
        due_items.warnings(options.due_item, others),
        None,
        debtors,
        encode_cursor(debtors[-1].debtor_id) if more else None,
    )


def _previewed(choice: eligibility.Choice) -> PreviewedDebtor:
    item, verdict = choice.candidate, choice.verdict
    return PreviewedDebtor(
        item.debtor_id,
        iban.mask(item.iban),
        item.amount_minor,
        item.currency,
        verdict.code,
        verdict.text,
        choice.canary,
        list(choice.reasons),
    )


def _require_billable(found: tuple[str, bool] | None) -> None:
    if found is None:
        raise NotFoundException("There is no such upload")
    upload_state, dry_run = found
    if upload_state != "completed":
        raise IllegalStep("upload", state=upload_state, step="billed")
    if dry_run:
        raise IllegalStep("upload", state="dry_run", step="billed")


async def _require_key(conn: Connection, state: State) -> None:
    key_state = await fingerprint_key.observe(conn, state.settings.fingerprint_key.encode())
    if key_state != "matches":
        raise FingerprintKeyRefused(key_state)


async def _require_account(conn: Connection, state: State, name: str) -> None:
    account = (await gateway_accounts.all_accounts(conn, settings=state.settings)).get(name)
    if account is None:
        default = " set EMP_API_URL, EMP_API_LOGIN, EMP_API_PASSWORD and EMP_TERMINAL_TOKEN"
        why = f"no gateway account has this name;{default}" if name == gateway_accounts.DEFAULT else None
        raise InvalidRequest(why or "no gateway account has this name", field="account")
    if not account.enabled:
        raise InvalidRequest("this gateway account is not enabled", field="account")


def _response(run: Run) -> RunResponse:
    return RunResponse(
        run.id,
        run.upload_id,
        run.account,
        run.state,
        run.options,
        run.planned_count,
        run.planned_amount_minor,
        run.skipped,
        run.warning,
        run.pause_reason,
        run.created_by,
        run.created_at,
        run.updated_at,
        run.finished_at,
        run.again,
        run.overrides,
        run.awaits_release,
        run.released_by,
    )


async def _wake(state: State, job: Job) -> None:
    try:
        await wake(state.billing_wake_up_queue, job, slot=0)
    except Unavailable as exc:
        _log.warning("wake-up failed", why=str(exc))


async def observe(state: State) -> None:
    """
    Refresh the metrics of the accounts' circuit breakers and rate limits.

    Raises:
        StoreUnreachable: when Postgres or Redis does not answer.
    """
    async with connection(state.pool) as conn:
        accounts = list(await gateway_accounts.all_accounts(conn, settings=state.settings))
    for account_limits in await limits.current_status(state.cache, accounts):
        if account_limits.breaker == "unknown":
            raise StoreUnreachable("redis")
        for name in ("closed", "open", "half_open"):
            _BREAKER.labels(account_limits.account, name).set(name == account_limits.breaker)
        for share, left in zip(("billing", "reconciliation", "pool"), account_limits.left, strict=False):
            _LEFT.labels(account_limits.account, share).set(left)
        _RATE_PART.labels(account_limits.account).set(account_limits.rate_part)
    for account, counted in zip(accounts, await gateway_calls.counts(state.cache, accounts), strict=True):
        for phase, number in counted.replaced.items():
            _REPLACED.labels(account, phase).set(number)
        for cause, number in counted.not_submitted.items():
            _NOT_SUBMITTED.labels(account, cause).set(number)


ROUTERS: Final = (
    Router(
        "/api/uploads/{upload_id:int}/billing", route_handlers=[order, of_upload, release], tags=["billing"]
    ),
    Router("/api/billing-runs", route_handlers=[listed, detail, pause, resume, cancel], tags=["billing"]),
)
