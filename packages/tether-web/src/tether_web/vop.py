"""`/api/uploads/{id}/vop`: have the accounts of an upload checked before it is billed, and see what came of it."""

from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from tether_core.errors import IllegalStep
from tether_core.vop import Result
from tether_stores import billing, vop
from tether_stores.postgres import reading, transaction
from tether_stores.vop import ListedCheck

from tether_web.http.pagination import LIMIT, LIMIT_MAX, Page, decode_cursor, page

__all__ = ["ROUTER", "Checks", "Requested"]

Id = Annotated[int, Parameter(ge=1, le=2**63 - 1)]


class Requested(msgspec.Struct, frozen=True):
    """
    What was asked for.

    Attributes:
        requested: Accounts that will be checked; others have been, or are waiting already.
    """

    requested: int


class Checks(msgspec.Struct, frozen=True):
    """
    How the checks of an upload stand.

    Attributes:
        unrequested: Debtors for whom none was asked for.
        waiting: Checks to be made.
        parked: Checks that no provider answered for a day; ask again.
        results: Checks made, by result.
        checks: One page of them, in the order of debtors.
    """

    unrequested: int
    waiting: int
    parked: int
    results: dict[str, int]
    checks: Page[ListedCheck]


@post("/", status_code=202, summary="Have an upload's accounts checked")
async def request(
    state: State,
    upload_id: Id,
    *,
    again: Annotated[
        bool, Parameter(description="Also those that were checked before; a service may charge for each.")
    ] = False,
) -> Requested:
    """Queue vop makes the checks; ask here how far it is."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        found = await billing.hold_upload(conn, upload_id)
        if found is not None and found[0] == "withdrawn":
            raise IllegalStep("upload", state="withdrawn", step="checked")
        once_more = await vop.request_again(conn, upload_id, now=now) if again else 0
        return Requested(once_more + await vop.request(conn, upload_id, now=now))


@get("/", summary="How the checks of an upload stand")
async def listed(
    state: State,
    upload_id: Id,
    result: Annotated[Result | None, Parameter(description="Only checks with this result.")] = None,
    cursor: Annotated[str | None, Parameter(description="`next` of the page before.", max_length=100)] = None,
    limit: Annotated[int, Parameter(ge=1, le=LIMIT_MAX, description="Rows a page has.")] = LIMIT,
) -> Checks:
    """Counts, and one page of checks."""
    async with reading(state.pool) as conn:
        rows = await vop.listed(
            conn, upload_id, after=decode_cursor(cursor) or 0, result=result, limit=limit + 1
        )
        counts = await vop.counts(conn, upload_id)
    results: dict[str, int] = {}
    for (check_state, found), count in counts.items():
        if check_state == "checked" and found is not None:
            results[found] = results.get(found, 0) + count
    return Checks(
        unrequested=_of(counts, None),
        waiting=_of(counts, "waiting"),
        parked=_of(counts, "parked"),
        results=results,
        checks=page(rows, limit=limit, last_id=rows[:limit][-1].debtor_id if rows else None),
    )


def _of(counts: dict[tuple[str | None, Result | None], int], state: str | None) -> int:
    return sum(count for (check_state, _), count in counts.items() if check_state == state)


ROUTER = Router("/api/uploads/{upload_id:int}/vop", route_handlers=[request, listed], tags=["uploads"])
