"""Cursors: they lead on where a page ended, and only those we gave."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_web.http.pagination import decode_cursor, encode_cursor, page


@given(st.integers(1, 10**18 - 1))
def test_a_cursor_leads_back_to_its_row(row_id: int) -> None:
    """A cursor that cannot be read again ends a list in its middle."""
    cursor = encode_cursor(row_id)
    assert decode_cursor(cursor) == row_id
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=40) | st.binary(max_size=30).map(lambda data: data.decode("latin-1")))
def test_what_we_did_not_give_is_refused(text: str) -> None:
    """A cursor is a stranger's input.

    Any content ends as a sentence, or as a number that a query can take.
    """
    try:
        row_id = decode_cursor(text)
    except InvalidRequest:
        return
    assert row_id is not None
    assert 0 <= row_id < 10**18


@pytest.mark.parametrize("text", ["aWQ6LTE", "aWQ6MTIzNDU2Nzg5MDEyMzQ1Njc4OQ", "aWQ6", "", "aWQ6wrI"])
def test_numbers_that_are_no_rows_are_refused(text: str) -> None:
    """Signs, twenty digits and other scripts' digits would fail the query behind it."""
    with pytest.raises(InvalidRequest, match="cursor"):
        decode_cursor(text)


def test_next_is_there_exactly_when_there_is_more() -> None:
    """A `next` on the last page sends programs in a circle; one that is missing hides the rest."""
    assert page([9, 8, 7], limit=2, last_id=8).next == encode_cursor(8)
    assert page([9, 8, 7], limit=2, last_id=8).items == [9, 8]
    assert page([9, 8], limit=2, last_id=8).next is None
    assert page([], limit=2, last_id=None) == page([], limit=1, last_id=None)
    assert decode_cursor(None) is None
