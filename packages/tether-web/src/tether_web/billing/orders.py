"""
Order a billing run of an upload, or preview it: `POST /api/uploads/{id}/billing`.

An order only stores a row: the worker plans and submits.
"""

from collections import Counter
from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, Router, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core import iban
from tether_core.audit import facts
from tether_core.billing import eligibility
from tether_core.billing.overrides import Override, require_known, require_reason
from tether_core.billing.planning import Choice, Totals, plan
from tether_core.billing.run import require_new
from tether_core.billing.run_options import RunOptions
from tether_core.errors import IllegalStep, InvalidRequest, OrderedBefore
from tether_core.fingerprint_key import FingerprintKeyRefused
from tether_core.jobs import PLAN
from tether_core.payments import due_items
from tether_core.payments.due_items import Warned
from tether_core.preflight.report import PreflightReport
from tether_core.target_calendar import bank_day
from tether_stores import audit, fingerprint_key, preflight, statement_texts
from tether_stores.accounts import gateway_accounts
from tether_stores.billing import billing_runs
from tether_stores.billing.candidates import load_owing, other_items
from tether_stores.postgres import Connection, QueryTooSlow, connection, reading, transaction
from tether_stores.telemetry import logger
from tether_stores.traces import parents

from tether_web import order_keys
from tether_web.billing.runs import RunResponse, response, wake_worker
from tether_web.http.auth import ApiRequest
from tether_web.http.pagination import decode_cursor, encode_cursor
from tether_web.http.parameters import BodyId, Id, printable
from tether_web.order_keys import KeyHeader

__all__ = ["ROUTER", "PreviewedDebtor", "RunOrder", "RunPreview"]

_CHUNK: Final = 1_000
_PAGE_ROWS: Final = 100
_PAGE_ROWS_MAX: Final = 1_000
_log = logger("billing")


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
    debtor_ids: Annotated[tuple[BodyId, ...], msgspec.Meta(min_length=1, max_length=10_000)] | None = None


class RunOrder(RunOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    An order for a billing run.

    In addition to `tether_core.billing.run_options.RunOptions`. Where `usage` is left out, the text stored for the account and the month is taken
    (`/api/statement-texts`).

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


class RunPreview(msgspec.Struct, frozen=True):
    """
    What a run would do; nothing was changed.

    Attributes:
        count: Debits it would make.
        amount_minor: Total of these debits.
        canaries: Debits among them that would be submitted first.
        skipped: Debtors it would not bill, by verdict.
        warnings: Debits of the same debtors under another spelling or name of the due item.
        ordered_before: Why an order would be refused because of an earlier run of the upload, or null.
        preflight: What the debits of the upload are expected to bring and to cost with this account, by its own history; null behind
            the first page, and where reading the history took too long.
        debtors: One page of the debtors, in the order of their rows.
        next: The `cursor` of the next page; null on the last one.
    """

    count: int
    amount_minor: int
    canaries: int
    skipped: dict[str, int]
    warnings: list[Warned]
    ordered_before: str | None
    preflight: PreflightReport | None
    debtors: list[PreviewedDebtor]
    next: str | None


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
) -> Response[RunResponse | RunPreview]:
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
            options = await _with_text(conn, options, account=data.account, now=now)
            _require_billable(await billing_runs.upload_state(conn, upload_id))
            await _require_key(conn, state)
            await _require_account(conn, state, data.account)
            after = decode_cursor(cursor) or 0
            preview = await _preview(
                conn, upload_id, options=options, overrides=overrides, now=now, after=after, limit=limit
            )
            try:
                require_new(
                    await billing_runs.ordered(conn, upload_id), due_item=options.due_item, again=data.again
                )
            except OrderedBefore as exc:
                preview = msgspec.structs.replace(preview, ordered_before=str(exc))
        if not after:
            expected = await _expected(
                state,
                upload_id,
                account=data.account,
                by=request.user,
                vop_score_min=options.vop_score_min,
                now=now,
            )
            preview = msgspec.structs.replace(preview, preflight=expected)
        return Response(preview, status_code=200)
    require_reason(after_chargeback=options.after_chargeback)
    async with transaction(state.pool) as conn:
        if (before := await order_keys.find(conn, key)) is not None:
            return before
        # This lock serialises two orders for one upload, and an order and a withdrawal.
        _require_billable(await billing_runs.hold_upload(conn, upload_id))
        await _require_key(conn, state)
        await _require_account(conn, state, data.account)
        require_new(await billing_runs.ordered(conn, upload_id), due_item=options.due_item, again=data.again)
        options = await _with_text(conn, options, account=data.account, now=now)
        run_id = await billing_runs.add(
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
        await parents.remember(conn, "billing_run", [run_id], now=now)
        run = await billing_runs.by_id(conn, run_id)
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
        placed = await order_keys.placed(
            conn, key, result=response(run), status=202, location=location, now=now
        )
    _log.info("run ordered", run_id=run_id, upload_id=upload_id, again=data.again, overrides=len(overrides))
    await wake_worker(state, PLAN)
    return placed


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


async def _preview(
    conn: Connection,
    upload_id: int,
    *,
    options: RunOptions,
    overrides: tuple[Override, ...],
    now: datetime,
    after: int,
    limit: int,
) -> RunPreview:
    so_far, last, canaries = Totals(), 0, 0
    skipped, debtors = Counter[str](), list[PreviewedDebtor]()
    others = dict[str, tuple[int, int]]()
    while owing := await load_owing(
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
        planned = plan([debtor.candidate for debtor in owing], options=options, so_far=so_far)
        so_far = planned.so_far
        canaries += sum(choice.canary for choice in planned.choices)
        skipped.update(choice.verdict.code for choice in planned.choices if not choice.verdict.billable)
        billed = [choice.candidate.debtor_id for choice in planned.choices if choice.verdict.billable]
        for item, count, amount_minor in await other_items(conn, billed, due_item=options.due_item):
            before = others.get(item, (0, 0))
            others[item] = (before[0] + count, before[1] + amount_minor)
        wanted = (choice for choice in planned.choices if choice.candidate.debtor_id > after)
        debtors += [
            _previewed(choice) for choice, _ in zip(wanted, range(limit + 1 - len(debtors)), strict=False)
        ]
    more = len(debtors) > limit
    debtors = debtors[:limit]
    return RunPreview(
        so_far.count,
        so_far.amount_minor,
        canaries,
        dict(skipped),
        due_items.warnings(options.due_item, others),
        None,
        None,
        debtors,
        encode_cursor(debtors[-1].debtor_id) if more else None,
    )


async def _expected(
    state: State, upload_id: int, *, account: str, by: str, vop_score_min: int | None, now: datetime
) -> PreflightReport | None:
    """What the upload is expected to bring; a dry run does not fail because its history is long."""
    try:
        async with reading(state.pool) as conn:
            upload = await preflight.upload(conn, upload_id)
            if upload is None:
                return None
            return await preflight.made(
                conn,
                upload_id,
                sha256=upload.sha256,
                account=account,
                fees=state.settings.account_fees.get(account),
                rule=state.settings.preflight_rule,
                made_by=by,
                now=now,
                vop_score_min=vop_score_min,
            )
    except QueryTooSlow:
        return None


async def _with_text(conn: Connection, options: RunOptions, *, account: str, now: datetime) -> RunOptions:
    """The options with the stored text of the account and month, where the order names no text of its own."""
    if options.usage != RunOptions().usage:
        return options
    text = await statement_texts.of_account(conn, account, on=bank_day(now))
    return options if text is None else msgspec.structs.replace(options, usage=text)


def _previewed(choice: Choice) -> PreviewedDebtor:
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


ROUTER: Final = Router("/api/uploads/{upload_id:int}/billing", route_handlers=[order], tags=["billing"])
