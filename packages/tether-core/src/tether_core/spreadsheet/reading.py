r"""
Reading a file of debtors in two steps: the plan, which a person can check, and the rows.

`plan` looks at the file and says how it would be read: kind, encoding, delimiter, sheet, header, columns, formats, each with its reason, and
the questions that stay open. `rows` then gives the rows of the table, and `rows.read` makes debtors of them.
Between the two steps a plan can be stored as JSON, displayed, corrected by answers and made again.

>>> import io
>>> from datetime import date
>>> from tether_core.spreadsheet.rows import read
>>> file = io.BytesIO(b"Name;IBAN;Betrag\nJohn Doe;DE89 3704 0044 0532 0130 00;1.234,50\n")
>>> decided = plan(file, name="debtors.csv")
>>> decided.ready, decided.delimiter, decided.amount_format
(True, ';', 'comma')
>>> [debtor.amount_minor for debtor in read(rows(file, plan=decided), plan=decided, today=date(2026, 3, 2))]
[123450]
>>> plan(io.BytesIO(b"%PDF-1.7"), name="debtors.pdf").why
'This is a PDF document; send the spreadsheet it was made from.'
"""

import os
from collections.abc import Iterator
from datetime import date
from itertools import islice
from typing import BinaryIO, Final

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.iban import mask
from tether_core.spreadsheet.cells import Row, excerpt, packed
from tether_core.spreadsheet.header_words import count_ibans
from tether_core.spreadsheet.iban_span import joined
from tether_core.spreadsheet.outcomes import Debtor, Problem, Refused, Rules
from tether_core.spreadsheet.plan import Answers, FileDecision, FileRefused, Kind, Plan, Question, Refusal
from tether_core.spreadsheet.rows import read
from tether_core.spreadsheet.seen import as_seen, guard
from tether_core.spreadsheet.sniff import Sniffed, sniff
from tether_core.spreadsheet.table import Table, examine, holds_accounts
from tether_core.spreadsheet.text import (
    DELIMITERS,
    ENCODINGS,
    decide_delimiter,
    decide_encoding,
    decide_quote,
    read_text,
)
from tether_core.spreadsheet.view import View
from tether_core.spreadsheet.workbook import SHEETS_MAX, Source, Workbook, open_workbook, packed_rows_max

__all__ = ["PREVIEW_ROWS", "Preview", "PreviewRow", "packed_rows", "plan", "preview", "rows"]

PREVIEW_ROWS: Final = 20
_VITAL: Final = frozenset({"iban", "name", "last_name", "amount", "amount_minor"})


def plan(
    source: Source | Workbook,
    *,
    name: str = "",
    kind: Kind | None = None,
    answers: Answers = Answers(),  # noqa: B008 - frozen, so one default for all is safe
) -> Plan | Refusal:
    """
    Decide how a file is to be read.

    Args:
        source: A seekable stream; for a workbook also a path that ends in `workbook.suffix(kind)`, or one already open.
            A workbook's stream or path is parsed here: see `workbook` on hostile files.
        name: What the sender called it; only compared.
        kind: The result of `sniff`; `None` to sniff here. Needed for a workbook already open.
        answers: What the caller says of the file.

    Returns:
        The plan, which may hold open questions; or why the file is refused.

    Raises:
        InvalidRequest: when the answers name what is not there.
    """
    _check(answers)
    warnings: tuple[str, ...] = ()
    if kind is None:
        found = _sniffed(source, name=name)
        if isinstance(found, Refusal):
            return found
        kind, warnings = found.kind, found.warnings
    try:
        if kind == "csv":
            return _plan_text(_stream(source), answers=answers, warnings=warnings)
        book = source if isinstance(source, Workbook) else open_workbook(source, kind=kind)
        return _plan_workbook(book, kind=kind, answers=answers, warnings=warnings)
    except FileRefused as error:
        return error.refusal


def _check(answers: Answers) -> None:
    if answers.encoding is not None and answers.encoding not in ENCODINGS:
        raise InvalidRequest(f"choose one of {', '.join(ENCODINGS)}", field="encoding")
    if answers.delimiter is not None and (len(answers.delimiter) != 1 or answers.delimiter in '\r\n"'):
        raise InvalidRequest(
            f"choose one character, e.g. one of {' '.join(DELIMITERS[:2])}", field="delimiter"
        )
    if len(answers.quote) != 1 or answers.quote in "\r\n":
        raise InvalidRequest('choose one character, e.g. "', field="quote")


def _stream(source: Source | Workbook) -> BinaryIO:
    if isinstance(source, str | os.PathLike | Workbook):
        raise TypeError("text is read from a stream: open the file and pass that")
    return source


def _sniffed(source: Source | Workbook, *, name: str) -> Sniffed | Refusal:
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:  # noqa: PTH123 - a path-like of any kind
            return sniff(file, name=name or os.fspath(source))
    return sniff(_stream(source), name=name)


def _plan_text(source: BinaryIO, *, answers: Answers, warnings: tuple[str, ...]) -> Plan | Refusal:
    encoding = decide_encoding(source, given=answers.encoding)
    questions: tuple[Question, ...] = ()
    if isinstance(encoding, Question):
        # The rest can be displayed nevertheless; ASCII is the same in all of these.
        questions = (encoding,)
        encoding = FileDecision("encoding", "cp1252", "Not settled; read as Windows-1252 for now.")
    quote, quoted = decide_quote(source, encoding=encoding.value, given=answers.quote)
    delimiter = decide_delimiter(source, encoding=encoding.value, quote=quote, given=answers.delimiter)
    lines = read_text(
        source,
        encoding=encoding.value,
        delimiter=delimiter.decision.value,
        quote=quote,
        sep_line=delimiter.sep_line,
    )
    table = examine(lines, answers=answers, kind="csv")
    lines.close()
    if isinstance(table, Refusal):
        return table
    return Plan(
        kind="csv",
        encoding=encoding.value,
        delimiter=delimiter.decision.value,
        quote=quote,
        sep_line=delimiter.sep_line,
        header_row=table.header_row,
        data_row=table.data_row,
        columns=table.columns,
        amount_format=table.amount_format,
        date_orders=table.date_orders,
        fallbacks=table.fallbacks,
        selections=table.selections,
        kept=table.kept,
        iban_span=table.iban_span,
        decisions=(encoding, delimiter.decision, *([] if quoted is None else [quoted]), *table.decisions),
        questions=(*questions, *table.questions),
        warnings=(*warnings, *table.warnings),
    )


def _plan_workbook(  # noqa: C901 - one choice after the other
    book: Workbook, *, kind: Kind, answers: Answers, warnings: tuple[str, ...]
) -> Plan | Refusal:
    sheets = book.sheets()
    names = [sheet.name for sheet in sheets]
    if answers.sheet is not None and answers.sheet not in names:
        raise InvalidRequest(f"there is no such sheet; there are {', '.join(names[:20])}", field="sheet")
    visible = [sheet.name for sheet in sheets if sheet.visible]
    if len(visible) > SHEETS_MAX and answers.sheet is None:
        return Refusal(
            "too_many_sheets",
            f"The workbook has {len(visible)} sheets; name the one to read, or send it alone.",
        )
    candidates = [answers.sheet] if answers.sheet is not None else visible
    tables: dict[str, Table] = {}
    refused: list[Refusal] = []
    # A sheet with accounts that is passed over is a part of the list that nobody would miss before it is too late.
    accounts: list[str] = []
    for sheet in candidates:
        if len(candidates) > 1 and holds_accounts(book.rows(sheet)):
            accounts.append(sheet)
        # A sheet of its own column names must not fail the others: answers about columns hold for the one chosen.
        alone = answers if len(candidates) == 1 else Answers()
        found = examine(_examined(book, sheet, alone), answers=alone, kind=kind)
        if isinstance(found, Refusal):
            refused.append(found)
        else:
            tables[sheet] = found
    if not tables:
        return (
            refused[0]
            if len(refused) == 1
            else Refusal("empty", "No visible sheet of this workbook holds a list.")
        )
    chosen, several = _choose_sheet(tables, accounts=accounts, visible=visible)
    if len(candidates) > 1:
        again = examine(_examined(book, chosen, answers), answers=answers, kind=kind)
        if isinstance(again, Refusal):
            return again
        tables[chosen] = again
    table = tables[chosen]
    questions = table.questions
    if answers.sheet is None and len(several) > 1:
        ask = (
            f"Which sheet is to be read? {' and '.join(several[:10])} hold lists or accounts. One is read; send the others as files of "
            "their own."
        )
        questions = (Question("sheet", ask, "sheet", tuple(several)), *questions)
    why = "It is the only sheet with a list that people see."
    if answers.sheet is not None or len(several) > 1:
        why = "As requested." if answers.sheet is not None else "Not decided; displayed for now."
    decision = FileDecision("sheet", chosen, why, by="file" if answers.sheet is None else "caller")
    hidden = [sheet.name for sheet in sheets if not sheet.visible and sheet.name != chosen]
    excluded = (f"Hidden sheets are not read: {', '.join(hidden[:5])}.",) if hidden else ()
    guarded = guard(
        book.view(chosen),
        columns=table.columns,
        data_row=table.data_row,
        rows=joined(book.rows(chosen), table.iban_span),
        answers=answers,
    )
    return Plan(
        kind=kind,
        sheet=chosen,
        header_row=table.header_row,
        data_row=table.data_row,
        columns=table.columns,
        amount_format=table.amount_format,
        date_orders=table.date_orders,
        fallbacks=table.fallbacks,
        selections=table.selections,
        kept=table.kept,
        iban_span=table.iban_span,
        skip_hidden=guarded.skip_hidden,
        decisions=(decision, *table.decisions, *guarded.decisions),
        questions=(*questions, *guarded.questions),
        warnings=(*warnings, *excluded, *guarded.warnings, *table.warnings),
    )


def _choose_sheet(
    tables: dict[str, Table], *, accounts: list[str], visible: list[str]
) -> tuple[str, list[str]]:
    """Choose the sheet to show, and list all that may be meant."""
    lists = [sheet for sheet, table in tables.items() if table.header_row] or list(tables)
    # Where some sheets hold accounts, one without is an overview and no list; the fullest one is shown first.
    lists = [sheet for sheet in lists if sheet in accounts] or lists
    chosen = max(lists, key=lambda sheet: (len(_VITAL & tables[sheet].fields), -lists.index(sheet)))
    return chosen, [sheet for sheet in visible if sheet in lists or sheet in accounts]


def _examined(book: Workbook, sheet: str, answers: Answers) -> Iterator[Row]:
    """The rows a plan is made from: excluded hidden rows do not vote."""
    every, view = book.rows(sheet), book.view(sheet)
    if answers.hidden_rows != "exclude" or not view.hidden_rows:
        return every
    return (row for row in every if not (view.hides(row.number) and count_ibans(row.cells)))


def rows(source: Source | Workbook, *, plan: Plan, after: int = 0) -> Iterator[Row]:
    """
    Yield the rows of the table that a plan describes.

    Args:
        source: As for `plan`: the same file.
        plan: As `plan` decided it.
        after: Rows up to this number are not read again, to continue after a break.

    Yields:
        Rows below the header in order, blank ones included.

    Raises:
        FileRefused: when a workbook cannot be parsed.
    """
    first = max(plan.data_row, after + 1)
    every: Iterator[Row]
    if plan.kind == "csv":
        every = read_text(
            _stream(source),
            encoding=plan.encoding,
            delimiter=plan.delimiter,
            quote=plan.quote,
            sep_line=plan.sep_line,
        )
    else:
        book = source if isinstance(source, Workbook) else open_workbook(source, kind=plan.kind)
        every = book.rows(plan.sheet)
        view = book.view(plan.sheet)
        if _changes_rows(view, plan=plan):
            every = as_seen(
                every, view=view, columns=plan.columns, data_row=plan.data_row, skip_hidden=plan.skip_hidden
            )
    if plan.iban_span is not None:
        every = joined(every, plan.iban_span)
    for row in every:
        if row.number >= first:
            yield row
            break
    yield from every


def packed_rows(book: Workbook, *, plan: Plan, after: int = 0) -> Iterator[bytes]:
    """
    Yield the rows of the table of a workbook as bytes, for a pipe.

    Args:
        book: The file.
        plan: As for `rows`.
        after: Likewise.

    Yields:
        What `cells.packed` writes for the rows that `rows` gives, some rows at a time and never none.

    Raises:
        FileRefused: when the workbook cannot be parsed.
    """
    kept = book.kept(plan.sheet, first=max(plan.data_row, after + 1))
    if kept is not None and plan.iban_span is None and not _changes_rows(book.view(plan.sheet), plan=plan):
        yield from kept
        return
    every = rows(book, plan=plan, after=after)
    size = packed_rows_max(len(plan.columns))
    while batch := list(islice(every, size)):
        yield packed(batch)


def _changes_rows(view: View, *, plan: Plan) -> bool:
    """Whether a person sees other rows than the sheet has."""
    return bool(view.merges or view.struck or plan.skip_hidden)


class PreviewRow(msgspec.Struct, frozen=True):
    """
    One row as a person sees it before anything is stored.

    Attributes:
        row: Its number.
        cells: As in the file, shortened, with IBANs masked.
        outcome: "debtor", "refused" or "skipped".
        reads: For a debtor, what was read: field to text, the IBAN masked.
        problems: Errors and warnings.
    """

    row: int
    cells: list[str]
    outcome: str
    reads: dict[str, str] = {}
    problems: tuple[Problem, ...] = ()


class Preview(msgspec.Struct, frozen=True):
    """
    The plan and the first rows under it.

    Attributes:
        plan: With all decisions, questions and warnings.
        rows: What the first rows become; only their cells while a question is open.
    """

    plan: Plan
    rows: tuple[PreviewRow, ...]


def preview(
    source: Source | Workbook,
    *,
    plan: Plan,
    today: date,
    rules: Rules = Rules(),  # noqa: B008 - frozen, so one default for all is safe
    count: int = PREVIEW_ROWS,
) -> Preview:
    """
    Show what would be read.

    Args:
        source: As for `rows`.
        plan: Open questions are allowed.
        today: For dates that must not be in the future.
        rules: The caller's limits.
        count: How many rows, 0 or more.

    Returns:
        The plan with the first rows below the header.
    """
    first = list(islice(rows(source, plan=plan), count))
    iban_at = plan.fields.get("iban", -1)
    cells = [
        [excerpt(cell, as_iban=place == iban_at and bool(cell)) for place, cell in enumerate(row.cells)]
        for row in first
    ]
    if not plan.ready:
        return Preview(
            plan,
            tuple(PreviewRow(row.number, texts, "open") for row, texts in zip(first, cells, strict=True)),
        )
    shown_rows = []
    for texts, outcome in zip(cells, read(first, plan=plan, today=today, rules=rules), strict=True):
        if isinstance(outcome, Debtor):
            reads = {
                field: mask(str(value)) if field == "iban" else str(value)
                for field, value in msgspec.structs.asdict(outcome).items()
                if value is not None and field not in ("row", "warnings", "extra")
            }
            reads.update(outcome.extra or {})
            shown_rows.append(PreviewRow(outcome.row, texts, "debtor", reads, outcome.warnings))
        elif isinstance(outcome, Refused):
            shown_rows.append(PreviewRow(outcome.row, texts, "refused", {}, outcome.problems))
        else:
            shown_rows.append(PreviewRow(outcome.row, texts, "skipped"))
    return Preview(plan, tuple(shown_rows))
