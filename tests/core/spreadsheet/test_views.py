"""What is seen of a sheet in the less common forms of each format; each test says what would be debited unseen."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest
from tether_core.spreadsheet import view_ods, view_xls, view_xlsx
from tether_core.spreadsheet.view import NOT_CALCULATED, View

from tests.data.spreadsheets import make

CELL = '<table:table-cell office:value-type="string"><text:p>x</text:p></table:table-cell>'
NUMBER = (
    '<table:table-cell office:value-type="float" office:value="5"{}><text:p>5</text:p></table:table-cell>'
)
POUNDS = (
    '<office:automatic-styles><number:number-style style:name="N1"><number:text>£</number:text><number:number/></number:number-style>'
    '<style:style style:name="ce1" style:family="table-cell" style:data-style-name="N1"/>'
    '<style:style style:name="ce2" style:family="table-cell" style:parent-style-name="ce1"/></office:automatic-styles>'
)


def _row(*cells: str, extra: str = "") -> str:
    return f"<table:table-row{extra}>{''.join(cells)}</table:table-row>"


def _ods(table: str, *, styles: str = "") -> View:
    return view_ods.look(io.BytesIO(make.ods(table=table, styles=styles)), "Liste")


def _in_utf_16(data: bytes, part: str) -> io.BytesIO:
    """Write one part of a workbook in another encoding, as XML allows."""
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = source.read(name)
            if name == part:
                text = content.decode().replace(' encoding="UTF-8"', "")
                content = text.replace('version="1.0"', 'version="1.0" encoding="UTF-16"', 1).encode("utf-16")
            archive.writestr(name, content)
    return target


# --- ODS ---


@pytest.mark.parametrize("style", ["ce1", "ce2"])
def test_ods_a_cell_style_inherits_its_number_format(style: str) -> None:
    """Else five pounds would be collected as five euros where the style of the cell has a parent."""
    cell = NUMBER.format(f' table:style-name="{style}"')
    assert _ods(_row(CELL, cell), styles=POUNDS).marks == {1: ((1, "£"),)}


def test_ods_a_cell_takes_the_style_of_its_row_or_column() -> None:
    """Else a whole column of pounds, formatted as a column, would be collected as euros."""
    columns = '<table:table-column/><table:table-column table:default-cell-style-name="ce2"/>'
    found = _ods(
        columns
        + _row("<table:table-cell/>", NUMBER.format(""))
        + _row(NUMBER.format(""), extra=' table:default-cell-style-name="ce1"'),
        styles=POUNDS,
    )
    assert found.marks == {1: ((1, "£"),), 2: ((0, "£"),)}


def test_ods_hidden_columns_and_folded_groups_are_seen() -> None:
    """Else the rows of a group that the sender has folded away would be debited."""
    column = "<table:table-column{}/>"
    found = _ods(
        column.format("")
        + column.format(' table:visibility="collapse" table:number-columns-repeated="2"')
        + f'<table:table-column-group table:display="false">{column.format("")}</table:table-column-group>'
        + column.format("")
        + _row(CELL)
        + f'<table:table-row-group table:display="false">{_row(CELL)}'
        + f"<table:table-row-group>{_row(CELL)}</table:table-row-group></table:table-row-group>"
        + _row(CELL)
    )
    assert found.hidden_columns == {1, 2, 3}
    assert [number for number in range(1, 6) if found.hides(number)] == [2, 3]


def test_ods_formulas_without_a_result_or_with_an_error_are_no_blanks() -> None:
    """Else a row whose account or amount nothing has calculated would look like a blank one, and be dropped."""
    bare = '<table:table-cell table:formula="of:=1/0"/>'
    errors = "".join(
        f'<table:table-cell table:formula="of:=X1" office:value-type="string"><text:p>{text}</text:p></table:table-cell>'
        for text in ("#REF!", "Err:502", "fine")
    )
    assert _ods(_row(bare, errors)).marks == {1: ((0, NOT_CALCULATED), (1, "#REF!"), (2, "#ERROR!"))}


def test_ods_in_another_encoding_is_seen_as_well() -> None:
    """Else a hidden row would be debited because its workbook writes two bytes a character."""
    data = make.ods(table=_row(CELL) + _row(CELL, extra=' table:visibility="collapse"'))
    found = view_ods.look(_in_utf_16(data, "content.xml"), "Liste")
    assert (found.complete, found.hides(1), found.hides(2)) == (True, False, True)


def test_ods_rows_and_columns_without_height_or_width_are_hidden() -> None:
    """Else a row that somebody has drawn shut with the mouse would be debited."""
    styles = (
        '<office:automatic-styles><style:style style:name="ro1" style:family="table-row"><style:table-row-properties '
        'style:row-height="0cm"/></style:style><style:style style:name="co1" style:family="table-column">'
        '<style:table-column-properties style:column-width="0.0in"/></style:style></office:automatic-styles>'
    )
    columns = '<table:table-column/><table:table-column table:style-name="co1"/>'
    found = _ods(columns + _row(CELL) + _row(CELL, extra=' table:style-name="ro1"'), styles=styles)
    assert (found.hides(1), found.hides(2), [*found.hidden_columns]) == (False, True, [1])


@pytest.mark.parametrize(
    ("format_", "mark"),
    [
        ("<number:text>-</number:text><number:number/>", "negative"),
        ("<number:text>(</number:text><number:number/><number:text>)</number:text>", "negative"),
        ("<number:number/><number:text> Gutschrift</number:text>", "credit"),
        ('<number:number number:display-factor="1000"/>', "in thousands"),
        ("<number:number/><number:text> kg</number:text>", ""),
        ("<number:currency-symbol>CHF</number:currency-symbol><number:number/>", "CHF"),
        ("<number:text>K\u010d </number:text><number:scientific-number/>", "K\u010d"),
    ],
)
def test_ods_a_number_format_is_read_in_its_order(format_: str, mark: str) -> None:
    """Else an amount that is shown with a minus sign before it, or as a credit, would be collected."""
    styles = (
        f'<office:automatic-styles><number:number-style style:name="N1">{format_}</number:number-style>'
        '<style:style style:name="ce1" style:family="table-cell" style:data-style-name="N1"/></office:automatic-styles>'
    )
    marks = {1: ((0, mark),)} if mark else {}
    assert _ods(_row(NUMBER.format(' table:style-name="ce1"')), styles=styles).marks == marks


def test_ods_an_amount_above_zero_has_its_own_format() -> None:
    """Else every amount would be refused as negative where LibreOffice shows those below zero with a minus sign."""
    styles = (
        '<office:automatic-styles><number:number-style style:name="N1P0"><number:number/></number:number-style>'
        '<number:number-style style:name="N1"><number:text>-</number:text><number:number/>'
        '<style:map style:condition="value()&gt;=0" style:apply-style-name="N1P0"/></number:number-style>'
        '<style:style style:name="ce1" style:family="table-cell" style:data-style-name="N1"/></office:automatic-styles>'
    )
    assert _ods(_row(NUMBER.format(' table:style-name="ce1"')), styles=styles).marks == {}


# --- XLSX ---


def _xlsx(rows: str) -> View:
    return view_xlsx.look(io.BytesIO(make.raw_xlsx(rows)), "A")


def test_xlsx_in_another_encoding_is_seen_as_well() -> None:
    """Else a hidden row would be debited because its workbook writes two bytes a character."""
    data = make.raw_xlsx('<row r="1"/><row r="2" hidden="1"><c r="A2"><v>5</v></c></row>')
    found = view_xlsx.look(_in_utf_16(data, "xl/worksheets/sheet1.xml"), "A")
    assert (found.complete, found.hides(1), found.hides(2)) == (True, False, True)


def test_xlsx_a_formula_may_come_to_an_empty_text() -> None:
    """Else a list whose optional columns are looked up would be refused as not calculated."""
    found = _xlsx(
        '<row r="1"><c r="A1" t="str"><f>B9</f><v></v></c><c r="B1"><f>B9</f></c><c r="C1"><v>5</v></c></row>'
    )
    assert found.marks == {1: ((1, NOT_CALCULATED),)}


def test_xlsx_a_height_that_is_no_number_hides_nothing() -> None:
    """Else a row that everybody sees would become a question, or the whole sheet could not be looked at."""
    found = _xlsx('<row r="1" ht="auto" customHeight="1"/><row r="2" ht="0" customHeight="1"/>')
    assert (found.complete, found.hides(1), found.hides(2)) == (True, False, True)


def test_xlsx_elements_may_have_a_prefix() -> None:
    """Else what some programs write as "x:row" would hide nothing."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = (
        f'<?xml version="1.0"?><x:worksheet xmlns:x="{main}"><x:sheetData><x:row r="1" hidden="1"/>'
        '<x:row r="2"><x:c r="A2" t="e"><x:v>#N/A</x:v></x:c></x:row></x:sheetData></x:worksheet>'
    )
    data = make.raw_xlsx("", extra={"xl/worksheets/sheet1.xml": sheet})
    found = view_xlsx.look(io.BytesIO(data), "A")
    assert (found.hides(1), found.marks) == (True, {2: ((0, "#N/A"),)})


PLAIN = '<row r="{0}"><c r="A{0}" t="inlineStr"><is><t>Ann</t></is></c><c r="B{0}"><v>5</v></c></row>'
ROWS = (
    '<row r="{0}"><c r="A{0}" t="inlineStr"><is><t>Ann O&apos;Neil: "e"-mail!</t></is></c><c r="B{0}"><v>5</v></c></row>',
    '<row r="{0}"><c r="A{0}" t="inlineStr"><is><t>it\'s: no ht, no :</t></is></c></row>',
    '<row r="{0}" hidden="1"><c r="A{0}"><v>5</v></c></row>',
    "<row r='{0}' hidden='1'><c r='A{0}'><v>5</v></c></row>",
    '<row r="{0}" ht="0" customHeight="1"><c r="A{0}"><v>5</v></c></row>',
    '<row r="{0}"><c r="A{0}" t="e"><v>#N/A</v></c></row>',
    '<row r="{0}"><c r="A{0}"><f>' + "A1+" * 40 + "B1</f></c></row>",
    '<row r="{0}"><c r="A{0}"><f>B9</f><v></v></c><c r="B{0}"><f>B9</f><v/></c></row>',
    '<row r="{0}"><c r="A{0}"><f>B9</f><v>7</v></c><c r="B{0}"/></row>',
    '<row r="{0}"><c r="A{0}" t="inlineStr"><is><r><rPr><strike/></rPr><t>Ann</t></r></is></c></row>',
)
BEFORE = (
    "",
    '<sheetFormatPr zeroHeight="1"/>',
    '<cols><col min="1" max="1" hidden="1"/></cols>',
    '<cols><col min="2" max="2" width="0"/></cols>',
)
BEHIND = (
    "",
    '<mergeCells count="1"><mergeCell ref="A1:A2"/></mergeCells>',
    '<conditionalFormatting sqref="A1:A9"><cfRule type="dataBar"><dataBar showValue="0"/></cfRule></conditionalFormatting>',
)


@pytest.mark.parametrize(
    ("row", "before", "behind"),
    [
        *((row, "", "") for row in ROWS),
        *((PLAIN, before, "") for before in BEFORE),
        *((PLAIN, "", behind) for behind in BEHIND),
    ],
    ids=str,
)
def test_xlsx_a_search_of_the_bytes_misses_nothing(row: str, before: str, behind: str) -> None:
    """A sheet is parsed only where a word is found in its bytes; a word that is missed is a hidden row that is debited."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rows = [PLAIN, PLAIN, row, PLAIN, PLAIN]
    written = "".join(some.format(number) for number, some in enumerate(rows, 1))
    sheet = f'<?xml version="1.0"?><worksheet xmlns="{main}">{before}<sheetData>{written}</sheetData>{behind}</worksheet>'
    data = make.raw_xlsx("", extra={"xl/worksheets/sheet1.xml": sheet})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(view_xlsx, "_remarkable", lambda *_: True)
        parsed = view_xlsx.look(io.BytesIO(data), "A")
    assert parsed.complete
    # Each word lies over the end of what is read at a time once.
    for chunk_bytes in range(200, 1_400, 5):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(view_xlsx, "_CHUNK_BYTES", chunk_bytes)
            assert view_xlsx.look(io.BytesIO(data), "A") == parsed


def test_a_document_type_ends_the_look() -> None:
    """Its entities may unfold to gigabytes; the sheet counts as not looked at."""
    sheet = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><worksheet><sheetData/></worksheet>'
    data = make.raw_xlsx("", extra={"xl/worksheets/sheet1.xml": sheet})
    assert not view_xlsx.look(io.BytesIO(data), "A").complete


# --- XLS ---

LINES: list[list[make.Cell]] = [["Name", "Betrag"], ["Ann"], ["Ben"]]
RECORDS = [
    # Several short numbers of one row: the second is in francs.
    (0x00BD, struct.pack("<HHHIHIH", 1, 1, 0, 0x16, 2, 0x16, 2)),
    # A formula that has come to a number, in francs.
    (0x0006, struct.pack("<HHHdHIH", 2, 1, 2, 80.5, 0, 0, 0)),
]
FRANCS = {2: ((2, "CHF"),), 3: ((1, "CHF"),)}


def _xls() -> bytes:
    return make.xls(LINES, records=RECORDS, code="[$CHF] #,##0.00")


def test_xls_every_record_of_a_number_has_its_currency() -> None:
    """Else francs would be collected as euros, depending on which record Excel chose for the number."""
    assert view_xls.look(io.BytesIO(_xls()), "Liste").marks == FRANCS


def test_xls_a_small_workbook_is_seen_as_well() -> None:
    """Below 4 KiB a stream is kept in the small sectors; such a list could not be looked at else."""
    padded = _xls()[512 * 3 : 512 * 11]
    book = padded[: padded.rindex(struct.pack("<HH", 0x000A, 0)) + 4]
    count = -(-len(book) // 64)
    sectors = -(-count // 8)
    free, end = 0xFFFFFFFF, 0xFFFFFFFE
    header = bytearray(512)
    struct.pack_into("<HH", header, 30, 9, 6)
    struct.pack_into("<II", header, 44, 1, 1)
    struct.pack_into("<5I", header, 56, 4096, 2, 1, end, 0)
    struct.pack_into("<109I", header, 76, 0, *[free] * 108)
    table = [0xFFFFFFFD, end, end, *range(4, 3 + sectors), end]
    small_table = [*range(1, count), end]

    def entry(name: str, first: int, size: int) -> bytes:
        letters = name.encode("utf-16-le") + b"\0\0"
        return (
            letters.ljust(64, b"\0")
            + struct.pack("<H", len(letters))
            + bytes(50)
            + struct.pack("<III", first, size, 0)
        )

    def numbers(values: list[int]) -> bytes:
        return struct.pack("<128I", *values, *[free] * (128 - len(values)))

    directory = entry("Root Entry", 3, 64 * count) + entry("Workbook", 0, len(book))
    content = book.ljust(512 * sectors, b"\0")
    data = bytes(header) + numbers(table) + directory.ljust(512, b"\0") + numbers(small_table) + content
    found = view_xls.look(io.BytesIO(data), "Liste")
    assert (found.complete, found.marks) == (True, FRANCS)


def test_xls_rows_without_height_are_hidden() -> None:
    """Else rows that were drawn shut, or are hidden unless they say otherwise, would be debited."""
    shut = (0x0208, struct.pack("<HHHHHHI", 1, 0, 2, 0, 0, 0, 0x100))
    shown = (0x0208, struct.pack("<HHHHHHI", 2, 0, 2, 255, 0, 0, 0x100))
    lines: list[list[make.Cell]] = [["Name"], ["Ann"], ["Ben"]]

    def hidden(*records: tuple[int, bytes]) -> list[int]:
        found = view_xls.look(io.BytesIO(make.xls(lines, records=records)), "Liste")
        return [number for number in range(1, 5) if found.hides(number)]

    assert hidden(shut, shown) == [2]
    assert hidden(shown, (0x0225, struct.pack("<HH", 2, 255))) == [1, 2]


def test_xls_of_excel_95_counts_as_not_looked_at() -> None:
    """Its records have other shapes; read as those of Excel 97 they would hide the wrong rows."""
    old = _xls().replace(struct.pack("<HHH", 0x0809, 16, 0x0600), struct.pack("<HHH", 0x0809, 16, 0x0500))
    assert not view_xls.look(io.BytesIO(old), "Liste").complete
