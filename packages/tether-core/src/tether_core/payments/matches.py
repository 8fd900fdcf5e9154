"""
A row against the debits that an account already has: in earlier uploads, imported from another system, or of other due items.

An equal reference within the window is the same debit (`tether_core.payments.same_debit`). What only looks like it (no
reference, or the same amount under another reference) is a question for a person, and so is an equal reference once the window
has passed: it may be the same invoice again, or a member's number on a monthly list.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Final, Literal

import msgspec

from tether_core.payments import due_items
from tether_core.payments.same_debit import (
    WINDOW_DAYS,
    Comparison,
    DebitKey,
    bucket,
    compare,
    equal,
    is_damaged,
)
from tether_core.target_calendar import bank_day

__all__ = [
    "Collected",
    "DebitStatus",
    "EarlierDebit",
    "Elsewhere",
    "Match",
    "MatchKind",
    "collect_same_item",
    "elsewhere",
    "matches",
    "status_of",
]

# At most this many spellings of one reference are considered.
_SPELLINGS_MAX: Final = 5


# What became of an earlier debit; "waiting" for a row that no debit was submitted for.
DebitStatus = Literal["waiting", "under_way", "collected", "refunded", "refused", "charged_back"]

_BY_STATE: Final[dict[str, DebitStatus]] = {
    "approved": "collected",
    "pending": "under_way",
    "unknown": "under_way",
    "declined": "refused",
    "error": "refused",
    "voided": "refunded",
    "refunded": "refunded",
    "chargebacked": "charged_back",
}


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
_WITHIN: Final[dict[DebitStatus, MatchKind]] = {
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
    current_status: DebitStatus
    upload_id: int | None = None
    due_item: str | None = None
    debtor_id: int = 0


class Match(msgspec.Struct, frozen=True):
    """
    An earlier debit that a row is, or may be.

    Attributes:
        kind: What follows; a rule of `tether_core.screening.verdicts`.
        on: The day of the earlier debit, by the banks' clock.
        days_ago: Whole days since then.
        current_status: What became of it.
        upload_id: Where it came from; `None` for another system.
        equal_reference: Whether both have the same reference.
    """

    kind: MatchKind
    on: date
    days_ago: int
    current_status: DebitStatus
    upload_id: int | None = None
    equal_reference: bool = False


def status_of(state: str | None) -> DebitStatus:
    """
    The status of a stored debit.

    Args:
        state: Of its billing attempt; `None` where none was submitted.

    >>> status_of("voided"), status_of(None)
    ('refunded', 'waiting')
    """
    return "waiting" if state is None else _BY_STATE[state]


def matches(
    rows: Sequence[tuple[int, DebitKey, int]],
    earlier: Sequence[EarlierDebit],
    *,
    now: datetime,
    window_days: int = WINDOW_DAYS,
) -> dict[int, tuple[Match, ...]]:
    """
    Compare the rows of one account with its earlier debits.

    Args:
        rows: Number, key and amount of each.
        earlier: Of the same account, all of other uploads.
        window_days: How long an earlier debit counts without an equal reference, its last day included.

    Returns:
        For each row that has any: at most one match of each kind, the latest debit.

    >>> from datetime import UTC, timedelta
    >>> from tether_core.payments.same_debit import key_of
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
            found[kind] = Match(kind, bank_day(debit.at), days, debit.current_status, debit.upload_id, alike)
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
    """Look up which earlier debits can match a key at all, of many."""
    by_reference: defaultdict[str, list[EarlierDebit]] = defaultdict(list)
    by_amount: defaultdict[int, dict[str, EarlierDebit]] = defaultdict(dict)
    without = dict[tuple[DebitKey, DebitStatus, int], EarlierDebit]()
    for debit in earlier:
        # A damaged reference is looked at with everything, as a blank one is.
        if debit.key.reference and not is_damaged(debit.key.reference):
            by_reference[bucket(debit.key.reference)].append(debit)
        else:
            without.setdefault((debit.key, debit.current_status, debit.amount_minor), debit)
        # A few are enough to find one under another reference.
        if debit.current_status in _OPEN and len(by_amount[debit.amount_minor]) < _SPELLINGS_MAX:
            by_amount[debit.amount_minor].setdefault(debit.key.reference, debit)

    def near(key: DebitKey, amount_minor: int) -> Iterable[EarlierDebit]:
        if not key.reference or is_damaged(key.reference):
            return earlier
        some = (
            *by_reference.get(bucket(key.reference), ()),
            *without.values(),
            *by_amount.get(amount_minor, {}).values(),
        )
        return sorted(some, key=lambda item: item.at, reverse=True)

    return near


class Elsewhere(msgspec.Struct, frozen=True):
    """
    What other uploads have done about a debit and its due item; each the latest of its kind.

    Attributes:
        collected: The due item was collected.
        under_way: The due item is being collected.
        returned: The due item was collected and charged back.
        refunded: The due item was collected and refunded.
        waiting: The same debit waits in an upload that came before.
        repeated: A debit of the window that is, or may be, this one, without a question about it.
        tried_days_ago: Whole days since a debit that is, or may be, this one was submitted, one that was refunded left aside.
    """

    collected: Match | None = None
    under_way: Match | None = None
    returned: Match | None = None
    refunded: Match | None = None
    waiting: Match | None = None
    repeated: Match | None = None
    tried_days_ago: int | None = None


_ITEM_FIELDS: Final[dict[DebitStatus, str]] = {
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
        taken_at: Up to when earlier debits were put to a person, who answered that this one is to be collected all the same; it
            does not count for a specific due item with an equal reference.
        window_days: How long an earlier debit counts without an equal reference.

    Returns:
        What is known of them.

    >>> from datetime import UTC, timedelta
    >>> from tether_core.payments.same_debit import key_of
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
            match = Match(
                kind, bank_day(debit.at), days, debit.current_status, debit.upload_id, equal_reference
            )
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


class Collected(msgspec.Struct, frozen=True):
    """
    A debit of an account that was collected.

    Attributes:
        attempt_id: The debit.
        debtor_id: The row it was made for.
        key: Of the debit.
        due_item: What it collected.
        at: When it was submitted.
        taken_at: Up to when earlier debits were put to a person, who answered that its row is to be collected all the same.
    """

    attempt_id: int
    debtor_id: int
    key: DebitKey
    due_item: str
    at: datetime
    taken_at: datetime | None = None


def collect_same_item(debit: Collected, other: Collected) -> bool:
    """
    Whether two collected debits of one account have collected the same due item.

    The rule of `elsewhere`, for debits that have come through all the same: one was thought to have failed when the other was made.

    Args:
        debit: The one.
        other: Another one of the same account.

    Returns:
        Whether; the order does not matter.

    >>> from datetime import UTC
    >>> from tether_core.payments.same_debit import key_of
    >>> march = Collected(1, 1, key_of("RE-007", None, None), "2026-03", datetime(2026, 3, 2, tzinfo=UTC))
    >>> again = msgspec.structs.replace(march, attempt_id=2, debtor_id=8, key=key_of("re 7", "M-1", None), due_item="2026-3")
    >>> collect_same_item(march, again), collect_same_item(march, msgspec.structs.replace(again, due_item="2026-04"))
    (True, False)
    """
    if not due_items.alike(debit.due_item, other.due_item):
        return False
    if debit.debtor_id == other.debtor_id:
        return True
    if compare(debit.key, other.key) != "same":
        return False
    first, second = sorted((debit, other), key=lambda item: item.at)
    equal_reference = bool(debit.key.reference and other.key.reference)
    named = due_items.specific(debit.due_item)
    if equal_reference and named:
        return True
    if second.taken_at is not None and first.at <= second.taken_at:
        return False  # a person has said that these are two debts
    return equal_reference or named or (second.at - first.at).days <= WINDOW_DAYS
