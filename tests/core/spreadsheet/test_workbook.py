import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import BinaryIO, cast

import pytest
import xlsxwriter
from tether_core.spreadsheet import workbook
from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.plan import FileRefused, Kind, Refusal
from tether_core.spreadsheet.view import View
from tether_core.spreadsheet.workbook import Sheet, open_workbook, suffix

from tests.data.spreadsheets import make

DATA = Path(__file__).parents[2] / "data" / "spreadsheets"


@pytest.mark.parametrize("kind", ["xlsx", "xlsb", "xls", "ods"])
@pytest.mark.parametrize("by_path", [True, False])
def test_every_kind_gives_the_same_rows(kind: Kind, by_path: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """One way of reading serves all kinds only if their cells come as the same text."""
    path = DATA / f"list{suffix(kind)}"
    book = open_workbook(path if by_path else io.BytesIO(path.read_bytes()), kind=kind)
    rows = list(book.rows("Liste"))
    assert [row.number for row in rows] == list(range(1, 10))
    assert rows[0].cells == ["Mitgliederliste 2026"]
    assert rows[1].cells == []
    assert rows[3].cells == [
        "Jürgen Müller",
        "DE89 3704 0044 0532 0130 00",
        "12.5",
        "M-001",
        "2019-03-01",
        "1067",
    ]
    assert rows[4].cells[2] == "0.3"
    assert [rows[3].numeric >> place & 1 for place in range(6)] == [0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize("kept_bytes", [0, 64 << 20])
def test_rows_are_the_same_however_often_they_are_read(
    monkeypatch: pytest.MonkeyPatch, kept_bytes: int
) -> None:
    """A plan is made from one reading and debtors from the next: other rows in the second would be other debits."""
    monkeypatch.setattr(workbook, "_KEPT_BYTES_MAX", kept_bytes)
    for name in ("two_lists.xlsx", "list.ods"):
        path = DATA / name
        kind = cast("Kind", path.suffix[1:])
        sheets = [sheet.name for sheet in open_workbook(path, kind=kind).sheets()]
        alone = {sheet: list(open_workbook(path, kind=kind).rows(sheet)) for sheet in sheets}
        book = open_workbook(path, kind=kind)
        for sheet in [*sheets, *sheets, sheets[0]]:
            assert next(book.rows(sheet)) == alone[sheet][0]
            assert list(book.rows(sheet)) == alone[sheet]
            assert list(book.rows(sheet)) == alone[sheet]


def test_rows_of_two_sheets_can_be_read_in_turns() -> None:
    """A sheet begun and read later must not give the rows of the sheet that was parsed meanwhile."""
    path = DATA / "two_lists.xlsx"
    book = open_workbook(path, kind="xlsx")
    names = [sheet.name for sheet in book.sheets()]
    begun = [book.rows(name) for name in names]
    for name, rows in zip(names, begun, strict=True):
        assert list(rows) == list(open_workbook(path, kind="xlsx").rows(name))


def test_days_count_from_1904_where_the_workbook_says_so() -> None:
    """Read from 1900, every mandate would be four years and a day too old."""
    rows = list(open_workbook(DATA / "epoch_1904.xlsx", kind="xlsx").rows("Liste"))
    assert rows[3].cells[4] == "2019-03-01"


def test_sheets_are_listed_with_what_people_see_of_them() -> None:
    """A hidden sheet with last year's list must not be collected."""
    book = open_workbook(DATA / "list.xlsx", kind="xlsx")
    assert book.sheets() == (
        Sheet("Hinweise", visible=True),
        Sheet("Liste", visible=True),
        Sheet("Alt", visible=False),
    )


def test_charts_are_no_sheets() -> None:
    """A sheet that is a chart has no rows, and asking for them is an error in the parser."""
    buffer = io.BytesIO()
    book = xlsxwriter.Workbook(buffer, {"in_memory": True})
    book.add_worksheet("Liste").write(0, 0, 1)
    chart = book.add_chart({"type": "pie"})
    chart.add_series({"values": "=Liste!$A$1"})
    book.add_chartsheet("Bild").set_chart(chart)
    book.close()
    assert open_workbook(buffer, kind="xlsx").sheets() == (Sheet("Liste", visible=True),)


def test_a_sheet_is_parsed_once_however_often_it_is_read() -> None:
    """Planning and reading follow each other; parsing the largest sheet twice costs ten seconds more."""
    book = open_workbook(DATA / "list.xlsx", kind="xlsx")
    first = list(book.rows("Liste"))
    parsed = book._sheet
    assert list(book.rows("Liste")) == first
    assert book._sheet is parsed


@pytest.mark.parametrize(
    "name", ["filtered_nl.xlsx", "errors_pl.xlsx", "seen.ods", "seen.xls", "seen.xlsb", "two_lists.xlsx"]
)
def test_a_sheet_looked_at_while_it_is_parsed_is_the_same(name: str) -> None:
    """Looked at in another thread, a sheet whose hidden rows got lost would be debited with them."""
    path = DATA / name
    kind = cast("Kind", path.suffix[1:])
    with ThreadPoolExecutor(1) as threads:
        book = open_workbook(path, kind=kind, beside=lambda look: threads.submit(look).result)
        for sheet in book.sheets():
            alone = open_workbook(path, kind=kind)
            assert alone.view(sheet.name) == book.view(sheet.name)
            assert list(alone.rows(sheet.name)) == list(book.rows(sheet.name))
            assert alone.view(sheet.name) == book.view(sheet.name)


def test_a_sheet_is_looked_at_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An XLSB sheet is held whole for its view; with the parsed sheet beside it, a large one is refused for want of memory."""
    steps: list[str] = []
    look = workbook._LOOKS["xlsb"]

    def looked(file: BinaryIO, sheet: str) -> View:
        steps.append("look")
        return look(file, sheet)

    monkeypatch.setitem(workbook._LOOKS, "xlsb", looked)
    book = open_workbook(DATA / "list.xlsb", kind="xlsb")
    parser = book._book

    class Notes:
        def get_sheet_by_name(self, name: str) -> object:
            steps.append("parse")
            return parser.get_sheet_by_name(name)

    sheet = book.sheets()[0].name
    book._book = Notes()  # type: ignore[assignment]
    assert list(book.rows(sheet))
    assert steps == ["look", "parse"]


def test_a_sheet_is_looked_at_before_it_is_parsed_to_its_end() -> None:
    """One after the other, a workbook of a million rows takes two seconds longer, and the second core waits."""
    has_looked = threading.Event()

    def beside(look: Callable[[], View]) -> Callable[[], View]:
        def looked() -> View:
            try:
                return look()
            finally:
                has_looked.set()

        return threads.submit(looked).result

    with ThreadPoolExecutor(1) as threads:
        book = open_workbook(DATA / "list.xlsx", kind="xlsx", beside=beside)
        parser = book._book

        class Waits:
            def get_sheet_by_name(self, name: str) -> object:
                assert has_looked.wait(60)
                return parser.get_sheet_by_name(name)

        book._book = Waits()  # type: ignore[assignment]
        assert len(list(book.rows("Liste"))) == 9


def test_what_a_person_sees_is_refused_before_what_the_parser_says() -> None:
    """Two threads end in any order; the sender of a file must not hear another cause each time it is sent."""

    def refuse(_: Callable[[], View]) -> Callable[[], View]:
        def refused() -> View:
            raise FileRefused(Refusal("too_large_inside", "Too many marks."))

        return refused

    for data in ((DATA / "list.xlsx").read_bytes(), make.raw_xlsx("<row><c")):
        book = open_workbook(io.BytesIO(data), kind="xlsx", beside=refuse)
        for _ in range(2):
            with pytest.raises(FileRefused, match="Too many marks"):
                list(book.rows(book.sheets()[-1].name))


def test_columns_of_several_kinds_of_values_become_text_as_each_alone() -> None:
    """Cells are converted a column at a time; one number among texts must not lose its mark, nor a blank at the end stay."""
    day = date(2024, 2, 29)
    columns: list[list[object]] = [
        [12.5, "x", 1e22, 274.65999999999997, 3],
        ["a\u200bb", "Zo\u00eb", None, "\u2066c\u2069", "d"],
        [day, day, "29.2.24", day, None],
        [1, 2.0, 3, 4, 5.25],
        [None, "n", "e", None, "\u200b"],
    ]
    table = [list(cells) for cells in zip(*columns, strict=True)]
    rows = list(open_workbook(io.BytesIO(make.xlsx({"A": table})), kind="xlsx").rows("A"))
    assert [row.cells for row in rows] == [
        ["12.5", "ab", "2024-02-29", "1"],
        ["x", "Zo\u00eb", "2024-02-29", "2", "n"],
        ["10000000000000000000000", "", "29.2.24", "3", "e"],
        ["274.66", "c", "2024-02-29", "4"],
        ["3", "d", "", "5.25"],
    ]
    assert [row.numeric for row in rows] == [0b1001, 0b1000, 0b1001, 0b1001, 0b1001]


def test_leading_blank_columns_and_rows_keep_their_place() -> None:
    """The library leaves blank columns out; then 'column C' in a message would be column A of the sheet."""
    rows = list(open_workbook(DATA / "merged_headers.xlsx", kind="xlsx").rows("Leden"))
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[4].cells[:3] == ["", "", "Jan de Vries"]
    assert rows[4].numeric == 1 << 6


def test_formulas_and_errors_come_as_people_see_them() -> None:
    """A computed amount is an amount; #N/A is none, and no blank either."""
    rows = list(open_workbook(DATA / "merged_headers.xlsx", kind="xlsx").rows("Leden"))
    assert rows[4].cells[6] == "12.5"
    assert rows[5].cells[5:] == ["01-02-2021", "#N/A"]


def test_an_empty_sheet_has_no_rows() -> None:
    """New workbooks come with empty sheets."""
    book = open_workbook(io.BytesIO(make.xlsx({"Leer": []})), kind="xlsx")
    assert list(book.rows("Leer")) == []


def test_all_kinds_of_cells_become_text() -> None:
    """Long numbers, halves of cents and days stand in lists of people, too; none may come with an exponent."""
    buffer = make.xlsx({"A": [[12345678901234567.0, 1e21, "007", date(2024, 2, 29), -0.5]]})
    row = next(iter(open_workbook(io.BytesIO(buffer), kind="xlsx").rows("A")))
    assert row == Row(
        1, ["12345678901234570", "1000000000000000000000", "007", "2024-02-29", "-0.5"], 0b10011
    )


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ((DATA / "list.xlsx").read_bytes()[:-3000], "xlsx"),
        (make.raw_xlsx("<row><c"), "xlsx"),
        (make.compound({"Workbook": bytes(5000)}), "xls"),
        (make.ods(table="<table:table-row>"), "ods"),
    ],
)
def test_a_damaged_workbook_is_refused_with_what_to_do(data: bytes, kind: Kind) -> None:
    """Half a download must not be half a list, and the sender needs a sentence, not a stack trace."""
    with pytest.raises(FileRefused) as caught:
        list(open_workbook(io.BytesIO(data), kind=kind).rows("A" if kind == "xlsx" else "Liste"))
    assert caught.value.refusal.code == "damaged"
    assert str(caught.value) == (
        "This file cannot be read: This workbook is cut off or damaged; open it in a spreadsheet program, save it and "
        "send it again."
    )


def test_a_sheet_of_too_many_cells_is_refused_by_name(tmp_path: Path) -> None:
    """Where the parser notices by itself, the sender should hear it is size and not damage."""
    cell = (
        '<table:table-cell table:number-columns-repeated="16384" office:value-type="float" office:value="1"/>'
    )
    path = tmp_path / "far.ods"
    path.write_bytes(
        make.ods(table=f'<table:table-row table:number-rows-repeated="1048576">{cell}</table:table-row>')
    )
    with pytest.raises(FileRefused) as caught:
        list(open_workbook(path, kind="ods").rows("Liste"))
    assert caught.value.refusal.code == "too_large_inside"


def test_a_password_on_an_old_workbook_is_reported(tmp_path: Path) -> None:
    """Only the parser sees it in that format; the sender must hear of the password, not of damage."""
    data = (DATA / "list.xls").read_bytes()
    # A FILEPASS record in the place of the code page record: both are the second of the stream.
    at = data.index(b"\x42\x00\x02\x00")
    path = tmp_path / "locked.xls"
    path.write_bytes(data[:at] + b"\x2f\x00\x02\x00" + data[at + 4 :])
    with pytest.raises(FileRefused) as caught:
        open_workbook(path, kind="xls")
    assert caught.value.refusal.code == "encrypted"


def test_what_is_no_fault_of_the_file_passes_through(tmp_path: Path) -> None:
    """An interrupt while parsing is not damage; swallowed, the worker could not be stopped."""
    path = tmp_path / "list.xlsx"
    path.write_bytes((DATA / "list.xlsx").read_bytes())
    book = open_workbook(path, kind="xlsx")

    class Interrupted:
        def get_sheet_by_name(self, _name: str) -> None:
            raise KeyboardInterrupt

    book._book = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        list(book.rows("Liste"))
