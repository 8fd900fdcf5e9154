import decimal
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidAmount, InvalidRequest, Rejected
from tether_core.money import Money, exponent, parse
from tether_core.testing import ibans

# The gateway's own examples of minor units, and one currency of each kind of ISO 4217.
EXAMPLES = [
    ("100.33", "USD", 10_033),
    ("3", "EUR", 300),
    ("3.00", "EUR", 300),
    ("150", "JPY", 150),
    ("100.333", "KWD", 100_333),
    ("0.0001", "CLF", 1),
    ("-0.5", "EUR", -50),
    ("0", "EUR", 0),
    ("-0.00", "EUR", 0),
    ("007.10", "EUR", 710),
    ("999999999999999.99", "EUR", 99_999_999_999_999_999),
]
currencies = st.sampled_from(["EUR", "JPY", "KWD", "CLF", "CHF", "PLN"])
amounts = st.builds(Money, st.integers(-(10**14), 10**14), currencies)


@pytest.mark.parametrize(("text", "currency", "amount_minor"), EXAMPLES)
def test_examples(text: str, currency: str, amount_minor: int) -> None:
    """An amount a hundred times too large would be debited."""
    assert parse(text, currency=currency) == Money(amount_minor, currency)


@given(amounts)
def test_parse_reads_what_str_writes(money: Money) -> None:
    """An amount would change on its way through a report."""
    text, _, currency = str(money).partition(" ")
    assert parse(text, currency=currency) == money
    assert len(text.partition(".")[2]) == exponent(currency)
    assert money.decimal == Decimal(text)


@given(st.builds(Money, st.integers(), currencies))
def test_every_amount_can_be_written_exactly(money: Money) -> None:
    """Sums over years outgrow the 28 digits that decimals keep by default."""
    text, _, currency = str(money).partition(" ")
    assert int(text.replace(".", "")) == money.amount_minor
    assert currency == money.currency


def test_the_callers_decimal_context_does_not_matter() -> None:
    """In a program that works with six digits, 12 345.67 would be parsed as 12 346.00, without a word."""
    with decimal.localcontext() as context:
        context.prec = 3
        context.traps[decimal.Inexact] = True
        assert parse("12345.67", currency="EUR") == Money(1_234_567, "EUR")
        assert str(Money(1_234_567, "EUR")) == "12345.67 EUR"


@given(currencies, st.lists(st.integers(-(10**12), 10**12), min_size=2, max_size=5))
def test_sums_are_exact(currency: str, parts: list[int]) -> None:
    """A total would differ from its parts by a cent."""
    total = Money(0, currency)
    for part in parts:
        total += Money(part, currency)
    assert total == Money(sum(parts), currency)


def test_two_currencies_have_no_sum() -> None:
    """Euros and yen would be added up."""
    with pytest.raises(InvalidRequest) as caught:
        Money(1, "EUR") + Money(1, "JPY")
    assert caught.value.field == "currency"


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "-", ".", "1.", ".5", "+1", " 1", "1 ", "1\n", "1,5", "1.234,56", "1.2.3", "1e3", "0x10"],
        *[
            "1_000",
            "NaN",
            "Infinity",
            "--1",
            "1-",
            "EUR 1",
            "\N{ARABIC-INDIC DIGIT THREE}",
            "\N{SUPERSCRIPT TWO}",
        ],
        *["\N{FULLWIDTH DIGIT ONE}", "\N{MINUS SIGN}1", "1" * 16, "9" * 5000],
    ],
)
def test_anything_else_is_no_amount(text: str) -> None:
    """A misread amount is debited; one that raises something else stops the whole upload."""
    with pytest.raises(InvalidAmount):
        parse(text, currency="EUR")


@given(st.text(max_size=20), currencies)
def test_any_text_is_an_amount_or_refused(text: str, currency: str) -> None:
    """Any other exception would fail a file for one cell."""
    try:
        money = parse(text, currency=currency)
    except Rejected:
        return
    assert Decimal(text) == money.decimal


@pytest.mark.parametrize(
    ("text", "currency"), [("1.999", "EUR"), ("1.0", "JPY"), ("1.0000", "KWD"), ("1.00001", "CLF")]
)
def test_more_decimals_than_the_currency_has_are_refused(text: str, currency: str) -> None:
    """Rounding would debit an amount nobody agreed to."""
    with pytest.raises(InvalidAmount):
        parse(text, currency=currency)


@pytest.mark.parametrize("currency", ["", "EU", "EURO", "eur", "€€€", "E1R", "ÄÖÜ"])
def test_what_is_no_currency(currency: str) -> None:
    """A column of currency signs would be taken for two decimals each."""
    with pytest.raises(InvalidRequest):
        parse("1", currency=currency)


@given(ibans(), st.sampled_from(["", "  see ", "x" * 25]))
def test_an_account_in_the_amount_column_is_not_shown(iban: str, before: str) -> None:
    """Columns mixed up in a spreadsheet would put whole IBANs into error texts and logs."""
    with pytest.raises(InvalidAmount) as caught:
        parse(before + iban, currency="EUR")
    text = f"{caught.value} {caught.value!r}"
    assert iban not in text
    assert iban[4:-4] not in text
    assert len(caught.value.excerpt) <= 40
