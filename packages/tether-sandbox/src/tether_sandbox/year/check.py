"""
The conservation check of a played year: what the calendar, the gateway, the files and the subscribers have, against what Tether has.

Each line compares two independent records. The due dates are counted here by the calendar alone; money, returns and tries are those of the
gateway's ledger; pre-notifications are read from the files that were written for the debtors; events are those that the subscribers received.
"""

import calendar
import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from tether_core.subscribers.cloud_events import stable_id
from tether_core.target_calendar import bank_day
from tether_stores.queries import split_file

from tether_sandbox.conservation import BooksLine, books, broken_chains
from tether_sandbox.receiver import Receiver
from tether_sandbox.year.bank import LATE_DAYS
from tether_sandbox.year.clock import midnight
from tether_sandbox.year.play import PORTAL_EVENTS, Played
from tether_sandbox.year.script import PLANS

__all__ = ["DUE_S", "YearCheck", "check", "due_dates"]

_SQL: Final = split_file("tether_sandbox", "sql/year")
# How late a due item or a pre-notification may come.
DUE_S: Final = 60.0
_SPACING_DAYS: Final = 5
_TRIES_MAX: Final = 3
_TRIED_AGAIN: Final = frozenset({"AM04", "MS03"})
_SALES: Final = frozenset({"sdd_sale", "sdd_init_recurring_sale", "sdd_recurring_sale"})
# The gateway's statuses in Tether's words, where they differ.
_STATES: Final = {
    "chargeback_reversed": "approved",
    "pending_async": "pending",
    "second_chargebacked": "chargebacked",
}
# Statuses in which the creditor has the money, or may get it.
_HELD: Final = frozenset({"pending_async", "approved", "chargeback_reversed"})
_EVENT_ID: Final = re.compile(r"evt_([0-9]+)_")


class YearCheck(msgspec.Struct, frozen=True):
    """
    The result.

    Attributes:
        lines: The check holds if every line does.
        facts: Sentences about the year.
    """

    lines: list[BooksLine]
    facts: list[str]

    @property
    def holds(self) -> bool:
        """Whether every line holds."""
        return all(line.holds for line in self.lines)


class _Schedule(msgspec.Struct, frozen=True):
    id: int
    plan_id: int
    first_due_on: date
    began_at: datetime
    ended_at: datetime | None


class _Item(msgspec.Struct, frozen=True):
    id: int
    schedule_id: int
    debtor_id: int
    due_item: str
    due_on: date
    state: str
    made_at: datetime


class _Notice(msgspec.Struct, frozen=True):
    id: int
    due_item_id: int
    notice_days: int
    given_at: datetime | None


class _Attempt(msgspec.Struct, frozen=True):
    id: int
    debtor_id: int
    due_item: str
    try_number: int
    transaction_id: str
    state: str
    amount_minor: int
    submitted_at: datetime | None
    retry_on: date | None


class _Delivery(msgspec.Struct, frozen=True):
    subscriber: str
    event_id: int
    state: str
    tries: int


class _Tables(msgspec.Struct, frozen=True):
    """What Tether has."""

    schedules: list[_Schedule]
    items: list[_Item]
    notices: list[_Notice]
    attempts: list[_Attempt]
    inbox: dict[tuple[str, str], int]
    outbox: list[tuple[int, str, bytes, datetime]]
    deliveries: list[_Delivery]


def due_dates(first_on: date, *, up_to: date) -> list[date]:
    """
    The due dates of a monthly schedule.

    Args:
        up_to: The last day that may be one.

    >>> [str(on) for on in due_dates(date(2026, 1, 31), up_to=date(2026, 4, 1))]
    ['2026-01-31', '2026-02-28', '2026-03-31']
    """
    found = list[date]()
    year, month = first_on.year, first_on.month
    while (on := date(year, month, min(first_on.day, calendar.monthrange(year, month)[1]))) <= up_to:
        found.append(on)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return found


def check(played: Played, database_url: str) -> YearCheck:
    """Compare everything, once the year is over and nothing is due."""
    tables = _read(database_url)
    records = [record for record in played.gateway_records if record["order"]["type"] in _SALES]
    due_lines, late_s = _due(played, tables)
    retry_lines, returns, late_returns = _returns(tables, records)
    lines = [
        *due_lines,
        *_notices(tables, files=played.files),
        *_debits(played, tables, records),
        *retry_lines,
        *_notified(played, tables, database_url),
        *(line for name, receiver in played.subscribers.items() for line in _events(name, receiver, tables)),
    ]
    further = sum(attempt.try_number > 1 for attempt in tables.attempts)
    requests = [item for receiver in played.subscribers.values() for item in receiver.received]
    facts = [
        f"{len(tables.items)} due items; the latest was made {late_s[0]:.0f} s after it was due.",
        f"The latest pre-notification was given {late_s[1]:.0f} s after it was due.",
        f"{len(records)} debits, {further} of them further tries; {played.resumed} paused runs resumed.",
        f"{returns} returns, {late_returns} of them after more than {LATE_DAYS} days.",
        f"{played.gateway_sums['notifications']['notified']} notifications, {played.reverified} of them refused at first.",
        f"{len(requests)} requests to two subscribers, {sum(item.fault != 'ok' for item in requests)} of them failed.",
    ]
    return YearCheck(lines, facts)


def _read(database_url: str) -> _Tables:
    def rows(name: str, into: Callable[..., Any]) -> list[Any]:
        return [into(*row) for row in conn.execute(_SQL[name]).fetchall()]

    with psycopg.connect(database_url, prepare_threshold=None) as conn:
        return _Tables(
            rows("schedules", _Schedule),
            rows("due_items", _Item),
            rows("notices", _Notice),
            rows("attempts", _Attempt),
            {(source, state): count for source, state, count in conn.execute(_SQL["inbox"]).fetchall()},
            [
                (number, name, bytes(payload), at)
                for number, name, payload, at in conn.execute(_SQL["outbox"])
            ],
            rows("deliveries", _Delivery),
        )


def _due(played: Played, tables: _Tables) -> tuple[list[BooksLine], tuple[float, float]]:
    """Due dates by the calendar against due items, and how late the latest came: item and pre-notification, in seconds."""
    made = {(item.schedule_id, item.due_on): item for item in tables.items}
    given_at = {notice.due_item_id: notice.given_at for notice in tables.notices}
    expected = set[tuple[int, date]]()
    items_s, notices_s = list[float](), list[float]()
    for schedule in tables.schedules:
        (plan,) = [plan for plan in PLANS if plan.first_due_on == schedule.first_due_on]
        last_on = played.ended_on if schedule.ended_at is None else bank_day(schedule.ended_at)
        for due_on in due_dates(schedule.first_due_on, up_to=last_on + plan.lead):
            key = schedule.id, due_on
            expected.add(key)
            due_at = max(midnight(due_on - plan.lead), schedule.began_at)
            item = made.get(key)
            if item is None:
                continue
            items_s.append((item.made_at - due_at).total_seconds())
            notice_at = given_at.get(item.id)
            if notice_at is not None:
                notices_s.append((notice_at - due_at).total_seconds())
    lines = [
        BooksLine(
            "due dates of the calendar = due items",
            len(expected),
            len(made.keys() & expected),
            note=_some(made.keys() - expected),
        ),
        BooksLine("due items made later than 60 s", 0, sum(late > DUE_S for late in items_s)),
        BooksLine("pre-notifications given later than 60 s", 0, sum(late > DUE_S for late in notices_s)),
    ]
    return lines, (max(items_s, default=0.0), max(notices_s, default=0.0))


def _notices(tables: _Tables, *, files: Path) -> list[BooksLine]:
    """Pre-notifications in the files against those in the table, and against the debits."""
    written = Counter[int]()
    for path in files.glob("*.csv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            written.update(int(row["id"]) for row in csv.DictReader(file, delimiter=";"))
    given = {notice.id for notice in tables.notices if notice.given_at is not None}
    by_item = {notice.due_item_id: notice for notice in tables.notices if notice.given_at is not None}
    item_of = {(item.debtor_id, item.due_item): item for item in tables.items}
    firsts = [attempt for attempt in tables.attempts if attempt.try_number == 1 and attempt.submitted_at]
    unannounced = [
        attempt.transaction_id
        for attempt in firsts
        if not _is_announced(attempt, by_item.get(item_of[attempt.debtor_id, attempt.due_item].id))
    ]
    return [
        BooksLine("pre-notifications in the files = given", len(given), len(written.keys() & given)),
        BooksLine("pre-notifications written twice", 0, sum(count > 1 for count in written.values())),
        BooksLine("debits without a pre-notification in time", 0, len(unannounced), note=_some(unannounced)),
    ]


def _is_announced(attempt: _Attempt, notice: _Notice | None) -> bool:
    if notice is None or notice.given_at is None or attempt.submitted_at is None:
        return False
    return (bank_day(attempt.submitted_at) - bank_day(notice.given_at)).days >= notice.notice_days


def _debits(played: Played, tables: _Tables, records: Sequence[Mapping[str, Any]]) -> list[BooksLine]:
    """The gateway's ledger against the attempts: ids, due items, states and cents."""
    attempts = {attempt.transaction_id: attempt for attempt in tables.attempts}
    held = Counter[tuple[int, str]]()
    theirs: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for record in records:
        attempt = attempts.get(record["order"]["transaction_id"])
        if attempt is not None and record["status"] in _HELD:
            held[attempt.debtor_id, attempt.due_item] += 1
        status = _STATES.get(record["status"], record["status"])
        theirs[status][0] += 1
        theirs[status][1] += record["order"]["amount_minor"]
    ours: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for attempt in tables.attempts:
        if attempt.submitted_at is not None:
            ours[attempt.state][0] += 1
            ours[attempt.state][1] += attempt.amount_minor
    ordered = {(item.debtor_id, item.due_item) for item in tables.items if item.state == "ordered"}
    firsts = [(attempt.debtor_id, attempt.due_item) for attempt in tables.attempts if attempt.try_number == 1]
    lines = [
        BooksLine("due items ordered = first tries", len(ordered), len(ordered & set(firsts))),
        BooksLine("first tries = due items, each once", len(firsts), len(ordered)),
        BooksLine("debits at the gateway that Tether knows", len(records), _known(records, attempts)),
        BooksLine("due items collected twice", 0, sum(count > 1 for count in held.values())),
        BooksLine("transaction ids debited twice", 0, len(played.gateway_sums["debited_twice"])),
    ]
    for state in sorted(theirs.keys() | ours.keys()):
        lines.append(BooksLine(f"{state}", theirs[state][0], ours[state][0]))
        lines.append(BooksLine(f"{state}, cents", theirs[state][1], ours[state][1]))
    return lines


def _known(records: Sequence[Mapping[str, Any]], attempts: Mapping[str, _Attempt]) -> int:
    return sum(record["order"]["transaction_id"] in attempts for record in records)


def _returns(tables: _Tables, records: Sequence[Mapping[str, Any]]) -> tuple[list[BooksLine], int, int]:
    """What the gateway has of returns and further tries against the rules; with the returns, and those that came weeks late."""
    by_id = {record["order"]["transaction_id"]: record for record in records}
    tries = {
        (attempt.debtor_id, attempt.due_item, attempt.try_number): attempt for attempt in tables.attempts
    }
    wrong, early, returns, late = list[str](), list[str](), 0, 0
    for record in records:
        returned = _returned_at(record)
        if returned is not None:
            returns += 1
            taken_on = bank_day(_at(record["taken_at"]))
            late += (bank_day(returned[0]) - taken_on).days > LATE_DAYS
    for attempt in tables.attempts:
        if attempt.try_number == 1 or attempt.transaction_id not in by_id:
            continue
        before = tries[attempt.debtor_id, attempt.due_item, attempt.try_number - 1]
        returned = _returned_at(by_id.get(before.transaction_id, {}))
        if returned is None or returned[1] not in _TRIED_AGAIN:
            wrong.append(attempt.transaction_id)
            continue
        on = bank_day(_at(by_id[attempt.transaction_id]["taken_at"]))
        if (
            before.retry_on is None
            or on < before.retry_on
            or (on - bank_day(returned[0])).days < _SPACING_DAYS
        ):
            early.append(attempt.transaction_id)
    return (
        [
            BooksLine("further tries that followed no AM04 or MS03", 0, len(wrong), note=_some(wrong)),
            BooksLine("further tries before their day", 0, len(early), note=_some(early)),
            BooksLine(
                "due items tried more than three times",
                0,
                sum(attempt.try_number > _TRIES_MAX for attempt in tables.attempts),
            ),
        ],
        returns,
        late,
    )


def _returned_at(record: Mapping[str, Any]) -> tuple[datetime, str] | None:
    """When a debit was first charged back, and why."""
    for change, past in zip(record.get("changes", ()), record.get("past", ()), strict=True):
        if past["event"] == "chargeback":
            return _at(change[0]), past["reason_code"]
    return None


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _notified(played: Played, tables: _Tables, database_url: str) -> list[BooksLine]:
    """Notifications of the gateway against the inbox, its reports, and the core's replay."""
    sent = played.gateway_sums["notifications"]
    of_webhook = sum(count for (source, _), count in tables.inbox.items() if source == "webhook")
    undone = {key: count for key, count in tables.inbox.items() if key[1] != "processed"}
    ours = books(database_url)
    known = {**ours.attempts, **ours.billed}
    broken = broken_chains(ours.moves, ours.current_status, begun=ours.begun)
    found = played.completeness
    return [
        BooksLine("notifications sent = stored", sent["notified"], of_webhook),
        BooksLine(
            "acknowledged at once + taken in later = sent",
            sent["notified"],
            sent["acknowledged"] + played.reverified,
        ),
        BooksLine("notifications not applied", 0, sum(undone.values()), note=_some(undone)),
        BooksLine(
            "events in the gateway's reports that Tether lacks", 0, found["unexplained"] + found["not_read"]
        ),
        # A status inquiry may bring what a notification that was refused would have brought.
        BooksLine(
            "events in the reports = by webhook + refused at first",
            found["known"],
            found["by_webhook"] + min(found["fetched"], played.reverified),
        ),
        BooksLine(
            "attempt states = replay by the core",
            len(ours.replayed),
            sum(known.get(unique_id) == state for unique_id, state in ours.replayed.items()),
        ),
        BooksLine("attempts whose events form no single chain", 0, len(broken), note="; ".join(broken[:3])),
    ]


def _events(name: str, receiver: Receiver, tables: _Tables) -> list[BooksLine]:
    """What a subscriber received against the outbox and the log of deliveries."""
    wanted = {
        stable_id(number, occurred_at=at, payload=payload)
        for number, event, payload, at in tables.outbox
        if name == "books" or event in PORTAL_EVENTS
    }
    taken = receiver.taken()
    times = Counter(item.id for item in taken)
    last_of = dict[str, int]()
    disordered = list[str]()
    for item in taken:
        found = _EVENT_ID.match(item.id)
        number = int(found[1]) if found else 0
        if item.subject is not None and number < last_of.get(item.subject, 0):
            disordered.append(item.id)
        last_of[item.subject or ""] = number
    log = [delivery for delivery in tables.deliveries if delivery.subscriber == name]
    return [
        BooksLine(
            f"{name}: events = received",
            len(wanted),
            len(wanted & times.keys()),
            note=_some(times.keys() - wanted),
        ),
        BooksLine(f"{name}: received twice", 0, sum(count > 1 for count in times.values())),
        BooksLine(f"{name}: out of order for a payment", 0, len(disordered), note=_some(disordered)),
        BooksLine(f"{name}: invalid signatures", 0, sum(not item.verified_by for item in receiver.received)),
        BooksLine(
            f"{name}: requests = tries in the log", len(receiver.received), sum(row.tries for row in log)
        ),
        BooksLine(f"{name}: log says delivered", len(wanted), sum(row.state == "delivered" for row in log)),
    ]


def _some(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in list(items)[:3])
