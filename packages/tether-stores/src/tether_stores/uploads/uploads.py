"""Uploads; the queries are in `uploads/uploads.sql`, which describes the rows."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.screening.questions import Answered, RepeatGroup
from tether_core.screening.verdicts import Subject
from tether_core.spreadsheet import Answers, Plan, Position, Preview
from tether_core.uploads.problems import KeptCounts
from tether_core.uploads.upload import RowCounts, UploadState

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = [
    "Detail",
    "NewUpload",
    "Upload",
    "advance",
    "answer",
    "by_id",
    "count_warnings",
    "decide",
    "end",
    "first_at",
    "listed",
    "planned",
    "preview",
    "record",
    "recount",
    "referenced",
    "screened",
]

_SQL: Final = load("uploads/uploads")
_encode: Final = msgspec.json.encode


class NewUpload(msgspec.Struct, frozen=True):
    """
    A file on its way into the table; its object is in the store.

    Attributes:
        object_key: Where the object lies.
        filename: What the sender called it.
        size_bytes: Its size.
        sha256: 32 bytes.
        content_key: `tether_core.uploads.file_keys.content_key`.
        answers: What the sender said of it.
        dry_run: Whether no debtors are to be stored.
        forced: Whether it is wanted although it may be stored.
        added_by: Whose API key it came with.
    """

    object_key: str
    filename: str
    size_bytes: int
    sha256: bytes
    content_key: bytes
    answers: Answers
    dry_run: bool
    forced: bool
    added_by: str


class Upload(msgspec.Struct, frozen=True):
    """
    An upload for people.

    Attributes:
        id: Its number.
        filename: What the sender called it.
        size_bytes: Its size.
        sha256: The digest of its bytes, in hex.
        state: A state of `tether_core.uploads.upload`.
        dry_run: Whether no debtors are stored.
        added_by: Whose API key it came with.
        created_at: When it came.
        started_at: When its reading began.
        finished_at: When that ended, well or not.
        bytes_read: How far the file has been read; its size at the end.
        row_counts: How many rows went where; always balanced.
        failure_code: Why it failed, a stable word.
        failure: Why it failed, a sentence.
        listed: How many of its problems can be listed, and how many are only counted.
    """

    id: int
    filename: str
    size_bytes: int
    sha256: str
    state: UploadState
    dry_run: bool
    added_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    bytes_read: int
    row_counts: RowCounts
    failure_code: str | None
    failure: str | None
    listed: KeptCounts


class Detail(msgspec.Struct, frozen=True):
    """
    An upload with all that was decided.

    Attributes:
        upload: As in the list.
        object_key: Where its bytes lie.
        answers: What the sender said of it.
        plan: How it is read, with reasons, questions and warnings.
        notes: Sentences about the whole file.
        screened_at: When all its rows were screened; `None` before.
        repeats: The rows of the questions to a person.
        screening_answers: What was answered about them.
        file_removed_at: When its file was removed because it was old; `None` before.
        problems_removed_at: When its problems were; `None` before.
    """

    upload: Upload
    object_key: str
    answers: Answers
    plan: Plan | None
    notes: list[str]
    screened_at: datetime | None
    repeats: list[RepeatGroup]
    screening_answers: dict[Subject, Answered]
    file_removed_at: datetime | None
    problems_removed_at: datetime | None


def _upload(**columns: Any) -> Upload:
    take = columns.pop
    row_counts = RowCounts(
        rows=take("rows_read"),
        stored=take("stored"),
        excluded=take("excluded"),
        refused=take("refused"),
        skipped=take("skipped"),
        warnings=take("warnings"),
        amount_minor=take("amount_minor"),
        verdicts=_read(take("verdict_counts"), dict[str, int]),
        problems=_read(take("problem_counts"), dict[str, int]),
    )
    return Upload(row_counts=row_counts, listed=_read(take("kept_problems"), KeptCounts), **columns)


def _detail(
    *,
    object_key: str,
    answers: str,
    plan: str | None,
    notes: str,
    screened_at: datetime | None,
    repeats: str,
    screening_answers: str,
    file_removed_at: datetime | None,
    problems_removed_at: datetime | None,
    **columns: Any,
) -> Detail:
    return Detail(
        _upload(**columns),
        object_key=object_key,
        answers=_read(answers, Answers),
        plan=None if plan is None else _read(plan, Plan),
        notes=_read(notes, list[str]),
        screened_at=screened_at,
        repeats=_read(repeats, list[RepeatGroup]),
        screening_answers=_read(screening_answers, dict[Subject, Answered]),
        file_removed_at=file_removed_at,
        problems_removed_at=problems_removed_at,
    )


def _read(text: str, kind: Any) -> Any:
    return msgspec.json.decode(text, type=kind)


def _text(value: object) -> str:
    return _encode(value).decode()


async def record(conn: Connection, recording: NewUpload, *, now: datetime) -> tuple[int, bool]:
    """
    Make a row for a file, or find the one that has the same bytes and answers.

    Args:
        recording: The file.

    Returns:
        The upload's id, and whether it is new.
    """
    values = {**msgspec.structs.asdict(recording), "answers": _text(recording.answers), "now": now}
    # The loser of the insert finds the winner; it may be gone from under the key again only by new answers.
    for _ in range(3):
        if row := await (await conn.execute(_SQL["record"], values)).fetchone():
            return row[0], True
        if row := await (await conn.execute(_SQL["same"], values)).fetchone():
            return row[0], False
    raise AssertionError("an upload with this content is neither new nor stored")


async def planned(
    conn: Connection, upload_id: int, *, state: UploadState, excerpt: Preview, lease: str, now: datetime
) -> bool:
    """
    Write the plan of an upload, and the results of its first rows.

    Args:
        upload_id: Which.
        state: "reading", or "needs_answer", with which the lease ends.
        excerpt: The plan with its preview.
        lease: Ours.

    Returns:
        Whether the lease was still ours.
    """
    values = {
        "id": upload_id,
        "state": state,
        "plan": _text(excerpt.plan),
        "preview": _text(excerpt.rows),
        "waits": state == "needs_answer",
        "lease": lease,
        "now": now,
    }
    return await (await conn.execute(_SQL["planned"], values)).fetchone() is not None


async def _counted(conn: Connection, upload_id: int) -> RowCounts:
    """The counts by verdict and by problem so far."""
    counted = await fetch_one(conn, _SQL["counted"], {"id": upload_id}, into=dict[str, str])
    assert counted is not None
    return RowCounts(**{name: _read(text, dict[str, int]) for name, text in counted.items()})


async def advance(
    conn: Connection,
    upload_id: int,
    *,
    row_counts: RowCounts,
    position: Position,
    notes: Sequence[str],
    kept: KeptCounts,
    bytes_read: int,
    lease: str,
    until: datetime,
    now: datetime,
) -> bool:
    """
    Add a chunk's counts, inside the transaction that stores the chunk.

    Args:
        conn: That transaction; roll it back when this returns `False`.
        upload_id: Which.
        row_counts: Of the chunk.
        position: Behind the chunk.
        notes: All of them so far.
        kept: How many of its problems are stored, this chunk's included.
        bytes_read: How far the file has been read.
        lease: Ours.
        until: When the lease ends now.

    Returns:
        Whether the lease was still ours, or the upload completed.
    """
    before = await _counted(conn, upload_id)
    after = before + row_counts
    values = {
        **msgspec.structs.asdict(row_counts),
        "id": upload_id,
        "position": _text(position),
        "notes": _text(notes),
        "bytes_read": bytes_read,
        "verdict_counts": _text(after.verdicts),
        "problem_counts": _text(after.problems),
        "kept_problems": _text(kept),
        "lease": lease,
        "until": until,
        "now": now,
    }
    return await (await conn.execute(_SQL["advance"], values)).fetchone() is not None


async def recount(
    conn: Connection,
    upload_id: int,
    *,
    stored: int,
    amount_minor: int,
    verdicts: Mapping[str, int],
    lease: str | None,
    now: datetime,
) -> bool:
    """
    Move rows between the counts, inside the transaction that changes their verdicts.

    Args:
        conn: That transaction; roll it back when this returns `False`.
        upload_id: Which.
        stored: Rows that are stored now and were excluded before, less those that went the other way.
        amount_minor: Their money.
        verdicts: Verdict to rows that have it now, less those that had it before.
        lease: Ours; `None` for a completed upload that this transaction holds.

    Returns:
        Whether the lease was still ours, or the upload completed.
    """
    row = await (await conn.execute(_SQL["counted"], {"id": upload_id})).fetchone()
    assert row is not None
    before = _read(row[0], dict[str, int])
    after = {rule: before.get(rule, 0) + verdicts.get(rule, 0) for rule in {**before, **verdicts}}
    values = {
        "id": upload_id,
        "stored": stored,
        "amount_minor": amount_minor,
        "verdict_counts": _text({rule: count for rule, count in after.items() if count}),
        "lease": lease,
        "now": now,
    }
    return await (await conn.execute(_SQL["recount"], values)).fetchone() is not None


async def count_warnings(
    conn: Connection, upload_id: int, *, code: str, rows: int, warned: int, lease: str, now: datetime
) -> bool:
    """
    Count warnings that were found after all rows were read.

    Args:
        conn: Inside the transaction that writes them; roll it back when this returns `False`.
        upload_id: Which.
        code: Of the warnings.
        rows: How many there are.
        warned: How many of their rows had none before.
        lease: Of this worker.

    Returns:
        Whether the lease was still this worker's.
    """
    counts = dict((await _counted(conn, upload_id)).problems)
    counts[code] = counts.get(code, 0) + rows
    values = {
        "id": upload_id,
        "warned": warned,
        "problem_counts": _text(counts),
        "lease": lease,
        "now": now,
    }
    return await (await conn.execute(_SQL["count_warnings"], values)).fetchone() is not None


async def screened(
    conn: Connection,
    upload_id: int,
    *,
    state: UploadState,
    plan: Plan,
    repeats: Sequence[RepeatGroup],
    answers: Mapping[Subject, Answered],
    notes: Sequence[str],
    lease: str,
    now: datetime,
) -> bool:
    """
    Write what is known once all rows are screened.

    Args:
        upload_id: Which.
        state: "reading", or "needs_answer", with which the lease ends.
        plan: With the questions that are open, and the decisions.
        repeats: The rows that a person is asked about.
        answers: What was answered about them.
        notes: Sentences about the whole file.
        lease: Ours.

    Returns:
        Whether the lease was still ours.
    """
    values = {
        "id": upload_id,
        "state": state,
        "plan": _text(plan),
        "repeats": _text(repeats),
        "answers": _text(answers),
        "notes": _text(notes),
        "waits": state == "needs_answer",
        "lease": lease,
        "now": now,
    }
    return await (await conn.execute(_SQL["screened"], values)).fetchone() is not None


async def decide(
    conn: Connection,
    upload_id: int,
    *,
    before: UploadState,
    after: UploadState,
    answers: Mapping[Subject, Answered],
    now: datetime,
) -> bool:
    """Write what a person answered about the rows of an upload; whether it was still in the state *before*."""
    values = {"id": upload_id, "before": before, "after": after, "answers": _text(answers), "now": now}
    return await (await conn.execute(_SQL["decide"], values)).fetchone() is not None


async def end(
    conn: Connection,
    upload_id: int,
    *,
    state: UploadState,
    failure: tuple[str, str] | None,
    lease: str,
    now: datetime,
    took_s: float = 0.0,
) -> bool:
    """
    Write that an upload is over.

    Args:
        upload_id: Which.
        state: "completed" or "failed".
        failure: For "failed": code and sentence.
        lease: Ours; it ends.
        took_s: How long this turn took, in seconds.

    Returns:
        Whether the lease was still ours.
    """
    code, why = failure or (None, None)
    values = {
        "id": upload_id,
        "state": state,
        "failure_code": code,
        "failure": why,
        "lease": lease,
        "now": now,
        "took_s": took_s,
    }
    return await (await conn.execute(_SQL["end"], values)).fetchone() is not None


async def answer(
    conn: Connection,
    upload_id: int,
    *,
    before: UploadState,
    after: UploadState,
    answers: Answers,
    content_key: bytes,
    now: datetime,
) -> bool:
    """
    Send an upload through again with other answers.

    Args:
        upload_id: Which.
        before: The state it must still be in.
        after: The state it comes into.
        answers: What is said of it now.
        content_key: Of its bytes with these answers.

    Returns:
        Whether it was still in that state.

    Raises:
        psycopg.errors.UniqueViolation: when another upload has the same bytes with these answers.
    """
    values = {
        "id": upload_id,
        "before": before,
        "after": after,
        "answers": _text(answers),
        "content_key": content_key,
        "now": now,
    }
    return await (await conn.execute(_SQL["answer"], values)).fetchone() is not None


async def listed(
    conn: Connection,
    *,
    limit: int,
    before: int | None,
    state: str | None,
    filename: str | None = None,
    account: str | None = None,
) -> list[Upload]:
    """
    One page of uploads, newest first.

    Args:
        before: Only rows with a smaller id, or `None` for the first page.
        state: Only uploads in this state, or `None`.
        filename: Only uploads whose file name contains this, in any case, or `None`.
        account: Only uploads with a billing run, and all of them of this gateway account, or `None`.

    Returns:
        Up to *limit* uploads.
    """
    values = {"limit": limit, "before": before, "state": state, "filename": filename, "account": account}
    return await fetch_all(conn, _SQL["listed"], values, into=_upload)


async def by_id(conn: Connection, upload_id: int) -> Detail | None:
    """One upload with all that was decided, or `None`."""
    return await fetch_one(conn, _SQL["by_id"], {"id": upload_id}, into=_detail)


async def referenced(conn: Connection, keys: Collection[str]) -> set[str]:
    """Which of these object keys an upload names."""
    cursor = await conn.execute(_SQL["referenced"], {"keys": list(keys)})
    return {row[0] for row in await cursor.fetchall()}


async def first_at(conn: Connection) -> datetime | None:
    """When the first upload came; `None` where none has."""
    row = await (await conn.execute(_SQL["first_at"])).fetchone()
    return None if row is None else row[0]


async def preview(conn: Connection, upload_id: int) -> bytes | None:
    """The first rows of an upload as they were read, as JSON; `None` while they were not."""
    row = await (await conn.execute(_SQL["preview"], {"id": upload_id})).fetchone()
    return None if row is None or row[0] is None else str(row[0]).encode()
