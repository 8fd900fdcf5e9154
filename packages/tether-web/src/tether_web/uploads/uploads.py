"""
`/api/uploads`: upload files of debtors, and follow, answer and withdraw uploads.

```text
POST /api/uploads                  store a file, sent as multipart                              202, or 200 for a repeat
POST /api/uploads/{id}/answers     answer its questions, or read a failed one again             202
DELETE /api/uploads/{id}           withdraw it, while nothing of it was submitted               200, or 409
GET  /api/uploads[/{id}]           state, progress, counts, decisions, questions
GET  /api/uploads/{id}/file        the original file; ranges, ETag
GET  /api/uploads/{id}/preview     the first rows as read
GET  /api/uploads/{id}/problems    the problems by row; JSON by cursor, or CSV or XLSX to correct
```

A repeat is no error: the same bytes with the same answers return the stored upload, and the new copy of the bytes is deleted. With
`force` the file is stored as a new upload.
"""

import asyncio
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import psycopg
from litestar import Litestar, Request, Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, RequestBody, Schema
from litestar.params import JSONBody, Parameter
from litestar.response import Stream
from tether_core.errors import ConflictingContent, InvalidRequest, StoreUnreachable
from tether_core.jobs import INTAKE, INTAKE_SHORT
from tether_core.screening.questions import Answer, RepeatGroup
from tether_core.screening.verdicts import Subject
from tether_core.spreadsheet import Answers, Plan, PreviewRow
from tether_core.uploads.problems import note
from tether_core.uploads.turns import ahead, waits_reason
from tether_core.uploads.upload import UploadState, UploadStep, content_key, object_key, step
from tether_stores import objects
from tether_stores.jobs.queue import wake
from tether_stores.objects import Objects
from tether_stores.postgres import Connection, ConnectionLost, reading, transaction
from tether_stores.telemetry import logger
from tether_stores.uploads import screening_answers, uploads, withdrawals
from tether_stores.uploads.uploads import LayoutAnswer, Recording, Upload
from tether_stores.uploads.withdrawals import Withdrawal

from tether_web.http.file_response import byte_range, disposition, matches
from tether_web.http.multipart import Received, receive
from tether_web.http.pagination import LIMIT, LIMIT_MAX, Page, decode_cursor, page
from tether_web.http.parameters import printable
from tether_web.uploads import problems as uploads_problems

__all__ = [
    "LAYOUT_ANSWERS",
    "ROUTER",
    "AnswersBody",
    "Links",
    "PreviewResponse",
    "UploadDetail",
    "UploadResponse",
    "describe_form",
]

Id = Annotated[int, Parameter(ge=1, le=2**63 - 1)]

_log = logger("uploads")


class Links(msgspec.Struct, frozen=True):
    """
    The routes of an upload.

    Attributes:
        self: Its progress, counts and decisions.
        file: The original file.
        preview: The first rows as read.
        problems: The problems by row.
        debtors: Its debtors.
    """

    self: str
    file: str
    preview: str
    problems: str
    debtors: str


class UploadResponse(msgspec.Struct, frozen=True):
    """
    An upload after a request of its sender.

    Attributes:
        id: The id of the upload.
        upload: The upload with its state and counts.
        links: Its routes.
        note: Further information, e.g. that the file was stored already.
    """

    id: int
    upload: Upload
    links: Links
    note: str | None = None


class UploadDetail(msgspec.Struct, frozen=True):
    """
    One upload with its plan.

    Attributes:
        id: The id of the upload.
        upload: State, progress and counts.
        summary: The same as a sentence.
        answers: The sender's answers about the file.
        plan: How the file is read, with reasons, questions and warnings; null until it was examined.
        notes: Sentences about the whole file, such as whether its total agrees.
        repeats: Rows that may have been debited before, about which a person is or was asked.
        links: Its routes.
        withdrawal: Who withdrew it, when and why; null if it was not withdrawn.
        ahead: How many other uploads are read before it; null if it does not wait, or if the number is not known.
    """

    id: int
    upload: Upload
    summary: str
    answers: Answers
    plan: Plan | None
    notes: list[str]
    repeats: list[RepeatGroup]
    links: Links
    withdrawal: Withdrawal | None = None
    ahead: int | None = None


class PreviewResponse(msgspec.Struct, frozen=True):
    """
    The first rows as read.

    Attributes:
        state: The state of the upload.
        plan: As in the upload.
        rows: The first rows; empty until the file was examined.
    """

    state: UploadState
    plan: Plan | None
    rows: list[PreviewRow]


class AnswersBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Answers about a file, with the fields of the upload form.

    Attributes:
        mapping: Field to column: its header, its number from 1, or null for "no column".
        formats: Any of delimiter, quote, sheet, header_row, amount_format, date_order, hidden_rows, currency.
        encoding: The encoding of a text file.
        collect: Column, by its header or number, to the words whose rows are collected: "" for blank cells, "*" for every row.
        keep_columns: Whether unknown columns are stored unchanged with each debtor.
        screening: What to do with rows that may have been debited before, by the code of the question: take or exclude.
        remember: Whether that answer holds for later files of this layout.
    """

    mapping: dict[str, str | int | None] = {}
    formats: dict[str, str | int | None] = {}
    encoding: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    collect: dict[str, list[str]] = {}
    keep_columns: bool = False
    screening: dict[Subject, Answer] = {}
    remember: bool = False


def links_of(upload_id: int) -> Links:
    """The routes about an upload."""
    route = f"/api/uploads/{upload_id}"
    return Links(
        route, f"{route}/file", f"{route}/preview", f"{route}/problems", f"/api/debtors?upload={upload_id}"
    )


_FORM: Final = Schema(
    type=OpenAPIType.OBJECT,
    required=["file"],
    properties={
        "file": Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream"),
        "mapping": Schema(
            type=OpenAPIType.STRING,
            description="JSON: field to column, by header, number from 1, or null.",
            examples=['{"iban": "Konto", "amount": 4}'],
        ),
        "formats": Schema(
            type=OpenAPIType.STRING,
            description="JSON: any of delimiter, quote, sheet, header_row, amount_format, date_order, hidden_rows, currency.",
            examples=['{"amount_format": "comma", "header_row": 3}'],
        ),
        "encoding": Schema(type=OpenAPIType.STRING, examples=["cp1252"]),
        "collect": Schema(
            type=OpenAPIType.STRING,
            description='JSON: column to the words whose rows are collected; "" for blank cells, "*" for every row.',
            examples=['{"S/H": ["S"]}'],
        ),
        "keep_columns": Schema(
            type=OpenAPIType.BOOLEAN,
            description="Store unknown columns unchanged with each debtor.",
        ),
        "dry_run": Schema(
            type=OpenAPIType.BOOLEAN, description="Read and screen the file, but store no debtors."
        ),
        "force": Schema(
            type=OpenAPIType.BOOLEAN, description="Store the file again even if it is stored already."
        ),
    },
)


@post(
    "/",
    status_code=202,
    summary="Upload a file of debtors",
    request_max_body_size=None,  # bounded while it streams, by TETHER_UPLOAD_MAX_BYTES
    responses={
        200: ResponseSpec(UploadResponse, description="Stored already; see note."),
        202: ResponseSpec(UploadResponse, description="Stored; the worker reads it."),
    },
)
async def send(request: Request[str, None, State], state: State) -> Response[UploadResponse]:
    """Stream the file into the object store, record the upload, and wake the worker."""
    store, now = _store(state), state.clock()
    settings = state.settings
    declared = request.headers.get("content-length", "")
    received = await receive(
        request.stream(),
        content_type=request.headers.get("content-type", ""),
        declared_bytes=int(declared) if declared.isascii() and declared.isdigit() else None,
        limit_bytes=settings.upload_max_bytes,
        store=store,
        key_of=lambda name: object_key(secrets.token_hex(16), received_at=now, name=name),
    )
    try:
        recording = _recording(received, added_by=request.user)
        async with transaction(state.pool) as conn:
            upload_id, is_new = await uploads.record(conn, recording, now=now)
            found = await uploads.by_id(conn, upload_id)
    except ConnectionLost:
        # The row may have been committed; the sender's next try then finds it. A row without its object could not be
        # read; an object without a row only costs space.
        raise
    except Exception:
        await objects.delete(store, received.key)
        raise
    assert found is not None
    if not is_new:
        await objects.delete(store, received.key)
        note = (
            f"The same file was sent on {found.upload.created_at:%Y-%m-%d at %H:%M} UTC as "
            f"{found.upload.filename!r}; this is that upload. Send it with force=true to store it again."
        )
        return Response(UploadResponse(upload_id, found.upload, links_of(upload_id), note), status_code=200)
    _log.info("upload received", upload_id=upload_id, size_bytes=received.size_bytes)
    await _wake(state)
    answer = UploadResponse(upload_id, found.upload, links_of(upload_id))
    return Response(answer, status_code=202, headers={"Location": answer.links.self})


def _recording(received: Received, *, added_by: str) -> Recording:
    fields = dict(received.fields)
    answers_body = AnswersBody(
        mapping=_json(fields, "mapping"),
        formats=_json(fields, "formats"),
        encoding=fields.pop("encoding", "").strip() or None,
        collect=_word_lists(fields, "collect"),
        keep_columns=_flag(fields, "keep_columns"),
    )
    dry_run, forced = _flag(fields, "dry_run"), _flag(fields, "force")
    if fields:
        known = "file, mapping, formats, encoding, collect, keep_columns, dry_run, force"
        raise InvalidRequest(f"is not a part of the form; use {known}", field=next(iter(fields))[:40])
    answers = read_answers(answers_body)
    return Recording(
        object_key=received.key,
        filename=received.filename,
        size_bytes=received.size_bytes,
        sha256=received.sha256,
        content_key=content_key(received.sha256, answers=answers),
        answers=answers,
        dry_run=dry_run,
        forced=forced,
        added_by=added_by,
    )


def read_answers(body: AnswersBody) -> Answers:
    """
    Convert the answers of a form.

    The columns that they name need not exist in the file.

    Raises:
        InvalidRequest: when an answer has the wrong type.
    """
    formats = body.formats
    for name in ("columns", "encoding", "collect", "keep_columns"):
        if name in formats:
            raise InvalidRequest(
                f"must not contain {name}; send it as its own part of the form", field="formats"
            )
    given: Mapping[str, object] = {
        name: value
        for name, value in {
            **formats,
            "encoding": body.encoding,
            "columns": body.mapping,
            "collect": body.collect,
            "keep_columns": body.keep_columns,
        }.items()
        if value is not None
    }
    try:
        return msgspec.convert(given, Answers)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(str(exc)[:300], field="formats") from None


def _json(fields: dict[str, str], name: str) -> dict[str, Any]:
    text = fields.pop(name, "").strip()
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str | int | None])
    except (msgspec.DecodeError, UnicodeError):
        raise InvalidRequest("is not a JSON object of texts and whole numbers", field=name) from None


def _word_lists(fields: dict[str, str], name: str) -> dict[str, list[str]]:
    text = fields.pop(name, "").strip()
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, list[str]])
    except (msgspec.DecodeError, UnicodeError):
        raise InvalidRequest("is not a JSON object of columns and lists of words", field=name) from None


def _flag(fields: dict[str, str], name: str) -> bool:
    text = fields.pop(name, "").strip().lower()
    if text not in {"", "true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise InvalidRequest("must be true or false", field=name)
    return text in {"true", "1", "yes", "on"}


def _store(state: State) -> Objects:
    store: Objects | None = state.objects
    if store is None:
        raise StoreUnreachable(
            "objects", why="no object store is configured: set AWS_BUCKET or TETHER_OBJECTS_DIR"
        )
    return store


async def _wake(state: State) -> None:
    # Without Redis the worker finds the upload seconds later, by polling.
    try:
        async with asyncio.timeout(1):
            for job in (INTAKE_SHORT, INTAKE):
                await wake(state.intake_wake_up_queue, job, slot=secrets.randbelow(job.slots))
    except (StoreUnreachable, TimeoutError) as exc:
        _log.warning("wake-up failed", why=str(exc))


@post(
    "/{upload_id:int}/answers",
    status_code=202,
    summary="Answer the questions of an upload, or read a failed one again",
)
async def answer(
    request: Request[str, None, State], state: State, upload_id: Id, data: JSONBody[AnswersBody]
) -> UploadResponse:
    """
    Read the stored file again, with these answers instead of the earlier ones.

    Answers about rows that may have been debited before need no reading: the rows are taken or excluded.
    """
    answers, now = read_answers(data), state.clock()
    async with transaction(state.pool) as conn:
        found = await _found(conn, upload_id)
        if data.screening or data.remember or screening_answers.is_asked(found):
            if screening_answers.is_asked(found) and (
                data.mapping or data.formats or data.encoding or data.collect or data.keep_columns
            ):
                raise InvalidRequest(
                    "all rows of this upload are read; answer the questions about rows in `screening`, or upload the file again",
                    field="mapping",
                )
            await screening_answers.decide(
                conn, found, data.screening, remember=data.remember, by=request.user, now=now
            )
            found = await _found(conn, upload_id)
            await _wake(state)
            return UploadResponse(upload_id, found.upload, links_of(upload_id))
        before = found.upload.state
        next_step: UploadStep = "sent again" if before == "failed" else "answered"
        after = step(before, next_step)
        key = content_key(bytes.fromhex(found.upload.sha256), answers=answers)
        try:
            is_changed = await uploads.answer(
                conn, upload_id, before=before, after=after, answers=answers, content_key=key, now=now
            )
        except psycopg.errors.UniqueViolation:
            raise ConflictingContent(
                "upload",
                key="of this file with these answers",
                why="Another upload has the same file with the same answers. Use that one, or send the file again with force=true.",
            ) from None
        if not is_changed:
            # Another request was faster; this raises the error.
            step((await _found(conn, upload_id)).upload.state, next_step)
        found = await _found(conn, upload_id)
    await _wake(state)
    return UploadResponse(upload_id, found.upload, links_of(upload_id))


@get("/", summary="List uploads, newest first")
async def listed(
    state: State,
    status: Annotated[UploadState | None, Parameter(description="Only uploads in this state.")] = None,
    cursor: Annotated[
        str | None, Parameter(description="`next` of the previous page.", max_length=100)
    ] = None,
    limit: Annotated[int, Parameter(ge=1, le=LIMIT_MAX, description="Rows in a page.")] = LIMIT,
) -> Page[Upload]:
    """One page of uploads."""
    async with reading(state.pool) as conn:
        rows = await uploads.listed(conn, limit=limit + 1, before=decode_cursor(cursor), state=status)
    return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)


@get("/{upload_id:int}", summary="One upload: progress, counts, decisions, questions")
async def detail(state: State, upload_id: Id) -> UploadDetail:
    """One upload with its plan."""
    async with reading(state.pool) as conn:
        return await _detail(conn, upload_id, now=state.clock())


async def _detail(conn: Connection, upload_id: int, *, now: datetime) -> UploadDetail:
    found, withdrawal = await _found(conn, upload_id), await withdrawals.by_id(conn, upload_id)
    place, reason = await _place(conn, upload_id, now=now)
    return UploadDetail(
        upload_id,
        found.upload,
        summary(found.upload, withdrawal=withdrawal, waits=reason),
        found.answers,
        found.plan,
        found.notes,
        found.repeats,
        links_of(upload_id),
        withdrawal,
        place,
    )


async def _place(conn: Connection, upload_id: int, *, now: datetime) -> tuple[int | None, str]:
    """How many uploads are read before one that waits, and why it waits."""
    turn = await uploads.turn(conn, upload_id, now=now)
    if turn is None or turn.due_at is None or turn.is_held:
        return None, ""
    queued = await uploads.waiting(conn, now=now)
    place = ahead(queued.uploads, upload_id, turns=queued.turns, now=now)
    return place, waits_reason(
        place, due_at=turn.due_at, is_held=turn.is_held, was_begun=turn.is_planned, now=now
    )


@delete("/{upload_id:int}", status_code=200, summary="Withdraw an upload, while nothing of it was submitted")
async def withdraw(
    request: Request[str, None, State],
    state: State,
    upload_id: Id,
    reason: Annotated[str, Parameter(description="Why; required.", max_length=500)] = "",
) -> UploadDetail:
    """Its debtors are ignored from then on, its runs are cancelled, and the file can be uploaded again.

    Refused with 409 once any debit of it was, or may have been, submitted. A second withdrawal changes nothing.
    """
    reason = printable(" ".join(reason.split()), field="reason")
    if not reason:
        raise InvalidRequest("say why the upload is withdrawn", field="reason")
    async with transaction(state.pool) as conn:
        done = await withdrawals.withdraw(
            conn,
            upload_id,
            withdrawn_by=request.user,
            reason=reason,
            now=state.clock(),
            epoch_holds=await state.watch.holds(conn),
        )
        if done is None:
            raise NotFoundException("There is no such upload")
        detail = await _detail(conn, upload_id, now=state.clock())
    if done.is_new:
        _log.info("upload withdrawn", upload_id=upload_id, cancelled_runs=len(done.cancelled))
    return detail


def summary(upload: Upload, *, withdrawal: Withdrawal | None = None, waits: str = "") -> str:
    """
    The state of an upload as a sentence.

    Args:
        waits: Why it waits for its turn, as a sentence; "" if it does not wait.
    """
    row_counts = upload.row_counts
    became = "would become debtors" if upload.dry_run else "became debtors"
    counts = (
        f"{row_counts.stored:,} of {row_counts.rows:,} rows {became}; excluded: {row_counts.excluded:,}, with problems: {row_counts.refused:,}, "
        f"skipped: {row_counts.skipped:,}."
    )
    if unlisted := note(upload.listed):
        counts = f"{counts} {unlisted}"
    if withdrawal is not None:
        return (
            f"Withdrawn by {withdrawal.by} on {withdrawal.at:%Y-%m-%d} ({withdrawal.reason}); none of its debtors is billed, and "
            "the file can be uploaded again."
        )
    if upload.state == "failed":
        return upload.failure if upload.failure and not row_counts.rows else f"{upload.failure} {counts}"
    if upload.state == "needs_answer":
        waits = f"All rows are read, and some may have been debited before; answer the questions of its plan. {counts}"
        return waits if row_counts.rows else _UNREAD
    if waits:
        return f"{waits} {counts}" if row_counts.rows else waits
    being = {"completed": counts, "reading": f"Being read: {counts}", "examining": "Being examined."}
    return being.get(upload.state, "Waiting to be read.")


_UNREAD: Final = "The file has open questions; answer the questions of its plan to have it read."


@get(
    "/{upload_id:int}/file",
    summary="The original file",
    media_type="application/octet-stream",
    responses={
        206: ResponseSpec(None, description="The requested range."),
        304: ResponseSpec(None, description="Not modified: the ETag of If-None-Match is current."),
    },
)
async def file(request: Request[str, None, State], state: State, upload_id: Id) -> Response[Any]:
    """Stream the file or a range of it; the ETag is its digest."""
    async with reading(state.pool) as conn:
        found = await _found(conn, upload_id)
    etag, size_bytes = f'"{found.upload.sha256}"', found.upload.size_bytes
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
    if matches(request.headers.get("if-none-match", ""), etag):
        return Response(b"", status_code=304, headers=headers)  # `None` is no content for these media types
    wanted = None
    if request.headers.get("if-range", etag) == etag:
        wanted = byte_range(request.headers.get("range", ""), size_bytes=size_bytes)
    start, end = wanted or (0, size_bytes)
    chunks = await objects.get(_store(state), found.object_key, start=start, end=end if wanted else None)
    headers |= {
        "Content-Length": str(end - start),
        "Content-Disposition": disposition(found.upload.filename),
    }
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    return Stream(
        chunks,
        status_code=206 if wanted else 200,
        headers=headers,
        media_type="application/octet-stream",
    )


@get("/{upload_id:int}/preview", summary="The first rows as read")
async def preview(state: State, upload_id: Id) -> PreviewResponse:
    """The plan, and the first rows as read by it."""
    async with reading(state.pool) as conn:
        found = await _found(conn, upload_id)
        rows = await uploads.preview(conn, upload_id)
    read = msgspec.json.decode(rows, type=list[PreviewRow]) if rows is not None else []
    return PreviewResponse(found.upload.state, found.plan, read)


async def _found(conn: Any, upload_id: int) -> uploads.Detail:
    found = await uploads.by_id(conn, upload_id)
    if found is None:
        raise NotFoundException("There is no such upload")
    return found


@get("/", summary="Stored answers for files of a layout, newest first")
async def kept_answers(state: State) -> list[LayoutAnswer]:
    """At most a thousand."""
    async with reading(state.pool) as conn:
        return await uploads.layout_answers(conn, limit=1_000)


@delete("/{answer_id:int}", status_code=204, summary="Delete a stored answer for files of a layout")
async def forget_answer(request: Request[str, None, State], state: State, answer_id: Id) -> None:
    """The next file of the layout raises the question again; earlier decisions stay."""
    async with transaction(state.pool) as conn:
        if not await uploads.forget(conn, answer_id, by=request.user, now=state.clock()):
            raise NotFoundException("There is no such answer, or it was deleted already")
    _log.info("layout answer deleted", answer_id=answer_id, by=request.user)


LAYOUT_ANSWERS: Final = Router(
    "/api/layout-answers", route_handlers=[kept_answers, forget_answer], tags=["uploads"]
)
ROUTER: Final = Router(
    "/api/uploads",
    route_handlers=[send, answer, listed, detail, withdraw, file, preview, uploads_problems.problems],
    tags=["uploads"],
)


def describe_form(app: Litestar) -> None:
    """Add the form of `POST /api/uploads`, which the handler reads as a stream, to the OpenAPI document."""
    paths = app.openapi_schema.paths
    assert paths is not None
    operation = paths["/api/uploads"].post
    assert operation is not None
    operation.request_body = RequestBody(
        content={"multipart/form-data": OpenAPIMediaType(schema=_FORM)}, required=True
    )
