"""
What debits are expected to do, from what earlier ones did.

The debtors of an upload are counted in groups: bank, country, price band, and what is known of the account. Each group has the odds of the most
special cell of the own history that has enough debits to say something:

| cell | looked up first |
|---|---|
| bank, price band, history of the account | yes |
| bank, history of the account | |
| country, price band, history of the account | |
| country, history of the account | |
| history of the account | |
| all debits | last |

The history of an account is `new` (nothing was collected from it), `paid` (something was, and nothing was returned) or `returned` (something was
returned). Only debits count whose eight weeks are over: younger ones may still come back, and would make every upload look better than it is.

The uncertainty has two parts. A share is known the worse, the fewer debits its cell has (a Beta distribution with Jeffreys' prior); and with the same
odds one upload has more returns than the next. Both are in the 95 % interval of a sum; groups that share a cell share its error. What is in no interval:
debtors who behave otherwise than those of the past.

>>> some = [Seen("COBADEFF", "DE", 1000, "paid", 400, 8, 4)]
>>> odds = Cells(some)
>>> groups = [DebtorGroup("COBADEFF", "DE", 1000, "paid", 100, 150_000, 225_000_000), DebtorGroup("DEUTDEFF", "DE", 1000, "new", 10, 15_000, 22_500_000)]
>>> returned = expected(groups, odds, outcome="returned")
>>> returned.count, returned.amount_minor, returned.high_minor > returned.amount_minor > returned.low_minor
(2, 3498, True)
>>> expected(groups, Cells([]), outcome="returned") is None     # no history says nothing, not 0
True

Source: the beta-binomial distribution; H. Jeffreys, Theory of probability, 1961 (the prior).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Final, Literal, TypeAlias

import msgspec

from tether_core.odds import Z

__all__ = ["CELL_MIN", "Cells", "DebtorGroup", "ExpectedDebits", "History", "Outcome", "Seen", "expected"]

History: TypeAlias = Literal["new", "paid", "returned"]
Outcome: TypeAlias = Literal["returned", "failed"]
# A cell with fewer debits is passed over for a wider one; with 100, a share of 3 % is known to about 3 points.
CELL_MIN: Final = 100
_PRIOR: Final = 0.5

_Key: TypeAlias = tuple[str, ...]


class Seen(msgspec.Struct, frozen=True):
    """
    Earlier debits of one group.

    Attributes:
        bank: Eight characters of a BIC, or "".
        country: Of the IBAN.
        price_band: Its lower bound, in whole minor units.
        history: Of the account, before the debit.
        count: How many were submitted and are final.
        returned: Of these, returned.
        failed: Of these, declined or ended in an error.
    """

    bank: str
    country: str
    price_band: int
    history: History
    count: int
    returned: int
    failed: int


class DebtorGroup(msgspec.Struct, frozen=True):
    """
    Debtors of an upload.

    Attributes:
        bank: Eight characters of a BIC, or "".
        country: Of the IBAN.
        price_band: Its lower bound, in whole minor units.
        history: Of the account, until now.
        count: How many.
        amount_minor: Their amounts.
        squares: The sum of the squares of their amounts: a few large debits are less certain than many small ones.
    """

    bank: str
    country: str
    price_band: int
    history: History
    count: int
    amount_minor: int
    squares: int


class ExpectedDebits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    How many debits are expected to have an outcome, with the ends of the 95 % interval.

    Attributes:
        count: The most likely number.
        low_count: The lower end.
        high_count: The upper end.
        amount_minor: The money of the most likely, in whole minor units.
        low_minor: The lower end.
        high_minor: The upper end.
    """

    count: int
    low_count: int
    high_count: int
    amount_minor: int
    low_minor: int
    high_minor: int


class Cells:
    """The own history, by every cell that an estimate may use."""

    def __init__(self, seen: Iterable[Seen]) -> None:
        """Count each debit in every cell that it belongs to."""
        self._counts: dict[_Key, list[int]] = defaultdict(lambda: [0, 0, 0])
        for row in seen:
            for key in set(_keys(row)):
                counts = self._counts[key]
                counts[0] += row.count
                counts[1] += row.returned
                counts[2] += row.failed

    def key_of(self, group: DebtorGroup) -> _Key | None:
        """The cell that a group's odds are taken from; `None` without any history."""
        keys = _keys(group)
        enough = (key for key in keys if self._count(key) >= CELL_MIN)
        return next(enough, keys[-1] if self._count(keys[-1]) else None)

    def beta(self, key: _Key, *, outcome: Outcome) -> tuple[float, float]:
        """Mean and variance of a cell's share with an outcome."""
        count, returned, failed = self._counts[key]
        had = returned if outcome == "returned" else failed
        first, second = had + _PRIOR, count - had + _PRIOR
        total = first + second
        return first / total, first * second / (total * total * (total + 1))

    def _count(self, key: _Key) -> int:
        return self._counts[key][0] if key in self._counts else 0


def _keys(row: Seen | DebtorGroup) -> list[_Key]:
    band = str(row.price_band)
    return [
        # A debtor without a known bank is no customer of a bank named "".
        *([("bank", row.bank, band, row.history), ("bank", row.bank, row.history)] if row.bank else []),
        ("country", row.country, band, row.history),
        ("country", row.country, row.history),
        ("history", row.history),
        ("all",),
    ]


def expected(groups: Sequence[DebtorGroup], cells: Cells, *, outcome: Outcome) -> ExpectedDebits | None:
    """
    How many debits of some groups are expected to have an outcome.

    Args:
        groups: In one currency.
        cells: The own history.
        outcome: "returned", or "failed" before any money came.

    Returns:
        The expectation; `None` where there is no history, or no debtor.
    """
    sums: dict[_Key, list[int]] = defaultdict(lambda: [0, 0, 0])
    for group in groups:
        key = cells.key_of(group)
        if key is None:
            return None
        for place, value in enumerate((group.count, group.amount_minor, group.squares)):
            sums[key][place] += value
    if not sums:
        return None
    mean = mean_minor = variance = variance_minor = 0.0
    for key, (count, amount_minor, squares) in sums.items():
        share, doubt = cells.beta(key, outcome=outcome)
        mean += count * share
        mean_minor += amount_minor * share
        variance += count * share * (1 - share) + (count * count - count) * doubt
        variance_minor += squares * share * (1 - share) + (amount_minor * amount_minor - squares) * doubt
    count = sum(group.count for group in groups)
    amount_minor = sum(group.amount_minor for group in groups)
    low, high = _ends(mean, variance, count)
    low_minor, high_minor = _ends(mean_minor, variance_minor, amount_minor)
    return ExpectedDebits(round(mean), low, high, round(mean_minor), low_minor, high_minor)


def _ends(mean: float, variance: float, most: int) -> tuple[int, int]:
    half = Z * sqrt(max(0.0, variance))
    return max(0, round(mean - half)), min(most, round(mean + half))
