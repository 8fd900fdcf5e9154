"""
Guards: questions, warnings and refusals for tables whose meaning depends on more than the fields of a debtor.

A column may say that a row is a credit (S/H, D/C, Af/Bij) or is paid in another way; the account may be the same for many
people; a second table may begin with other columns. Reading such a table without a check would debit the wrong person or amount, so each case
is a question, a warning or a refusal. The questions are based on a `Scan` of all rows.

>>> from tether_core.spreadsheet import Answers, Column, Row
>>> columns = (Column(0, "Name", "name"), Column(1, "Betrag", "amount"), Column(2, "S/H"))
>>> rows = [Row(2, ["Ann", "1,00", "S"]), Row(3, ["Ben", "2,00", "H"])]
>>> from tether_core.spreadsheet.scan import scan_rows
>>> scan = scan_rows(rows, columns=columns, fallbacks={})
>>> [question.code for question in open_questions(columns, scan=scan, answers=Answers())]
['direction_column']
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tether_core.errors import InvalidRequest
from tether_core.spreadsheet.cells import column_letters, excerpt
from tether_core.spreadsheet.header_words import count_ibans, plain, word_matches
from tether_core.spreadsheet.headers import find_column
from tether_core.spreadsheet.person_names import clean
from tether_core.spreadsheet.plan import Answers, Column, FileDecision, Kind, Question, Refusal, Selection
from tether_core.spreadsheet.scan import Scan
from tether_core.spreadsheet.selection import EVERY_WORD, ask, ask_of_credits, may_have_left, word_key
from tether_core.spreadsheet.text import DELIMITERS

__all__ = ["decide_selections", "open_questions", "plan_warnings", "refuse_table", "stand_ins"]

# An account number of one country: digits, and what stands between them.
_NATIONAL: Final = re.compile(r"(?=(?:\D*\d){5})[\d\s./*-]{5,40}", re.ASCII)
# Fields that the debit carries or that distinguish debits: of two columns with one header, a person has to choose.
_ONE_COLUMN: Final = frozenset({"name", "first_name", "last_name", "mandate_id", "reference", "customer_id"})

# A column whose header is the word of a bank, such as Buchungstext, and no better one holds its field.
_UNSURE: Final = 0.6


def _label(column: Column) -> str:
    letters = column_letters(column.position)
    return f"{letters} (\u201c{column.header.strip()[:40]}\u201d)" if column.header.strip() else letters


def _is_of_the_row(column: Column) -> bool:
    """Whether the texts of a column say what each row is, rather than what a debit is for."""
    return column.field is None or column.score <= _UNSURE


def decide_selections(
    columns: Sequence[Column], *, scan: Scan, answers: Answers
) -> tuple[tuple[Selection, ...], tuple[FileDecision, ...]]:
    """
    Apply the caller's word on which rows are collected.

    Args:
        columns: As matched.
        scan: Of all rows.
        answers: Their `collect` is read.

    Returns:
        The selections of the plan, and the decisions.

    Raises:
        InvalidRequest: when an answer names a column or a word that is not there.
    """
    headers = [column.header for column in columns]
    selections, decisions = [], []
    for name, words in answers.collect.items():
        position = find_column(name, headers, answer="collect")
        column, field = columns[position], f"collect.{name[:40]}"
        counts = scan.words.get(position)
        if not words:
            raise InvalidRequest('name the words whose rows are collected, or "*" for every row', field=field)
        keys = {word_key(word) for word in words}
        why = f"Every row is collected, whatever column {_label(column)} says, as requested."
        if EVERY_WORD not in words:
            there = {word_key(word) for word in counts} if counts is not None else keys
            if missing := keys - there:
                seen = ", ".join(f"\u201c{excerpt(word)}\u201d" for word in counts or ())
                raise InvalidRequest(
                    f"no cell of column {_label(column)} says \u201c{excerpt(min(missing))}\u201d; there are {seen}",
                    field=field,
                )
            selections.append(Selection(position, tuple(sorted(keys))))
            rest = sum(count for word, count in (counts or {}).items() if word_key(word) not in keys)
            why = f"Only rows with these words in column {_label(column)} are collected, as requested; rows that are refused for it: {rest:,}."
        value = ", ".join(f"\u201c{excerpt(word)}\u201d" if word else "blank" for word in words)
        decisions.append(FileDecision(f"collect:{column.header.strip()[:40]}", value, why, by="caller"))
    return tuple(selections), tuple(decisions)


def open_questions(
    columns: Sequence[Column],
    *,
    scan: Scan,
    answers: Answers,
    scores: Mapping[int, float] = {},
) -> Iterator[Question]:
    """
    Ask about columns that change which rows are collected, or in whose name.

    Args:
        columns: As matched.
        scan: Of all rows.
        answers: A caller who says which words of a column are collected has answered the question about it.
        scores: Position of each column that fits a field another one holds, to how well it fits.

    Yields:
        Questions.
    """
    headers = [column.header for column in columns]
    answered = {find_column(name, headers, answer="collect") for name in answers.collect}
    for column in columns:
        if column.position in answered:
            continue
        header = column.header.strip()
        unique = header and not header.isdigit() and sum(other.strip() == header for other in headers) == 1
        answer = f"collect.{header if unique else column.position + 1}"
        counts = scan.words.get(column.position)
        if column.position in scan.credits and _is_of_the_row(column) and counts is None:
            rows, first, text = scan.credits[column.position]
            yield ask_of_credits(
                rows=rows, first_row=first, example=text, answer=answer, label=_label(column)
            )
        elif counts:
            question = ask(
                header,
                counts=counts,
                answer=answer,
                label=_label(column),
                known_field=column.field is not None or column.position in scores,
            )
            if question is not None:
                yield question
    yield from _rivals(columns, scan=scan, scores=scores)


def _rivals(columns: Sequence[Column], *, scan: Scan, scores: Mapping[int, float]) -> Iterator[Question]:
    """Ask which of two columns holds a field where they differ and neither fits better."""
    asked = set()
    for (place, other), row in scan.differs.items():
        own, rival = columns[place], columns[other]
        same_header = plain(own.header) == plain(rival.header)
        as_good = own.field == "name" and scores.get(other, 0.0) >= own.score
        if own.field in asked or own.field not in _ONE_COLUMN or not (same_header or as_good):
            continue
        asked.add(own.field)
        what = str(own.field).replace("_", " ")
        sentence = f"Which column holds the {what}: {_label(own)} or {_label(rival)}? They differ, for the first time in row {row:,}."
        choices = (_label(own), _label(rival))
        yield Question(f"{own.field}_column", sentence, f"columns.{own.field}", choices)


def stand_ins(
    columns: Sequence[Column], *, scan: Scan
) -> tuple[dict[str, tuple[int, ...]], tuple[FileDecision, ...]]:
    """
    Find the columns that stand in where a field's own is empty.

    Args:
        columns: As matched.
        scan: Of all rows.

    Returns:
        Field to positions, for the plan; and what was settled.
    """
    found: dict[str, tuple[int, ...]] = {}
    decisions = []
    at = {column.field: column for column in columns if column.field}
    for (field, other), (count, first) in scan.stands_in.items():
        found[field] = (*found.get(field, ()), other)
        why = (
            f"Column {_label(at[field])} is empty in {count:,} {'row' if count == 1 else 'rows'}, from row {first:,} on, and this "
            "one has the value."
        )
        decisions.append(FileDecision(f"fallback:{field}", _label(columns[other]), why))
    return found, tuple(decisions)


def plan_warnings(columns: Sequence[Column], *, scan: Scan) -> Iterator[str]:
    """
    Warn of what deserves a look before anything is collected.

    Args:
        columns: As matched.
        scan: Of all rows.

    Yields:
        Sentences.
    """
    if scan.one_account and scan.several_names:
        yield (
            f"The {scan.rows:,} rows name several people and one account: the column was filled down, or it holds your own account. "
            "Compare it with the source before you collect."
        )
    elif (shared := scan.shared_account) is not None:
        rows, people, first = shared
        yield (
            f"{rows:,} of {scan.rows:,} rows name one account and at least {people:,} people, the first one in row {first:,}: the column was "
            "filled down, or it holds your own account. Compare it with the source before you collect."
        )
    if scan.own_account is not None:
        rows, first = scan.own_account
        yield (
            f"{rows:,} of {scan.rows:,} rows name an account that is written above the table, the first one in row {first:,}. If it is your own, "
            "nobody owes these amounts."
        )
    for column in columns:
        if (
            column.position in scan.credits
            and not _is_of_the_row(column)
            and column.position not in scan.words
        ):
            rows, first, text = scan.credits[column.position]
            yield (
                f"Column {_label(column)} begins with a word for a credit in {rows:,} of {scan.rows:,} rows, such as "
                f"\u201c{excerpt(text)}\u201d in row {first:,}; all rows are collected. Delete those that nobody owes and send the file again."
            )
    for decision in stand_ins(columns, scan=scan)[1]:
        field = decision.about.partition(":")[2]
        yield f"Column {decision.value} stands in for the {field.replace('_', ' ')}: {decision.why}"
    for column in columns:
        if (
            column.field is None
            and scan.filled[column.position]
            and column.position not in scan.words
            and may_have_left(column.header)
        ):
            yield (
                f"Column {_label(column)} is filled in {scan.filled[column.position]:,} of {scan.rows:,} rows, and these may not be "
                "due; all rows are collected. Delete the ones that are not due and send the file again."
            )
    for position, count in scan.placeholders.items():
        yield (
            f"Column {_label(columns[position])} has placeholders for \u201cno value\u201d (NULL, N/A, -) in {count:,} "
            f"{'row' if count == 1 else 'rows'}; they are read as blank."
        )


def _national(columns: Sequence[Column], *, cells: Sequence[Sequence[str]]) -> bool:
    """Whether the columns of accounts hold numbers as they were before SEPA, and nothing else."""
    accounts = {
        column.position
        for column in columns
        if column.field == "iban"
        or (column.field is None and any(match.field == "iban" for match in word_matches(column.header)))
    }
    filled = [text for row in cells for place in accounts if place < len(row) and (text := clean(row[place]))]
    return bool(filled) and all(map(_NATIONAL.fullmatch, filled))


def refuse_table(
    columns: Sequence[Column], *, cells: Sequence[Sequence[str]], kind: Kind, scan: Scan
) -> Refusal | None:
    """
    Refuse tables from which no debtor can be read without doubt.

    Args:
        columns: As matched.
        cells: The rows of the sample below the header.
        kind: Lines that are quoted as a whole occur in text files only.
        scan: Of all rows.

    Returns:
        `no_iban`, `quoted_lines` or `second_table`; `None` for other tables.
    """
    fields = {column.field for column in columns}
    if (
        kind == "csv"
        and all(len(row) == 1 for row in cells)
        and any(all(mark in row[0] for row in cells) for mark in DELIMITERS)
    ):
        return Refusal(
            "quoted_lines",
            "Every line as a whole is in quotation marks; export the list again with one cell a value.",
        )
    national = ("iban" not in fields and "bank_code" in fields) or _national(columns, cells=cells)
    if national and not any(map(count_ibans, cells)):
        return Refusal(
            "no_iban",
            "The list has national account numbers and no IBAN; add the account holders' IBANs.",
        )
    if scan.second_table:
        return Refusal(
            "second_table",
            f"A second table with other columns begins in row {scan.second_table:,}; send each table as a file of its own.",
        )
    return None
