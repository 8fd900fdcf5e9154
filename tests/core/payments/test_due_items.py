"""Due items that read alike: one debt under two spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.payments.due_items import DUE_ITEM, alike, specific, warnings


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("2026-03", "2026-3"),
        ("2026-03", "2026.03"),
        ("2026-03", "202603"),
        ("2026-03", "03-2026"),
        ("2026-03", "3.2026"),
        ("fee-2026-03", "fee.03.2026"),
        ("inv-0042", "inv-42"),
        ("INV 42", "inv-42"),
        ("once", " Once "),
        ("q1-2026", "q1.2026"),
    ],
)
def test_spellings_of_one_item_are_alike(text: str, other: str) -> None:
    """Each pair is one debt to the person who writes it, and would be two debits."""
    assert alike(text, other)
    assert alike(other, text)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("2026-03", "2026-04"),
        ("2026-03", "2025-03"),
        ("fee-1", "fee-11"),
        ("1-11", "11-1"),
        ("once", "fee"),
        ("2026-03-01", "2026-03-02"),
        ("2026-01-02", "2026-02-01"),
    ],
)
def test_other_items_are_other_items(text: str, other: str) -> None:
    """April must not be taken for March, or nobody pays April."""
    assert not alike(text, other)


@given(st.from_regex(DUE_ITEM, fullmatch=True))
def test_every_item_is_alike_itself_and_can_be_compared(item: str) -> None:
    """An item that is not even itself would be ordered twice."""
    assert alike(item, item)
    assert alike(item, item.upper())
    assert alike(item, item.replace("-", "."))


def test_what_names_one_thing_is_specific() -> None:
    """An invoice is owed once for ever; a fee comes back each month."""
    assert specific("2026-03")
    assert specific("inv-42")
    assert not specific("once")
    assert not specific("fee")


def test_warnings_name_another_spelling_first() -> None:
    """Among the months before, the person must not overlook the one month that would be collected twice."""
    found = warnings("2026-03", {"2026-01": (9, 900), "2026-3": (2, 200), "2026-02": (1, 100)})
    assert [(item.code, item.due_item, item.debtors, item.amount_minor) for item in found] == [
        ("spelling", "2026-3", 2, 200),
        ("name", "2026-01", 9, 900),
        ("name", "2026-02", 1, 100),
    ]
    assert "pay twice" in found[0].text
    assert found[2].text.startswith("1 of these debtors has ")
    assert warnings("2026-03", {}) == []
