"""
`/api/debtors`: debtors and their screening verdicts.

```text
GET   /api/debtors         list debtors, newest first, or those of one upload in an order
GET   /api/debtors/{id}    one debtor with all fields, its edits, and whether it can be edited
PATCH /api/debtors/{id}    edit it, and screen it again        200, 409 while a debit depends on it or after another edit
```

IBANs are masked, and searched by their last four characters only: a URL ends up in the logs of every proxy.
"""

import base64
import binascii
import re
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, Router, get, patch
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core import redaction
from tether_core.audit import facts
from tether_core.debtor_edits import DebtorChange, Field
from tether_core.errors import InvalidRequest
from tether_core.screening.verdicts import RULES
from tether_core.spreadsheet import Rules
from tether_stores import audit, debtor_edits
from tether_stores.debtor_edits import DebtorEdit, ListedEdit
from tether_stores.debtors import debtors
from tether_stores.debtors.debtors import DebtorDetail, DebtorFilters, ListedDebtor, Sort
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.telemetry import logger
from tether_stores.uploads import problems
from tether_stores.uploads.problems import ListedProblem

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Limit, Page, decode_cursor, page
from tether_web.http.parameters import BIGINT_MAX, Id, printable

__all__ = ["ROUTER", "DebtorResponse", "EditBody", "EditResponse", "EditWarning"]

_log = logger("debtors")

_SORTS: Final[dict[str, tuple[Sort, bool]]] = {
    "row": ("row", False),
    "amount": ("amount", False),
    "-amount": ("amount", True),
    "name": ("name", False),
}


class DebtorResponse(msgspec.Struct, frozen=True):
    """
    One debtor.

    Attributes:
        debtor: All fields from the file; account numbers in the extra fields are masked.
        warnings: Warnings about the row of the file.
        version: How often it was edited; an edit names it.
        edits: Who changed what, newest first.
        obstacle: Why it cannot be edited now; null if it can.
    """

    debtor: DebtorDetail
    warnings: list[ListedProblem]
    version: int
    edits: list[ListedEdit]
    obstacle: str | None


class EditBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    An edit of a debtor.

    Attributes:
        version: The version of the debtor that it was made for, as `GET` gives it.
        reason: Why; stored with the edit.
        changes: Field to its new value, null for none; empty to screen the debtor again. Values are read by the rules of files; amounts
            are whole cents, days are written 2026-03-31.
        collect: Whether the debtor is to be collected where screening leaves that to a person: it may have been debited before.
    """

    version: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 2)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    changes: dict[
        Field,
        Annotated[str, msgspec.Meta(max_length=1_000)]
        | Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
        | None,
    ] = {}
    collect: bool = False


class EditWarning(msgspec.Struct, frozen=True):
    """
    A warning about a new value.

    Attributes:
        field: The field.
        code: A code of the problems of files.
        note: What is wrong and what to do.
    """

    field: str
    code: str
    note: str


class EditResponse(msgspec.Struct, frozen=True):
    """
    What an edit did.

    Attributes:
        changes: The fields that differ, account numbers masked.
        verdict_before: The verdict of screening before.
        warnings: Warnings about the new values.
        debtor: The debtor now.
    """

    changes: list[DebtorChange]
    verdict_before: str
    warnings: list[EditWarning]
    debtor: DebtorResponse


@get(
    "/",
    summary="List debtors",
    responses=described(Page[ListedDebtor]),
)
async def listed(
    state: State,
    upload: Annotated[
        int | None, Parameter(ge=1, le=BIGINT_MAX, description="Only debtors of this upload.")
    ] = None,
    verdict: Annotated[
        str | None,
        Parameter(
            description='Only debtors with this screening verdict: "clear", or the rule that excluded them.',
            max_length=40,
        ),
    ] = None,
    name: Annotated[
        str | None, Parameter(description="Only names with words that begin with these.", max_length=100)
    ] = None,
    reference: Annotated[
        str | None, Parameter(description="Only with exactly this reference.", max_length=500)
    ] = None,
    iban_tail: Annotated[
        str | None,
        Parameter(description="Only IBANs that end in these four characters.", pattern="^[A-Za-z0-9]{4}$"),
    ] = None,
    sort: Annotated[
        Literal["newest", "row", "amount", "-amount", "name"],
        Parameter(description="All but `newest` require `upload`."),
    ] = "newest",
    cursor: Annotated[
        str | None, Parameter(description="`next` of the previous page.", max_length=1_000)
    ] = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of debtors."""
    if verdict is not None and verdict not in {"clear", *RULES}:
        raise InvalidRequest(f"must be one of clear, {', '.join(RULES)}", field="verdict")
    filters = DebtorFilters(
        upload_id=upload,
        verdict=verdict,
        name=None if name is None else _words(name),
        reference=reference,
        iban_tail=None if iban_tail is None else iban_tail.upper(),
    )
    if upload is None and sort != "newest":
        raise InvalidRequest("needs `upload`; without it debtors are listed newest first", field="sort")

    async def load(cursor: str | None, limit: int) -> Page[ListedDebtor]:
        return await _page(state, filters, sort=sort, cursor=cursor, limit=limit)

    return await in_form(form, load, row=ListedDebtor, name="debtors", cursor=cursor, limit=limit)


async def _page(
    state: State, filters: DebtorFilters, *, sort: str, cursor: str | None, limit: int
) -> Page[ListedDebtor]:
    if sort == "newest":
        async with reading(state.pool) as conn:
            rows = await debtors.listed(conn, filters=filters, limit=limit + 1, before=decode_cursor(cursor))
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)
    by, descending = _SORTS[sort]
    async with reading(state.pool) as conn:
        rows = await debtors.listed_sorted(
            conn,
            filters=filters,
            sort=by,
            descending=descending,
            limit=limit + 1,
            after=_decoded(cursor, sort),
        )
    last = rows[:limit][-1] if len(rows) > limit else None
    key = None if last is None else debtors.sort_key(last, sort=by, descending=descending)
    return Page(rows[:limit], None if last is None or key is None else _encoded(sort, key, last.id))


@get("/{debtor_id:int}", summary="One debtor")
async def detail(state: State, debtor_id: Id) -> DebtorResponse:
    """One debtor with all fields from the file."""
    async with reading(state.pool) as conn:
        found = await _detail(conn, debtor_id)
    if found is None:
        raise NotFoundException("There is no such debtor")
    return found


@patch("/{debtor_id:int}", summary="Edit a debtor, and screen it again")
async def edit(
    request: ApiRequest,
    state: State,
    debtor_id: Id,
    data: JSONBody[EditBody],
) -> EditResponse:
    """Change fields of a debtor; the counts of its upload follow, and its account is checked again.

    Refused with 409 while a debit of it is waiting, unknown, collected, refunded or tried again, and after another edit.
    """
    order = DebtorEdit(
        version=data.version,
        changes=data.changes,
        reason=_reason(data.reason),
        edited_by=request.user,
        collect=data.collect,
    )
    settings, now = state.settings, state.clock()
    async with transaction(state.pool) as conn:
        done = await debtor_edits.edit(
            conn,
            debtor_id,
            order,
            key=settings.fingerprint_key.encode(),
            policy=settings.screening,
            rules=Rules(),
            now=now,
            epoch_holds=await state.watch.holds(conn),
        )
        found = None if done is None else await _detail(conn, debtor_id)
        if done is not None:
            # The fields by name; their values are in the debtor's own history, which an erasure reaches.
            await audit.record(
                conn,
                request.auth.actor,
                "debtor.edited",
                subject="debtor",
                subject_id=debtor_id,
                reason=order.reason,
                after=facts(
                    fields=", ".join(change.field for change in done.changes),
                    version=done.version,
                    verdict=done.verdict,
                ),
                now=now,
            )
    if done is None or found is None:
        raise NotFoundException("There is no such debtor")
    fields = [change.field for change in done.changes]
    _log.info("debtor edited", debtor_id=debtor_id, version=done.version, fields=fields, verdict=done.verdict)
    warnings = [EditWarning(warning.column, warning.code, warning.note) for warning in done.warnings]
    return EditResponse(list(done.changes), done.verdict_before, warnings, found)


def _reason(text: str) -> str:
    reason = redaction.text(printable(" ".join(text.split()), field="reason"))
    if not reason:
        raise InvalidRequest("say why the debtor is edited", field="reason")
    return reason


async def _detail(conn: Connection, debtor_id: int) -> DebtorResponse | None:
    found = await debtors.by_id(conn, debtor_id)
    if found is None:
        return None
    debtor = found.debtor
    warnings = (
        await problems.of_row(conn, debtor.upload_id, row=debtor.row)
        if debtor.upload_id is not None and debtor.row is not None
        else []
    )
    extra = None if found.extra is None else {key: redaction.text(text) for key, text in found.extra.items()}
    return DebtorResponse(
        msgspec.structs.replace(found, extra=extra),
        warnings,
        await debtor_edits.version(conn, debtor_id),
        await debtor_edits.listed(conn, debtor_id),
        await debtor_edits.obstacle(conn, debtor_id, upload_id=debtor.upload_id),
    )


def _words(name: str) -> str:
    words = re.findall(r"\w+", name)
    if not words:
        raise InvalidRequest("needs a letter or digit", field="name")
    return " & ".join(f"{word}:*" for word in words)


def _encoded(sort: str, key: str, row_id: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([sort, key, row_id])).rstrip(b"=").decode()


def _decoded(cursor: str | None, sort: str) -> tuple[str, int] | None:
    if cursor is None:
        return None
    try:
        data = base64.b64decode(
            cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        )
        result, key, row_id = msgspec.json.decode(
            data, type=tuple[str, str, Annotated[int, msgspec.Meta(ge=0, le=BIGINT_MAX)]]
        )
        if result == sort and "\x00" not in key and (sort == "name" or re.fullmatch(r"-?[0-9]{1,18}", key)):
            return key, row_id
    except (binascii.Error, ValueError, msgspec.DecodeError):
        pass
    raise InvalidRequest("is not a cursor of this list; start again without it", field="cursor")


ROUTER: Final = Router("/api/debtors", route_handlers=[listed, detail, edit], tags=["debtors"])
