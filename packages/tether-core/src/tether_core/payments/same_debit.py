"""
The identity of a debit: when two rows, or a row and an earlier debit, are the same debt.

A debit is identified by its account and three values of its row: reference, mandate and customer number. A list is often uploaded more than
once, and programs change its spelling: case, blanks, leading zeros, separators, numbers that a
spreadsheet program has turned into `12345.0`. So values are compared in a plain form, and a blank value matches any value.

| references | mandates and customer numbers | the two are |
| --- | --- | --- |
| equal | none of them differs | `same` |
| equal | one of them differs | `unclear`: a person is asked |
| differ | | `different` |
| one is blank, or both | none of them differs | `same` |
| one is blank, or both | one of them differs | `different` |

**Damaged numbers.** A spreadsheet program shows a long number as `1.23E+11` and saves it so: thousands of numbers become one text. Such
a value identifies nothing. It matches all numbers that it can have been, and a debit that is equal only by such a value is `unclear`.

Amount and name are not part of the identity, because they are often corrected. All checks for the same debit use this table: screening within
a file and against earlier uploads, planning, submission and due items.

Repeats within a list: `tether_core.payments.repeats`. Matches with debits of other lists: `tether_core.payments.matches`.

>>> key_of("RE-007", "M 1", None)
DebitKey(reference='re-7', mandate='m-1', customer='')
>>> compare(key_of("RE-007", None, None), key_of(" re 7", "M1", None))
'same'
>>> compare(key_of("7", "M1", None), key_of("7", "M2", None)), compare(key_of("7", "M1", None), key_of("8", "M1", None))
('unclear', 'different')
>>> plain("12345.0"), plain("12,345"), plain("'00012345"), plain(" - ")
('12345', '12-345', '12345', '')
>>> equal("12-345", "12345"), equal("12-345", "1-2345")
(True, False)
>>> cut = key_of("1,23E+11", None, None)
>>> compare(cut, cut), compare(cut, key_of("123456789012", None, None)), compare(cut, key_of("RE-7", None, None))
('unclear', 'unclear', 'different')
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final, Literal

import msgspec

__all__ = [
    "WINDOW_DAYS",
    "Comparison",
    "DebitKey",
    "bucket",
    "compare",
    "equal",
    "identifies",
    "is_damaged",
    "key_of",
    "plain",
]

# Shorter than the shortest month by the days that a weekend and two holidays can move a list, so that a monthly list never
# falls within it.
WINDOW_DAYS: Final = 25

Comparison = Literal["same", "unclear", "different"]

# A whole number as a spreadsheet program writes it: groups of three digits, perhaps with decimals that are zero.
_WHOLE: Final = re.compile(r"[0-9]+(?:[., '\u2019\u00a0\u202f][0-9]{3})*[.,]00?")
# What a spreadsheet program makes of a long number.
_CUT: Final = re.compile(r"([0-9])(?:[.,]([0-9]+))?e\+([0-9]{2,3})")
# Begins the plain form of such a value.
_MARK: Final = "~"
_ZEROS: Final = re.compile(r"(?<![0-9])0+(?=[0-9])")


class DebitKey(msgspec.Struct, frozen=True, order=True):
    """
    What a list says of a debit besides its account, in plain form; "" is blank.

    Attributes:
        reference: The creditor's reference.
        mandate: Of the permission to collect.
        customer: The sender's number of the person.
    """

    reference: str = ""
    mandate: str = ""
    customer: str = ""


@lru_cache(maxsize=65_536)
def plain(value: str | None) -> str:
    """
    Give the plain form of a reference, a mandate or a customer number.

    Args:
        value: As the file has it.

    Returns:
        Its letters and digits in lower case, without leading zeros of numbers, a hyphen in place of each run of other
        characters; "" for a value without letters and digits. A damaged number keeps its form, behind a mark.
    """
    if not value:
        return ""
    text = unicodedata.normalize("NFKC", value).strip().casefold()
    if _CUT.fullmatch(text.lstrip("'")):
        return _MARK + text.lstrip("'").replace(",", ".")
    if _WHOLE.fullmatch(text):
        text = re.sub(r"[.,]00?$", "", text)
    words = "".join([sign if sign.isalnum() else " " for sign in text]).split()
    return _ZEROS.sub("", "-".join(words))


def key_of(reference: str | None, mandate_id: str | None, customer_id: str | None) -> DebitKey:
    """
    Give the key of a debit.

    Args:
        reference: As the file has it.
        mandate_id: Likewise.
        customer_id: Likewise.

    Returns:
        The three in plain form.
    """
    return DebitKey(plain(reference), plain(mandate_id), plain(customer_id))


def is_damaged(value: str) -> bool:
    """Whether a value in plain form is a long number that a spreadsheet program has damaged."""
    return value.startswith(_MARK)


def _may_be(first: str, second: str) -> bool:
    """Whether two values of which one at least is damaged can be the same number."""
    (item, off), (other, other_off) = _reach(first), _reach(second)
    return item is not None and other is not None and abs(item - other) <= max(off, other_off)


def _reach(value: str) -> tuple[int | None, int]:
    """The number that a value in plain form shows, if any, and how far the true one can be from it."""
    found = _CUT.fullmatch(value[1:]) if is_damaged(value) else None
    if found is None:
        digits = value.replace("-", "")
        return (int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 100 else None), 0
    decimals = found[2] or ""
    off = 10 ** max(int(found[3]) - len(decimals), 0)
    return int(found[1] + decimals) * off, off


def identifies(key: DebitKey) -> bool:
    """Whether two rows of one account with this key are certainly one debit: no value that distinguishes them is damaged."""
    return compare(key, key) == "same"


def bucket(value: str) -> str:
    """The value without separators and zeros: what is equal has an equal one."""
    return value.replace("-", "").replace("0", "")


def equal(first: str, second: str) -> bool:
    """
    Return whether two values in plain form are equal, neither of them blank.

    Args:
        first: From `plain`.
        second: Likewise.

    Returns:
        Whether they agree, or agree once the separators of the one that has some are removed, and with them its leading zeros.
        `12-3` and `1-23` stay different.
    """
    if first == second:
        return True
    if ("-" in first) == ("-" in second):
        return False
    return _joins(first, second) if "-" in first else _joins(second, first)


@lru_cache(maxsize=65_536)
def _joins(parted: str, whole: str) -> bool:
    """Whether a program that removes separators can have made *whole* of *parted*, whose numbers had leading zeros."""
    return re.fullmatch("0*".join(map(re.escape, parted.split("-"))), whole) is not None


def compare(first: DebitKey, second: DebitKey) -> Comparison:
    """
    Return whether two debits of one account are the same, by the table of this module.

    Args:
        first: Of the one.
        second: Of the other.

    Returns:
        The same for both orders.
    """
    differ = _differ(first.mandate, second.mandate) or _differ(first.customer, second.customer)
    doubtful = _doubtful(first.mandate, second.mandate) or _doubtful(first.customer, second.customer)
    if first.reference and second.reference:
        if _differ(first.reference, second.reference):
            return "different"
        if not _doubtful(first.reference, second.reference):
            return "unclear" if differ else "same"
        doubtful = True
    if differ:
        return "different"
    return "unclear" if doubtful else "same"


def _differ(first: str, second: str) -> bool:
    if not (first and second):
        return False
    return not (_may_be(first, second) if _doubtful(first, second) else equal(first, second))


def _doubtful(first: str, second: str) -> bool:
    """Whether two values cannot be compared because a spreadsheet program has damaged one of them."""
    return bool(first and second) and (is_damaged(first) or is_damaged(second))
