"""Answers to the screening questions of an upload, given over HTTP or on a command line."""

from collections.abc import Mapping
from datetime import datetime

from tether_core.errors import InvalidRequest
from tether_core.screening import questions
from tether_core.screening.questions import Answer, Answered, Remembered
from tether_core.screening.verdicts import Subject
from tether_core.target_calendar import bank_day
from tether_core.uploads.upload import step

from tether_stores.postgres import Connection
from tether_stores.uploads import layout_answers, uploads
from tether_stores.uploads.uploads import Detail

__all__ = ["decide", "is_asked", "waiting"]


def is_asked(found: Detail) -> bool:
    """Whether an upload waits for a person to decide about its rows."""
    return found.upload.state == "needs_answer" and found.screened_at is not None


async def waiting(conn: Connection, *, limit: int) -> list[Detail]:
    """Up to *limit* uploads that wait for a person to decide about their rows, newest first."""
    listed = await uploads.listed(conn, limit=limit, before=None, state="needs_answer")
    found = [await uploads.by_id(conn, upload.id) for upload in listed]
    return [item for item in found if item is not None and is_asked(item)]


async def decide(
    conn: Connection,
    found: Detail,
    given: Mapping[Subject, Answer],
    *,
    remember: bool,
    by: str,
    now: datetime,
) -> None:
    """
    Write a person's decision about the rows of a question.

    Args:
        conn: Inside a transaction.
        found: The upload, read in it.
        given: An answer to each of its questions.
        remember: Whether the answers hold for later files of its layout.
        by: Who answers.

    Raises:
        InvalidRequest: when the upload waits for something else, or a question is left without an answer.
        IllegalStep: when it waits for nothing, or somebody else was faster.
    """
    upload_id, before, plan = found.upload.id, found.upload.state, found.plan
    if not is_asked(found) or plan is None:
        step(before, "decided")  # says so where the upload waits for nothing
        raise InvalidRequest(
            "this upload waits for answers about its file, not about its rows; answer the questions of its plan",
            field="screening",
        )
    wanted = [question.code for question in plan.questions]
    if set(wanted) != set(given):
        raise InvalidRequest(f"answer with take or exclude: {', '.join(wanted)}", field="screening")
    answers = {subject: Answered(answer, by, now) for subject, answer in given.items()}
    after = step(before, "decided")
    if not await uploads.decide(
        conn, upload_id, before=before, after=after, answers={**found.screening_answers, **answers}, now=now
    ):
        latest = await uploads.by_id(conn, upload_id)  # somebody answered a time before
        assert latest is not None
        step(latest.upload.state, "decided")
    for subject, answer in given.items() if remember else ():
        groups = questions.of_subject(found.repeats, subject)
        days_min = questions.days_ago_min(groups, today=bank_day(now))
        kept = Remembered(subject, answer, days_min, by, now)
        await layout_answers.remember(conn, kept, layout=questions.layout_key(plan), upload_id=upload_id)
