import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp.signature import Credential, password_tag, sign, verified_by, verify
from tether_core.errors import SignatureMismatch

# Public examples of the vendor's SDKs: id, password, digits, how the signature begins.
KNOWN = [
    ("fc6c3c8c0219730c7a099eaa540f70dc", "bogus", 40, "08d01ae1ebdc22b6a1a764257819bb26e9e94e8d"),
    ("130319cfb3bf65ff3c4a4045487b173e", "test123", 40, "1b34dabe"),
    ("130319cfb3bf65ff3c4a4045487b173e", "test123", 64, "e4c5e70d"),
    ("1912", "password1", 128, "ecc5f441"),
]
ID = "130319cfb3bf65ff3c4a4045487b173e"
secrets = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
ids = st.text("0123456789abcdefXYZ-_", min_size=1, max_size=64)


def _account(name: str, *passwords: str, login: str = "", terminals: tuple[str, ...] = ()) -> Credential:
    return Credential(name, login=login, passwords=passwords, terminal_tokens=terminals)


@pytest.mark.parametrize(("signed_id", "password", "digits", "begins"), KNOWN)
def test_known_pairs(signed_id: str, password: str, digits: int, begins: str) -> None:
    """The gateway's own examples would be refused, and so would every real notification."""
    made = sign(signed_id, secret=password, digits=digits)
    assert len(made) == digits
    assert made.startswith(begins)
    assert verify(signed_id, made, credentials=[_account("shop", password)]) == "shop"


@given(ids, secrets, st.sampled_from([40, 64, 128]))
def test_what_is_signed_verifies_and_nothing_else_does(signed_id: str, secret: str, digits: int) -> None:
    """A wrong hash refuses valid notifications; a weak comparison accepts invalid ones."""
    made = sign(signed_id, secret=secret, digits=digits)
    assert verify(signed_id, made, credentials=[_account("shop", secret)]) == "shop"
    for wrong_id, wrong_secret in ((signed_id + "0", secret), (signed_id, secret + "0")):
        with pytest.raises(SignatureMismatch):
            verify(wrong_id, made, credentials=[_account("shop", wrong_secret)])
    changed = made[:-1] + ("0" if made[-1] != "0" else "1")
    with pytest.raises(SignatureMismatch):
        verify(signed_id, changed, credentials=[_account("shop", secret)])


@given(ids, st.text(max_size=130), secrets)
def test_any_signature_only_mismatches(claimed_id: str, claimed: str, secret: str) -> None:
    """A signature in another script would answer 500: text compared in constant time must be ASCII, bytes may be all."""
    with pytest.raises(SignatureMismatch):
        verify(claimed_id, claimed, credentials=[_account("shop", secret)])


@pytest.mark.parametrize(
    "claimed",
    ["ä" * 40, "é" * 20, "\N{ARABIC-INDIC DIGIT ZERO}" * 20, "\ud800" * 40, "K" * 64, "İ" * 20, "\x00" * 40],
)
def test_signatures_that_are_not_ascii(claimed: str) -> None:
    """Letters of other scripts with the byte length of a hash would raise in the comparison."""
    with pytest.raises(SignatureMismatch):
        verify(ID, claimed, credentials=[_account("shop", "test123")])


def test_an_id_that_is_no_text_for_utf_8() -> None:
    """A lone surrogate in the id would raise in the hash."""
    with pytest.raises(SignatureMismatch):
        verify("\ud800", "0" * 40, credentials=[_account("shop", "test123")])


@pytest.mark.parametrize("digits", [0, 1, 39, 41, 63, 65, 96, 127, 129, 1000])
def test_lengths_of_no_hash_are_refused(digits: int) -> None:
    """Falling back to SHA-1 for odd lengths, as some SDKs do, would hide a damaged signature."""
    with pytest.raises(SignatureMismatch):
        verify(ID, "a" * digits, credentials=[_account("shop", "test123")])


def test_case_and_blanks_are_forgiven() -> None:
    """A sender that writes hex in capitals would be refused for its spelling."""
    made = sign(ID, secret="test123")
    assert verify(ID, f" {made.upper()}\n", credentials=[_account("shop", "test123")]) == "shop"


def test_every_active_password_counts_while_one_is_changed() -> None:
    """In the hours of a password change half of the notifications would be refused."""
    both = [_account("shop", "old", "new")]
    assert verify(ID, sign(ID, secret="old"), credentials=both) == "shop"
    assert verify(ID, sign(ID, secret="new"), credentials=both) == "shop"
    with pytest.raises(SignatureMismatch):
        verify(ID, sign(ID, secret="older"), credentials=both)


def test_the_account_that_signed_is_returned() -> None:
    """With several accounts a notification would be applied on the wrong one."""
    accounts = [_account("north", "a"), _account("south", "b")]
    assert verify(ID, sign(ID, secret="b"), credentials=accounts) == "south"


def test_the_terminal_is_a_hint_and_no_more() -> None:
    """The terminal is unsigned: trusted, it would let its sender choose the account; ignored, twins would be mixed up."""
    accounts = [_account("north", "a", terminals=("t-1",)), _account("south", "a", "b", terminals=("t-2",))]
    signed = sign(ID, secret="a")
    assert verify(ID, signed, credentials=accounts) == "north"
    assert verify(ID, signed, credentials=accounts, terminal_token="t-2") == "south"
    assert verify(ID, signed, credentials=accounts, terminal_token="t-9") == "north"
    assert verify(ID, sign(ID, secret="b"), credentials=accounts, terminal_token="t-1") == "south"


def test_nothing_configured_closes_the_door() -> None:
    """A fresh installation without a password would take anything for genuine."""
    unsigned = hashlib.sha1(ID.encode()).hexdigest()
    for credentials in ([], [_account("shop")], [_account("shop", "")], [_account("shop", "", login="")]):
        with pytest.raises(SignatureMismatch):
            verify(ID, unsigned, credentials=credentials, with_login=True)


def test_the_login_is_a_secret_of_identity_checks_only() -> None:
    """The login is no secret elsewhere: it travels with every request, so it must not open the payments."""
    shop = _account("shop", "test123", login="merchant")
    made = sign(ID, secret="merchant")
    assert verify(ID, made, credentials=[shop], with_login=True) == "shop"
    with pytest.raises(SignatureMismatch):
        verify(ID, made, credentials=[shop])


def test_comparison_takes_the_same_time_wherever_it_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `==` a sender could measure the right signature digit by digit."""
    seen: list[tuple[object, object]] = []
    compare = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        seen.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    with pytest.raises(SignatureMismatch):
        verify(ID, "0" * 64, credentials=[_account("north", "a", "b"), _account("south", "c")])
    assert len(seen) == 3
    assert all(isinstance(a, bytes) and isinstance(b, bytes) and len(a) == len(b) == 64 for a, b in seen)


def test_no_secret_in_a_repr() -> None:
    """A password would stand in the first traceback that shows its variables."""
    excerpt = repr(_account("shop", "sesame-1", "sesame-2", login="merchant-7"))
    assert excerpt == "Credential(account='shop', passwords=<2>)"


def test_no_secret_in_the_error() -> None:
    """A refused notification would print the password or its true signature into the log."""
    with pytest.raises(SignatureMismatch) as caught:
        verify(ID, "0" * 40, credentials=[_account("shop", "sesame-1")])
    text = f"{caught.value} {caught.value!r}"
    assert "sesame" not in text
    assert sign(ID, secret="sesame-1") not in text


def test_the_secret_that_made_a_signature_is_found_and_never_shown() -> None:
    """Uses are counted by it; a log line that shows the value shows the password."""
    credentials = [Credential("default", "merchant", ("new", "former"))]
    for secret, with_login in (("new", False), ("former", False), ("merchant", True)):
        found = verified_by(ID, sign(ID, secret=secret), credentials=credentials, with_login=with_login)
        assert (found.account, found.secret) == ("default", secret)
        assert secret not in repr(found)
        assert len({password_tag(secret, account=account) for account in ("default", "second")}) == 2
    assert len(password_tag("pass\udcffword", account="default")) == 8
