import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet.header_words import (
    is_total_label,
    named_fields,
    plain,
    speaks_of_debtor,
    word_matches,
)
from tether_core.spreadsheet.headers import match_columns
from tether_core.spreadsheet.plan import ALL_FIELDS, Answers, Question

DE, AT, FR, NL = (
    "DE89370400440532013000",
    "AT611904300234573201",
    "FR1420041010050500013M02606",
    "NL91ABNA0417164300",
)

# Header words of existing lists, and the field of each.
ENGLISH = """
iban: iban iban_number bank_account account_number
name: name full_name fullname customer_name debtor_name client_name account_holder
first_name: first_name firstname
last_name: last_name lastname surname
email: email e_mail mail
phone: phone phone_1 telephone
mobile: mobile
phone_2: phone_2
phone_3: phone_3
phone_4: phone_4
primary_phone: primary_phone
address: address
street: street
house_number: street_number house_number
floor: floor
door: door
apartment: apartment apt
postcode: postcode postal_code zip zip_code
city: city
province: province state
country: country
amount: amount sum total price
currency: currency
national_id: national_id id_number personal_id dni nie
born_on: birth_date birthdate date_of_birth dob
bank_name: bank_name bank
bank_code: bank_code
bic: bic swift swift_code
sepa_type: sepa_type
old_iban: old_iban
reference: external_reference reference ref order_id
customer_id: customer_id
"""


def _match(headers: list[str], *rows: list[str], **answers: object) -> dict[str, str | None]:
    found = match_columns(headers, sample=rows, answers=msgspec.convert(answers, Answers))
    return {column.header: column.field for column in found.columns}


def _questions(headers: list[str], *rows: list[str], **answers: object) -> list[Question]:
    return list(match_columns(headers, sample=rows, answers=msgspec.convert(answers, Answers)).questions)


@pytest.mark.parametrize("line", ENGLISH.strip().splitlines())
def test_every_long_used_header_word_is_served(line: str) -> None:
    """People keep their exports for years; a header that once worked must always work."""
    field, words = line.split(": ")
    for word in words.split():
        for header in (word, word.upper(), word.replace("_", " ").title(), word.replace("_", "-")):
            assert _match([header]) == {header: field}, header


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ("Kontoinhaber IBAN BIC Betrag Währung Mandatsreferenz Mandatsdatum Verwendungszweck",
         "name iban bic amount currency mandate_id mandate_signed_on description"),
        ("Kundennummer|Nachname|Vorname|Straße|Hausnr.|PLZ|Ort|Land|Geburtsdatum|E-Mail-Adresse|Telefon|Handy",
         "customer_id last_name first_name street house_number postcode city country born_on email phone mobile"),
        ("Titulaire du compte|IBAN|BIC|Montant (€)|Référence unique du mandat|Date de signature|Libellé|Code postal|Ville|Pays",
         "name iban bic amount mandate_id mandate_signed_on description postcode city country"),
        ("Naam rekeninghouder|IBAN|Bedrag|Machtigingskenmerk|Datum ondertekening|Omschrijving|Postcode|Woonplaats|Land",
         "name iban amount mandate_id mandate_signed_on description postcode city country"),
        ("Titular de la cuenta|IBAN|Importe|Referencia única del mandato|Fecha de firma|Concepto|Código postal|Población|País|NIF",
         "name iban amount mandate_id mandate_signed_on description postcode city country national_id"),
        ("Intestatario del conto|IBAN|Importo|Codice mandato|Data firma mandato|Causale|CAP|Città|Nazione|Codice fiscale",
         "name iban amount mandate_id mandate_signed_on description postcode city country national_id"),
        ("Imię|Nazwisko|Numer IBAN|Kwota|Waluta|Identyfikator mandatu|Data podpisania|Tytuł płatności|Kod pocztowy|Miejscowość|Kraj",
         "first_name last_name iban amount currency mandate_id mandate_signed_on description postcode city country"),
        ("debtorName|debtorIban|instdAmt|mndtId|dtOfSgntr|endToEndId|amountMinor",
         "name iban amount mandate_id mandate_signed_on reference"),
    ],
)  # fmt: skip
def test_headers_of_seven_languages_reach_their_fields(headers: str, fields: str) -> None:
    """A list from another country is read without anybody having to map it by hand."""
    names = headers.split("|") if "|" in headers else headers.split()
    matched = [word_matches(name) for name in names]
    assert [found[0].field if found else None for found in matched][: len(fields.split())] == fields.split()


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("Kontoinhaber*in", "name"),
        ("Kontoinhaber:in", "name"),
        ("Kontoinhaber/-in", "name"),
        ("KontoinhaberIn", "name"),
        ("  IBAN:  ", "iban"),
        ("*IBAN", "iban"),
        ("Betrag (€)", "amount"),
        ("Betrag in EUR", "amount"),
        ("Betrag [EUR]", "amount"),
        ("BETRAG_EUR", "amount"),
        ("Betrag (Cent)", "amount_minor"),
        ("Betrag in Cent", "amount_minor"),
        ("amount_minor", "amount_minor"),
        ("Montant en centimes", "amount_minor"),
        ("Waehrung", "currency"),
        ("WÄHRUNG", "currency"),
        ("BIC (SWIFT-Code)", "bic"),
        ("IBAN des Zahlungspflichtigen", "iban"),
        ("Strasse", "street"),
        ("Ort/Wohnort", "city"),
    ],
)
def test_spellings_of_one_header_are_one_word(header: str, field: str) -> None:
    """Accents, units, gender marks and case differ from program to program."""
    assert [match.field for match in word_matches(header)][:1] == [field]


@pytest.mark.parametrize("header", ["Last year", "First payment", "Last invoice", "last_login", "First due"])
def test_a_part_of_a_name_is_the_whole_header(header: str) -> None:
    """Else a debit would carry last year's amount as a part of the name."""
    assert not {"first_name", "last_name"} & {match.field for match in word_matches(header)}
    assert [match.field for match in word_matches("Last")] == ["last_name"]


def test_a_column_without_letters_holds_no_part_of_a_name() -> None:
    """Else a number would be written behind the name, however short the list is."""
    found = match_columns(
        ["Name", "IBAN", "Amount", "First name 2"],
        sample=[["Ann", "DE89370400440532013000", "1.00", "9.00"]],
        answers=Answers(),
    )
    assert [column.field for column in found.columns] == ["name", "iban", "amount", None]


def test_plain_words_survive_any_header() -> None:
    """Headers hold anything; matching must not depend on what it is."""
    assert plain("Größe/Ort #1 (€)") == "grosseort1"
    assert plain("Größe", digraphs=True) == "groesse"


@given(st.text())
def test_no_header_breaks_the_matching(header: str) -> None:
    """The header row may have any content."""
    for match in word_matches(header):
        assert match.field in ALL_FIELDS
        assert 0 < match.points <= 1
    is_total_label(header)
    named_fields([header])
    speaks_of_debtor(header)


# --- traps


def test_the_account_holder_beats_the_name() -> None:
    """A father pays for his daughter: the debit must bear his name, or the bank returns it."""
    matched = _match(["Name", "Kontoinhaber", "IBAN"], ["Anna", "Hans", DE])
    assert matched == {"Name": None, "Kontoinhaber": "name", "IBAN": "iban"}


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        (["Name", "Vorname"], ["last_name", "first_name"]),
        (["Nom", "Prénom"], ["last_name", "first_name"]),
        (["Voornaam", "Naam"], ["first_name", "last_name"]),
        (["Nombre", "Apellidos"], ["first_name", "last_name"]),
        (["Nome", "Cognome"], ["first_name", "last_name"]),
        (["Name", "Vorname", "Nachname"], ["name", "first_name", "last_name"]),
        (["Name"], ["name"]),
    ],
)
def test_a_general_word_for_name_is_the_part_its_neighbour_is_not(
    headers: list[str], fields: list[str]
) -> None:
    """'Müller' alone is no name a bank knows, and 'Hans' alone even less."""
    assert list(_match(headers).values()) == fields


def test_several_amounts_are_a_question_and_none_is_taken() -> None:
    """Collecting the gross instead of the net amount is a wrong debit for everybody in the file."""
    headers = ["Betrag netto", "Betrag brutto", "Gesamtbetrag", "IBAN", "Name"]
    row = ["10,00", "11,90", "", DE, "A B"]
    assert [question.code for question in _questions(headers, row)] == ["amount_column"]
    assert _questions(headers, row)[0].ask == (
        "Which column holds the amount to collect: A (\u201cBetrag netto\u201d) or B (\u201cBetrag brutto\u201d)?"
    )
    assert "amount" not in _match(headers, row).values()
    assert _questions(headers, row, columns={"amount": "Betrag brutto"}) == []
    assert _match(headers, row, columns={"amount": 2})["Betrag brutto"] == "amount"


def test_an_empty_amount_column_is_no_rival() -> None:
    """Templates bring columns nobody fills in; asking about them would only delay."""
    assert _match(["Betrag", "Total", "IBAN"], ["1,00", "", DE])["Betrag"] == "amount"


def test_the_debtors_iban_is_distinguished_from_the_creditors() -> None:
    """Debiting one's own account for every row is the worst way to misread a file."""
    assert _match(["IBAN Gläubiger", "IBAN"], [DE, AT]) == {"IBAN Gläubiger": None, "IBAN": "iban"}
    assert _match(["IBAN", "IBAN Zahler"], [DE, AT]) == {"IBAN": None, "IBAN Zahler": "iban"}
    assert _match(["creditor_iban", "debtor_iban"], [DE, AT])["debtor_iban"] == "iban"
    assert _match(["Konto", "Gegenkonto"], [DE, AT], [DE, FR], [DE, NL]) == {
        "Konto": None,
        "Gegenkonto": "iban",
    }


def test_two_ibans_that_nothing_tells_apart_are_a_question() -> None:
    """Guessing right in nine of ten files debits strangers in the tenth."""
    (question,) = _questions(["IBAN", "Account", "Name", "Betrag"], [DE, AT, "A", "1"], [AT, FR, "B", "2"])
    assert question.code == "iban_column"
    assert question.answer == "columns.iban"


def test_words_that_need_proof_get_it_from_the_cells() -> None:
    """'Konto' may be an old account number, and a councillor's 'Mandat' is not a direct debit's."""
    assert _match(["Konto"], [DE]) == {"Konto": "iban"}
    assert _match(["Konto"], ["532013000"]) == {"Konto": None}
    assert _match(["Mandat"], ["M-001"]) == {"Mandat": "mandate_id"}
    assert _match(["Mandat"], ["Stadtrat"], ["Kreistag"], ["Landtag"]) == {"Mandat": None}


def test_ibans_under_an_unknown_header_are_found_if_there_is_only_one_such_column() -> None:
    """Cells prove more than words: valid check digits in every row are no accident."""
    assert _match(["Kto", "x"], [DE, "1"], [AT, "2"]) == {"Kto": "iban", "x": None}
    assert _match(["Empfänger", "x"], [DE, "1"], [AT, "2"]) == {"Empfänger": None, "x": None}


def test_a_required_field_without_a_column_is_a_question() -> None:
    """The sender sees the headers that were found and can point at the right one."""
    questions = _questions(["Nr", "Wer", "Wieviel"], ["1", "Anna", "12,50"], ["2", "Hans", "3,00"])
    assert [question.code for question in questions] == [
        "iban_column_missing",
        "name_column_missing",
        "amount_column_missing",
    ]
    assert questions[0].ask == (
        "Which column holds the IBAN? None of the headers says so: \u201cNr\u201d, \u201cWer\u201d, \u201cWieviel\u201d."
    )
    assert questions[2].ask.endswith("The cells of A (\u201cNr\u201d), C (\u201cWieviel\u201d) look like it.")
    assert questions[0].choices == ("A (\u201cNr\u201d)", "B (\u201cWer\u201d)", "C (\u201cWieviel\u201d)")


def test_duplicate_and_blank_headers_keep_their_places() -> None:
    """A lookup by header would read the last of two equal columns for both."""
    found = match_columns(
        ["IBAN", "", "Betrag", "Notiz", "Notiz"], sample=[[DE, "", "1", "a", "b"]], answers=Answers()
    )
    assert [(column.position, column.field) for column in found.columns] == [
        (0, "iban"),
        (1, None),
        (2, "amount"),
        (3, None),
        (4, None),
    ]


def test_the_second_best_column_says_why_it_is_not_used() -> None:
    """Nothing is dropped in silence; a person may prefer the other one."""
    found = match_columns(["Telefon", "Tel."], sample=[], answers=Answers())
    assert found.columns[1].field is None
    assert found.columns[1].why == (
        "also fits phone, but column A (\u201cTelefon\u201d) fits as well or better; not used"
    )


# --- the caller's word


def test_the_callers_columns_override_everything() -> None:
    """Who maps by hand has seen the file; no word or cell may argue."""
    headers = ["IBAN", "Kontoinhaber", "Betrag", "Notiz"]
    row = [DE, "A", "1,00", AT]
    said = {"iban": 4, "name": "Notiz", "amount": None}
    assert _match(headers, row, columns={"iban": 4})["Notiz"] == "iban"
    assert _match(headers, row, columns={"iban": 4})["IBAN"] is None
    assert _match(headers, row, columns=said)["Betrag"] is None


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"iban": 9}, "columns.iban: The table has 2 columns, there is no column 9."),
        ({"iban": 0}, "columns.iban: The table has 2 columns, there is no column 0."),
        (
            {"iban": "X"},
            "columns.iban: No column has the header 'X'; give the column's number, counted from 1.",
        ),
        (
            {"iban": "A"},
            "columns.iban: 2 columns have the header 'A'; give the column's number, counted from 1.",
        ),
    ],
)
def test_answers_about_what_is_not_there_are_refused(columns: dict[str, object], why: str) -> None:
    """A typing error in a mapping must be an error, not read as 'no such column'."""
    with pytest.raises(InvalidRequest) as caught:
        _match(["A", "A"], columns=columns)
    assert str(caught.value) == why


def test_an_unknown_field_is_refused_with_those_there_are() -> None:
    """The person learns the right word from the message."""
    with pytest.raises(InvalidRequest, match="There is no field 'ibna'; there are iban, name, first_name"):
        _match(["A"], columns={"ibna": 1})


@pytest.mark.parametrize(
    "label",
    [
        "Summe",
        "Summe:",
        "SUMME EUR",
        "Total",
        "Grand Total",
        "Gesamt €",
        "Somme",
        "Razem",
        "Totale",
        "Suma total",
    ],
)
def test_labels_of_totals_are_known_in_all_languages(label: str) -> None:
    """An unknown one is refused as a row without an IBAN: noise in every report."""
    assert is_total_label(label)


@pytest.mark.parametrize(
    "label",
    [
        "Summer, Anna",
        "Totalschaden GmbH und Co",
        "",
        "12,50",
        "Anna Sumsum",
        "Suma, Anna",
        "Total 24 GmbH",
        "der von",
    ],
)
def test_names_are_no_totals(label: str) -> None:
    """A debtor skipped as a total is never collected and never reported."""
    assert not is_total_label(label)


def test_the_text_of_a_application_does_not_beat_the_purpose() -> None:
    """The statement of the debtor would say "Lastschrift" where it should say what the money is for."""
    headers = ["Name", "IBAN", "Betrag", "Buchungstext", "Verwendungszweck"]
    columns = match_columns(headers, sample=[], answers=Answers()).columns
    assert [column.header for column in columns if column.field == "description"] == ["Verwendungszweck"]
    alone = match_columns([*headers[:4]], sample=[], answers=Answers()).columns
    assert alone[3].field == "description"


def test_a_column_of_accounts_with_bics_is_known_by_its_cells() -> None:
    """Under "Bankverbindung" only the cells tell that it holds IBANs."""
    sample = [["Ann", "DE89370400440532013000 COBADEFFXXX", "1,00"]]
    columns = match_columns(["Name", "Bankverbindung", "Betrag"], sample=sample, answers=Answers()).columns
    assert columns[1].field == "iban"
