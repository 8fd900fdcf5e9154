"""The gateway's refusals of a run, and their release by a person."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Router, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import facts
from tether_core.billing import auto_pause
from tether_stores import audit
from tether_stores.billing import billing_runs
from tether_stores.payments import billing_run_counts
from tether_stores.postgres import transaction
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id, reason_of

__all__ = ["ROUTER", "Refusals", "refusals"]

_log = logger("billing")


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


class ReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Release the refusals of an upload's runs, so that they do not pause its next run.

    Attributes:
        reason: Why; stored with the runs, the name of your key and the time.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


@post(
    "/release",
    status_code=200,
    summary="Release the refusals of an upload's runs, so that they do not pause its next run",
)
async def release(
    request: ApiRequest, state: State, upload_id: Id, data: JSONBody[ReleaseRequest]
) -> list[Refusals]:
    """The counts of refusals restart; a paused run continues when it is resumed. Runs of the upload that are not over are no longer paused for small runs of the gateway account before them. Returns the runs that had refusals."""
    reason = reason_of(data.reason)
    async with transaction(state.pool) as conn:
        if await billing_runs.upload_state(conn, upload_id) is None:
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
    return [refusals(counts) for counts in released]


def refusals(counts: auto_pause.RunCounts) -> Refusals:
    """The refusals of a run, as a response shows them."""
    return Refusals(
        counts.run_id,
        counts.answered,
        counts.refused,
        counts.refused_at,
        counts.released_at,
        counts.released_by,
        counts.released_reason,
    )


ROUTER: Final = Router("/api/uploads/{upload_id:int}/billing", route_handlers=[release], tags=["billing"])
