"""Uploads; the queries are in `uploads/uploads.sql`, which describes the rows."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.screening.questions import Answer, Answered, Remembered, RepeatGroup
from tether_core.screening.verdicts import Subject
from tether_core.spreadsheet import Answers, Plan, Position, Preview
from tether_core.uploads.problems import KeptCounts
from tether_core.uploads.turns import SHORT_BYTES, SHORT_S, Slot, Waiting
from tether_core.uploads.upload import RowCounts, UploadState

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "Detail",
    "Due",
    "LayoutAnswer",
    "Queued",
    "Recording",
    "Turn",
    "Upload",
    "advance",
    "answer",
    "by_id",
    "count_warnings",
    "decide",
    "due",
    "due_one",
    "end",
    "forget",
    "hold",
    "layout_answers",
    "listed",
    "planned",
    "preview",
    "record",
    "recount",
    "referenced",
    "release",
    "remember",
    "remembered",
    "screened",
    "take",
    "turn",
    "waiting",
]

_SQL: Final = load("uploads/uploads")
# Of each sender; no rule looks further than that.
_WAITING_EACH: Final = 20
_encode: Final = msgspec.json.encode


class Recording(msgspec.Struct, frozen=True):
    """
    A file on its way into the table; its object is in the store.

    Attributes:
        object_key: Where the object lies.
        filename: What the sender called it.
        size_bytes: Its size.
        sha256: 32 bytes.
        content_key: `tether_core.uploads.upload.content_key`.
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


class Due(msgspec.Struct, frozen=True):
    """
    An upload with work left, as the worker sees it; the columns of the query `due_one`.

    Attributes:
        plan: How it is read, once that is settled.
        position: How far it was read.
        rows_read: Rows that have their outcome.
        notes: Sentences about the whole file, so far.
        claims: How often it was taken since its last progress.
        screened_at: When all its rows were screened; `None` while some may be left to read.
        screening_answers: What was answered about its rows.
        row_counts: Of its rows so far: those of `rows_read`, without warnings, amounts and verdicts.
        kept: How many of its problems are stored.
    """

    id: int
    object_key: str
    filename: str
    size_bytes: int
    sha256: bytes
    state: UploadState
    created_at: datetime
    answers: Answers
    dry_run: bool
    plan: Plan | None
    position: Position
    rows_read: int
    notes: list[str]
    claims: int
    screened_at: datetime | None
    screening_answers: dict[Subject, Answered]
    row_counts: RowCounts
    kept: KeptCounts


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


class Queued(msgspec.Struct, frozen=True):
    """
    The waiting uploads, in the form of `tether_core.uploads.turns`.

    Attributes:
        uploads: Of each sender the oldest and the smallest.
        turns: Sender to the time at which its last turn began.
    """

    uploads: list[Waiting]
    turns: dict[str, datetime]


class Turn(msgspec.Struct, frozen=True):
    """
    How an upload waits; the columns of the query `turn`.

    Attributes:
        due_at: From when on it is to be read; `None` where nothing is left to read.
        is_held: Whether a worker reads it now.
        bytes_read: How far it was read.
        is_planned: Whether it had a turn before.
    """

    due_at: datetime | None
    is_held: bool
    bytes_read: int
    is_planned: bool


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


class LayoutAnswer(msgspec.Struct, frozen=True):
    """
    An answer kept for files of a layout, for people.

    Attributes:
        id: Its number, by which it can be forgotten.
        subject: What it is about.
        answer: Take the rows, or leave them out.
        days_min: It takes no rows whose imported debits are more recent than this, some days left aside.
        upload_id: For which it was given.
        answered_by: Who gave it.
        answered_at: When.
    """

    id: int
    subject: Subject
    answer: Answer
    days_min: int
    upload_id: int
    answered_by: str
    answered_at: datetime


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


def _due(
    *,
    sha256: bytes,
    answers: str,
    plan: str | None,
    position: str | None,
    notes: str,
    screening_answers: str,
    kept_problems: str,
    problem_counts: str,
    **columns: Any,
) -> Due:
    row_counts = RowCounts(
        rows=columns["rows_read"],
        **{name: columns.pop(name) for name in ("stored", "excluded", "refused", "skipped")},
        problems=_read(problem_counts, dict[str, int]),
    )
    return Due(
        sha256=bytes(sha256),
        answers=_read(answers, Answers),
        plan=None if plan is None else _read(plan, Plan),
        position=Position() if position is None else _read(position, Position),
        notes=_read(notes, list[str]),
        screening_answers=_read(screening_answers, dict[Subject, Answered]),
        row_counts=row_counts,
        kept=_read(kept_problems, KeptCounts),
        **columns,
    )


def _read(text: str, kind: Any) -> Any:
    return msgspec.json.decode(text, type=kind)


def _text(value: object) -> str:
    return _encode(value).decode()


async def record(conn: Connection, recording: Recording, *, now: datetime) -> tuple[int, bool]:
    """
    Make a row for a file, or find the one that has the same bytes and answers.

    Args:
        conn: Any connection.
        recording: The file.
        now: The current time.

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


async def waiting(conn: Connection, *, now: datetime) -> Queued:
    """The uploads that wait for a turn: of each sender the oldest and the smallest, so that nobody's uploads hide another's."""
    rows = await fetch_all(conn, _SQL["waiting"], {"now": now, "each": _WAITING_EACH}, into=dict[str, Any])
    turns = {row["sender"]: row.pop("turn_at") for row in rows}
    return Queued(
        [Waiting(**row) for row in rows], {sender: at for sender, at in turns.items() if at is not None}
    )


async def turn(conn: Connection, upload_id: int, *, now: datetime) -> Turn | None:
    """How an upload waits, or `None` where there is none."""
    return await fetch_one(conn, _SQL["turn"], {"id": upload_id, "now": now}, into=Turn)


async def due_one(conn: Connection, upload_id: int, *, now: datetime) -> Due | None:
    """
    Lock an upload that is to be read.

    Args:
        conn: Inside the transaction that will `take` it.
        upload_id: Which.
        now: The current time.

    Returns:
        The upload, or `None` when it is not due any more, or another worker is just taking it.
    """
    return await fetch_one(conn, _SQL["due_one"], {"id": upload_id, "now": now}, into=_due)


async def take(
    conn: Connection, upload_id: int, *, state: UploadState, lease: str, until: datetime, now: datetime
) -> None:
    """Lease the upload that this transaction has locked until a time; its turn begins."""
    await conn.execute(
        _SQL["take"], {"id": upload_id, "state": state, "lease": lease, "until": until, "now": now}
    )


async def hold(conn: Connection, upload_id: int, *, lease: str, until: datetime) -> bool:
    """Renew a lease; whether the lease was still held."""
    values = {"id": upload_id, "lease": lease, "until": until}
    return await (await conn.execute(_SQL["hold"], values)).fetchone() is not None


async def planned(
    conn: Connection, upload_id: int, *, state: UploadState, excerpt: Preview, lease: str, now: datetime
) -> bool:
    """
    Write the plan of an upload, and the results of its first rows.

    Args:
        conn: Any connection.
        upload_id: Which.
        state: "reading", or "needs_answer", with which the lease ends.
        excerpt: The plan with its preview.
        lease: Ours.
        now: The current time.

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
        now: The current time.

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
        now: The current time.

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
        now: The present time.

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
        conn: Any connection.
        upload_id: Which.
        state: "reading", or "needs_answer", with which the lease ends.
        plan: With the questions that are open, and the decisions.
        repeats: The rows that a person is asked about.
        answers: What was answered about them.
        notes: Sentences about the whole file.
        lease: Ours.
        now: The current time.

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


async def remember(conn: Connection, kept: Remembered, *, layout: bytes, upload_id: int) -> None:
    """
    Keep an answer for files of a layout, in place of the one that was kept.

    Args:
        conn: Inside the transaction that writes the answer.
        kept: The answer.
        layout: From `tether_core.screening.questions.layout_key`.
        upload_id: For which it was given.
    """
    values = {
        "layout": layout,
        "subject": kept.subject,
        "answer": kept.answer,
        "days_min": kept.days_min,
        "upload_id": upload_id,
        "by": kept.answered_by,
        "now": kept.answered_at,
    }
    await conn.execute(_SQL["remember"], values)


async def remembered(conn: Connection, *, layout: bytes) -> list[Remembered]:
    """The answers kept for a layout."""
    return await fetch_all(conn, _SQL["remembered"], {"layout": layout}, into=Remembered)


async def layout_answers(conn: Connection, *, limit: int) -> list[LayoutAnswer]:
    """Up to *limit* kept answers, newest first."""
    return await fetch_all(conn, _SQL["layout_answers"], {"limit": limit}, into=LayoutAnswer)


async def forget(conn: Connection, answer_id: int, *, by: str, now: datetime) -> bool:
    """Keep an answer no longer; whether it was kept."""
    values = {"id": answer_id, "by": by, "now": now}
    return await (await conn.execute(_SQL["forget"], values)).fetchone() is not None


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
        conn: Any connection.
        upload_id: Which.
        state: "completed" or "failed".
        failure: For "failed": code and sentence.
        lease: Ours; it ends.
        now: The current time.
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


async def release(
    conn: Connection, upload_id: int, *, lease: str, due_at: datetime, blameless: bool, took_s: float = 0.0
) -> None:
    """
    Give an upload back, to be taken again at a time.

    Args:
        conn: Any connection.
        upload_id: Which.
        lease: Ours; it ends.
        due_at: From when on it waits again.
        blameless: Whether it is not the file that stopped us.
        took_s: How long this turn took, in seconds.
    """
    values = {"id": upload_id, "lease": lease, "due_at": due_at, "blameless": blameless, "took_s": took_s}
    await conn.execute(_SQL["release"], values)


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
        conn: Any connection.
        upload_id: Which.
        before: The state it must still be in.
        after: The state it comes into.
        answers: What is said of it now.
        content_key: Of its bytes with these answers.
        now: The current time.

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


async def due(conn: Connection, *, now: datetime, older_than_s: float = 0, slot: Slot = "any") -> bool:
    """Whether an upload for this slot has been due for longer than *older_than_s* seconds."""
    left_max_bytes, read_max_s = (SHORT_BYTES, SHORT_S) if slot == "short" else (None, None)
    values = {
        "now": now,
        "older_than_s": older_than_s,
        "left_max_bytes": left_max_bytes,
        "read_max_s": read_max_s,
    }
    return await fetch_value(conn, _SQL["due"], values, into=bool)


async def listed(conn: Connection, *, limit: int, before: int | None, state: str | None) -> list[Upload]:
    """
    One page of uploads, newest first.

    Args:
        conn: Any connection.
        limit: Rows at most.
        before: Only rows with a smaller id, or `None` for the first page.
        state: Only uploads in this state, or `None`.

    Returns:
        Up to *limit* uploads.
    """
    values = {"limit": limit, "before": before, "state": state}
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
