"""
Turns of uploads: which of them wait, and the lease under which a worker reads one; the queries are in `uploads/turns.sql`.

`tether_core.uploads.turns` chooses whose turn it is.
"""

from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.screening.questions import Answered
from tether_core.screening.verdicts import Subject
from tether_core.spreadsheet import Answers, Plan, Position
from tether_core.uploads.problems import KeptCounts
from tether_core.uploads.turns import SHORT_BYTES, SHORT_S, Slot, WaitingUpload
from tether_core.uploads.upload import RowCounts, UploadState

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = ["DueUpload", "Queued", "Turn", "due", "due_one", "hold", "release", "take", "turn", "waiting"]

_SQL: Final = load("uploads/turns")
# Of each sender; no rule looks further than that.
_WAITING_EACH: Final = 20


class DueUpload(msgspec.Struct, frozen=True):
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


class Queued(msgspec.Struct, frozen=True):
    """
    The waiting uploads, in the form of `tether_core.uploads.turns`.

    Attributes:
        uploads: Of each sender the oldest and the smallest.
        turns: Sender to the time at which its last turn began.
    """

    uploads: list[WaitingUpload]
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


async def waiting(conn: Connection, *, now: datetime) -> Queued:
    """The uploads that wait for a turn: of each sender the oldest and the smallest, so that nobody's uploads hide another's."""
    rows = await fetch_all(conn, _SQL["waiting"], {"now": now, "each": _WAITING_EACH}, into=dict[str, Any])
    turns = {row["sender"]: row.pop("turn_at") for row in rows}
    return Queued(
        [WaitingUpload(**row) for row in rows], {sender: at for sender, at in turns.items() if at is not None}
    )


async def turn(conn: Connection, upload_id: int, *, now: datetime) -> Turn | None:
    """How an upload waits, or `None` where there is none."""
    return await fetch_one(conn, _SQL["turn"], {"id": upload_id, "now": now}, into=Turn)


async def due_one(conn: Connection, upload_id: int, *, now: datetime) -> DueUpload | None:
    """
    Lock an upload that is to be read.

    Args:
        conn: Inside the transaction that will `take` it.
        upload_id: Which.

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


async def release(
    conn: Connection, upload_id: int, *, lease: str, due_at: datetime, blameless: bool, took_s: float = 0.0
) -> None:
    """
    Give an upload back, to be taken again at a time.

    Args:
        upload_id: Which.
        lease: Ours; it ends.
        due_at: From when on it waits again.
        blameless: Whether it is not the file that stopped us.
        took_s: How long this turn took, in seconds.
    """
    values = {"id": upload_id, "lease": lease, "due_at": due_at, "blameless": blameless, "took_s": took_s}
    await conn.execute(_SQL["release"], values)


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
) -> DueUpload:
    row_counts = RowCounts(
        rows=columns["rows_read"],
        **{name: columns.pop(name) for name in ("stored", "excluded", "refused", "skipped")},
        problems=_read(problem_counts, dict[str, int]),
    )
    return DueUpload(
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
