"""
Completeness: whether everything in the gateway's lists is recorded here.

The gateway sends notifications, and it keeps lists. Each day's lists are fetched again and again while they still
change (`SCHEDULE`), and every item becomes a row of the inbox or finds one. So for the days of a report each **known
event**, an item of a list, is one of these:

| way | what it means |
|---|---|
| webhook | its notification came |
| fetch | no notification had come when we fetched it |
| unexplained | the list has it and we hold no row: its page was lost, or it could not be read |

    known = by webhook + fetched + unexplained,   and unexplained must be 0

The report also counts the states of the rows (`DISPOSITIONS`): applied, on the way, of a payment that is not ours, contradicted, or
waiting for a person. Lists that were not read to their end are named: as
*not read*, or as *awaited* where their reading is due and not late yet, such as right after the first start or midnight. A day that
is over counts as read when its list was read after its end; the present day when that was within `FRESH`, and the report of it
holds up to then. A report is `complete` only without any of these.

Delays are counted from the gateway's own time of a payment, which is when it took the debit, to our record of the
news; for results of direct debits the bank's days are part of it. Chargebacks are listed by the day alone and
take no part.

>>> from datetime import UTC
>>> day = date(2026, 3, 2)
>>> lines = [EventCount("webhook", "processed", "applied", 98), EventCount("report", "processed", "applied", 2)]
>>> report_fetches = [ReportFetch("default", "transactions", day, 100, 100, 0, datetime(2026, 3, 3, 1, tzinfo=UTC))]
>>> later = datetime(2026, 3, 3, 7, tzinfo=UTC)
>>> result = report(lines, report_fetches, from_on=day, to_on=day, expected=[("default", "transactions")], now=later)
>>> result.known, result.by_webhook, result.fetched, result.unexplained, result.complete
(100, 98, 2, 0, True)
>>> short = msgspec.structs.replace(report_fetches[0], listed=101)
>>> report(lines, [short], from_on=day, to_on=day, expected=[("default", "transactions")], now=later).unexplained
1
>>> report(lines, report_fetches, from_on=day, to_on=date(2026, 3, 1), expected=[], now=later)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: to: The last day comes before the first.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal

import msgspec

from tether_core.errors import InvalidRequest

__all__ = [
    "DISPOSITIONS",
    "FRESH",
    "LISTS",
    "SCHEDULE",
    "CompletenessReport",
    "Delays",
    "Disposition",
    "EventCount",
    "ListName",
    "NotRead",
    "ReportFetch",
    "Rhythm",
    "Way",
    "days_between",
    "delays",
    "report",
]

Way = Literal["webhook", "report"]
ListName = Literal["transactions", "chargebacks", "imports"]
Disposition = Literal["applied", "on_the_way", "not_ours", "contradicted", "for_a_person"]

# The gateway's lists by the day they are fetched for: when a payment was taken, when a chargeback was posted, and when the
# gateway took a chargeback in. Chargebacks of direct debits may lack a posting day, so both lists are fetched.
LISTS: Final[dict[ListName, str]] = {
    "transactions": "payments by the day they were taken",
    "chargebacks": "chargebacks by the day they were posted",
    "imports": "chargebacks by the day the gateway took them in",
}


class Rhythm(msgspec.Struct, frozen=True):
    """
    How often the lists of some days are read.

    Attributes:
        periodic_task: Its name; the ticks of one periodic task run once each in the whole cluster.
        every: Time between two ticks.
        past: How long after midnight UTC the first tick of a day is.
        days_back: Lists of this day and of this many days before it are read.
    """

    periodic_task: str
    every: timedelta
    past: timedelta
    days_back: int


# Hourly what is fresh. Nightly what may still change: a debit's result comes within 14 working days.
SCHEDULE: Final = (
    Rhythm("report_fetch_fresh", timedelta(hours=1), timedelta(minutes=10), 1),
    Rhythm("report_fetch_month", timedelta(days=1), timedelta(hours=2), 30),
)

# Today's lists are read every hour; twice that, and a little for the reading itself.
FRESH: Final = timedelta(hours=2, minutes=10)

# (state, outcome) of a row -> its disposition; the first entry that fits, None fits anything.
DISPOSITIONS: Final[tuple[tuple[str | None, str | None, Disposition], ...]] = (
    (None, "not_yet", "not_ours"),
    ("parked", None, "for_a_person"),
    ("conflicting", None, "for_a_person"),
    ("waiting", None, "on_the_way"),
    ("confirming", None, "on_the_way"),
    ("contradicted", None, "contradicted"),
    ("processed", "contradicted", "contradicted"),
    ("processed", None, "applied"),
)


class EventCount(msgspec.Struct, frozen=True):
    """
    Known events of one kind, counted.

    Attributes:
        way: How they came first.
        state: Of their rows.
        outcome: Their outcome, or `None` before they were applied.
        events: How many.
    """

    way: Way
    state: str
    outcome: str | None
    events: int


class ReportFetch(msgspec.Struct, frozen=True):
    """
    The progress of reading one list of one day.

    Attributes:
        account: Whose list.
        name: Which list.
        day: Which day's.
        listed: Items that the gateway stated, at the last reading to the end.
        held: Items that we read and recorded, or excluded as not our debit.
        unread: Items that could not be read.
        read_at: When it was last read to its end, or `None`.
        wanted_at: When it was last requested.
    """

    account: str
    name: ListName
    day: date
    listed: int
    held: int
    unread: int
    read_at: datetime | None
    wanted_at: datetime | None = None


class NotRead(msgspec.Struct, frozen=True, order=True):
    """
    A list that was not read to its end since its day was over.

    Attributes:
        account: Whose list.
        name: Which list.
        day: Which day's.
    """

    account: str
    name: ListName
    day: date


class Delays(msgspec.Struct, frozen=True):
    """
    How long news took, in seconds.

    Attributes:
        p50_s: Half came within this time.
        p95_s: 95 of 100 did.
        max_s: All did.
    """

    p50_s: float
    p95_s: float
    max_s: float


class CompletenessReport(msgspec.Struct, frozen=True):
    """
    What the gateway knows of some days, and how we came to know it.

    Attributes:
        from_on: The first day, UTC.
        to_on: The last day, UTC.
        known: Events the gateway's lists have.
        by_webhook: Of these, received as a notification.
        fetched: Of these, found by fetching.
        unexplained: Of these, without a row here; must be 0.
        dispositions: The dispositions of the rows.
        delays: By way, where any event had a time.
        not_read: Lists that were not read to their end.
        awaited: Lists whose reading is due and not late yet.
        so_far: Whether the last day is not over, so that more will come.
    """

    from_on: date
    to_on: date
    known: int
    by_webhook: int
    fetched: int
    unexplained: int
    dispositions: dict[Disposition, int]
    delays: dict[Way, Delays]
    not_read: tuple[NotRead, ...]
    awaited: tuple[NotRead, ...] = ()
    so_far: bool = False

    @property
    def complete(self) -> bool:
        """Whether every list was read and nothing in them is unexplained."""
        return self.unexplained == 0 and not self.not_read and not self.awaited


def report(
    lines: Iterable[EventCount],
    report_fetches: Iterable[ReportFetch],
    *,
    from_on: date,
    to_on: date,
    expected: Iterable[tuple[str, ListName]],
    now: datetime,
    delays_by_way: dict[Way, Delays] | None = None,
) -> CompletenessReport:
    """
    Make the report of some days.

    Args:
        lines: The rows of known events of these days, counted.
        report_fetches: The progress of reading these days' lists.
        from_on: The first day.
        to_on: The last day.
        expected: Account and list of all that should have been read.
        now: The present time, aware, UTC.
        delays_by_way: The delays, where any event had a time.

    Returns:
        The report.

    Raises:
        InvalidRequest: when the last day comes before the first.
    """
    days = days_between(from_on, to_on)
    by_way = Counter[str]()
    dispositions = Counter[Disposition]()
    for line in lines:
        by_way[line.way] += line.events
        dispositions[_disposition(line)] += line.events
    read = {
        (report_fetch.account, report_fetch.name, report_fetch.day): report_fetch
        for report_fetch in report_fetches
        if from_on <= report_fetch.day <= to_on
    }
    unexplained = sum(_unexplained(report_fetch) for report_fetch in read.values())
    missing = [
        NotRead(account, name, day)
        for account, name in expected
        for day in days
        if not _is_read(read.get((account, name, day)), day=day, now=now)
    ]
    awaited = {
        item
        for item in missing
        if _is_awaited(read.get((item.account, item.name, item.day)), day=item.day, now=now)
    }
    return CompletenessReport(
        from_on=from_on,
        to_on=to_on,
        known=by_way.total() + unexplained,
        by_webhook=by_way["webhook"],
        fetched=by_way["report"],
        unexplained=unexplained,
        dispositions=dict(dispositions),
        delays=delays_by_way or {},
        not_read=tuple(sorted(set(missing) - awaited)),
        awaited=tuple(sorted(awaited)),
        so_far=now < _over_at(to_on),
    )


def days_between(from_on: date, to_on: date) -> list[date]:
    """
    The days of a span.

    Args:
        from_on: The first.
        to_on: The last.

    Returns:
        Both and all between them.

    Raises:
        InvalidRequest: when the last comes before the first.
    """
    if to_on < from_on:
        raise InvalidRequest("the last day comes before the first", field="to")
    return [from_on + timedelta(days=n) for n in range((to_on - from_on).days + 1)]


def delays(seconds: Sequence[float]) -> Delays | None:
    """
    How long news took, from single delays.

    Args:
        seconds: Each 0 or more; in any order.

    Returns:
        Percentiles by the nearest rank, or `None` where there is none.

    >>> delays([1.0, 2.0, 3.0, 100.0])
    Delays(p50_s=2.0, p95_s=100.0, max_s=100.0)
    """
    if not seconds:
        return None
    ordered = sorted(seconds)

    def ranked(percent: int) -> float:
        return ordered[max(-(-percent * len(ordered) // 100), 1) - 1]

    return Delays(ranked(50), ranked(95), ordered[-1])


def _disposition(line: EventCount) -> Disposition:
    return next(
        disposition
        for state, outcome, disposition in DISPOSITIONS
        if state in {None, line.state} and outcome in {None, line.outcome}
    )


def _unexplained(report_fetch: ReportFetch) -> int:
    # A gateway that counts fewer items than it lists does not make up for one that could not be read.
    return max(report_fetch.listed - report_fetch.held, report_fetch.unread, 0)


def _is_read(report_fetch: ReportFetch | None, *, day: date, now: datetime) -> bool:
    if report_fetch is None or report_fetch.read_at is None:
        return False
    # For the present day only the records of the hourly reading are known.
    return report_fetch.read_at >= (_over_at(day) if now >= _over_at(day) else now - FRESH)


def _is_awaited(report_fetch: ReportFetch | None, *, day: date, now: datetime) -> bool:
    if report_fetch is None:
        return False
    if report_fetch.read_at is not None and _over_at(day) <= now < _over_at(day) + FRESH:
        return True
    asked_for = report_fetch.wanted_at is not None and (
        report_fetch.read_at is None or report_fetch.wanted_at > report_fetch.read_at
    )
    return asked_for and report_fetch.wanted_at is not None and now - report_fetch.wanted_at < FRESH


def _over_at(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC)
