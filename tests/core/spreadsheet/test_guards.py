"""Files that say one thing and are read as another; each test names who would be debited wrongly."""

import io
from datetime import date

import pytest
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet import Answers, Debtor, Outcome, Plan, Refusal, Refused, Skipped, reading, rows

TODAY = date(2026, 11, 29)
A, B, C = "DE89370400440532013000", "DE02120300000000202051", "NL91ABNA0417164300"


def _plan(text: str, name: str = "list.csv") -> Plan | Refusal:
    return reading.plan(io.BytesIO(text.encode()), name=name)


def _read(text: str) -> list[Outcome]:
    plan = _plan(text)
    assert isinstance(plan, Plan)
    found = reading.rows(io.BytesIO(text.encode()), plan=plan)
    return list(rows.read(found, plan=plan, today=TODAY))


@pytest.mark.parametrize(
    ("header", "debit", "credit"),
    [
        ("S/H", "S", "H"),
        ("Debit/Credit", "D", "C"),
        ("Af Bij", "Af", "Bij"),
        ("Sens", "DEBIT", "CREDIT"),
        ("Buchungsschlüssel", "40", "50"),
    ],
)
def test_a_column_of_directions_is_a_question(header: str, debit: str, credit: str) -> None:
    """Else people who are owed money would be debited."""
    plan = _plan(f"Name,IBAN,Amount,{header}\nAnn,{A},1.00,{debit}\nBen,{B},2.00,{credit}\n")
    assert isinstance(plan, Plan)
    assert [question.code for question in plan.questions] == ["direction_column"]


def test_the_statement_of_an_account_is_a_question() -> None:
    """Else everybody who has paid would be debited for it: incoming payments have positive amounts there."""
    head = "Buchungstag;Buchungstext;Verwendungszweck;Beguenstigter/Zahlungspflichtiger;Kontonummer/IBAN;Betrag;Waehrung"
    words = (
        "GUTSCHR. UEBERWEISUNG",
        "KARTENZAHLUNG",
        "LOHN  GEHALT",
        "DAUERAUFTRAG",
        "FOLGELASTSCHRIFT",
        "ENTGELTABSCHLUSS",
    )
    rows_ = [f"30.11.26;{word};x;Person {n};{(A, B, C)[n % 3]};1{n},00;EUR" for n, word in enumerate(words)]
    plan = _plan("\n".join((head, *rows_)))
    assert isinstance(plan, Plan)
    assert "direction_column" in [question.code for question in plan.questions]


def test_a_credit_among_many_texts_is_a_question() -> None:
    """Else a column of a dozen purposes would hide that a row is a credit."""
    texts = [f"Beitrag {n}" for n in range(1500)] + ["GUTSCHR. Beitrag 7", "Beitrag nach Gutschrift"]
    lines = [f"Person {n};{(A, B, C)[n % 3]};1,00;{text}" for n, text in enumerate(texts)]
    text = "\n".join(("Name;IBAN;Betrag;Vorgang", *lines))
    plan = _plan(text)
    assert isinstance(plan, Plan)
    (question,) = plan.questions
    assert (question.code, question.answer, question.choices) == (
        "direction_column",
        "collect.Vorgang",
        ("*",),
    )
    assert "1 row, such as \u201cGUTSCHR. Beitrag 7\u201d in row 1,502" in question.ask
    answered = reading.plan(
        io.BytesIO(text.encode()), name="x.csv", answers=Answers(collect={"Vorgang": ("*",)})
    )
    assert isinstance(answered, Plan)
    assert answered.questions == ()
    # A text of the debit itself may speak of a credit that was set off.
    purpose = _plan(text.replace(";Vorgang", ";Verwendungszweck"))
    assert isinstance(purpose, Plan)
    assert purpose.questions == ()
    assert any(
        "begins with a word for a credit in 1 of 1,502 rows" in warning for warning in purpose.warnings
    )


def test_names_of_banks_are_no_directions() -> None:
    """Else every list from France would be asked about."""
    banks = ("Crédit Agricole", "Crédit Mutuel", "Crédit Lyonnais")
    rows_ = [f"Person {n};{(A, B, C)[n % 3]};1{n},00;{bank}" for n, bank in enumerate(banks)]
    plan = _plan("\n".join(("Nom;IBAN;Montant;Agence", *rows_)))
    assert isinstance(plan, Plan)
    assert plan.questions == ()


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


def test_one_account_for_most_of_the_list_is_warned_of() -> None:
    """Else a column that was filled down over a stretch of the list would debit one account for all of them."""
    lines = [f"Person {n};{A if n < 6 else B if n < 8 else C};1,00" for n in range(9)]
    plan = _plan("Nom;IBAN;Montant\n" + "\n".join(lines) + "\n")
    assert isinstance(plan, Plan)
    assert plan.warnings[0].startswith(
        "6 of 9 rows name one account and at least 6 people, the first one in row 2:"
    )
    # Far down a long list, for fewer than half of it.
    several = [f"Person {n};{_account(n)};1,00" for n in range(2_000)]
    several[1_500:1_530] = [f"Person {n};{A};1,00" for n in range(1_500, 1_530)]
    plan = _plan("Nom;IBAN;Montant\n" + "\n".join(several) + "\n")
    assert isinstance(plan, Plan)
    assert plan.warnings[0].startswith("30 of 2,000 rows name one account and at least 12 people")


def test_an_account_above_the_table_is_warned_of_in_a_row() -> None:
    """Else the sender's own account, filled into some rows, would be debited for what other people owe."""
    head = f"Gl\u00e4ubiger: Verein e.V., IBAN {' '.join((A[:4], A[4:8], A[8:12], A[12:16], A[16:20], A[20:]))} (Bank)\n\n"
    text = f"{head}Name;IBAN;Betrag\nAnn;{B};1,00\nBen;{A};2,00\nCid;{C};3,00\n"
    plan = _plan(text)
    assert isinstance(plan, Plan)
    assert any(
        "1 of 3 rows name an account that is written above the table, the first one in row 5" in w
        for w in plan.warnings
    )
    other = _plan(text.replace(f"Ben;{A}", f"Ben;{B}"))
    assert isinstance(other, Plan)
    assert not any("above the table" in warning for warning in other.warnings)


def test_an_account_of_a_family_is_not_warned_of() -> None:
    """Else every list of a club would carry the warning, and nobody would read it."""
    lines = [f"Person {n};{_account(n)};1,00" for n in range(12)]
    lines[3:7] = [f"{name} Berg;{A};1,00" for name in ("Ann", "Ben", "Cat", "Ann")]
    plan = _plan("Nom;IBAN;Montant\n" + "\n".join(lines) + "\n")
    assert isinstance(plan, Plan)
    assert plan.warnings == ()


def _account(number: int) -> str:
    account = f"37040044{number:010d}"
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


@pytest.mark.parametrize("name", ["Summe", "SUMME:", "Grand Total", "Razem", "Sous-total", "Ann Ergebnis"])
def test_a_sum_with_an_account_is_refused(name: str) -> None:
    """Else the account that a program has copied beside a subtotal would pay everything a second time."""
    found = _read(f"Name;IBAN;Betrag\nAnn;{A};12,50\nAnn;{A};7,50\n{name};{A};20,00\nBen;{B};5,00\n")
    assert [type(outcome) for outcome in found] == [Debtor, Debtor, Refused, Debtor]
    assert isinstance(found[2], Refused)
    assert "word for a sum" in found[2].problems[0].note


@pytest.mark.parametrize("name", ["Total Energies SE", "Jan Suma", "Sum Ting"])
def test_names_that_only_resemble_a_sum_are_read(name: str) -> None:
    """Else a debtor would be refused for the name."""
    assert [type(outcome) for outcome in _read(f"Name;IBAN;Betrag\n{name};{A};12,50\nBen;{B};5,00\n")] == [
        Debtor
    ] * 2


def test_a_holder_filled_only_where_it_differs_is_filled_from_the_name() -> None:
    """Else most of the list would be refused for a missing name, or debited in the name of somebody who does not pay."""
    text = f"Name;IBAN;Betrag;Kontoinhaber\nAnn;{A};1,00;\nBen;{B};2,00;Greta\nCid;{C};3,00;-\n"
    assert [outcome.name for outcome in _read(text) if isinstance(outcome, Debtor)] == ["Ann", "Greta", "Cid"]
    plan = _plan(text)
    assert isinstance(plan, Plan)
    assert "A (\u201cName\u201d) stands in for the name" in plan.warnings[0]
    assert "2 rows, from row 2 on" in plan.warnings[0]


def test_a_reference_is_taken_from_the_column_that_has_it() -> None:
    """Else debits with a number in the second column would pass as debits without one, and as repeats."""
    found = _read(f"Name;IBAN;Betrag;Rechnungsnr;Vertragsnummer\nAnn;{A};1,00;;V-1\nBen;{B};2,00;R-2;V-2\n")
    assert [outcome.reference for outcome in found if isinstance(outcome, Debtor)] == ["V-1", "R-2"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Status", ["offen", "bezahlt", "offen", "offen"]),
        ("Kz", ["A", "B", "A", "A"]),
        ("bezahlt", ["", "x", "", ""]),
        ("Typ", ["Rechnung", "Rechnung", "Gutschrift", "Rechnung"]),
        ("Betalen via", ["incasso", "overboeking", "incasso", "incasso"]),
        ("Statut", ["r\u00e9sili\u00e9", "actif", "actif", "actif"]),
        ("Buchung", ["H", "H", "S", "S"]),
        ("Sens", ["C", "C", "C", "C"]),
        ("Zahlart", ["Rechnung", "Rechnung", "Rechnung", "Rechnung"]),
        ("+/-", ["+", "-", "+", "+"]),
        ("Lastschrift", ["ja", "nein"]),
        ("aktiv", ["1", "0"]),
        ("Zahlart", ["1", "2", "1"]),
        ("Kundenstatus", ["10", "20", "10", "10"]),
        ("Austritt", ["", "31.12.2024", ""]),
        ("Einzug", ["x", ""]),
        ("Document Type", ["Invoice", "Credit Memo", "Invoice"]),
    ],
)
def test_a_column_that_sorts_rows_is_a_question_with_its_words(header: str, words: list[str]) -> None:
    """Else people would be debited whom the list marks as paid, cancelled or owed."""
    lines = [f"P{index};{A};{index + 1},00;{word}\n" for index, word in enumerate(words)]
    plan = _plan(f"Name;IBAN;Betrag;{header}\n{''.join(lines)}")
    assert isinstance(plan, Plan)
    (question,) = plan.questions
    assert question.answer == f"collect.{header}"
    assert set(question.choices) == set(words)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Anrede", ["Herr", "Frau", "Herr"]),
        ("m/w", ["m", "w", "m"]),
        ("Abteilung", ["Chor", "Tanz", "Chor"]),
        ("Lastschrifttyp", ["FRST", "RCUR", "RCUR"]),
        ("Zahlungsart", ["Lastschrift", "Lastschrift", "SEPA-Lastschrift"][:1] * 3),
        ("S/H", ["S", "S", "S"]),
        ("bezahlt", ["nein", "nein", "nein"]),
        ("Jahrgang", ["2019", "2020", "2020"]),
        ("Anzahl", ["1", "2", "1"]),
        ("aktiv", ["ja", "ja", "ja"]),
        ("Land", ["D", "A", "D"]),
        ("Mandate", ["M-1", "M-2", "M-3"]),
    ],
)
def test_a_column_that_sorts_people_is_no_question(header: str, words: list[str]) -> None:
    """Else every list with a salutation would wait for a person."""
    lines = [f"P{index};{A};{index + 1},00;{word}\n" for index, word in enumerate(words)]
    plan = _plan(f"Name;IBAN;Betrag;{header}\n{''.join(lines)}")
    assert isinstance(plan, Plan)
    assert plan.ready, plan.questions


@pytest.mark.parametrize(
    ("words", "debtors"), [(("S",), ["Ann"]), (("*",), ["Ann", "Ben", "Cid"]), (("s", ""), ["Ann", "Cid"])]
)
def test_the_answer_says_which_words_are_collected(words: tuple[str, ...], debtors: list[str]) -> None:
    """Else the sender of one credit among thousands of debits could only edit the file or debit it too."""
    text = f"Name;IBAN;Betrag;S/H\nAnn;{A};1,00;S\nBen;{B};2,00;H\nCid;{C};3,00;\n"
    plan = reading.plan(io.BytesIO(text.encode()), answers=Answers(collect={"S/H": words}))
    assert isinstance(plan, Plan)
    assert plan.ready
    found = list(rows.read(reading.rows(io.BytesIO(text.encode()), plan=plan), plan=plan, today=TODAY))
    assert [outcome.name for outcome in found if isinstance(outcome, Debtor)] == debtors
    refused = [outcome for outcome in found if isinstance(outcome, Refused)]
    assert {outcome.problems[0].code for outcome in refused} <= {"row_not_selected"}
    assert len(refused) + len(debtors) == 3


@pytest.mark.parametrize(
    ("collect", "why"),
    [({"S/H": ("X",)}, "No cell"), ({"Sinn": ("S",)}, "No column"), ({"S/H": ()}, "Name the words")],
)
def test_an_answer_that_fits_nothing_is_refused(collect: dict[str, tuple[str, ...]], why: str) -> None:
    """Else a slip of the pen would leave every row out, and the run would collect nothing in silence."""
    text = f"Name;IBAN;Betrag;S/H\nAnn;{A};1,00;S\nBen;{B};2,00;H\n"
    with pytest.raises(InvalidRequest, match=why):
        reading.plan(io.BytesIO(text.encode()), answers=Answers(collect=collect))


def test_naming_the_amount_does_not_answer_what_a_credit_is() -> None:
    """Else a mapping kept for a layout would debit the first credit that ever comes."""
    text = f"Name;IBAN;Betrag;S/H\nAnn;{A};1,00;S\nBen;{B};2,00;H\n"
    plan = reading.plan(io.BytesIO(text.encode()), answers=Answers(columns={"amount": "Betrag"}))
    assert isinstance(plan, Plan)
    assert [question.code for question in plan.questions] == ["direction_column"]


def test_the_last_of_many_rows_can_be_the_second_table() -> None:
    """Else a list appended below thousands of rows would be debited with last year's amounts."""
    text = "Name;IBAN;Betrag\n" + f"Ann;{A};1,00\n" * 4_000 + f"Name;IBAN;Vorjahr;Betrag\nBen;{B};9,00;2,00\n"
    refusal = _plan(text)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, "row 4,002" in refusal.why) == ("second_table", True)


def test_a_second_table_is_known_by_its_header_wherever_its_columns_stand() -> None:
    """The header's long words stand where accounts stand above it."""
    refusal = _plan(
        f"Nombre;IBAN;Importe\nAna;{A};1,00\nNombre;Importe anterior;IBAN;Importe\nLuis;9,00;{B};2,00\n"
    )
    assert isinstance(refusal, Refusal)
    assert refusal.code == "second_table"


def test_days_of_leaving_are_warned_of_where_they_are_many() -> None:
    """Else those who left long ago would be debited, and nothing in the plan would say so."""
    lines = "".join(f"P{day};{A};1,00;{day:02}.11.2025\n" for day in range(1, 25))
    plan = _plan(f"Name;IBAN;Beitrag;Austritt am\n{lines}Ann;{B};1,00;\n")
    assert isinstance(plan, Plan)
    assert any("may not be due" in warning for warning in plan.warnings)


def test_a_header_repeated_in_other_words_is_no_second_table() -> None:
    """Else lists with page breaks could not be sent."""
    plan = _plan(f"Name;IBAN;Betrag\nAnn;{A};1,00\nKontoinhaber;IBAN;Betrag (EUR)\nBen;{B};2,00\n")
    assert isinstance(plan, Plan)


@pytest.mark.parametrize("header", ["Name;Name", "Kunde;Zahler"])
def test_two_columns_of_names_that_differ_are_a_question(header: str) -> None:
    """Else the member and not the payer would be debited, or the other way round."""
    plan = _plan(f"{header};IBAN;Betrag\nAnn;Ann;{A};1,00\nBen;Greta;{B};2,00\n")
    assert isinstance(plan, Plan)
    (question,) = plan.questions
    assert (question.code, "row 3" in question.ask) == ("name_column", True)
    for choice in question.choices:
        answers = Answers(columns={"name": choice})
        again = reading.plan(
            io.BytesIO(f"{header};IBAN;Betrag\nAnn;Ann;{A};1,00\n".encode()), answers=answers
        )
        assert isinstance(again, Plan)
        assert again.ready


@pytest.mark.parametrize(
    "word", ["NULL", "n/a", "nan", "-", "k.A.", "unbekannt", "n.v.t.", "brak", "\u2013", "sans objet"]
)
def test_placeholders_are_no_references_and_no_mandates(word: str) -> None:
    """Else debits would be called repeats because all of them have the reference NULL, and mandates NULL would be sent."""
    found = _read(
        f"Name;IBAN;Betrag;Mandatsreferenz;Rechnungsnr;E-Mail\nAnn;{A};1,00;M-1;R-1;a@b.org\nBen;{B};2,00;{word};{word};{word}\n"
    )
    assert isinstance(found[1], Debtor)
    assert (found[1].mandate_id, found[1].reference, found[1].email) == (None, None, None)


def test_placeholders_in_a_part_of_a_name_are_no_part_of_it() -> None:
    """Else a debit would be sent to N/A Meier; people called Null keep their name."""
    found = _read(f"Vorname;Nachname;IBAN;Betrag\nN/A;Meier;{A};1,00\nUlla;Null;{B};2,00\n")
    assert [outcome.name for outcome in found if isinstance(outcome, Debtor)] == ["Meier", "Ulla Null"]


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


@pytest.mark.parametrize(
    "name",
    [
        "#Ann Sample",
        "// Ann Sample",
        "--Ann Sample",
        "Ann Sample (verstorben)",
        "Ann (pay\u00e9 le 3.11.)",
        "Ann [paid]",
    ],
)
def test_a_row_that_its_name_marks_as_not_due_is_refused(name: str) -> None:
    """Else somebody would be debited whom the sender has taken out of the list by hand."""
    (found, other) = _read(f"Name;IBAN;Betrag\n{name};{A};1,00\nBank (Europe) GmbH;{B};1,00\n")
    assert isinstance(found, Refused)
    assert [problem.code for problem in found.problems] == ["name_unreadable"]
    assert isinstance(other, Debtor)


@pytest.mark.parametrize(
    "header",
    ["Restbetrag", "Offen", "noch zu zahlen", "Outstanding amount", "reste à payer", "openstaand bedrag", "kwota pozostała"],
)  # fmt: skip
def test_what_is_left_of_an_amount_is_a_question(header: str) -> None:
    """Else who has paid eighty of a hundred euros would be debited for the whole hundred."""
    plan = _plan(f"Name;IBAN;Betrag;{header}\nAnn;{A};100,00;20,00\nBen;{B};50,00;50,00\n")
    assert isinstance(plan, Plan)
    assert [question.code for question in plan.questions] == ["amount_column"]
    alone = _plan(f"Name;IBAN;{header}\nAnn;{A};20,00\nBen;{B};50,00\n")
    assert isinstance(alone, Plan)
    assert alone.ready


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Mandat widerrufen am", ["", "01.03.2026"]),
        ("Mandate revoked on", ["", "2026-03-01"]),
        ("révoqué le", ["", "01/03/2026"]),
        ("Gutschrift", ["", "5,00"]),
        ("Guthaben", ["0,00", "5,00"]),
        ("Deposit paid", ["0.00", "5.00"]),
    ],
)
def test_an_ended_mandate_and_money_ahead_are_a_question(header: str, words: list[str]) -> None:
    """Else who has revoked the mandate would be debited, or who has paid a part ahead would pay it twice."""
    text = f"Name;IBAN;Betrag;{header}\nAnn;{A};10,00;{words[0]}\nBen;{B};7,00;{words[1]}\n"
    plan = _plan(text)
    assert isinstance(plan, Plan)
    assert [question.code for question in plan.questions] == ["selection_column"]
    # Nothing is marked.
    for word in ("", "0,00"):
        plain = _plan(f"Name;IBAN;Betrag;{header}\nAnn;{A};10,00;{word}\nBen;{B};7,00;{word}\n")
        assert isinstance(plain, Plan)
        assert plain.ready, plain.questions


@pytest.mark.parametrize(
    "header", ["Bereits gezahlt", "Amount paid", "Montant pay\u00e9", "Betaald bedrag", "Zahlungseingang"]
)
def test_a_column_of_what_was_paid_is_a_question(header: str) -> None:
    """Else people would pay a second time what the list itself says they have paid."""
    plan = _plan(f"Name;IBAN;Betrag;{header}\nAnn;{A};10,00;10,00\nBen;{B};20,00;0,00\n")
    assert isinstance(plan, Plan)
    assert "selection_column" in [question.code for question in plan.questions]


@pytest.mark.parametrize("mark", ['"', "'"])
def test_escaped_quotation_marks_give_no_half_names(mark: str) -> None:
    """Else a debtor would be called by a name with half of its quotation marks."""
    lines = f'"Name";"IBAN";"Betrag"\n"Dell\\"Orto";"{A}";"1,00"\n"Rossi";"{B}";"1,00"\n'
    found = _read(lines.replace('"', mark))
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Name;IBAN;Betrag (CHF)\n", "Column C"),
        ("Name;IBAN;Betrag in TEUR\n", "Column C"),
        ("Name;IBAN;Amount $\n", "Column C"),
        ("Alle Betr\u00e4ge in CHF;;\nName;IBAN;Betrag\n", "Row 1"),
        ("Liste;W\u00e4hrung: PLN;\n;;\nName;IBAN;Betrag\n", "Row 1"),
    ],
)
def test_amounts_that_the_table_says_are_no_euros_are_a_question(text: str, says: str) -> None:
    """Else 12.50 francs, or 12,500 euros, would be collected as 12.50 euros from everybody."""
    text = f"{text}Ann;{A};12,50\nBen;{B};13,50\n"
    plan = _plan(text)
    assert isinstance(plan, Plan)
    (question,) = plan.questions
    assert (question.code, question.answer, question.choices) == ("currency", "currency", ("EUR",))
    assert says in question.ask
    answered = reading.plan(io.BytesIO(text.encode()), name="list.csv", answers=Answers(currency="EUR"))
    assert isinstance(answered, Plan)
    assert answered.ready
    assert "currency" in {decision.about for decision in answered.decisions if decision.by == "caller"}


@pytest.mark.parametrize(
    "text",
    [
        "Name;IBAN;Betrag (EUR)\n",
        "Name;IBAN;Betrag EUR (vorher CHF)\n",
        "Verein Tausendf\u00fc\u00dfler;;\nName;IBAN;Betrag\n",
        "Nok e.V.;;\nName;IBAN;Betrag\n",
    ],
)
def test_other_words_beside_amounts_are_no_question(text: str) -> None:
    """Else senders would be asked about every list."""
    plan = _plan(f"{text}Ann;{A};12,50\nBen;{B};13,50\n")
    assert isinstance(plan, Plan)
    assert plan.ready, plan.questions


def test_a_column_of_currencies_is_read_whatever_its_header_is() -> None:
    """Else francs and dollars would be collected as euros, because nobody knows the word Whg."""
    words = ("EUR", "CHF", "\u20ac", "Euro", "USD", "", "EUR")
    text = "Name;IBAN;Betrag;Whg\n" + "".join(f"Ann;{A};12,50;{word}\n" for word in words)
    found = _read(text)
    assert [isinstance(outcome, Debtor) for outcome in found] == [
        word not in {"CHF", "USD"} for word in words
    ]
