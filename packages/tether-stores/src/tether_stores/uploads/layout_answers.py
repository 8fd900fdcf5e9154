"""Answers that are kept for files of a layout; the queries are in `uploads/layout_answers.sql`."""

from datetime import datetime
from typing import Final

import msgspec
from tether_core.screening.questions import Answer, Remembered
from tether_core.screening.verdicts import Subject

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["LayoutAnswer", "forget", "listed", "remember", "remembered"]

_SQL: Final = load("uploads/layout_answers")


class LayoutAnswer(msgspec.Struct, frozen=True):
    """
    An answer kept for files of a layout, for people.

    Attributes:
        id: Its number, by which it can be forgotten.
        subject: What it is about.
        answer: Take the rows, or leave them out.
        days_min: It takes no rows whose earlier debits are more recent than this, some days left aside.
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


async def listed(conn: Connection, *, limit: int) -> list[LayoutAnswer]:
    """Up to *limit* kept answers, newest first."""
    return await fetch_all(conn, _SQL["listed"], {"limit": limit}, into=LayoutAnswer)


async def forget(conn: Connection, answer_id: int, *, by: str, now: datetime) -> bool:
    """Keep an answer no longer; whether it was kept."""
    values = {"id": answer_id, "by": by, "now": now}
    return await (await conn.execute(_SQL["forget"], values)).fetchone() is not None
