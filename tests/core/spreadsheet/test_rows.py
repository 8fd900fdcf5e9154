import random
from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.iban import mask
from tether_core.spreadsheet import outcomes
from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.fast_batch import compile_batch
from tether_core.spreadsheet.fast_row import compile_fast
from tether_core.spreadsheet.outcomes import (
    CODES,
    Debtor,
    Outcome,
    Position,
    Refused,
    Rules,
    Skipped,
    advance,
)
from tether_core.spreadsheet.plan import AmountFormat, Column, DateOrder, Kind, Plan, Question, Selection
from tether_core.spreadsheet.rows import _Slow, read

TODAY = date(2026, 3, 2)
DE, AT, FR, CH = (
    "DE89370400440532013000",
    "AT611904300234573201",
    "FR1420041010050500013M02606",
    "CH9300762011623852957",
)
WRONG = "DE89370400440532013001"


def _plan(
    fields: str,
    *,
    form: AmountFormat | None = "comma",
    kind: Kind = "csv",
    orders: dict[str, DateOrder] | None = None,
) -> Plan:
    columns = tuple(
        Column(place, field.title(), None if field == "-" else field)
        for place, field in enumerate(fields.split())
    )
    return Plan(
        kind=kind, header_row=1, data_row=2, columns=columns, amount_format=form, date_orders=orders or {}
    )


BASIC = _plan("name iban amount")


def _read(
    *rows: list[str] | Row, plan: Plan = BASIC, rules: Rules | None = None, at: Position | None = None
) -> list[Outcome]:
    numbered = [row if isinstance(row, Row) else Row(number, row) for number, row in enumerate(rows, 2)]
    return list(read(numbered, plan=plan, today=TODAY, rules=rules or Rules(), position=at or Position()))


def _codes(outcome: Outcome) -> list[str]:
    if isinstance(outcome, Skipped):
        return [f"skipped: {outcome.cause}"]
    return [
        problem.code for problem in (outcome.problems if isinstance(outcome, Refused) else outcome.warnings)
    ]


def _note(outcome: Outcome, code: str) -> str:
    assert isinstance(outcome, Refused | Debtor)
    problems = outcome.problems if isinstance(outcome, Refused) else outcome.warnings
    return next(problem.note for problem in problems if problem.code == code)


def test_the_codes_are_those_of_the_table() -> None:
    """Programs and translations rely on the table in the docstring; a code that is missing there is a surprise."""
    lines = [line.split("|") for line in (outcomes.__doc__ or "").splitlines() if line.startswith("| `")]
    assert {line[1].strip(" `"): line[2].strip() for line in lines} == CODES


def test_a_sound_row_becomes_a_debtor_with_everything_in_it() -> None:
    """A field lost here is a field no bank and no letter ever sees."""
    fields = (
        "iban name first_name last_name amount currency bic mandate_id mandate_signed_on reference customer_id email phone "
        "street house_number postcode city province country description born_on national_id mobile"
    )
    cells = [
        "de89 3704 0044 0532 0130 00", " Zoë   Łącka ", "Zoë", "Łącka", "1.234,50", "Euro", "COBADEFFXXX", "M-1", "31.3.2020",
        "R-1", "007", "zoe@example.org", "'+49 30 12", "Hauptstr.", "1a", "01067", "Dresden", "Sachsen", "Deutschland",
        "Beitrag", "1.2.1980", "X1", "0170",
    ]  # fmt: skip
    plan = _plan(fields, orders={"mandate_signed_on": "day_month", "born_on": "day_month"})
    assert _read(cells, plan=plan) == [
        Debtor(
            row=2,
            iban=DE,
            name="Zoë Łącka",
            amount_minor=123450,
            currency="EUR",
            first_name="Zoë",
            last_name="Łącka",
            bic="COBADEFFXXX",
            mandate_id="M-1",
            mandate_signed_on=date(2020, 3, 31),
            reference="R-1",
            customer_id="007",
            email="zoe@example.org",
            phone="+49 30 12",
            street="Hauptstr.",
            house_number="1a",
            postcode="01067",
            city="Dresden",
            province="Sachsen",
            country="DE",
            description="Beitrag",
            born_on=date(1980, 2, 1),
            national_id="X1",
            extra={"mobile": "0170"},
        )
    ]


@pytest.mark.parametrize(
    ("cells", "code", "note"),
    [
        (["A B", "", "1,00"], "iban_missing", "There is no IBAN; add the account holder's."),
        (
            ["A B", WRONG, "1,00"],
            "iban_invalid",
            "Its check digits do not fit, so at least one character is wrong; ask the account holder for it.",
        ),
        (
            ["A B", "TR330006100519786457841326", "1,00"],
            "country_not_sepa",
            "Accounts in TR cannot be debited within SEPA; ask for an account in a SEPA country.",
        ),
        (["", DE, "1,00"], "name_missing", "There is no name; add the account holder's."),
        (["x" * 71, DE, "1,00"], "name_too_long", "The name has 71 characters; banks take 70. Shorten it."),
        (
            ["M\u00c3\u00bcller", DE, "1,00"],
            "name_unreadable",
            "The name cannot be used because it was saved with a wrong encoding: it should read \u201cMüller\u201d.",
        ),
        (
            ["M\ufffdller", DE, "1,00"],
            "name_unreadable",
            "The name cannot be used because it holds a character that was lost in an earlier conversion, or the file has another encoding.",
        ),
        (["4711", DE, "1,00"], "name_unreadable", "The name holds no letter; correct it."),
        (["\U0001f600", DE, "1,00"], "name_unreadable", "The name holds no letter; correct it."),
        (["A\0B", DE, "1,00"], "nul_byte", "The cell holds a zero byte; correct the export."),
        (["A B", f"{DE}\0", "1,00"], "nul_byte", "The cell holds a zero byte; correct the export."),
        (["A B", DE, ""], "amount_missing", "There is no amount; add it."),
        (["A B", DE, "12.50"], "amount_unreadable", "This column writes the decimal comma; \u201c12.50\u201d does not fit."),
        (["A B", DE, "12,500"], "amount_too_many_decimals", "\u201c12,500\u201d has 3 decimals, euros have 2."),
        (["A B", DE, "0,00"], "amount_not_positive", "0.00 is not above zero; credits cannot be collected."),
        (["A B", DE, "-5,00"], "amount_not_positive", "-5.00 is not above zero; credits cannot be collected."),
        (["A B", DE, "0,09"], "amount_too_small", "0.09 is below the smallest amount, 0.10."),
        (["A B", DE, "50.000,01"], "amount_too_large", "50,000.01 is above the largest amount, 50,000.00."),
        (["A B", DE, "$ 5,00"], "currency_not_eur", "\u201c$ 5,00\u201d is not in euros."),
        (
            ["A B", DE, "12", "50"],
            "row_too_long",
            "The row has 4 cells, the header 3: a cell holds the delimiter. Put that cell in quotation marks.",
        ),
    ],
)  # fmt: skip
def test_each_problem_says_what_to_do(cells: list[str], code: str, note: str) -> None:
    """This note is all the person with the spreadsheet gets."""
    (outcome,) = _read(cells)
    assert isinstance(outcome, Refused)
    assert _codes(outcome) == [code]
    assert _note(outcome, code) == note
    assert outcome.cells == cells


@pytest.mark.parametrize(
    ("field", "cell", "code", "note"),
    [
        ("currency", "USD", "currency_not_eur", "Only euros can be collected, not \u201cUSD\u201d; convert the amount and correct the currency."),
        ("mandate_id", "M§1", "mandate_id_invalid", "A mandate has at most 35 characters: only letters, digits, blanks and / - ? : ( ) . , + '."),
        ("mandate_id", "x" * 36, "mandate_id_invalid", "A mandate has at most 35 characters: only letters, digits, blanks and / - ? : ( ) . , + '."),
        ("email", "a.b.org", "email_invalid", "This is no e-mail address; correct or remove it."),
        ("email", "a@b,c.org", "email_invalid", "This is no e-mail address; correct or remove it."),
        ("reference", "x\x07", "text_unreadable", "The text cannot be used because it holds a control character."),
        ("city", "K\u00c3\u00b6ln", "text_unreadable", "The text cannot be used because it was saved with a wrong encoding: it should read \u201cKöln\u201d."),
        ("first_name", "J\ufffdrgen", "name_unreadable", "The text cannot be used because it holds a character that was lost in an earlier conversion, or the file has another encoding."),
        ("description", "x" * 501, "text_too_long", "The cell has 501 characters; 500 are the most. Shorten it."),
        ("description", "a\0b", "nul_byte", "The cell holds a zero byte; correct the export."),
    ],
)  # fmt: skip
def test_problems_of_the_other_fields_refuse_the_row(field: str, cell: str, code: str, note: str) -> None:
    """A value that a bank or gateway would refuse later, with an unclear code, is reported here."""
    plan = _plan(f"name iban amount {field}", orders={"mandate_signed_on": "day_month"})
    (outcome,) = _read(["A B", DE, "1,00", cell], plan=plan)
    assert isinstance(outcome, Refused)
    assert _codes(outcome) == [code]
    assert outcome.problems[0].note == note
    assert outcome.problems[0].column == field.title()


@pytest.mark.parametrize(
    ("field", "cell", "code"),
    [
        ("bic", "XX", "bic_invalid"),
        ("born_on", "31.2.1980", "birth_date_invalid"),
        ("born_on", "1.2.80", "birth_date_invalid"),
        ("born_on", "3.3.2026", "birth_date_invalid"),
        ("country", "Atlantis", "country_unknown"),
        ("mandate_signed_on", "31.2.2020", "date_invalid"),
        ("mandate_signed_on", "3.3.2026", "mandate_date_in_future"),
        ("mandate_signed_on", "irgendwann", "date_invalid"),
    ],
)
def test_what_no_debit_needs_is_excluded_with_a_warning(field: str, cell: str, code: str) -> None:
    """A wrong BIC is no reason not to collect: the IBAN is enough."""
    orders: dict[str, DateOrder] = {"born_on": "day_month", "mandate_signed_on": "day_month"}
    plan = _plan(f"name iban amount {field}", orders=orders)
    (outcome,) = _read(["A B", DE, "1,00", cell], plan=plan)
    assert isinstance(outcome, Debtor)
    assert _codes(outcome) == [code]
    assert getattr(outcome, field) is None


def test_a_name_in_two_parts_is_limited_by_its_parts() -> None:
    """35 and 35 characters make 71 with the blank between them, and each of them is carried."""
    plan = _plan("first_name last_name iban amount")
    for first, last, fits in (
        ("A" * 35, "B" * 35, True),
        ("A" * 36, "B" * 35, False),
        ("A" * 9, "B" * 60, True),
    ):
        (outcome,) = _read([first, last, DE, "1,00"], plan=plan)
        assert isinstance(outcome, Debtor) == fits
    (whole,) = _read([f"{'A' * 35} {'B' * 35}", DE, "1,00"], plan=_plan("name iban amount"))
    assert isinstance(whole, Refused)


@pytest.mark.parametrize(
    "cell",
    [
        f"{DE} COBADEFFXXX", f"COBADEFF / {DE}", f"IBAN: {DE}, BIC: COBADEFFXXX", f"IBAN {DE} (SWIFT-Code COBADEFF)",
        "BIC COBADEFFXXX; IBAN DE89 3704 0044 0532 0130 00",
    ],
)  # fmt: skip
def test_an_iban_is_read_beside_a_bic(cell: str) -> None:
    """Programs print both in one column, and every row would be refused."""
    (outcome,) = _read(["A B", cell, "1,00"], plan=_plan("name iban amount"))
    assert isinstance(outcome, Debtor)
    assert outcome.iban == DE


@pytest.mark.parametrize(
    "cell", [f"{DE} {AT}", f"{DE} COBADEFFXX", f"{DE} Sparkasse", f"{DE[:-1]}1 COBADEFFXXX"]
)
def test_a_cell_with_anything_else_beside_the_iban_is_no_account(cell: str) -> None:
    """Of two accounts either may be meant, and a cut account is not the one that was written."""
    (outcome,) = _read(["A B", cell, "1,00"], plan=_plan("name iban amount"))
    assert isinstance(outcome, Refused)
    assert _codes(outcome) == ["iban_invalid"]


@pytest.mark.parametrize(
    ("iban", "country", "listed"),
    [
        ("RS35260005601001611379", "", False),
        (DE, "US", False),
        (DE, "Schweiz", True),
        (DE, "", True),
        (DE, "Serbien", False),
    ],
)
def test_countries_that_the_gateway_does_not_list_are_warned_of(
    iban: str, country: str, *, listed: bool
) -> None:
    """Else thousands of debits would be rejected one by one, for a reason known before."""
    plan = _plan("name iban amount country city")
    (outcome,) = _read(["A B", iban, "1,00", country, "X"], plan=plan)
    assert isinstance(outcome, Debtor)
    assert ("country_not_listed" in _codes(outcome)) != listed


def test_old_mandates_and_symbols_are_kept_with_a_warning() -> None:
    """Mandates migrated to SEPA are older than SEPA; an emoji is dropped by the bank and by nobody else."""
    plan = _plan("name iban amount mandate_signed_on", orders={"mandate_signed_on": "day_month"})
    (outcome,) = _read(["Anna \U0001f600", DE, "1,00", "31.12.2007"], plan=plan)
    assert isinstance(outcome, Debtor)
    assert (outcome.name, outcome.mandate_signed_on) == ("Anna \U0001f600", date(2007, 12, 31))
    assert _note(outcome, "name_symbols") == "No bank carries \U0001f600; the debit leaves it out."
    assert _note(outcome, "mandate_date_old").startswith("2007-12-31 is before SEPA mandates existed;")


@pytest.mark.parametrize(
    ("iban", "city", "country", "codes"),
    [
        (CH, "", "", ["address_missing"]),
        (CH, "Bern", "", ["address_missing"]),
        (CH, "Bern", "Schweiz", []),
        (DE, "", "", []),
        ("NO9386011117947", "", "", []),
        ("GB29NWBK60161331926819", "", "", ["address_missing"]),
    ],
)
def test_accounts_outside_the_eea_need_town_and_country(
    iban: str, city: str, country: str, codes: list[str]
) -> None:
    """Without an address the bank returns such a debit with RR02, and the return costs a fee."""
    (outcome,) = _read(["A B", iban, "1,00", city, country], plan=_plan("name iban amount city country"))
    assert isinstance(outcome, Debtor)
    assert _codes(outcome) == codes


def test_all_problems_of_a_row_are_listed_at_once() -> None:
    """Correcting one problem, sending the file, and hearing of the next takes a day each."""
    (outcome,) = _read(["4711", WRONG, "x"])
    assert _codes(outcome) == ["iban_invalid", "name_unreadable", "amount_unreadable"]


def test_no_message_shows_a_whole_iban() -> None:
    """Problems are stored and mailed; an account in the wrong column must not leak through them."""
    plan = _plan("name iban amount reference")
    for cells in (
        [DE, AT, "1,00", ""],
        ["A", WRONG, DE, AT],
        [AT, FR, AT, f"{DE}\x07"],
        ["A", f"x{DE}", f"{DE} {AT}", ""],
    ):
        for outcome in _read(cells, plan=plan):
            if isinstance(outcome, Refused):
                notification = msgspec.json.encode(outcome.problems).decode()
                assert not any(iban in notification.replace(" ", "") for iban in (DE, AT, FR, WRONG)), (
                    notification
                )


# --- names, amounts and rules


def test_a_name_may_come_in_parts_or_be_missing_in_one_column() -> None:
    """A list with account holders only where they differ from the member is common."""
    plan = _plan("name first_name last_name iban amount")
    outcomes = _read(["", "Anna", "Müller", DE, "1,00"], ["Hans M", "Anna", "Müller", DE, "1,00"], plan=plan)
    assert [outcome.name for outcome in outcomes if isinstance(outcome, Debtor)] == ["Anna Müller", "Hans M"]
    assert [
        o.name
        for o in _read(["Müller", DE, "1,00"], plan=_plan("last_name iban amount"))
        if isinstance(o, Debtor)
    ] == ["Müller"]


def test_amounts_in_cents_and_numbers_of_workbooks_need_no_format() -> None:
    """1250 cents are 12.50; read as euros they are a hundred times as much."""
    minor = _plan("name iban amount_minor", form=None)
    assert [o.amount_minor for o in _read(["A B", DE, "1250"], plan=minor) if isinstance(o, Debtor)] == [1250]
    assert _codes(_read(["A B", DE, "12,50"], plan=minor)[0]) == ["amount_unreadable"]
    book = _plan("name iban amount", kind="xlsx")
    found = _read(
        Row(2, ["A B", DE, "12.5"], 0b100),
        Row(3, ["A B", DE, "12,50"]),
        Row(4, ["A B", DE, "33.333"], 0b100),
        plan=book,
    )
    assert isinstance(found[0], Debtor)
    assert isinstance(found[1], Debtor)
    assert (found[0].amount_minor, found[1].amount_minor) == (1250, 1250)
    assert _codes(found[2]) == ["amount_too_many_decimals"]
    assert _note(_read(Row(2, ["A B", DE, ""]), plan=book)[0], "amount_missing") == (
        "There is no amount; add it."
    )


def test_a_column_of_whole_amounts_takes_no_decimal_sign() -> None:
    """Nothing in the file shows the decimal sign; the first cell must not decide."""
    plan = _plan("name iban amount", form="whole")
    found = _read(["A B", DE, "12"], ["A B", DE, "12,50"], ["A B", DE, "12.50"], plan=plan)
    assert [_codes(outcome) for outcome in found] == [[], ["amount_unreadable"], ["amount_unreadable"]]


def test_the_callers_limits_apply() -> None:
    """Other creditors have other limits; zero is excluded with any of them."""
    rules = Rules(amount_minor_min=0, amount_minor_max=100)
    found = _read(
        ["A B", DE, "0,00"], ["A B", DE, "0,01"], ["A B", DE, "1,00"], ["A B", DE, "1,01"], rules=rules
    )
    assert [_codes(outcome) for outcome in found] == [["amount_not_positive"], [], [], ["amount_too_large"]]
    assert [_codes(o) for o in _read(["A B", DE, "0,10"], ["A B", DE, "50.000,00"])] == [[], []]


def test_tolerated_problems_are_warnings_but_not_what_a_debit_needs() -> None:
    """An installation may not care for e-mail addresses; it cannot do without an IBAN."""
    rules = Rules(tolerated=frozenset({"email_invalid", "name_too_long", "iban_invalid", "amount_missing"}))
    plan = _plan("name iban amount email")
    kept, dropped = _read(["x" * 80, DE, "1,00", "nope"], ["A B", WRONG, "1,00", ""], plan=plan, rules=rules)
    assert isinstance(kept, Debtor)
    assert (_codes(kept), kept.email) == (["name_too_long", "email_invalid"], None)
    assert isinstance(dropped, Refused)


def test_long_numbers_have_lost_digits() -> None:
    """Excel keeps 15 digits: a mandate of 17 is another mandate now."""
    plan = _plan("name iban amount mandate_id customer_id", kind="xlsx")
    (outcome,) = _read(Row(2, ["A B", DE, "1", "12345678901234500", "7"], 0b11100), plan=plan)
    assert _codes(outcome) == ["digits_lost"]
    assert _note(outcome, "digits_lost") == (
        "The cell is a number of more than 15 digits; Excel keeps 15, so the last ones are lost."
    )


def test_numbers_that_excel_has_shortened_are_warned_of() -> None:
    """Thousands of customers would share the one number "1,23457E+15", and nobody would see why."""
    plan = _plan("name iban amount mandate_id customer_id")
    item, other = _read(
        ["A B", DE, "1,00", "1,23457E+15", "7"], ["C D", AT, "1,00", "M-1", "E+15 Nord"], plan=plan
    )
    assert isinstance(item, Debtor)
    assert (item.mandate_id, _codes(item), _codes(other)) == ("1,23457E+15", ["digits_lost"], [])
    assert _note(item, "digits_lost").startswith("Excel has shortened a long number to this")


def test_an_open_quotation_mark_is_the_rows_only_problem() -> None:
    """Its cells are those of several rows; anything else said of them would mislead."""
    (outcome,) = _read(
        Row(2, ["A;B\nC", DE, "1,00"], flaw="A quotation mark opened in line 2 is never closed.")
    )
    assert isinstance(outcome, Refused)
    assert [(p.code, p.note) for p in outcome.problems] == [
        ("row_unreadable", "A quotation mark opened in line 2 is never closed.")
    ]


def test_short_rows_are_filled_up_and_stray_cells_in_workbooks_ignored() -> None:
    """Workbooks cut blank cells off, and people note things beside the table."""
    plan = _plan("name iban amount city", kind="xlsx")
    (short,) = _read(["A B", DE, "1,00"], plan=plan)
    assert isinstance(short, Debtor)
    (long,) = _read(["A B", DE, "1,00", "", "", "remember!"], plan=plan)
    assert isinstance(long, Debtor)
    (blank,) = _read(["A B", DE, "1,00", " ", ""])
    assert isinstance(blank, Debtor)


def test_columns_that_are_kept_travel_with_the_debtor() -> None:
    """Who asked for them must not search for them; broken ones cost the row nothing."""
    plan = msgspec.structs.replace(_plan("name iban amount -"), kept={"Notiz": 3})
    kept, broken, blank = _read(
        ["A B", DE, "1,00", " ruft zur\u00fcck "],
        ["C D", AT, "1,00", "x\0"],
        ["E F", AT, "1,00", ""],
        plan=plan,
    )
    assert isinstance(kept, Debtor)
    assert kept.extra == {"Notiz": "ruft zur\u00fcck"}
    assert isinstance(broken, Debtor)
    assert (broken.extra, _codes(broken)) == ({}, ["column_not_kept"])
    assert isinstance(blank, Debtor)


def test_unmapped_columns_are_never_looked_at() -> None:
    """A broken letter in a column nobody uses is nobody's problem."""
    (outcome,) = _read(["A B", DE, "1,00", "\0\ufffd\x07"], plan=_plan("name iban amount -"))
    assert isinstance(outcome, Debtor)
    assert _codes(outcome) == []


# --- rows that are no debtors


def test_blank_rows_repeated_headers_totals_and_notes_are_skipped() -> None:
    """Refused, they would fill every report with noise; taken, they would be debtors."""
    found = _read(
        ["A B", DE, "1,00"],
        ["", " ", ""],
        ["Name", "Iban", "Amount"],
        ["C D", AT, "2,50"],
        ["Summe", "", "3,50"],
        [],
        ["Stand: 2.3.2026"],
        ["", "", "geprüft: M."],
    )
    assert [_codes(outcome) for outcome in found] == [
        [], ["skipped: blank"], ["skipped: header"], [], ["skipped: total"], ["skipped: blank"], ["skipped: note"], ["skipped: note"],
    ]  # fmt: skip
    assert isinstance(found[4], Skipped)
    assert found[4].note == "The file says 3.50, and so do the rows above."


def test_a_total_is_a_check_of_the_file() -> None:
    """A total that differs says that rows are missing, or were misread."""
    (_, _, wrong) = _read(["A B", DE, "1,00"], ["C D", WRONG, "2,00"], ["Total", "", "9,99"])
    assert isinstance(wrong, Skipped)
    assert wrong.note == "The file says 9.99, the rows above add up to 3.00."
    (_, _, silent) = _read(["A B", DE, "1,00"], ["C D", DE, "2,00"], ["", "", "3,00"])
    assert isinstance(silent, Skipped)
    assert (silent.cause, silent.note) == ("total", "The file says 3.00, and so do the rows above.")
    (_, labelled) = _read(["A B", DE, "1,00"], ["Summe", "", "n/a"])
    assert labelled == Skipped(3, "total")


def test_a_lone_amount_that_is_no_sum_is_a_debtor_without_iban() -> None:
    """Skipping it would lose a row that only needs its IBAN."""
    assert _codes(_read(["A B", DE, "1,00"], ["", "", "5,00"])[1]) == ["iban_missing", "name_missing"]
    assert _codes(_read(["A B", DE, "1,00"], ["Suma, Anna Maria", "", "5,00"])[1]) == ["iban_missing"]


# --- both ways, breaks, and the whole

cells = st.one_of(
    st.sampled_from(["", " ", "A B", "Zoë Łącka", "O'Neil", "'=x", "Müller\n", "M\u00c3\u00bcller", "e\u0301", "12,50", "1.000,00", "7", "-1,00",
                     DE, AT, CH, WRONG, "de89 3704 0044 0532 0130 00", "EUR", "31.3.2020", "31.13.2020", "1.1.2000", "M-1", "a@b.org",
                     "Deutschland", "Summe", "\U0001f600", "x" * 501, "\0", "\ufffd", "\u00a0", "COBADEFF"]),
    st.text(max_size=8),
)  # fmt: skip
FIELDS = "name iban amount currency first_name bic mandate_id mandate_signed_on email country born_on city reference mobile"
FULL = _plan(FIELDS, orders={"mandate_signed_on": "day_month", "born_on": "day_month"})
# With all that a plan can ask of a row beside its fields: columns that stand in, words that are collected, columns that are kept.
WIDE = msgspec.structs.replace(
    FULL,
    columns=(*FULL.columns, Column(14, "Stadt"), Column(15, "Art"), Column(16, "Notiz")),
    fallbacks={"city": (14,), "name": (14,)},
    selections=(Selection(15, ("", "s")),),
    kept={"Notiz": 16},
)
full_rows = st.builds(
    lambda name, iban, amount, rest, numeric, number: Row(number, [name, iban, amount, *rest], numeric),
    st.sampled_from(["A B", "Zoë Łącka", "", "O'Neil", " x  y ", "4711"]),
    st.sampled_from([DE, AT, CH, "de89 3704 0044 0532 0130 00", WRONG]),
    st.sampled_from(["12,50", "7", "1.000,00", "0,05", "12.5", "x"]),
    st.lists(cells, max_size=14),
    st.integers(0, 2**17 - 1),
    st.integers(2, 99),
)


@given(full_rows, st.sampled_from(["csv", "xlsx"]), st.sampled_from([FULL, WIDE]))
def test_the_quick_way_agrees_with_the_careful_one(row: Row, kind: Kind, plan: Plan) -> None:
    """Almost all rows take the quick way; where it gives a debtor the careful one must give the same."""
    plan = msgspec.structs.replace(plan, kind=kind)
    debtor = compile_fast(plan, rules=Rules(), today=TODAY)(row)
    if debtor is not None:
        assert _Slow(plan, rules=Rules(), today=TODAY).read(row, total=0, below=False) == debtor


TRICKY = [
    "Ann (verstorben)",
    "#Ann",
    "'=x",
    "e\u0301",
    "a\u00a0b",
    "M\u00c3\u00bcller",
    "\ufffd",
    "x" * 501,
    "1.1.2000",
    "3.3.2026",
    "Atlantis",
    "§",
    "12345678901234500",
    "1,23457E+15",
    "-",
    "NULL",
    "k.A.",
    "Serbien",
    "3. M\u00e4rz 2020",
    "S",
    "H",
]


@pytest.mark.parametrize("place", range(17))
@pytest.mark.parametrize("cell", TRICKY)
def test_the_two_ways_agree_on_every_tricky_cell_in_every_place(cell: str, place: int) -> None:
    """Each of these passed one of the quick tests alone, and would have been stored as it stood."""
    line = ["Zoë Łącka", DE, "12,50", "EUR", *[""] * 13]
    line[place] = cell
    for row in (Row(2, line), Row(2, line, 1 << place), Row(2, line, flaw="An open quotation mark.")):
        debtor = compile_fast(WIDE, rules=Rules(), today=TODAY)(row)
        slow = _Slow(WIDE, rules=Rules(), today=TODAY).read(row, total=0, below=False)
        assert debtor is None or debtor == slow
        (batch,) = [compile_batch(WIDE, rules=Rules(), today=TODAY)([row])]
        for found in batch.debtors() if batch else ():
            assert not found.iban or found == slow


ORDINARY = [
    "Zoë O'Łącka", "DE89 3704 0044 0532 0130 00", "12,50", "EUR", "Zoë", "COBADEFFXXX", "M-1", "31.3.2020", "a@b.org",
    "Deutschland", "1.2.1980", "Köln", "R", "0170",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
@pytest.mark.parametrize("place", range(14))
@pytest.mark.parametrize(
    "cell", [*TRICKY, "", " x", "x  y", WRONG, CH, "-1", "1,5", "12.50", "USD", "ab@", "31.2.2020"]
)
def test_a_remarkable_cell_in_a_batch_is_read_as_it_would_be_alone(cell: str, place: int, kind: Kind) -> None:
    """Columns are tested as a whole: a cell that slips through among ordinary ones would be stored as it stood."""
    plan = msgspec.structs.replace(FULL, kind=kind)
    odd = [*ORDINARY[:place], cell, *ORDINARY[place + 1 :]]
    for numeric in (0, 1 << place, 1 << 2):
        rows = [Row(2, ORDINARY), Row(3, odd, numeric), Row(4, ORDINARY)]
        found = compile_batch(plan, rules=Rules(), today=TODAY)(rows)
        slow = _Slow(plan, rules=Rules(), today=TODAY)
        for row, debtor in zip(rows, found.debtors() if found else (), strict=False):
            assert not debtor.iban or debtor == slow.read(row, total=0, below=False)


@given(
    st.lists(full_rows, min_size=1, max_size=3),
    st.sampled_from(["csv", "xlsx"]),
    st.sampled_from([FULL, WIDE]),
)
def test_a_batch_agrees_with_the_careful_way(rows: list[Row], kind: Kind, plan: Plan) -> None:
    """As above, for rows nobody has thought of."""
    plan = msgspec.structs.replace(plan, kind=kind)
    slow = _Slow(plan, rules=Rules(), today=TODAY)
    found = compile_batch(plan, rules=Rules(), today=TODAY)(rows)
    for row, debtor in zip(rows, found.debtors() if found else (), strict=False):
        assert not debtor.iban or debtor == slow.read(row, total=0, below=False)


def test_ordinary_rows_are_read_in_batches() -> None:
    """If they were not, nothing would be wrong but the speed; one wrong IBAN must not cost its neighbours theirs."""
    batch = compile_batch(FULL, rules=Rules(), today=TODAY)
    found = batch([Row(2, ORDINARY), Row(3, [ORDINARY[0], WRONG, *ORDINARY[2:]]), Row(4, ORDINARY[:4])])
    assert found is not None
    assert list(found.fields["iban"]) == [DE, "", DE]
    book = compile_batch(_plan("name iban amount", kind="xlsx", form="point"), rules=Rules(), today=TODAY)
    for amount, cents in (("12.5", 1250), ("12", 1200), ("0.99", 99)):
        item = book([Row(2, ["Zoë Łącka", DE, amount], 0b100)])
        assert item is not None
        assert item.fields["amount_minor"] == [cents]


def test_ordinary_rows_take_the_quick_way() -> None:
    """If they did not, nothing would be wrong but the speed: no other test would notice."""
    fast = compile_fast(FULL, rules=Rules(), today=TODAY)
    row = [
        "Zoë O'Łącka",
        "DE89 3704 0044 0532 0130 00",
        "12,50",
        "EUR",
        "Zoë",
        "COBADEFFXXX",
        "M-1",
        "31.3.2020",
    ]
    assert fast(Row(2, [*row, "a@b.org", "Deutschland", "1.2.1980", "Köln", "R", "0170"])) is not None
    assert fast(Row(2, row)) is not None


@given(st.lists(st.lists(cells, max_size=4), max_size=10), st.integers(0, 10))
def test_reading_can_stop_anywhere_and_go_on(lines: list[list[str]], at: int) -> None:
    """A worker is killed between two chunks: no row may be lost, doubled, or judged otherwise than in one go."""
    rows = [Row(number, line) for number, line in enumerate(lines, 2)]
    whole = _read(*rows)
    first = list(read(rows[:at], plan=BASIC, today=TODAY))
    position = advance(Position(), first)
    # What was read before may be handed in again: it is excluded.
    rest = list(read(rows, plan=BASIC, today=TODAY, position=position))
    assert first + rest == whole
    assert [outcome.row for outcome in whole] == [row.number for row in rows]


@given(st.lists(cells, max_size=16), st.integers(0, 2**16))
def test_any_row_gives_exactly_one_outcome(line: list[str], numeric: int) -> None:
    """An exception in one row would end the import; two outcomes would count it twice."""
    for plan in (
        FULL,
        msgspec.structs.replace(FULL, kind="xlsx"),
        _plan("iban amount_minor last_name", form=None),
    ):
        (outcome,) = _read(Row(2, line, numeric), plan=plan)
        if isinstance(outcome, Debtor):
            assert outcome.amount_minor >= 10
            assert 0 < len(outcome.name) <= 70
            assert not any(problem.level == "error" for problem in outcome.warnings)
        elif isinstance(outcome, Refused):
            assert any(problem.level == "error" for problem in outcome.problems)
            assert all(problem.note.endswith(".") for problem in outcome.problems)


def test_a_plan_with_open_questions_reads_nothing() -> None:
    """Reading it anyway would be the guess the question was asked to avoid."""
    plan = msgspec.structs.replace(BASIC, questions=(Question("x", "?", "sheet"),))
    with pytest.raises(AssertionError, match="open questions"):
        next(read([Row(2, [])], plan=plan, today=TODAY))


def test_the_rows_of_a_file_are_all_accounted_for() -> None:
    """Ten thousand rows of every quality: each has one outcome, in order, and the sum is that of its rows."""
    rng = random.Random(5)
    pool = [["A B", DE, "1,00"], ["", "", ""], ["A B", WRONG, "2,00"], ["x", AT, ""], ["Zoë", CH, "3,00"]]
    rows = [Row(number, rng.choice(pool)) for number in range(2, 10_002)]
    found = list(read(rows, plan=BASIC, today=TODAY))
    assert [outcome.row for outcome in found] == [row.number for row in rows]
    total = sum({"1,00": 100, "2,00": 200, "3,00": 300}.get(row.cells[2], 0) for row in rows)
    assert advance(Position(), found).amount_minor == total
    assert mask(DE) not in {outcome.iban for outcome in found if isinstance(outcome, Debtor)}
