from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.payments.gateway_identity import EVERY, UNKNOWN, identity
from tether_core.payments.not_found import FirstAnswer, Inquiry, judge, needed

GRACE_S = 975.0
HERE = Inquiry(frozenset({"a1"}), frozenset({"a1"}), boot="boot-1", inquired_s=100.0, answered_s=101.0)


def _at(inquired_s: float, **changed: Any) -> Inquiry:
    return msgspec.structs.replace(HERE, inquired_s=inquired_s, answered_s=inquired_s + 1, **changed)


@pytest.mark.parametrize(
    ("submitted_to", "places", "configured", "word"),
    [
        (("a1",), "a1", "a1", "waiting"),
        (("a1",), "b2", "b2", "elsewhere"),  # the terminal was changed
        (("a1", "b2"), "b2", "b2", "elsewhere"),  # one call each
        (("a1", "b2"), "a1 b2", "b2", "waiting"),  # the old one belongs to another account now
        ((UNKNOWN,), "a1", "a1", "elsewhere"),
        ((UNKNOWN, "a1"), "a1", "a1", "elsewhere"),
        ((), "a1", "a1", "elsewhere"),  # imported, and never submitted by us
        ((EVERY,), "a1", "a1 b2", "elsewhere"),
        ((EVERY,), "a1 b2", "a1 b2", "waiting"),
        ((EVERY, "c3"), "a1 b2", "a1 b2", "elsewhere"),
        ((EVERY,), "", "", "elsewhere"),  # the account is gone
    ],
)
def test_not_found_counts_from_everywhere_it_was_submitted_to(
    submitted_to: tuple[str, ...], places: str, configured: str, word: str
) -> None:
    """The gateway finds a payment only where it was submitted; what another terminal does not know stands all the same."""
    inquiry = msgspec.structs.replace(
        HERE, not_found_at=frozenset(places.split()), configured=frozenset(configured.split())
    )
    assert judge(submitted_to, first_answers=(), inquiry=inquiry, grace_s=GRACE_S).word == word


def test_two_answers_lie_a_grace_period_apart() -> None:
    """From the end of the first to the beginning of the second: an answer on its way says nothing of the time between."""
    first = judge(("a1",), first_answers=(), inquiry=_at(100), grace_s=GRACE_S)
    assert (first.word, first.wait_s) == ("waiting", GRACE_S + 1)
    kept = first.first_answers
    early = judge(("a1",), first_answers=kept, inquiry=_at(101 + GRACE_S - 1), grace_s=GRACE_S)
    assert (early.word, early.wait_s, early.first_answers) == ("waiting", 1, kept)
    assert judge(("a1",), first_answers=kept, inquiry=_at(101 + GRACE_S), grace_s=GRACE_S).word == "believed"


@pytest.mark.parametrize(
    "inquiry",
    [
        _at(5_000, boot="boot-2"),  # booted anew, or another machine
        _at(50),  # a machine that was put back to an earlier state
        _at(5_000, stepped_s=4_000.0),  # a clock was set meanwhile
    ],
)
def test_what_was_heard_by_another_time_does_not_count(inquiry: Inquiry) -> None:
    """Two readings of different clocks have no distance; nor have readings around a step that anybody could know."""
    first = judge(("a1",), first_answers=(), inquiry=_at(100), grace_s=GRACE_S).first_answers
    verdict = judge(("a1",), first_answers=first, inquiry=inquiry, grace_s=GRACE_S)
    assert verdict.word == "waiting"
    inquired_s = inquiry.answered_s + GRACE_S
    again = msgspec.structs.replace(inquiry, inquired_s=inquired_s, answered_s=inquired_s + 1)
    result = judge(("a1",), first_answers=verdict.first_answers, inquiry=again, grace_s=GRACE_S)
    assert result.word == "believed"


@given(st.lists(st.integers(0, 4), min_size=6, max_size=60))
def test_n_machines_need_n_plus_one_inquiries_at_most(order: list[int]) -> None:
    """Were the first answer of one forgotten for that of another, a debit would wait for as long as both are up."""
    kept: tuple[FirstAnswer, ...] = ()
    for number, machine in enumerate(order):
        inquiry = _at(2_000.0 * number, boot=f"boot-{machine}")
        verdict = judge(("a1",), first_answers=kept, inquiry=inquiry, grace_s=GRACE_S)
        assert (verdict.word == "believed") == (machine in order[:number])
        if verdict.word == "believed":
            return
        kept = verdict.first_answers
    pytest.fail("never believed")


def test_machines_that_are_gone_make_room() -> None:
    """A row would grow with every boot of every machine."""
    kept: tuple[FirstAnswer, ...] = ()
    for number in range(100):
        inquiry = _at(10, boot=f"boot-{number}")
        kept = judge(("a1",), first_answers=kept, inquiry=inquiry, grace_s=GRACE_S).first_answers
    assert len(kept) == 32
    assert kept[-1].boot == "boot-99"


def test_nobody_knows_where_an_unknown_call_went() -> None:
    """`None` is not the empty set: nothing to ask would be everything asked."""
    assert needed((UNKNOWN,), configured=frozenset({"a1"})) is None
    assert needed((EVERY,), configured=frozenset({"a1"})) == frozenset({"a1"})


def test_an_identity_shows_no_secret_and_tells_terminals_apart() -> None:
    """Its name stands in logs and its key in a backup."""
    login, terminal = "merchant-login", "e9fd7a957845450fb7ab9dccb498b6e1f6e1e3aa"
    gateway_identity = identity("https://gate.example.net", login=login, terminal=terminal)
    assert login not in gateway_identity.name + gateway_identity.key
    assert terminal not in gateway_identity.name + gateway_identity.key
    others = {
        identity(address, login=its_login, terminal=its_terminal).key
        for address, its_login, its_terminal in (
            ("https://gate.example.net", login, "other"),
            ("https://gate.example.net", "other", terminal),
            ("https://other.example.net", login, terminal),
            ("https://gate.example.net:8443", login, terminal),
            ("http://gate.example.net", login, terminal),
        )
    }
    assert len(others | {gateway_identity.key}) == 6
    assert identity("HTTPS://GATE.example.net:443/ ", login=login, terminal=terminal) == gateway_identity
    # A password in the address is none of its name.
    assert "s3cret" not in identity("https://me:s3cret@gate.example.net", login=login, terminal=terminal).name


def test_a_machine_put_back_during_an_inquiry_waits_all_the_same() -> None:
    """Its boot clock reads less at the end than at the beginning: the wait came out below nothing, and was over at once."""
    inquiry = msgspec.structs.replace(HERE, inquired_s=5_000.0, answered_s=300.0)
    first = judge(("a1",), first_answers=(), inquiry=inquiry, grace_s=GRACE_S)
    assert (first.word, first.wait_s) == ("waiting", GRACE_S)
    for inquired_s, word in ((301.0, "waiting"), (300.0 + GRACE_S, "believed")):
        again = judge(("a1",), first_answers=first.first_answers, inquiry=_at(inquired_s), grace_s=GRACE_S)
        assert again.word == word


@given(st.lists(st.floats(0.0, 60.0), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_inquiries_that_overlap_keep_the_first_answer(lengths_s: list[float], rng: Random) -> None:
    """Workers whose inquiries about a debit overlap all the time would each begin the grace period anew, and the debit would never be free."""
    kept: tuple[FirstAnswer, ...] = ()
    answered_at = list[float]()
    began_s = 100.0
    while began_s < GRACE_S:
        # Each began before the answers of those before it were stored.
        for length_s in lengths_s:
            inquiry = _at(began_s - 60.0 * rng.random())
            inquiry = msgspec.structs.replace(inquiry, answered_s=inquiry.inquired_s + length_s)
            answered_at.append(inquiry.answered_s)
            verdict = judge(("a1",), first_answers=kept, inquiry=inquiry, grace_s=GRACE_S)
            assert verdict.word == "waiting"
            assert verdict.first_answers == (FirstAnswer("boot-1", min(answered_at)),)
            assert verdict.wait_s == pytest.approx(GRACE_S + min(answered_at) - inquiry.inquired_s)
            kept = verdict.first_answers
        began_s += 50.0
    last = judge(("a1",), first_answers=kept, inquiry=_at(min(answered_at) + GRACE_S + 1), grace_s=GRACE_S)
    assert last.word == "believed"
