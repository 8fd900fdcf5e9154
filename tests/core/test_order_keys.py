"""The key of an order: which requests are the same, and which keys are keys."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.errors import Unreadable
from tether_core.order_keys import KEY_MAX, digest, parse


@pytest.mark.parametrize(
    "values",
    [
        [""],
        ["  "],
        ['""'],
        ["a b"],
        ["a\tb"],
        ["ä"],
        ["a\x00b"],
        ["\x7f"],
        ["x" * (KEY_MAX + 1)],
        ["a", "a"],
        ["a", "b"],
    ],
)
def test_what_is_no_key_is_refused_with_a_sentence(values: list[str]) -> None:
    """A key that is cut or passed over protects nobody, and its sender believes it does."""
    with pytest.raises(Unreadable, match="Idempotency-Key") as caught:
        parse(values)
    assert "x" * 20 not in str(caught.value)


@given(
    st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"'),
        min_size=1,
        max_size=KEY_MAX,
    )
)
def test_any_visible_text_is_a_key_quoted_or_not(key: str) -> None:
    """The draft quotes keys and most clients do not; one order under both forms would be two orders."""
    assert parse([key]) == parse([f'"{key}"']) == parse([f" {key} "]) == key


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.booleans(), max_size=5))
def test_a_body_is_what_it_means(body: dict[str, object]) -> None:
    """A client may write its fields in another order when it repeats itself; that is no other order."""
    written = json.dumps(body).encode()
    other = json.dumps(dict(reversed(body.items())), indent=2).encode()
    assert digest("POST", "/a", written) == digest("POST", "/a", other)
    assert digest("POST", "/a", written) != digest("POST", "/a", json.dumps({**body, "more": 1}).encode())
    assert digest("POST", "/a", written) != digest("POST", "/a/b", written)
