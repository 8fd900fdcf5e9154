"""Who may sign in and see what; each test says who would get in, or would be locked out."""

from __future__ import annotations

import pytest
from tether_core.errors import InvalidRequest
from tether_core.people.addresses import client_address, group, networks
from tether_core.people.roles import require_accounts
from tether_core.people.sign_in import PASSWORD_MAX, Proven, next_step, require_password


def test_a_temporary_password_is_replaced_only_after_the_second_factor() -> None:
    """Who found the note with a temporary password would set an own one, and the account would be theirs."""
    proven = Proven(has_second_factor=True, is_temporary=True)
    assert next_step(proven, required=True) == "second_factor"
    proven = Proven(second_factor=True, has_second_factor=True, is_temporary=True)
    assert next_step(proven, required=True) == "password"
    proven = Proven(second_factor=True, has_second_factor=True)
    assert next_step(proven, required=True) == "complete"


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short-pass1", "12 to 200"),
        ("abcdefg" * PASSWORD_MAX, "12 to 200"),
        ("Lovelace-1815.", "more than your name"),
        ("2026 1128 1129", "more than your name"),
    ],
)
def test_a_password_that_is_soon_guessed_is_refused(password: str, why: str) -> None:
    """The first guesses of a stranger are the name and a year."""
    with pytest.raises(InvalidRequest, match=why):
        require_password(password, name="lovelace")


def test_a_good_password_is_kept_as_it_was_typed() -> None:
    """Cut or trimmed, it would not be the one that the person types the next time."""
    password = " correct horse battery staple "
    assert require_password(password, name="lovelace") == password


def test_a_list_of_accounts_is_a_limit_only_with_accounts_in_it() -> None:
    """An empty list taken for "no limit" would show every account to a key that was meant to see none."""
    assert require_accounts(None, known=["a"]) is None
    for accounts in ([], [f"account-{number}" for number in range(51)]):
        with pytest.raises(InvalidRequest, match="1 to 50 accounts"):
            require_accounts(accounts, known=accounts)
    with pytest.raises(InvalidRequest, match="there is none"):
        require_accounts(["a"], known=[])


def test_a_header_that_cannot_be_read_names_the_last_proxy() -> None:
    """A client that writes junk into the header would else choose its own counter of failures at each try."""
    trusted = networks(["10.0.0.0/8"])
    assert client_address("10.0.0.7", "203.0.113.9, junk", trusted=trusted) == "10.0.0.7"
    assert client_address("10.0.0.7", "203.0.113.9, junk, 10.0.0.8", trusted=trusted) == "10.0.0.8"
    assert client_address(None, "203.0.113.9", trusted=trusted) is None
    assert group(client_address("::ffff:203.0.113.9", "", trusted=trusted)) == "203.0.113.9"
