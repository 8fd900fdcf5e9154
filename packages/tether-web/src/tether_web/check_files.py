"""
`/api/vop/files`: accounts and names that are checked without becoming debtors.

```text
POST   /api/vop/files                    CSV of IBANs and names, up to 10,000 rows
GET    /api/vop/files                    the files, newest first
GET    /api/vop/files/{file_id}          one file and its progress
GET    /api/vop/files/{file_id}/rows     its rows with their results, account numbers masked
GET    /api/vop/files/{file_id}/report   how many names matched, nearly matched, did not match or were not available, by bank
GET    /api/vop/files/{file_id}/result   its rows with their results, as CSV with whole account numbers
DELETE /api/vop/files/{file_id}          remove it with its results
```
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from litestar.response import Stream
from tether_core import check_files as rules
from tether_core import iban as ibans
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet.cells import neutralise
from tether_core.vop import CheckState, Result
from tether_stores import audit, check_files
from tether_stores.accounts import gateway_accounts
from tether_stores.check_files import CheckedRow, CheckFile
from tether_stores.postgres import Pool, reading, transaction
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.file_response import disposition
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import Id
from tether_web.http.table_export import as_csv
from tether_web.vop import ANSWERS, VopReport, report_of

__all__ = ["ROUTER", "ListedFileRow"]

_LISTED_MAX: Final = 200
_PAGE: Final = 1_000
_COLUMNS: Final = (
    "row",
    "iban",
    "name",
    "state",
    "result",
    "score",
    "name_match",
    "name_percent",
    "bank_name",
    "bic",
    "provider",
    "reused",
    "checked_at",
)
_log = logger("vop")


class ListedFileRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    A row of a check file for people; the account is masked.

    Attributes:
        row_number: From 1, the header included.
        iban_masked: First and last four characters.
        name: As it was sent.
        state: "waiting", "checked" or "parked".
        result: What the score means; null before.
        score: How well all answers fit, in whole percent.
        name_match: "match", "near", "none" or "not_available"; null before.
        name_percent: How well a near name fits.
        bank_name: The bank's name.
        bic: The bank's BIC.
        provider: Who answered.
        is_reused: Whether an earlier answer about the same account and name was taken over.
        checked_at: When it was answered.
    """

    row_number: int
    iban_masked: str
    name: str
    state: str
    result: str | None
    score: int | None
    name_match: str | None
    name_percent: int | None
    bank_name: str | None
    bic: str | None
    provider: str | None
    is_reused: bool
    checked_at: datetime | None


@get("/", summary="List check files, newest first")
async def listed(state: State) -> list[CheckFile]:
    """At most 200; a file is removed 30 days after it came."""
    async with reading(state.pool) as conn:
        return await check_files.listed(conn, limit=_LISTED_MAX)


@post(
    "/",
    status_code=202,
    summary="Check accounts and names of a CSV file",
    request_max_body_size=rules.MAX_BYTES,
)
async def send(
    request: ApiRequest,
    state: State,
    account: Annotated[
        str, Parameter(max_length=32, description="The gateway account whose budget pays for the calls.")
    ] = gateway_accounts.DEFAULT,
) -> CheckFile:
    """
    The body is CSV in UTF-8 with a column of IBANs and a column of names; a header `iban` and `name` is optional for two columns.

    The worker checks the rows like those of an upload. None of them becomes a debtor.
    """
    given = rules.read(await request.body())
    now = state.clock()
    async with transaction(state.pool) as conn:
        names = await gateway_accounts.all_accounts(conn, settings=state.settings)
        if account not in {gateway_accounts.DEFAULT, *names}:
            raise InvalidRequest("no gateway account has this name", field="account")
        file_id = await check_files.add(conn, given, account=account, created_by=request.user, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "check_file.received",
            subject="check_file",
            subject_id=file_id,
            after=facts(rows=len(given), account=account),
            now=now,
        )
        made = await check_files.by_id(conn, file_id)
    assert made is not None
    _log.info("check file received", file_id=file_id, rows=len(given))
    return made


@get("/{file_id:int}", summary="A check file and its progress")
async def shown(state: State, file_id: Id) -> CheckFile:
    """It is finished when all rows are checked or parked."""
    async with reading(state.pool) as conn:
        found = await check_files.by_id(conn, file_id)
    if found is None:
        raise _missing()
    return found


@get(
    "/{file_id:int}/rows",
    summary="The rows of a check file with their results, account numbers masked",
    responses=described(Page[ListedFileRow]),
)
async def listed_rows(
    state: State,
    file_id: Id,
    result: Annotated[Result | None, Parameter(description="Only rows with this result.")] = None,
    status: Annotated[CheckState | None, Parameter(description="Only rows in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page, in the order of the file."""

    async def load(cursor: str | None, limit: int) -> Page[ListedFileRow]:
        async with reading(state.pool) as conn:
            if await check_files.by_id(conn, file_id) is None:
                raise _missing()
            rows = await check_files.rows(
                conn,
                file_id,
                after=decode_cursor(cursor) or 0,
                limit=limit + 1,
                result=result,
                state=status,
            )
        last = rows[:limit][-1].row_number if rows else None
        return page([_for_people(row) for row in rows], limit=limit, last_id=last)

    return await in_form(
        form, load, row=ListedFileRow, name=f"check-file-{file_id}", cursor=cursor, limit=limit
    )


def _for_people(row: CheckedRow) -> ListedFileRow:
    return ListedFileRow(
        row_number=row.row_number,
        iban_masked=ibans.mask(row.iban),
        name=row.name,
        state=row.state,
        result=row.result,
        score=row.score,
        name_match=ANSWERS.get(row.name_answer or ""),
        name_percent=row.name_percent if row.name_answer == "close" else None,
        bank_name=row.bank_name,
        bic=row.bic,
        provider=row.provider,
        is_reused=row.reused_from is not None,
        checked_at=row.checked_at,
    )


@get("/{file_id:int}/report", summary="What was answered about the names of a check file, by bank")
async def report(state: State, file_id: Id) -> VopReport:
    """Finished rows only."""
    async with reading(state.pool) as conn:
        if await check_files.by_id(conn, file_id) is None:
            raise _missing()
        return report_of(await check_files.report(conn, file_id))


@get("/{file_id:int}/result", summary="The rows of a check file with their results, as CSV")
async def result(state: State, file_id: Id) -> Stream:
    """All rows in their order; those without a result are `waiting`, or `parked`."""
    async with reading(state.pool) as conn:
        if await check_files.by_id(conn, file_id) is None:
            raise _missing()
    headers = {"Content-Disposition": disposition(f"checks-{file_id}.csv")}
    lines = _lines(state.pool, file_id)
    return Stream(as_csv(_COLUMNS, lines, delimiter=";"), headers=headers, media_type="text/csv")


@delete("/{file_id:int}", status_code=200, summary="Remove a check file with its results")
async def remove(request: ApiRequest, state: State, file_id: Id) -> CheckFile:
    """What the worker asks just now is answered in vain. The response is the file as it was."""
    async with transaction(state.pool) as conn:
        found = await check_files.by_id(conn, file_id)
        if found is None or not await check_files.remove(conn, file_id):
            raise _missing()
        await audit.record(
            conn,
            request.auth.actor,
            "check_file.removed",
            subject="check_file",
            subject_id=file_id,
            before=facts(rows=found.row_count),
            now=state.clock(),
        )
    return found


async def _lines(pool: Pool, file_id: int) -> AsyncIterator[Sequence[str]]:
    after = 0
    while True:
        async with reading(pool) as conn:
            rows = await check_files.rows(conn, file_id, after=after, limit=_PAGE)
        for row in rows:
            yield [neutralise(cell) for cell in _cells(row)]
        if len(rows) < _PAGE:
            return
        after = rows[-1].row_number


def _cells(row: CheckedRow) -> list[str]:
    cells = (
        row.row_number,
        row.iban,
        row.name,
        row.state,
        row.result,
        row.score,
        ANSWERS.get(row.name_answer or "", "").replace("_", " "),
        row.name_percent if row.name_answer == "close" else None,
        row.bank_name,
        row.bic,
        row.provider,
        "yes" if row.reused_from is not None else None,
        row.checked_at and row.checked_at.isoformat(),
    )
    return ["" if cell is None else str(cell) for cell in cells]


def _missing() -> NotFoundException:
    return NotFoundException("There is no such check file; it is removed 30 days after it came")


ROUTER: Final = Router(
    "/api/vop/files",
    route_handlers=[listed, send, shown, listed_rows, report, result, remove],
    tags=["uploads"],
)
