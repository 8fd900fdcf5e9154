"""Check files: whatever people send is read, or refused with a sentence."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.check_files import ROWS_MAX, read
from tether_core.errors import InvalidRequest

IBAN = "DE89370400440532013000"


@pytest.mark.parametrize(
    "text",
    [
        f"iban,name\n{IBAN},Zoë\n",
        f"\ufeffName;Amount;IBAN\r\nZoë;1;{IBAN}\r\n",
        "Kontoinhaber\tIBAN\nZoë\tDE89 3704 0044 0532 0130 00\n",
        f"Zoë;{IBAN.lower()}\n\n",
        f'"{IBAN}","Zoë"',
    ],
)
def test_the_files_people_have_are_read(text: str) -> None:
    """Every program writes its own CSV; a file that is refused is checked by hand."""
    (row,) = read(text.encode())
    assert (row.iban, row.name) == (IBAN, "Zoë")
    assert IBAN not in repr(row)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no rows"),
        (b"iban,name\n", "below its header"),
        (b"account,owner\n1,2\n", "column iban"),
        (f"{IBAN},{IBAN}\n".encode(), "column iban"),
        (b"iban,name\n\xff,\n", "UTF-8"),
        (b"iban,name\n\x00,x\n", "zero byte"),
        (b'iban,name\n"x,y\n', "quotation mark"),
        (b"iban,name\n" + b"x" * 201 + b",y\n", "row 2"),
        (b"iban,name\n" + b"x,y\n" * (ROWS_MAX + 1), "10,000"),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, says: str) -> None:
    """Half a file that is checked looks like a whole one."""
    with pytest.raises(InvalidRequest, match=says):
        read(body)


def test_a_row_that_is_no_iban_is_kept() -> None:
    """Its result says so; a row that is dropped is missing from the answer to its sender."""
    rows = read(b"iban,name\nnonsense,A\n,\n\nDE00,\n")
    assert [(row.row_number, row.iban, row.name) for row in rows] == [(2, "NONSENSE", "A"), (5, "DE00", "")]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_anything_else_is_refused(body: bytes) -> None:
    """A stranger's bytes must not become an internal error."""
    with contextlib.suppress(InvalidRequest):
        read(body)
