"""
Quarantine: notifications whose signature no password verifies are kept for a while.

A wrong or a missing password refuses genuine notifications. The gateway repeats each some ten times and then stops, so what was refused
would be lost. It is kept, sealed and within bounds, and after the password is corrected a person has it verified again: what is genuine
then goes to the inbox, in the order of its receipt, and the rest stays until it expires.

Anybody can post a body with an invalid signature, so nothing here may depend on its content being true, and no number of them may fill a disk:

| of | kept | why |
|---|---|---|
| a body | one row, and how often it was delivered | the gateway, or somebody else, repeats it |
| a debit that we know | `ROWS_PER_DEBIT_MAX` rows | its life has fewer statuses |
| an account: notifications that name a known debit | the quota of rows and of bytes | only a sender that knows an id of Tether can use it up |
| an account: all others | another quota of the same size, of which a day's share within 24 hours | a million false bodies use up the share of one day, and no other |
| each row | `Bounds.days` days | a wrong password is noticed within days |

The account is the one whose terminal a notification names, "" where it names no configured terminal. It only says which quota counts the row: what verifies decides
about the account in the end. What is beyond the bounds is counted and not kept. The first to come stays: the gateway repeats what is new,
and never again what is old.

>>> bounds = Bounds(days=10, rows_max=20, bytes_max=20_000)
>>> unknown = [RefusedNotification(bytes([number]), "default", None, 100) for number in range(4)]
>>> decide(unknown, stored=frozenset(), held={}, of_debits={}, bounds=bounds)
['kept', 'kept', 'over_quota', 'over_quota']
>>> known = [RefusedNotification(b"a", "default", 7, 100), RefusedNotification(b"a", "default", 7, 100)]
>>> decide(known, stored=frozenset(), held={}, of_debits={7: 3}, bounds=bounds)
['kept', 'repeated']
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

import msgspec

from tether_core.emp.signature import Credential

__all__ = [
    "DAY",
    "ROWS_PER_DEBIT_MAX",
    "Admission",
    "Bounds",
    "Quota",
    "QuotaUse",
    "RefusedNotification",
    "account_of",
    "decide",
]

# A debit has some five statuses and two or three disputes; each may come in two forms.
ROWS_PER_DEBIT_MAX: Final = 16
DAY: Final = timedelta(days=1)

Admission = Literal["kept", "repeated", "over_quota"]
# An account, and whether the notifications name a debit that we know.
Quota: TypeAlias = tuple[str, bool]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """
    How much is kept.

    Attributes:
        days: For how long, from the first receipt.
        rows_max: Rows of one quota.
        bytes_max: Bytes of the bodies of one quota.
    """

    days: int = 14
    rows_max: int = 10_000
    bytes_max: int = 67_108_864

    def before(self, *, now: datetime) -> datetime:
        """What was received before this is no longer kept."""
        try:
            return now - timedelta(days=self.days)
        except OverflowError:  # kept for longer than the calendar has years
            return datetime.min.replace(tzinfo=UTC)


class RefusedNotification(msgspec.Struct, frozen=True):
    """
    A refused notification, as far as the bounds look at it.

    Attributes:
        digest: Of its body; equal bodies are one row.
        account: From `account_of`.
        attempt_id: The debit that it names, or `None` for an unknown one.
        size_bytes: Of its body.
    """

    digest: bytes
    account: str
    attempt_id: int | None
    size_bytes: int

    @property
    def quota(self) -> Quota:
        """The quota that counts it."""
        return self.account, self.attempt_id is not None


class QuotaUse(msgspec.Struct, frozen=True):
    """
    How much of a quota is used.

    Attributes:
        rows: All its rows.
        size_bytes: Of their bodies.
        day_rows: Of these, rows first received within the last 24 hours.
        day_bytes: Of their bodies.
    """

    rows: int = 0
    size_bytes: int = 0
    day_rows: int = 0
    day_bytes: int = 0

    def fits(self, size_bytes: int, *, is_known: bool, bounds: Bounds) -> bool:
        """Whether another body fits in."""
        if self.rows >= bounds.rows_max or self.size_bytes + size_bytes > bounds.bytes_max:
            return False
        if is_known:
            return True
        share_rows = max(bounds.rows_max // bounds.days, 1)
        share_bytes = max(bounds.bytes_max // bounds.days, 1)
        return self.day_rows < share_rows and self.day_bytes + size_bytes <= share_bytes

    def with_row(self, size_bytes: int) -> "QuotaUse":
        """The same with another body."""
        return QuotaUse(
            self.rows + 1, self.size_bytes + size_bytes, self.day_rows + 1, self.day_bytes + size_bytes
        )


_EMPTY: Final = QuotaUse()


def account_of(terminal_token: str | None, credentials: Iterable[Credential]) -> str:
    """
    The account whose terminal a refused notification names.

    Args:
        terminal_token: As the notification has it; nothing of it is verified.
        credentials: Of all accounts.

    Returns:
        Its name; "" where no account has the terminal.
    """
    if not terminal_token:
        return ""
    return next((known.account for known in credentials if terminal_token in known.terminal_tokens), "")


def decide(
    refused: Sequence[RefusedNotification],
    *,
    stored: AbstractSet[bytes],
    held: Mapping[Quota, QuotaUse],
    of_debits: Mapping[int, int],
    bounds: Bounds,
) -> list[Admission]:
    """
    Which refused notifications are kept.

    Args:
        refused: n notifications, in the order of their receipt.
        stored: Digests of those among them that are kept already.
        held: What is used of each quota; none for an empty one.
        of_debits: Rows of the debits among them; none for a debit without.
        bounds: How much is kept.

    Returns:
        n decisions: "kept" for a new row, "repeated" for a body that has one, "over_quota" for what is only counted.
    """
    digests, quotas = set(stored), dict(held)
    debits = defaultdict(int, dict(of_debits))
    decisions: list[Admission] = []
    for each in refused:
        quota = quotas.get(each.quota, _EMPTY)
        if each.digest in digests:
            decisions.append("repeated")
        elif (
            each.attempt_id is not None and debits[each.attempt_id] >= ROWS_PER_DEBIT_MAX
        ) or not quota.fits(each.size_bytes, is_known=each.attempt_id is not None, bounds=bounds):
            decisions.append("over_quota")
        else:
            decisions.append("kept")
            digests.add(each.digest)
            quotas[each.quota] = quota.with_row(each.size_bytes)
            if each.attempt_id is not None:
                debits[each.attempt_id] += 1
    return decisions
