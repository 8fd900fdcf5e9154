"""
Odds from counts, with their uncertainty.

Of n things seen, k had an outcome. The share k / n is known the better the more were seen, so it is given as an interval: the Wilson score
interval, which stays within 0 and 1 and is right for few things and for shares near 0. Nothing seen says nothing: the odds are unknown, never 0.

>>> odds(3, of=100)
Odds(of=100, share=0.03, low=0.010255, high=0.084519)
>>> odds(0, of=10).high     # none of ten does not mean never
0.277533
>>> odds(0, of=0) is None
True

Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927; NIST/SEMATECH e-Handbook, 7.2.4.1.
"""

from math import sqrt
from typing import Final

import msgspec

__all__ = ["Odds", "Z", "odds"]

# The interval holds the true share in 95 of 100 cases.
Z: Final = 1.959964
_DIGITS: Final = 6


class Odds(msgspec.Struct, frozen=True):
    """
    How often an outcome is to be expected.

    Attributes:
        of: How many things were seen.
        share: Of these, the share with the outcome, 0 to 1.
        low: The lower end of the 95 % interval.
        high: Its upper end.
    """

    of: int
    share: float
    low: float
    high: float


def odds(had: int, *, of: int) -> Odds | None:
    """
    The odds of an outcome.

    Args:
        had: How many had it, 0 to *of*.
        of: How many were seen.

    Returns:
        The odds; `None` where nothing was seen.
    """
    assert 0 <= had <= of
    if of == 0:
        return None
    share = had / of
    square = Z * Z / of
    middle = (share + square / 2) / (1 + square)
    half = Z * sqrt(share * (1 - share) / of + square / (4 * of)) / (1 + square)
    low = 0.0 if had == 0 else max(0.0, middle - half)
    high = 1.0 if had == of else min(1.0, middle + half)
    return Odds(of, round(share, _DIGITS), round(low, _DIGITS), round(high, _DIGITS))
