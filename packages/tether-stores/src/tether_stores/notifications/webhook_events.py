"""The inbox table: one short function per query of `notifications/webhook_events.sql`, which tells how its rows live."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import msgspec
from tether_core.emp.notification import FORM
from tether_core.errors import StoreUnreachable
from tether_core.notifications.excess_deliveries import (
    CONFLICTS_PER_KEY_MAX,
    IDENTITY_CHECKS_PER_DAY_MAX,
    INQUIRE_AGAIN_S,
    ROWS_PER_CLASS_MAX,
)
from tether_core.notifications.identity import Delivery
from tether_core.payments.attempt import Confirmation
from tether_core.reconciliation.report_records import ReportRecord

from tether_stores.notifications import excess_deliveries
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_value

__all__ = [
    "Claimed",
    "Event",
    "Finish",
    "InboxCounts",
    "Recording",
    "StoredRow",
    "ToConfirm",
    "Unconfirmed",
    "by_id",
    "claim",
    "claim_to_confirm",
    "confirmable",
    "confirmed",
    "counts",
    "current_status",
    "due",
    "finish",
    "listed",
    "mark_listed",
    "oldest_due_s",
    "probe",
    "record",
    "renew",
    "replay",
    "store_report_records",
    "unconfirmed",
    "unfinished",
    "wake_known",
    "wake_matched",
    "word",
]

_SQL: Final = load("notifications/webhook_events")
# Some hundred ordinary notifications have less; sending more than this takes longer than asking for the keys first.
_LARGE_BYTES: Final = 1_048_576


class Recording(msgspec.Struct, frozen=True):
    """
    A verified notification on its way into the inbox.

    Attributes:
        key: 16 bytes, see `tether_core.notifications.identity`.
        content: 16 bytes, likewise.
        account: The account whose secret verified it.
        kind: "payment", "wpf", "kyc" or "apm_event".
        notification_id: The gateway's id.
        status: Lower case, "" where there was none.
        event: Lower case, "" where there was none.
        content_type: The media type of the body.
        body: The bytes as they came.
        report_class: See `tether_core.notifications.excess_deliveries`; "" where rows are not bounded.
    """

    key: bytes
    content: bytes
    account: str
    kind: str
    notification_id: str
    status: str
    event: str
    content_type: str
    body: bytes
    report_class: str = ""


class Claimed(msgspec.Struct, frozen=True):
    """
    A row that this transaction holds.

    Attributes:
        id: The row.
        account: The account that signed.
        content_type: Of the body.
        body: The bytes as they came.
        failures: Tries that ended without a result.
        received_at: When it was first recorded.
        inquiries_began_at: When the gateway first contradicted it, of the inquiries that are under way.
        confirmed_at: When the gateway gave its word.
        confirmation: The gateway's own record, once it was asked.
    """

    id: int
    account: str
    content_type: str
    body: bytes
    failures: int
    received_at: datetime
    inquiries_began_at: datetime | None
    confirmed_at: datetime | None
    confirmation: Confirmation | None


class Finish(msgspec.Struct, frozen=True):
    """
    What came of a claimed row.

    Attributes:
        id: The row.
        state: A state of `tether_core.notifications.inbox`.
        outcome: `tether_core.payments.attempt.Decision.outcome`, or "failed".
        reason: The cause, a stable word.
        failures: Tries without a result, this one included.
        next_at: When to try again, or `None` when done with.
        attempt_id: The billing attempt it spoke of, where there is one.
        is_contradicted: Whether the gateway has just contradicted it.
        inquiries_began_at: When it first did, of the inquiries that are under way.
    """

    id: int
    state: str
    outcome: str
    reason: str
    failures: int
    next_at: datetime | None
    attempt_id: int | None
    is_contradicted: bool = False
    inquiries_began_at: datetime | None = None


class ToConfirm(msgspec.Struct, frozen=True):
    """
    A row that waits for the gateway's word, under a lease.

    Attributes:
        id: The row.
        account: The account that signed.
        kind: "payment", or another kind, which names a payment.
        notification_id: The id that was signed.
        status: As reported.
        event: As reported.
        failures: Inquiries that got no answer so far.
        attempt_id: The billing attempt it names, where there is one.
        content_type: Of the body; `None` but for the first row of a payment.
        body: The bytes as they came, likewise.
        transaction_id: Our id of the attempt.
        unique_id: The gateway's id of the attempt, where it is stored.
    """

    id: int
    account: str
    kind: str
    notification_id: str
    status: str
    event: str | None
    failures: int
    attempt_id: int | None
    content_type: str | None
    body: bytes | None
    transaction_id: str | None
    unique_id: str | None

    @property
    def payment(self) -> tuple[str, str]:
        """What one inquiry is about: rows with the same are answered together."""
        return self.account, self.notification_id if self.kind == "payment" else f"attempt {self.attempt_id}"


class Unconfirmed(msgspec.Struct, frozen=True):
    """
    A row whose question got no answer.

    Attributes:
        id: The row.
        reason: Why, a stable word.
        failures: Questions without an answer, this one included.
        next_at: When to ask again, or `None` to park it.
    """

    id: int
    reason: str
    failures: int
    next_at: datetime | None


class StoredRow(msgspec.Struct, frozen=True):
    """
    A stored row about an event that was fetched.

    Attributes:
        place: Of the event among those asked for, from 0.
        id: The row.
        outcome: What came of it, or `None` before it was applied.
        content_type: Of the body.
        body: The bytes as they came.
        error_code: The gateway's own record, where it was asked.
        reason_code: Likewise.
    """

    place: int
    id: int
    outcome: str | None
    content_type: str
    body: bytes
    error_code: str | None
    reason_code: str | None


class InboxCounts(msgspec.Struct, frozen=True):
    """
    How the inbox stands, in rows.

    Attributes:
        waiting: Due now.
        deferred: Waiting for a later time.
        confirming: Waiting for the gateway's word.
        processed: Done.
        parked: Waiting for a person.
        conflicting: Kept aside for a person.
        inquired_again: Contradicted by the gateway, and inquired again.
        contradicted: Contradicted by the gateway to the last.
        oldest_due_s: Age of the oldest row that is due, in seconds.
    """

    waiting: int
    deferred: int
    confirming: int
    processed: int
    parked: int
    conflicting: int
    inquired_again: int
    contradicted: int
    oldest_due_s: float


class Event(msgspec.Struct, frozen=True):
    """
    A row of the inbox for people; the columns of the query `listed`.

    Attributes:
        id: Our row.
        source: "webhook", or "fetch" for what we fetched ourselves.
        kind: What it is about: "payment" and so on, see `tether_core.emp.notification`.
        notification_id: The id that is signed; of a payment, the gateway's `unique_id`.
        status: The gateway's word.
        event: What moved a dispute, where something did.
        account: The gateway account that signed.
        state: Where it stands, see `tether_core.notifications.inbox`.
        outcome: What came of it, once somebody decided: "applied", "unchanged", "contradicted" and so on.
        reason: Why, in a word.
        failures: Tries to apply it that ended badly.
        attempt_id: The billing attempt it speaks of, where there is one.
        conflicts_with: The row with the same key and other content, for a conflicting one.
        confirmed_status: The gateway's word when it was asked, where it was.
        confirmed_at: When that was.
        contradicted_count: How often the gateway contradicted it.
        first_contradicted_at: When first.
        last_contradicted_at: When last.
        received_at: When it came.
        next_at: When it is looked at next; null when it is done with.
        handled_at: When it was done with.
    """

    id: int
    source: str
    kind: str
    notification_id: str
    status: str
    event: str | None
    account: str
    state: str
    outcome: str | None
    reason: str | None
    failures: int
    attempt_id: int | None
    conflicts_with: int | None
    confirmed_status: str | None
    confirmed_at: datetime | None
    contradicted_count: int
    first_contradicted_at: datetime | None
    last_contradicted_at: datetime | None
    received_at: datetime
    next_at: datetime | None
    handled_at: datetime | None


async def record(
    conn: Connection, rows: Sequence[Recording], *, now: datetime, source: str = "webhook"
) -> list[Delivery]:
    """
    Put notifications into the inbox.

    Args:
        conn: In autocommit mode each of the statements is durable when this returns; inside a transaction nothing is
            before that commits.
        rows: n notifications; the same one may be among them several times.
        now: The time of receipt, aware, UTC.
        source: "webhook", or "fetch" for what we fetched ourselves. What we fetched is worded otherwise than what was
            sent, so a fetched row whose key is stored is a repeat whatever its content.

    Returns:
        n outcomes in the order of *rows*. Of equal rows the first is recorded, the others are repeats. What the gateway
        contradicted and is reported again is inquired at once.

    Raises:
        StoreUnreachable: when a row was neither taken nor found, as where somebody deletes it at the same time.
    """
    # What is stored is not sent once more where that costs more than asking: copies of a flood are large.
    is_large = sum(len(row.body) for row in rows) > _LARGE_BYTES
    current_status = await _stored(conn, [row.key for row in rows]) if is_large else {}
    fresh = await _insert(
        conn, [row for row in rows if row.key not in current_status], source=source, now=now
    )
    times = Counter(row.key for row in rows)
    looked_up = [
        key for key, count in times.items() if key not in current_status and (count > 1 or key not in fresh)
    ]
    if looked_up:
        current_status |= await _stored(conn, looked_up)
    again = _Again()
    outcomes: list[Delivery | None] = []
    for row in rows:
        found = current_status.get(row.key)
        if found is None:
            if row.key in fresh:
                outcomes.append("recorded")
            elif row.report_class:
                again.excess.append(row)
                outcomes.append("counted")
            else:
                raise StoreUnreachable("postgres", why="a row neither new nor stored")
        elif found.content != row.content and source == "webhook":
            again.conflicts.append((row, found))
            outcomes.append(None)
        elif row.key in fresh:
            fresh.discard(row.key)
            outcomes.append("recorded")
        else:
            again.contradicted |= {found.id} if found.is_contradicted else set()
            outcomes.append("repeated")
    conflicting = iter(await _record_again(conn, again, now=now))
    return [next(conflicting) if outcome is None else outcome for outcome in outcomes]


async def _insert(conn: Connection, rows: Sequence[Recording], *, source: str, now: datetime) -> set[bytes]:
    """Insert what is new and kept; gives the keys of that."""
    if not rows:
        return set()
    cursor = await conn.execute(
        _SQL["record"],
        {
            "keys": [row.key for row in rows],
            "contents": [row.content for row in rows],
            "accounts": [row.account for row in rows],
            "kinds": [row.kind for row in rows],
            "notification_ids": [row.notification_id for row in rows],
            "statuses": [row.status for row in rows],
            "events": [row.event for row in rows],
            "content_types": [row.content_type for row in rows],
            "bodies": [row.body for row in rows],
            "report_classes": [row.report_class for row in rows],
            "source": source,
            "now": now,
            "rows_max": ROWS_PER_CLASS_MAX,
            "identity_checks_max": IDENTITY_CHECKS_PER_DAY_MAX,
        },
    )
    return {bytes(key) for _, key in await cursor.fetchall()}


class _Stored(msgspec.Struct, frozen=True):
    """What stands under a key."""

    content: bytes
    id: int
    is_contradicted: bool


class _Again(msgspec.Struct):
    """Deliveries that bring no notification of their own: what is to be done about them."""

    excess: list[Recording] = []
    conflicts: list[tuple[Recording, _Stored]] = []
    contradicted: set[int] = set()


async def _stored(conn: Connection, keys: Sequence[bytes]) -> dict[bytes, _Stored]:
    cursor = await conn.execute(_SQL["stored"], {"keys": list(keys)})
    return {
        bytes(key): _Stored(bytes(content), row_id, is_contradicted)
        for key, content, row_id, is_contradicted in await cursor.fetchall()
    }


async def _record_again(conn: Connection, again: _Again, *, now: datetime) -> list[Delivery]:
    """Keep conflicting deliveries as far as they are kept, count the rest; gives the outcomes of the conflicting ones."""
    counts = Counter[int]()
    if again.excess:
        result = [(row.account, row.notification_id, row.report_class) for row in again.excess]
        for row_id, contradicted_id in await excess_deliveries.representing(conn, result):
            if row_id is None:
                raise StoreUnreachable("postgres", why="a row neither new nor stored")
            counts[row_id] += 1
            if contradicted_id is not None:
                again.contradicted.add(contradicted_id)
    outcomes = await _record_conflicts(conn, again.conflicts, now=now) if again.conflicts else []
    for (_, found), outcome in zip(again.conflicts, outcomes, strict=True):
        if outcome == "counted":
            counts[found.id] += 1
        if found.is_contradicted:
            again.contradicted.add(found.id)
    await excess_deliveries.count(conn, counts, now=now)
    if again.contradicted:
        await conn.execute(
            _SQL["reported_again"],
            {"ids": sorted(again.contradicted), "again_s": INQUIRE_AGAIN_S, "now": now},
        )
    return outcomes


async def _record_conflicts(
    conn: Connection, conflicts: Sequence[tuple[Recording, _Stored]], *, now: datetime
) -> list[Delivery]:
    kept = await _conflicts_stored(conn, [row.key for row, _ in conflicts])
    counts = Counter(key for key, _ in kept)
    rows = {
        (row.key, row.content): (row, found)
        for row, found in conflicts
        if (row.key, row.content) not in kept and counts[row.key] < CONFLICTS_PER_KEY_MAX
    }
    fresh = set[tuple[bytes, bytes]]()
    if rows:
        fresh = await _insert_conflicts(conn, list(rows.values()), now=now)
        if len(fresh) < len(rows):
            # Somebody else has kept some of them in between.
            kept |= await _conflicts_stored(conn, [row.key for row, _ in rows.values()])
    kept |= fresh
    outcomes: list[Delivery] = []
    for row, _ in conflicts:
        item = (row.key, row.content)
        outcomes.append("conflicting" if item in fresh else "repeated" if item in kept else "counted")
        fresh.discard(item)
    return outcomes


async def _conflicts_stored(conn: Connection, keys: Sequence[bytes]) -> set[tuple[bytes, bytes]]:
    cursor = await conn.execute(_SQL["conflicts_stored"], {"keys": list(set(keys))})
    return {(bytes(key), bytes(content)) for key, content in await cursor.fetchall()}


async def _insert_conflicts(
    conn: Connection, rows: Sequence[tuple[Recording, _Stored]], *, now: datetime
) -> set[tuple[bytes, bytes]]:
    cursor = await conn.execute(
        _SQL["record_conflicts"],
        {
            "keys": [row.key for row, _ in rows],
            "contents": [row.content for row, _ in rows],
            "accounts": [row.account for row, _ in rows],
            "kinds": [row.kind for row, _ in rows],
            "notification_ids": [row.notification_id for row, _ in rows],
            "statuses": [row.status for row, _ in rows],
            "events": [row.event for row, _ in rows],
            "content_types": [row.content_type for row, _ in rows],
            "bodies": [row.body for row, _ in rows],
            "report_classes": [row.report_class for row, _ in rows],
            "conflicts_with": [found.id for _, found in rows],
            "conflicts_max": CONFLICTS_PER_KEY_MAX,
            "now": now,
        },
    )
    return {(bytes(key), bytes(content)) for key, content in await cursor.fetchall()}


async def claim(conn: Connection, *, now: datetime, limit: int, freeze_s: float) -> list[Claimed]:
    """
    Lock rows that are due until the caller's transaction ends.

    Args:
        conn: Inside a transaction.
        now: The current time.
        limit: Rows at most.
        freeze_s: How long this transaction may idle before Postgres ends its session, in seconds.

    Returns:
        Up to *limit* rows, oldest first.
    """
    await conn.execute(_SQL["guard"], {"freeze_ms": int(freeze_s * 1000)})
    cursor = await conn.execute(_SQL["claim"], {"now": now, "limit": limit}, binary=True)
    await conn.execute(_SQL["unguard"])
    return [
        Claimed(
            row[0], row[1], row[2], bytes(row[3]), row[4], row[5], row[6], row[7],
            Confirmation(*row[8:14]) if row[8] is not None else None,
        )
        for row in await cursor.fetchall()
    ]  # fmt: skip


async def finish(conn: Connection, rows: Sequence[Finish], *, now: datetime) -> None:
    """
    Write what came of claimed rows, inside the transaction that claimed them.

    Args:
        conn: The claiming transaction.
        rows: One per claimed row.
        now: The current time.
    """
    await conn.execute(
        _SQL["finish"],
        {
            "ids": [row.id for row in rows],
            "states": [row.state for row in rows],
            "outcomes": [row.outcome for row in rows],
            "reasons": [row.reason for row in rows],
            "failures": [row.failures for row in rows],
            "next_ats": [row.next_at for row in rows],
            "attempt_ids": [row.attempt_id for row in rows],
            "are_contradicted": [row.is_contradicted for row in rows],
            "inquiries_began_ats": [row.inquiries_began_at for row in rows],
            "now": now,
        },
    )


async def wake_known(conn: Connection, unique_ids: Sequence[str], *, now: datetime) -> tuple[int, int]:
    """
    Make notifications due that came before anybody knew the payment they speak of, parked ones too.

    Args:
        conn: The transaction that puts the payments stored, or any later one.
        unique_ids: The gateway's ids of the payments.
        now: The current time.

    Returns:
        How many had waited, and how many were parked.
    """
    cursor = await conn.execute(_SQL["wake_known"], {"unique_ids": list(unique_ids), "now": now})
    woken: dict[str, int] = dict(await cursor.fetchall())
    return woken["waiting"], woken["parked"]


async def wake_matched(conn: Connection, *, now: datetime) -> int:
    """Make due what waited for a payment that has appeared; returns how many rows."""
    return await fetch_value(conn, _SQL["wake_matched"], {"now": now}, into=int)


async def due(conn: Connection, *, now: datetime, older_than_s: float = 0) -> bool:
    """Whether a row has been due for longer than *older_than_s* seconds."""
    return await fetch_value(conn, _SQL["due"], {"now": now, "older_than_s": older_than_s}, into=bool)


async def counts(conn: Connection, *, now: datetime) -> InboxCounts:
    """How the inbox stands; reads what is unfinished, so not for every second."""
    row = await (await conn.execute(_SQL["counts"], {"now": now})).fetchone()
    assert row is not None
    return InboxCounts(*row)


async def probe(conn: Connection) -> None:
    """Do all that recording a notification does, and record none; raises what recording one would raise."""
    await conn.execute(_SQL["probe"], prepare=False)


async def oldest_due_s(conn: Connection, *, now: datetime) -> float:
    """Age of the oldest row that is due, in seconds, 0 when none is."""
    return await fetch_value(conn, _SQL["oldest_due_s"], {"now": now}, into=float)


async def unfinished(conn: Connection) -> dict[str, int]:
    """How many rows are in each state that is not the last one; every such state is there, also with 0."""
    rows = await (await conn.execute(_SQL["unfinished"])).fetchall()
    return {str(state): int(count) for state, count in rows}


async def listed(
    conn: Connection, *, limit: int, before: int | None, state: str | None, notification_id: str | None
) -> list[Event]:
    """
    One page of the inbox, newest first.

    Args:
        conn: Any connection.
        limit: Rows at most.
        before: Only rows with a smaller id, or `None` for the first page.
        state: Only rows in this state, or `None`.
        notification_id: Only rows of this gateway id, or `None`.

    Returns:
        Up to *limit* rows.
    """
    cursor = await conn.execute(
        _SQL["listed"], {"limit": limit, "before": before, "state": state, "notification_id": notification_id}
    )
    return [Event(*row) for row in await cursor.fetchall()]


async def by_id(conn: Connection, row_id: int) -> tuple[Event, str, bytes] | None:
    """One row with its media type and raw body, or `None`."""
    row = await (await conn.execute(_SQL["by_id"], {"id": row_id})).fetchone()
    return None if row is None else (Event(*row[:-2]), row[-2], bytes(row[-1]))


async def replay(conn: Connection, row_id: int, *, now: datetime) -> bool:
    """Put a parked or contradicted row back to work, to be inquired anew; whether there was one."""
    return await (await conn.execute(_SQL["replay"], {"id": row_id, "now": now})).fetchone() is not None


async def claim_to_confirm(
    conn: Connection, *, now: datetime, leased_until: datetime, limit: int
) -> list[ToConfirm]:
    """
    Take a lease on all due rows of some payments that wait for the gateway's word.

    Args:
        conn: In autocommit mode: the lease must be committed before anybody is asked.
        now: The current time.
        leased_until: The end of the lease, which also names it.
        limit: Payments at most.

    Returns:
        Their rows, in the order of their ids.
    """
    cursor = await conn.execute(
        _SQL["claim_to_confirm"], {"now": now, "leased_until": leased_until, "limit": limit}, binary=True
    )
    return sorted((ToConfirm(*row) for row in await cursor.fetchall()), key=lambda row: row.id)


async def renew(conn: Connection, ids: Sequence[int], *, leased_until: datetime, until: datetime) -> int:
    """
    Hold the lease on claims for longer.

    Args:
        conn: Any connection.
        ids: The claims.
        leased_until: The lease they are held under.
        until: The lease they are held under from now on.

    Returns:
        How many were still ours.
    """
    cursor = await conn.execute(
        _SQL["renew"], {"ids": list(ids), "leased_until": leased_until, "until": until}
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def confirmed(
    conn: Connection, words: Sequence[tuple[int, Confirmation]], *, leased_until: datetime, now: datetime
) -> int:
    """
    Put the gateway's own record beside claims, and have them applied.

    Args:
        conn: Any connection.
        words: Row and word.
        leased_until: The lease they were claimed under.
        now: The current time.

    Returns:
        How many were written; the others are somebody else's by now.
    """
    cursor = await conn.execute(
        _SQL["confirmed"],
        {
            "ids": [row_id for row_id, _ in words],
            "statuses": [word.status for _, word in words],
            "error_codes": [word.error_code for _, word in words],
            "reason_codes": [word.reason_code for _, word in words],
            "transaction_ids": [word.transaction_id for _, word in words],
            "amounts_minor": [word.amount_minor for _, word in words],
            "currencies": [word.currency for _, word in words],
            "leased_until": leased_until,
            "now": now,
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def unconfirmed(
    conn: Connection, rows: Sequence[Unconfirmed], *, leased_until: datetime, now: datetime
) -> None:
    """
    Let rows wait on for the gateway's word, or park them.

    Args:
        conn: Any connection.
        rows: n rows.
        leased_until: The lease they were claimed under.
        now: The current time.
    """
    await conn.execute(
        _SQL["unconfirmed"],
        {
            "ids": [row.id for row in rows],
            "reasons": [row.reason for row in rows],
            "failures": [row.failures for row in rows],
            "next_ats": [row.next_at for row in rows],
            "leased_until": leased_until,
            "now": now,
        },
    )


async def confirmable(conn: Connection, *, now: datetime) -> bool:
    """Whether a row waits for the gateway's word and nobody is asking."""
    return await fetch_value(conn, _SQL["confirmable"], {"now": now}, into=bool)


async def current_status(conn: Connection, records: Sequence[ReportRecord]) -> list[StoredRow]:
    """
    What is stored about the events of fetched records.

    Args:
        conn: Any connection.
        records: n records.

    Returns:
        Rows by place and age; several, one or none for each.
    """
    cursor = await conn.execute(
        _SQL["current_status"],
        {
            "accounts": [item.account for item in records],
            "notification_ids": [item.notification.id for item in records],
            "statuses": [item.notification.status for item in records],
            "events": [item.notification.event for item in records],
        },
        binary=True,
    )
    return [
        StoredRow(row[0], row[1], row[2], row[3], bytes(row[4]), row[5], row[6])
        for row in await cursor.fetchall()
    ]


async def store_report_records(
    conn: Connection, records: Sequence[ReportRecord], *, now: datetime
) -> dict[bytes, int]:
    """
    Put fetched records into the inbox, claimed and confirmed at once.

    Args:
        conn: Inside the transaction that counts them.
        records: n records, of which some may be stored.
        now: The time of receipt.

    Returns:
        Key to row of those that are new.
    """
    cursor = await conn.execute(
        _SQL["store_report_records"],
        {
            "keys": [item.key for item in records],
            "contents": [item.content for item in records],
            "accounts": [item.account for item in records],
            "notification_ids": [item.notification.id for item in records],
            "statuses": [item.notification.status for item in records],
            "events": [item.notification.event for item in records],
            "error_codes": [item.confirmation.error_code for item in records],
            "reason_codes": [item.confirmation.reason_code for item in records],
            "transaction_ids": [item.confirmation.transaction_id for item in records],
            "bodies": [item.body for item in records],
            "content_type": FORM,
            "now": now,
        },
    )
    return {bytes(key): row_id for row_id, key in await cursor.fetchall()}


async def mark_listed(
    conn: Connection,
    rows: Sequence[tuple[int, datetime | None]],
    *,
    listed_on: date,
    override: bool,
) -> None:
    """
    Note in which day's list the gateway has the events of some rows.

    Args:
        conn: Inside the transaction that counts them.
        rows: Row and the gateway's own time, where it told one.
        listed_on: The day of the list.
        override: Whether this list knows better than others that have the same event.
    """
    if not rows:
        return
    await conn.execute(
        _SQL["mark_listed"],
        {
            "ids": [row_id for row_id, _ in rows],
            "happened_ats": [happened_at for _, happened_at in rows],
            "listed_on": listed_on,
            "override": override,
        },
    )


async def word(conn: Connection, row_id: int) -> Confirmation | None:
    """The gateway's own record about a notification, or `None` where it was not asked."""
    row = await (await conn.execute(_SQL["word"], {"id": row_id})).fetchone()
    return None if row is None or row[0] is None else Confirmation(*row)
