"""`GET /api/completeness`: whether our books hold everything the gateway knows of some days."""

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

# Its rows are counted in one go; a quarter of a year stays within seconds.
_DAYS_MAX: Final = 92


@get("/", summary="What the gateway knows of some days, and how we came to know it")
async def report(
    state: State,
    from_on: Annotated[
        date | None, QueryParameter(name="from", description="The first day, UTC; yesterday where excluded.")
    ] = None,
    to_on: Annotated[
        date | None, QueryParameter(name="to", description="The last day, UTC; the first where excluded.")
    ] = None,
) -> Completeness:
    """The report, from the lists as they were last read."""
    now = state.clock()
    first_on = from_on or now.date() - timedelta(days=1)
    last_on = to_on or first_on
    if (last_on - first_on).days >= _DAYS_MAX:
        raise InvalidRequest(f"ask for at most {_DAYS_MAX} days at once", field="to")
    async with reading(state.pool) as conn:
        accounts = await gateway_accounts.all_accounts(conn, settings=state.settings)
        return await draw_up(conn, from_on=first_on, to_on=last_on, accounts=accounts, now=now)


ROUTER = Router("/api/completeness", route_handlers=[report], tags=["reconciliation"])
