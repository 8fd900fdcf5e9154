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
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import psycopg
from litestar import Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, Parameter
from litestar.response import Stream
from tether_core.audit import facts
from tether_core.errors import ConflictingContent, InvalidRequest, StoreUnreachable
from tether_core.jobs import INTAKE, INTAKE_SHORT
from tether_core.retention.periods import NoLongerKept
from tether_core.screening.questions import RepeatGroup
from tether_core.spreadsheet import Answers, Plan, PreviewRow
from tether_core.uploads.file_keys import content_key, object_key
from tether_core.uploads.problems import note
from tether_core.uploads.turns import ahead, waits_reason
from tether_core.uploads.upload import UploadState, UploadStep, step
from tether_stores import audit, objects
from tether_stores.jobs.queue import wake
from tether_stores.objects import Objects
from tether_stores.postgres import Connection, ConnectionLost, reading, transaction
from tether_stores.telemetry import logger
from tether_stores.traces import parents
from tether_stores.uploads import screening_answers, turns, uploads, withdrawals
from tether_stores.uploads.uploads import NewUpload, Upload
from tether_stores.uploads.withdrawals import Withdrawal

from tether_web.http.auth import ApiRequest
from tether_web.http.file_response import byte_range, disposition, matches
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.multipart import Received, receive
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import Id, reason_of
from tether_web.uploads import problems as uploads_problems
from tether_web.uploads.form import AnswersBody, flag, json_part, read_answers, word_lists
from tether_web.uploads.upload_lines import UploadLine, line_of

__all__ = ["ROUTER", "Links", "PreviewResponse", "UploadDetail", "UploadResponse"]


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


def links_of(upload_id: int) -> Links:
    """The routes about an upload."""
    route = f"/api/uploads/{upload_id}"
    return Links(
        route, f"{route}/file", f"{route}/preview", f"{route}/problems", f"/api/debtors?upload={upload_id}"
    )


@post(
    "/",
    status_code=202,
    summary="Upload a file of debtors",
    request_max_body_size=None,  # bounded while it streams, by TETHER_UPLOAD_MAX_BYTES
    responses={
        200: ResponseSpec(UploadResponse, generate_examples=False, description="Stored already; see note."),
        202: ResponseSpec(
            UploadResponse, generate_examples=False, description="Stored; the worker reads it."
        ),
    },
)
async def send(request: ApiRequest, state: State) -> Response[UploadResponse]:
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
            if is_new:
                await parents.remember(conn, "upload", [upload_id], now=now)
                await audit.record(
                    conn,
                    request.auth.actor,
                    "upload.received",
                    subject="upload",
                    subject_id=upload_id,
                    after=facts(
                        size_bytes=recording.size_bytes,
                        sha256=recording.sha256.hex(),
                        dry_run=recording.dry_run,
                        forced=recording.forced,
                    ),
                    now=now,
                )
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


def _recording(received: Received, *, added_by: str) -> NewUpload:
    fields = dict(received.fields)
    answers_body = AnswersBody(
        mapping=json_part(fields, "mapping"),
        formats=json_part(fields, "formats"),
        encoding=fields.pop("encoding", "").strip() or None,
        collect=word_lists(fields, "collect"),
        keep_columns=flag(fields, "keep_columns"),
    )
    dry_run, forced = flag(fields, "dry_run"), flag(fields, "force")
    if fields:
        known = "file, mapping, formats, encoding, collect, keep_columns, dry_run, force"
        raise InvalidRequest(f"is not a part of the form; use {known}", field=next(iter(fields))[:40])
    answers = read_answers(answers_body)
    return NewUpload(
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
    request: ApiRequest, state: State, upload_id: Id, data: JSONBody[AnswersBody]
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
            await audit.record(
                conn,
                request.auth.actor,
                "upload.answered",
                subject="upload",
                subject_id=upload_id,
                after=facts(**data.screening, remember=data.remember),
                now=now,
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
                why="Another upload has the same file with the same answers. Use that one, or send the file again with the option force.",
            ) from None
        if not is_changed:
            # Another request was faster; this raises the error.
            step((await _found(conn, upload_id)).upload.state, next_step)
        await audit.record(
            conn,
            request.auth.actor,
            "upload.answered",
            subject="upload",
            subject_id=upload_id,
            before=facts(state=before),
            after=facts(state=after, columns=len(data.mapping), formats=len(data.formats)),
            now=now,
        )
        found = await _found(conn, upload_id)
    await _wake(state)
    return UploadResponse(upload_id, found.upload, links_of(upload_id))


@get("/", summary="List uploads, newest first", responses=described(Page[Upload]))
async def listed(
    state: State,
    status: Annotated[UploadState | None, Parameter(description="Only uploads in this state.")] = None,
    filename: Annotated[
        str | None,
        Parameter(
            description="Only uploads whose file name contains this, in any case.",
            min_length=1,
            max_length=200,
        ),
    ] = None,
    account: Annotated[
        str | None,
        Parameter(
            description="Only uploads that were billed with this gateway account, and with no other.",
            max_length=32,
        ),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of uploads."""

    async def load(cursor: str | None, limit: int) -> Page[Any]:
        async with reading(state.pool) as conn:
            rows: list[Any] = list(
                await uploads.listed(
                    conn,
                    limit=limit + 1,
                    before=decode_cursor(cursor),
                    state=status,
                    filename=filename,
                    account=account,
                )
            )
        if form != "json":
            rows = [line_of(row) for row in rows]
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=UploadLine, name="uploads", cursor=cursor, limit=limit)


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
    turn = await turns.turn(conn, upload_id, now=now)
    if turn is None or turn.due_at is None or turn.is_held:
        return None, ""
    queued = await turns.waiting(conn, now=now)
    place = ahead(queued.uploads, upload_id, turns=queued.turns, now=now)
    return place, waits_reason(
        place, due_at=turn.due_at, is_held=turn.is_held, was_begun=turn.is_planned, now=now
    )


@delete("/{upload_id:int}", status_code=200, summary="Withdraw an upload, while nothing of it was submitted")
async def withdraw(
    request: ApiRequest,
    state: State,
    upload_id: Id,
    reason: Annotated[str, Parameter(description="Why; required.", max_length=500)] = "",
) -> UploadDetail:
    """Its debtors are ignored from then on, its runs are cancelled, and the file can be uploaded again.

    Refused with 409 once any debit of it was, or may have been, submitted. A second withdrawal changes nothing.
    """
    reason = reason_of(reason)
    now = state.clock()
    async with transaction(state.pool) as conn:
        done = await withdrawals.withdraw(
            conn,
            upload_id,
            withdrawn_by=request.user,
            reason=reason,
            now=now,
            epoch_holds=await state.watch.holds(conn),
        )
        if done is None:
            raise NotFoundException("There is no such upload")
        if done.is_new:
            await audit.record(
                conn,
                request.auth.actor,
                "upload.withdrawn",
                subject="upload",
                subject_id=upload_id,
                reason=reason,
                after=facts(cancelled_runs=len(done.cancelled)),
                now=now,
            )
        detail = await _detail(conn, upload_id, now=now)
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
async def file(request: ApiRequest, state: State, upload_id: Id) -> Response[Any]:
    """Stream the file or a range of it; the ETag is its digest."""
    async with reading(state.pool) as conn:
        found = await _found(conn, upload_id)
    if found.file_removed_at is not None:
        raise NoLongerKept(
            f"The file was removed on {found.file_removed_at:%Y-%m-%d} and is",
            advice="The debtors of it and its counts are; ask its sender for the file.",
        )
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


ROUTER: Final = Router(
    "/api/uploads",
    route_handlers=[send, answer, listed, detail, withdraw, file, preview, uploads_problems.problems],
    tags=["uploads"],
)
