"""
Fees of a gateway account: for each attempt, and for each return.

The gateway does not report what an acquirer charges, so fees are a setting (`TETHER_FEES`), one part per gateway account. An account without fees has unknown
fees, never 0: a report that adds nothing would look like one that adds zero.

>>> parse_fees("default 0.25 3.50 EUR, shop 0.2 4 EUR")["shop"]
Fees(attempt_minor=20, return_minor=400, currency='EUR')
>>> parse_fees("")
{}
>>> parse_fees("default 0.25 EUR")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: Write each account as "default 0.25 3.50 EUR": its name, the fee of an attempt, the fee of a return, the currency.
"""

import re
from decimal import Decimal
from typing import Final

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.money import exponent

__all__ = ["Fees", "parse_fees"]

_PART: Final = re.compile(
    r"([a-z0-9][a-z0-9_-]{0,31})\s+([0-9]{1,6}(?:\.[0-9]{1,3})?)\s+([0-9]{1,6}(?:\.[0-9]{1,3})?)\s+([A-Z]{3})"
)
_FORM: Final = 'write each account as "default 0.25 3.50 EUR": its name, the fee of an attempt, the fee of a return, the currency'


class Fees(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    What a gateway account costs.

    Attributes:
        attempt_minor: For each debit that is submitted, in whole minor units.
        return_minor: For each debit that is returned.
        currency: ISO 4217; a debit in another currency has unknown fees.
    """

    attempt_minor: int
    return_minor: int
    currency: str


def parse_fees(text: str) -> dict[str, Fees]:
    """
    Read the value of `TETHER_FEES`.

    Args:
        text: Accounts with commas between them; empty for none.

    Returns:
        The fees by account.

    Raises:
        InvalidRequest: when a part has another form, an account comes twice, or a fee has more decimals than its currency.
    """
    found = dict[str, Fees]()
    for part in text.split(","):
        if not part.strip():
            continue
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise InvalidRequest(_FORM)
        name, attempt, back, currency = match.groups()
        if name in found:
            raise InvalidRequest(f"the account {name} is named twice; name it once")
        found[name] = Fees(_minor(attempt, currency), _minor(back, currency), currency)
    return found


def _minor(text: str, currency: str) -> int:
    places = exponent(currency)
    minor = Decimal(text).scaleb(places)
    if minor != minor.to_integral_value():
        raise InvalidRequest(f"give at most {places} decimals in {currency}")
    return int(minor)
