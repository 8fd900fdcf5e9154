"""
A dry run of a version of the return policy: what would have been otherwise over past returns.

Only reason codes count that the two versions treat differently. What Tether knows is counted; what nobody can know is estimated from the
tries of the same installation, with an interval, or said to be unknown.

| the code | what follows | known how |
|---|---|---|
| blocks or holds, and did not | its accounts are blocked from their first return on; what was collected from them afterwards, and what was returned of it, would not have been | counted |
| no longer blocks or holds | its accounts stay collectable, where no other reason blocks them; their next due items are not known | accounts counted |
| is tried again more often | each return within the new number of retries gets one more try; tries of the same reason, else of all, say how often that collects and how often it is returned again | estimated |
| is tried again less often | the tries beyond the new number would not have been made | counted |

A debit of an account that is blocked counts under "blocks", its tries with it, and not a second time under "tried again less often". A hold in
place of a block, or a block in place of a hold, changes no money; it is in the list of changes.

>>> from datetime import date
>>> from tether_core.return_policies.policy import BUILT_IN, Rule, changed
>>> before, after = BUILT_IN, changed(BUILT_IN, {"MS03": Rule("none", 1), "SL01": Rule("none")}, version=1)
>>> split(before, after).fewer, split(before, after).freed
({'MS03': 1}, ('SL01',))
>>> made = TriesMade("MS03", "EUR", 3, 10, 10_000, 3, 3_000, 4, 4_000)   # ten second retries: three collected, four returned
>>> result = dry_run(before, after, from_on=date(2026, 1, 1), to_on=date(2026, 12, 31), tries=[made])
>>> result.currencies[0].collected.expected, result.currencies[0].returned.expected
(CountAndAmount(count=-3, amount_minor=-3000), CountAndAmount(count=-4, amount_minor=-4000))
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import msgspec

from tether_core.odds import Odds, odds
from tether_core.return_policies.policy import ReturnPolicy, RuleChange, changes

__all__ = [
    "AccountsMoved",
    "CountAndAmount",
    "CurrencyResult",
    "DryRun",
    "Range",
    "ReturnsSeen",
    "Split",
    "TriesMade",
    "dry_run",
    "split",
]

# With fewer tries of one reason, the tries of all reasons say more.
TRIES_MIN: Final = 30


class CountAndAmount(msgspec.Struct, frozen=True):
    """
    A number of debits or accounts, and their money.

    Attributes:
        count: How many; negative for fewer.
        amount_minor: In whole minor units; negative for less.
    """

    count: int
    amount_minor: int


_NOTHING: Final = CountAndAmount(0, 0)


class Range(msgspec.Struct, frozen=True):
    """
    What is to be expected, between its two ends; all three are equal where it is counted.

    Attributes:
        low: The lower end of the 95 % interval.
        expected: The most likely.
        high: The upper end.
    """

    low: CountAndAmount
    expected: CountAndAmount
    high: CountAndAmount


class ReturnsSeen(msgspec.Struct, frozen=True):
    """
    Returns with one reason code, in the number of their try.

    Attributes:
        reason_code: The code.
        currency: ISO 4217.
        try_number: Of the returned debit, from 1.
        count: How many.
        amount_minor: Their amounts.
    """

    reason_code: str
    currency: str
    try_number: int
    count: int
    amount_minor: int


class AccountsMoved(msgspec.Struct, frozen=True):
    """
    Accounts whose first return has one of the codes in question, and what was debited from them after it.

    Attributes:
        currency: ISO 4217.
        accounts: How many.
        amount_minor: The amounts of their first returns.
        collected: Later debits that were collected and not returned.
        collected_minor: Their amounts.
        returned: Later debits that were returned.
        returned_minor: Their amounts.
    """

    currency: str
    accounts: int
    amount_minor: int
    collected: int = 0
    collected_minor: int = 0
    returned: int = 0
    returned_minor: int = 0


class TriesMade(msgspec.Struct, frozen=True):
    """
    Tries that were made after a return, and became final.

    Attributes:
        reason_code: Of the return before.
        currency: ISO 4217.
        try_number: Of the try, from 2.
        count: How many.
        amount_minor: Their amounts.
        collected: Of these, collected and not returned.
        collected_minor: Their amounts.
        returned: Of these, returned again.
        returned_minor: Their amounts.
    """

    reason_code: str
    currency: str
    try_number: int
    count: int
    amount_minor: int
    collected: int
    collected_minor: int
    returned: int
    returned_minor: int


class Split(msgspec.Struct, frozen=True):
    """
    The reason codes that two versions treat differently, by what follows.

    Attributes:
        blocked: Codes that block or hold only in the second version, sorted.
        freed: Codes that block or hold only in the first one.
        blocking: All codes that block or hold in the second one.
        more: Code -> retries in the second version, where they are more.
        fewer: Code -> retries in the second version, where they are fewer.
        retries: Code -> retries in the first version, of the codes in `more` and `fewer`.
    """

    blocked: tuple[str, ...]
    freed: tuple[str, ...]
    blocking: tuple[str, ...]
    more: dict[str, int]
    fewer: dict[str, int]
    retries: dict[str, int]

    @property
    def codes(self) -> tuple[str, ...]:
        """All codes that move money or accounts, sorted."""
        return tuple(sorted({*self.blocked, *self.freed, *self.more, *self.fewer}))


class CurrencyResult(msgspec.Struct, frozen=True):
    """
    What would have been otherwise, in one currency.

    Attributes:
        currency: ISO 4217.
        blocked: Extra accounts that are held or blocked, and the amounts of their first returns; negative for fewer.
        collected: Extra debits that are collected and stay collected; `None` where further tries cannot be estimated.
        returned: Extra debits that are returned; likewise.
        tries: Further tries after a return.
        blocked_collected: Part of `collected`: what was collected from accounts that would have been blocked.
        blocked_returned: Part of `returned`: what was returned by these accounts.
    """

    currency: str
    blocked: CountAndAmount
    collected: Range | None
    returned: Range | None
    tries: CountAndAmount
    blocked_collected: CountAndAmount
    blocked_returned: CountAndAmount


class DryRun(msgspec.Struct, frozen=True):
    """
    A dry run of a version.

    Attributes:
        version: The version that was tried.
        against: The version it was compared with.
        from_on: The first day of the returns.
        to_on: The last one.
        changes: The reason codes that the two treat differently.
        currencies: One result for each currency in which anything differs.
        odds_collected: Of further tries: how often one is collected, over all reasons; `None` where none was made.
        odds_returned: Likewise, how often one is returned again.
    """

    version: int
    against: int
    from_on: date
    to_on: date
    changes: tuple[RuleChange, ...]
    currencies: tuple[CurrencyResult, ...]
    odds_collected: Odds | None
    odds_returned: Odds | None


def split(before: ReturnPolicy, after: ReturnPolicy) -> Split:
    """
    Sort the differing reason codes by what follows from the difference.

    Args:
        before: The version that decides now.
        after: The version to be tried.
    """
    blocked, freed = list[str](), list[str]()
    more, fewer, retries = dict[str, int](), dict[str, int](), dict[str, int]()
    for change in changes(before, after):
        old, new = before.of(change.code), after.of(change.code)
        if new.action != "none":
            blocked += [change.code] if old.action == "none" else []
            continue
        freed += [change.code] if old.action != "none" else []
        if new.retries != old.retries:
            (more if new.retries > old.retries else fewer)[change.code] = new.retries
            retries[change.code] = old.retries
    blocking = tuple(sorted(code for code, rule in after.rules.items() if rule.action != "none"))
    return Split(tuple(blocked), tuple(freed), blocking, more, fewer, retries)


def dry_run(
    before: ReturnPolicy,
    after: ReturnPolicy,
    *,
    from_on: date,
    to_on: date,
    returns: Sequence[ReturnsSeen] = (),
    blocked: Sequence[AccountsMoved] = (),
    freed: Sequence[AccountsMoved] = (),
    tries: Sequence[TriesMade] = (),
) -> DryRun:
    """
    Say what a version would have changed.

    Args:
        before: The version that decides now.
        after: The version to be tried.
        from_on: The first day of the returns.
        to_on: The last one.
        returns: Returns with the codes of `Split.more`.
        blocked: Accounts whose first return has a code of `Split.blocked`, with their later debits.
        freed: Accounts that only codes of `Split.freed` block.
        tries: All tries after a return, of any code.

    Returns:
        The result by currency.
    """
    parts = split(before, after)
    collected_odds, returned_odds = _odds(tries)
    results = list[CurrencyResult]()
    rows: Sequence[ReturnsSeen | AccountsMoved | TriesMade] = (*returns, *blocked, *freed, *tries)
    for currency in sorted({row.currency for row in rows}):
        lost = [row for row in blocked if row.currency == currency]
        gained = [row for row in freed if row.currency == currency]
        ended = [
            row
            for row in tries
            if row.currency == currency
            and row.reason_code in parts.fewer
            and row.try_number - 1 > parts.fewer[row.reason_code]
        ]
        further = [
            row
            for row in returns
            if row.currency == currency
            and row.reason_code in parts.more
            and parts.retries[row.reason_code] < row.try_number <= parts.more[row.reason_code]
        ]
        kept = CountAndAmount(sum(row.collected for row in lost), sum(row.collected_minor for row in lost))
        gone = CountAndAmount(sum(row.returned for row in lost), sum(row.returned_minor for row in lost))
        result = CurrencyResult(
            currency,
            blocked=_less(
                CountAndAmount(sum(row.accounts for row in lost), sum(row.amount_minor for row in lost)),
                CountAndAmount(sum(row.accounts for row in gained), sum(row.amount_minor for row in gained)),
            ),
            collected=_range(
                _less(
                    _less(_NOTHING, kept),
                    CountAndAmount(
                        sum(row.collected for row in ended), sum(row.collected_minor for row in ended)
                    ),
                ),
                further,
                {code: _odds(tries, code)[0] for code in parts.more},
            ),
            returned=_range(
                _less(
                    _less(_NOTHING, gone),
                    CountAndAmount(
                        sum(row.returned for row in ended), sum(row.returned_minor for row in ended)
                    ),
                ),
                further,
                {code: _odds(tries, code)[1] for code in parts.more},
            ),
            tries=_less(
                CountAndAmount(sum(row.count for row in further), sum(row.amount_minor for row in further)),
                CountAndAmount(sum(row.count for row in ended), sum(row.amount_minor for row in ended)),
            ),
            blocked_collected=_less(_NOTHING, kept),
            blocked_returned=_less(_NOTHING, gone),
        )
        if lost or gained or ended or further:
            results.append(result)
    return DryRun(
        after.version,
        before.version,
        from_on,
        to_on,
        changes(before, after),
        tuple(results),
        collected_odds,
        returned_odds,
    )


def _odds(tries: Sequence[TriesMade], code: str | None = None) -> tuple[Odds | None, Odds | None]:
    """How often a try is collected, and how often it is returned: of one reason where enough were made, else of all."""
    of_code = [row for row in tries if row.reason_code == code]
    some = of_code if sum(row.count for row in of_code) >= TRIES_MIN else tries
    count = sum(row.count for row in some)
    return (
        odds(sum(row.collected for row in some), of=count),
        odds(sum(row.returned for row in some), of=count),
    )


def _range(
    counted: CountAndAmount, further: Sequence[ReturnsSeen], by_code: Mapping[str, Odds | None]
) -> Range | None:
    """What is counted, and what further tries are expected to add; the ends of several reasons are added, which is cautious."""
    ends = [counted, counted, counted]
    for row in further:
        known = by_code[row.reason_code]
        if known is None:
            return None
        for place, share in enumerate((known.low, known.share, known.high)):
            ends[place] = CountAndAmount(
                ends[place].count + round(row.count * share),
                ends[place].amount_minor + round(row.amount_minor * share),
            )
    return Range(*ends)


def _less(first: CountAndAmount, second: CountAndAmount) -> CountAndAmount:
    return CountAndAmount(first.count - second.count, first.amount_minor - second.amount_minor)
