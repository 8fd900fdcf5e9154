"""
Due items that read alike.

A due item is a name that a person gives to what is owed: each debtor pays each item once. So a person who writes the same
item in another way orders a second debit: `2026-3` after `2026-03`. Two items read **alike** when they differ only in case,
blanks, separators, leading zeros, or the order of year and month.

An item that has a digit in its name, such as `2026-03` or `invoice-4711`, is **specific**: it is owed once, in whatever list it
appears. One without, such as `once` or `fee`, says nothing about which month it is for; two lists that use it may be about two months.

>>> alike("2026-03", "2026-3"), alike("2026.03", "202603"), alike("03-2026", "2026-03")
(True, True, True)
>>> alike("2026-03", "2026-04"), alike("fee-1", "fee-11")
(False, False)
>>> specific("2026-03"), specific("once")
(True, False)
"""

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

__all__ = ["DUE_ITEM", "Warned", "alike", "normalised", "specific", "warnings", "warnings_of_enrolment"]

DUE_ITEM: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")
_PARTS: Final = re.compile(r"[0-9]+|[^\W\d_]+")
_YEAR_MONTH: Final = re.compile(r"((?:19|20)[0-9]{2})(0[1-9]|1[0-2])")
_YEAR: Final = re.compile(r"(?:19|20)[0-9]{2}")


def normalised(due_item: str) -> tuple[str, ...]:
    """
    What an item is compared by.

    Args:
        due_item: In any spelling.

    Returns:
        Its words and numbers in lower case, numbers without leading zeros; a year stands before its month.

    >>> normalised("Fee 03/2026")
    ('fee', '2026', '3')
    """
    parts = list[str]()
    for part in _PARTS.findall(due_item.casefold()):
        found = _YEAR_MONTH.fullmatch(part)
        parts += found.groups() if found else [part]
    for at in range(len(parts) - 1):
        month, year = parts[at], parts[at + 1]
        before = parts[at - 1] if at else ""
        if _YEAR.fullmatch(year) and _is_month(month) and not _YEAR.fullmatch(before):
            parts[at], parts[at + 1] = year, month
    return tuple(part.lstrip("0") or "0" if part.isdigit() else part for part in parts)


def alike(text: str, other: str) -> bool:
    """Whether *text* and *other* are the same item but for the spelling."""
    return text == other or (normalised(text) or text) == (normalised(other) or other)


def specific(due_item: str) -> bool:
    """Whether an item names one thing that is owed once, rather than a kind of thing that is owed each month."""
    return any(part.isdigit() for part in normalised(due_item))


class Warned(msgspec.Struct, frozen=True):
    """
    Debits of the same debtors under another due item.

    Attributes:
        code: "spelling" where the other item reads like this one, so that it is the same debt; else "name"; "billed" where a collection plan is asked about.
        due_item: The other item.
        debtors: How many of the debtors that would be billed, or enrolled, have an open or collected debit for it.
        amount_minor: The money of these debits, whole minor units.
        text: What to look at.
    """

    code: Literal["spelling", "name", "billed"]
    due_item: str
    debtors: int
    amount_minor: int
    text: str


def warnings(due_item: str, others: Mapping[str, tuple[int, int]]) -> list[Warned]:
    """
    Warn of debts that would be collected twice under two names.

    Args:
        due_item: What is about to be collected.
        others: Other due items of the debtors that would be billed: how many debtors have an open or collected debit, and their money.

    Returns:
        One warning an item; other spellings come first, then the most debtors.
    """
    found = list[Warned]()
    for other, (debtors, amount_minor) in others.items():
        open_or_collected = f"{_who(debtors)} an open or collected debit for {other}"
        if alike(other, due_item):
            text = f"{open_or_collected}, which reads like {due_item}: order with that spelling, or they pay twice."
            found.append(Warned("spelling", other, debtors, amount_minor, text))
        else:
            text = f"{open_or_collected}; make sure that {due_item} is another debt."
            found.append(Warned("name", other, debtors, amount_minor, text))
    return sorted(found, key=lambda warned: (warned.code != "spelling", -warned.debtors, warned.due_item))


def warnings_of_enrolment(others: Mapping[str, tuple[int, int]]) -> list[Warned]:
    """
    Warn of debts that a collection plan would collect once more.

    Args:
        others: Due items that no plan collects: how many of the debtors that would be enrolled have an open or collected debit, and their money.

    Returns:
        One warning an item; the most debtors come first.

    >>> warnings_of_enrolment({"2026-03": (2, 3_000)})[0].text
    '2 of these debtors have an open or collected debit of a billing run for 2026-03; make sure that the plan collects another debt.'
    """
    found = [
        Warned(
            "billed",
            item,
            debtors,
            amount_minor,
            f"{_who(debtors)} an open or collected debit of a billing run for {item}; make sure that the plan collects another debt.",
        )
        for item, (debtors, amount_minor) in others.items()
    ]
    return sorted(found, key=lambda warned: (-warned.debtors, warned.due_item))


def _who(debtors: int) -> str:
    return "1 of these debtors has" if debtors == 1 else f"{debtors} of these debtors have"


def _is_month(part: str) -> bool:
    return part.isdigit() and len(part) <= 2 and 1 <= int(part) <= 12
