"""Relays: tokens, and whose passwords verify what comes there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp.signature import Credential
from tether_core.errors import InvalidRequest
from tether_core.notifications.relays import Relay, credentials_of, digest, require_name, written


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_each_token_has_a_digest_of_its_own(first: bytes, other: bytes) -> None:
    """A token that is not recognised, or that is taken for another one, sends a partner's notifications to nowhere."""
    assert digest(written(first)) is not None
    assert (digest(written(first)) == digest(written(other))) is (first == other)


@given(st.text(max_size=60) | st.from_regex(r"relay_[\w-]{40,46}"))
def test_a_text_that_is_no_token_has_no_digest(text: str) -> None:
    """Paths are written by strangers; any text must be refused, and none may raise."""
    found = digest(text)
    assert found is None or (len(text) == 49 and text.isascii())


def test_only_the_account_of_a_relay_verifies_there() -> None:
    """A partner who knew the password of another account could report its debits through the own address."""
    shop, older = (
        Credential("shop", passwords=("new",)),
        Credential("shop", login="older", passwords=("old",)),
    )
    other = Credential("other", passwords=("another",))
    relay = Relay(1, "partner", "shop")
    assert credentials_of(relay, (other, shop, older)) == (shop, older)
    assert credentials_of(relay, (other,)) == ()


def test_names_are_short_and_plain() -> None:
    """A name is in lists, in commands and in the audit; two that look alike are taken for each other."""
    assert require_name(" a-partner_2 ") == "a-partner_2"
    for name in ("", "-x", "Partner", "a b", "a" * 33, "ä", "x\n"[:1] + "\x00"):
        with pytest.raises(InvalidRequest):
            require_name(name)
