"""`GET /api/uploads/{id}/totals`: what the debtors of an upload owe, and what became of their debits, over all runs."""

from typing import Final

from litestar import Router, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from tether_stores.billing import billing_runs
from tether_stores.postgres import reading
from tether_stores.uploads import totals
from tether_stores.uploads.totals import UploadTotals

from tether_web.http.parameters import Id

__all__ = ["ROUTER"]

# All debits of an upload are read: a second for a million.
_READ_S: Final = 30.0


@get("/{upload_id:int}/totals", summary="Totals of an upload over all of its runs")
async def of_upload(state: State, upload_id: Id) -> UploadTotals:
    """By currency; no sum has two. `/api/figures?upload=` has what was returned, refunded and kept."""
    async with reading(state.pool, limit_s=_READ_S) as conn:
        if await billing_runs.upload_state(conn, upload_id) is None:
            raise NotFoundException("There is no such upload")
        return await totals.of_upload(conn, upload_id)


ROUTER: Final = Router("/api/uploads", route_handlers=[of_upload], tags=["uploads"])
