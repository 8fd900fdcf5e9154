"""
Cells that hold an IBAN and a BIC together: "DE89 3704 0044 0532 0130 00 / COBADEFFXXX".

Programs print a bank account in one column, with or without labels and in either order. Both parts are checked in full, so only one
division of the cell can be right; anything else in the cell makes it no account.

>>> split_account("IBAN: DE89 3704 0044 0532 0130 00, BIC: COBADEFFXXX")
('DE89370400440532013000', 'COBADEFFXXX')
>>> split_account("COBADEFF DE89370400440532013000")
('DE89370400440532013000', 'COBADEFF')
>>> split_account("DE89370400440532013000 DE02120300000000202051") is None
True
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from tether_core.errors import InvalidIban
from tether_core.iban import compact, validate

__all__ = ["accounts_in", "is_account", "split_account"]

_LABELS: Final = re.compile(r"\b(?:IBAN|BIC|SWIFT)(?:[ -]?(?:CODE|NR|NO))?\b|[()\[\],;|]")
_BIC: Final = re.compile(r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_LIKELY: Final = re.compile(r"[A-Z]{2} ?[0-9]{2}")
_LENGTH_MAX: Final = 100
_WITHIN: Final = re.compile(r"\b[A-Z]{2} ?[0-9]{2}(?: ?[A-Z0-9]){11,30}\b")


def split_account(text: str) -> tuple[str, str] | None:
    """
    Take a cell with an IBAN and a BIC apart.

    Args:
        text: Any cell.

    Returns:
        The canonical IBAN and the BIC; `None` for a cell that holds anything else.
    """
    if not 23 <= len(text) <= _LENGTH_MAX:
        return None
    text = unicodedata.normalize("NFKC", text).upper()
    if _LIKELY.search(text) is None:
        return None
    both = compact(_LABELS.sub(" ", text))
    for size in (11, 8):
        for account, bic in ((both[:-size], both[-size:]), (both[size:], both[:size])):
            if _BIC.fullmatch(bic) is not None and is_account(account):
                return account, bic
    return None


def is_account(text: str) -> bool:
    """Whether a text is a valid IBAN and nothing else."""
    try:
        validate(text)
    except InvalidIban:
        return False
    return True


def accounts_in(text: str) -> Iterator[str]:
    """
    Find the IBANs in a line of text, such as a letterhead.

    Args:
        text: Any; its first 1,000 characters are looked at.

    Yields:
        Canonical IBANs.

    >>> list(accounts_in("Compte du créancier : FR14 2004 1010 0505 0001 3M02 606 Paris"))
    ['FR1420041010050500013M02606']
    """
    for found in _WITHIN.finditer(unicodedata.normalize("NFKC", text[:1_000]).upper()):
        words = found[0].split(" ")
        for end in range(len(words), 0, -1):
            if is_account(account := "".join(words[:end])):
                yield account
                break
