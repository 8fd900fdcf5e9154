from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from itertools import combinations, permutations
from random import Random
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tether_core.payments.attempt import AttemptState
from tether_core.payments.matches import DebitStatus, EarlierDebit, Elsewhere, elsewhere, matches, status_of
from tether_core.payments.repeats import repeats
from tether_core.payments.same_debit import DebitKey, compare, equal, identifies, key_of, plain

if TYPE_CHECKING:
    from tether_core.payments.same_debit import Comparison

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_every_stored_debit_has_a_status() -> None:
    """A state that the table forgets fails the screening of each file with that account in it."""
    assert {status_of(state) for state in (None, *get_args(AttemptState))} == set(get_args(DebitStatus))


# --- values ---


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("RE-2026-007", "re 2026/7"),
        ("RE-2026-007", "RE2026007"),
        ("000123", "123"),
        ("'000123", "123"),
        ('="000123"', "123"),
        ("12345", "12345.0"),
        ("12345", "12,345.00"),
        ("12345", "12.345"),
        ("12345", "12\u00a0345"),
        ("R\u200b1", "R-1"),
        ("\uff2d\uff11", "m1"),
        ("Straße 7", "STRASSE 7"),
    ],
)
def test_how_a_value_is_written_does_not_matter(first: str, second: str) -> None:
    """A spreadsheet program rewrites numbers as it opens a list; the same debits would go out once more."""
    assert equal(plain(first), plain(second))
    assert equal(plain(second), plain(first))


@pytest.mark.parametrize(
    ("first", "second"),
    [("12-3", "1-23"), ("R1", "R2"), ("2026-1", "2026-10"), ("A", "AA"), ("10", "1"), ("0", "7")],
)
def test_other_values_stay_different(first: str, second: str) -> None:
    """Two invoices taken for one are one that is never collected."""
    assert not equal(plain(first), plain(second))


@pytest.mark.parametrize("blank", [None, "", "  ", "-", "—", "\u00a0", "'"])
def test_a_value_without_letters_and_digits_is_blank(blank: str | None) -> None:
    """A dash for "none" taken for a reference would make all debits of an account the same one."""
    assert plain(blank) == ""


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("R1", "M1", "C1"), ("R1", "M1", "C1"), "same"),
        (("R1", None, None), ("R1", "M1", "C1"), "same"),
        (("R1", "M1", None), ("R1", "M2", None), "unclear"),
        (("R1", None, "C1"), ("R1", None, "C2"), "unclear"),
        (("R1", "M1", "C1"), ("R2", "M1", "C1"), "different"),
        ((None, "M1", None), (None, "M2", None), "different"),
        ((None, None, "C1"), ("R1", None, "C2"), "different"),
        ((None, "M1", None), ("R1", "m-1", None), "same"),
        ((None, None, None), ("R1", "M1", "C1"), "same"),
        ((None, None, None), (None, None, None), "same"),
        # What a spreadsheet program has left of long numbers.
        (("1.23E+11", None, None), ("1.23E+11", None, None), "unclear"),
        (("1.23E+11", None, None), ("1,23e+11", None, None), "unclear"),
        (("1.23E+11", None, None), ("1.235E+11", None, None), "unclear"),
        (("1.23E+11", None, None), ("1.24E+15", None, None), "different"),
        (("1.23E+11", None, None), ("123456789012", None, None), "unclear"),
        (("1.23E+11", None, None), ("12-3456-789012", None, None), "unclear"),
        (("1.23E+11", None, None), ("987654321098", None, None), "different"),
        (("1.23E+11", None, None), ("RE-7", None, None), "different"),
        (("1.23E+11", None, None), (None, None, None), "same"),
        (("1.23E+11", "M1", None), ("1.23E+11", "M2", None), "different"),
        (("R1", "1.23E+11", None), ("R1", "1.23E+11", None), "same"),
        ((None, "1.23E+11", None), (None, "1.23E+11", None), "unclear"),
        ((None, "1.23E+11", None), (None, "987654321098", None), "different"),
    ],
)
def test_the_table(
    first: tuple[str | None, ...], second: tuple[str | None, ...], expected: Comparison
) -> None:
    """Each line of it is money: taken twice, or not at all."""
    item, other = key_of(*first), key_of(*second)
    assert compare(item, other) == compare(other, item) == expected


# --- within a file ---

values = st.sampled_from(["", "", "1", "2"])
keys = st.builds(DebitKey, values, values, values)
# Separators make a third kind of value: "1-2" is the same as "12", and "12" the same as "1-2" alone.
odd_keys = st.builds(DebitKey, st.sampled_from(["", "1-23", "12-3", "123"]), values, values)


# Three references, which a mandate with a customer number matches as well as each matches it: it must not come first.
@example(
    [
        DebitKey("", "", "2"),
        DebitKey("", "1", "1"),
        DebitKey("", "2", ""),
        DebitKey("1", "", ""),
        DebitKey("2", "", ""),
        DebitKey("1-23", "", ""),
    ],
    Random(0),
)
@given(st.lists(st.one_of(keys, odd_keys), min_size=1, max_size=7), st.randoms())
def test_what_is_kept_are_different_debits_whatever_the_order(some: list[DebitKey], random: Any) -> None:
    """Two kept rows that are one debit collect it twice; a debit that is lost by the order of rows is never found."""
    rows = list(enumerate(some, 2))
    result = repeats(rows)
    by_row = dict(rows)
    assert set(result.kept) | result.same_as.keys() == by_row.keys()
    assert not set(result.kept) & result.same_as.keys()
    assert set(result.same_as.values()) <= set(result.kept)
    shuffled = list(some)
    random.shuffle(shuffled)
    again = repeats(list(enumerate(shuffled, 2)))
    assert len(again.kept) == len(result.kept)
    # The row kept for a debit may have fewer values; the debits themselves never repeat each other.
    for row, other in combinations(result.kept, 2):
        if compare(by_row[row], by_row[other]) == "same":
            assert {row, other} & set(result.same_as.values())
    # None of several debits that differ from each other is lost.
    distinct = list(dict.fromkeys(some))
    for size in range(len(distinct), len(result.kept), -1):
        for group in combinations(distinct, size):
            assert any(compare(*pair) == "same" for pair in combinations(group, 2)), group


def test_a_blank_row_takes_nothing_with_it_in_any_order() -> None:
    """A, blank, B: read from the top, the blank row would be the first of both, and one of two debits would be lost."""
    for order in permutations([key_of("A", None, None), DebitKey(), key_of("B", None, None)]):
        rows = dict(enumerate(order, 2))
        result = repeats(rows.items())
        assert {rows[row].reference for row in result.kept} == {"a", "b"}


def test_damaged_numbers_are_asked_about_and_never_excluded() -> None:
    """Ten invoices of a company are all "1.23E+11" now; nine would be lost as repeats of the first."""
    cut, blank = key_of("1.23E+11", None, None), DebitKey()
    result = repeats([(number, cut) for number in range(2, 12)])
    assert (result.same_as, result.kept) == ({}, tuple(range(2, 12)))
    assert result.unclear == dict.fromkeys(range(3, 12), 2)
    result = repeats([(2, blank), (3, cut), (4, cut), (5, key_of("123456789012", None, None))])
    assert result.unclear.keys() == {4, 5}
    assert repeats([(2, cut), (3, cut)], one_per_account=True).same_as == {3: 2}
    assert not identifies(cut)
    assert identifies(blank)


@pytest.mark.parametrize("count", [20, 21, 40])
def test_dozens_of_debits_of_one_account_are_all_kept(count: int) -> None:
    """From some number on not all sets are tried; a company with thirty invoices must not lose one by that, nor pay one twice."""
    some = [key_of(f"R{number}", None, None) for number in range(count)]
    # One row with the first reference and a mandate, one without any value: both repeat what is there.
    rows = dict(enumerate([DebitKey(), *some, key_of("R0", "M1", None)], 2))
    result = repeats(rows.items())
    assert {rows[row].reference for row in result.kept} == {key.reference for key in some}
    assert len(result.kept) == count
    assert result.same_as.keys() | set(result.kept) == rows.keys()


def test_many_debits_of_one_account_are_told_apart_in_time() -> None:
    """A club that pays for a thousand members from one account must not stop the reading of its list."""
    rows = [(number, key_of(f"R{number}", None, None)) for number in range(20_000)]
    rows += [(20_000 + number, key_of(f"r {number:05}", None, f"C{number}")) for number in range(20_000)]
    rows.append((50_000, DebitKey()))
    result = repeats(rows)
    assert len(result.kept) == 20_000
    assert 50_000 in result.same_as


def test_one_debit_per_account_where_that_is_the_rule() -> None:
    """With this setting an account is never debited twice, with any references."""
    rows = [(2, key_of("A", None, None)), (3, key_of("B", None, None))]
    assert repeats(rows, one_per_account=True).same_as == {3: 2}


# --- against imported debits ---


def earlier(
    key: DebitKey, current_status: DebitStatus = "collected", *, days: int = 3, **more: Any
) -> EarlierDebit:
    """A debit of another upload."""
    return EarlierDebit(
        key, more.pop("amount_minor", 1000), NOW - timedelta(days=days), current_status, 7, **more
    )


A, B, NONE = key_of("A", None, None), key_of("B", None, None), DebitKey()


@pytest.mark.parametrize(
    ("key", "amount_minor", "before", "kind"),
    [
        (A, 900, earlier(A, days=25), "already_collected"),
        (A, 900, earlier(A, "under_way"), "already_collected"),
        (A, 900, earlier(A, "waiting"), "waiting_elsewhere"),
        (A, 900, earlier(A, "refused"), "recently_attempted"),
        (A, 900, earlier(A, "charged_back"), "recently_attempted"),
        (A, 900, earlier(A, "refunded"), "collected_lately"),
        (A, 900, earlier(A, days=26), "reference_again"),
        (A, 900, earlier(A, "refunded", days=900), "reference_again"),
        (A, 900, earlier(A, "refused", days=26), None),
        (A, 900, earlier(A, "waiting", days=26), None),
        (NONE, 900, earlier(A), "collected_lately"),
        (A, 900, earlier(NONE, "waiting"), "collected_lately"),
        (NONE, 1000, earlier(NONE, days=26), None),
        (B, 1000, earlier(A), "collected_lately"),
        (B, 1000, earlier(A, "refused"), None),
        (B, 900, earlier(A), None),
        (B, 1000, earlier(A, days=26), None),
        (key_of("A", "M1", None), 900, earlier(key_of("A", "M2", None), days=900), "identity_unclear"),
        (key_of("A", "M1", None), 900, earlier(key_of("A", "M2", None), "refused", days=26), None),
    ],
)
def test_what_an_earlier_debit_means(
    key: DebitKey, amount_minor: int, before: EarlierDebit, kind: str | None
) -> None:
    """Too little is a debit taken twice, too much is a month's money that nobody collects."""
    found = matches([(2, key, amount_minor)], [before], now=NOW)
    assert [match.kind for match in found.get(2, ())] == ([] if kind is None else [kind])
    # An account with many debits goes another way.
    others = [earlier(key_of(f"X{number}", None, None), amount_minor=1) for number in range(1_001)]
    many = matches([(2, key, amount_minor)], [before, *others], now=NOW)
    wanted = {match.kind for match in many.get(2, ())}
    assert wanted == ({kind} if kind else set()) | ({"collected_lately"} if key == NONE else set())


def test_a_wider_window_asks_and_leaves_nothing_out() -> None:
    """A monthly list that is excluded as a whole is a month without money, and nobody looks until the rent is due."""
    for current_status in ("collected", "under_way", "waiting", "refused"):
        for key in (A, NONE):
            (some,) = matches(
                [(2, key, 1000)], [earlier(A, current_status, days=30)], now=NOW, window_days=40
            ).values() or [()]
            assert {match.kind for match in some} <= {"reference_again", "collected_lately"}


LISTS = int(os.environ.get("TETHER_LISTS", "100"))  # that are written anew


# A list as people make one: the amount of each row, and what it says of it.
list_rows = st.lists(
    st.tuples(
        st.sampled_from([1000, 2000]),
        st.sampled_from(["", "RE-007", "RE-8", "12-3", "12345"]),
        st.sampled_from(["", "", "M-01", "M-2"]),
        st.sampled_from(["", "", "0017", "18"]),
    ),
    min_size=1,
    max_size=6,
)
REWRITES = {
    "as it was": lambda value: value,
    "lower case": str.lower,
    "blanks": lambda value: f"  {value.replace('-', ' ')} ",
    "separators removed": lambda value: value.replace("-", ""),
    "zeros removed": lambda value: value.replace("-0", "-").lstrip("0"),
    "zeros added": lambda value: f"00{value}" if value.isdigit() else value,
    "as numbers": lambda value: f"{value}.0" if value.isdigit() else value,
    "grouped": lambda value: f"{int(value):,}" if value.isdigit() else value,
    "excluded": lambda _: "",
}


# In parts: hypothesis remembers the lists of one test, and each further one takes longer.
@pytest.mark.parametrize("part", range(-(-LISTS // 1_000)))
@settings(max_examples=min(LISTS, 1_000))
@given(
    rows=list_rows,
    rewrite=st.sampled_from(sorted(REWRITES)),
    numbers=st.sampled_from(["kept", "new"]),
    days=st.integers(0, 25),
    random=st.randoms(),
)
def test_no_rewriting_of_a_list_debits_anybody_twice_without_a_question(
    part: int, rows: list[tuple[int, str, str, str]], rewrite: str, numbers: str, days: int, random: Any
) -> None:
    """
    All rows are of one account. The list is collected; it comes again rewritten, perhaps with new numbers, in another order.

    A row with any collected debit must not be accepted without a question.
    """
    assert part >= 0
    once = {number: (amount, key_of(*result)) for number, (amount, *result) in enumerate(rows)}
    first = repeats([(number, key) for number, (_, key) in once.items()])
    collected = [earlier(once[number][1], days=days, amount_minor=once[number][0]) for number in first.kept]
    order = list(range(len(rows)))
    random.shuffle(order)
    again: dict[int, tuple[int, DebitKey]] = {}
    for place, origin in enumerate(order):
        amount, *result = rows[origin]
        reference, mandate, customer = map(REWRITES[rewrite], result)
        if numbers == "new" and reference:
            reference = f"NEW-{place}"
        again[place] = amount, key_of(reference, mandate, customer)
    second = repeats([(place, key) for place, (_, key) in again.items()])
    found = matches([(place, key, amount) for place, (amount, key) in again.items()], collected, now=NOW)
    for place in second.kept:
        if order[place] in first.kept and place not in second.unclear:
            assert found.get(place), (rows, again[place])


# --- when a debit is planned ---

ITEM = "2026-03"


@pytest.mark.parametrize(
    ("key", "before", "due_item", "field"),
    [
        (A, earlier(A, days=300, due_item=ITEM), ITEM, "collected"),
        (A, earlier(A, "under_way", days=300, due_item=ITEM), ITEM, "under_way"),
        (A, earlier(A, "charged_back", days=300, due_item=ITEM), ITEM, "returned"),
        (A, earlier(A, "refunded", days=300, due_item=ITEM), ITEM, "refunded"),
        (A, earlier(A, "refused", due_item=ITEM), ITEM, None),
        (A, earlier(A, due_item="2026-02", days=28), ITEM, None),  # next month's debit
        (A, earlier(A, due_item="2026-02", days=3), ITEM, "repeated"),  # the same list under another name
        (A, earlier(A, days=300, due_item="once"), "once", "collected"),
        (NONE, earlier(NONE, days=28, due_item="once"), "once", None),  # a monthly list without references
        (NONE, earlier(NONE, days=25, due_item="once"), "once", "collected"),
        (NONE, earlier(NONE, days=28, due_item=ITEM), ITEM, "collected"),
        (
            B,
            earlier(A, due_item=ITEM),
            ITEM,
            "repeated",
        ),  # same amount, another reference, and nobody was asked
        (B, earlier(A, due_item=ITEM, amount_minor=900), ITEM, None),
        (A, earlier(A, "waiting"), ITEM, "waiting"),
        (B, earlier(A, "waiting"), ITEM, None),
        (A, earlier(A, "waiting", days=26), ITEM, None),
    ],
)
def test_what_other_uploads_did_about_an_item(
    key: DebitKey, before: EarlierDebit, due_item: str, field: str | None
) -> None:
    """Two files hold one invoice: it is collected once, whichever is billed first."""
    result = elsewhere(key, 1000, [before], due_item=due_item, now=NOW)
    said = {name for name in Elsewhere.__struct_fields__ if getattr(result, name) is not None}
    assert said - {"tried_days_ago"} == ({field} if field else set())


def test_days_are_those_of_the_banks() -> None:
    """A person reads the day of the statement; by UTC a debit of the late evening would be shown a day before it."""
    late = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    before = [EarlierDebit(key_of("R", None, None), 1000, late, "collected", 7, "once")]
    ((match,),) = matches([(2, key_of("R", None, None), 1000)], before, now=NOW).values()
    assert match.on.isoformat() == "2026-03-02"


def test_an_answer_counts_for_what_was_asked_about() -> None:
    """The answer "collect again" does not apply to debits submitted afterwards, nor to a named item of a reference."""
    before = [earlier(NONE, days=3, due_item="once")]
    result = elsewhere(NONE, 1000, before, due_item="once", now=NOW, taken_at=NOW - timedelta(days=2))
    assert result == Elsewhere()
    result = elsewhere(NONE, 1000, before, due_item="once", now=NOW, taken_at=NOW - timedelta(days=4))
    assert result.collected is not None
    named = [earlier(A, days=3, due_item=ITEM)]
    assert elsewhere(A, 1000, named, due_item=ITEM, now=NOW, taken_at=NOW).collected is not None
