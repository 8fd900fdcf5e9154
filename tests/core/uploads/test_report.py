import csv
import io
from datetime import date

from tether_core.screening.verdicts import Verdict
from tether_core.spreadsheet import Debtor, Plan, Refused
from tether_core.spreadsheet.reading import plan, rows
from tether_core.spreadsheet.rows import read
from tether_core.uploads.report import REPORT_COLUMNS, report_header, report_row

TODAY = date(2026, 3, 2)


def _planned(text: str) -> tuple[io.BytesIO, Plan]:
    file = io.BytesIO(text.encode())
    decided = plan(file, name="debtors.csv")
    assert isinstance(decided, Plan)
    return file, decided


def test_a_report_says_what_to_do_beside_the_columns_as_they_came() -> None:
    """This file is what people correct and send back; a cell moved or a note missing sends them searching."""
    file, decided = _planned("Name;IBAN;Betrag;Notiz\n;DE89370400440532013001;=2+3;-x\n")
    refused = next(read(rows(file, plan=decided), plan=decided, today=TODAY))
    assert isinstance(refused, Refused)
    assert report_header(decided) == ["Name", "IBAN", "Betrag", "Notiz", *REPORT_COLUMNS]
    assert report_row(refused.row, refused.cells, plan=decided, problems=refused.problems) == [
        "",
        "DE89370400440532013001",
        "'=2+3",
        "'-x",
        "2",
        "error",
        "IBAN; Name; Betrag",
        "iban_invalid; name_missing; amount_unreadable",
        (
            "Its check digits do not fit, so at least one character is wrong; ask the account holder for it. "
            "There is no name; add the account holder's. “=2+3” is not an amount."
        ),
    ]


def test_a_report_names_the_verdict_of_a_row_excluded() -> None:
    """A right row that was excluded needs its cause as much as a wrong one."""
    _, decided = _planned("Name;IBAN;Betrag\nA B;DE89370400440532013000;1,00\n")
    verdict = Verdict("blacklisted", "The account is on hold: MD06.")
    line = report_row(2, ["A B", "DE89370400440532013000"], plan=decided, reasons=[verdict])
    assert line == [
        "A B",
        "DE89370400440532013000",
        "",
        "2",
        "excluded",
        "",
        "blacklisted",
        "The account is on hold: MD06.",
    ]


def test_a_corrected_report_comes_back_as_it_went() -> None:
    """The round trip of the report: phones, hyphened names and formulas neutralised on the way out return unchanged."""
    file, decided = _planned(
        "Name;IBAN;Betrag;Telefon;Referenz\n-Meier;DE89370400440532013001;1,00;+49 30 12;'=x\n"
    )
    refused = next(read(rows(file, plan=decided), plan=decided, today=TODAY))
    assert isinstance(refused, Refused)
    sheet = io.StringIO()
    lines = [report_header(decided), report_row(2, refused.cells, plan=decided, problems=refused.problems)]
    csv.writer(sheet, delimiter=";").writerows(lines)
    again, corrected = _planned(sheet.getvalue().replace("DE89370400440532013001", "DE89370400440532013000"))
    assert dict(corrected.fields) == dict(decided.fields)
    debtor = next(read(rows(again, plan=corrected), plan=corrected, today=TODAY))
    assert isinstance(debtor, Debtor)
    assert (debtor.name, debtor.phone, debtor.reference) == ("-Meier", "+49 30 12", "=x")
