from collections.abc import Iterator

import msgspec
import pytest
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.plan import Answers, Kind, Refusal
from tether_core.spreadsheet.table import SAMPLE_ROWS, Table, examine

DE, AT, FR, NL = (
    "DE89370400440532013000",
    "AT611904300234573201",
    "FR1420041010050500013M02606",
    "NL91ABNA0417164300",
)


def _rows(lines: list[list[str]], numeric: int = 0) -> Iterator[Row]:
    return (Row(number, cells, numeric) for number, cells in enumerate(lines, 1))


def _examine(
    lines: list[list[str]], *, kind: Kind = "csv", numeric: int = 0, **answers: object
) -> Table | Refusal:
    return examine(_rows(lines, numeric), answers=msgspec.convert(answers, Answers), kind=kind)


def _table(lines: list[list[str]], *, kind: Kind = "csv", numeric: int = 0, **answers: object) -> Table:
    found = _examine(lines, kind=kind, numeric=numeric, **answers)
    assert isinstance(found, Table)
    return found


def _fields(table: Table) -> dict[str, int]:
    return {column.field: column.position for column in table.columns if column.field}


HEADER = ["Name", "IBAN", "Betrag"]
DATA = [["Anna", DE, "1,50"], ["Hans", AT, "2,50"]]


@pytest.mark.parametrize("above", [0, 1, 3, 49])
def test_the_header_is_found_below_titles(above: int) -> None:
    """Banks and clubs write letterheads above the table; read as the header, nothing would be found."""
    table = _table([["Turnverein Köln e.V., Beitrag 2026", "", ""]] * above + [HEADER, *DATA])
    assert table.header_row == above + 1
    assert table.data_row == above + 2
    assert _fields(table) == {"name": 0, "iban": 1, "amount": 2}


def test_blank_rows_above_do_not_count_as_titles() -> None:
    """An export may begin with any number of blank rows."""
    assert _table([[]] * 300 + [HEADER, *DATA]).header_row == 301


def test_a_header_of_two_rows_is_read_as_one() -> None:
    """Merged headings leave the upper row half blank; each row alone names half of the fields."""
    upper = ["Bankverbindung", "", "Mandat", "", "Betrag"]
    lower = ["Kontoinhaber", "IBAN", "Referenz", "Datum", ""]
    table = _table([upper, lower, ["Anna", DE, "M1", "31.3.2020", "1,50"]])
    assert (table.header_row, table.data_row) == (1, 3)
    assert [column.header for column in table.columns] == [
        "Bankverbindung Kontoinhaber",
        "Bankverbindung IBAN",
        "Mandat Referenz",
        "Mandat Datum",
        "Betrag",
    ]
    assert _fields(table) == {"name": 0, "iban": 1, "mandate_id": 2, "mandate_signed_on": 3, "amount": 4}


def test_the_first_row_of_data_is_never_taken_into_the_header() -> None:
    """Joined to the header it would be lost: one debtor fewer, and nobody notices."""
    header = ["Betrag", "Wer", "Konto", "Was", "Wo"]
    data = ["1,50", "Kunde", DE, "Beitrag Bank", "Straße"]
    for row in (
        data,
        ["x", "Kunde", DE, "Beitrag Bank", "Straße"],
    ):
        assert _table([header, row, ["2,50", "Hans", AT, "", ""]]).data_row == 2


def test_unknown_words_above_ibans_are_a_header() -> None:
    """The cells below tell a header from a title even where only one word is known."""
    table = _table([["Wer", "Kto", "Betrag"], *DATA])
    assert table.header_row == 1
    assert [question.code for question in table.questions] == ["name_column_missing"]


def test_no_header_is_a_question_that_points_at_the_ibans() -> None:
    """Without it the first debtor would become the header; with it a person needs one look."""
    table = _table(DATA)
    assert [question.code for question in table.questions] == ["header_missing"]
    assert table.questions[0].ask == (
        "Which row holds the headers? None of the first 2 rows names an IBAN, an amount and a name. IBANs stand in column "
        "B. Tell the row, or 0 for none and the columns by number."
    )
    nothing = _table([["a", "b"], ["c", "d"]])
    assert nothing.questions[0].ask.endswith(
        "No cell holds an IBAN. Tell the row, or 0 for none and the columns by number."
    )


def test_columns_named_by_number_need_no_header() -> None:
    """Three given column numbers must replace the headers."""
    table = _table(DATA, columns={"name": 1, "iban": 2, "amount": 3})
    assert (table.header_row, table.data_row, table.questions) == (0, 1, ())
    assert _table([["x"], *DATA], header_row=0, columns={"name": 1, "iban": 2, "amount": 3}).data_row == 1


def test_the_callers_header_row_is_taken_whatever_stands_in_it() -> None:
    """Some tables have two headers, one for people and one for machines."""
    table = _table([HEADER, ["Name", "IBAN", "Beitrag"], *DATA], header_row=2)
    assert (table.header_row, table.data_row) == (2, 3)
    assert table.decisions[0].by == "caller"
    with pytest.raises(InvalidRequest, match="header_row: Row 9 is blank or not among the first rows"):
        _table([HEADER, *DATA], header_row=9)


@pytest.mark.parametrize(
    ("lines", "code", "why"),
    [
        ([], "empty", "There is nothing but blank rows; send the sheet that holds the list."),
        ([[], ["", " "]], "empty", "There is nothing but blank rows; send the sheet that holds the list."),
        (
            [["Titel"], HEADER],
            "no_rows",
            "Row 2 is the header, and there are no rows below it; add the debtors and send it again.",
        ),
        (
            [HEADER, *[[""] * 3] * 5_000],
            "no_rows",
            "Row 1 is the header, and there are no rows below it; add the debtors and send it again.",
        ),
        (
            [[f"c{number}" for number in range(10_000)]],
            "too_many_columns",
            "The table has 10,000 columns; at most 500 can be read. Delete those without debtors' data.",
        ),
    ],
)
def test_sheets_without_a_list_are_refused_with_what_to_do(
    lines: list[list[str]], code: str, why: str
) -> None:
    """Completed with nothing stored looks like success; the sender must hear that the list was not there."""
    assert _examine(lines) == Refusal(code, why)


def test_thousands_of_blank_rows_between_header_and_data_are_passed_over() -> None:
    """A cell formatted far below makes sheets of blank rows; the data behind them still count."""
    table = _table([HEADER, *[[]] * 5_000, *DATA])
    assert table.amount_format == "comma"


def test_formats_are_decided_by_all_rows_if_the_first_thousands_do_not() -> None:
    """A file sorted by amount begins with round sums; row 3,000 has the first decimal sign."""
    header = ["Name", "IBAN", "Betrag", "Mandatsdatum"]
    early = ["Anna", DE, "1.000", "3/4/2020"]
    late = ["Hans", AT, "1.000,50", "31/3/2020"]
    table = _table([header, *[early] * (SAMPLE_ROWS + 500), late])
    assert table.amount_format == "comma"
    assert table.date_orders == {"mandate_signed_on": "day_month"}
    open_table = _table([header, *[early] * 3_000])
    assert [question.code for question in open_table.questions] == ["amount_format"]
    assert open_table.date_orders == {"mandate_signed_on": "unclear"}
    assert "can be read in two ways are ignored" in open_table.warnings[-1]


def test_a_row_in_a_million_can_change_what_the_table_means() -> None:
    """A guard that looked at the first thousands only would debit the people whom row 5,002 owes money."""
    rows = _rows([[*HEADER, "S/H"], *[["Anna", DE, "1.000,00", "S"]] * 5_000, ["Hans", AT, "7,00", "H"]])
    table = examine(rows, answers=Answers(amount_format="comma"), kind="csv")
    assert isinstance(table, Table)
    assert [question.code for question in table.questions] == ["direction_column"]


def test_rows_of_the_wrong_length_do_not_vote_on_formats() -> None:
    """In a comma file 12,50 without quotation marks becomes two cells, and half an amount would decide for all."""
    moved = ["Anna", DE, "1", "000.50"]
    table = _table([HEADER, ["Hans", AT, "1.000,50"], *[[*moved[:2], "1.5", "0"]] * 3])
    assert table.amount_format == "comma"


def test_rows_longer_than_the_header_are_warned_of() -> None:
    """A decimal comma in a comma file shifts the cells: 12,50 would be read as 12."""
    table = _table([HEADER, ["Anna", DE, "12", "50"], ["Hans", AT, "7", "00"]])
    (warning,) = table.warnings
    assert warning == (
        "2 of the first 2 rows have more cells than the header has columns: a cell holds the delimiter and is not in "
        "quotation marks."
    )
    assert len(table.columns) == 3


def test_columns_without_a_header_count_in_workbooks() -> None:
    """There nothing shifts; a column without a header may hold what somebody wants to map."""
    table = _table([HEADER, ["Anna", DE, "12", "note"]], kind="xlsx")
    assert [column.header for column in table.columns] == [*HEADER, ""]


def test_numbers_that_lost_their_zeros_are_warned_of() -> None:
    """Dresden is 01067; as a number it is 1067, and the letter comes back."""
    lines = [
        ["PLZ", "Name", "IBAN", "Betrag"],
        ["1067", "Anna", DE, "1,00"],
        ["10115", "Hans", AT, "2,00"],
        ["80331", "Eva", FR, "3,00"],
    ]
    table = _table(lines, kind="xlsx", numeric=0b0001)
    (warning,) = table.warnings
    assert warning == (
        "Column A (“PLZ”) holds numbers, not text: leading zeros may be lost. 1 of the first 3 have another length than "
        "most."
    )


def test_columns_of_one_name_are_warned_of() -> None:
    """The person may have meant the other one."""
    table = _table([["Name", "IBAN", "Betrag", "Notiz", "Notiz"], ["Anna", DE, "1,00", "a", "b"]])
    assert table.warnings == ("Several columns are called Notiz; they are distinguished by their position.",)


def test_columns_nobody_knows_are_kept_under_names_of_their_own() -> None:
    """Two columns of one name, or one called like a field, must not take each other's place."""
    header = [*HEADER, "Notiz", "Notiz", "name", "", "Chor"]
    rows = _rows([header, ["Anna", DE, "1,00", "a", "b", "", "d", "e"]])
    table = examine(rows, answers=Answers(keep_columns=True, columns={"name": 1}), kind="csv")
    assert isinstance(table, Table)
    assert table.kept == {"Notiz (D)": 3, "Notiz (E)": 4, "name (F)": 5, "Chor": 7}
    assert _table([header, ["Anna", DE, "1,00"]]).kept == {}
