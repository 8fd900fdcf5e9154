"""
Make the spreadsheets that the tests read.

    python tests/data/spreadsheets/make.py            writes the files that lie here
    python tests/data/spreadsheets/make.py expected   writes beside each what it becomes now: read the diff

Every file is made from the same few lines of Python on any machine, byte for byte. The small ones are kept here; hostile
ones are only made while a test runs: `abort_xlsx` and `abort_ods` crash the library that parses them, and `bomb_xlsx`
unpacks to more than a gigabyte.
"""

import io
import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import xlsxwriter
import xlsxwriter.utility
from tether_core.iban import mask
from tether_core.spreadsheet import Answers, Debtor, Outcome, Plan, Refusal, Refused, reading, rows

HERE: Final = Path(__file__).parent
TODAY: Final = date(2026, 3, 2)
Cell = str | float | date | None

DE, AT, FR, NL = (
    "DE89370400440532013000",
    "AT611904300234573201",
    "FR1420041010050500013M02606",
    "NL91ABNA0417164300",
)
ES, IT, PL, CH = (
    "ES9121000418450200051332",
    "IT60X0542811101000000123456",
    "PL61109010140000071219812874",
    "CH9300762011623852957",
)


def _zipped(members: dict[str, bytes | str], *, stored: Sequence[str] = ()) -> bytes:
    """Pack a zip archive that is the same on every machine and day."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


# --- workbooks

LIST: Final[list[list[Cell]]] = [
    ["Mitgliederliste 2026", None, None, None, None, None],
    [],
    ["Kontoinhaber", "IBAN", "Betrag (€)", "Mandatsreferenz", "Mandat vom", "PLZ"],
    ["Jürgen Müller", "DE89 3704 0044 0532 0130 00", 12.5, "M-001", date(2019, 3, 1), 1067],
    ["Zoë O'Neil", AT, 0.1 + 0.2, "M-002", date(2020, 4, 13), 10115],
    ["Łukasz Wałęsa", PL, 1234.56, "M-003", date(2021, 5, 31), 80331],
    ["Kaputt GmbH", "DE89370400440532013001", 33.333, "M-004", date(2027, 1, 1), 50667],
    [],
    ["Summe", None, 1280.69, None, None, None],
]


def xlsx(
    sheets: Mapping[str, Sequence[Any]],
    *,
    hidden: Sequence[str] = (),
    options: dict[str, object] | None = None,
) -> bytes:
    """Write a workbook as Excel would: sheets by name, each of rows of `Cell`s."""
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True, **(options or {})})
    book.set_properties({"created": datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)})
    days = book.add_format({"num_format": "dd.mm.yyyy"})
    for name, lines in sheets.items():
        sheet = book.add_worksheet(name)
        for row, cells in enumerate(lines):
            for column, cell in enumerate(cells):
                if isinstance(cell, date):
                    sheet.write_datetime(row, column, datetime(cell.year, cell.month, cell.day), days)  # noqa: DTZ001 - a day has no zone
                elif isinstance(cell, str):
                    sheet.write_string(row, column, cell)
                elif cell is not None:
                    sheet.write_number(row, column, cell)
        if name in hidden:
            sheet.hide()
    book.close()
    return buffer.getvalue()


def merged_xlsx() -> bytes:
    """Write a header of two rows, the upper one merged over several columns, and the table not at the left edge."""
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    book.set_properties({"created": datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)})
    sheet = book.add_worksheet("Leden")
    sheet.merge_range("C3:D3", "Rekening")
    sheet.write("C4", "Houder")
    sheet.write("D4", "IBAN")
    sheet.merge_range("E3:F3", "Machtiging")
    sheet.write("E4", "Kenmerk")
    sheet.write("F4", "Datum")
    sheet.write("G3", "Bedrag")
    sheet.write("C5", "Jan de Vries")
    sheet.write("D5", NL)
    sheet.write("E5", "NL-1")
    sheet.write("F5", "13-04-2020")
    sheet.write_formula("G5", "=6+6.5", value=12.5)
    sheet.write("C6", "Anna Bakker")
    sheet.write("D6", "BE68539007547034")
    sheet.write("E6", "NL-2")
    sheet.write("F6", "01-02-2021")
    sheet.write_formula("G6", "=#N/A", value="#N/A")
    book.close()
    return buffer.getvalue()


def seen_xlsx(  # noqa: C901 - one option after the other
    lines: Sequence[Any],
    *,
    hidden_rows: Sequence[int] = (),
    hidden_columns: Sequence[int] = (),
    filtered: str = "",
    merged: Sequence[str] = (),
    formats: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    struck: Sequence[str] = (),
    struck_words: Mapping[str, tuple[str, str]] | None = None,
    comments: Mapping[str, str] | None = None,
    looks: Mapping[str, Mapping[str, Any]] | None = None,
    rules: Mapping[str, Mapping[str, Any]] | None = None,
) -> bytes:
    """
    Write a workbook that shows something else than its values; rows and columns count from 0, cells are named "C3".

    Formats are number formats by cell; errors are what a formula has come to, or "" for one that nothing has calculated;
    struck cells are shown with a line through them, struck words with one through the first of two parts. Looks are what xlsxwriter takes
    for a format, by cell, and for that of a condition, by area.
    """
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    book.set_properties({"created": datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)})
    sheet = book.add_worksheet("Liste")
    styles = {cell: book.add_format({"num_format": code}) for cell, code in (formats or {}).items()}
    styles |= {cell: book.add_format({"font_strikeout": True}) for cell in struck}
    styles |= {cell: book.add_format(dict(look)) for cell, look in (looks or {}).items()}
    for area, look in (rules or {}).items():
        rule = {"type": "formula", "criteria": '=$A1="Ben"', "format": book.add_format(dict(look))}
        sheet.conditional_format(area, rule)
    for row, cells in enumerate(lines):
        for column, cell in enumerate(cells):
            name = xlsxwriter.utility.xl_rowcol_to_cell(row, column)
            if isinstance(cell, str):
                sheet.write_string(row, column, cell, styles.get(name))
            elif isinstance(cell, float | int):
                sheet.write_number(row, column, cell, styles.get(name))
    line = book.add_format({"font_strikeout": True})
    for name, (gone, rest) in (struck_words or {}).items():
        sheet.write_rich_string(name, line, gone, rest)
    for name, comment in (comments or {}).items():
        sheet.write_comment(name, comment)
    for name, error in (errors or {}).items():
        sheet.write_formula(name, "=VLOOKUP(9,Z:Z,1,0)", value=error)
    for area in merged:
        # Only the range: what lies under it stays, as programs leave it.
        first_row, first_column, last_row, last_column = xlsxwriter.utility.xl_cell_to_rowcol(
            area.split(":")[0]
        ) + xlsxwriter.utility.xl_cell_to_rowcol(area.split(":")[1])
        sheet.merge.append([first_row, first_column, last_row, last_column])
    if filtered:
        sheet.autofilter(filtered)
        sheet.filter_column(0, "x == NonBlanks")
    for row in hidden_rows:
        sheet.set_row(row, None, None, {"hidden": True})
    for column in hidden_columns:
        sheet.set_column(column, column, None, None, {"hidden": True})
    book.close()
    return buffer.getvalue()


_ODS_TYPES: Final = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" '
    'xmlns:number="urn:oasis:names:tc:opendocument:xmlns:datastyle:1.0" '
    'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0" office:version="1.2"'
)


def ods(
    lines: list[list[Cell]] | None = None, *, table: str = "", manifest: str = "", styles: str = ""
) -> bytes:
    """Write a workbook as LibreOffice would; *table* replaces the rows' XML, *manifest* the list of parts."""
    for cells in lines or ():
        table += "<table:table-row>"
        for cell in cells:
            if cell is None:
                table += "<table:table-cell/>"
            elif isinstance(cell, date):
                table += f'<table:table-cell office:value-type="date" office:date-value="{cell}"><text:p>{cell}</text:p></table:table-cell>'
            elif isinstance(cell, str):
                table += (
                    f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>'
                )
            else:
                table += f'<table:table-cell office:value-type="float" office:value="{cell!r}"><text:p>{cell}</text:p></table:table-cell>'
        table += "</table:table-row>"
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {_ODS_TYPES}>{styles}<office:body>'
        f'<office:spreadsheet><table:table table:name="Liste">{table}</table:table></office:spreadsheet></office:body>'
        "</office:document-content>"
    )
    listed = (
        '<?xml version="1.0"?><manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>{manifest}</manifest:manifest>'
    )
    return _zipped(
        {"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": listed}, stored=("mimetype",)
    )


def seen_ods() -> bytes:
    """Write what LibreOffice hides and adds: a filtered row, a currency, an error, merged cells, and a format of pounds."""

    def text(value: str, extra: str = "") -> str:
        return (
            f'<table:table-cell office:value-type="string"{extra}><text:p>{value}</text:p></table:table-cell>'
        )

    def number(value: float, extra: str = "") -> str:
        return f'<table:table-cell office:value-type="float" office:value="{value}"{extra}><text:p>{value}</text:p></table:table-cell>'

    def row(*cells: str, extra: str = "") -> str:
        return f"<table:table-row{extra}>{''.join(cells)}</table:table-row>"

    francs = '<table:table-cell office:value-type="currency" office:currency="CHF" office:value="80.5"><text:p>CHF 80.50</text:p></table:table-cell>'
    error = '<table:table-cell table:formula="of:=NA()" office:value-type="string" office:string-value="" calcext:value-type="error"><text:p>#N/A</text:p></table:table-cell>'
    spanned = ' table:number-rows-spanned="2"'
    table = "".join(
        (
            '<table:table-column table:number-columns-repeated="3"/>',
            row(text("Name"), text("IBAN"), text("Betrag")),
            row(text("Ann"), text(DE), number(12.5)),
            row(text("Ben"), text(AT), number(9), extra=' table:visibility="filter"'),
            row(text("Cat"), text(NL), francs),
            row(error, error, error),
            row(text("Dan", spanned), text(FR, spanned), number(7)),
            row('<table:covered-table-cell table:number-columns-repeated="2"/>', number(8)),
            row(text("Eve"), text(ES), number(5, ' table:style-name="ce1"')),
        )
    )
    style = (
        '<office:automatic-styles><number:number-style style:name="N1"><number:text>£</number:text><number:number/></number:number-style>'
        '<style:style style:name="ce1" style:family="table-cell" style:data-style-name="N1"/></office:automatic-styles>'
    )
    return ods(table=table, styles=style)


def xls(  # noqa: C901 - one option after the other
    lines: list[list[Cell]],
    *,
    records: Sequence[tuple[int, bytes]] = (),
    code: str = "",
    struck: Sequence[tuple[int, int]] = (),
    comments: Mapping[tuple[int, int], str] | None = None,
    white: Sequence[tuple[int, int]] = (),
    struck_words: Mapping[tuple[int, int], tuple[str, str]] | None = None,
    filler: int = 0,
) -> bytes:
    """
    Write a workbook of Excel 97: BIFF8 records in a compound file.

    More records may follow the cells; *code* is the number format of style 2. Rows and columns of *struck* and *white* cells, of
    *comments* and of words of which the first part is struck out count from 0. A shared text of *filler* characters before these is cut in
    two records.
    """

    def record(code: int, data: bytes = b"") -> bytes:
        return struct.pack("<HH", code, len(data)) + data

    def bof(kind: int) -> bytes:
        return record(0x0809, struct.pack("<HHHHII", 0x0600, kind, 0x0DBB, 0x07CC, 0, 6))

    cells = b""
    line_style = 3 if code else 2
    fonts_needed = bool(struck or white or struck_words)
    words = list((struck_words or {}).items())
    for row, line in enumerate(lines):
        for column, cell in enumerate(line):
            style = line_style if (row, column) in struck else line_style + 1 if (row, column) in white else 0
            shared = next((index for index, (place, _) in enumerate(words) if place == (row, column)), None)
            if shared is not None:
                cells += record(0x00FD, struct.pack("<HHHI", row, column, 0, shared + bool(filler)))
            elif isinstance(cell, str):
                text = struct.pack("<HHHHB", row, column, style, len(cell), 1) + cell.encode("utf-16-le")
                cells += record(0x0204, text)
            elif cell is not None:
                is_day = isinstance(cell, date)
                number = float((cell - date(1899, 12, 30)).days) if isinstance(cell, date) else cell
                style = style or int(is_day)
                cells += record(0x0203, struct.pack("<HHHd", row, column, style, number))
    for identity, ((row, column), said) in enumerate((comments or {}).items(), 1):
        cells += record(0x005D, struct.pack("<HHHHH", 0x15, 18, 0x19, identity, 0) + bytes(12))
        cells += record(0x01B6, struct.pack("<HHIHHHI", 0, 0, 0, 0, len(said), 16, 0))
        cells += record(0x003C, b"\1" + said.encode("utf-16-le")) + record(0x003C, bytes(16))
        cells += record(0x001C, struct.pack("<HHHH", row, column, 0, identity) + b"\0\0\0")
    width = max(map(len, lines))
    sheet = (
        bof(0x0010)
        + record(0x0200, struct.pack("<IIHHH", 0, len(lines), 0, width, 0))
        + cells
        + b"".join(record(number, data) for number, data in records)
        + record(0x000A)
    )
    # Two cell formats: general, and number format 14, which is a day.
    formats = b"".join(record(0x00E0, struct.pack("<HHH", 0, ifmt, 0) + bytes(14)) for ifmt in (0, 14))
    if code:
        text = struct.pack("<HHB", 164, len(code), 1) + code.encode("utf-16-le")
        formats = record(0x041E, text) + formats + record(0x00E0, struct.pack("<HHH", 0, 164, 0) + bytes(14))
    if fonts_needed:
        # There is no font of number 4, so the fifth one has the number 5. The last one is white.
        fonts = b"".join(
            record(0x0031, struct.pack("<HHH", 200, 8 * (n == 4), 9 if n == 5 else 0x7FFF) + bytes(10))
            for n in range(6)
        )
        formats = fonts + formats
        formats += b"".join(record(0x00E0, struct.pack("<HHH", font, 0, 0) + bytes(14)) for font in (5, 6))
    if words:
        shared_texts = b"".join(
            struct.pack("<HBH", len(gone + rest), 0x09, 2)
            + (gone + rest).encode("utf-16-le")
            + struct.pack("<4H", 0, 5, len(gone), 0)
            for _, (gone, rest) in words
        )
        count = struct.pack("<II", len(words) + bool(filler), len(words) + bool(filler))
        if filler:
            half = filler // 2
            formats += record(
                0x00FC, count + struct.pack("<HB", filler, 1) + ("x" * half).encode("utf-16-le")
            )
            # What goes on in another record says again how wide its characters are.
            formats += record(0x003C, b"\0" + b"x" * (filler - half) + shared_texts)
        else:
            formats += record(0x00FC, count + shared_texts)
    name = struct.pack("<BB", 5, 0) + b"Liste"
    head = bof(0x0005) + record(0x0042, struct.pack("<H", 1200)) + formats
    at = len(head) + 4 + 6 + len(name) + 4
    book = head + record(0x0085, struct.pack("<IH", at, 0) + name) + record(0x000A) + sheet
    return compound({"Workbook": book})


def seen_xls() -> bytes:
    """Write what Excel 97 hides and adds: a filtered row, francs, errors, merged cells and a hidden column."""
    lines: list[list[Cell]] = [
        ["Name", "IBAN", "Betrag", "Notiz"],
        ["Ann", DE, 12.5],
        ["Ben", AT, 9.0],
        ["Cat", NL],
        [],
        ["Dan", FR, 7.0],
        [None, None, 8.0],
        ["Eve", ES],
        ["Fay", IT],
    ]
    errors = [(0x0205, struct.pack("<HHHBB", 4, column, 0, 0x2A, 1)) for column in range(3)]
    return xls(
        lines,
        code="[$CHF] #,##0.00",
        records=[
            (0x0203, struct.pack("<HHHd", 3, 2, 2, 80.5)),
            *errors,
            (0x027E, struct.pack("<HHHI", 7, 2, 2, (81 << 2) | 2)),
            # A formula that has come to #REF!.
            (0x0006, struct.pack("<HHHBBBBBBHHIH", 8, 2, 0, 2, 0, 0x17, 0, 0, 0, 0xFFFF, 0, 0, 0)),
            (0x0208, struct.pack("<HHHHHHI", 2, 0, 3, 255, 0, 0, 0x120)),
            (0x009B, b""),
            (0x007D, struct.pack("<HHHHHH", 3, 3, 2560, 0, 1, 0)),
            (0x00E5, struct.pack("<H8H", 2, 5, 6, 0, 0, 5, 6, 1, 1)),
        ],
    )


def compound(streams: dict[str, bytes]) -> bytes:
    """Pack streams of at least 4 KiB each, filled up with zeros, into a compound file."""
    sectors: list[bytes] = []
    fat = [0xFFFFFFFD, 0xFFFFFFFE]  # sector 0 is the table itself, sector 1 the directory
    entries = [("Root Entry", 5, 0xFFFFFFFE, 0)]
    for name, data in streams.items():
        padded = data.ljust(max(-(-len(data) // 512) * 512, 4096), b"\0")
        first, count = 2 + len(sectors), len(padded) // 512
        sectors += [padded[512 * n : 512 * (n + 1)] for n in range(count)]
        fat += [*range(first + 1, first + count), 0xFFFFFFFE]
        entries.append((name, 2, first, len(padded)))
    directory = b""
    for index, (name, kind, first, size) in enumerate(entries):
        letters = name.encode("utf-16-le") + b"\0\0"
        child = 1 if index == 0 else 0xFFFFFFFF
        after = index + 1 if 0 < index < len(entries) - 1 else 0xFFFFFFFF
        directory += letters.ljust(64, b"\0") + struct.pack(
            "<HBBIII", len(letters), kind, 1, 0xFFFFFFFF, after, child
        )
        directory += bytes(36) + struct.pack("<IQ", first, size)
    assert len(directory) <= 512, "four entries fit one sector"
    assert len(fat) <= 128, "one sector of the table is enough for small files"
    header = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6)
        + bytes(6)
    )
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    header += struct.pack("<I", 0) + b"\xff" * 4 * 108
    table = struct.pack(f"<{len(fat)}I", *fat).ljust(512, b"\xff")
    return header + table + directory.ljust(512, b"\0") + b"".join(sectors)


def xlsb(  # noqa: C901 - one option after the other
    lines: list[list[Cell]],
    *,
    code: str = "",
    styled: Sequence[tuple[int, int]] = (),
    errors: Sequence[tuple[int, int]] = (),
    hidden_row: int = -1,
    hidden_column: int = -1,
    merged: Sequence[tuple[int, int, int, int]] = (),
    struck: Sequence[tuple[int, int]] = (),
    comments: Mapping[tuple[int, int], str] | None = None,
    white: Sequence[tuple[int, int]] = (),
    struck_words: Mapping[tuple[int, int], tuple[str, str]] | None = None,
    conditional: tuple[int, int, int, int] | None = None,
) -> bytes:
    """
    Write a binary workbook of Excel 2007: BIFF12 records in a zip archive.

    Numbers of the cells *styled* have the number format *code*, the cells *errors* hold #N/A; of words the first part is struck out; rows
    and columns count from 0.
    """
    words = list((struck_words or {}).items())

    def record(code: int, data: bytes = b"") -> bytes:
        head = bytes([code]) if code < 128 else bytes([code & 0x7F | 0x80, code >> 7])
        size = len(data)
        while size > 127:
            head += bytes([size & 0x7F | 0x80])
            size >>= 7
        return head + bytes([size]) + data

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    sheet = (
        record(129)
        + record(148, struct.pack("<IIII", 0, len(lines) - 1, 0, max(map(len, lines)) - 1))
        + record(60, struct.pack("<iiIIH", hidden_column, hidden_column, 2560, 0, 1)) * (hidden_column >= 0)
        + record(145)
    )
    for row, line in enumerate(lines):
        sheet += record(0, struct.pack("<IIHBBBI", row, 0, 300, 0, 0x10 * (row == hidden_row), 0, 0))
        for column, cell in enumerate(line):
            style = (
                3
                if (row, column) in white
                else 2
                if (row, column) in struck
                else int((row, column) in styled)
            )
            place = struct.pack("<II", column, style)
            shared = next((index for index, (at, _) in enumerate(words) if at == (row, column)), None)
            if (row, column) in errors:
                sheet += record(3, place + b"\x2a")
            elif shared is not None:
                sheet += record(7, place + struct.pack("<I", shared))
            elif isinstance(cell, str | date):
                sheet += record(6, place + text(str(cell)))
            elif cell is not None:
                sheet += record(5, place + struct.pack("<d", cell))
    sheet += record(146) + record(161, bytes(16)) * (hidden_row >= 0)
    sheet += b"".join(record(176, struct.pack("<4I", *area)) for area in merged)
    if conditional is not None:
        sheet += record(461, struct.pack("<III4I", 1, 0, 1, *conditional)) + record(462)
    sheet += record(130)
    styles = record(44, struct.pack("<H", 164) + text(code))
    styles += b"".join(
        record(43, struct.pack("<HH", 220, 8 * (font == 1)) + bytes(8) + colour + bytes(1) + text("A"))
        for font, colour in enumerate(
            (bytes(8), bytes(8), b"\x05\xff\0\0\xff\xff\xff\xff")[: 2 + bool(white)]
        )
    )
    styles += record(617, struct.pack("<I", 3 + bool(white)))
    styles += b"".join(
        record(47, struct.pack("<HHH", 0, number, font) + bytes(10))
        for number, font in ((0, 0), (164, 0), (0, 1), (0, 2))[: 3 + bool(white)]
    )
    styles += record(618)
    shared_texts = b"".join(
        record(19, b"\1" + text(gone + rest) + struct.pack("<I4H", 2, 0, 1, len(gone), 0))
        for _, (gone, rest) in words
    )
    notes = b"".join(
        record(635, struct.pack("<IIIII", 0, row, row, column, column) + bytes(16))
        + record(637, b"\0" + text(said))
        for (row, column), said in (comments or {}).items()
    )
    book = record(131) + record(143) + record(156, struct.pack("<II", 0, 1) + text("rId1") + text("Liste"))
    book += record(144) + record(132)
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"

    def related(identity: str, kind: str, target: str) -> str:
        return (
            f'<?xml version="1.0"?><Relationships xmlns="{package}/relationships"><Relationship Id="{identity}" '
            f'Type="{relations}/{kind}" Target="{target}"/></Relationships>'
        )

    types = (
        f'<?xml version="1.0"?><Types xmlns="{package}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="bin" '
        'ContentType="application/vnd.ms-excel.sheet.binary.macroEnabled.main"/></Types>'
    )
    return _zipped(
        {
            "[Content_Types].xml": types,
            "_rels/.rels": related("rId1", "officeDocument", "xl/workbook.bin"),
            "xl/workbook.bin": book,
            "xl/_rels/workbook.bin.rels": related("rId1", "worksheet", "worksheets/sheet1.bin"),
            "xl/worksheets/sheet1.bin": sheet,
            **({"xl/styles.bin": styles} if code or struck or white or words else {}),
            **(
                {
                    "xl/sharedStrings.bin": record(159, struct.pack("<II", *[len(words)] * 2))
                    + shared_texts
                    + record(160)
                }
                if words
                else {}
            ),
            **(
                {
                    "xl/worksheets/_rels/sheet1.bin.rels": related("rId1", "comments", "../comments1.bin"),
                    "xl/comments1.bin": notes,
                }
                if comments
                else {}
            ),
        }
    )


def seen_xlsb() -> bytes:
    """Write what Excel hides and adds in its binary workbooks: the same as `seen_xls`."""
    lines: list[list[Cell]] = [
        ["Name", "IBAN", "Betrag", "Notiz"],
        ["Ann", DE, 12.5],
        ["Ben", AT, 9.0],
        ["Cat", NL, 80.5],
        ["", "", ""],
        ["Dan", FR, 7.0],
        [None, None, 8.0],
        ["Fay", IT, ""],
    ]
    return xlsb(
        lines,
        code="[$CHF] #,##0.00",
        styled=[(3, 2)],
        errors=[(4, 0), (4, 1), (4, 2), (7, 2)],
        hidden_row=2,
        hidden_column=3,
        merged=[(5, 6, 0, 0), (5, 6, 1, 1)],
    )


# --- hostile ones, for tests that run the parser where it may die


def raw_xlsx(sheet_data: str, *, after: str = "", extra: dict[str, bytes | str] | None = None) -> bytes:
    """Write a workbook of one sheet with any XML for its rows, and behind them."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    types = (
        f'<?xml version="1.0"?><Types xmlns="{package}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
        'ContentType="application/xml"/></Types>'
    )
    return _zipped(
        {
            "[Content_Types].xml": types,
            "_rels/.rels": (
                f'<?xml version="1.0"?><Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
                f'Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
            ),
            "xl/workbook.xml": (
                f'<?xml version="1.0"?><workbook xmlns="{main}" xmlns:r="{relations}"><sheets><sheet name="A" '
                'sheetId="1" r:id="rId1"/></sheets></workbook>'
            ),
            "xl/_rels/workbook.xml.rels": (
                f'<?xml version="1.0"?><Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
                f'Type="{relations}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
            ),
            "xl/worksheets/sheet1.xml": (
                f'<?xml version="1.0"?><worksheet xmlns="{main}"><sheetData>{sheet_data}</sheetData>{after}</worksheet>'
            ),
            **(extra or {}),
        }
    )


def abort_xlsx() -> bytes:
    """Write two cells as far apart as a sheet allows: the parser asks for room for all between them, and aborts."""
    return raw_xlsx(
        '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    )


def abort_ods() -> bytes:
    """Write one cell, repeated over a million rows and many columns: the parser asks for gigabytes, and aborts."""
    cell = '<table:table-cell table:number-columns-repeated="90" office:value-type="float" office:value="1"/>'
    return ods(table=f'<table:table-row table:number-rows-repeated="1048576">{cell}</table:table-row>')


def bomb_xlsx() -> bytes:
    """Write a workbook whose texts unpack to 1,100 MiB of nothing; its directory says so."""
    # A flushed block of deflate stands for itself, so it can be repeated without packing a gigabyte.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = block * 1_100 + packer.flush()
    size = 1_100 << 20
    name = b"xl/sharedStrings.xml"
    whole = io.BytesIO(raw_xlsx(""))
    with zipfile.ZipFile(whole) as archive:
        at, count = archive.start_dir, len(archive.infolist())
    head, directory = whole.getvalue()[:at], whole.getvalue()[at:-22]
    # The checksum is left at zero: a reader that checks it has unpacked everything by then.
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(packed), size, len(name), 0)
    local = b"PK\x03\x04" + facts + name + packed
    directory += b"PK\x01\x02" + struct.pack("<H", 20) + facts + bytes(10) + struct.pack("<I", at) + name
    start = at + len(local)
    end = struct.pack("<HHHHIIH", 0, 0, count + 1, count + 1, len(directory), start, 0)
    return head + local + directory + b"PK\x05\x06" + end


# --- the files

_OLD: Final = (
    "iban,first_name,last_name,email,phone,mobile,street,street_number,floor,door,apartment,postcode,city,province,country,"
    "amount,currency,national_id,birth_date,bank_name,bank_code,bic,sepa_type,old_iban,external_reference\n"
    f"{ES},María,García López,maria@example.org,+34 600 000 000,600000000,Calle Mayor,5,2,A,,28013,Madrid,Madrid,Spain,"
    "1.99,Euro,12345678Z,1980-02-29,Banco,2100,CAIXESBBXXX,CORE,,REF-1\n"
    f"{ES},Ana,Ruiz,not an address,,,Calle Mayor,6,,,,28013,Madrid,Madrid,ES,0.05,EUR,,,,,,,,REF-2\n"
)

_BROKEN: Final = (
    "Kontoinhaber;IBAN;Betrag;Währung;Mandat-ID;Mandat vom;E-Mail;Geboren am;BIC;Land;Ort;Verwendungszweck\n"
    f"Gut & Söhne;{DE};12,50;EUR;M1;01.03.2019;a@example.org;;COBADEFFXXX;Deutschland;Köln;Beitrag\n"
    ";;;;;;;;;;;Nichts davon\n"
    f"12345;{DE[:-1]}1;1.234,567;USD;M 2 §;31.02.2020;a.b;31.13.1980;XX;Atlantis;;\n"
    f"M\u00c3\u00bcller;{CH};0,00;EUR;M3;01.01.2030;;01.01.2030;;;;\n"
    f"{'Lang ' * 15}X;TR330006100519786457841326;-5,00;EUR;;01.01.2005;;;;;;\n"
    f"Emoji \U0001f600;{NL};0,05;€;;;;;;nl;;\n"
    f"Nul \x00 Byte;{NL};99.999,99;EUR;;;;;;;;\n"
    f"A B;{NL};1,00;EUR;;;;;;;;{'x' * 501}\n"
    f"A B;{NL};1,00;EUR;;;;;;;;zu;viel\n"
    "Kontoinhaber;IBAN;Betrag;Währung;Mandat-ID;Mandat vom;E-Mail;Geboren am;BIC;Land;Ort;Verwendungszweck\n"
    f"Ver\ufffdlust;{AT};n/a;EUR;;;;;;;;Text mit \x07\n"
    ";;;;;;;;;;;\n"
    "Stand: 2.3.2026;;;;;;;;;;;\n"
)

FILES: Final[dict[str, bytes]] = {
    # German, Windows-1252, a title above, the account holder beside a member's name, a total below.
    "verein_de.csv": (
        "Turnverein Köln e.V.;;;;;;\nStand: 1.3.2026;;;;;;\n\n"
        "Name;Vorname;Kontoinhaber*in;IBAN;Beitrag (€);Mandatsreferenz;Mandat vom\n"
        "Müller;Jürgen;Erika Müller;DE89 3704 0044 0532 0130 00;12,50;TV-1;1.3.2019\n"
        f"Groß;Änne;;{AT};1.205,-;TV-2;13.4.2020\n"
        "Summe;;;;1.217,50;;\n"
    ).encode("cp1252"),
    # French, UTF-8 with a mark, narrow no-break spaces between thousands.
    "adherents_fr.csv": (
        "\ufeffNom;Prénom;IBAN;BIC;Montant à prélever;RUM;Date de signature du mandat;Libellé\r\n"
        "Lefèvre;Élodie;FR14 2004 1010 0505 0001 3M02 606;PSSTFRPPPAR;1\u202f234,50;RUM-1;28/02/2019;Cotisation, mars\r\n"
        f"D'Hervé;Noël;{FR};;12,00 €;RUM-2;03/04/2020;Cotisation\r\n"
    ).encode(),
    # Dutch, commas between cells and within amounts, old line ends.
    "leden_nl.csv": (
        b"Naam rekeninghouder,IBAN,Bedrag,Machtigingskenmerk,Datum ondertekening,Omschrijving\r"
        b'"Vries, J. de","NL91 ABNA 0417 1643 00","12,50",M-1,13-04-2020,"Contributie ""maart"""\r'
        b'Bakker,BE68 5390 0754 7034,"1.000,00",M-2,01-02-2021,\r'
    ),
    # Spanish, ISO 8859-15 for the euro sign, tabs.
    "socios_es.txt": (
        "Nombre\tApellidos\tIBAN\tImporte\tReferencia mandato\tFecha firma\tDNI\n"
        "María del Carmen\tGarcía López\tES91 2100 0418 4502 0005 1332\t12,50 €\tMD-1\t28/02/2019\t12345678Z\n"
        f"Íñigo\tNúñez\t{ES}\t7 €\tMD-2\t03/04/2020\t\n"
    ).encode("iso8859-15"),
    # Italian, bars, all days readable two ways: a question.
    "soci_it.csv": (
        "Intestatario|Coordinate bancarie|Importo|Codice mandato|Data firma mandato|Codice fiscale\n"
        f"Niccolò Rossi|{IT}|1.234,56|IT-1|03/04/2020|RSSNCL80A01F205X\n"
        f"Azienda S.r.l.|{IT}|10,00|IT-2|01/02/2021|\n"
    ).encode(),
    # Polish, Windows-1250, which no bytes can prove: a question.
    "platnicy_pl.csv": (
        "Imię i nazwisko;Numer rachunku;Kwota;Miejscowość;Kod pocztowy\n"
        f"Michał Łąka;{PL};12,50;Łódź;90-001\nPaweł Żółć;{PL};100,00;Kraków;30-001\n"
    ).encode("cp1250"),
    # English, "Unicode text" of Excel: UTF-16 and tabs, months before days.
    "customers_en.txt": (
        "\ufeffCustomer Number\tAccount Holder\tBank Account\tAmount Due (EUR)\tMandate Reference\tMandate Date\tEmail Address\r\n"
        "0007\tSeán Ó Briain\tIE29 AIBK 9311 5212 3456 78\t1,234.50\tUMR/1\t2/28/2019\tsean@example.org\r\n"
        "0008\tMary O'Neil\tIE29AIBK93115212345678\t7.00\tUMR/2\t3/4/2020\t\r\n"
    ).encode("utf-16-le"),
    # Every field there is, under its English name.
    "english_all_fields.csv": _OLD.encode(),
    # Excel's own hint in the first line.
    "sep_line.csv": f"sep=|\r\nName|IBAN|Betrag\r\nA; B|{DE}|12,50\r\n".encode(),
    # Two amounts, and no telling which to collect: a question.
    "two_amounts.csv": f"IBAN;Name;Betrag netto;Betrag brutto\n{DE};A B;10,00;11,90\n".encode(),
    # A problem of every kind.
    "broken_rows.csv": _BROKEN.encode(),
    # Quotation marks that are never closed, or too late.
    "open_quotes.csv": (
        f'Name;IBAN;Betrag\n"Müller;{DE};12,50\n"Schmidt";{AT};3,00\nX Y;{NL};4,00\n"Weber;{DE};5,00\nZ;{DE};6,00\n'
    ).encode(),
    # No header at all: the caller's answers lie beside it.
    "no_header.csv": f"Jürgen Müller;{DE};12,50\nZoë O'Neil;{AT};5,00\n".encode("cp1252"),
    # One list in every kind of workbook.
    "list.xlsx": xlsx({"Hinweise": [["Bitte nicht ändern"]], "Liste": LIST, "Alt": LIST}, hidden=["Alt"]),
    "list.ods": ods(LIST),
    "list.xls": xls(LIST),
    "list.xlsb": xlsb(LIST),
    # Days counted from 1904, as on old Macs.
    "epoch_1904.xlsx": xlsx({"Liste": LIST}, options={"date_1904": True}),
    # Two sheets that hold a list: a question.
    "two_lists.xlsx": xlsx({"Januar": LIST, "Februar": LIST}),
    "merged_headers.xlsx": merged_xlsx(),
    # A list of bookings: one of them is a credit. A question, answered by the words that are collected.
    "movimientos_es.csv": (
        "Titular;IBAN;Importe;D/H;Concepto\n"
        f"Ana L\u00f3pez;{ES};12,50;D;Cuota marzo\nLuis Gil;{DE};40,50;H;Devoluci\u00f3n\nEva Ruiz;{AT};5,00;D;Cuota marzo\n"
    ).encode(),
    # Some members pay by transfer, and one has paid: two columns that sort rows.
    "membres_fr.csv": (
        "Nom;IBAN;Montant;Mode de paiement;Statut\n"
        f"Ann Petit;{FR};10,00;Pr\u00e9l\u00e8vement;d\u00fb\nBen Roux;{DE};11,00;Virement;d\u00fb\n"
        f"Cid Noir;{AT};12,00;Pr\u00e9l\u00e8vement;pay\u00e9\nDan Vert;{NL};13,00;Pr\u00e9l\u00e8vement;d\u00fb\n"
    ).encode("cp1252"),
    # The holder where it differs, placeholders of a database, an account and a BIC in one cell, days with names of months.
    "rekeninghouders_nl.csv": (
        "Naam;Tenaamstelling;Bankrekening;Bedrag;Machtigingskenmerk;Datum ondertekening;Factuurnummer\n"
        f"Ann de Boer;-;{NL} / ABNANL2A;12,50;M-1;5 maart 2024;F-1\n"
        f"Ben Smit;Greta Smit;IBAN: {DE} BIC: COBADEFFXXX;1.000,00;NULL;1 mei 2023;n.v.t.\n"
    ).encode(),
    # Symbols in names, a debtor in a country that the gateway does not list, a mandate signed tomorrow.
    "kunden_zeichen.csv": (
        "Vorname;Nachname;IBAN;Betrag;Land;Ort;Mandat vom\n"
        f"Anna @home;Gro\u00df <3;{DE};10,00;DE;K\u00f6ln;31. M\u00e4rz 2020\n"
        f"Milo\u0161;Novak;{AT};5,00;Serbien;Beograd;1.4.2020\nN/A;Meier GmbH;{NL};7,00;;;1. Januar 2030\n"
    ).encode(),
    # Excel's marks: a column of yes and no, and one that nobody knows and that is kept.
    "abonenci_pl.xlsx": xlsx(
        {
            "Lista": [
                ["Nazwa", "Rachunek", "Kwota", "Aktywny", "Uwagi wewn\u0119trzne"],
                ["Anna Nowak", PL, "12,50", "tak", "dzwoni\u0107"],
                ["Jan Kowal", DE, "7,00", "nie", ""],
                ["Ewa Lis", AT, "8,00", "tak", ""],
            ]
        }
    ),
    # A part of the list on the first sheet.
    "parte_it.xlsx": xlsx(
        {
            "Estratto": [["Intestatario", "IBAN"], ["Anna Rossi", IT]],
            "Elenco": [
                ["Intestatario", "IBAN", "Importo"],
                ["Anna Rossi", IT, "1,00"],
                ["Luca Bianchi", DE, "2,00"],
            ],
        }
    ),
    "seen.ods": seen_ods(),
    "seen.xls": seen_xls(),
    "seen.xlsb": seen_xlsb(),
    # A filter hides those who have left: a question.
    "filtered_nl.xlsx": seen_xlsx(
        [["Naam", "IBAN", "Bedrag"], ["Anna", NL, 12.5], ["Bert", DE, 9.0], ["Cor", AT, 7.0]],
        hidden_rows=[2],
        filtered="A1:C4",
    ),
    # Amounts shown in francs, pounds, percent and thousands beside one in euros.
    "currencies_en.xlsx": seen_xlsx(
        [("Name", "IBAN", "Amount"), *((name, DE, 12.5) for name in ("Ann", "Ben", "Cat", "Dan", "Eve"))],
        formats={
            "C2": '#,##0.00 "€"',
            "C3": "[$CHF] #,##0.00",
            "C4": "[$£-809]#,##0.00",
            "C5": "0.00%",
            "C6": '#,##0.0,"T€"',
        },
    ),
    # A look-up that found nothing, in each of the columns and in all of them, and a formula without a result.
    "errors_pl.xlsx": seen_xlsx(
        [("Nazwa", "Numer rachunku", "Kwota", "Waluta"), *[("Anna", PL, 12.5, "EUR")] * 6],
        errors={
            "A3": "#REF!",
            "B4": "#N/A",
            "C5": "#DIV/0!",
            "D6": "#N/A",
            **{f"{c}7": "#N/A" for c in "ABCD"},
        },
    ),
    # One name and account beside two amounts, and one amount beside two accounts.
    "merged_rows_es.xlsx": seen_xlsx(
        [
            ["Titular", "IBAN", "Importe"],
            ["Ana Ruiz", ES, 12.5],
            ["", "", 7.5],
            ["Eva Gil", FR, 20.0],
            ["Leo Gil", DE, ""],
        ],
        merged=["A2:A3", "B2:B3", "C4:C5"],
    ),
    # An IBAN in six boxes under one heading; a program has stored some of them as numbers.
    "iban_boxes_it.xlsx": seen_xlsx(
        [
            ["Intestatario", "IBAN", "", "", "", "", "", "Importo"],
            ["Niccolò Rossi", "DE89", "3704", "0044", "0532", "0130", "00", 12.5],
            ["Zoë Bianchi", "DE02", 1203, 0, 0, 2020, 51, 7.0],
        ],
        merged=["B1:G1"],
    ),
    # The parts of an IBAN in columns of their own.
    "iban_parts_fr.csv": (
        "Titulaire;Pays;Clé;Code banque;Compte;Montant\nAnn;DE;89;37040044;532013000;12,50\nZoé;DE;02;12030000;0000202051;7,00\n"
    ).encode(),
}

# What a person said of some of them.
ANSWERS: Final[dict[str, Answers]] = {
    "soci_it.csv": Answers(date_order="day_month"),
    "platnicy_pl.csv": Answers(encoding="cp1250"),
    "no_header.csv": Answers(header_row=0, columns={"name": 1, "iban": 2, "amount": 3}),
    "two_amounts.csv": Answers(columns={"amount": "Betrag brutto"}),
    "two_lists.xlsx": Answers(sheet="Februar"),
    "seen.xlsb": Answers(hidden_rows="exclude"),
    "seen.xls": Answers(hidden_rows="exclude"),
    "movimientos_es.csv": Answers(collect={"D/H": ("D",), "Concepto": ("*",)}),
    "membres_fr.csv": Answers(
        collect={"Mode de paiement": ("Pr\u00e9l\u00e8vement",), "Statut": ("d\u00fb",)}
    ),
    "abonenci_pl.xlsx": Answers(collect={"Aktywny": ("tak",), "5": ("*",)}, keep_columns=True),
    "parte_it.xlsx": Answers(sheet="Elenco"),
    "seen.ods": Answers(hidden_rows="take"),
    "filtered_nl.xlsx": Answers(hidden_rows="exclude"),
}


def becomes(path: Path) -> dict[str, object]:
    """Tell what a file becomes, without answers and, where there are some, with them."""
    found: dict[str, object] = {"plain": _read(path, Answers())}
    if path.name in ANSWERS:
        found["answered"] = _read(path, ANSWERS[path.name])
    return found


def _read(path: Path, answers: Answers) -> object:
    with path.open("rb") as file:
        decided = reading.plan(file, name=path.name, answers=answers)
        if isinstance(decided, Refusal):
            return msgspec.to_builtins(decided)
        assert isinstance(decided, Plan)
        payload: dict[str, object] = {
            "decisions": [
                f"{decision.about}: {decision.value!r}. {decision.why}" for decision in decided.decisions
            ],
            "columns": {
                column.header or column.position: f"{column.field}: {column.why}"
                for column in decided.columns
            },
            "questions": [f"{question.code}: {question.ask}" for question in decided.questions],
            "warnings": list(decided.warnings),
        }
        if decided.ready:
            lines = reading.rows(file, plan=decided)
            payload["rows"] = [_as_json(outcome) for outcome in rows.read(lines, plan=decided, today=TODAY)]
        return payload


def _as_json(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, Debtor):
        values = {
            key: value for key, value in msgspec.to_builtins(outcome).items() if value not in (None, [], {})
        }
        values["iban"] = mask(outcome.iban)
        values.pop("warnings", None)
        warned = [f"{problem.column}: {problem.code}: {problem.note}" for problem in outcome.warnings]
        return {"debtor": values, **({"warnings": warned} if warned else {})}
    if isinstance(outcome, Refused):
        problems = [f"{item.column}: {item.code} ({item.excerpt}): {item.note}" for item in outcome.problems]
        return {"refused": outcome.row, "problems": problems}
    return {
        "skipped": outcome.row,
        "cause": outcome.cause,
        **({"note": outcome.note} if outcome.note else {}),
    }


def main() -> None:
    """Write the files, or what they become."""
    for name, data in FILES.items():
        path = HERE / name
        if sys.argv[1:] == ["expected"]:
            text = json.dumps(becomes(path), indent=1, ensure_ascii=False)
            path.with_name(f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
        else:
            path.write_bytes(data)


if __name__ == "__main__":
    main()
