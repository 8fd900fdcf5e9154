"""Lists that look harmless and are not: what a person sees in them and what is read must agree, or the plan asks."""

from __future__ import annotations

import io
from datetime import date

import pytest
from tether_core.spreadsheet import Answers, Debtor, Outcome, Plan, Refusal, Refused, Skipped, reading, rows
from tether_core.spreadsheet.sniff import sniff

from tests.data.spreadsheets import make

DE, AT, FR, NL, ES, IT, PL = make.DE, make.AT, make.FR, make.NL, make.ES, make.IT, make.PL
BE = "BE68539007547034"


def _plan(text: str, answers: Answers | None = None) -> Plan | Refusal:
    return reading.plan(io.BytesIO(text.encode()), name="list.csv", answers=answers or Answers())


def _read(text: str) -> list[Outcome]:
    plan = _plan(text)
    assert isinstance(plan, Plan), plan
    assert plan.ready, plan.questions
    found = reading.rows(io.BytesIO(text.encode()), plan=plan)
    return list(rows.read(found, plan=plan, today=date(2026, 11, 30)))


def _debtors(outcomes: list[Outcome]) -> list[tuple[str, str, int]]:
    return [
        (outcome.name, outcome.iban, outcome.amount_minor)
        for outcome in outcomes
        if isinstance(outcome, Debtor)
    ]


@pytest.mark.parametrize(
    ("text", "debtors"),
    [
        (
            f"'IBAN','Name','Betrag'\n'{DE}','Meyer, Hans','12,50'\n'{AT}','Huber','1.007,00'\n",
            [("Meyer, Hans", DE, 1250), ("Huber", AT, 100700)],
        ),
        (
            f"Naam;IBAN;Bedrag\n'''t Hart';'{NL}';12,50\n'Bakker; zoon';'{DE}';7,00\n",
            [("'t Hart", NL, 1250), ("Bakker; zoon", DE, 700)],
        ),
        # Names that only begin with an apostrophe are no quotation.
        (
            f"Naam;Plaats;IBAN;Bedrag\n't Hart;'s-Gravenhage;{NL};12,50\n't Veld;'s-Heer;{DE};7,00\n",
            [("'t Hart", NL, 1250), ("'t Veld", DE, 700)],
        ),
    ],
)
def test_cells_in_apostrophes_are_read(text: str, debtors: list[tuple[str, str, int]]) -> None:
    """Else every row of such a list would be refused, as its cells would be cut at commas and keep their marks."""
    assert _debtors(_read(text)) == debtors


def test_the_mark_around_cells_is_a_decision_of_the_plan() -> None:
    """Else nobody could see why a comma within a name was not taken for a delimiter."""
    plan = _plan(f"'IBAN','Name','Betrag'\n'{DE}','Meyer, Hans','12,50'\n")
    assert isinstance(plan, Plan)
    assert (plan.quote, [item.value for item in plan.decisions if item.about == "quote"]) == ("'", ["'"])


def test_marks_that_nobody_sees_do_not_turn_a_debtor_into_a_header() -> None:
    """Else the first debtor would be taken for a second row of the header, and be lost without a word."""
    text = (
        f"\u200eNazwa;\ufeffNumer rachunku;Kwota\u200b\nAnna;\u2066{PL}\u2069;\u200e1\u00a0100,00\n"
        f"Jan;DE89\u200b370400440532013000;\u202d12,50\u202c\n"
    )
    assert _debtors(_read(text)) == [("Anna", PL, 110000), ("Jan", DE, 1250)]
    book = make.xlsx({"A": [["Name", "IBAN", "Betrag"], ["Anna", f"\u2066{PL}\u2069", "\u200e1100,00"]]})
    plan = reading.plan(io.BytesIO(book), name="a.xlsx")
    assert isinstance(plan, Plan)
    found = list(rows.read(reading.rows(io.BytesIO(book), plan=plan), plan=plan, today=date(2026, 11, 30)))
    assert _debtors(found) == [("Anna", PL, 110000)]


def test_ibans_of_several_lengths_over_columns_are_joined() -> None:
    """Else the longer ones would lose their last piece, and their rows be refused."""
    text = "Naam;IBAN;;;;;Bedrag\nAnn;NL91;ABNA;0417;1643;00;12,50\nBen;BE68;5390;0754;7034;;7,00\n"
    assert _debtors(_read(text)) == [("Ann", NL, 1250), ("Ben", BE, 700)]


def test_subtotals_in_the_column_of_names_are_no_debtors_and_no_false_sum() -> None:
    """Else Excel's subtotals by name would be refused for a missing IBAN, and the total at the end would not agree."""
    text = (
        f"Name\tIBAN\tAmount\nAnn\t{DE}\t10.00\nAnn Total\t\t10.00\nBen\t{AT}\t5.00\nBen Total\t\t5.00\n"
        "Total, Anna\t\t3.00\nGrand Total\t\t18.00\n"
    )
    found = _read(text)
    assert [type(outcome) for outcome in found] == [Debtor, Skipped, Debtor, Skipped, Refused, Skipped]
    assert isinstance(found[-1], Skipped)
    assert found[-1].note == "The file says 18.00, and so do the rows above."


@pytest.mark.parametrize(
    "error",
    "#¡REF! #¡VALOR! #¿NOMBRE? #¡NUM! #N/D! #NULLO! #NAAM? #GETAL! #ADR! #DZIEL/0! #VALEUR! #SPILL! #NEU! Err:502".split(),
)
def test_an_error_of_any_language_is_no_name(error: str) -> None:
    """Else a debtor called #¡VALOR! would be debited, as the look-up of the name has failed."""
    found = _read(f"Titular;IBAN;Importe;Concepto\n{error};{ES};12,50;x\nLuis;{DE};7,00;{error}\n")
    assert [outcome.problems[0].code for outcome in found if isinstance(outcome, Refused)] == [
        "name_unreadable",
        "text_unreadable",
    ]


def test_a_formula_saved_as_text_is_no_name() -> None:
    """Else a debtor called =A2&B2 would be debited; a formula that is only a text is read."""
    found = _read(
        f'Name,IBAN,Amount\n=A2&B2,{DE},1.00\n=T("Ann Lee"),"=T(""{AT}"")",2.00\n="Bob",{NL},3.00\n'
    )
    assert _debtors(found) == [("Ann Lee", AT, 200), ("Bob", NL, 300)]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (
            f"Name,IBAN,Amount,Pays by\nAnn,{DE},1.00,Direct Debit\nBen,{AT},1.00,Standing Order\nCat,{NL},2.00,Direct Debit\n",
            "payment_method_column",
        ),
        (f"Name;IBAN;Betrag\nAnn;{DE};12,50\n;;\nAlle Beträge in CHF;;\n", "currency"),
        (f"Nom;IBAN;Montant;Nature\nAnn;{FR};1,50;FA\nBen;{DE};7,00;AV\n", "direction_column"),
        (f"Intestatario;IBAN;Segno;Importo\nAnna;{IT};+;1,00\nLuca;{DE};-;2,00\n", "direction_column"),
        (
            f"Titular;IBAN;Importe;Fecha de baja\nAna;{ES};1,50;\nLuis;{DE};7,00;31/12/2025\n",
            "selection_column",
        ),
    ],
)
def test_what_changes_who_pays_is_a_question(text: str, question: str) -> None:
    """Else those who pay in another way, get money back or have left would be debited, or francs be collected as euros."""
    plan = _plan(text)
    assert isinstance(plan, Plan), plan
    assert [found.code for found in plan.questions] == [question]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Name,Sort Code,Account Number,Amount\nAnn,20-00-00,55779911,12.50\n", "no_iban"),
        ("Titular;Cuenta;Importe\nAna;2100 0418 45 0200051332;12,50\n", "no_iban"),
        (f'"Nom;IBAN;Montant"\n"Ann;{FR};12,50"\n"Ben;{DE};7,00"\n', "quoted_lines"),
        ("110049150012345678 26010126013120\n22004915001201012601010200\n", "no_columns"),
        ("dn: cn=Ann\ncn: Ann\n", "no_columns"),
    ],
)
def test_a_question_that_nobody_can_answer_is_a_refusal(text: str, code: str) -> None:
    """Else the sender would be asked for the column of accounts in a file that has none."""
    refusal = _plan(text)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.code == code


@pytest.mark.parametrize(
    "text",
    [
        "ABNANL2A\n940\nABNANL2A\n:20:ABN AMRO BANK NV\n:25:517852257\n:28:19321/1\n",
        "\r\n:20:STARTUMS\r\n:25:50050201/0000001234\r\n:28C:00001/001\r\n",
        "{1:F01BANKDEFFAXXX0000000000}{2:I940BANKDEFFXXXXN}{4:\n:20:START\n",
        "0256Q50050201".ljust(256),
        "VOL1173848                               HSBC  \nHDR1 A173848S\n",
        f"{'0130004    00392EUR2 00029032150  310126':<120}\n",
        "OFXHEADER:100\nDATA:OFXSGML\n",
        "!Type:Bank\nD01/02/2026\nT-12.50\n",
        '<ns2:Document xmlns:ns2="urn:iso:std:iso:20022:tech:xsd:pain.008.001.02"/>',
    ],
)
@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_files_of_banks_are_refused_as_such(text: str, encoding: str) -> None:
    """Else the sender of a bank statement would be asked which of its lines names the columns."""
    refusal = sniff(io.BytesIO(text.encode(encoding)), name="list.csv")
    assert isinstance(refusal, Refusal), refusal
    assert refusal.code == "payment_file"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- saved from -->\n<html><table><tr><td>IBAN</td></tr></table></html>",
        "<tr><td>Name</td><td>IBAN</td></tr>",
        "<div><table></table></div>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_web_pages_in_any_encoding_are_refused_as_such(text: str, encoding: str) -> None:
    """Else the sender of a page named .xls would read that the table has no rows."""
    refusal = sniff(io.BytesIO(text.encode(encoding)), name="list.xls")
    assert isinstance(refusal, Refusal), refusal
    assert refusal.code == "html"


@pytest.mark.parametrize(
    "text", ["<!---->" * 9_000 + "x", "<!--" * 15_000, "'" * 60_000, ";" + " " * 60_000 + "'"]
)
def test_patterns_end_soon_whatever_they_are_shown(text: str) -> None:
    """Else a file of some kilobytes would hold a worker for ever: each comment more would double the time."""
    sniff(io.BytesIO(text.encode()), name="list.xls")
    assert isinstance(_plan(f"Name;IBAN;Betrag\n{text}\n"), Plan | Refusal)
