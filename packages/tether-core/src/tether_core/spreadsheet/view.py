"""
What a person sees of a sheet, where that differs from the values of its cells.

Somebody who opens a workbook sees no hidden rows and columns, sees #N/A where the library that parses it gives a blank,
CHF 80.50 where it gives 80.5, and one name beside two rows where cells are merged. A `View` holds exactly these
differences. Each kind of workbook has a reader of its own (`view_xlsx`, `view_ods`, `view_xls`, `view_xlsb`); `seen` derives from a view what
follows for the plan and the rows.

>>> builder = ViewBuilder()
>>> builder.hide_rows(3, 4)
>>> builder.mark(2, 0, "#N/A")
>>> view = builder.view()
>>> [number for number in range(1, 6) if view.hides(number)], view.marks
([3, 4], {2: ((0, '#N/A'),)})
"""

from typing import Final

import msgspec

from tether_core.spreadsheet.plan import FileRefused, Refusal

__all__ = [
    "BLIND",
    "COMMENTS_MAX",
    "MERGES_MAX",
    "NOT_CALCULATED",
    "RULES_MAX",
    "Comment",
    "Merge",
    "View",
    "ViewBuilder",
]

# Excel has 1,048,576 rows and 16,384 columns, LibreOffice sixteen times as many rows.
_ROWS_MAX: Final = 1 << 24
_COLUMNS_MAX: Final = 1 << 14
_MARKS_MAX: Final = 2_000_000
MERGES_MAX: Final = 100_000

# Marks the result of a formula that no program has calculated; a person sees one on opening the file.
NOT_CALCULATED: Final = "#NOT CALCULATED"  # `names.error_note` has a sentence for it

# More comments than these are not kept; the plan names the first one only.
COMMENTS_MAX: Final = 1_000
_COMMENT_LENGTH_MAX: Final = 200
# The plan names the first place of a conditional format only.
RULES_MAX: Final = 1_000

_TOO_MANY: Final = Refusal(
    "too_large_inside",
    "A sheet of this workbook has millions of cells with errors, merged, struck-out or invisible cells; delete what is no part of the "
    "list, or send it as CSV.",
)


class Merge(msgspec.Struct, frozen=True, order=True, array_like=True):
    """
    Cells that are shown as one.

    Attributes:
        first_row: Counted from 1.
        last_row: Inclusive.
        first_column: Counted from 0.
        last_column: Inclusive.
    """

    first_row: int
    last_row: int
    first_column: int
    last_column: int


class Comment(msgspec.Struct, frozen=True, order=True, array_like=True):
    """
    What somebody has written beside a cell.

    Attributes:
        row: Counted from 1.
        position: Of the column, from 0.
        text: Its first 200 characters; empty where it could not be read.
    """

    row: int
    position: int
    text: str


class View(msgspec.Struct, frozen=True):
    """
    The differences between a sheet as shown and as parsed.

    Attributes:
        complete: Whether all could be looked at; else the rest is empty or partial.
        hidden_rows: A byte for each row from 1 on (byte 0 is unused), 1 for a hidden one; later rows are shown.
        filtered: Whether a filter is active on the sheet.
        hidden_columns: Positions from 0.
        marks: Row to pairs of position and mark. A mark that begins with # replaces the cell; any other one is shown beside
            its number: "CHF", "%".
        merges: In order of their first rows.
        struck: Row to the positions of cells that are struck out; blank cells may be among them.
        comments: In order of their cells.
        unseen: Row to the positions of cells whose letters have the colour of what is behind them, or whose format shows nothing;
            blank cells may be among them.
        rules: Where a conditional format can hide or strike out cells, by a rule that only a spreadsheet program evaluates.
        unread_rules: Where there are conditional formats whose effect was not looked at.
    """

    complete: bool = True
    hidden_rows: bytes = b""
    filtered: bool = False
    hidden_columns: frozenset[int] = frozenset()
    marks: dict[int, tuple[tuple[int, str], ...]] = {}
    merges: tuple[Merge, ...] = ()
    struck: dict[int, tuple[int, ...]] = {}
    comments: tuple[Comment, ...] = ()
    unseen: dict[int, tuple[int, ...]] = {}
    rules: tuple[Merge, ...] = ()
    unread_rules: tuple[Merge, ...] = ()

    def hides(self, number: int) -> bool:
        """Whether a row is hidden."""
        return number < len(self.hidden_rows) and self.hidden_rows[number] == 1


BLIND: Final = View(complete=False)


class ViewBuilder:
    """Gathers a view while a sheet is read; content outside any sheet is ignored."""

    def __init__(self) -> None:
        self.filtered = False
        self._hidden_rows = bytearray()
        self._hidden_columns: set[int] = set()
        self._marks: dict[int, tuple[tuple[int, str], ...]] = {}
        self._known: dict[tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]] = {}
        self._count = 0
        self._merges: list[Merge] = []
        self._struck: dict[int, tuple[int, ...]] = {}
        self._comments: list[Comment] = []
        self._unseen: dict[int, tuple[int, ...]] = {}
        self._rules: set[Merge] = set()
        self._unread_rules: set[Merge] = set()

    def hide_rows(self, first: int, last: int) -> None:
        """Rows from *first* to *last*, counted from 1, are hidden."""
        last = min(last, _ROWS_MAX)
        if first < 1 or last < first:
            return
        if len(self._hidden_rows) <= last:
            self._hidden_rows.extend(bytes(last + 1 - len(self._hidden_rows)))
        self._hidden_rows[first : last + 1] = b"\1" * (last + 1 - first)

    def hide_columns(self, first: int, last: int) -> None:
        """Columns from *first* to *last*, counted from 0, are hidden."""
        if first >= 0:
            self._hidden_columns.update(range(first, min(last + 1, _COLUMNS_MAX)))

    def mark(self, number: int, position: int, mark: str) -> None:
        """
        Record that a cell is shown as *mark*, or with it.

        Args:
            number: Of the row, from 1.
            position: Of the column, from 0.
            mark: See `View.marks`.

        Raises:
            FileRefused: when there are millions.
        """
        if not self._counts(number, position):
            return
        marks = (*self._marks.get(number, ()), (position, mark))
        # Columns full of the same error are common, so equal rows share one value.
        self._marks[number] = self._known.setdefault(marks, marks)

    def strike(self, number: int, position: int) -> None:
        """
        Record that a cell is struck out.

        Raises:
            FileRefused: when there are millions.
        """
        if self._counts(number, position):
            self._struck[number] = (*self._struck.get(number, ()), position)

    def unsee(self, number: int, position: int) -> None:
        """
        Record that nobody sees what a cell holds.

        Raises:
            FileRefused: when there are millions.
        """
        if self._counts(number, position):
            self._unseen[number] = (*self._unseen.get(number, ()), position)

    def rule(self, place: Merge, *, is_read: bool = True) -> None:
        """
        Record where a conditional format can hide or strike out cells; beyond `RULES_MAX` places none is kept.

        Args:
            place: The cells.
            is_read: Whether its effect is known to be one of these.
        """
        rules = self._rules if is_read else self._unread_rules
        if len(rules) < RULES_MAX:
            rules.add(place)

    def comment(self, number: int, position: int, text: str) -> None:
        """Record a comment; those beyond `COMMENTS_MAX` are left aside."""
        if len(self._comments) < COMMENTS_MAX and number >= 1:
            self._comments.append(Comment(number, position, " ".join(text.split())[:_COMMENT_LENGTH_MAX]))

    def _counts(self, number: int, position: int) -> bool:
        """Whether a cell lies within a sheet; counts it."""
        if not (1 <= number <= _ROWS_MAX and 0 <= position < _COLUMNS_MAX):
            return False
        self._count += 1
        if self._count > _MARKS_MAX:
            raise FileRefused(_TOO_MANY)
        return True

    def merge(self, merge: Merge) -> None:
        """
        Record that cells are shown as one.

        Args:
            merge: Which; a range that is none is left aside.

        Raises:
            FileRefused: when there are a hundred thousand.
        """
        if merge.last_row < merge.first_row or merge.last_column < merge.first_column or merge.first_row < 1:
            return
        if len(self._merges) >= MERGES_MAX:
            raise FileRefused(_TOO_MANY)
        self._merges.append(merge)

    def view(self) -> View:
        """The view of what was gathered."""
        return View(
            hidden_rows=bytes(self._hidden_rows) if any(self._hidden_rows) else b"",
            filtered=self.filtered,
            hidden_columns=frozenset(self._hidden_columns),
            marks=self._marks,
            merges=tuple(sorted(self._merges)),
            struck=self._struck,
            comments=tuple(sorted(self._comments)),
            unseen=self._unseen,
            rules=tuple(sorted(self._rules)),
            unread_rules=tuple(sorted(self._unread_rules)),
        )
