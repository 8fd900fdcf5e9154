"""
The identity of a debit: when two rows, or a row and an imported debit, are the same debt.

A debit is identified by its account and three values of its row: reference, mandate and customer number. A list is often uploaded more than
once, and programs change its spelling: case, blanks, leading zeros, separators, numbers that a
spreadsheet program has turned into `12345.0`. So values are compared in a plain form, and a blank value matches any value.

| references | mandates and customer numbers | the two are |
| --- | --- | --- |
| equal | none of them differs | `same` |
| equal | one of them differs | `unclear`: a person is asked |
| differ | | `different` |
| one is blank, or both | none of them differs | `same` |
| one is blank, or both | one of them differs | `different` |

**Damaged numbers.** A spreadsheet program shows a long number as `1.23E+11` and saves it so: thousands of numbers become one text. Such
a value identifies nothing. It matches all numbers that it can have been, and a debit that is equal only by such a value is `unclear`.

Amount and name are not part of the identity, because they are often corrected. All checks for the same debit use this table: screening within
a file and against earlier uploads, planning, submission and due items.

**A blank is not transitive.** Of the rows *A*, *blank* and *B* of one account, the blank one is the same as either, and *A* and
*B* are two debits. Within a file the row that matches several different debits is the repeated one, in any order of the rows: `repeats`
depends on the values of an account and not on the order of its rows.

**Against imported debits** (`matches`), an equal reference within the window is the same debit. What only looks like it (no
reference, or the same amount under another reference) is a question for a person, and so is an equal reference once the window
has passed: it may be the same invoice again, or a member's number on a monthly list.

>>> key_of("RE-007", "M 1", None)
DebitKey(reference='re-7', mandate='m-1', customer='')
>>> compare(key_of("RE-007", None, None), key_of(" re 7", "M1", None))
'same'
>>> compare(key_of("7", "M1", None), key_of("7", "M2", None)), compare(key_of("7", "M1", None), key_of("8", "M1", None))
('unclear', 'different')
>>> plain("12345.0"), plain("12,345"), plain("'00012345"), plain(" - ")
('12345', '12-345', '12345', '')
>>> equal("12-345", "12345"), equal("12-345", "1-2345")
(True, False)
>>> cut = key_of("1,23E+11", None, None)
>>> compare(cut, cut), compare(cut, key_of("123456789012", None, None)), compare(cut, key_of("RE-7", None, None))
('unclear', 'unclear', 'different')
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from itertools import combinations
from typing import Final, Literal

import msgspec

from tether_core.payments import due_items

__all__ = [
    "WINDOW_DAYS",
    "Comparison",
    "CurrentStatus",
    "DebitKey",
    "EarlierDebit",
    "Elsewhere",
    "Match",
    "MatchKind",
    "Repeats",
    "compare",
    "elsewhere",
    "equal",
    "identifies",
    "is_damaged",
    "key_of",
    "matches",
    "plain",
    "repeat_of",
    "repeats",
]

# Shorter than the shortest month by the days that a weekend and two holidays can move a list, so that a monthly list never
# falls within it.
WINDOW_DAYS: Final = 25

Comparison = Literal["same", "unclear", "different"]

# A whole number as a spreadsheet program writes it: groups of three digits, perhaps with decimals that are zero.
_WHOLE: Final = re.compile(r"[0-9]+(?:[., '\u2019\u00a0\u202f][0-9]{3})*[.,]00?")
# What a spreadsheet program makes of a long number.
_CUT: Final = re.compile(r"([0-9])(?:[.,]([0-9]+))?e\+([0-9]{2,3})")
# Begins the plain form of such a value.
_MARK: Final = "~"
_ZEROS: Final = re.compile(r"(?<![0-9])0+(?=[0-9])")
# At most this many different debits of one account are compared pair by pair.
_PAIRS_MAX: Final = 48
# At most this many spellings of one reference are considered.
_SPELLINGS_MAX: Final = 5


class DebitKey(msgspec.Struct, frozen=True, order=True):
    """
    What a list says of a debit besides its account, in plain form; "" is blank.

    Attributes:
        reference: The creditor's reference.
        mandate: Of the permission to collect.
        customer: The sender's number of the person.
    """

    reference: str = ""
    mandate: str = ""
    customer: str = ""


@lru_cache(maxsize=65_536)
def plain(value: str | None) -> str:
    """
    Give the plain form of a reference, a mandate or a customer number.

    Args:
        value: As the file has it.

    Returns:
        Its letters and digits in lower case, without leading zeros of numbers, a hyphen in place of each run of other
        characters; "" for a value without letters and digits. A damaged number keeps its form, behind a mark.
    """
    if not value:
        return ""
    text = unicodedata.normalize("NFKC", value).strip().casefold()
    if _CUT.fullmatch(text.lstrip("'")):
        return _MARK + text.lstrip("'").replace(",", ".")
    if _WHOLE.fullmatch(text):
        text = re.sub(r"[.,]00?$", "", text)
    words = "".join([sign if sign.isalnum() else " " for sign in text]).split()
    return _ZEROS.sub("", "-".join(words))


def key_of(reference: str | None, mandate_id: str | None, customer_id: str | None) -> DebitKey:
    """
    Give the key of a debit.

    Args:
        reference: As the file has it.
        mandate_id: Likewise.
        customer_id: Likewise.

    Returns:
        The three in plain form.
    """
    return DebitKey(plain(reference), plain(mandate_id), plain(customer_id))


def is_damaged(value: str) -> bool:
    """Whether a value in plain form is a long number that a spreadsheet program has damaged."""
    return value.startswith(_MARK)


def _may_be(first: str, second: str) -> bool:
    """Whether two values of which one at least is damaged can be the same number."""
    (item, off), (other, other_off) = _reach(first), _reach(second)
    return item is not None and other is not None and abs(item - other) <= max(off, other_off)


def _reach(value: str) -> tuple[int | None, int]:
    """The number that a value in plain form shows, if any, and how far the true one can be from it."""
    found = _CUT.fullmatch(value[1:]) if is_damaged(value) else None
    if found is None:
        digits = value.replace("-", "")
        return (int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 100 else None), 0
    decimals = found[2] or ""
    off = 10 ** max(int(found[3]) - len(decimals), 0)
    return int(found[1] + decimals) * off, off


def identifies(key: DebitKey) -> bool:
    """Whether two rows of one account with this key are certainly one debit: no value that distinguishes them is damaged."""
    return compare(key, key) == "same"


def _bucket(value: str) -> str:
    """The value without separators and zeros: what is equal has an equal one."""
    return value.replace("-", "").replace("0", "")


def equal(first: str, second: str) -> bool:
    """
    Return whether two values in plain form are equal, neither of them blank.

    Args:
        first: From `plain`.
        second: Likewise.

    Returns:
        Whether they agree, or agree once the separators of the one that has some are removed, and with them its leading zeros.
        `12-3` and `1-23` stay different.
    """
    if first == second:
        return True
    if ("-" in first) == ("-" in second):
        return False
    return _joins(first, second) if "-" in first else _joins(second, first)


@lru_cache(maxsize=65_536)
def _joins(parted: str, whole: str) -> bool:
    """Whether a program that removes separators can have made *whole* of *parted*, whose numbers had leading zeros."""
    return re.fullmatch("0*".join(map(re.escape, parted.split("-"))), whole) is not None


def compare(first: DebitKey, second: DebitKey) -> Comparison:
    """
    Return whether two debits of one account are the same, by the table of this module.

    Args:
        first: Of the one.
        second: Of the other.

    Returns:
        The same for both orders.
    """
    differ = _differ(first.mandate, second.mandate) or _differ(first.customer, second.customer)
    doubtful = _doubtful(first.mandate, second.mandate) or _doubtful(first.customer, second.customer)
    if first.reference and second.reference:
        if _differ(first.reference, second.reference):
            return "different"
        if not _doubtful(first.reference, second.reference):
            return "unclear" if differ else "same"
        doubtful = True
    if differ:
        return "different"
    return "unclear" if doubtful else "same"


def _differ(first: str, second: str) -> bool:
    if not (first and second):
        return False
    return not (_may_be(first, second) if _doubtful(first, second) else equal(first, second))


def _doubtful(first: str, second: str) -> bool:
    """Whether two values cannot be compared because a spreadsheet program has damaged one of them."""
    return bool(first and second) and (is_damaged(first) or is_damaged(second))


# --- within a file ---------------------------------------------------------------------------------------------------


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
            alike = by_reference[_bucket(key.reference)]
            other = next((item for item in alike if compare(kept[item], key) == "unclear"), None)
            if other is not None:
                found[row] = other
            alike.append(row)
    if any(_MARK in value for key in kept.values() for value in _fields(key)) and len(kept) <= _PAIRS_MAX:
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
    stands_for: dict[DebitKey, DebitKey] = {}
    left = set(keys)
    # What matches the fewest is kept first: a key that matches several debits which differ is then none of its own.
    while left:
        best = min(left, key=lambda key: (len(alike[key] & left), _vague(key), key))
        stands_for[best] = best
        for other in alike[best] & left:
            stands_for[other] = best
        left -= alike[best] | {best}
    return stands_for


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
    return tuple([_bucket(value) for place, value in enumerate(_fields(key)) if filled & (4 >> place)])


def _vague(key: DebitKey) -> tuple[int, int]:
    filled = _filled(key)
    return 3 - filled.bit_count(), 7 - filled


# --- against imported debits ------------------------------------------------------------------------------------------

# The state of an imported debit: a row that no debit was submitted for, or what became of its debit.
CurrentStatus = Literal["waiting", "under_way", "collected", "refunded", "refused", "charged_back"]
# Of these, money has left the account, or may do so.
_OPEN: Final = frozenset({"waiting", "under_way", "collected", "refunded"})

MatchKind = Literal[
    "already_collected",
    "waiting_elsewhere",
    "recently_attempted",
    "identity_unclear",
    "collected_lately",
    "reference_again",
]


# What an equal reference within the window means.
_WITHIN: Final[dict[CurrentStatus, MatchKind]] = {
    "waiting": "waiting_elsewhere",
    "refunded": "collected_lately",
}


# What a person is asked instead where the window is wider than `WINDOW_DAYS`; nothing where no money left the account.
_EXCLUDED: Final[dict[MatchKind, MatchKind | None]] = {
    "already_collected": "reference_again",
    "waiting_elsewhere": "collected_lately",
    "recently_attempted": None,
}


class EarlierDebit(msgspec.Struct, frozen=True):
    """
    A debit, or a row that may become one, of the same account in another upload.

    Attributes:
        key: Of the debit.
        amount_minor: Its amount, whole minor units.
        at: When it was submitted; of a row that waits, when it was taken in.
        current_status: What became of it.
        upload_id: Where it came from; `None` for another system.
        due_item: What it collects; `None` for a row that waits.
        debtor_id: The row it was made for.
    """

    key: DebitKey
    amount_minor: int
    at: datetime
    current_status: CurrentStatus
    upload_id: int | None = None
    due_item: str | None = None
    debtor_id: int = 0


class Match(msgspec.Struct, frozen=True):
    """
    An imported debit that a row is, or may be.

    Attributes:
        kind: What follows; a rule of `tether_core.screening.verdicts`.
        on: The day of the imported debit, in UTC.
        days_ago: Whole days since then.
        current_status: What became of it.
        upload_id: Where it came from; `None` for another system.
        equal_reference: Whether both have the same reference.
    """

    kind: MatchKind
    on: date
    days_ago: int
    current_status: CurrentStatus
    upload_id: int | None = None
    equal_reference: bool = False


def matches(
    rows: Sequence[tuple[int, DebitKey, int]],
    earlier: Sequence[EarlierDebit],
    *,
    now: datetime,
    window_days: int = WINDOW_DAYS,
) -> dict[int, tuple[Match, ...]]:
    """
    Compare the rows of one account with its imported debits.

    Args:
        rows: Number, key and amount of each.
        earlier: Of the same account, all of other uploads.
        now: The current time.
        window_days: How long an imported debit counts without an equal reference, its last day included.

    Returns:
        For each row that has any: at most one match of each kind, the latest debit.

    >>> from datetime import UTC, timedelta
    >>> now = datetime(2026, 3, 2, tzinfo=UTC)
    >>> anna, ben = key_of("Anna", None, None), key_of("Ben", None, None)
    >>> before = [EarlierDebit(anna, 1000, now - timedelta(days=3), "collected", 7)]
    >>> found = matches([(2, anna, 1000), (3, ben, 1000), (4, ben, 900), (5, DebitKey(), 900)], before, now=now)
    >>> {row: [match.kind for match in some] for row, some in found.items()}
    {2: ['already_collected'], 3: ['collected_lately'], 5: ['collected_lately']}
    """
    latest_first = sorted(earlier, key=lambda item: item.at, reverse=True)
    near = _finder(latest_first) if len(rows) * len(latest_first) > 1_000 else None
    found: dict[int, tuple[Match, ...]] = {}
    known: dict[tuple[DebitKey, int], tuple[Match, ...]] = {}
    for row, key, amount_minor in rows:
        some = known.get((key, amount_minor))
        if some is None:
            pool = latest_first if near is None else near(key, amount_minor)
            some = _matches(key, amount_minor, pool, now=now, window_days=window_days)
            known[key, amount_minor] = some
        if some:
            found[row] = some
    return found


def _matches(
    key: DebitKey, amount_minor: int, earlier: Iterable[EarlierDebit], *, now: datetime, window_days: int
) -> tuple[Match, ...]:
    found: dict[MatchKind, Match] = {}
    for debit in earlier:
        days = max((now - debit.at).days, 0)
        kind = _kind(key, amount_minor, debit, within=days <= window_days)
        if days > WINDOW_DAYS and kind in _EXCLUDED:
            # A wider window is asked about: a monthly list must not be excluded as a whole.
            kind = _EXCLUDED[kind]
        if kind is not None and kind not in found:
            alike = bool(key.reference and debit.key.reference) and equal(key.reference, debit.key.reference)
            found[kind] = Match(kind, debit.at.date(), days, debit.current_status, debit.upload_id, alike)
    return tuple(found.values())


def _kind(key: DebitKey, amount_minor: int, debit: EarlierDebit, *, within: bool) -> MatchKind | None:
    compared = compare(key, debit.key)
    is_open = debit.current_status in _OPEN
    kind: MatchKind | None = None
    if compared == "different":
        kind = "collected_lately" if is_open and within and amount_minor == debit.amount_minor else None
    elif compared == "unclear":
        kind = "identity_unclear" if is_open or within else None
    elif not is_open:
        kind = "recently_attempted" if within else None
    elif not (key.reference and debit.key.reference):
        kind = "collected_lately" if within else None
    elif within:
        kind = _WITHIN.get(debit.current_status, "already_collected")
    elif debit.current_status != "waiting":
        kind = "reference_again"
    return kind


def _finder(earlier: Sequence[EarlierDebit]) -> Callable[[DebitKey, int], Iterable[EarlierDebit]]:
    """Look up which imported debits can match a key at all, of many."""
    by_reference: defaultdict[str, list[EarlierDebit]] = defaultdict(list)
    by_amount: defaultdict[int, dict[str, EarlierDebit]] = defaultdict(dict)
    without = dict[tuple[DebitKey, CurrentStatus, int], EarlierDebit]()
    for debit in earlier:
        # A damaged reference is looked at with everything, as a blank one is.
        if debit.key.reference and not is_damaged(debit.key.reference):
            by_reference[_bucket(debit.key.reference)].append(debit)
        else:
            without.setdefault((debit.key, debit.current_status, debit.amount_minor), debit)
        # A few are enough to find one under another reference.
        if debit.current_status in _OPEN and len(by_amount[debit.amount_minor]) < _SPELLINGS_MAX:
            by_amount[debit.amount_minor].setdefault(debit.key.reference, debit)

    def near(key: DebitKey, amount_minor: int) -> Iterable[EarlierDebit]:
        if not key.reference or is_damaged(key.reference):
            return earlier
        some = (
            *by_reference.get(_bucket(key.reference), ()),
            *without.values(),
            *by_amount.get(amount_minor, {}).values(),
        )
        return sorted(some, key=lambda item: item.at, reverse=True)

    return near


# --- when a debit is planned or submitted ----------------------------------------------------------------------------


class Elsewhere(msgspec.Struct, frozen=True):
    """
    What other uploads have done about a debit and its due item; each the latest of its kind.

    Attributes:
        collected: The due item was collected.
        under_way: The due item is being collected.
        returned: The due item was collected and charged back.
        refunded: The due item was collected and paid back by us.
        waiting: The same debit waits in an upload that came before.
        repeated: A debit of the window that is, or may be, this one, without a question about it.
        tried_days_ago: Whole days since a debit that is, or may be, this one was submitted, one that was paid back left aside.
    """

    collected: Match | None = None
    under_way: Match | None = None
    returned: Match | None = None
    refunded: Match | None = None
    waiting: Match | None = None
    repeated: Match | None = None
    tried_days_ago: int | None = None


_ITEM_FIELDS: Final[dict[CurrentStatus, str]] = {
    "collected": "collected",
    "under_way": "under_way",
    "charged_back": "returned",
    "refunded": "refunded",
}


def elsewhere(
    key: DebitKey,
    amount_minor: int,
    earlier: Iterable[EarlierDebit],
    *,
    due_item: str,
    now: datetime,
    taken_at: datetime | None = None,
    window_days: int = WINDOW_DAYS,
) -> Elsewhere:
    """
    Return the attempts and rows of other uploads for the same debit and due item.

    A due item of a debit is collected by one attempt, whichever upload it came with. Where only blank values make two debits the
    same, and the item is not specific (`tether_core.payments.due_items`), that holds within the window.

    Args:
        key: Of the debit.
        amount_minor: Its amount.
        earlier: Of the same account: all debits submitted for other uploads, and rows that wait in uploads that came before.
        due_item: What is to be collected.
        now: The current time.
        taken_at: Up to when imported debits were put to a person, who answered that this one is to be collected all the same; it
            does not count for a specific due item with an equal reference.
        window_days: How long an imported debit counts without an equal reference.

    Returns:
        What is known of them.

    >>> from datetime import UTC, timedelta
    >>> now, rent = datetime(2026, 3, 2, tzinfo=UTC), key_of("R-1", None, None)
    >>> before = [EarlierDebit(rent, 1000, now - timedelta(days=90), "collected", 7, "2026-01")]
    >>> elsewhere(rent, 1000, before, due_item="2026-01", now=now).collected.upload_id
    7
    >>> elsewhere(rent, 1000, before, due_item="2026-03", now=now) == Elsewhere(tried_days_ago=90)
    True
    """
    found: dict[str, Match] = {}
    tried: int | None = None
    for debit in sorted(earlier, key=lambda item: item.at, reverse=True):
        alike = compare(key, debit.key)
        if alike == "different" and amount_minor != debit.amount_minor:
            continue
        days = max((now - debit.at).days, 0)
        taken = taken_at is not None and debit.at <= taken_at
        if not taken and tried is None and debit.current_status not in {"waiting", "refunded"}:
            tried = days
        field = _field(key, debit, alike, due_item=due_item, within=days <= window_days, taken=taken)
        if field is not None and field not in found:
            equal_reference = bool(key.reference and debit.key.reference) and alike != "different"
            kind: MatchKind = "waiting_elsewhere" if field == "waiting" else "already_collected"
            match = Match(kind, debit.at.date(), days, debit.current_status, debit.upload_id, equal_reference)
            found[field] = match
    return Elsewhere(**found, tried_days_ago=tried)


def _field(
    key: DebitKey, debit: EarlierDebit, alike: Comparison, *, due_item: str, within: bool, taken: bool
) -> str | None:
    if debit.current_status == "waiting":
        return "waiting" if alike == "same" and within and not taken else None
    same_item = debit.due_item is not None and due_items.alike(debit.due_item, due_item)
    if alike == "same" and same_item and debit.current_status in _ITEM_FIELDS:
        equal_reference = bool(key.reference and debit.key.reference)
        named = due_items.specific(due_item)
        if (equal_reference and named) or (not taken and (equal_reference or named or within)):
            return _ITEM_FIELDS[debit.current_status]
    return "repeated" if within and not taken and debit.current_status in _OPEN else None
