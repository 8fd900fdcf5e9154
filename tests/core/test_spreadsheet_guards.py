"""Files that say one thing and are read as another; each test names who would be debited wrongly."""

import io
from datetime import date

import pytest
from tether_core.spreadsheet import Debtor, Outcome, Plan, Refusal, Refused, Skipped, reading, rows

A, B, C = "DE89370400440532013000", "DE02120300000000202051", "NL91ABNA0417164300"


def _plan(text: str, name: str = "list.csv") -> Plan | Refusal:
    return reading.plan(io.BytesIO(text.encode()), name=name)


def _read(text: str) -> list[Outcome]:
    plan = _plan(text)
    assert isinstance(plan, Plan)
    found = reading.rows(io.BytesIO(text.encode()), plan=plan)
    return list(rows.read(found, plan=plan, today=date(2026, 11, 29)))


@pytest.mark.parametrize(
    ("header", "debit", "credit"),
    [("S/H", "S", "H"), ("Debit/Credit", "D", "C"), ("Af Bij", "Af", "Bij"), ("Sens", "DEBIT", "CREDIT")],
)
def test_a_column_of_directions_is_a_question(header: str, debit: str, credit: str) -> None:
    """Else people who are owed money would be debited."""
    plan = _plan(f"Name,IBAN,Amount,{header}\nAnn,{A},1.00,{debit}\nBen,{B},2.00,{credit}\n")
    assert isinstance(plan, Plan)
    assert [question.code for question in plan.questions] == ["direction_column"]


@pytest.mark.parametrize("header", ["Zahlungsart", "payment method", "Mode de paiement", "betaalwijze"])
def test_several_ways_of_payment_are_a_question(header: str) -> None:
    """Else those who pay by transfer would be debited too."""
    plan = _plan(f"Name,IBAN,Amount,{header}\nAnn,{A},1.00,Lastschrift\nBen,{B},2.00,Rechnung\n")
    assert isinstance(plan, Plan)
    assert [question.code for question in plan.questions] == ["payment_method_column"]


def test_the_senders_own_account_is_left_aside_in_a_list_of_two() -> None:
    """Else the sender would debit the own account."""
    found = _read(f"Rekening,Tegenrekening,Naam,Bedrag\n{A},{B},Ann,1.50\n{A},{C},Ben,2.50\n")
    assert [outcome.iban for outcome in found if isinstance(outcome, Debtor)] == [B, C]


def test_one_account_for_many_people_is_warned_of() -> None:
    """Else a column filled down would debit one account for all."""
    plan = _plan(f"Nom;IBAN;Montant\nAnn;{A};1,00\nBen;{A};2,00\n")
    assert isinstance(plan, Plan)
    assert "one account" in plan.warnings[0]


def test_a_holder_filled_only_where_it_differs_is_a_question() -> None:
    """Else most of the list would be refused for a missing name."""
    plan = _plan(f"Name;IBAN;Betrag;Kontoinhaber\nAnn;{A};1,00;\nBen;{B};2,00;Greta\n")
    assert isinstance(plan, Plan)
    assert [question.code for question in plan.questions] == ["name_column"]


@pytest.mark.parametrize("name", ["NULL", "N/A", "nan", "k.A.", "#NV", "#REF!", "#N/A", "#VALEUR!"])
def test_placeholders_and_errors_are_no_names(name: str) -> None:
    """Else a debit would carry the name NULL, on the fast path and on the slow path."""
    found = _read(f"Name;IBAN;Betrag\nAnn;{A};1,00\n{name};{B};2,00\n")
    assert isinstance(found[1], Refused)
    assert found[1].problems[0].code in ("name_missing", "name_unreadable")


def test_an_error_as_a_reference_is_reported() -> None:
    """Else the statement of the debtor would say #BEZUG!."""
    found = _read(f"Name;IBAN;Betrag;Rechnungsnr\nAnn;{A};1,00;#BEZUG!\n")
    assert isinstance(found[0], Refused)
    assert found[0].problems[0].code == "text_unreadable"


@pytest.mark.parametrize(
    ("label", "grand"), [("Chor Ergebnis", "Gesamtergebnis"), ("Total Choeur", "Total général")]
)
def test_sums_of_groups_are_totals(label: str, grand: str) -> None:
    """Else each sum would be reported as a debtor without an account."""
    found = _read(
        f"Gruppe;Name;IBAN;Betrag\nx;Ann;{A};1,00\nx;Ben;{B};2,00\n{label};;;3,00\n{grand};;;3,00\n"
    )
    assert [outcome.cause for outcome in found if isinstance(outcome, Skipped)] == ["total", "total"]


def test_a_purpose_that_begins_like_a_total_makes_no_total() -> None:
    """Else a row that lacks name and account would be dropped without a problem."""
    found = _read(
        f"Name;IBAN;Betrag;Verwendungszweck\nAnn;{A};1,00;x\nBen;{B};2,00;x\n;;5,00;Total Beitrag Mai\n"
    )
    assert isinstance(found[2], Refused)


def test_a_lone_amount_below_the_first_debtor_is_not_dropped() -> None:
    """Else the second debit of a merged cell would be dropped as a total."""
    found = _read(f"Name;IBAN;Betrag\nAnn;{A};12,50\n;;12,50\nBen;{B};20,00\n")
    assert isinstance(found[1], Refused)


def test_invisible_marks_do_not_hide_the_format_of_amounts_and_days() -> None:
    """Else 1.100,00 would be refused or be a question."""
    found = _read(f"Name;IBAN;Betrag;Mandatsdatum\nAnn;{A};\u200e1.100,00;\u200e31.03.2024\n")
    assert isinstance(found[0], Debtor)
    assert (found[0].amount_minor, found[0].mandate_signed_on) == (110_000, date(2024, 3, 31))


def test_texts_written_as_formulas_are_unwrapped() -> None:
    """Else leading zeros that a program protected would make the file unreadable."""
    found = _read(f'Kundennr;Name;IBAN;Betrag\n="000123";="Ann";="{A}";="12,50"\n')
    assert isinstance(found[0], Debtor)
    assert (found[0].customer_id, found[0].amount_minor) == ("000123", 1250)


def test_escaped_quotation_marks_give_no_half_names() -> None:
    """Else a debtor would be called by a name with half of its quotation marks."""
    found = _read(f'"Name";"IBAN";"Betrag"\n"Bar \\"Zum\\" AG";"{A}";"1,00"\n')
    assert isinstance(found[0], Refused)
    assert found[0].problems[0].code == "name_unreadable"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Name;Kontonummer;BLZ;Betrag\nAnn;532013000;37040044;1,00\n", "no_iban"),
        (f'"Name,""IBAN"",""Amount"""\n"Ann,""{A}"",""1.00"""\n', "quoted_lines"),
        (f"Name;IBAN;Betrag\nAnn;{A};1,00\n\nName;IBAN;Vorjahr;Betrag\nBen;{B};9,00;2,00\n", "second_table"),
        (":20:START\r\n:25:37040044/0532013000\r\n:28C:1/1\r\n", "payment_file"),
        ("0128AGK37040044 00000000\r\n", "payment_file"),
        ("MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<html><body><table>\r\n", "html"),
    ],
)
def test_files_that_are_no_list_are_refused(text: str, code: str) -> None:
    """Else the sender would get questions that nobody can answer, or amounts of another table."""
    plan = _plan(text)
    assert isinstance(plan, Refusal)
    assert plan.code == code
