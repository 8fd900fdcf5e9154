"""
Table export: rows as CSV or XLSX, streamed.

An XLSX file is a zip archive of a few XML documents. This writer makes text cells only, so no cell can run as a formula, and it
writes row by row: a report of a million rows takes as little memory as one of ten. An Excel sheet ends at 1,048,576 rows;
further rows go to the next sheet, under the same header.

Source: ISO/IEC 29500-1 (SpreadsheetML), 18.3.1.53 (inline strings); RFC 4180.
"""

import csv
import io
import re
import zipfile
from collections.abc import AsyncIterator, Sequence
from html import escape
from typing import Final

from typing_extensions import Buffer

__all__ = ["as_csv", "as_xlsx"]

_ROWS_MAX: Final = 1_048_576
_CELL_LENGTH_MAX: Final = 32_767
# XML 1.0 cannot represent these; Excel writes them as _xHHHH_.
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_SHEET: Final = f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>'


async def as_csv(
    header: Sequence[str], rows: AsyncIterator[Sequence[str]], *, delimiter: str
) -> AsyncIterator[bytes]:
    """
    Write a table as CSV in UTF-8 with a byte order mark, which spreadsheet programs need to recognise it.

    Args:
        delimiter: One character.

    Yields:
        Some lines at a time.
    """
    text = io.StringIO()
    write = csv.writer(text, delimiter=delimiter).writerow
    text.write("\ufeff")
    write(header)
    async for row in rows:
        write(row)
        if text.tell() > 65_536:
            yield text.getvalue().encode("utf-8", "replace")
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode("utf-8", "replace")


async def as_xlsx(
    header: Sequence[str], rows: AsyncIterator[Sequence[str]], *, rows_max: int = _ROWS_MAX
) -> AsyncIterator[bytes]:
    """
    Write a table as XLSX with text cells.

    Args:
        header: First row of every sheet.
        rows_max: Rows of a sheet including its header; 2 or more.

    Yields:
        Pieces of the file.
    """
    out = _Pieces()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        sheets, more = 0, True
        pending = await anext(rows, None)
        while more:
            sheets += 1
            with archive.open(f"xl/worksheets/sheet{sheets}.xml", "w", force_zip64=True) as sheet:
                sheet.write(f"{_SHEET}{_row(header)}".encode())
                count = 1
                while pending is not None and count < rows_max:
                    sheet.write(_row(pending).encode())
                    count += 1
                    if out.size > 65_536:
                        yield out.take()
                    pending = await anext(rows, None)
                sheet.write(b"</sheetData></worksheet>")
            more = pending is not None
        for name, text in _frame(sheets):
            archive.writestr(name, _HEAD + text)
    yield out.take()


class _Pieces(io.RawIOBase):
    """The output of a zip archive: not seekable; `take` returns and clears what was written."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        size = len(self._buffer)
        self._buffer += data
        return len(self._buffer) - size

    @property
    def size(self) -> int:
        return len(self._buffer)

    def take(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data


def _row(cells: Sequence[str]) -> str:
    return f"<row>{''.join(map(_cell, cells))}</row>"


def _cell(text: str) -> str:
    text = _UNWRITABLE.sub(lambda found: f"_x{ord(found.group()):04X}_", text[:_CELL_LENGTH_MAX])
    return (
        f'<c t="inlineStr"><is><t xml:space="preserve">{escape(text, quote=False)}</t></is></c>'
        if text
        else "<c/>"
    )


def _frame(sheets: int) -> list[tuple[str, str]]:
    """The documents that describe the sheets."""
    numbers = range(1, sheets + 1)
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = "".join(
        f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{kind}.worksheet+xml"/>'
        for number in numbers
    )
    types = (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>{parts}</Types>'
    )
    names = "".join(
        f'<sheet name="Rows {number}" sheetId="{number}" r:id="rId{number}"/>' for number in numbers
    )
    return [
        ("[Content_Types].xml", types),
        ("_rels/.rels", _relations([("officeDocument", "xl/workbook.xml")])),
        (
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{names}</sheets></workbook>',
        ),
        (
            "xl/_rels/workbook.xml.rels",
            _relations([("worksheet", f"worksheets/sheet{number}.xml") for number in numbers]),
        ),
    ]


def _relations(targets: list[tuple[str, str]]) -> str:
    entries = "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{entries}</Relationships>'
