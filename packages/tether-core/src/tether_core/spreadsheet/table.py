"""
Tables: find a sheet's header, the fields of its columns and their formats.

Above the header there may be a title, an address, a date; the header may span two rows, when headings over several
columns were merged. Among the first 50 rows with anything in them, each is rated: 3 points for naming an IBAN, 2 for an
amount or a name, 1 for any other field, less 3 for each IBAN and half a point for each number in it; 2 more
where it has neither and the row below has an IBAN. The best row of at least 3 points is the header; two rows read together win if they are better by a point.

The first 2,000 rows below decide how amounts and days are written. Where they do not decide, reading continues for those columns only, until
a row decides or the sheet ends.

>>> from tether_core.spreadsheet.cells import Row
>>> lines = [["Mitgliederliste 2026"], [], ["Kontoinhaber", "IBAN", "Beitrag"], ["Zoë Łącka", "DE89370400440532013000", "12,50"]]
>>> table = examine(iter([Row(n, cells) for n, cells in enumerate(lines, 1)]), answers=Answers(), kind="csv")
>>> table.header_row, [column.field for column in table.columns], table.amount_format
(3, ['name', 'iban', 'amount'], 'comma')
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Final, cast

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.spreadsheet.cells import Row, column_letters
from tether_core.spreadsheet.currencies import ask_currency, with_currency_column
from tether_core.spreadsheet.formats import AmountVotes, DayVotes
from tether_core.spreadsheet.guards import (
    decide_selections,
    open_questions,
    plan_warnings,
    refuse_table,
    stand_ins,
)
from tether_core.spreadsheet.header_words import count_ibans, named_fields
from tether_core.spreadsheet.headers import Matching, match_columns
from tether_core.spreadsheet.iban_span import IbanSpan, find_iban_span, joined
from tether_core.spreadsheet.person_names import clean, error_value
from tether_core.spreadsheet.plan import (
    ALL_FIELDS,
    AmountFormat,
    Answers,
    Column,
    DateOrder,
    FileDecision,
    Kind,
    Question,
    Refusal,
    Selection,
)
from tether_core.spreadsheet.scan import scan_rows
from tether_core.spreadsheet.text import DELIMITERS

__all__ = ["COLUMNS_MAX", "SAMPLE_ROWS", "Table", "examine", "holds_accounts"]

COLUMNS_MAX: Final = 500
SAMPLE_ROWS: Final = 2_000
_KEPT_NAME_MAX: Final = 80
_HEADER_WITHIN: Final = 50
_POINTS: Final = {"iban": 3, "name": 2, "amount": 2, "amount_minor": 2}
_HEADER_FROM: Final = 3
# Columns of text in which a number may have lost its leading zeros.
_CODES: Final = frozenset(
    "postcode phone mobile phone_2 phone_3 phone_4 primary_phone reference customer_id mandate_id national_id bank_code"
    " house_number".split()
)


_NO_COLUMNS: Final = Refusal(
    "no_columns",
    "No line of this file is divided into cells by a semicolon, comma, tab or bar; export the list as CSV, or name its delimiter.",
)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """
    What `examine` found; the parts of a `Plan` that do not depend on the kind of file.

    Attributes:
        header_row: Number of the (first) header row; 0 without a header.
        data_row: Number of the first row below it.
        columns: All columns in order.
        amount_format: Of the amount column, when decided.
        date_orders: Of the date columns, as far as decided.
        fallbacks: Field to the positions of columns that stand in where its own is empty.
        selections: Columns of which only some words are collected.
        iban_span: First and last position of columns that hold an IBAN together.
        kept: Names of columns without a field that are kept, to their positions.
        decisions: The decisions.
        questions: What is open.
        warnings: Sentences.
    """

    header_row: int
    data_row: int
    columns: tuple[Column, ...]
    amount_format: AmountFormat | None = None
    date_orders: dict[str, DateOrder] = {}
    fallbacks: dict[str, tuple[int, ...]] = {}
    selections: tuple[Selection, ...] = ()
    iban_span: IbanSpan | None = None
    kept: dict[str, int] = {}
    decisions: tuple[FileDecision, ...] = ()
    questions: tuple[Question, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def fields(self) -> frozenset[str]:
        """The fields that its columns hold."""
        return frozenset(column.field for column in self.columns if column.field)


class _Header(msgspec.Struct, frozen=True):
    row: int
    below: int
    cells: list[str]
    why: str


def examine(  # noqa: C901 - one step after the other
    rows: Iterator[Row], *, answers: Answers, kind: Kind
) -> Table | Refusal:
    """
    Understand a sheet.

    Args:
        rows: From the first one on; read to the end, because one row can change what the table means.
        answers: The caller's word on anything.
        kind: In text files a row longer than the header is suspicious, in workbooks it is not.

    Returns:
        The table; or a refusal: `empty`, `no_rows` (nothing below the header), `no_columns`, `too_many_columns`, or one of
        `guards.refuse_table`.

    Raises:
        InvalidRequest: when the answers name a row, column or field that is not there.
    """
    sample = _take(rows, SAMPLE_ROWS)
    filled = [row for row in sample if any(cell.strip() for cell in row.cells)]
    if not filled:
        return Refusal("empty", "There is nothing but blank rows; send the sheet that holds the list.")
    widest = max(len(_trimmed(row.cells)) for row in filled[:_HEADER_WITHIN])
    if widest > COLUMNS_MAX:
        return Refusal(
            "too_many_columns",
            f"The table has {widest:,} columns; at most {COLUMNS_MAX} can be read. Delete those without debtors' data.",
        )
    header = _header(filled[:_HEADER_WITHIN], answers=answers)
    questions: list[Question] = []
    if header is None and kind == "csv" and _undivided(filled):
        return _NO_COLUMNS
    if header is None:
        questions.append(_ask_header(filled))
        header = _Header(0, filled[0].number, [], "")
    data = [row for row in filled if row.number >= header.below]
    if not data and (found := _next_filled(rows)) is not None:
        data = [found]
    if not data:
        return Refusal(
            "no_rows",
            f"Row {header.row} is the header, and there are no rows below it; add the debtors and send it again.",
        )
    cells = _fitted(header.cells, data=data, kind=kind)
    span = _named_span(find_iban_span(data), headers=cells, answers=answers)
    if span is not None and _hides_amount(span, cells, sample=data, answers=answers):
        span = None
    data, rows = list(joined(data, span)), joined(rows, span)
    matching = _matched(cells, sample=[row.cells for row in data], answers=answers, span=span)
    if header.row or not questions:
        questions.extend(matching.questions)
    votes = _Votes(
        matching.columns,
        answers=answers,
        least_width=_least_width(matching.columns, data=data, kind=kind),
        strict=kind == "csv",
    )
    for row in data:
        votes.add(row)
    others = {field: [position for position, _ in found] for field, found in matching.fallbacks.items()}
    every = chain(data, votes.watched(rows))
    above = [row for row in filled if row.number < header.row]
    scan = scan_rows(
        every,
        columns=matching.columns,
        fallbacks=others,
        above=[cell for row in above for cell in row.cells],
    )
    sample_cells = [row.cells for row in data]
    if (refusal := refuse_table(matching.columns, cells=sample_cells, kind=kind, scan=scan)) is not None:
        return refusal
    scores = {position: score for found in matching.fallbacks.values() for position, score in found}
    columns = with_currency_column(matching.columns, words={**scan.words}, answers=answers)
    questions.extend(open_questions(columns, scan=scan, answers=answers, scores=scores))
    units, unit_decisions = ask_currency(columns, above=above, below=scan.unit_note, answers=answers)
    questions.extend(units)
    selections, selected = decide_selections(matching.columns, scan=scan, answers=answers)
    fallbacks, filled_in = stand_ins(matching.columns, scan=scan)
    amount_format, date_orders, settled, asked = votes.decide()
    by_caller = answers.header_row is not None
    where = f"row {header.row}" if header.row else "none"
    decision = FileDecision(
        "header", where, header.why or "No row names the columns.", by="caller" if by_caller else "file"
    )
    return Table(
        header_row=header.row,
        data_row=header.below,
        columns=_with_stand_ins(columns, fallbacks),
        amount_format=amount_format,
        date_orders=date_orders,
        fallbacks=fallbacks,
        selections=selections,
        iban_span=span,
        kept=_kept(matching.columns) if answers.keep_columns else {},
        decisions=(decision, *_span_decision(span), *settled, *unit_decisions, *filled_in, *selected),
        questions=(*questions, *asked),
        warnings=(
            *_warnings(matching.columns, data=data, kind=kind),
            *plan_warnings(matching.columns, scan=scan),
            *(_unclear_days(settled)),
        ),
    )


def _with_stand_ins(columns: tuple[Column, ...], fallbacks: dict[str, tuple[int, ...]]) -> tuple[Column, ...]:
    """Record the decision to use fallback columns."""
    places = {place for others in fallbacks.values() for place in others}
    return tuple(
        msgspec.structs.replace(
            column, why=f"{column.why.removesuffix('; not used')}; used where that one is empty"
        )
        if column.position in places
        else column
        for column in columns
    )


def _kept(columns: Sequence[Column]) -> dict[str, int]:
    """Name the columns that hold no field: by their header, and where that is no name of its own, with their letters."""
    found: dict[str, int] = {}
    headers = Counter(column.header.strip() for column in columns)
    for column in columns:
        header = " ".join(clean(column.header).replace("\0", "").split())[:_KEPT_NAME_MAX]
        if column.field is None and header:
            if header in ALL_FIELDS or header in found or headers[column.header.strip()] > 1:
                header = f"{header} ({column_letters(column.position)})"
            found[header] = column.position
    return found


def holds_accounts(rows: Iterator[Row]) -> bool:
    """Whether any of a sheet's first rows has an IBAN, in one cell or over several."""
    sample = _take(rows, SAMPLE_ROWS)
    return any(count_ibans(row.cells[:COLUMNS_MAX]) for row in sample) or find_iban_span(sample) is not None


def _unclear_days(settled: Sequence[FileDecision]) -> Iterator[str]:
    """Warn of columns of days that nobody can read for certain."""
    for decision in settled:
        if decision.value == "unclear":
            of = "birth" if decision.about.endswith("born_on") else "the mandates"
            yield f"Days of {of}: {decision.why}"


def _named_span(span: IbanSpan | None, *, headers: Sequence[str], answers: Answers) -> IbanSpan | None:
    """Keep a span unless the caller has named another column for the IBAN."""
    if span is None or "iban" not in answers.columns:
        return span
    name = answers.columns["iban"]
    first = headers[span[0]].strip() if span[0] < len(headers) else ""
    return span if name == span[0] + 1 or (isinstance(name, str) and name.strip() == first) else None


def _hides_amount(span: IbanSpan, headers: list[str], *, sample: Sequence[Row], answers: Answers) -> bool:
    """Whether the only column of amounts would be taken for a piece of the IBAN, as where rows are shifted by a stray delimiter."""
    plain = match_columns(headers, sample=[row.cells for row in sample], answers=answers)
    amounts = {column.position for column in plain.columns if column.field in {"amount", "amount_minor"}}
    return bool(amounts) and all(span[0] <= position <= span[1] for position in amounts)


def _matched(
    headers: list[str], *, sample: Sequence[Sequence[str]], answers: Answers, span: IbanSpan | None
) -> Matching:
    """Match the columns; those of a span hold the IBAN and nothing else."""
    if span is None:
        return match_columns(headers, sample=sample, answers=answers)
    wide = [*headers, *[""] * (span[1] + 1 - len(headers))]
    named = msgspec.structs.replace(answers, columns={**answers.columns, "iban": span[0] + 1})
    matching = match_columns(wide, sample=sample, answers=named)
    return msgspec.structs.replace(matching, columns=tuple(_parts_named(matching.columns, span)))


def _span_decision(span: IbanSpan | None) -> Iterator[FileDecision]:
    if span is not None:
        where = f"{column_letters(span[0])} to {column_letters(span[1])}"
        yield FileDecision(
            "iban_span", where, f"No single column holds IBANs; columns {where} hold them together."
        )


def _parts_named(columns: Sequence[Column], span: IbanSpan) -> Iterator[Column]:
    """Say of each column of a span that it holds a part of the IBAN."""
    first, last = span
    where = f"columns {column_letters(first)} to {column_letters(last)}"
    for column in columns:
        if column.position == first:
            yield msgspec.structs.replace(
                column, why=f"{where} hold one IBAN together; their cells are joined"
            )
        elif first < column.position <= last:
            yield Column(column.position, column.header, why=f"part of the IBAN in {where}")
        else:
            yield column


def _take(rows: Iterator[Row], count: int) -> list[Row]:
    taken = []
    for row in rows:
        taken.append(row)
        if len(taken) == count:
            break
    return taken


def _next_filled(rows: Iterator[Row]) -> Row | None:
    """Look below a long run of blank rows."""
    return next((row for row in rows if any(cell.strip() for cell in row.cells)), None)


def _trimmed(cells: Sequence[str]) -> list[str]:
    """Cut the blank cells at the end off."""
    end = len(cells)
    while end and not cells[end - 1].strip():
        end -= 1
    return list(cells[:end])


def _rating(cells: Sequence[str]) -> float:
    """Rate how likely a row is a header; the table above has the points."""
    numbers = sum(cell.strip()[:1].isdigit() for cell in cells)
    named = sum(_POINTS.get(field, 1) for field in named_fields(cells))
    return named - 3 * count_ibans(cells) - numbers / 2


def _contrast(cells: Sequence[str], below: Sequence[str]) -> float:
    """Give the points for words above a row of data."""
    words = [cell for cell in cells if cell.strip()]
    return 2 if len(words) > 1 and _only_words(words) and count_ibans(below) else 0


def _only_words(cells: Sequence[str]) -> bool:
    """Whether a row has no numbers, IBANs and errors, as headings do."""
    return not count_ibans(cells) and not any(
        cell.strip()[:1].isdigit() or error_value(cell) for cell in cells
    )


def _header(filled: Sequence[Row], *, answers: Answers) -> _Header | None:
    """Find the header among the first rows."""
    given = answers.header_row
    if given == 0:
        return _Header(0, filled[0].number, [], "There is no header, as requested.")
    if given is not None:
        row = next((row for row in filled if row.number == given), None)
        if row is None:
            raise InvalidRequest(f"row {given} is blank or not among the first rows", field="header_row")
        return _Header(given, given + 1, _trimmed(row.cells), "As requested.")
    ratings = [
        _rating(row.cells) + _contrast(row.cells, below.cells if below is not None else ())
        for row, below in zip_longest(filled, filled[1:])
    ]
    best = max(range(len(filled)), key=ratings.__getitem__)
    single = _Header(
        filled[best].number,
        filled[best].number + 1,
        _trimmed(filled[best].cells),
        f"Known fields that row {filled[best].number} names: {len(named_fields(filled[best].cells))}.",
    )
    double, top = _double_header(filled, best=best, top=ratings[best])
    if top >= _HEADER_FROM:
        return double or single
    # Someone who names the columns by number needs no header.
    numbered = [name for name in answers.columns.values() if isinstance(name, int)]
    if len(numbered) >= 3:
        return _Header(0, filled[0].number, [], "No row names the columns; the caller gave their numbers.")
    return None


def _double_header(filled: Sequence[Row], *, best: int, top: float) -> tuple[_Header | None, float]:
    """Look for two rows around the *best* one that are a better header together, by a point at least."""
    found = None
    for index in range(max(best - 1, 0), min(best + 1, len(filled) - 1)):
        upper, lower = filled[index], filled[index + 1]
        # Both rows must be headings: a row of data would come along for nothing.
        if lower.number != upper.number + 1 or not (_only_words(upper.cells) and _only_words(lower.cells)):
            continue
        below = filled[index + 2].cells if index + 2 < len(filled) else ()
        for merged in (False, True):
            joined = _joined(upper.cells, lower.cells, merged=merged)
            rating = _rating(joined) + _contrast(joined, below)
            if rating >= top + 1:
                names = len(named_fields(joined))
                why = f"Known fields that rows {upper.number} and {lower.number} name together: {names}."
                found, top = _Header(upper.number, lower.number + 1, joined, why), rating
    return found, top


def _joined(upper: Sequence[str], lower: Sequence[str], *, merged: bool) -> list[str]:
    """Read two rows as one header; *merged* headings in the upper one stand over the blank cells to their right."""
    width = max(len(upper), len(lower))
    joined, heading = [], ""
    for position in range(width):
        above = upper[position].strip() if position < len(upper) else ""
        below = lower[position].strip() if position < len(lower) else ""
        heading = above or (heading if merged and below else "")
        joined.append(f"{heading} {below}".strip())
    return _trimmed(joined)


def _undivided(filled: Sequence[Row]) -> bool:
    """Whether lines have one cell each, and not because they stand in quotation marks as a whole."""
    return all(len(row.cells) < 2 for row in filled) and not any(
        all(mark in row.cells[0] for row in filled) for mark in DELIMITERS
    )


def _ask_header(filled: Sequence[Row]) -> Question:
    hints = {
        column_letters(position)
        for row in filled[:_HEADER_WITHIN]
        for position in range(len(row.cells[:COLUMNS_MAX]))
        if count_ibans([row.cells[position]])
    }
    hint = f" IBANs stand in column {', '.join(sorted(hints)[:3])}." if hints else " No cell holds an IBAN."
    return Question(
        "header_missing",
        f"Which row holds the headers? None of the first {len(filled[:_HEADER_WITHIN])} rows names an IBAN, an amount "
        f"and a name.{hint} Tell the row, or 0 for none and the columns by number.",
        "header_row",
    )


def _fitted(cells: list[str], *, data: Sequence[Row], kind: Kind) -> list[str]:
    """Fit the header to the table's width; text files keep to it, so that moved cells are noticed."""
    width = max(len(_trimmed(row.cells)) for row in data[:200])
    if cells and kind == "csv":
        return cells
    return [*cells, *[""] * (min(width, COLUMNS_MAX) - len(cells))]


def _least_width(columns: Sequence[Column], *, data: Sequence[Row], kind: Kind) -> int:
    """The least cells that a whole row of a text file has: blank ones at its end may be missing in all rows, or in none."""
    if kind != "csv":
        return 0
    lengths = Counter(len(row.cells) for row in data)
    return min(len(columns), max(sorted(lengths), key=lengths.__getitem__))


class _Votes:
    """The columns whose format has to be decided, and what their cells say."""

    def __init__(
        self, columns: Sequence[Column], *, answers: Answers, least_width: int, strict: bool
    ) -> None:
        self._answers = answers
        self._least_width = least_width
        self._width = len(columns) if strict else COLUMNS_MAX
        at = {column.field: column.position for column in columns if column.field}
        self._amount_at = at.get("amount", -1)
        self._amounts = AmountVotes()
        self._days = {
            field: (at[field], DayVotes()) for field in ("mandate_signed_on", "born_on") if field in at
        }

    def add(self, row: Row) -> None:
        width = len(row.cells)
        # In a row of another length the cells may have moved: "12,50" in a comma file votes with half of an amount.
        if row.flaw or width < self._least_width or any(row.cells[self._width :]):
            return
        if 0 <= self._amount_at < width:
            numeric = bool(row.numeric >> self._amount_at & 1)
            self._amounts.add(row.cells[self._amount_at], row=row.number, numeric=numeric)
        for position, votes in self._days.values():
            if position < width:
                votes.add(row.cells[position], row=row.number)

    def watched(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Pass rows on, and let them vote as long as that can change anything."""
        while not self.settled and (row := next(rows, None)) is not None:
            self.add(row)
            yield row
        yield from rows

    @property
    def settled(self) -> bool:
        """Whether more rows would change nothing."""
        amounts = self._amount_at < 0 or self._answers.amount_format is not None or self._amounts.settled
        days = self._answers.date_order is not None or all(votes.settled for _, votes in self._days.values())
        return amounts and days

    def decide(
        self,
    ) -> tuple[AmountFormat | None, dict[str, DateOrder], list[FileDecision], list[Question]]:
        decisions: list[FileDecision] = []
        questions: list[Question] = []
        amount_format: AmountFormat | None = None
        orders: dict[str, DateOrder] = {}
        if self._amount_at >= 0:
            found = self._amounts.decide(given=self._answers.amount_format)
            if isinstance(found, Question):
                questions.append(found)
            else:
                decisions.append(found)
                amount_format = cast("AmountFormat", found.value)
        for field, (_, votes) in self._days.items():
            settled = votes.decide(field=field, given=self._answers.date_order)
            decisions.append(settled)
            orders[field] = cast("DateOrder", settled.value)
        return amount_format, orders, decisions, questions


def _warnings(columns: Sequence[Column], *, data: Sequence[Row], kind: Kind) -> Iterator[str]:
    """Say what deserves a look before the rows are read."""
    doubled = [
        header
        for header, count in Counter(column.header.strip() for column in columns).items()
        if header and count > 1
    ]
    if doubled:
        yield f"Several columns are called {', '.join(doubled[:3])}; they are distinguished by their position."
    if kind == "csv":
        longer = sum(any(cell.strip() for cell in row.cells[len(columns) :]) for row in data)
        if longer:
            yield (
                f"{longer:,} of the first {len(data):,} rows have more cells than the header has columns: a cell holds the "
                "delimiter and is not in quotation marks."
            )
    for column in columns:
        if column.field not in _CODES:
            continue
        cells = [
            row for row in data if column.position < len(row.cells) and row.cells[column.position].strip()
        ]
        numbers = [row for row in cells if row.numeric >> column.position & 1]
        if numbers and len(numbers) * 2 >= len(cells):
            lengths = Counter(len(row.cells[column.position]) for row in numbers)
            odd = len(numbers) - lengths.most_common(1)[0][1]
            shorter = f" {odd:,} of the first {len(numbers):,} have another length than most." if odd else ""
            yield (
                f"Column {column_letters(column.position)} (\u201c{column.header[:40]}\u201d) holds numbers, not text: leading "
                f"zeros may be lost.{shorter}"
            )
