"""`POST /api/collection-plans/{id}/schedules`: give the debtors of an upload a schedule each; `dry_run` shows who gets one."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Final

import msgspec
from litestar import Router, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import facts
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.payments.due_items import Warned, warnings_of_enrolment
from tether_core.recurring.enrolment import require_dates
from tether_core.target_calendar import bank_day
from tether_stores import audit
from tether_stores.billing import billing_runs, candidates
from tether_stores.people.scopes import accounts_of
from tether_stores.postgres import Connection, transaction
from tether_stores.recurring import collection_plans, enrolment, schedules
from tether_stores.recurring.enrolment import Enrolled
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.pagination import decode_cursor, encode_cursor
from tether_web.http.parameters import BodyId, Id
from tether_web.recurring.collection_plans import MISSING

__all__ = ["ROUTER", "EnrolOrder", "Enrolment"]

_CHUNK: Final = 1_000
# Debtors that one order looks at; the next order continues.
_ENROL_MAX: Final = 10_000
_SHOWN_MAX: Final = 200
_log = logger("recurring")


class EnrolOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    An order to give debtors of an upload a schedule.

    Attributes:
        upload_id: The upload.
        first_due_on: The first due date, today or later.
        last_due_on: No due date after this; null for no end.
        mandate_signed_on: When the debtors signed whose rows do not say it; null to exclude such debtors.
        debtor_id: Only this debtor; null for all of the upload.
        dry_run: Only show who would get a schedule.
        cursor: `next` of the order before, to continue with the debtors after those.
    """

    upload_id: BodyId
    first_due_on: date
    last_due_on: date | None = None
    mandate_signed_on: date | None = None
    debtor_id: BodyId | None = None
    dry_run: bool = False
    cursor: Annotated[str, msgspec.Meta(max_length=100)] | None = None


class Enrolment(msgspec.Struct, frozen=True):
    """
    What became of the debtors of an order.

    Attributes:
        dry_run: Whether nothing was stored.
        enrolled: Debtors who got a schedule, or would get one.
        amount_minor: Their money on each due date.
        verdicts: All debtors that were looked at, by verdict.
        debtors: The first of those who got none, with the reason; at most 200.
        next: Give it as `cursor` to continue with the debtors after these; null for none.
        warnings: Of a dry run: debits of the debtors who would get a schedule that billing runs have collected or are collecting, by due item.
    """

    dry_run: bool
    enrolled: int
    amount_minor: int
    verdicts: dict[str, int]
    debtors: list[Enrolled]
    next: str | None
    warnings: list[Warned]


@post("/{collection_plan_id:int}/schedules", status_code=200, summary="Enrol debtors of an upload")
async def enrol(
    request: ApiRequest, state: State, collection_plan_id: Id, data: JSONBody[EnrolOrder]
) -> Enrolment:
    """
    Give each debtor of an upload a schedule, and a mandate where there is none yet; at most 10,000 debtors an order.

    The same order again gives nobody a second schedule. Debtors with a schedule are excluded from billing runs.
    """
    now = state.clock()
    require_dates(data.first_due_on, data.last_due_on, today=bank_day(now))
    if data.mandate_signed_on is not None and data.mandate_signed_on > bank_day(now):
        raise InvalidRequest("is in the future", field="mandate_signed_on")
    after = decode_cursor(data.cursor) or 0
    results = list[Enrolled]()
    last: int | None = None
    billed = dict[str, tuple[int, int]]()
    async with transaction(state.pool) as conn:
        plan = await collection_plans.share(conn, collection_plan_id)
        if plan is None:
            raise NotFoundException(MISSING)
        if plan.state != "active":
            raise IllegalStep("collection plan", state=plan.state, step="joined")
        await _require_upload(conn, request, data.upload_id)
        while len(results) < _ENROL_MAX:
            applicants = await schedules.applicants(
                conn, data.upload_id, after=after, limit=_CHUNK, debtor_id=data.debtor_id
            )
            if not applicants:
                last = None
                break
            last = after = applicants[-1].id
            if data.dry_run:
                decided = await enrolment.judged(conn, applicants, plan, signed_on=data.mandate_signed_on)
                results += [result for _, result, _ in decided]
                await _add_billed(conn, [result for _, result, _ in decided], to=billed)
            else:
                results += await enrolment.enrol(
                    conn,
                    applicants,
                    plan,
                    first_due_on=data.first_due_on,
                    last_due_on=data.last_due_on,
                    signed_on=data.mandate_signed_on,
                    created_by=request.user,
                    now=now,
                )
        if data.debtor_id is not None and not results:
            raise InvalidRequest("the upload has no such debtor", field="debtor_id")
        verdicts = Counter(result.verdict for result in results)
        accepted = [result for result in results if result.verdict == "enrolled"]
        amount_minor = sum(result.amount_minor for result in accepted)
        if not data.dry_run:
            await audit.record(
                conn,
                request.auth.actor,
                "collection_plan.enrolled",
                subject="collection_plan",
                subject_id=plan.id,
                after=facts(
                    upload_id=data.upload_id,
                    debtors=len(accepted),
                    amount_minor=amount_minor,
                    first_due_on=str(data.first_due_on),
                ),
                now=now,
            )
    if not data.dry_run:
        _log.info("debtors enrolled", collection_plan_id=plan.id, debtors=len(accepted))
    return Enrolment(
        data.dry_run,
        len(accepted),
        amount_minor,
        dict(verdicts),
        [result for result in results if result.verdict != "enrolled"][:_SHOWN_MAX],
        None if last is None else encode_cursor(last),
        warnings_of_enrolment(billed),
    )


async def _add_billed(
    conn: Connection, decided: Sequence[Enrolled], *, to: dict[str, tuple[int, int]]
) -> None:
    """Add what billing runs collect from the debtors who would be enrolled: by due item, how many and their money."""
    accepted = [result.debtor_id for result in decided if result.verdict == "enrolled"]
    for item, count, amount_minor in await candidates.billed_items(conn, accepted):
        before = to.get(item, (0, 0))
        to[item] = (before[0] + count, before[1] + amount_minor)


async def _require_upload(conn: Connection, request: ApiRequest, upload_id: int) -> None:
    """Refuse an upload that is not read, and one of other accounts than the caller's."""
    own = request.auth.accounts
    found = await billing_runs.hold_upload(conn, upload_id)
    if found is not None and own is not None:
        of = await accounts_of(conn, "upload", upload_id)
        found = found if of and of <= set(own) else None
    if found is None:
        raise InvalidRequest("there is no such upload", field="upload_id")
    upload_state, dry_run = found
    if dry_run or upload_state != "completed":
        raise IllegalStep("upload", state="dry_run" if dry_run else upload_state, step="billed")


ROUTER: Final = Router("/api/collection-plans", route_handlers=[enrol], tags=["recurring collection"])
