"""`GET /api/completeness`: whether all payments that the gateway reports for some days are stored."""

from datetime import date, timedelta
from typing import Annotated, Final

from litestar import Router, get
from litestar.datastructures import State
from litestar.params import QueryParameter
from tether_core.errors import InvalidRequest
from tether_stores.accounts import gateway_accounts
from tether_stores.postgres import reading
from tether_stores.reconciliation.completeness import Completeness, draw_up

__all__ = ["ROUTER"]

# One query counts all rows; a quarter of a year takes seconds.
_DAYS_MAX: Final = 92


@get("/", summary="Completeness against the gateway's reports, for some days")
async def report(
    state: State,
    from_on: Annotated[
        date | None, QueryParameter(name="from", description="The first day, UTC; default: yesterday.")
    ] = None,
    to_on: Annotated[
        date | None, QueryParameter(name="to", description="The last day, UTC; default: the first day.")
    ] = None,
) -> Completeness:
    """The report, from the gateway's lists as last fetched."""
    now = state.clock()
    first_on = from_on or now.date() - timedelta(days=1)
    last_on = to_on or first_on
    if last_on > now.date():
        raise InvalidRequest(
            "is in the future; give a day that has begun", field="from" if to_on is None else "to"
        )
    if (last_on - first_on).days >= _DAYS_MAX:
        raise InvalidRequest(f"must be at most {_DAYS_MAX} days after the first", field="to")
    async with reading(state.pool) as conn:
        accounts = await gateway_accounts.all_accounts(conn, settings=state.settings)
        return await draw_up(conn, from_on=first_on, to_on=last_on, accounts=accounts, now=now)


ROUTER = Router("/api/completeness", route_handlers=[report], tags=["reconciliation"])
