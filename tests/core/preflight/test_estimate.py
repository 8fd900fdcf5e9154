"""What debits are expected to do: between none and all, wider with less history, and from debits like them where there are enough."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.preflight.estimate import CELL_MIN, Cells, DebtorGroup, Seen, expected

BANKS = ["COBADEFF", "DEUTDEFF", ""]
HISTORIES = ["new", "paid", "returned"]


@st.composite
def seen(draw: st.DrawFn) -> Seen:
    """Some earlier debits."""
    count = draw(st.integers(1, 5_000))
    returned = draw(st.integers(0, count))
    return Seen(
        draw(st.sampled_from(BANKS)),
        draw(st.sampled_from(["DE", "AT"])),
        draw(st.sampled_from([0, 1_000])),
        draw(st.sampled_from(HISTORIES)),
        count,
        returned,
        draw(st.integers(0, count - returned)),
    )


@st.composite
def group(draw: st.DrawFn) -> DebtorGroup:
    """Some debtors, all of one amount."""
    count, each = draw(st.integers(1, 5_000)), draw(st.integers(1, 100_000))
    return DebtorGroup(
        draw(st.sampled_from(BANKS)),
        draw(st.sampled_from(["DE", "AT", "FR"])),
        draw(st.sampled_from([0, 1_000])),
        draw(st.sampled_from(HISTORIES)),
        count,
        count * each,
        count * each * each,
    )


@given(st.lists(seen(), min_size=1, max_size=6), st.lists(group(), min_size=1, max_size=6))
def test_what_is_expected_lies_between_none_and_all(history: list[Seen], groups: list[DebtorGroup]) -> None:
    """More returns than debits, or negative money, on a report that somebody signs."""
    cells = Cells(history)
    for outcome in ("returned", "failed"):
        found = expected(groups, cells, outcome=outcome)
        assert found is not None
        assert 0 <= found.low_count <= found.count <= found.high_count <= sum(some.count for some in groups)
        assert 0 <= found.low_minor <= found.amount_minor <= found.high_minor
        assert found.high_minor <= sum(some.amount_minor for some in groups)


def test_the_odds_come_from_the_most_special_cell_that_has_enough() -> None:
    """A bank whose customers always send money back must not hide in the average; four debits of it must not decide."""
    cells = Cells(
        [
            Seen("COBADEFF", "DE", 1_000, "paid", CELL_MIN, 50, 0),
            Seen("DEUTDEFF", "DE", 1_000, "paid", CELL_MIN - 1, 0, 0),
            Seen("", "DE", 0, "new", 5 * CELL_MIN, 5, 0),
        ]
    )

    def returned(bank: str, country: str, band: int, history: str) -> int:
        asked = DebtorGroup(bank, country, band, history, 1_000, 1_000_000, 10**9)  # type: ignore[arg-type]
        found = expected([asked], cells, outcome="returned")
        assert found is not None
        return found.count

    assert returned("COBADEFF", "DE", 1_000, "paid") == 500
    # Too few of this bank: those of the country and band, of both banks.
    assert 245 <= returned("DEUTDEFF", "DE", 1_000, "paid") <= 260
    assert returned("UNKNOWNB", "AT", 0, "new") == round(1_000 * 5.5 / 501)
    # Nobody returned a debit before: all debits say what little they can.
    assert returned("COBADEFF", "DE", 1_000, "returned") == round(1_000 * 55.5 / 700)


def test_less_history_says_less() -> None:
    """The same share from a tenth of the debits has a wider interval, else the first week looks as sure as the fifth year."""
    asked = [DebtorGroup("", "DE", 0, "paid", 1_000, 1_000_000, 10**9)]
    widths = []
    for times in (1, 10, 100):
        found = expected(
            asked, Cells([Seen("", "DE", 0, "paid", 200 * times, 10 * times, 0)]), outcome="returned"
        )
        assert found is not None
        widths.append(found.high_count - found.low_count)
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3


def test_a_few_large_debits_are_less_certain_than_many_small_ones() -> None:
    """Half of the money in one debit: it comes or it does not."""
    cells = Cells([Seen("", "DE", 0, "paid", 10_000, 500, 0)])
    even = expected(
        [DebtorGroup("", "DE", 0, "paid", 100, 100_000, 100 * 1_000**2)], cells, outcome="returned"
    )
    uneven = expected(
        [DebtorGroup("", "DE", 0, "paid", 100, 100_000, 50_000**2 + 99 * 505**2)], cells, outcome="returned"
    )
    assert even is not None
    assert uneven is not None
    assert uneven.high_minor > even.high_minor
    assert uneven.high_count == even.high_count


@pytest.mark.parametrize("share", [0.005, 0.03, 0.2])
def test_the_interval_holds_nineteen_of_twenty_outcomes(share: float) -> None:
    """The promise of 95 %: made-up histories and uploads with the same odds, counted."""
    rng = random.Random(7)
    inside = 0
    rounds = 300
    for _ in range(rounds):
        returned = sum(rng.random() < share for _ in range(800))
        found = expected(
            [DebtorGroup("", "DE", 0, "paid", 400, 400_000, 400 * 1_000**2)],
            Cells([Seen("", "DE", 0, "paid", 800, returned, 0)]),
            outcome="returned",
        )
        assert found is not None
        came = sum(rng.random() < share for _ in range(400))
        inside += found.low_count <= came <= found.high_count
    assert inside / rounds >= 0.9


def test_no_history_is_unknown() -> None:
    """Not 0 returns: unknown."""
    assert expected([DebtorGroup("", "DE", 0, "paid", 1, 1, 1)], Cells([]), outcome="returned") is None
    assert expected([], Cells([Seen("", "DE", 0, "paid", 1, 0, 0)]), outcome="returned") is None
