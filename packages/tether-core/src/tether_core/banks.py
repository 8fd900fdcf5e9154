"""
Banks on the blacklist: entries by BIC, and the automatic block of a bank whose debits come back.

An entry about banks is written in one of three ways:

| written | is about |
|---|---|
| `COBADEFF`, or `COBADEFFXXX` | every account at this bank |
| `COBADEFF100` | accounts whose file names exactly this branch |
| `COBA*`, `COBADE*` | every account whose BIC begins so; four characters at least |

The bank of an account is known by the bank code in its IBAN, which has no branch, and by the BIC in its file. A debit goes where the IBAN says,
whatever BIC stands beside it, so the entries about both count. An account whose bank nobody knows matches no entry.

>>> canonical("coba deff xxx"), canonical("coba*"), canonical("COBADEFF100")
('COBADEFF', 'COBA*', 'COBADEFF100')
>>> entries = {"COBA*": ActiveEntry("hold", "RETURNS"), "COBADEFF100": ActiveEntry("block", "MANUAL")}
>>> find(entries, bic="COBADEFF100", bank="COBADEFF").action, find(entries, bic=None, bank="COBADEFF").action
('block', 'hold')
>>> find(entries, bic="n/a", bank=None) is None
True
>>> find(entries, bic="DEUTDEFF", bank="COBADEFF").action
'hold'
>>> canonical("DE*")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: bic: Write a BIC of 8 or 11 characters, or its beginning of 4 to 10 characters with a star, such as COBADEFF or COBADE*.

**The automatic block.** A bank from which many debits come back costs fees, and counts against the creditor at the gateway. Where the operator has set a limit, a
bank is put on hold when its return rate (`tether_core.figures.return_rate`) is above it: over the debits of the last days, by the day on which they were made, and
only if there are enough of them. Such an entry expires by itself. Debits from before its end, or before a person lifted it, never count again: they
were judged once.

>>> policy = BlockPolicy(rate_max=0.05, floor=100)
>>> rated = decide([BankCounts("COBADEFF", 400, 30, 2), BankCounts("DEUTDEFF", 99, 90, 0)], policy=policy)
>>> [(block.bank, block.rate) for block in rated]
[('COBADEFF', 0.0704)]
"""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from tether_core.blacklist import ActiveEntry
from tether_core.errors import InvalidRequest

__all__ = [
    "REASON_CODE",
    "BankBlock",
    "BankCounts",
    "BlockPolicy",
    "canonical",
    "counts_since",
    "decide",
    "find",
    "written_as",
]

# The reason of entries that the return rate of a bank caused.
REASON_CODE: Final = "RETURNS"

_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_PREFIX: Final = re.compile(r"[A-Z0-9]{4}(?:[A-Z]{1,2}|[A-Z]{2}[A-Z0-9]{1,4})?\*")
_HEAD_OFFICE: Final = "X" * 3
_BANK: Final = 8
_PREFIX_LENGTHS: Final = range(4, 11)


def canonical(text: str) -> str:
    """
    An entry about banks as it is stored and compared.

    Args:
        text: As a person wrote it; blanks and lower case are forgiven.

    Raises:
        InvalidRequest: when it is neither a BIC nor the beginning of one.
    """
    found = "".join(text.split()).upper()
    if not _BIC.fullmatch(found) and not _PREFIX.fullmatch(found):
        raise InvalidRequest(
            "write a BIC of 8 or 11 characters, or its beginning of 4 to 10 characters with a star, such as COBADEFF or COBADE*",
            field="bic",
        )
    return found.removesuffix(_HEAD_OFFICE) if len(found) > _BANK and "*" not in found else found


def find(entries: Mapping[str, ActiveEntry], *, bic: str | None, bank: str | None) -> ActiveEntry | None:
    """
    The strictest entry about the bank of an account.

    Args:
        entries: Active entries, by `canonical`; of several about the same, the strictest.
        bic: As the file has it; what is no BIC does not count.
        bank: The first eight characters of the bank's BIC; `None` where nobody knows it.

    Returns:
        A block before a hold, the narrowest first; `None` without an entry.
    """
    found = [entries[name] for name in written_as(bic=bic, bank=bank) if name in entries]
    return min(found, key=lambda listing: listing.action, default=None)  # "block" comes before "hold"


def written_as(*, bic: str | None, bank: str | None) -> list[str]:
    """
    How entries about the bank of an account may be written, those about its BIC first, then the narrowest.

    Args:
        bic: As the file has it; what is no BIC does not count.
        bank: The first eight characters of the bank's BIC; `None` where nobody knows it.

    >>> written_as(bic="n/a", bank="COBADEFF")[-2:]
    ['COBAD*', 'COBA*']
    """
    given = "".join((bic or "").split()).upper()
    return [
        name for full in (given if _BIC.fullmatch(given) else "", bank or "") if full for name in _names(full)
    ]


def _names(full: str) -> list[str]:
    """The entries that are about a BIC, the narrowest first."""
    prefixes = [f"{full[:length]}*" for length in reversed(_PREFIX_LENGTHS) if length <= len(full)]
    return [full, full[:_BANK], *prefixes]


class BlockPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """
    When a bank is put on hold by its return rate.

    Attributes:
        rate_max: The highest return rate, from 0 to 1, at which nothing happens; 0 for no automatic block.
        floor: Collected debits that a bank must have before its rate counts.
        window_days: Debits of so many last days count.
        days: For how long the entry holds.
    """

    rate_max: float = 0.0
    floor: int = 100
    window_days: int = 90
    days: int = 30

    def __post_init__(self) -> None:
        """Refuse a rate that is none."""
        if not 0.0 <= self.rate_max <= 1.0:
            raise InvalidRequest("is a percentage from 0 to 100", field="TETHER_BANK_BLOCK_PERCENT")


class BankCounts(msgspec.Struct, frozen=True):
    """
    The debits of one bank.

    Attributes:
        bank: Eight characters of its BIC; "" for debits whose bank nobody knows.
        collected: Debits that were approved.
        returned: Of these, debits that were returned.
        excluded: Of the returned, those with a reason of the acquirer's own.
    """

    bank: str
    collected: int
    returned: int
    excluded: int


class BankBlock(msgspec.Struct, frozen=True):
    """
    A bank whose return rate is above the limit.

    Attributes:
        bank: Eight characters of its BIC.
        rate: Its return rate, from 0 to 1.
        returned: Returned debits that count.
        collected: Collected debits that count.
    """

    bank: str
    rate: float
    returned: int
    collected: int

    def note(self, *, since_on: date, policy: BlockPolicy) -> str:
        """
        Why the entry was made, as a sentence.

        Args:
            since_on: The first day of the debits that count.
            policy: With the limit.

        >>> BankBlock("COBADEFF", 0.0704, 28, 398).note(since_on=date(2026, 3, 2), policy=BlockPolicy(rate_max=0.05))
        '7.04 % of 398 debits since 2026-03-02 were returned; the limit is 5 %.'
        """
        return (
            f"{self.rate * 100:.4g} % of {self.collected:,} debits since {since_on} were returned; the limit is "
            f"{policy.rate_max * 100:.4g} %."
        )

    def expires_at(self, *, now: datetime, policy: BlockPolicy) -> datetime:
        """When the entry ends by itself."""
        return now + timedelta(days=policy.days)


def counts_since(*, today: date, ended_on: date | None, policy: BlockPolicy) -> date:
    """
    The first day of the debits that count for a bank.

    Args:
        today: The current day, UTC.
        ended_on: The day (UTC) on which its latest automatic entry expired or was lifted; `None` where it never had one.
        policy: With the days that count.

    >>> policy = BlockPolicy(rate_max=0.05, window_days=90)
    >>> counts_since(today=date(2026, 6, 1), ended_on=None, policy=policy)
    datetime.date(2026, 3, 4)
    >>> counts_since(today=date(2026, 6, 1), ended_on=date(2026, 5, 20), policy=policy)
    datetime.date(2026, 5, 21)
    """
    window_on = today - timedelta(days=policy.window_days - 1)
    return window_on if ended_on is None else max(window_on, ended_on + timedelta(days=1))


def decide(counts: Iterable[BankCounts], *, policy: BlockPolicy) -> list[BankBlock]:
    """
    The banks whose return rate is above the limit.

    Args:
        counts: Of each bank, of the debits that count; at most one for a bank.
        policy: The limit.

    Returns:
        In the order of *counts*; never a bank that nobody knows.
    """
    if not policy.rate_max:
        return []
    found = []
    for bank in counts:
        collected, returned = bank.collected - bank.excluded, bank.returned - bank.excluded
        if not bank.bank or collected < policy.floor or collected <= 0:
            continue
        # Not by the rounded rate, which is above the limit for some that are at it; nor by the last digits of a product.
        if returned > round(policy.rate_max * collected, 6):
            found.append(BankBlock(bank.bank, round(returned / collected, 4), returned, collected))
    return found
