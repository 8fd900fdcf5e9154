"""
What a person sees of a sheet of an XLS workbook (Excel 97 to 2003).

The workbook is one stream of records in a compound file. The records of a sheet are walked once; those that hide a row or a
column, hold an error or merge cells are read, and of numbers only their format. Books of Excel 95 and older are not looked at.

Source: [MS-CFB] 2.2 to 2.6 (compound files); [MS-XLS] 2.4.28 (BoundSheet8), 2.4.220 (Row), 2.4.53 (ColInfo), 2.4.24 (BoolErr),
2.4.127 (Formula), 2.4.168 (MergeCells), 2.4.110 (FilterMode), 2.4.126 (Format), 2.4.353 (XF), 2.4.122 (Font), 2.4.87
(DefaultRowHeight), 2.4.179 (Note), 2.4.329 (TxO).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from tether_core.spreadsheet.number_formats import BUILT_IN, mark_of
from tether_core.spreadsheet.view import BLIND, Merge, View, ViewBuilder

__all__ = ["ERRORS", "look"]

_BYTES_MAX: Final = 512 << 20
_SECTORS_END: Final = 0xFFFFFFFA  # numbers from here on are no sectors
_BIFF8: Final = 0x0600
ERRORS: Final = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
}
_BOF, _EOF, _BOUND_SHEET, _FORMAT, _XF = 0x0809, 0x000A, 0x0085, 0x041E, 0x00E0
_ROW, _COLUMN, _FILTER, _MERGED = 0x0208, 0x007D, 0x009B, 0x00E5
_NUMBER, _RK, _MANY_RK, _FORMULA, _ERROR = 0x0203, 0x027E, 0x00BD, 0x0006, 0x0205
_FONT, _DEFAULT_HEIGHT, _NOTE, _OBJECT, _TEXT, _CONTINUE = 0x0031, 0x0225, 0x001C, 0x005D, 0x01B6, 0x003C
_TEXT_CELLS: Final = frozenset((0x00FD, 0x0204, 0x00D6))
_STRIKE: Final = 0x0008


def look(source: BinaryIO, sheet: str) -> View:
    """
    Look at a sheet.

    Args:
        source: The workbook.
        sheet: Its name.

    Returns:
        The view; `BLIND` where the file cannot be read this way.

    Raises:
        FileRefused: when there is more to see than a list of debtors can have.
    """
    source.seek(0)
    data = source.read(_BYTES_MAX + 1)
    if len(data) > _BYTES_MAX:
        return BLIND
    try:
        book = _stream(data)
        return BLIND if book is None else _look(book, sheet)
    except (struct.error, ValueError, IndexError, UnicodeError):
        return BLIND


def _stream(data: bytes) -> bytes | None:
    """Take the workbook's stream out of its compound file."""
    shift, small_shift = struct.unpack_from("<HH", data, 30)
    if not 7 <= shift <= 20 or not 4 <= small_shift <= shift:
        return None
    tables, directory_at = struct.unpack_from("<II", data, 44)
    cutoff, small_at = struct.unpack_from("<II", data, 56)
    size = 1 << shift
    sectors = len(data) >> shift
    tables = min(tables, sectors)

    def sector(number: int) -> bytes:
        return data[(number + 1) * size : (number + 2) * size]

    numbers = list(struct.unpack_from("<109I", data, 76))
    more = struct.unpack_from("<I", data, 68)[0]
    while more < _SECTORS_END and len(numbers) < tables + 109:
        part = struct.unpack(f"<{size // 4}I", sector(more))
        numbers.extend(part[:-1])
        more = part[-1]
    table = b"".join(sector(number) for number in numbers[:tables] if number < _SECTORS_END)
    handling_returns = struct.unpack(f"<{len(table) // 4}I", table)

    def chain(first: int) -> bytes:
        parts: list[bytes] = []
        number = first
        while number < len(handling_returns) and len(parts) <= sectors:  # never in a circle
            parts.append(sector(number))
            number = handling_returns[number]
        return b"".join(parts)

    directory = chain(directory_at)
    entries: dict[str, tuple[int, int]] = {}
    for at in range(0, len(directory) - 127, 128):
        letters = struct.unpack_from("<H", directory, at + 64)[0]
        name = directory[at : at + max(min(letters, 64) - 2, 0)].decode("utf-16-le")
        entries.setdefault(name, struct.unpack_from("<II", directory, at + 116))
    if "Workbook" not in entries:
        return None
    first, length = entries["Workbook"]
    if length >= cutoff:
        return chain(first)[:length]
    small_table = chain(small_at)
    after = struct.unpack(f"<{len(small_table) // 4}I", small_table)
    small = chain(entries["Root Entry"][0])
    parts: list[bytes] = []
    while first < len(after) and len(parts) <= len(after):
        parts.append(small[first << small_shift : (first + 1) << small_shift])
        first = after[first]
    return b"".join(parts)[:length]


def _records(book: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Walk the records of one part of the stream: code, place of the content, its length."""
    depth, end = 0, len(book) - 4
    unpack = struct.Struct("<HH").unpack_from
    while at <= end:
        code, length = unpack(book, at)
        at += 4
        if code == _BOF:
            depth += 1
        elif code == _EOF:
            depth -= 1
            if depth <= 0:
                return
        if depth == 1:
            yield code, at, length
        at += length


def _text(book: bytes, at: int, count: int) -> str:
    """Read a text whose first byte says how wide its characters are."""
    wide = book[at] & 1
    raw = book[at + 1 : at + 1 + count * (2 if wide else 1)]
    return raw.decode("utf-16-le" if wide else "latin-1")


def _look(book: bytes, sheet: str) -> View:
    formats = dict(BUILT_IN)
    used: list[tuple[int, int]] = []  # number format and font of each style
    fonts: list[bool] = []
    start = None
    for code, at, _ in _records(book, 0):
        if code == _BOF and struct.unpack_from("<H", book, at)[0] != _BIFF8:
            return BLIND
        if code == _FORMAT:
            number, count = struct.unpack_from("<HH", book, at)
            formats[number] = mark_of(_text(book, at + 4, count))
        elif code == _XF:
            font, number = struct.unpack_from("<HH", book, at)
            used.append((number, font))
        elif code == _FONT:
            fonts.append(bool(struct.unpack_from("<H", book, at + 2)[0] & _STRIKE))
        elif code == _BOUND_SHEET and _text(book, at + 7, book[at + 6]) == sheet:
            start = struct.unpack_from("<I", book, at)[0]
    if start is None:
        return BLIND
    styles = {index: mark for index, (number, _) in enumerate(used) if (mark := formats.get(number, ""))}
    # There is no font of number 4: those behind it are counted one too high.
    struck = {
        index
        for index, (_, font) in enumerate(used)
        if (place := font - (font > 4)) < len(fonts) and fonts[place]
    }
    return _sheet(book, start, styles, struck)


def _sheet(  # noqa: C901, PLR0912, PLR0915 - one branch a record
    book: bytes, start: int, styles: dict[int, str], struck: set[int]
) -> View:
    builder = ViewBuilder()
    notes = _Notes(builder)
    shown: set[int] = set()  # rows that say themselves whether they are hidden
    cells: set[int] = set()
    rows_hidden = False
    unpack3 = struct.Struct("<HHH").unpack_from
    for code, at, length in _records(book, start):
        if code in (_NUMBER, _RK) or code in _TEXT_CELLS:
            row, column, style = unpack3(book, at)
            cells.add(row + 1)
            if style in styles and code not in _TEXT_CELLS:
                builder.mark(row + 1, column, styles[style])
            if style in struck:
                builder.strike(row + 1, column)
        elif code == _MANY_RK:
            row, column = struct.unpack_from("<HH", book, at)
            for index in range((length - 6) // 6):
                style = struct.unpack_from("<H", book, at + 4 + 6 * index)[0]
                if style in styles:
                    builder.mark(row + 1, column + index, styles[style])
                if style in struck:
                    builder.strike(row + 1, column + index)
        elif code == _FORMULA:
            row, column, style = unpack3(book, at)
            if style in struck:
                builder.strike(row + 1, column)
            if book[at + 12 : at + 14] == b"\xff\xff":
                if book[at + 6] == 2:
                    builder.mark(row + 1, column, ERRORS.get(book[at + 8], "#N/A"))
            elif style in styles:
                builder.mark(row + 1, column, styles[style])
        elif code == _ERROR:
            row, column, _ = unpack3(book, at)
            if book[at + 7]:
                builder.mark(row + 1, column, ERRORS.get(book[at + 6], "#N/A"))
        elif code == _ROW:
            row, _, _, height = struct.unpack_from("<4H", book, at)
            shown.add(row + 1)
            if book[at + 12] & 0x20 or not height & 0x7FFF:
                builder.hide_rows(row + 1, row + 1)
        elif code == _DEFAULT_HEIGHT:
            rows_hidden = bool(book[at] & 0x02)
        elif code == _COLUMN:
            first, last, width, _, flags = struct.unpack_from("<5H", book, at)
            if flags & 1 or not width:
                builder.hide_columns(first, last)
        elif code == _FILTER:
            builder.filtered = True
        elif code == _MERGED:
            for index in range(struct.unpack_from("<H", book, at)[0]):
                first_row, last_row, first, last = struct.unpack_from("<4H", book, at + 2 + 8 * index)
                builder.merge(Merge(first_row + 1, last_row + 1, first, last))
        else:
            notes.add(book, code, at)
    if rows_hidden:
        for number in cells - shown:
            builder.hide_rows(number, number)
    return builder.view()


class _Notes:
    """Comments: an object, its text, and later the cell that it belongs to."""

    def __init__(self, builder: ViewBuilder) -> None:
        self._builder = builder
        self._object = -1
        self._length = 0
        self._texts: dict[int, str] = {}

    def add(self, book: bytes, code: int, at: int) -> None:
        """Take a record of any kind."""
        if code == _OBJECT:
            self._object = struct.unpack_from("<H", book, at + 6)[0]
        elif code == _TEXT:
            self._length = struct.unpack_from("<H", book, at + 10)[0]
        elif code == _CONTINUE and self._length:
            self._texts[self._object] = _text(book, at, self._length)
            self._length = 0
        elif code == _NOTE:
            row, column, _, identity = struct.unpack_from("<4H", book, at)
            self._builder.comment(row + 1, column, self._texts.get(identity, ""))
