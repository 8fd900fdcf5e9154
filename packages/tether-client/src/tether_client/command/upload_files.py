"""`tether uploads`: what can be read and downloaded of a file, and answers that are remembered for its layout."""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from tether_client.command.arguments import Commands, add, add_filters, add_paging, whole
from tether_client.command.context import Context, rows_text
from tether_client.command.output import new_file

__all__ = ["add_to"]

_PROBLEMS: Final = (
    ("row", "row"),
    ("level", "level"),
    ("column", "column"),
    ("code", "code"),
    ("cell", "excerpt"),
    ("what to do", "note"),
)
_ANSWERS: Final = (
    ("id", "id"),
    ("about", "subject"),
    ("answer", "answer"),
    ("upload", "upload_id"),
    ("by", "answered_by"),
    ("answered", "answered_at"),
)


def add_to(group: Commands) -> None:
    """Add the commands to those of uploads."""
    item = add(
        group,
        "problems",
        _problems,
        text="list the problems of an upload, in the order of the file",
        example="tether uploads problems 12 --level error",
    )
    _add_id(item)
    add_filters(item, level="only errors or only warnings: error or warning", code="only this problem")
    add_paging(item)

    item = add(
        group,
        "report",
        _report,
        text="write the rows that became no debtor into a file, to correct and upload again",
        example="tether uploads report 12 problems.csv",
    )
    _add_id(item)
    item.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="the file to write, CSV or XLSX by its ending; it must not exist",
    )
    item.add_argument(
        "--excluded",
        action="store_true",
        help="the rows that screening excluded, in place of those with problems",
    )

    item = add(
        group,
        "file",
        _file,
        text="write the file of an upload as it was sent",
        example="tether uploads file 12 members.csv",
    )
    _add_id(item)
    item.add_argument("file", type=Path, metavar="FILE", help="the file to write; it must not exist")

    add(
        group,
        "remembered",
        _remembered,
        text="list answers that are remembered for files of a layout",
        example="tether uploads remembered",
    )
    item = add(
        group,
        "forget",
        _forget,
        text="forget a remembered answer, so that the next file of its layout raises the question",
        example="tether uploads forget 3",
    )
    item.add_argument("answer_id", type=whole(1), metavar="ANSWER", help="the id of the remembered answer")


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("upload_id", type=whole(1), metavar="UPLOAD", help="the id of the upload")


def _problems(context: Context) -> int:
    args = context.args
    listing = partial(context.client.problems, args.upload_id)
    return context.listed(listing, _PROBLEMS, level=args.level, code=args.code)


def _report(context: Context) -> int:
    args = context.args
    what = "excluded" if args.excluded else "refused"
    form = "xlsx" if args.file.suffix.lower() == ".xlsx" else "csv"
    return _saved(context, args.file, context.client.problem_report(args.upload_id, what=what, form=form))


def _file(context: Context) -> int:
    args = context.args
    return _saved(context, args.file, context.client.upload_file(args.upload_id))


def _saved(context: Context, file: Path, pieces: Iterator[bytes]) -> int:
    size_bytes = new_file(file, pieces)
    context.output.result(
        {"file": str(file), "size_bytes": size_bytes}, lambda: f"{size_bytes:,} bytes written to {file}\n"
    )
    return 0


def _remembered(context: Context) -> int:
    found = context.client.layout_answers()
    context.output.result(found, lambda: rows_text(found, _ANSWERS))
    return 0


def _forget(context: Context) -> int:
    answer_id = context.args.answer_id
    context.client.forget_layout_answer(answer_id)
    context.output.result({"forgotten": answer_id}, lambda: f"answer {answer_id} is forgotten\n")
    return 0
