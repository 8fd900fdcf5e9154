"""
`GET /api/chargebacks`: list chargebacks; `GET /api/chargebacks/by-code`: counts and totals by reason code.

The list is JSON by cursor, or a CSV with all matching rows. IBANs are masked in both.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, Router, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream
from tether_core.blacklist import policy_for
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet.cells import neutralise
from tether_stores.payments import chargebacks
from tether_stores.payments.chargebacks import ChargedBackDebit
from tether_stores.postgres import Pool, reading

from tether_web.http.auth import ApiRequest
from tether_web.http.file_response import disposition
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor
from tether_web.http.parameters import BIGINT_MAX
from tether_web.http.scopes import require_upload
from tether_web.http.table_export import as_csv

__all__ = ["ROUTER", "ChargebackCodes"]

Upload = Annotated[
    int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only debits of the billing runs of this upload.")
]
Account = Annotated[str | None, Parameter(description="Only debits of this gateway account.", max_length=32)]

# Rows fetched at a time while a CSV is written.
_BATCH: Final = 500
_HEADER: Final = (
    *("attempt", "transaction_id", "unique_id", "amount", "currency", "reason_code", "meaning", "account"),
    *("debtor", "name", "reference", "iban", "run", "upload", "due_item", "created_at", "updated_at"),
)


class ChargebackCode(msgspec.Struct, frozen=True):
    """
    The chargebacks of one code.

    Attributes:
        reason_code: The code, such as AC04; null for those without a code.
        meaning: The meaning of the code, as a sentence.
        currency: ISO 4217.
        count: Number of chargebacks.
        amount_minor: Their total, in whole minor units.
    """

    reason_code: str | None
    meaning: str
    currency: str
    count: int
    amount_minor: int


class ChargebackCodes(msgspec.Struct, frozen=True):
    """
    Chargebacks by code.

    Attributes:
        count: Number of chargebacks.
        codes: By code and currency, the most frequent first.
    """

    count: int
    codes: list[ChargebackCode]


@get("/by-code", summary="Counts and totals of chargebacks by reason code")
async def by_code(
    request: ApiRequest, state: State, upload: Upload = None, account: Account = None
) -> ChargebackCodes:
    """For all debits, an upload, or a gateway account."""
    async with reading(state.pool) as conn:
        await require_upload(conn, request.auth.accounts, upload)
        counted = await chargebacks.by_code(conn, upload_id=upload, account=account)
    codes = [
        ChargebackCode(
            code_count.reason_code,
            policy_for(code_count.reason_code).meaning,
            code_count.currency,
            code_count.count,
            code_count.amount_minor,
        )
        for code_count in sorted(counted, key=lambda item: -item.count)
    ]
    return ChargebackCodes(sum(code_count.count for code_count in counted), codes)


@get(
    "/",
    summary="List chargebacks, newest debit first",
    responses={
        200: ResponseSpec(
            Page[ChargedBackDebit], generate_examples=False, description="JSON or CSV, by `format`."
        )
    },
)
async def listed(
    request: ApiRequest,
    state: State,
    upload: Upload = None,
    reason_code: Annotated[
        str | None,
        Parameter(
            description="Only chargebacks with this code, such as AC04; `none` for those without a code.",
            max_length=35,
        ),
    ] = None,
    account: Account = None,
    form: Annotated[
        Literal["json", "csv"],
        QueryParameter(name="format", description="A list by cursor, or a file with all matching rows."),
    ] = "json",
    cursor: Cursor = None,
    limit: Limit = LIMIT,
) -> Response[Any]:
    """
    Debits that were charged back and not won back. All filters can be combined.

    A page may have fewer rows than `limit`, or none, and still have a `next`: continue until `next` is null.
    """
    code = None if reason_code is None else _code(reason_code)
    filters: dict[str, Any] = {"upload_id": upload, "reason_code": code, "account": account}
    async with reading(state.pool) as conn:
        await require_upload(conn, request.auth.accounts, upload)
        if form == "json":
            rows, last = await chargebacks.page_of(conn, **filters, before=decode_cursor(cursor), limit=limit)
            return Response(Page(rows, None if last is None else encode_cursor(last)))
    name = "chargebacks.csv" if upload is None else f"chargebacks of upload {upload}.csv"
    return Stream(
        as_csv(_HEADER, _lines(state.pool, filters), delimiter=";"),
        headers={"Content-Disposition": disposition(name)},
        media_type="text/csv",
    )


async def _lines(pool: Pool, filters: dict[str, Any]) -> AsyncIterator[list[str]]:
    """All rows, a batch at a time; no connection is held while the client reads."""
    before: int | None = None
    while True:
        async with reading(pool) as conn:
            rows, before = await chargebacks.page_of(conn, **filters, before=before, limit=_BATCH)
        for row in rows:
            yield _line(row)
        if before is None:
            return


def _line(row: ChargedBackDebit) -> list[str]:
    cells = (
        row.attempt_id,
        row.transaction_id,
        row.unique_id,
        f"{row.amount_minor // 100}.{row.amount_minor % 100:02d}",
        row.currency,
        row.reason_code,
        policy_for(row.reason_code).meaning,
        row.account,
        row.debtor_id,
        row.name,
        row.reference,
        row.iban_masked,
        row.run_id,
        row.upload_id,
        row.due_item,
        row.created_at.isoformat(),
        row.updated_at.isoformat(),
    )
    return ["" if cell is None else neutralise(str(cell)) for cell in cells]


def _code(reason_code: str) -> str:
    if reason_code.lower() == "none":
        return ""
    if not reason_code or not reason_code.isascii() or not reason_code.isalnum():
        raise InvalidRequest("must be a code such as AC04, or none", field="reason_code")
    return reason_code.upper()


ROUTER: Final = Router("/api/chargebacks", route_handlers=[by_code, listed], tags=["billing attempts"])
