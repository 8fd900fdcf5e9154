"""
`GET /api/uploads/{id}/problems`: the problems of an upload, by row.

As JSON by cursor, in the order of the file; or as a CSV or XLSX report with the original rows and columns, and to their right what is
wrong and what to do. The report can be corrected and uploaded again: the added columns are ignored, and the prefix that keeps cells
from running as formulas is removed.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream
from tether_core.errors import InvalidRequest
from tether_core.retention.periods import NoLongerKept
from tether_core.spreadsheet import CODES, Debtor, Plan
from tether_core.uploads.problems import note
from tether_core.uploads.report import REPORT_COLUMNS, report_header, report_row
from tether_stores.debtors import debtors
from tether_stores.postgres import Pool, connection
from tether_stores.uploads import problems as stored
from tether_stores.uploads import uploads
from tether_stores.uploads.problems import ListedProblem

from tether_web.http.file_response import disposition
from tether_web.http.pagination import LIMIT, LIMIT_MAX, Cursor, Page
from tether_web.http.parameters import Id
from tether_web.http.table_export import as_csv, as_xlsx

__all__ = ["problems"]

# Rows fetched at a time while a report is written; a row has a few hundred bytes.
_BATCH = 500
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@get(
    "/{upload_id:int}/problems",
    summary="The problems of an upload, by row",
    responses={
        200: ResponseSpec(
            Page[ListedProblem], generate_examples=False, description="JSON, CSV or XLSX, by `format`."
        )
    },
)
async def problems(
    state: State,
    upload_id: Id,
    form: Annotated[
        Literal["json", "csv", "xlsx"],
        QueryParameter(name="format", description="A list by cursor, or a file to correct and upload again."),
    ] = "json",
    what: Annotated[
        Literal["refused", "excluded"],
        Parameter(description="For CSV and XLSX: rows with problems, or rows that screening excluded."),
    ] = "refused",
    level: Annotated[
        Literal["error", "warning"] | None, Parameter(description="For JSON: only problems of this level.")
    ] = None,
    code: Annotated[
        str | None, Parameter(description="For JSON: only problems with this code.", max_length=40)
    ] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Parameter(ge=1, le=LIMIT_MAX, description="Problems in a page.")] = LIMIT,
) -> Response[Any]:
    """The problems as a list, or as a report."""
    async with connection(state.pool) as conn:
        found = await uploads.by_id(conn, upload_id)
        if found is None:
            raise NotFoundException("There is no such upload")
        if found.problems_removed_at is not None and what == "refused":
            raise NoLongerKept(
                f"The problems were removed on {found.problems_removed_at:%Y-%m-%d} and are",
                advice="Their counts are; upload the file again with dry_run=true to see them.",
            )
        if form == "json":
            if code is not None and code not in CODES:
                raise InvalidRequest(f"must be one of {', '.join(CODES)}", field="code")
            after = _decoded(cursor)
            rows = await stored.listed(conn, upload_id, limit=limit + 1, after=after, level=level, code=code)
            return Response(_page(rows, limit=limit))
    if found.plan is None:
        raise InvalidRequest("the file was not examined yet, so there is no report", field="format")
    lines = (
        _refused(state.pool, upload_id, found.plan, unlisted=note(found.upload.listed))
        if what == "refused"
        else _excluded(state.pool, upload_id, found.plan)
    )
    header = report_header(found.plan)
    kind = "problems" if what == "refused" else "excluded"
    name = f"{found.upload.filename.rpartition('.')[0] or found.upload.filename} ({kind}).{form}"
    headers = {"Content-Disposition": disposition(name)}
    if form == "csv":
        chunks = as_csv(header, lines, delimiter=found.plan.delimiter or ";")
        return Stream(chunks, headers=headers, media_type="text/csv; charset=utf-8")
    return Stream(as_xlsx(header, lines), headers=headers, media_type=_XLSX)


async def _refused(pool: Pool, upload_id: int, plan: Plan, *, unlisted: str) -> AsyncIterator[list[str]]:
    """The rows with problems, a batch at a time; no connection is held while the client reads."""
    after = 0
    while True:
        async with connection(pool) as conn:
            rows = await stored.of_rows(conn, upload_id, after_row=after, limit=_BATCH)
        if not rows:
            if unlisted:
                # A note in a single cell below a blank row, which is not read as a debtor when the report is uploaded again.
                width = len(plan.headers) + len(REPORT_COLUMNS)
                yield [""] * width
                yield [*[""] * (width - 1), unlisted]
            return
        for row in rows:
            yield report_row(row.row, row.cells, plan=plan, problems=row.problems)
        after = rows[-1].row


async def _excluded(pool: Pool, upload_id: int, plan: Plan) -> AsyncIterator[list[str]]:
    after = 0
    while True:
        async with connection(pool) as conn:
            rows = await debtors.excluded(conn, upload_id, after_row=after, limit=_BATCH)
        if not rows:
            return
        for row in rows:
            yield report_row(row.debtor.row, _cells(row.debtor, plan), plan=plan, reasons=row.reasons)
        after = rows[-1].debtor.row


def _cells(debtor: Debtor, plan: Plan) -> Sequence[str]:
    """A debtor's fields in the columns from which they were read; columns that were not read stay blank."""
    values = {**(debtor.extra or {}), **msgspec.structs.asdict(debtor)}
    values["amount"] = f"{debtor.amount_minor // 100}.{debtor.amount_minor % 100:02d}"
    if plan.amount_format == "comma":
        values["amount"] = values["amount"].replace(".", ",")
    cells = [""] * len(plan.columns)
    for field, position in (*plan.fields.items(), *plan.kept.items()):
        value = values.get(field)
        cells[position] = "" if value is None else str(value)
    return cells


def _page(rows: list[ListedProblem], *, limit: int) -> Page[ListedProblem]:
    more = len(rows) > limit
    last = rows[:limit][-1] if rows else None
    return Page(rows[:limit], _encoded(last) if more and last is not None else None)


def _encoded(last: ListedProblem) -> str:
    return base64.urlsafe_b64encode(b"row:%d:%d" % (last.row, last.ordinal)).rstrip(b"=").decode()


def _decoded(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, -1
    try:
        text = base64.b64decode(
            cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        )
        head, row, ordinal = text.decode("ascii").split(":")
        if head == "row" and len(row) < 10 and len(ordinal) < 5:
            return int(row), int(ordinal)
    except (binascii.Error, ValueError):
        pass
    raise InvalidRequest("is not a cursor of this list; start again without it", field="cursor")
