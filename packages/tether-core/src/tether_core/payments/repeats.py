"""
Repeats of a debit within one list.

**A blank is not transitive.** Of the rows *A*, *blank* and *B* of one account, the blank one is the same as either, and *A* and
*B* are two debits. Within a list the row that matches several different debits is the repeated one, in any order of the rows: `repeats`
depends on the values of an account and not on the order of its rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Final

import msgspec

from tether_core.payments.same_debit import DebitKey, bucket, compare, identifies, is_damaged

__all__ = ["Repeats", "repeat_of", "repeats"]

# At most this many different debits of one account are compared pair by pair.
_PAIRS_MAX: Final = 48
# Of at most this many the largest set of different debits is found for certain, in at most some thousand steps.
_EXACT_MAX: Final = 20


class Repeats(msgspec.Struct, frozen=True):
    """
    What the rows of one account are to each other.

    Attributes:
        same_as: Row of each repeated debit to the row that is kept for it.
        unclear: Row to an earlier row that may be the same debit: of the same reference with another mandate or customer number, or
            of a number that a spreadsheet program has damaged.
        kept: Rows that stand for a debit each, those that are unclear among them.
    """

    same_as: dict[int, int]
    unclear: dict[int, int]
    kept: tuple[int, ...]


def repeats(rows: Iterable[tuple[int, DebitKey]], *, one_per_account: bool = False) -> Repeats:
    """
    Find the repeated debits among the rows of one account in one file.

    Which debits are kept does not depend on the order of the rows. Each is kept as its first row.

    Args:
        rows: Number and key of each, in any order.
        one_per_account: Whether an account has one debit, whatever its keys are.

    Returns:
        Every row is in `kept` or in `same_as`.

    >>> from tether_core.payments.same_debit import key_of
    >>> a, blank, b = key_of("A", None, None), DebitKey(), key_of("B", None, None)
    >>> repeats([(2, a), (3, blank), (4, b), (5, a)])
    Repeats(same_as={3: 2, 5: 2}, unclear={}, kept=(2, 4))
    >>> repeats([(2, blank), (3, b), (4, a)]).kept
    (3, 4)
    >>> repeats([(2, key_of("A", "M1", None)), (3, key_of("A", "M2", None))]).unclear
    {3: 2}
    """
    keys: dict[int, DebitKey] = {}
    first: dict[DebitKey, int] = {}
    doubtful: dict[int, DebitKey] = {}
    for row, key in sorted(rows, key=lambda pair: pair[0]):
        compared = DebitKey() if one_per_account else key
        if compared in first and not identifies(compared):
            doubtful[row] = compared
            continue
        keys[row] = compared
        first.setdefault(compared, row)
    stands_for = _kept(list(first))
    keepers = _first_rows(first, stands_for)
    same_as = {row: keepers[stands_for[key]] for row, key in keys.items()}
    same_as = {row: keeper for row, keeper in same_as.items() if keeper != row}
    kept = {row: key for key, row in sorted(keepers.items(), key=lambda pair: pair[1])}
    unclear = _unclear(kept)
    unclear |= {row: keepers[stands_for[key]] for row, key in doubtful.items()}
    return Repeats(same_as, unclear, tuple(sorted([*kept, *doubtful])))


def repeat_of(
    key: DebitKey, rows: Iterable[tuple[int, DebitKey]], *, one_per_account: bool = False
) -> tuple[int | None, int | None]:
    """
    Tell which row of the same account and file a single row repeats. The others were judged before and stay; the single row gives way.

    Args:
        key: Of the single row.
        rows: Number and key of each other row, those that repeat another one left aside.
        one_per_account: Whether an account has one debit, whatever its keys are.

    Returns:
        The first row that is the same debit, and the first that may be; `None` where there is none.

    >>> from tether_core.payments.same_debit import key_of
    >>> a = key_of("A", None, None)
    >>> repeat_of(a, [(2, key_of("B", None, None)), (3, a)]), repeat_of(a, [(4, DebitKey())])
    ((3, None), (4, None))
    >>> repeat_of(key_of("A", "M1", None), [(2, key_of("A", "M2", None))])
    (None, 2)
    """
    same: int | None = None
    unclear: int | None = None
    for row, other in sorted(rows, key=lambda pair: pair[0]):
        compared = "same" if one_per_account else compare(key, other)
        if compared == "same" and same is None:
            same = row
        elif compared == "unclear" and unclear is None:
            unclear = row
    return same, unclear


def _first_rows(
    first: Mapping[DebitKey, int], stands_for: Mapping[DebitKey, DebitKey]
) -> dict[DebitKey, int]:
    """Which row is kept for each kept key: the first, unless that one could as well be another debit."""
    keepers = {key: first[key] for key in stands_for.values()}
    if len(stands_for) > _PAIRS_MAX:
        return keepers
    kept = tuple(keepers)
    for key, keeper in stands_for.items():
        if sum(compare(key, other) == "same" for other in kept) == 1:
            keepers[keeper] = min(keepers[keeper], first[key])
    return keepers


def _unclear(kept: Mapping[int, DebitKey]) -> dict[int, int]:
    found = dict[int, int]()
    by_reference: defaultdict[str, list[int]] = defaultdict(list)
    for row, key in kept.items():
        if key.reference:
            alike = by_reference[bucket(key.reference)]
            other = next((item for item in alike if compare(kept[item], key) == "unclear"), None)
            if other is not None:
                found[row] = other
            alike.append(row)
    if any(is_damaged(value) for key in kept.values() for value in _fields(key)) and len(kept) <= _PAIRS_MAX:
        for (item, first), (row, second) in combinations(kept.items(), 2):
            if compare(first, second) == "unclear":
                found.setdefault(row, item)
    return found


def _kept(keys: list[DebitKey]) -> dict[DebitKey, DebitKey]:
    """Give for each key the key that is kept for it: itself, or one that it is the same as."""
    if len(keys) == 1:
        return {keys[0]: keys[0]}
    if len(keys) > _PAIRS_MAX:
        return _kept_of_many(keys)
    alike: dict[DebitKey, set[DebitKey]] = {key: set() for key in keys}
    for item, other in combinations(keys, 2):
        if compare(item, other) == "same":
            alike[item].add(other)
            alike[other].add(item)
    chosen = _largest(frozenset(keys), alike) if len(keys) <= _EXACT_MAX else _nearly_largest(keys, alike)
    return {
        key: key if key in chosen else min(alike[key] & chosen, key=lambda item: (_vague(item), item))
        for key in keys
    }


def _largest(left: frozenset[DebitKey], alike: Mapping[DebitKey, set[DebitKey]]) -> frozenset[DebitKey]:
    """The most keys of which no two are the same debit; of several such sets the one with the fullest keys."""
    if not left:
        return left
    alone = min(left, key=lambda key: (len(alike[key] & left), _vague(key), key))
    if len(alike[alone] & left) <= 1:
        return _largest(left - alike[alone] - {alone}, alike) | {alone}
    # Either the key that most others match is kept, or it is not.
    most = max(left, key=lambda key: (len(alike[key] & left), _vague(key), key))
    without = _largest(left - {most}, alike)
    within = _largest(left - alike[most] - {most}, alike) | {most}
    return min(
        without,
        within,
        key=lambda found: (-len(found), sorted(map(_vague, found)), sorted(found)),
    )


def _nearly_largest(keys: list[DebitKey], alike: Mapping[DebitKey, set[DebitKey]]) -> frozenset[DebitKey]:
    """The same without trying all: what matches the fewest is kept first."""
    chosen: set[DebitKey] = set()
    left = set(keys)
    while left:
        best = min(left, key=lambda key: (len(alike[key] & left), _vague(key), key))
        chosen.add(best)
        left -= alike[best] | {best}
    return frozenset(chosen)


def _kept_of_many(keys: list[DebitKey]) -> dict[DebitKey, DebitKey]:
    """The same for many keys of one account, in linear time: the fullest keys are kept first."""
    stands_for: dict[DebitKey, DebitKey] = {}
    # Kept keys by which of their fields are filled, which of these are compared, and the values there.
    kept: defaultdict[tuple[int, int, tuple[str, ...]], list[DebitKey]] = defaultdict(list)
    patterns = set[int]()
    for key in sorted(keys, key=lambda key: (_vague(key), key)):
        filled = _filled(key)
        found = None
        for pattern in sorted(patterns, reverse=True):
            shared = pattern & filled
            some = kept.get((pattern, shared, _values(key, shared)), ())
            found = next((other for other in some if compare(other, key) == "same"), None)
            if found is not None:
                break
        stands_for[key] = found or key
        if found is None:
            patterns.add(filled)
            for shared in range(8):
                if shared & filled == shared:
                    some = kept[filled, shared, _values(key, shared)]
                    # Nothing to compare makes all keys the same; a few represent them.
                    if len(some) < _PAIRS_MAX:
                        some.append(key)
    return stands_for


def _fields(key: DebitKey) -> tuple[str, str, str]:
    return key.reference, key.mandate, key.customer


def _filled(key: DebitKey) -> int:
    return sum(4 >> place for place, value in enumerate(_fields(key)) if value)


def _values(key: DebitKey, filled: int) -> tuple[str, ...]:
    return tuple([bucket(value) for place, value in enumerate(_fields(key)) if filled & (4 >> place)])


def _vague(key: DebitKey) -> tuple[int, int]:
    filled = _filled(key)
    return 3 - filled.bit_count(), 7 - filled
