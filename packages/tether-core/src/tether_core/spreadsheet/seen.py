"""
Questions, warnings and row values that follow from what a person sees of a sheet.

Nobody who sends a workbook expects rows that a filter hides to be debited, or an amount shown in francs to be collected in
euros. So a `View` changes what is read:

| seen | read |
| --- | --- |
| rows with an account or an amount are hidden | a question: take them or leave them out |
| the column of the amount or of the IBAN is hidden | a question, unless the caller has named it |
| other hidden columns | a warning |
| an error in a cell (#N/A) | the error is put into the cell; a row that needs the cell is refused |
| a formula without a result | likewise |
| a number shown in another currency, in percent, in cents or in thousands | likewise; no such number is an amount of euros |
| a number that is shown rounded, 12.5 as 13 (XLSX, ODS) | likewise |
| cells merged over rows | the value applies to each of the rows, except an amount |
| an amount merged over rows of several accounts | these rows are refused |
| a name, an IBAN or an amount that is struck out | the row is refused |
| an IBAN or an amount in letters of the colour of the paper | the question about hidden rows |
| other columns in such letters | a warning |
| a conditional format that can hide or strike out cells | a question: take the rows whatever it shows, or send a list without it |
| a conditional format whose effect was not looked at | a warning |
| comments beside cells of the table | a warning |
| a value under merged cells, which nobody sees | the row is refused |
| what could not be looked at | a warning |
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from tether_core.spreadsheet.cells import Row, column_letters, excerpt
from tether_core.spreadsheet.header_words import count_ibans
from tether_core.spreadsheet.number_formats import NOT_SHOWN
from tether_core.spreadsheet.plan import Answers, Column, FileDecision, Question
from tether_core.spreadsheet.view import Merge, View

__all__ = ["Guarded", "as_seen", "guard", "marked"]

_MONEY: Final = ("amount", "amount_minor", "iban")
_MERGED_FLAW: Final = (
    "The amount in column {column} is merged over rows {first} to {last}, which name several accounts; write what each of "
    "them pays into its own row."
)
_STRUCK_FLAW: Final = "Column {columns} is struck out in this row; delete the row where it is not to be collected, or take the line away."
_STRUCK_FLAWS: Final = _STRUCK_FLAW.replace("Column {columns} is", "Columns {columns} are")
# Where these are struck out, somebody means that the row is not to be collected.
_STRUCK_FIELDS: Final = frozenset({"iban", "name", "first_name", "last_name", "amount", "amount_minor"})
_COVERED_FLAW: Final = (
    "A merged cell hides a value of column {column} that nobody sees; unmerge the cells and correct the row."
)


class Guarded(msgspec.Struct, frozen=True):
    """
    What a view adds to a plan.

    Attributes:
        questions: What a person has to say first.
        warnings: Sentences.
        decisions: The decisions.
        skip_hidden: Whether hidden rows are excluded.
    """

    questions: tuple[Question, ...] = ()
    warnings: tuple[str, ...] = ()
    decisions: tuple[FileDecision, ...] = ()
    skip_hidden: bool = False


def marked(rows: Iterable[Row], view: View) -> Iterator[Row]:
    """
    Put the marks of a view into the cells they belong to.

    Args:
        rows: All rows of a sheet, from the first one on.
        view: Of that sheet.

    Yields:
        The rows; those with a mark are new, the others as they came. Rows that hold nothing but marks may follow at the end.
    """
    number = 0
    for row in rows:
        number = row.number
        marks = view.marks.get(number)
        yield row if marks is None else _marked(row, marks)
    for later in sorted(later for later in view.marks if later > number):
        while number + 1 < later:
            number += 1
            yield Row(number, [])
        number = later
        yield _marked(Row(later, []), view.marks[later])


def _marked(row: Row, marks: tuple[tuple[int, str], ...]) -> Row:
    cells, numeric = list(row.cells), row.numeric
    for position, mark in marks:
        if mark.startswith("#"):
            cells.extend([""] * (position + 1 - len(cells)))
            cells[position] = mark
        elif numeric >> position & 1:
            cells[position] = f"{cells[position]} {mark}"
            numeric &= ~(1 << position)
    return Row(row.number, cells, numeric, row.flaw)


def guard(
    view: View, *, columns: Sequence[Column], data_row: int, rows: Iterable[Row], answers: Answers
) -> Guarded:
    """
    Return what a person sees differently, as far as it affects a debit.

    Args:
        view: Of the sheet.
        columns: As matched.
        data_row: Number of the first row below the header.
        rows: All rows of the sheet; read only where some are hidden.
        answers: The caller's word.

    Returns:
        What the plan gets.
    """
    if not view.complete:
        blind = (
            "It could not be checked whether this workbook hides rows or columns, or shows amounts in another currency than the "
            "euro. Compare the preview with what you see."
        )
        return Guarded(warnings=(blind,))
    at = {column.field: column.position for column in columns if column.field}
    questions: list[Question] = []
    warnings: list[str] = []
    decisions: list[FileDecision] = []
    hidden, unseen = _hidden_rows(view, at=at, data_row=data_row, rows=rows)
    if hidden or unseen:
        where = " and ".join(_where(hidden, unseen, filtered=view.filtered))
        if answers.hidden_rows is None:
            ask = (
                f"Are hidden rows to be collected too? {where}, and a person who opens the workbook does not see them. Answer take or "
                "exclude, or show all rows and send it again."
            )
            questions.append(Question("hidden_rows", ask, "hidden_rows", ("take", "exclude")))
        else:
            taken = "read" if answers.hidden_rows == "take" else "left out"
            decisions.append(
                FileDecision("hidden_rows", answers.hidden_rows, f"{where}; as requested.", by="caller")
            )
            warnings.append(
                f"{where}; {'it is' if len(hidden) + len(unseen) == 1 else 'they are'} {taken}, as requested."
            )
    asked, warned = _hidden_columns(view, columns=columns, answers=answers)
    questions.extend(asked)
    warnings.extend(warned)
    warnings.extend(_marks(view, columns=columns, data_row=data_row))
    warnings.extend(_merges(view, columns=columns, data_row=data_row))
    warnings.extend(_struck(view, columns=columns, data_row=data_row))
    warnings.extend(_unseen(view, columns=columns, data_row=data_row))
    asked, warned = _rules(view, columns=columns, data_row=data_row, answers=answers)
    questions.extend(asked)
    warnings.extend(warned)
    warnings.extend(_comments(view, data_row=data_row))
    return Guarded(
        tuple(questions),
        tuple(warnings),
        tuple(decisions),
        bool(hidden or unseen) and answers.hidden_rows == "exclude",
    )


def _hidden_rows(
    view: View, *, at: dict[str, int], data_row: int, rows: Iterable[Row]
) -> tuple[list[int], list[int]]:
    """Find the hidden rows with an account or an amount, and those where one of these cannot be seen; titles and notes may be hidden."""
    if not view.hidden_rows and not view.unseen:
        return [], []
    places = [at[field] for field in _MONEY if field in at]
    hidden, unseen = list[int](), list[int]()
    for row in rows:
        if row.number < data_row:
            continue
        if view.hides(row.number):
            if any(_filled(row, place) for place in places) or (not places and count_ibans(row.cells)):
                hidden.append(row.number)
        elif _is_unseen(view, row, places):
            unseen.append(row.number)
    return hidden, unseen


def _is_unseen(view: View, row: Row, places: Iterable[int]) -> bool:
    """Whether one of some cells of a row has a value that nobody sees; a number whose format shows nothing has its mark."""
    unseen = view.unseen.get(row.number, ())
    return bool(unseen) and any(
        place in unseen and _filled(row, place) and not row.cells[place].endswith(NOT_SHOWN)
        for place in places
    )


def _where(hidden: Sequence[int], unseen: Sequence[int], *, filtered: bool) -> Iterator[str]:
    if hidden:
        verb = "is" if len(hidden) == 1 else "are"
        yield f"{_listed(hidden)} {verb} hidden{' by a filter' if filtered else ''}"
    if unseen:
        verb = "has" if len(unseen) == 1 else "have"
        listed = _listed(unseen)
        listed = listed[0].lower() + listed[1:] if hidden else listed
        yield f"{listed} {verb} an account or an amount in letters of the colour of the paper"


def _filled(row: Row, position: int) -> bool:
    return position < len(row.cells) and bool(row.cells[position].strip())


def _listed(numbers: Sequence[int]) -> str:
    """Format row numbers for people: "Rows 3, 5 to 7 and 2 others"."""
    if len(numbers) == 1:
        return f"Row {numbers[0]:,}"
    runs: list[list[int]] = [[numbers[0], numbers[0]]]
    for before, number in pairwise(numbers):
        if number == before + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [f"{first:,}" if first == last else f"{first:,} to {last:,}" for first, last in runs[:5]]
    if (rest := len(numbers) - sum(last - first + 1 for first, last in runs[:5])) > 0:
        return f"Rows {', '.join(words)} and {rest:,} others ({len(numbers):,} in all)"
    return f"Rows {', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else f"Rows {words[0]}"


def _label(column: Column) -> str:
    letters = column_letters(column.position)
    return f"{letters} (\u201c{column.header[:40]}\u201d)" if column.header else letters


def _hidden_columns(
    view: View, *, columns: Sequence[Column], answers: Answers
) -> tuple[list[Question], list[str]]:
    questions: list[Question] = []
    used: list[str] = []
    unused: list[str] = []
    for column in columns:
        if column.position not in view.hidden_columns:
            continue
        if column.field in _MONEY and column.field not in answers.columns:
            what = "IBAN" if column.field == "iban" else "amount"
            ask = (
                f"Is column {_label(column)} the {what} to collect? It is hidden, and a person who opens the workbook does not see it. "
                "Name the column to read, or show it and send the file again."
            )
            questions.append(Question("hidden_column", ask, f"columns.{column.field}", (_label(column),)))
        elif column.field:
            used.append(f"{_label(column)} as {column.field}")
        elif column.header:
            unused.append(_label(column))
    warnings = []
    if used:
        warnings.append(f"Hidden columns are read: {', '.join(used[:8])}.")
    if unused:
        warnings.append(f"Hidden columns are not read: {', '.join(unused[:8])}.")
    return questions, warnings


def _marks(view: View, *, columns: Sequence[Column], data_row: int) -> Iterator[str]:
    """Warn about cells in use whose display differs from their value."""
    used = {column.position: column for column in columns if column.field}
    errors: list[tuple[int, int, str]] = []
    others: list[tuple[int, int, str]] = []
    for number, marks in view.marks.items():
        if number < data_row:
            continue
        for position, mark in marks:
            column = used.get(position)
            if column is None:
                continue
            if mark.startswith("#"):
                errors.append((number, position, mark))
            elif column.field in ("amount", "amount_minor"):
                others.append((number, position, mark))
    if errors:
        number, position, mark = errors[0]
        yield (
            f"Cells in use that hold an error or a formula without a result: {len(errors):,}, e.g. "
            f"{column_letters(position)}{number} ({mark}). Rows that need them are refused."
        )
    if others:
        number, position, mark = others[0]
        yield (
            f"Amounts that are not shown as euros: {len(others):,}, e.g. {column_letters(position)}{number} ({mark}). Their rows are "
            "refused."
        )


def _merges(view: View, *, columns: Sequence[Column], data_row: int) -> Iterator[str]:
    used = {column.position for column in columns if column.field}
    merges = [merge for merge in view.merges if _concerns(merge, used, data_row)]
    if merges:
        first = merges[0]
        place = f"{column_letters(first.first_column)}{first.first_row}:{column_letters(first.last_column)}{first.last_row}"
        yield (
            f"Cells are merged over rows, e.g. {place} ({len(merges):,} in all): what is shown beside several rows holds for each "
            "of them, but for an amount."
        )


def _struck(view: View, *, columns: Sequence[Column], data_row: int) -> Iterator[str]:
    used = {column.position for column in columns if column.field in _STRUCK_FIELDS}
    numbers = sorted(
        number for number, positions in view.struck.items() if number >= data_row and used & {*positions}
    )
    if numbers:
        refused = "Filled ones are refused." if len(numbers) > 1 else "It is refused if it is filled."
        where = f"{_listed(numbers)} {'is' if len(numbers) == 1 else 'are'}"
        yield f"{where} struck out, in whole or in part. {refused}"


def _unseen(view: View, *, columns: Sequence[Column], data_row: int) -> Iterator[str]:
    """Warn about cells in use that nobody sees and that are no question: those of other columns than account and amount."""
    used = {column.position for column in columns if column.field and column.field not in _MONEY}
    found = [
        (number, min(places))
        for number, positions in view.unseen.items()
        if number >= data_row and (places := used.intersection(positions))
    ]
    if found:
        number, position = min(found)
        yield (
            f"Cells in use are written in the colour of the paper, or their format shows nothing, in {len(found):,} "
            f"{'row' if len(found) == 1 else 'rows'}, e.g. {column_letters(position)}{number}. Filled ones are read."
        )


def _rules(
    view: View, *, columns: Sequence[Column], data_row: int, answers: Answers
) -> tuple[list[Question], list[str]]:
    """Ask or warn about conditional formats over the names, accounts or amounts of the table."""
    used = {column.position for column in columns if column.field in _STRUCK_FIELDS}

    def first_of(places: Sequence[Merge]) -> str:
        for place in places:
            if place.last_row >= data_row and any(_covers(place, position) for position in used):
                return _range(place)
        return ""

    if where := first_of(view.rules):
        what = f"A conditional format ({where}) can hide cells of the table or strike them out, and its rule is not evaluated here"
        if answers.hidden_rows is None:
            ask = (
                f"Are all rows to be collected, whatever the conditional format shows? {what}. Answer take, or delete the rows that are not "
                "to be collected and send the file again."
            )
            return [Question("conditional_format", ask, "hidden_rows", ("take",))], []
        return [], [f"{what}; all rows that it covers are read."]
    if where := first_of(view.unread_rules):
        why = (
            f"A conditional format ({where}) was not looked at. Compare the preview with what you see: cells that it hides or strikes "
            "out are read."
        )
        return [], [why]
    return [], []


def _range(place: Merge) -> str:
    first = f"{column_letters(place.first_column)}{place.first_row}"
    last = f"{column_letters(place.last_column)}{place.last_row}"
    return first if first == last else f"{first}:{last}"


def _comments(view: View, *, data_row: int) -> Iterator[str]:
    comments = [comment for comment in view.comments if comment.row >= data_row]
    if comments:
        first = comments[0]
        quoted = f" (\u201c{excerpt(first.text)}\u201d)" if first.text else ""
        place = f"{column_letters(first.position)}{first.row}"
        yield (
            f"Cells of the table with a comment: {len(comments):,}, e.g. {place}{quoted}. Comments are not read; make sure that none "
            "says what is not to be collected."
        )


def _concerns(merge: Merge, used: set[int], data_row: int) -> bool:
    """Whether cells are merged over rows of the table, in a column that is read."""
    over = merge.last_row > max(merge.first_row, data_row)
    return over and any(merge.first_column <= position <= merge.last_column for position in used)


def as_seen(
    rows: Iterable[Row], *, view: View, columns: Sequence[Column], data_row: int, skip_hidden: bool
) -> Iterator[Row]:
    """
    Give the rows of a table as a person sees them.

    Args:
        rows: All rows from the sheet's first one on, with their marks.
        view: Of the sheet.
        columns: Of the plan.
        data_row: Of the plan.
        skip_hidden: From the plan: whether hidden rows are left out.

    Yields:
        The rows: merged values are copied into each of their rows, and rows with untrusted or struck-out values have a flaw.
    """
    used = {column.position: column.field or "" for column in columns if column.field}
    merges = [
        merge
        for merge in view.merges
        if any(_covers(merge, place) for place in used) and merge.last_row >= data_row
    ]
    if merges:
        rows = _unmerged(rows, merges=merges, used=used, data_row=data_row)
    crossed = {place for place, field in used.items() if field in _STRUCK_FIELDS}
    money = [place for place, field in used.items() if field in _MONEY]
    for row in rows:
        if (
            skip_hidden
            and row.number >= data_row
            and (view.hides(row.number) or _is_unseen(view, row, money))
        ):
            continue
        struck = view.struck.get(row.number)
        yield row if struck is None or row.number < data_row else _crossed(row, crossed.intersection(struck))


def _crossed(row: Row, places: Iterable[int]) -> Row:
    """Refuse a row if any of these cells, which are struck out, has a value."""
    found = [place for place in sorted(places) if place < len(row.cells) and row.cells[place].strip()]
    if not found or row.flaw:
        return row
    flaw = _STRUCK_FLAW if len(found) == 1 else _STRUCK_FLAWS
    named = ", ".join(map(column_letters, found))
    return Row(row.number, row.cells, row.numeric, flaw.format(columns=named))


def _covers(merge: Merge, position: int) -> bool:
    return merge.first_column <= position <= merge.last_column


class _Block(msgspec.Struct):
    """Merged cells under way: the value shown, and for an amount the rows it spans."""

    merge: Merge
    value: str
    numeric: bool


def _unmerged(
    rows: Iterable[Row], *, merges: Sequence[Merge], used: dict[int, str], data_row: int
) -> Iterator[Row]:
    """Resolve merges; rows under a merged amount are held back until it ends, as the first one depends on the others."""
    places = {field: place for place, field in used.items()}
    amount_at = places.get("amount", places.get("amount_minor", -1))
    iban_at = places.get("iban", -1)
    waiting = iter(merges)
    upcoming = next(waiting, None)
    active: list[_Block] = []
    held: list[Row] = []
    held_until = 0
    for parsed in rows:
        row = parsed
        active = [block for block in active if block.merge.last_row >= row.number]
        while upcoming is not None and upcoming.first_row <= row.number:
            first = upcoming.first_column
            value = row.cells[first] if first < len(row.cells) and upcoming.first_row == row.number else ""
            active.append(_Block(upcoming, value, bool(row.numeric >> first & 1)))
            upcoming = next(waiting, None)
        if row.number >= data_row and active:
            row = _resolved(row, active, used=used, amount_at=amount_at)
            for block in active:
                if _covers(block.merge, amount_at) and block.merge.last_row > block.merge.first_row:
                    held_until = max(held_until, block.merge.last_row)
        if row.number <= held_until:
            held.append(row)
            if row.number < held_until:
                continue
            yield from _judged(held, amount_at=amount_at, iban_at=iban_at)
            held = []
        else:
            yield from _judged(held, amount_at=amount_at, iban_at=iban_at)
            held = []
            yield row
    yield from _judged(held, amount_at=amount_at, iban_at=iban_at)


def _resolved(row: Row, active: Sequence[_Block], *, used: dict[int, str], amount_at: int) -> Row:
    """Copy the value shown beside a row into it, and find values hidden under merged cells."""
    cells, numeric, flaw = list(row.cells), row.numeric, row.flaw
    # A blank row below a merged name is only the height of its debtor; so is one that shares the amount.
    continued = not any(cell.strip() for cell in cells) or any(
        _covers(block.merge, amount_at) and block.merge.first_row < row.number for block in active
    )
    for block in active:
        merge = block.merge
        for place in range(merge.first_column, merge.last_column + 1):
            own = cells[place].strip() if place < len(cells) else ""
            if place not in used:
                continue
            if merge.first_row == row.number and place == merge.first_column:
                continue
            if own and own != block.value.strip():
                flaw = flaw or _COVERED_FLAW.format(column=column_letters(place))
            elif place == merge.first_column and place != amount_at and not continued and block.value:
                cells.extend([""] * (place + 1 - len(cells)))
                cells[place] = block.value
                numeric = numeric | 1 << place if block.numeric else numeric & ~(1 << place)
    return Row(row.number, cells, numeric, flaw)


def _judged(held: list[Row], *, amount_at: int, iban_at: int) -> Iterator[Row]:
    """Refuse the rows that share one amount and name several accounts."""
    if not held:
        return
    accounts = {row.cells[iban_at].strip() for row in held if 0 <= iban_at < len(row.cells)} - {""}
    flaw = ""
    if len(accounts) > 1:
        flaw = _MERGED_FLAW.format(
            column=column_letters(amount_at), first=held[0].number, last=held[-1].number
        )
    for row in held:
        filled = bool(flaw) and any(cell.strip() for cell in row.cells)
        yield Row(row.number, row.cells, row.numeric, row.flaw or flaw) if filled else row
