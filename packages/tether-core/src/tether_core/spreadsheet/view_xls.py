"""
What a person sees of a sheet of an XLS workbook (Excel 97 to 2003).

The workbook is one stream of records in a compound file. The records of a sheet are walked once; those that hide a row or a
column, hold an error or merge cells are read, and of numbers only their format. Books of Excel 95 and older are not looked at.

Source: [MS-CFB] 2.2 to 2.6 (compound files); [MS-XLS] 2.4.28 (BoundSheet8), 2.4.220 (Row), 2.4.53 (ColInfo), 2.4.24 (BoolErr),
2.4.127 (Formula), 2.4.168 (MergeCells), 2.4.110 (FilterMode), 2.4.126 (Format), 2.4.353 (XF), 2.4.122 (Font), 2.4.87
(DefaultRowHeight), 2.4.179 (Note), 2.4.329 (TxO), 2.4.265 (SST), 2.4.149 (LabelSst), 2.4.188 (Palette), 2.4.56 (CondFmt).
"""

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, Final

from tether_core.spreadsheet.ink import BLACK, WHITE, colour, is_hidden
from tether_core.spreadsheet.number_formats import BUILT_IN, hides_text, mark_of
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
_SHARED, _SHARED_CELL, _PALETTE, _CONDITIONAL = 0x00FC, 0x00FD, 0x0092, 0x01B0
_TEXT_CELLS: Final = frozenset((_SHARED_CELL, 0x0204, 0x00D6))
_STRIKE: Final = 0x0008
_SOLID: Final = 1
_AUTOMATIC: Final = 0x7FFF


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


class _Styles:
    """
    What the cell styles of a book add to a value, by their numbers.

    Attributes:
        marks: What the number format shows beside a number.
        struck: Those that strike a cell out.
        unseen: Those whose letters have the colour of what is behind them, or whose format shows nothing of a text.
        texts: The shared texts of which a part is struck out.
    """

    def __init__(self) -> None:
        self.marks: dict[int, str] = {}
        self.struck: set[int] = set()
        self.unseen: set[int] = set()
        self.texts: frozenset[int] = frozenset()
        self._formats = dict(BUILT_IN)
        self._blank: set[int] = set()
        self._fonts: list[tuple[bool, int]] = []  # whether it strikes out, and its colour
        self._used: list[
            tuple[int, int, int, int]
        ] = []  # number format, font, pattern and colour of each style
        self._palette: dict[int, str] = {}

    def add(self, book: bytes, code: int, at: int) -> None:
        """Take a record of the book."""
        if code == _FORMAT:
            number, count = struct.unpack_from("<HH", book, at)
            text = _text(book, at + 4, count)
            self._formats[number] = mark_of(text)
            if hides_text(text):
                self._blank.add(number)
        elif code == _XF:
            font, number = struct.unpack_from("<HH", book, at)
            (borders,) = struct.unpack_from("<I", book, at + 14)
            (colours,) = struct.unpack_from("<H", book, at + 18)
            self._used.append((number, font, borders >> 26, colours & 0x7F))
        elif code == _FONT:
            _, flags, number = struct.unpack_from("<3H", book, at)
            self._fonts.append((bool(flags & _STRIKE), number))
        elif code == _PALETTE:
            for index in range(struct.unpack_from("<H", book, at)[0]):
                self._palette[index + 8] = book[at + 2 + 4 * index : at + 5 + 4 * index].hex().upper()

    def font_strikes(self, number: int) -> bool:
        """Whether a font strikes out."""
        return self._font(number)[0]

    def _font(self, number: int) -> tuple[bool, int]:
        # There is no font of number 4: those behind it are counted one too high.
        place = number - (number > 4)
        return self._fonts[place] if place < len(self._fonts) else (False, _AUTOMATIC)

    def _colour(self, number: int, *, own: str) -> str:
        """The colour of a number; *own* is that of the window, where none is named."""
        if number in (_AUTOMATIC, 64, 65):
            return own
        return self._palette.get(number) or colour(indexed=str(number))

    def end(self) -> None:
        """Conclude from the records what each style shows."""
        for index, (number, font, pattern, behind) in enumerate(self._used):
            if mark := self._formats.get(number, ""):
                self.marks[index] = mark
            is_struck, letters = self._font(font)
            if is_struck:
                self.struck.add(index)
            paper = WHITE if not pattern else self._colour(behind, own=WHITE) if pattern == _SOLID else ""
            if number in self._blank or is_hidden(self._colour(letters, own=BLACK), on=paper):
                self.unseen.add(index)

    @property
    def strikes(self) -> bool:
        """Whether any font strikes out."""
        return any(is_struck for is_struck, _ in self._fonts)


def _look(book: bytes, sheet: str) -> View:
    styles = _Styles()
    start = shared = None
    for code, at, _ in _records(book, 0):
        if code == _BOF and struct.unpack_from("<H", book, at)[0] != _BIFF8:
            return BLIND
        if code == _BOUND_SHEET and _text(book, at + 7, book[at + 6]) == sheet:
            start = struct.unpack_from("<I", book, at)[0]
        elif code == _SHARED:
            shared = at
        else:
            styles.add(book, code, at)
    if start is None:
        return BLIND
    styles.end()
    if shared is not None and styles.strikes:
        styles.texts = _struck_texts(book, shared, styles)
    return _sheet(book, start, styles)


class _Continued:
    """The content of a record that goes on in others."""

    def __init__(self, book: bytes, at: int) -> None:
        self._book = book
        self._at = at
        self._end = at + int(struct.unpack_from("<H", book, at - 2)[0])

    def _next(self) -> None:
        code, length = struct.unpack_from("<HH", self._book, self._end)
        if code != _CONTINUE:
            raise ValueError
        self._at, self._end = self._end + 4, self._end + 4 + length

    def take(self, count: int) -> bytes:
        """The next bytes."""
        parts = list[bytes]()
        while count:
            if self._at >= self._end:
                self._next()
            part = self._book[self._at : min(self._at + count, self._end)]
            self._at += len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def numbers(self, form: str) -> tuple[int, ...]:
        """The next numbers."""
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def text(self, count: int, *, wide: bool) -> str:
        """The next text; each record that it goes on in says again how wide its characters are."""
        parts = list[str]()
        while count:
            if self._at >= self._end:
                self._next()
                wide = bool(self.take(1)[0] & 1)
            size = 2 if wide else 1
            some = min(count, (self._end - self._at) // size)
            if not some:
                raise ValueError
            parts.append(self.take(some * size).decode("utf-16-le" if wide else "latin-1"))
            count -= some
        return "".join(parts)


def _struck_texts(book: bytes, at: int, styles: _Styles) -> frozenset[int]:
    """Find the shared texts of which a part is struck out, by their numbers."""
    content = _Continued(book, at)
    found = set[int]()
    _, unique = content.numbers("<II")
    for number in range(unique):
        count, flags = content.numbers("<HB")
        runs = content.numbers("<H")[0] if flags & 0x08 else 0
        extra = content.numbers("<I")[0] if flags & 0x04 else 0
        text = content.text(count, wide=bool(flags & 0x01))
        places = [content.numbers("<HH") for _ in range(runs)]
        content.take(extra)
        for (first, font), (last, _) in pairwise([*places, (count, 0)]):
            if text[first:last].strip() and styles.font_strikes(font):
                found.add(number)
    return frozenset(found)


def _sheet(  # noqa: C901, PLR0912, PLR0915 - one branch a record
    book: bytes, start: int, looks: _Styles
) -> View:
    builder = ViewBuilder()
    styles, struck, unseen = looks.marks, looks.struck, looks.unseen
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
            if style in struck or (
                code == _SHARED_CELL and struct.unpack_from("<I", book, at + 6)[0] in looks.texts
            ):
                builder.strike(row + 1, column)
            if style in unseen:
                builder.unsee(row + 1, column)
        elif code == _MANY_RK:
            row, column = struct.unpack_from("<HH", book, at)
            for index in range((length - 6) // 6):
                style = struct.unpack_from("<H", book, at + 4 + 6 * index)[0]
                if style in styles:
                    builder.mark(row + 1, column + index, styles[style])
                if style in struck:
                    builder.strike(row + 1, column + index)
                if style in unseen:
                    builder.unsee(row + 1, column + index)
        elif code == _FORMULA:
            row, column, style = unpack3(book, at)
            if style in struck:
                builder.strike(row + 1, column)
            if style in unseen:
                builder.unsee(row + 1, column)
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
        elif code == _CONDITIONAL:
            first_row, last_row, first, last = struct.unpack_from("<4H", book, at + 4)
            builder.rule(Merge(first_row + 1, last_row + 1, first, last), is_read=False)
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
