"""
What a person sees of a sheet of an XLSB workbook.

The parts are streams of binary records in a zip archive. The records of a sheet are walked once, as for XLS (`view_xls`).

Source: [MS-XLSB] 2.1.4 (records), 2.4.160 (BrtBundleSh), 2.4.668 (BrtFmt), 2.4.876 (BrtXF), 2.4.752 (BrtRowHdr), 2.4.324
(BrtColInfo), 2.4.314 (BrtCellError), 2.4.706 (BrtMergeCell), 2.4.149 (BrtFont), 2.4.28 (BrtBeginComment),
2.4.347 (BrtCommentText).
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final
from xml.parsers import expat

from tether_core.spreadsheet.number_formats import BUILT_IN, mark_of
from tether_core.spreadsheet.view import BLIND, Merge, View, ViewBuilder
from tether_core.spreadsheet.view_xls import ERRORS
from tether_core.spreadsheet.view_xlsx import DoctypeFound, related_parts, sheet_parts

__all__ = ["look"]

_PART_BYTES_MAX: Final = 512 << 20
_SHEET, _FORMAT, _XF, _XFS_BEGIN, _XFS_END = 156, 44, 47, 617, 618
_ROW, _RK, _ERROR, _REAL, _FORMULA_NUMBER, _FORMULA_ERROR = 0, 2, 3, 5, 9, 11
_COLUMN, _MERGE, _FILTER = 60, 176, 161
_FONT, _COMMENT, _COMMENT_TEXT = 43, 635, 637
_CELLS: Final = frozenset(range(1, 12))
_STRIKE: Final = 0x0008


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
            styles, struck = _styles(
                _part(archive, members.get((styles_part or "xl/styles.bin").lower()), needed=False)
            )
            builder = ViewBuilder()
            for comments in sheet_parts(archive, members, part, kind="/comments"):
                _comments(builder, _part(archive, comments))
            return _look(builder, _part(archive, members[part.lower()]), styles, struck)
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


def _styles(data: bytes) -> tuple[dict[int, str], set[int]]:
    """The styles whose number format adds something, with what it adds, and those that are struck out."""
    formats, marks, struck = dict(BUILT_IN), dict[int, str](), set[int]()
    fonts: list[bool] = []
    inside, index = False, 0
    for code, at in _records(data):
        if code == _FORMAT:
            formats[struct.unpack_from("<H", data, at)[0]] = mark_of(_text(data, at + 2)[0])
        elif code == _FONT:
            fonts.append(bool(struct.unpack_from("<H", data, at + 2)[0] & _STRIKE))
        elif code in (_XFS_BEGIN, _XFS_END):
            inside = code == _XFS_BEGIN
        elif code == _XF and inside:
            number, font = struct.unpack_from("<HH", data, at + 2)
            if mark := formats.get(number, ""):
                marks[index] = mark
            if font < len(fonts) and fonts[font]:
                struck.add(index)
            index += 1
    return marks, struck


def _comments(builder: ViewBuilder, data: bytes) -> None:
    row = position = -1
    for code, at in _records(data):
        if code == _COMMENT:
            row, _, position = struct.unpack_from("<III", data, at + 4)
        elif code == _COMMENT_TEXT:
            builder.comment(row + 1, position, _text(data, at + 1)[0])


def _look(  # noqa: C901 - one branch a record
    builder: ViewBuilder, data: bytes, styles: dict[int, str], struck: set[int]
) -> View:
    unpack = struct.Struct("<II").unpack_from
    row = 0
    for code, at in _records(data):
        if code in _CELLS:
            column, style = unpack(data, at)
            style &= 0xFFFFFF
            if code in (_ERROR, _FORMULA_ERROR):
                builder.mark(row, column, ERRORS.get(data[at + 8], "#N/A"))
            elif code in (_RK, _REAL, _FORMULA_NUMBER) and style in styles:
                builder.mark(row, column, styles[style])
            if style in struck:
                builder.strike(row, column)
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
    return builder.view()
