"""
Countries in which the gateway debits accounts by SEPA direct debit.

A debtor in another country may be reachable by the scheme all the same; the gateway rejects the request (`billing_address/country`).

>>> "DE" in SDD_COUNTRIES, "RS" in SDD_COUNTRIES
(True, False)

Source: Genesis API documentation, "SDD sale", supported countries (v60.1).
"""

from typing import Final

__all__ = ["SDD_COUNTRIES"]

SDD_COUNTRIES: Final = frozenset(
    "AD AT BE BG CH CY CZ DE DK EE ES FI FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MT NL NO PL PT RO SE SI SK SM VA".split()
)
