"""
Amounts of money in whole minor units with a currency.

The gateway counts in the minor unit of ISO 4217 (cent, yen, fils), so EUR 3 is 300, JPY 150 is 150 and
KWD 100.333 is 100333. Amounts are never binary floats.

>>> parse("12.34", currency="EUR")
Money(amount_minor=1234, currency='EUR')
>>> str(parse("150", currency="JPY"))
'150 JPY'
>>> parse("1.999", currency="EUR")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidAmount: '1.999' is not an amount: EUR has 2 decimals, not 3; correct the amount.
"""

import re
from decimal import Decimal

import msgspec

from tether_core import redaction
from tether_core.errors import InvalidAmount, InvalidRequest

__all__ = ["Money", "exponent", "parse"]

# ISO 4217 list one: the currencies that do not have two decimals.
_EXPONENTS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
_PLAIN = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,4})?")


def exponent(currency: str) -> int:
    """
    The number of decimals of *currency*.

    Args:
        currency: Three capital letters of ISO 4217.

    Returns:
        0 to 4; 2 for every code not listed otherwise, known or not.

    Raises:
        InvalidRequest: when *currency* is not three ASCII capitals.

    Source: ISO 4217 list one.
    """
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        raise InvalidRequest("give three capital letters of ISO 4217, e.g. EUR", field="currency")
    return _EXPONENTS.get(currency, 2)


class Money(msgspec.Struct, frozen=True, order=True):
    """
    An amount of money.

    Attributes:
        amount_minor: Whole minor units; negative for money that flows back.
        currency: Three capital letters of ISO 4217.
    """

    amount_minor: int
    currency: str

    def __add__(self, other: "Money") -> "Money":
        """Add an amount of the same currency."""
        if self.currency != other.currency:
            raise InvalidRequest(
                f"{self.currency} and {other.currency} cannot be added; add amounts of one currency",
                field="currency",
            )
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __str__(self) -> str:
        """The canonical text: a point, all decimals of the currency, no grouping; `parse` reads it back."""
        return f"{self.decimal} {self.currency}"

    @property
    def decimal(self) -> Decimal:
        """The amount in major units, with exactly the decimals of its currency."""
        # Built from its digits: arithmetic would round to the decimal context of the calling thread.
        digits = tuple(map(int, str(abs(self.amount_minor))))
        return Decimal((int(self.amount_minor < 0), digits, -exponent(self.currency)))


def parse(text: str, *, currency: str) -> Money:
    """
    Read the canonical text of an amount in major units.

    `tether_core.spreadsheet` reads the spellings of spreadsheets ("1.234,56", "EUR 7,50"). Here an amount has only digits, at
    most one point and a leading minus.

    Args:
        text: ASCII digits with at most one point, e.g. "12.34".
        currency: Three capital letters of ISO 4217.

    Returns:
        The amount, exact.

    Raises:
        InvalidAmount: when *text* is anything else, or has more decimals than the currency.
    """
    places = exponent(currency)
    if not _PLAIN.fullmatch(text):
        # Redacted: an account number in the wrong column must not appear in an error.
        raise InvalidAmount(
            redaction.text(text), why="write digits with at most one decimal point, e.g. 12.34"
        )
    whole, _, decimals = text.partition(".")
    if len(decimals) > places:
        raise InvalidAmount(
            text, why=f"{currency} has {places} decimals, not {len(decimals)}; correct the amount"
        )
    return Money(int(whole + decimals.ljust(places, "0")), currency)
