"""
Workbooks: XLSX, XLSM, XLSB, XLS and ODS, row by row as text.

Only this module uses the library that parses them (python-calamine, over calamine in Rust). The library holds a whole sheet in memory, and
hostile files can abort the whole process: a service opens workbooks in a child process
with a limit on memory and time, and sends the rows back in batches.

What the library does not show is looked up in the workbook's own parts (`view`): errors (#N/A) and currencies of number formats
are put back into their cells, `Workbook.view` returns hidden rows and merged cells. That is done before the library parses, so that the memory of both is
not needed at the same time, or beside it by a program that may have threads. Leading blank columns, which the library drops, are put
back, so that column letters are right.

Converting cells takes a third of what parsing takes, and a plan is made from all rows before they are read. So the rows of a sheet that was read to
its end are kept as bytes, which are read again in a quarter of the time, and can be passed on as they are.

With a path the library reports what is wrong (a password, too many cells); with a stream every error looks like damage.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, compress, count, islice, repeat
from typing import Any, BinaryIO, Final, TypeAlias

import msgspec
import python_calamine as calamine

from tether_core.spreadsheet.cells import Row, is_printable, packed, texts_of, unpacked, without_marks
from tether_core.spreadsheet.plan import FileRefused, Kind, Refusal
from tether_core.spreadsheet.seen import marked
from tether_core.spreadsheet.view import BLIND, View
from tether_core.spreadsheet.view_ods import look as look_ods
from tether_core.spreadsheet.view_xls import look as look_xls
from tether_core.spreadsheet.view_xlsb import look as look_xlsb
from tether_core.spreadsheet.view_xlsx import look as look_xlsx

__all__ = [
    "SHEETS_MAX",
    "Beside",
    "Sheet",
    "Source",
    "Workbook",
    "look_first",
    "open_workbook",
    "packed_rows_max",
    "suffix",
]

Source: TypeAlias = str | os.PathLike[str] | BinaryIO
# Takes a function and returns one that gives its result, or raises what it raises. A program that may have threads can begin it at once.
Beside: TypeAlias = Callable[[Callable[[], View]], Callable[[], View]]

SHEETS_MAX: Final = 50
# Rows that are converted at a time; fewer where the sheet is wider than any table.
_BATCH_ROWS: Final = 1_000
_BATCH_CELLS: Final = 500_000
# Cells that are written as bytes at a time: some megabytes.
_PACKED_CELLS: Final = 50_000
# What kept rows may take; half a million rows of a plain list.
_KEPT_BYTES_MAX: Final = 64 << 20

_DAMAGED: Final = Refusal(
    "damaged",
    "This workbook is cut off or damaged; open it in a spreadsheet program, save it and send it again.",
)
_ENCRYPTED: Final = Refusal(
    "encrypted", "This workbook is protected with a password; save it without one and send it again."
)
_TOO_LARGE: Final = Refusal(
    "too_large_inside",
    "A sheet of this workbook spans too many cells; delete blank rows and columns behind the table, or send it as CSV.",
)


class Sheet(msgspec.Struct, frozen=True):
    """
    One sheet of a workbook.

    Attributes:
        name: As on its tab.
        visible: Whether people see it.
    """

    name: str
    visible: bool


def suffix(kind: Kind) -> str:
    """Return the suffix of a temporary file for a workbook of *kind*, e.g. ".xlsx"."""
    return f".{kind}"


class Workbook:
    """An open workbook; a sheet is parsed when it is first read and kept until the next one is."""

    def __init__(
        self, book: calamine.CalamineWorkbook, *, source: Source, kind: Kind, beside: Beside
    ) -> None:
        self._book = book
        self._source = source
        self._kind = kind
        self._beside = beside
        self._name = ""
        self._sheet: calamine.CalamineSheet | None = None
        self._viewed = ""
        self._view = BLIND
        # The sheet that was read to its end last, and its rows; none where they are too many.
        self._read = ""
        self._kept: list[tuple[int, bytes]] | None = None

    def sheets(self) -> tuple[Sheet, ...]:
        """List the sheets that can hold a table, in order: no charts, dialogs or macros."""
        return tuple(
            Sheet(sheet.name, sheet.visible == calamine.SheetVisibleEnum.Visible)
            for sheet in self._book.sheets_metadata
            if sheet.typ == calamine.SheetTypeEnum.WorkSheet
        )

    def view(self, sheet: str) -> View:
        """
        Look at what a person sees of a sheet.

        Args:
            sheet: The name of one of `sheets()`.

        Returns:
            The view, kept until another sheet is looked at.

        Raises:
            FileRefused: when there is more to see than a list of debtors can have.
        """
        if self._viewed != sheet:
            self._view, self._viewed = BLIND, ""  # the memory of one sheet at a time
            self._view = self._look(sheet)
            self._viewed = sheet
        return self._view

    def _look(self, sheet: str) -> View:
        look = _LOOKS[self._kind]
        if isinstance(self._source, str | os.PathLike):
            with open(self._source, "rb") as file:  # noqa: PTH123 - a path-like of any kind
                return look(file, sheet)
        self._source.seek(0)
        return look(self._source, sheet)

    def rows(self, sheet: str) -> Iterator[Row]:
        """
        Read a sheet.

        Args:
            sheet: The name of one of `sheets()`.

        Yields:
            Every row from the first one on, blank ones included, without the blank cells at its end; errors, and currencies of
            number formats, as a person sees them.

        Raises:
            FileRefused: when the sheet cannot be parsed.
        """
        if self._read == sheet and self._kept is not None:
            return chain.from_iterable(unpacked(data) for _, data in self._kept)
        parsed = self._parsed(sheet)
        view = self.view(sheet)
        every = _rows_of(parsed)
        every = marked(every, view) if view.marks else every
        return every if self._read == sheet else self._keeping(sheet, every, width=parsed.width)

    def kept(self, sheet: str, *, first: int) -> Iterator[bytes] | None:
        """
        The rows of a sheet as bytes, if it was the last one that was read to its end and is not too large.

        Args:
            sheet: The name of one of `sheets()`.
            first: The number of the first row that is wanted.

        Returns:
            What `packed` has written for the rows that `rows` gives, some rows at a time and never none.
        """
        if self._read != sheet or self._kept is None:
            return None
        return _from_row(first, self._kept)

    def _keeping(self, sheet: str, every: Iterator[Row], *, width: int) -> Iterator[Row]:
        """Pass the rows of a sheet on, and keep them at its end."""
        size = packed_rows_max(width)
        kept, size_bytes = list[tuple[int, bytes]](), 0
        while rows := list(islice(every, size)):
            if size_bytes <= _KEPT_BYTES_MAX:
                data = packed(rows)
                kept.append((rows[-1].number, data))
                size_bytes += len(data)
            yield from rows
        self._read, self._kept = sheet, kept if size_bytes <= _KEPT_BYTES_MAX else None

    def _parsed(self, sheet: str) -> calamine.CalamineSheet:
        """Parse a sheet, and look at it beside."""
        if self._sheet is not None and self._name == sheet:
            return self._sheet
        self._sheet = None  # the memory of one sheet at a time
        looked = None
        if self._viewed != sheet:
            self._view, self._viewed = BLIND, ""
            looked = self._beside(partial(self._look, sheet))
        try:
            parsed = self._book.get_sheet_by_name(sheet)
        except BaseException as error:
            raise _refused(error) from error
        finally:
            # What the view refuses is reported before what the library raises, whichever comes first. A library that ends the process leaves
            # no time for either.
            if looked is not None:
                self._view, self._viewed = looked(), sheet
        self._sheet, self._name = parsed, sheet
        return parsed


def _rows_of(parsed: calamine.CalamineSheet) -> Iterator[Row]:
    start = parsed.start
    if start is None:
        return
    offset = start[1]
    every = parsed.iter_rows()
    size = max(min(_BATCH_ROWS, _BATCH_CELLS // max(parsed.width, 1)), 1)
    number = 1
    while batch := list(islice(every, size)):
        yield from _rows(batch, number=number, offset=offset)
        number += len(batch)


def packed_rows_max(width: int) -> int:
    """How many rows of so many cells are to be written as bytes at a time."""
    return max(min(_BATCH_ROWS, _PACKED_CELLS // max(width, 1)), 1)


def _from_row(first: int, kept: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """Cut the rows before *first* off; *kept* has the last number of each batch."""
    before = 0
    for last, data in kept:
        if before + 1 >= first:
            yield data
        elif last >= first:
            yield packed([row for row in unpacked(data) if row.number >= first])
        before = last


def _rows(batch: list[list[Any]], *, number: int, offset: int) -> Iterator[Row]:
    """
    Make rows of the values of some rows, column by column: almost all columns hold values of one class.

    Args:
        batch: The values, one list a row, all as long; they are overwritten.
        number: Of the first row.
        offset: Blank columns before the first value.
    """
    texts: Sequence[str] = ()
    numbers: list[tuple[int, list[bool] | bool]] = []
    for place, values in enumerate(zip(*batch, strict=True)):
        texts, is_number = texts_of(values)
        if is_number:
            numbers.append((1 << place + offset, is_number))
        together = "".join(texts)
        if not (together.isascii() or is_printable(together)):
            texts = without_marks(texts)
        if texts is not values:
            for cells, text in zip(batch, texts, strict=True):
                cells[place] = text
    if "" in texts:
        for cells in batch:
            while cells and not cells[-1]:
                cells.pop()
    if offset:
        blank = [""] * offset
        batch = [blank + cells if cells else cells for cells in batch]
    return map(Row, count(number), batch, _numeric(numbers))


def _numeric(columns: Sequence[tuple[int, list[bool] | bool]]) -> Iterable[int]:
    """`Row.numeric` of each row, from the bits of columns and which of their cells are numbers: all, or one by one."""
    always = sum(bit for bit, cells in columns if cells is True)
    mixed = [(bit, cells) for bit, cells in columns if not isinstance(cells, bool)]
    if not mixed:
        return repeat(always)
    bits = [bit for bit, _ in mixed]
    return [always + sum(compress(bits, cells)) for cells in zip(*(cells for _, cells in mixed), strict=True)]


_LOOKS: Final[dict[Kind, Callable[[BinaryIO, str], View]]] = {
    "xlsx": look_xlsx,
    "ods": look_ods,
    "xls": look_xls,
    "xlsb": look_xlsb,
}


def look_first(look: Callable[[], View]) -> Callable[[], View]:
    """Look at a sheet before it is parsed, in the calling thread."""
    view = look()
    return lambda: view


def open_workbook(source: Source, *, kind: Kind, beside: Beside = look_first) -> Workbook:
    """
    Open a workbook.

    Args:
        source: A path that ends in `suffix(kind)`, or a stream.
        kind: The result of `sniff`.
        beside: How a sheet is looked at that is about to be parsed. Only for a path may it happen at the same time.

    Returns:
        The workbook, with no sheet parsed yet.

    Raises:
        FileRefused: when it cannot be opened.
    """
    if isinstance(source, str | os.PathLike):
        assert os.fspath(source).endswith(suffix(kind)), "calamine goes by the name's ending"
    else:
        source.seek(0)
    try:
        return Workbook(
            calamine.CalamineWorkbook.from_object(source), source=source, kind=kind, beside=beside
        )
    except BaseException as error:
        raise _refused(error) from error


def _refused(error: BaseException) -> BaseException:
    """Turn what the library raises into a refusal; other exceptions pass through."""
    if isinstance(error, calamine.PasswordError):
        return FileRefused(_ENCRYPTED)
    # A panic in Rust arrives as a BaseException of its own class.
    if isinstance(error, calamine.CalamineError) and (
        unknown := re.search(r"Unsupported cell error value '(#[^']{1,20})'", str(error))
    ):
        why = f"A cell of this workbook holds the error {unknown[1]}; correct the formula, save it and send it again."
        return FileRefused(Refusal("damaged", why))
    if isinstance(error, calamine.CalamineError | OSError) or type(error).__name__ == "PanicException":
        return FileRefused(_TOO_LARGE if "limit exceeded" in str(error).lower() else _DAMAGED)
    return error
