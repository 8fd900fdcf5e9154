from datetime import date, datetime, time, timedelta

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tether_core.spreadsheet.cells import (
    Row,
    Value,
    column_letters,
    excerpt,
    is_printable,
    neutralise,
    restore,
    text_of,
    texts_of,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  as it is ", "  as it is "),
        (True, "true"),
        (12.0, "12"),
        (12, "12"),
        (1234.5, "1234.5"),
        (0.1 + 0.2, "0.3"),
        (274.65999999999997, "274.66"),
        (1e15, "1000000000000000"),
        (12345678901234567.0, "12345678901234568"),
        (1.5e-7, "0.00000015"),
        (-0.5, "-0.5"),
        (float("nan"), ""),
        (float("inf"), ""),
        (date(2024, 2, 29), "2024-02-29"),
        (datetime.fromisoformat("2024-02-29"), "2024-02-29"),
        (datetime.fromisoformat("2024-02-29T13:45"), "2024-02-29T13:45:00"),
        (time(13, 45), "13:45:00"),
        (timedelta(hours=25), "1 day, 1:00:00"),
        (None, ""),
    ],
)
def test_every_kind_of_value_has_one_text(value: Value, text: str) -> None:
    """An exponent, a '.0' or the noise of binary fractions would turn right amounts and numbers into wrong ones."""
    assert text_of(value) == text


_KINDS = (
    st.text(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.floats(-1e6, 1e6).map(lambda number: round(number, 2)),
    st.integers(-(10**18), 10**18).map(float),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.timedeltas(),
)


@given(st.one_of(*(st.lists(kind, min_size=1) for kind in _KINDS), st.lists(st.one_of(_KINDS), min_size=1)))
@example([12.5, 0.1 + 0.2])
@example([12.0, 1e22])
@example([12.0, float("nan")])
@example([12.0, float("-inf"), 7])
@example([123456789012345678, 0.5])
def test_a_column_of_values_becomes_the_texts_of_each(column: list[Value]) -> None:
    """A whole column is written at once, by shortcuts; an amount written in another way there would be another amount."""
    texts, numbers = texts_of(column)
    assert list(texts) == list(map(text_of, column))
    alone = [isinstance(value, float | int) and not isinstance(value, bool) for value in column]
    assert ([numbers] * len(column) if isinstance(numbers, bool) else numbers) == alone


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e14, max_value=1e14))
def test_numbers_keep_fifteen_digits_and_never_an_exponent(number: float) -> None:
    """What a person saw in the sheet is what must be read; 1E+5 is no amount."""
    text = text_of(number)
    assert "e" not in text.lower()
    assert float(text) == float(format(number, ".15g"))


@given(st.text(st.characters(exclude_categories=())))
def test_a_text_is_printable_where_python_says_so(text: str) -> None:
    """A mark that nobody sees, left in a name or an IBAN, makes two debtors of one."""
    assert is_printable(text) == text.replace("\n", "").isprintable()


@given(st.text())
def test_what_is_neutralised_reads_as_before(text: str) -> None:
    """A report that goes out and comes back corrected must not grow or lose apostrophes."""
    safe = neutralise(text)
    assert safe[:1] not in set("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
    assert restore(safe) == restore(text)


def test_only_the_guarding_apostrophe_is_taken_away() -> None:
    """'s-Hertogenbosch is a town, and losing its apostrophe makes another address."""
    assert restore("'s-Hertogenbosch") == "'s-Hertogenbosch"
    assert restore("'+49 30") == "+49 30"
    assert restore("'") == "'"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("DE89370400440532013000", "DE89**************3000"),
        ("de89 3704 0044 0532 0130 00", "DE89**************3000"),
        ("ref DE89370400440532013000 paid", "ref DE89**************3000 paid"),
        ("a\x00b\x1b", "a\\x00b\\x1b"),
        ("1\u202f234,50", "1 234,50"),
        ("x" * 41, "x" * 39 + "\u2026"),
        ("  ok  ", "ok"),
    ],
)
def test_messages_never_show_a_whole_iban_or_raw_control_characters(cell: str, text: str) -> None:
    """Problems are stored, logged and mailed; a cell in the wrong column may hold an account."""
    assert excerpt(cell) == text


def test_in_the_place_of_an_iban_everything_is_masked() -> None:
    """An IBAN with one wrong digit is still nearly an account number."""
    assert excerpt("DE89370400440532013001", as_iban=True) == "DE89**************3001"
    assert excerpt("0532013000", as_iban=True) == "**********"


def test_columns_are_named_as_in_a_spreadsheet_program() -> None:
    """People look for column AA, not for number 27."""
    assert [column_letters(n) for n in (0, 25, 26, 51, 52, 701, 702)] == [
        "A",
        "Z",
        "AA",
        "AZ",
        "BA",
        "ZZ",
        "AAA",
    ]


def test_rows_travel_as_plain_lists() -> None:
    """Rows cross from the child process to its parent by the million: keys would double the bytes."""
    row = Row(7, ["a", ""], 2, "")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([row]), type=list[Row]) == [row]
    assert msgspec.json.encode(row) == b'[7,["a",""],2,""]'
