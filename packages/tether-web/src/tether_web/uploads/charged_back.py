"""`POST /api/uploads/{id}/exclude-charged-back`: exclude the debtors of an upload whose accounts have charged back a debit."""

from typing import Annotated, Final

import msgspec
from litestar import Router, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import facts
from tether_core.errors import IllegalStep, InvalidRequest
from tether_stores import audit
from tether_stores.billing import billing_runs
from tether_stores.postgres import transaction
from tether_stores.telemetry import logger
from tether_stores.uploads import charged_back
from tether_stores.uploads.charged_back import ChargedBack

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id, printable

__all__ = ["ROUTER", "ExclusionResponse"]

_log = logger("uploads")


class ExclusionOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    An order to exclude debtors.

    Attributes:
        dry_run: Only say how many there are.
        reason: Why; stored in the audit. Needed without `dry_run`.
    """

    dry_run: bool = False
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class ExclusionResponse(msgspec.Struct, frozen=True):
    """
    Debtors with a charged back debit.

    Attributes:
        excluded: Those that are excluded now, or would be, by currency.
        kept: Those that stay because a debit of theirs is open or collected.
        dry_run: Whether nothing was changed.
    """

    excluded: list[ChargedBack]
    kept: list[ChargedBack]
    dry_run: bool


@post(
    "/{upload_id:int}/exclude-charged-back",
    status_code=200,
    summary="Exclude debtors whose accounts have charged back a debit",
)
async def exclude(
    request: ApiRequest,
    state: State,
    upload_id: Id,
    data: JSONBody[ExclusionOrder],
) -> ExclusionResponse:
    """
    One action for all of them; they are no longer counted or billed with the upload.

    Chargebacks that a person has forgiven do not count. A chargeback that is forgiven later makes its debtor billable again.
    """
    reason = printable(" ".join(data.reason.split()), field="reason")
    if not data.dry_run and not reason:
        raise InvalidRequest("say why; it is stored", field="reason")
    async with transaction(state.pool) as conn:
        now = state.clock()
        found = await billing_runs.hold_upload(conn, upload_id)
        if found is None:
            raise NotFoundException("There is no such upload")
        upload_state, is_dry_run = found
        if is_dry_run or upload_state != "completed":
            raise IllegalStep("upload", state="dry_run" if is_dry_run else upload_state, step="changed")
        before = await charged_back.counts(conn, upload_id)
        kept = [row for row in before if row.has_debit]
        if data.dry_run:
            return ExclusionResponse([row for row in before if not row.has_debit], kept, dry_run=True)
        done = await charged_back.exclude(conn, upload_id, by=request.user, now=now)
        count = sum(row.count for row in done)
        await audit.record(
            conn,
            request.auth.actor,
            "upload.debtors_excluded",
            subject="upload",
            subject_id=upload_id,
            reason=reason,
            after=facts(debtors=count, kept=sum(row.count for row in kept)),
            now=now,
        )
    _log.info("debtors excluded", upload_id=upload_id, debtors=count, by=request.user)
    return ExclusionResponse(done, kept, dry_run=False)


ROUTER: Final = Router("/api/uploads", route_handlers=[exclude], tags=["uploads"])
