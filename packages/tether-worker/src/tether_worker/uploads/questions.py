"""
`tether-worker questions`: questions of screening about the rows of uploads, and the answers that are kept.

    tether-worker questions list
    tether-worker questions answer 7 --collected-before take --by ada
    tether-worker questions answer 7 --collected-before exclude --identity-unclear take --remember --by ada
    tether-worker questions kept
    tether-worker questions forget 3 --by ada

The same as `screening` of `POST /api/uploads/{id}/answers`, and `/api/layout-answers` (docs/concepts/screening.md). An upload whose
rows are asked about cannot be billed until a person has answered. `take` collects the rows, `exclude` does not.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import msgspec
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.screening.questions import Answer
from tether_core.screening.verdicts import Subject
from tether_core.spreadsheet.plan import Question
from tether_stores import audit
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.postgres import connection, open_pool, transaction
from tether_stores.settings import Settings
from tether_stores.uploads import layout_answers, screening_answers, uploads
from tether_stores.uploads.layout_answers import LayoutAnswer

__all__ = ["UploadQuestions", "add_commands", "answer", "asked", "forget", "kept"]

_LISTED_MAX: Final = 1_000
_BY_MAX: Final = 100


class UploadQuestions(msgspec.Struct, frozen=True):
    """
    An upload that waits for answers about its rows.

    Attributes:
        upload_id: Which.
        filename: As it was sent.
        questions: The question; `code` is the subject to answer.
    """

    upload_id: int
    filename: str
    questions: tuple[Question, ...]


async def asked(settings: Settings) -> list[UploadQuestions]:
    """The uploads that wait for answers about their rows, newest first, a thousand at most."""
    async with (
        open_pool(settings.database_url, name="tether-questions", max_size=1) as pool,
        connection(pool) as conn,
    ):
        found = await screening_answers.waiting(conn, limit=_LISTED_MAX)
    return [
        UploadQuestions(detail.upload.id, detail.upload.filename, detail.plan.questions)
        for detail in found
        if detail.plan
    ]


async def answer(
    settings: Settings, upload_id: int, given: Mapping[Subject, Answer], *, remember: bool, by: str
) -> None:
    """
    Answer the questions about the rows of an upload.

    Args:
        given: An answer to each question.
        remember: Whether the answers hold for later files of its layout.
        by: Who answers.

    Raises:
        InvalidRequest: when there is no such upload, it waits for something else, or an answer is missing.
        IllegalStep: when it waits for nothing.
        StoreUnreachable: when Postgres does not answer.
    """
    by = _name(by)
    async with (
        open_pool(settings.database_url, name="tether-questions", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        found = await uploads.by_id(conn, upload_id)
        if found is None:
            raise InvalidRequest("there is no such upload", field=str(upload_id))
        now = await timestamp(conn)
        await screening_answers.decide(conn, found, given, remember=remember, by=by, now=now)
        await audit.record(
            conn,
            audit.operator(),
            "upload.answered",
            subject="upload",
            subject_id=upload_id,
            after=facts(
                by=by, remember=remember, **{str(subject): choice for subject, choice in given.items()}
            ),
            now=now,
        )


async def kept(settings: Settings) -> list[LayoutAnswer]:
    """The answers that are kept for files of a layout, newest first, a thousand at most."""
    async with (
        open_pool(settings.database_url, name="tether-questions", max_size=1) as pool,
        connection(pool) as conn,
    ):
        return await layout_answers.listed(conn, limit=_LISTED_MAX)


async def forget(settings: Settings, answer_id: int, *, by: str) -> None:
    """
    Forget an answer that is kept; the next file of its layout is asked about again.

    Args:
        answer_id: Its number.
        by: Who forgets it.

    Raises:
        InvalidRequest: when it is not kept.
        StoreUnreachable: when Postgres does not answer.
    """
    by = _name(by)
    async with (
        open_pool(settings.database_url, name="tether-questions", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        now = await timestamp(conn)
        if not await layout_answers.forget(conn, answer_id, by=by, now=now):
            raise InvalidRequest(
                "there is no such answer, or it was forgotten before; see `tether-worker questions kept`",
                field=str(answer_id),
            )
        await audit.record(
            conn,
            audit.operator(),
            "layout_answer.deleted",
            subject="layout_answer",
            subject_id=answer_id,
            after=facts(by=by),
            now=now,
        )


def _name(by: str) -> str:
    name = " ".join(by.split())
    if not name or len(name) > _BY_MAX or not name.isprintable():
        raise InvalidRequest(f"give 1 to {_BY_MAX} printable characters", field="--by")
    return name


def add_commands(commands: Any) -> None:
    """Add `questions` to the command line."""
    parser = commands.add_parser(
        "questions",
        help="questions about the rows of uploads: list, answer, forget kept answers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    item = kinds.add_parser("list", help="uploads that wait for an answer; exit code 1 where there are any")
    item.add_argument("--json", action="store_true", help="for programs")
    item.set_defaults(do=_list, needs=("DATABASE_URL",))

    item = kinds.add_parser("answer", help="take the rows, or exclude them")
    item.add_argument("upload_id", type=whole(1, 2**63 - 1), metavar="UPLOAD")
    for subject in get_args(Subject):
        item.add_argument(
            f"--{subject.replace('_', '-')}", choices=get_args(Answer), help=f"the answer to {subject}"
        )
    item.add_argument(
        "--remember", action="store_true", help="the answers hold for later files of this layout, too"
    )
    item.add_argument("--by", required=True, metavar="NAME", help="who answers; kept")
    item.set_defaults(do=_answer, needs=("DATABASE_URL",))

    item = kinds.add_parser("kept", help="answers that are kept for files of a layout")
    item.add_argument("--json", action="store_true", help="for programs")
    item.set_defaults(do=_kept, needs=("DATABASE_URL",))

    item = kinds.add_parser("forget", help="forget a kept answer; the next file of its layout is asked about")
    item.add_argument("answer_id", type=whole(1, 2**63 - 1), metavar="ID", help="see `questions kept`")
    item.add_argument("--by", required=True, metavar="NAME", help="who forgets it; kept")
    item.set_defaults(do=_forget, needs=("DATABASE_URL",))


def _list(args: argparse.Namespace, settings: Settings) -> int:
    found = asyncio.run(asked(settings))
    if args.json:
        _say(msgspec.json.encode(found).decode())
    else:
        for line in _lines(found):
            _say(line)
    return 1 if found else 0


def _lines(found: Sequence[UploadQuestions]) -> list[str]:
    lines = list[str]()
    for item in found:
        lines.append(f"upload {item.upload_id}  {item.filename}")
        lines += [f"    {question.code}: {question.ask}" for question in item.questions]
        options = " ".join(f"--{question.code.replace('_', '-')} take|exclude" for question in item.questions)
        lines.append(f"    tether-worker questions answer {item.upload_id} {options} --by NAME")
    return lines or ["no upload waits for an answer about its rows"]


def _answer(args: argparse.Namespace, settings: Settings) -> int:
    given = {
        subject: result for subject in get_args(Subject) if (result := getattr(args, subject)) is not None
    }
    asyncio.run(answer(settings, args.upload_id, given, remember=args.remember, by=args.by))
    _say(f"upload {args.upload_id} is answered; a worker on queue default completes it")
    return 0


def _kept(args: argparse.Namespace, settings: Settings) -> int:
    found = asyncio.run(kept(settings))
    if args.json:
        _say(msgspec.json.encode(found).decode())
        return 0
    for item in found:
        _say(
            f"{item.id}  {item.subject}: {item.answer}, by {item.answered_by} on {item.answered_at:%Y-%m-%d} for upload {item.upload_id}"
        )
    if not found:
        _say("no answer is kept")
    return 0


def _forget(args: argparse.Namespace, settings: Settings) -> int:
    asyncio.run(forget(settings, args.answer_id, by=args.by))
    _say(f"answer {args.answer_id} is forgotten; the next file of its layout is asked about again")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
