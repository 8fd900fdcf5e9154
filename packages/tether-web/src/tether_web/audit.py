"""`GET /api/audit`: who did what, from where and why; as a list by cursor, or everything that matches as CSV or NDJSON."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, Router, get
from litestar.datastructures import State
from litestar.params import Parameter, QueryParameter
from litestar.response import Stream
from tether_core.audit import Action, change_text
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet.cells import neutralise
from tether_stores import audit
from tether_stores.audit import AuditFilters, AuditRow
from tether_stores.postgres import Pool, reading

from tether_web.http.list_response import counted, described
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor
from tether_web.http.parameters import aware
from tether_web.http.table_export import as_csv

__all__ = ["ROUTER", "AuditEntry"]

_BATCH: Final = 500
_COLUMNS: Final = (
    "id",
    "acted_at",
    "actor_kind",
    "actor_id",
    "actor",
    "address",
    "action",
    "subject",
    "subject_id",
    "reason",
    "change",
)


class AuditEntry(AuditRow, frozen=True, kw_only=True):
    """
    One action, for people.

    In addition to `tether_stores.audit.AuditRow`:

    Attributes:
        change: `before` and `after` as a line.
    """

    change: str


@get(
    "/",
    summary="The audit: every action of a person or a program, newest first",
    responses=described(Page[AuditEntry]),
)
async def listed(
    state: State,
    actor: Annotated[str | None, Parameter(description="Only of this user or key.", max_length=100)] = None,
    action: Annotated[Action | None, Parameter(description="Only this action.")] = None,
    subject: Annotated[
        str | None, Parameter(description="Only about this kind of thing, such as run.", max_length=40)
    ] = None,
    subject_id: Annotated[
        str | None, Parameter(description="Only about this id; with `subject`.", max_length=100)
    ] = None,
    from_at: Annotated[datetime | None, QueryParameter(name="from", description="Not before.")] = None,
    to_at: Annotated[datetime | None, QueryParameter(name="to", description="Before.")] = None,
    form: Annotated[
        Literal["json", "csv", "ndjson", "count"],
        QueryParameter(
            name="format",
            description="A list by cursor, a file of everything that matches, or how many rows match.",
        ),
    ] = "json",
    cursor: Cursor = None,
    limit: Limit = LIMIT,
) -> Response[Any]:
    """A page may have fewer rows than `limit` before the last one, because a page examines at most 2,000 rows."""
    if subject_id is not None and subject is None:
        raise InvalidRequest("is needed with subject_id, such as run", field="subject")
    filters = AuditFilters(
        actor=actor,
        action=action,
        subject=subject,
        subject_id=subject_id,
        from_at=aware(from_at, field="from"),
        to_at=aware(to_at, field="to"),
    )

    async def load(cursor: str | None, limit: int) -> Page[AuditEntry]:
        async with reading(state.pool) as conn:
            found = await audit.page_of(conn, filters, before_id=decode_cursor(cursor), limit=limit)
        following = None if found.last is None else encode_cursor(found.last)
        return Page([_entry(row) for row in found.rows], following)

    if form == "json":
        return Response(await load(cursor, limit))
    if form == "count":
        return Response(await counted(load))
    headers = {"Content-Disposition": f'attachment; filename="audit.{form}"'}
    entries = _all(state.pool, filters)
    if form == "csv":
        lines = as_csv(_COLUMNS, _cells(entries), delimiter=",")
        return Stream(lines, headers=headers, media_type="text/csv; charset=utf-8")
    return Stream(_json_lines(entries), headers=headers, media_type="application/x-ndjson")


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(**msgspec.structs.asdict(row), change=change_text(row.before, row.after))


async def _all(pool: Pool, filters: AuditFilters) -> AsyncIterator[AuditEntry]:
    """Everything that matches, a batch at a time; no connection is held while the client reads."""
    before_id: int | None = None
    while True:
        async with reading(pool) as conn:
            found = await audit.page_of(conn, filters, before_id=before_id, limit=_BATCH)
        for row in found.rows:
            yield _entry(row)
        if found.last is None:
            return
        before_id = found.last


async def _cells(entries: AsyncIterator[AuditEntry]) -> AsyncIterator[list[str]]:
    async for entry in entries:
        values = (getattr(entry, name) for name in _COLUMNS)
        yield [
            neutralise(
                value.isoformat() if isinstance(value, datetime) else "" if value is None else str(value)
            )
            for value in values
        ]


async def _json_lines(entries: AsyncIterator[AuditEntry]) -> AsyncIterator[bytes]:
    async for entry in entries:
        yield msgspec.json.encode(entry) + b"\n"


ROUTER: Final = Router("/api/audit", route_handlers=[listed], tags=["people and keys"])
