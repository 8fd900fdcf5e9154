"""
Values of the API as text for people: money, times, sizes, states.

>>> money(1234567, "EUR"), money(150, "JPY"), money(-5, "EUR")
('12,345.67 EUR', '150 JPY', '-0.05 EUR')
>>> size(512), size(5_000_000)
('512 bytes', '4.8 MB')
>>> tone("approved"), tone("chargebacked"), tone("nonsense")
('good', 'bad', 'plain')
>>> title("chargebacked_before")
'Chargebacked before'
"""

from decimal import Decimal
from typing import Final, Literal, TypeAlias

from tether_core.money import Money

__all__ = ["Tone", "decimal", "money", "size", "title", "tone"]

Tone: TypeAlias = Literal["good", "bad", "waiting", "plain"]

# How a state is coloured, by its word in the API. A word that is missing here is shown without a colour.
_TONES: Final[dict[str, Tone]] = {
    **dict.fromkeys(
        """
        approved completed done finished applied processed ok accepted refunded voided resolved
        active closed delivered given ordered clear checked verified likely_verified
        """.split(),
        "good",
    ),
    **dict.fromkeys(
        """
        chargebacked error declined failed parked paused open contradicted conflicting rejected unknown refused
        disabled given_up missed revoked mismatch
        """.split(),
        "bad",
    ),
    **dict.fromkeys(
        """
        ready sending pending pending_async in_progress received waiting reading planning running screening queued
        needs_answer planned half_open made working confirming canary examining
        """.split(),
        "waiting",
    ),
}
_KILO: Final = 1024


def money(amount_minor: int, currency: str) -> str:
    """An amount with all decimals of its currency and groups of three digits."""
    return f"{decimal(amount_minor, currency):,} {currency}"


def decimal(amount_minor: int, currency: str) -> Decimal:
    """An amount as a number of whole units."""
    return Money(amount_minor, currency).decimal


def size(size_bytes: int) -> str:
    """A number of bytes, rounded."""
    if size_bytes < _KILO:
        return f"{size_bytes} bytes"
    if size_bytes < _KILO * _KILO:
        return f"{size_bytes / _KILO:.1f} kB"
    return f"{size_bytes / _KILO / _KILO:.1f} MB"


def tone(state: str) -> Tone:
    """How a state is coloured."""
    return _TONES.get(state, "plain")


def title(word: str) -> str:
    """A word of the API as the beginning of a sentence."""
    return word.replace("_", " ").replace(".", " ").capitalize()
