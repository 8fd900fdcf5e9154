"""Which ID tokens are accepted, and whom they sign in; each case says who would get in otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tether_core.people.oidc import (
    AGE_MAX_S,
    ALGORITHMS,
    SENTENCES,
    SKEW_S,
    Decision,
    Holder,
    ProviderIdentity,
    Refusal,
    decide,
    read_identity,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
TIME = int(NOW.timestamp())
CLAIMS: dict[str, Any] = {
    "iss": "https://login.example.com",
    "sub": "248289761001",
    "aud": "tether",
    "exp": TIME + 300,
    "iat": TIME,
    "nonce": "n-1",
    "email": "Ada@Example.com",
    "email_verified": True,
}
GONE = ...


def read(claims: Mapping[str, Any], *, claim: str = "email") -> ProviderIdentity | Refusal:
    """As the client `tether` of the provider reads claims."""
    return read_identity(
        claims, issuer="https://login.example.com", client_id="tether", nonce="n-1", claim=claim, now=NOW
    )


def test_a_good_token_names_a_user() -> None:
    """Nobody could sign in."""
    assert read(CLAIMS) == ProviderIdentity(
        issuer="https://login.example.com", subject="248289761001", name="ada@example.com"
    )
    assert read({**CLAIMS, "aud": ["tether"], "azp": "tether", "exp": TIME + 0.5}) == read(CLAIMS)
    assert read({**CLAIMS, "aud": ["tether", "other"], "azp": "tether"}) == read(CLAIMS)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"iss": "https://login.example.com/"}, "issuer"),  # another provider that looks alike
        ({"aud": "other"}, "audience"),  # a token that was made for another program
        ({"aud": ["other", "another"]}, "audience"),
        ({"aud": ["tether", "other"]}, "audience"),  # for several, and nothing says to whom it was given
        ({"aud": "tether", "azp": "other"}, "audience"),  # given to another program
        ({"aud": []}, "audience"),
        ({"nonce": "n-2"}, "nonce"),  # of a sign-in in another browser
        ({"nonce": GONE}, "unreadable"),
        ({"exp": TIME - SKEW_S}, "expired"),
        ({"iat": TIME - AGE_MAX_S - SKEW_S - 1}, "expired"),  # kept by somebody until now
        ({"iat": TIME + SKEW_S + 1}, "not_yet_valid"),
        ({"nbf": TIME + SKEW_S + 1}, "not_yet_valid"),
        ({"exp": float("nan")}, "expired"),  # no comparison with it is true
        ({"exp": True}, "unreadable"),
        ({"exp": str(TIME + 300)}, "unreadable"),
        ({"exp": GONE}, "unreadable"),
        ({"iat": GONE}, "unreadable"),
        ({"sub": ""}, "unreadable"),
        ({"sub": 7}, "unreadable"),
        ({"sub": "s" * 256}, "unreadable"),
        ({"amr": "mfa"}, "unreadable"),
    ],
    ids=str,
)
def test_a_token_that_is_not_ours_or_not_of_now_is_refused(change: dict[str, Any], refusal: Refusal) -> None:
    """Who has any token of the provider, or an old one, would sign in."""
    claims = {name: value for name, value in {**CLAIMS, **change}.items() if value is not GONE}
    assert read(claims) == refusal


def test_clocks_may_differ_by_a_minute() -> None:
    """A provider whose clock is ahead or behind by seconds would sign in nobody."""
    for change in ({"exp": TIME - SKEW_S + 1}, {"iat": TIME + SKEW_S}, {"nbf": TIME + SKEW_S}):
        assert isinstance(read({**CLAIMS, **change}), ProviderIdentity), change


def test_an_address_counts_only_when_the_provider_has_verified_it() -> None:
    """Who writes somebody else's address into a profile would become that user."""
    for verified in (False, "true", 1, None):
        found = read({**CLAIMS, "email_verified": verified})
        assert isinstance(found, ProviderIdentity)
        assert (found.name, found.unnamed) == (None, "email_not_verified")
    found = read({**CLAIMS, "upn": "Ada", "email_verified": False}, claim="upn")
    assert isinstance(found, ProviderIdentity)
    assert found.name == "ada"


@pytest.mark.parametrize(("value", "why"), [(None, "no_claim"), (["a"], "no_claim"), ("Ada L", "no_user")])
def test_a_claim_that_is_no_name_names_nobody(value: Any, why: Refusal) -> None:
    """A list or a sentence would be looked up as it is."""
    found = read({**CLAIMS, "upn": value}, claim="upn")
    assert isinstance(found, ProviderIdentity)
    assert (found.name, found.unnamed) == (None, why)


def test_only_several_factors_replace_the_second_one() -> None:
    """A password at the provider would count as a password and a phone."""
    for amr, factors in ((["pwd"], 1), (["pwd", "mfa"], 2), ([], 1), (None, 1)):
        found = read({**CLAIMS, "amr": amr})
        assert isinstance(found, ProviderIdentity)
        assert found.factors == factors


@pytest.mark.parametrize(
    ("name", "bound", "named", "decision"),
    [
        ("ada", Holder(is_bound=True), None, "sign_in"),
        (None, Holder(is_bound=True), None, "sign_in"),  # renamed at the provider, or without the claim
        ("ada", Holder(is_bound=True, is_disabled=True), Holder(), "disabled"),  # never another user instead
        ("ada", None, Holder(), "bind"),
        ("ada", None, Holder(is_disabled=True), "disabled"),
        ("ada", None, Holder(is_bound=True), "bound_to_another"),  # the address passed to another person
        ("ada", None, None, "no_user"),
        (None, None, None, "no_claim"),
        (None, None, Holder(), "no_claim"),
    ],
)
def test_who_is_signed_in(
    name: str | None, bound: Holder | None, named: Holder | None, decision: Decision
) -> None:
    """A person would get another one's user, or a user nobody created."""
    unnamed = None if name else "no_claim"
    identity = ProviderIdentity(issuer="i", subject="s", name=name, unnamed=unnamed)  # type: ignore[arg-type]
    assert decide(identity, bound=bound, named=named) == decision


@given(
    st.dictionaries(
        st.sampled_from([*CLAIMS, "azp", "nbf", "amr"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists),
    )
)
def test_junk_is_a_refusal(junk: dict[str, Any]) -> None:
    """A provider gone wrong would cause an error that nobody explains."""
    found = read({**CLAIMS, **junk})
    assert isinstance(found, ProviderIdentity) or found in SENTENCES


def test_every_refusal_has_a_sentence_and_nothing_is_signed_with_a_shared_secret() -> None:
    """A person would see a code; anybody with the client's secret, or without any, could sign a token."""
    assert set(SENTENCES) == set(get_args(Refusal))
    assert not [name for name in ALGORITHMS if name == "none" or name.startswith("HS")]
    assert "248289761001" not in repr(read(CLAIMS))
