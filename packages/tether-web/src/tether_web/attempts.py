"""`GET /api/billing-attempts[/{id}]`: how each try to collect stands."""

from typing import Annotated

from litestar import Router, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from tether_core.billing import AttemptState
from tether_stores import billing_attempts
from tether_stores.billing_attempts import ListedAttempt
from tether_stores.postgres import reading

from tether_web.pages import LIMIT, LIMIT_MAX, Page, decode_cursor, page

__all__ = ["ROUTER"]


@get("/", summary="List billing attempts, newest first")
async def listed(
    state: State,
    status: Annotated[AttemptState | None, Parameter(description="Only attempts in this state.")] = None,
    unique_id: Annotated[
        str | None, Parameter(description="Only the attempt with this id of the gateway.", max_length=255)
    ] = None,
    transaction_id: Annotated[
        str | None, Parameter(description="Only the attempt with this id of ours.", max_length=255)
    ] = None,
    cursor: Annotated[str | None, Parameter(description="`next` of the page before.", max_length=100)] = None,
    limit: Annotated[int, Parameter(ge=1, le=LIMIT_MAX, description="Rows a page has.")] = LIMIT,
) -> Page[ListedAttempt]:
    """One page of attempts."""
    async with reading(state.pool) as conn:
        rows = await billing_attempts.listed(
            conn,
            limit=limit + 1,
            before=decode_cursor(cursor),
            state=status,
            unique_id=_plain(unique_id),
            transaction_id=_plain(transaction_id),
        )
    return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)


@get("/{attempt_id:int}", summary="One billing attempt")
async def one(state: State, attempt_id: Annotated[int, Parameter(ge=1, le=2**63 - 1)]) -> ListedAttempt:
    """One attempt."""
    async with reading(state.pool) as conn:
        found = await billing_attempts.one(conn, attempt_id)
    if found is None:
        raise NotFoundException("There is no such billing attempt")
    return found


def _plain(text: str | None) -> str | None:
    # Postgres has no NUL in text; no id of anybody has one either, so nothing is lost by looking for it without.
    return None if text is None else text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


ROUTER = Router("/api/billing-attempts", route_handlers=[listed, one], tags=["billing attempts"])
