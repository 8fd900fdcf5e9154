"""`/api/uploads/{id}/vop`: verification of payee: request checks of an upload's accounts, and list the results."""

from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from tether_core.audit import facts
from tether_core.errors import IllegalStep
from tether_core.vop import Result
from tether_stores import audit, vop
from tether_stores.billing import billing_runs
from tether_stores.postgres import reading, transaction
from tether_stores.vop import ListedCheck

from tether_web.http.auth import ApiRequest
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import Id

__all__ = ["ROUTER", "VopChecks", "VopRequested"]


class VopRequested(msgspec.Struct, frozen=True):
    """
    The requested checks.

    Attributes:
        requested: Accounts that will be checked; the others are checked or waiting already.
    """

    requested: int


class VopChecks(msgspec.Struct, frozen=True):
    """
    The checks of an upload.

    Attributes:
        unrequested: Debtors without a requested check.
        waiting: Checks that are due.
        parked: Checks without a response of the provider for a day; request them again.
        results: Finished checks, by result.
        checks: One page of checks, in the order of debtors.
    """

    unrequested: int
    waiting: int
    parked: int
    results: dict[str, int]
    checks: Page[ListedCheck]


@post("/", status_code=202, summary="Request verification of payee for an upload")
async def request(
    request: ApiRequest,
    state: State,
    upload_id: Id,
    *,
    again: Annotated[
        bool,
        Parameter(
            description="Also accounts that were checked before; the provider may charge for each check."
        ),
    ] = False,
) -> VopRequested:
    """The worker makes the checks; `GET` of this route has the progress."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        found = await billing_runs.hold_upload(conn, upload_id)
        if found is None:
            raise NotFoundException("There is no such upload")
        if found[0] == "withdrawn":
            raise IllegalStep("upload", state="withdrawn", step="checked")
        once_more = await vop.request_again(conn, upload_id, now=now) if again else 0
        requested = once_more + await vop.request(conn, upload_id, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "checks.requested",
            subject="upload",
            subject_id=upload_id,
            after=facts(checks=requested, again=again),
            now=now,
        )
    return VopRequested(requested)


@get("/", summary="The checks of an upload and their results")
async def listed(
    state: State,
    upload_id: Id,
    result: Annotated[Result | None, Parameter(description="Only checks with this result.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
) -> VopChecks:
    """Counts, and one page of checks."""
    async with reading(state.pool) as conn:
        if await billing_runs.upload_state(conn, upload_id) is None:
            raise NotFoundException("There is no such upload")
        rows = await vop.listed(
            conn, upload_id, after=decode_cursor(cursor) or 0, result=result, limit=limit + 1
        )
        counts = await vop.counts(conn, upload_id)
    results: dict[str, int] = {}
    for (check_state, found), count in counts.items():
        if check_state == "checked" and found is not None:
            results[found] = results.get(found, 0) + count
    return VopChecks(
        unrequested=_of(counts, None),
        waiting=_of(counts, "waiting"),
        parked=_of(counts, "parked"),
        results=results,
        checks=page(rows, limit=limit, last_id=rows[:limit][-1].debtor_id if rows else None),
    )


def _of(counts: dict[tuple[str | None, Result | None], int], state: str | None) -> int:
    return sum(count for (check_state, _), count in counts.items() if check_state == state)


ROUTER = Router("/api/uploads/{upload_id:int}/vop", route_handlers=[request, listed], tags=["uploads"])
