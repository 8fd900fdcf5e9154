"""
What a person sees of a sheet of an XLSB workbook.

The parts are streams of binary records in a zip archive. The records of a sheet are walked once, as for XLS (`view_xls`).

Source: [MS-XLSB] 2.1.4 (records), 2.4.160 (BrtBundleSh), 2.4.668 (BrtFmt), 2.4.876 (BrtXF), 2.4.752 (BrtRowHdr), 2.4.324
(BrtColInfo), 2.4.314 (BrtCellError), 2.4.706 (BrtMergeCell), 2.4.149 (BrtFont), 2.4.28 (BrtBeginComment),
2.4.347 (BrtCommentText), 2.4.157 (BrtFill), 2.5.4 (BrtColor), 2.4.820 (BrtSSTItem), 2.4.23 (BrtBeginConditionalFormatting).
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import BinaryIO, Final
from xml.parsers import expat

import msgspec

from tether_core.spreadsheet.ink import BLACK, WHITE, colour, is_hidden
from tether_core.spreadsheet.number_formats import BUILT_IN, hides_text, mark_of
from tether_core.spreadsheet.view import BLIND, Merge, View, ViewBuilder
from tether_core.spreadsheet.view_xls import ERRORS
from tether_core.spreadsheet.view_xlsx import DoctypeFound, related_parts, sheet_parts

__all__ = ["look"]

_PART_BYTES_MAX: Final = 512 << 20
_SHEET, _FORMAT, _XF, _XFS_BEGIN, _XFS_END = 156, 44, 47, 617, 618
_ROW, _RK, _ERROR, _REAL, _FORMULA_NUMBER, _FORMULA_ERROR = 0, 2, 3, 5, 9, 11
_COLUMN, _MERGE, _FILTER = 60, 176, 161
_FONT, _FILL, _COMMENT, _COMMENT_TEXT = 43, 45, 635, 637
_SHARED_CELL, _SHARED_TEXT, _RICH_CELL, _CONDITIONAL = 7, 19, 62, 461
_CELLS: Final = frozenset((*range(1, 12), _RICH_CELL))
_STRIKE: Final = 0x0008
_SOLID: Final = 1
_RULE_PLACES_MAX: Final = 100


def look(source: BinaryIO, sheet: str) -> View:
    """
    Look at a sheet.

    Args:
        source: The workbook.
        sheet: Its name.

    Returns:
        The view; `BLIND` where the workbook's parts cannot be read this way.

    Raises:
        FileRefused: when there is more to see than a list of debtors can have.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = {info.filename.replace("\\", "/").lower(): info for info in archive.infolist()}
            identity = _identity(_part(archive, members.get("xl/workbook.bin")), sheet)
            part, styles_part = related_parts(archive, members.get("xl/_rels/workbook.bin.rels"), identity)
            if part is None or part.lower() not in members:
                return BLIND
            styles = _styles(
                _part(archive, members.get((styles_part or "xl/styles.bin").lower()), needed=False)
            )
            if any(styles.fonts):
                texts = _part(archive, members.get("xl/sharedstrings.bin"), needed=False)
                styles = msgspec.structs.replace(styles, texts=_struck_texts(texts, styles.fonts))
            builder = ViewBuilder()
            for comments in sheet_parts(archive, members, part, kind="/comments"):
                _comments(builder, _part(archive, comments))
            return _look(builder, _part(archive, members[part.lower()]), styles)
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        expat.ExpatError,
        DoctypeFound,
        ValueError,
        KeyError,
        IndexError,
        OSError,
        NotImplementedError,
        EOFError,
    ):
        return BLIND


def _part(archive: zipfile.ZipFile, info: zipfile.ZipInfo | None, *, needed: bool = True) -> bytes:
    if info is None:
        if needed:
            raise KeyError
        return b""
    if info.file_size > _PART_BYTES_MAX:
        raise ValueError
    with archive.open(info) as stream:
        return stream.read(_PART_BYTES_MAX)


def _records(data: bytes) -> Iterator[tuple[int, int]]:
    """Walk the records of a part: code and place of the content."""
    at, end = 0, len(data)
    while at < end:
        code = data[at]
        at += 1
        if code & 0x80:
            code = code & 0x7F | (data[at] & 0x7F) << 7
            at += 1
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80 or shift == 28:
                break
        yield code, at
        at += size


def _text(data: bytes, at: int) -> tuple[str, int]:
    """Read a text and the place behind it."""
    (count,) = struct.unpack_from("<I", data, at)
    end = at + 4 + 2 * count
    return data[at + 4 : end].decode("utf-16-le"), end


def _identity(book: bytes, sheet: str) -> str:
    for code, at in _records(book):
        if code == _SHEET:
            identity, end = _text(book, at + 8)
            if _text(book, end)[0] == sheet:
                return identity
    raise KeyError


class _Styles(msgspec.Struct, frozen=True):
    """
    What the cell styles add to a value, by their numbers.

    Attributes:
        marks: What the number format shows beside a number.
        struck: Those that strike a cell out.
        unseen: Those whose letters have the colour of what is behind them, or whose format shows nothing of a text.
        fonts: Whether each font strikes out.
        texts: The shared texts of which a part is struck out.
    """

    marks: dict[int, str]
    struck: frozenset[int]
    unseen: frozenset[int]
    fonts: tuple[bool, ...]
    texts: frozenset[int] = frozenset()


def _styles(data: bytes) -> _Styles:  # noqa: C901 - one branch a record
    formats, marks = dict(BUILT_IN), dict[int, str]()
    blank, struck, unseen = set[int](), set[int](), set[int]()
    fonts: list[tuple[bool, str]] = []
    fills: list[str] = []
    inside, index = False, 0
    for code, at in _records(data):
        if code == _FORMAT:
            number, text = struct.unpack_from("<H", data, at)[0], _text(data, at + 2)[0]
            formats[number] = mark_of(text)
            if hides_text(text):
                blank.add(number)
        elif code == _FONT:
            is_struck = bool(struct.unpack_from("<H", data, at + 2)[0] & _STRIKE)
            fonts.append((is_struck, _colour(data, at + 12, own=BLACK)))
        elif code == _FILL:
            (pattern,) = struct.unpack_from("<I", data, at)
            paper = _colour(data, at + 4, own=WHITE) if pattern == _SOLID else ""
            fills.append(paper if pattern else WHITE)
        elif code in (_XFS_BEGIN, _XFS_END):
            inside = code == _XFS_BEGIN
        elif code == _XF and inside:
            number, font, fill = struct.unpack_from("<3H", data, at + 2)
            if mark := formats.get(number, ""):
                marks[index] = mark
            is_struck, letters = fonts[font] if font < len(fonts) else (False, BLACK)
            if is_struck:
                struck.add(index)
            if number in blank or is_hidden(letters, on=fills[fill] if fill < len(fills) else WHITE):
                unseen.add(index)
            index += 1
    return _Styles(marks, frozenset(struck), frozenset(unseen), tuple([is_struck for is_struck, _ in fonts]))


def _colour(data: bytes, at: int, *, own: str) -> str:
    """Read a colour; *own* is that of the window, where none is named."""
    kind, index = data[at] >> 1, data[at + 1]
    (tint,) = struct.unpack_from("<h", data, at + 2)
    if kind == 1:
        return own if index in (64, 65) else colour(indexed=str(index))
    if kind == 2:
        return colour(rgb=data[at + 4 : at + 7].hex())
    return colour(theme=str(index), tint=str(tint)) if kind == 3 else own


def _struck_texts(data: bytes, fonts: Sequence[bool]) -> frozenset[int]:
    """Find the shared texts of which a part is struck out, by their numbers."""
    found = set[int]()
    number = 0
    for code, at in _records(data):
        if code == _SHARED_TEXT:
            if data[at] & 1 and _is_struck(data, at + 1, fonts):
                found.add(number)
            number += 1
    return frozenset(found)


def _is_struck(data: bytes, at: int, fonts: Sequence[bool]) -> bool:
    """Whether a part of a text with runs is struck out."""
    text, end = _text(data, at)
    (count,) = struct.unpack_from("<I", data, end)
    runs = [struct.unpack_from("<HH", data, end + 4 + 4 * index) for index in range(count)]
    return any(
        font < len(fonts) and fonts[font] and text[first:last].strip()
        for (first, font), (last, _) in pairwise([*runs, (len(text), 0)])
    )


def _comments(builder: ViewBuilder, data: bytes) -> None:
    row = position = -1
    for code, at in _records(data):
        if code == _COMMENT:
            row, _, position = struct.unpack_from("<III", data, at + 4)
        elif code == _COMMENT_TEXT:
            builder.comment(row + 1, position, _text(data, at + 1)[0])


def _look(  # noqa: C901, PLR0912 - one branch a record
    builder: ViewBuilder, data: bytes, styles: _Styles
) -> View:
    unpack = struct.Struct("<II").unpack_from
    row = 0
    for code, at in _records(data):
        if code in _CELLS:
            column, style = unpack(data, at)
            style &= 0xFFFFFF
            if code in (_ERROR, _FORMULA_ERROR):
                builder.mark(row, column, ERRORS.get(data[at + 8], "#N/A"))
            elif code in (_RK, _REAL, _FORMULA_NUMBER) and style in styles.marks:
                builder.mark(row, column, styles.marks[style])
            if (
                style in styles.struck
                or (code == _SHARED_CELL and unpack(data, at + 4)[1] in styles.texts)
                or (code == _RICH_CELL and data[at + 8] & 1 and _is_struck(data, at + 9, styles.fonts))
            ):
                builder.strike(row, column)
            if style in styles.unseen:
                builder.unsee(row, column)
        elif code == _ROW:
            row = unpack(data, at)[0] + 1
            if data[at + 11] & 0x10 or not struct.unpack_from("<H", data, at + 8)[0]:
                builder.hide_rows(row, row)
        elif code == _COLUMN:
            first, last, width, _, flags = struct.unpack_from("<IIIIH", data, at)
            if flags & 1 or not width:
                builder.hide_columns(first, last)
        elif code == _MERGE:
            first_row, last_row, first, last = struct.unpack_from("<4I", data, at)
            builder.merge(Merge(first_row + 1, last_row + 1, first, last))
        elif code == _FILTER:
            builder.filtered = True
        elif code == _CONDITIONAL:
            (count,) = struct.unpack_from("<I", data, at + 8)
            for index in range(min(count, _RULE_PLACES_MAX)):
                first_row, last_row, first, last = struct.unpack_from("<4I", data, at + 12 + 16 * index)
                builder.rule(Merge(first_row + 1, last_row + 1, first, last), is_read=False)
    return builder.view()
