"""
How long each kind of data is kept.

SEPA lets a debtor return a debit for eight weeks without a reason, and for thirteen months when there was no mandate. So what explains a
debit is kept for fourteen months. After that its purpose is over, and data protection law (GDPR, article 5) asks for its removal. Commercial
and tax law keep the books of ten years: debits, refunds, their sums and the audit are never removed.

>>> Periods().before("notifications", now=datetime(2026, 3, 2, tzinfo=UTC)).date()
datetime.date(2025, 1, 1)
>>> Periods(notifications_days=30)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: TETHER_KEEP_NOTIFICATIONS_DAYS must be at least 90: the gateway reports and repeats for weeks.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from tether_core.errors import InvalidRequest, Rejected

__all__ = ["ARCHIVED", "KINDS", "LEAST_DAYS", "ArchiveKind", "DataKind", "NoLongerKept", "Periods"]

DataKind: TypeAlias = Literal[
    "notifications", "events", "files", "problems", "undebited", "orders", "archives"
]
KINDS: Final = get_args(DataKind)
# What is written to an archive before it is removed.
ArchiveKind: TypeAlias = Literal["notifications", "events"]
ARCHIVED: Final = get_args(ArchiveKind)

# The shortest period of each kind, and its reason.
LEAST_DAYS: Final[dict[DataKind, tuple[int, str]]] = {
    "notifications": (90, "the gateway reports and repeats for weeks"),
    "events": (30, "a subscriber that was away must still find them"),
    "files": (1, "a file is read first"),
    "problems": (1, "somebody must be able to correct the file"),
    "undebited": (60, "a debtor is screened against earlier files for that time"),
    "orders": (30, "somebody looks for its results within weeks"),
    "archives": (400, "a debtor may object to a debit for 13 months"),
}


class NoLongerKept(Rejected):
    """
    The requested data was archived or removed when its period was over.

    Attributes:
        what: The thing, as the beginning of a sentence.
        advice: Where it may still be had, as a sentence.
    """

    code = "no_longer_kept"

    def __init__(self, what: str, *, advice: str) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.what} no longer kept here. {self.advice}"


class Periods(msgspec.Struct, frozen=True, kw_only=True):
    """
    Days for which data is kept.

    Attributes:
        notifications_days: Processed notifications, from their receipt; then they are archived.
        events_days: Events, from when they happened; then they are archived.
        files_days: Uploaded files, from the upload.
        problems_days: Rows of files that became no debtors, with their cells, from the upload.
        undebited_days: Debtors without any debit, from their upload.
        orders_days: Orders about many rows and their results, from their end; the audit keeps who ordered them.
        archives_days: Archives, from their newest row.
    """

    notifications_days: int = 425
    events_days: int = 425
    files_days: int = 425
    problems_days: int = 180
    undebited_days: int = 425
    orders_days: int = 180
    archives_days: int = 3_650

    def __post_init__(self) -> None:
        """Refuse periods in which data is still needed."""
        for kind, (least, why) in LEAST_DAYS.items():
            if self.days(kind) < least:
                raise InvalidRequest(
                    f"must be at least {least}: {why}", field=f"TETHER_KEEP_{kind.upper()}_DAYS"
                )

    def days(self, kind: DataKind) -> int:
        """The period of a kind, in days."""
        found: int = getattr(self, f"{kind}_days")
        return found

    def before(self, kind: DataKind, *, now: datetime) -> datetime:
        """What is older than this is not kept."""
        try:
            return now - timedelta(days=self.days(kind))
        except OverflowError:  # kept for longer than the calendar has years
            return datetime.min.replace(tzinfo=UTC)
