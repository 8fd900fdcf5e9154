"""
Banks: which bank an account is at, from the bank code in its IBAN.

The tables are those of `schwifty`, which collects them from central banks. They are good for figures and not for decisions: some countries
are missing, some banks are out of date, and a bank code that they do not have may be valid. So nothing is refused by them, a BIC that a file
gives is never replaced, and an entry of the blacklist about a bank holds an account by them only where they know the bank (`tether_core.banks`).

>>> bank_of("DE89370400440532013000"), bank_of("NL91ABNA0417164300")
('COBADEFF', 'ABNANL2A')
>>> bank_of("DE89000000000532013000") is None, bank_of("") is None
(True, True)
>>> bank_bic("DEUTDEDBBER", "DE89370400440532013000"), bank_bic("n/a", "DE89370400440532013000")
('DEUTDEDB', 'COBADEFF')
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from schwifty import registry
from schwifty.exceptions import SchwiftyException

__all__ = ["bank_bic", "bank_of"]

# The bank, without the branch.
_LENGTH: Final = 8
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?")
# Country and check digits stand before what a country numbers its accounts by.
_BBAN_START: Final = 4


def bank_of(iban: str) -> str | None:
    """
    The bank of an account.

    Args:
        iban: Canonical.

    Returns:
        The first eight characters of its BIC, or `None` where the bank is not known.
    """
    cuts, banks = _country(iban[:2])
    return banks.get("".join([iban[start:end] for start, end in cuts]))


def bank_bic(bic: str | None, iban: str) -> str | None:
    """
    The bank of a debtor: of the BIC that the file gives, else of the IBAN.

    Args:
        bic: As the file has it; what is no BIC does not count.
        iban: Canonical.
    """
    if bic and _BIC.fullmatch(given := bic.replace(" ", "").upper()):
        return given[:_LENGTH]
    return bank_of(iban)


@cache
def _country(country: str) -> tuple[list[tuple[int, int]], Mapping[str, str]]:
    """Where the bank code stands in IBANs of a country, and its banks by bank code."""
    if country not in registry.get_countries():
        return [], {}
    try:
        spec = registry.get_iban_spec(country)
    except SchwiftyException:
        return [], {}
    cuts = [
        (_BBAN_START + spec.positions[part].start, _BBAN_START + spec.positions[part].end)
        for part in spec.bic_lookup_components
    ]
    banks: dict[str, str] = {}
    # The main office of a bank code is listed as primary; it is taken where several have the code.
    for bank in sorted(registry.get_banks_by_country(country), key=lambda found: not found.primary):
        if bank.bank_code and bank.bic:
            banks.setdefault(bank.bank_code, bank.bic[:_LENGTH])
    return cuts, banks
