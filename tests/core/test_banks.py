"""Banks on the blacklist: how entries are written and matched, and when a return rate puts a bank on hold."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.banks import BankBlock, BankCounts, BlockPolicy, canonical, counts_since, decide, find
from tether_core.blacklist import ActiveEntry
from tether_core.errors import InvalidRequest

HOLD, BLOCK = ActiveEntry("hold", "RETURNS"), ActiveEntry("block", "MANUAL")
POLICY = BlockPolicy(rate_max=0.05, floor=100, window_days=90, days=30)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("COBADEFF", "COBADEFF"),
        (" coba de ff xxx ", "COBADEFF"),
        ("COBADEFF100", "COBADEFF100"),
        ("BYLADEM1XXX", "BYLADEM1"),
        ("ABCDEXXX", "ABCDEXXX"),  # eight characters, which happen to end so
        ("coba*", "COBA*"),
        ("COBAD*", "COBAD*"),
        ("COBADE*", "COBADE*"),
        ("COBADEFF*", "COBADEFF*"),
        ("COBADEFF10*", "COBADEFF10*"),
    ],
)
def test_what_is_written_in_several_ways_is_one_entry(text: str, stored: str) -> None:
    """A second entry for the same bank would stay when the first one is lifted."""
    assert canonical(text) == stored
    assert canonical(stored) == stored


@pytest.mark.parametrize(
    "text",
    ["", "*", "COB*", "COBA", "COBA1*", "COBADEFF1", "COBADEFF1000", "COBADEFF100*", "C*BADEFF", "ÇOBADEFF"],
)
def test_what_is_no_bic_is_refused(text: str) -> None:
    """A beginning of three characters would hold banks that nobody meant."""
    with pytest.raises(InvalidRequest, match="Write a BIC"):
        canonical(text)


@pytest.mark.parametrize(
    ("entry", "bic", "bank", "fits"),
    [
        ("COBADEFF", None, "COBADEFF", True),
        ("COBADEFF", "COBADEFF100", "COBADEFF", True),
        ("COBADEFF", "cobadeff xxx", None, True),
        (
            "COBADEFF",
            "DEUTDEFF",
            "COBADEFF",
            True,
        ),  # the debit goes where the IBAN says, whatever BIC stands beside it
        ("DEUTDEFF", "DEUTDEFF", "COBADEFF", True),
        ("COBADEFF", "unknown", "COBADEFF", True),
        ("COBADEFF", None, None, False),
        ("COBADEFF", "", "", False),
        ("COBADEFF100", "COBADEFF100", "COBADEFF", True),
        ("COBADEFF100", None, "COBADEFF", False),  # nobody knows the branch
        ("COBADEFF100", "COBADEFF", "COBADEFF", False),
        ("COBA*", None, "COBADEFF", True),
        ("COBADEFF*", None, "COBADEFF", True),
        ("COBADEFF1*", "COBADEFF100", "COBADEFF", True),
        ("COBADEFF1*", None, "COBADEFF", False),
        ("COBAAT*", None, "COBADEFF", False),
    ],
)
def test_an_entry_is_about_the_accounts_it_names(
    entry: str, bic: str | None, bank: str | None, *, fits: bool
) -> None:
    """One that holds too few protects nobody; one that holds too many costs what they would have paid."""
    assert (find({entry: HOLD}, bic=bic, bank=bank) == HOLD) == fits


def test_the_strictest_of_several_entries_counts() -> None:
    """A hold about one bank must not open what a block about its group has closed."""
    assert find({"COBADEFF": HOLD, "COBA*": BLOCK}, bic=None, bank="COBADEFF") == BLOCK
    narrow = ActiveEntry("hold", "MANUAL")
    assert find({"COBADEFF": narrow, "COBA*": HOLD}, bic=None, bank="COBADEFF") == narrow


@pytest.mark.parametrize(
    ("counts", "blocked"),
    [
        (BankCounts("COBADEFF", 100, 6, 0), True),
        (BankCounts("COBADEFF", 100, 5, 0), False),  # at the limit nothing happens
        (BankCounts("COBADEFF", 99, 99, 0), False),  # too few to say anything
        (BankCounts("COBADEFF", 104, 9, 4), False),  # reasons of the acquirer say nothing about the bank
        (BankCounts("COBADEFF", 104, 10, 4), True),
        (BankCounts("COBADEFF", 103, 50, 4), False),
        (BankCounts("", 10_000, 9_000, 0), False),  # nobody knows which bank it is
        (BankCounts("COBADEFF", 0, 0, 0), False),
    ],
)
def test_a_bank_is_held_above_the_limit_and_with_enough_debits_only(
    counts: BankCounts, *, blocked: bool
) -> None:
    """A block on two returns would end the business with a bank; none at all costs fees for each return."""
    assert [block.bank for block in decide([counts], policy=POLICY)] == ["COBADEFF"] * blocked
    assert decide([counts], policy=BlockPolicy()) == []  # no limit is set


@pytest.mark.parametrize("percent", range(1, 100))
def test_at_the_limit_nothing_happens(percent: int) -> None:
    """29 % of 100 is a little less than 29 to a computer."""
    policy = BlockPolicy(rate_max=percent / 100, floor=1)
    assert decide([BankCounts("COBADEFF", 100, percent, 0)], policy=policy) == []
    assert decide([BankCounts("COBADEFF", 100, percent + 1, 0)], policy=policy)


def test_a_floor_of_nothing_divides_by_nothing() -> None:
    """A wrong setting must not end the periodic task each time."""
    assert decide([BankCounts("COBADEFF", 4, 4, 4)], policy=BlockPolicy(rate_max=0.01, floor=0)) == []


@given(
    st.integers(0, 400), st.integers(0, 400), st.integers(0, 400), st.floats(0.001, 1.0), st.integers(1, 300)
)
def test_more_returns_never_open_a_bank(
    collected: int, returned: int, excluded: int, rate: float, floor: int
) -> None:
    """A rule that is not monotonous would be one that nobody can explain."""
    returned, excluded = min(returned, collected), min(excluded, returned, collected)
    policy = BlockPolicy(rate_max=rate, floor=floor)
    fewer = decide([BankCounts("A", collected, returned, excluded)], policy=policy)
    if fewer and returned < collected:
        assert decide([BankCounts("A", collected, returned + 1, excluded)], policy=policy)
    for block in fewer:
        assert rate <= block.rate + 0.0001
        assert 0 < block.returned <= block.collected


def test_debits_from_before_an_entry_ended_never_count_again() -> None:
    """A person who lifted an entry would find it again a quarter of an hour later, by the same debits."""
    today = date(2026, 6, 1)
    assert counts_since(today=today, ended_on=None, policy=POLICY) == today - timedelta(days=89)
    assert counts_since(today=today, ended_on=today, policy=POLICY) == today + timedelta(days=1)
    assert counts_since(today=today, ended_on=date(2025, 1, 1), policy=POLICY) == today - timedelta(days=89)


def test_an_entry_says_why_and_ends_by_itself() -> None:
    """Who finds it in the list wants the numbers, not a word."""
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    block = BankBlock("COBADEFF", 0.1234, 617, 5_000)
    assert block.note(since_on=date(2026, 3, 4), policy=BlockPolicy(rate_max=0.075)) == (
        "12.34 % of 5,000 debits since 2026-03-04 were returned; the limit is 7.5 %."
    )
    assert block.expires_at(now=now, policy=POLICY) == now + timedelta(days=30)


def test_a_percentage_that_is_none_is_refused() -> None:
    """500 for five percent would never block anybody."""
    with pytest.raises(InvalidRequest, match="TETHER_BANK_BLOCK_PERCENT is a percentage from 0 to 100"):
        BlockPolicy(rate_max=5.0)
