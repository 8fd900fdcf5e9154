"""`GET /api/debtors/clean-payers`: people who paid and whose money never came back, as a file that can be uploaded again."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Final

from litestar import Router, get
from litestar.datastructures import State
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream
from tether_core.money import Money
from tether_core.spreadsheet.cells import neutralise
from tether_stores import clean_payers
from tether_stores.clean_payers import PayerHistory
from tether_stores.postgres import reading

from tether_web.http.file_response import disposition
from tether_web.http.table_export import as_csv

__all__ = ["ROUTER"]

_HEADER: Final = (
    "First name",
    "Last name",
    "Name",
    "IBAN",
    "BIC",
    "Amount",
    "Currency",
    "Debits",
    "Last debit",
)
_BATCH: Final = 2_000


@get("/clean-payers", summary="Export people who paid and never came back, as CSV", media_type="text/csv")
async def export(
    state: State,
    days: Annotated[
        int, Parameter(ge=1, le=3_650, description="Only people who were not debited for this many days.")
    ] = 30,
    debits: Annotated[
        int,
        Parameter(ge=1, le=100, description="Only people of whom at least this many debits were collected."),
    ] = 1,
    account: Annotated[
        str | None, QueryParameter(description="Only debits with this gateway account count as collected.")
    ] = None,
) -> Stream:
    """
    One line for each account number, over all uploads, with the last amount owed.

    Nobody of whom a debit was ever returned, even where it was won back; nobody with an open debit; nobody on the blacklist.
    """
    lines = _lines(state, days=days, debits=debits, account=account)
    return Stream(
        as_csv(_HEADER, lines, delimiter=";"),
        headers={"Content-Disposition": disposition("clean payers.csv")},
        media_type="text/csv",
    )


async def _lines(state: State, *, days: int, debits: int, account: str | None) -> AsyncIterator[list[str]]:
    after = 0
    now = state.clock()
    while True:
        async with reading(state.pool) as conn:
            page = await clean_payers.page(
                conn,
                after=after,
                limit=_BATCH,
                debits_min=debits,
                account=account,
                before=now - timedelta(days=days),
                now=now,
            )
        for payer in page:
            if payer.is_clean:
                yield [neutralise(cell) for cell in _cells(payer)]
        if len(page) < _BATCH:
            return
        after = page[-1].id


def _cells(payer: PayerHistory) -> tuple[str, ...]:
    return (
        payer.first_name or "",
        payer.last_name or "",
        payer.name,
        payer.iban,
        payer.bic or "",
        str(Money(payer.amount_minor, payer.currency).decimal),
        payer.currency,
        str(payer.debits),
        "" if payer.last_on is None else payer.last_on.isoformat(),
    )


ROUTER: Final = Router("/api/debtors", route_handlers=[export], tags=["uploads"])
