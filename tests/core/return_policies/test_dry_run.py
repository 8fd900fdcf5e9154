"""Dry runs: what was is counted, what would be is given as a range, and what nobody can know is said to be unknown."""

from __future__ import annotations

from datetime import date

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tether_core.return_policies.dry_run import (
    AccountsMoved,
    CountAndAmount,
    DryRun,
    ReturnsSeen,
    TriesMade,
    dry_run,
    split,
)
from tether_core.return_policies.policy import BUILT_IN, Rule, changed

FROM, TO = date(2026, 1, 1), date(2026, 12, 31)
STRICT = changed(
    BUILT_IN,
    {"BE05": Rule("block"), "SL01": Rule("none"), "AM04": Rule("none", 1), "MS03": Rule("hold")},
    version=1,
)


def test_each_code_has_one_consequence() -> None:
    """A code that counted under two headings would make a bad version look twice as bad."""
    parts = split(BUILT_IN, STRICT)
    assert (parts.blocked, parts.freed, parts.fewer, parts.more) == (
        ("BE05", "MS03"),
        ("SL01",),
        {"AM04": 1},
        {},
    )
    back = split(STRICT, BUILT_IN)
    assert (back.blocked, back.freed) == (("SL01",), ("BE05", "MS03"))
    assert (back.more, back.fewer, back.retries) == ({"AM04": 2, "MS03": 2}, {}, {"AM04": 1, "MS03": 0})
    assert back.codes == ("AM04", "BE05", "MS03", "SL01")
    held = changed(BUILT_IN, {"MD06": Rule("block")}, version=1)
    assert split(BUILT_IN, held).codes == ()


def test_what_was_collected_from_accounts_that_would_have_been_blocked_is_counted() -> None:
    """The lost money of a stricter policy is a fact of the books, not an estimate."""
    result = dry_run(
        BUILT_IN,
        STRICT,
        from_on=FROM,
        to_on=TO,
        blocked=[AccountsMoved("EUR", 3, 3_000, 5, 5_000, 2, 2_500)],
        freed=[AccountsMoved("EUR", 1, 900), AccountsMoved("CHF", 1, 700)],
        tries=[
            TriesMade("AM04", "EUR", 2, 9, 9_000, 9, 9_000, 0, 0),
            TriesMade("AM04", "EUR", 3, 2, 400, 1, 200, 1, 200),
        ],
    )
    francs, euros = result.currencies
    assert (francs.currency, francs.blocked) == ("CHF", CountAndAmount(-1, -700))
    assert euros.blocked == CountAndAmount(2, 2_100)
    assert euros.collected is not None
    assert euros.returned is not None
    assert euros.collected.low == euros.collected.high == CountAndAmount(-6, -5_200)
    assert euros.returned.expected == CountAndAmount(-3, -2_700)
    assert euros.tries == CountAndAmount(-2, -400)
    assert (euros.blocked_collected, euros.blocked_returned) == (
        CountAndAmount(-5, -5_000),
        CountAndAmount(-2, -2_500),
    )
    assert msgspec.json.decode(msgspec.json.encode(result), type=DryRun) == result


def test_further_tries_are_estimated_from_those_that_were_made() -> None:
    """A policy that tries once more looks free where nobody says how many of the tries come back again."""
    before = changed(BUILT_IN, {"AM04": Rule("none", 1)}, version=1)
    seen = [ReturnsSeen("AM04", "EUR", number, 100, 100_000) for number in (1, 2, 3)]
    made = [
        TriesMade("MS03", "EUR", 2, 40, 40_000, 0, 0, 40, 40_000),
        TriesMade("AM04", "EUR", 2, 40, 40_000, 30, 30_000, 10, 10_000),
    ]
    result = dry_run(before, BUILT_IN, from_on=FROM, to_on=TO, returns=seen, tries=made)
    (euros,) = result.currencies
    # Only returns of the second try: the first is tried again by both, the third by neither.
    assert euros.tries == CountAndAmount(100, 100_000)
    assert euros.collected is not None
    # By the tries of its own reason, which are enough to say something.
    assert euros.collected.expected == CountAndAmount(75, 75_000)
    assert euros.collected.low.count < 75 < euros.collected.high.count
    few = dry_run(
        before,
        BUILT_IN,
        from_on=FROM,
        to_on=TO,
        returns=seen,
        tries=[made[0], TriesMade("AM04", "EUR", 2, 10, 10_000, 10, 10_000, 0, 0)],
    )
    assert few.currencies[0].collected is not None
    assert few.currencies[0].collected.expected == CountAndAmount(20, 20_000)
    unknown = dry_run(before, BUILT_IN, from_on=FROM, to_on=TO, returns=seen)
    assert (unknown.currencies[0].collected, unknown.currencies[0].returned) == (None, None)
    assert unknown.odds_collected is None


@given(
    st.lists(
        st.builds(
            ReturnsSeen,
            st.sampled_from(["AM04", "MS03"]),
            st.sampled_from(["EUR", "CHF"]),
            st.integers(1, 3),
            st.integers(0, 500),
            st.integers(0, 10**7),
        ),
        max_size=5,
    ),
    st.integers(1, 300),
    st.integers(0, 300),
)
def test_ends_enclose_what_is_expected(returns: list[ReturnsSeen], collected: int, returned: int) -> None:
    """Whatever the history: never more than all, never less than none, and the expectation between."""
    before = changed(BUILT_IN, {"AM04": Rule("none"), "MS03": Rule("none", 1)}, version=1)
    made = [TriesMade("AM04", "EUR", 2, collected + returned, 0, collected, 0, returned, 0)]
    for result in dry_run(before, BUILT_IN, from_on=FROM, to_on=TO, returns=returns, tries=made).currencies:
        for found in (result.collected, result.returned):
            assert found is not None
            assert (
                0
                <= found.low.count
                <= found.expected.count
                <= found.high.count
                <= result.tries.count + len(returns)
            )
            assert found.low.amount_minor <= found.expected.amount_minor <= found.high.amount_minor


def test_equal_versions_change_nothing() -> None:
    """Else a dry run shows money where there is no decision."""
    result = dry_run(
        BUILT_IN, BUILT_IN, from_on=FROM, to_on=TO, tries=[TriesMade("AM04", "EUR", 2, 9, 9, 9, 9, 0, 0)]
    )
    assert (result.changes, result.currencies) == ((), ())
