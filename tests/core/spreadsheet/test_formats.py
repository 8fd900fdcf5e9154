from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.spreadsheet.formats import (
    UNCLEAR,
    AmountVotes,
    DayVotes,
    Trouble,
    is_day,
    read_amount,
    read_day,
    read_minor,
    read_number,
)
from tether_core.spreadsheet.plan import AmountFormat, DateOrder, FileDecision, Question

NBSP, NARROW, THIN = "\u00a0", "\u202f", "\u2009"


def _code(found: object) -> object:
    return found.code if isinstance(found, Trouble) else found


@pytest.mark.parametrize(
    ("text", "form", "cents"),
    [
        ("12,50", "comma", 1250),
        ("12,5", "comma", 1250),
        (",50", "comma", 50),
        ("12,", "comma", 1200),
        ("12", "comma", 1200),
        ("1.234,56", "comma", 123456),
        ("1.234.567,89", "comma", 123456789),
        ("1.234", "comma", 123400),
        ("1 234,56", "comma", 123456),
        (f"1{NBSP}234,56", "comma", 123456),
        (f"1{NARROW}234,56", "comma", 123456),
        (f"1{THIN}234,56", "comma", 123456),
        ("5,-", "comma", 500),
        ("1.205,--", "comma", 120500),
        ("EUR 7,50", "comma", 750),
        ("7,50€", "comma", 750),
        ("€ 1.234,56", "comma", 123456),
        ("+3", "comma", 300),
        ("-13", "comma", -1300),
        ("\u221212,00", "comma", -1200),
        ("12,00-", "comma", -1200),
        ("(12,00)", "comma", -1200),
        ("1,234.56", "point", 123456),
        ("1'234.56", "point", 123456),
        ("1\u2019234.56", "point", 123456),
        ("1,234", "point", 123400),
        ("12,34,567.89", "point", 123456789),
        ("7.50", "point", 750),
        ("100", "whole", 10000),
        ("\uff11\uff12,\uff15\uff10", "comma", 1250),
        ("0,1", "comma", 10),
    ],
)
def test_amounts_people_write_are_read_exactly(text: str, form: AmountFormat, cents: int) -> None:
    """Each spelling was seen in real lists; a factor of a hundred or a thousand is somebody's rent."""
    assert read_amount(text, form=form) == cents


@pytest.mark.parametrize(
    ("text", "form", "code", "note"),
    [
        ("12.50", "comma", "amount_unreadable", "this column writes the decimal comma; “12.50” does not fit"),
        ("1,234.56", "comma", "amount_unreadable", "this column writes the decimal comma; “1,234.56” does not fit"),
        ("1.234", "whole", "amount_unreadable", "this column writes whole amounts without a decimal sign; “1.234” does not fit"),
        ("1,234", "comma", "amount_too_many_decimals", "“1,234” has 3 decimals, euros have 2"),
        ("0.1234", "point", "amount_too_many_decimals", "“0.1234” has 4 decimals, euros have 2"),
        ("1.23.45", "comma", "amount_unreadable", "“1.23.45” groups its digits in no known way"),
        ("1,2,3", "point", "amount_unreadable", "“1,2,3” groups its digits in no known way"),
        ("1 23,4", "comma", "amount_unreadable", "“1 23,4” is not an amount"),
        ("1E3", "point", "amount_unreadable", "“1E3” is not an amount"),
        ("n/a", "comma", "amount_unreadable", "“n/a” is not an amount"),
        ("--", "comma", "amount_unreadable", "“--” is not an amount"),
        ("-12,50-", "comma", "amount_unreadable", "“-12,50-” is not an amount"),
        ("(-12,50)", "comma", "amount_unreadable", "“(-12,50)” is not an amount"),
        ("(12,50-)", "comma", "amount_unreadable", "“(12,50-)” is not an amount"),
        ("\u0661\u0662", "comma", "amount_unreadable", "“\u0661\u0662” is not an amount"),
        ("$ 7.50", "point", "currency_not_eur", "“$ 7.50” is not in euros"),
        ("CHF 5,00", "comma", "currency_not_eur", "“CHF 5,00” is not in euros"),
        ("12,50 zł", "comma", "currency_not_eur", "“12,50 zł” is not in euros"),
        ("1" * 16, "whole", "amount_too_large", "it has 16 digits"),
        ("DE89370400440532013000", "comma", "amount_unreadable", "“DE89**************3000” is not an amount"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_never_read_as_something_else(
    text: str, form: AmountFormat, code: str, note: str
) -> None:
    """Reading 1'234.50 as one euro debits too little; a refused row can be corrected, a wrong debit cannot."""
    assert read_amount(text, form=form) == Trouble(code, note)


amounts = st.decimals(min_value=0, max_value=Decimal("999999999.99"), places=2)


@given(amounts, st.sampled_from(["", ".", " ", NBSP, NARROW]))
def test_a_written_amount_reads_as_the_same_amount(amount: Decimal, group: str) -> None:
    """With any thousands separator, formatting and reading must agree to the cent."""
    text = f"{amount:,.2f}".replace(",", "G").replace(".", ",").replace("G", group)
    assert read_amount(text, form="comma") == int(amount * 100)
    assert read_amount(f"-{text}", form="comma") == -int(amount * 100)


@given(st.text(max_size=20), st.sampled_from(["comma", "point", "whole"]))
def test_any_text_is_an_amount_or_a_trouble(text: str, form: AmountFormat) -> None:
    """An exception in one cell would end the import of a million rows."""
    assert isinstance(read_amount(text, form=form), int | Trouble)
    assert isinstance(read_minor(text), int | Trouble)
    assert isinstance(read_number(text), int | Trouble)
    AmountVotes().add(text, row=1)
    DayVotes().add(text, row=1)
    assert isinstance(read_day(text, order="day_month"), date | Trouble)


def test_numbers_of_workbooks_are_exact_to_the_cent() -> None:
    """33.333 is no amount of money; rounding it would debit what nobody agreed to."""
    assert read_number("1234.5") == 123450
    assert read_number("-3") == -300
    assert _code(read_number("33.333")) == "amount_too_many_decimals"
    assert _code(read_number("true")) == "amount_unreadable"


def test_cents_are_whole() -> None:
    """A point in a column of cents means that it is none."""
    assert (read_minor("1250"), read_minor("1 250"), read_minor("-5")) == (1250, 1250, -5)
    assert _code(read_minor("12.50")) == "amount_unreadable"


# --- deciding a column of amounts


def _decided(
    *cells: str, given_format: AmountFormat | None = None, numeric: bool = False
) -> FileDecision | Question:
    votes = AmountVotes()
    for row, cell in enumerate(cells, 2):
        votes.add(cell, row=row, numeric=numeric)
    return votes.decide(given=given_format)


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (["12,50"], "comma"),
        (["1.234", "1.234,5"], "comma"),
        (["1.234.567"], "comma"),
        (["5,-"], "comma"),
        (["0,500"], "comma"),
        (["1234,567"], "comma"),
        (["1 234,567"], "comma"),
        (["1.234", "7.5"], "point"),
        (["1,234,567"], "point"),
        (["1'234.5"], "point"),
        (["12", "", "7"], "whole"),
        ([], "whole"),
    ],
)
def test_one_cell_with_one_reading_decides_for_all(cells: list[str], value: str) -> None:
    """'1.234' alone proves nothing; beside '1.234,5' it is one thousand two hundred and thirty-four."""
    found = _decided(*cells)
    assert isinstance(found, FileDecision)
    assert found.value == value


def test_what_nothing_decides_is_a_question() -> None:
    """Reading 1.234 the wrong way is wrong by a factor of a thousand."""
    assert _decided("1.234", "2.500") == Question(
        "amount_format",
        "Which decimal sign do the amounts have? Nothing in the column tells whether “1.234” in row 2 is thousands or "
        "decimals.",
        "amount_format",
        ("comma", "point"),
    )
    mixed = _decided("1,50", "2.50")
    assert isinstance(mixed, Question)
    assert "Both occur: “1,50” in row 2 has a decimal comma, “2.50” in row 3 a decimal point." in mixed.ask


def test_one_stray_cell_among_many_does_not_stop_the_file() -> None:
    """A single slip in a thousand rows is that row's problem."""
    found = _decided(*["1,50"] * 19, "2.50")
    assert isinstance(found, FileDecision)
    assert (found.value, found.why) == (
        "comma",
        "19 of 20 telling amounts have the decimal comma, e.g. “1,50” in row 2.",
    )


def test_numbers_and_the_callers_word_need_no_votes() -> None:
    """A workbook's numbers have no format, and the answer to a question must be used."""
    found = _decided("1.234", "7", numeric=True)
    assert isinstance(found, FileDecision)
    assert (found.value, found.why) == ("point", "The amounts are numbers, not text.")
    said = _decided("1.234", given_format="point")
    assert isinstance(said, FileDecision)
    assert (said.value, said.by) == ("point", "caller")


# --- days


@pytest.mark.parametrize(
    ("text", "order", "day"),
    [
        ("2026-03-31", "iso", date(2026, 3, 31)),
        ("2026/3/31", "day_month", date(2026, 3, 31)),
        ("20260331", "iso", date(2026, 3, 31)),
        ("2024-02-29T00:00:00Z", "iso", date(2024, 2, 29)),
        ("2024-02-29 13:45:00", "iso", date(2024, 2, 29)),
        ("31.03.2026", "day_month", date(2026, 3, 31)),
        ("31. 3. 2026", "day_month", date(2026, 3, 31)),
        ("31.3.26", "day_month", date(2026, 3, 31)),
        ("31.03.2026 12:00", "day_month", date(2026, 3, 31)),
        ("3/4/2026", "day_month", date(2026, 4, 3)),
        ("3/4/2026", "month_day", date(2026, 3, 4)),
        ("31-03-2026", "day_month", date(2026, 3, 31)),
        ("45351", "serial", date(2024, 2, 29)),
        ("44927", "serial", date(2023, 1, 1)),
        ("45351.5", "serial", date(2024, 2, 29)),
    ],
)
def test_days_people_write_are_read(text: str, order: DateOrder, day: date) -> None:
    """The day a mandate was signed goes to the bank and must be the one on the paper."""
    assert read_day(text, order=order) == day


@pytest.mark.parametrize(
    ("text", "order", "note"),
    [
        ("2026-02-30", "iso", "there is no such day"),
        ("31.02.2026", "day_month", "there is no such day"),
        ("13/13/2026", "month_day", "there is no such day"),
        ("24-02-29", "day_month", "its year has two digits; write four"),
        ("31.3.2026", "iso", "“31.3.2026” does not fit the column"),
        ("45351", "day_month", "a bare number is no day; format the cell as a date"),
        ("März 2026", "day_month", "“März 2026” is not a day"),
        ("\u0662\u0660\u0662\u0666-03-31", "iso", "“\u0662\u0660\u0662\u0666-03-31” is not a day"),
        ("0000-01-01", "iso", "there is no such day"),
    ],
)
def test_what_is_no_day_does_not_roll_over(text: str, order: DateOrder, note: str) -> None:
    """30 February made 2 March is a mandate that was never signed."""
    assert read_day(text, order=order) == Trouble("", note)


def test_two_digits_stand_for_no_year_of_birth() -> None:
    """'1.2.45' may be a pensioner or nobody yet."""
    assert read_day("1.2.45", order="day_month", short_years=False) == Trouble(
        "", "its year has two digits; write four"
    )


@given(st.dates(min_value=date(1900, 3, 1), max_value=date(2100, 1, 1)))
def test_days_read_back_in_every_order(day: date) -> None:
    """Formatting and reading must agree for every day there is."""
    assert read_day(day.isoformat(), order="iso") == day
    assert read_day(day.strftime("%d.%m.%Y"), order="day_month") == day
    assert read_day(day.strftime("%m/%d/%Y"), order="month_day") == day
    assert (
        read_day(str((day - date(1899, 12, 30)).days), order="serial") == day
        or (day - date(1899, 12, 30)).days < 10_000
    )


def _order(*cells: str, given_order: DateOrder | None = None) -> FileDecision:
    votes = DayVotes()
    for row, cell in enumerate(cells, 2):
        votes.add(cell, row=row)
    return votes.decide(field="mandate_signed_on", given=given_order)


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (["3/4/2026", "31/3/2026"], "day_month"),
        (["3/4/2026", "3/31/2026"], "month_day"),
        (["3.4.2026"], "day_month"),
        (["3.4.2026", "31.13.2026"], "day_month"),
        (["3/3/2026"], "iso"),
        (["2026-03-04", "2026-03-05"], "iso"),
        (["45351", "45352"], "serial"),
        (["45351", "2026-03-04"], "iso"),
        ([""], "iso"),
    ],
)
def test_one_day_above_twelve_decides_for_the_column(cells: list[str], value: str) -> None:
    """Deciding cell by cell reads 03/04 as April and 1/2 as January in one and the same file."""
    found = _order(*cells)
    assert isinstance(found, FileDecision)
    assert found.value == value


def test_an_order_that_nothing_tells_is_left_open() -> None:
    """A mandate signed in April is not one signed in March, and no debit carries the day: nobody has to wait for it."""
    found = _order("3/4/2026", "1/2/2026")
    assert found.value == "unclear"
    assert found.why.startswith(
        "Nothing in the column tells which comes first in \u201c3/4/2026\u201d in row 2. Days that can be"
    )
    both = _order("31/3/2026", "3/31/2026")
    assert both.value == "unclear"
    assert (
        "\u201c31/3/2026\u201d in row 2 begins with the day, \u201c3/31/2026\u201d in row 3 with the month."
        in both.why
    )
    assert (
        read_day("31/3/2026", order="unclear") == read_day("3/31/2026", order="unclear") == date(2026, 3, 31)
    )
    assert read_day("5/5/2026", order="unclear") == date(2026, 5, 5)
    trouble = read_day("3/4/2026", order="unclear")
    assert isinstance(trouble, Trouble)
    assert trouble.code == UNCLEAR


@pytest.mark.parametrize(
    "text",
    [
        "5. M\u00e4rz 2024", "5 Maerz 2024", "05-Mar-24", "March 5, 2024", "Mar 5th 2024", "5th of March 2024", "Tuesday, 5 March 2024",
        "5 mars 2024", "mardi 5 mars 2024", "5 maart 2024", "5 mrt. 2024", "5 de marzo de 2024", "5 marzo 2024", "5 marca 2024",
        "5.marzec.2024", "2024-Mar-05", "2024 mars 5", "05/Mar/2024",
    ],
)  # fmt: skip
def test_days_with_names_of_months_are_read_in_seven_languages(text: str) -> None:
    """Such a date has only one reading, so the sender should not have to correct it."""
    assert read_day(text, order="iso") == date(2024, 3, 5)
    assert is_day(text)


@pytest.mark.parametrize(
    "text", ["Mai 2024", "5 Wirklich 2024", "31 Februar 2024", "M\u00e4rz", "5 Mai", "May Day 2024"]
)
def test_what_only_looks_like_a_named_day_is_none(text: str) -> None:
    """A day that was made up would stand in a mandate."""
    assert not isinstance(read_day(text, order="day_month"), date)


def test_the_callers_order_of_days_holds() -> None:
    """Who has said it must not be asked."""
    assert isinstance(_order("3/4/2026", given_order="month_day"), FileDecision)
