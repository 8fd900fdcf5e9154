"""The inbox table; the queries are in `notifications/webhook_events.sql`, which describes its rows."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.errors import StoreUnreachable
from tether_core.notifications.excess_deliveries import (
    CONFLICTS_PER_KEY_MAX,
    IDENTITY_CHECKS_PER_DAY_MAX,
    INQUIRE_AGAIN_S,
    ROWS_PER_CLASS_MAX,
)
from tether_core.notifications.identity import Delivery
from tether_core.payments.attempt import Confirmation

from tether_stores.notifications import excess_deliveries
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_value

__all__ = [
    "ClaimedNotification",
    "Finish",
    "Recording",
    "claim",
    "due",
    "finish",
    "oldest_due_s",
    "owners",
    "probe",
    "record",
    "replay",
    "wake_known",
    "wake_matched",
]

_SQL: Final = load("notifications/webhook_events")
# Several hundred ordinary notifications are smaller. Sending more than this takes longer than looking up the keys first.
_LARGE_BYTES: Final = 1_048_576


class Recording(msgspec.Struct, frozen=True):
    """
    A verified notification to be stored.

    Attributes:
        key: Key of the notification, 16 bytes; see `tether_core.notifications.identity`.
        content: Digest of its content, 16 bytes.
        account: The account whose secret verified it.
        kind: "payment", "wpf", "kyc" or "apm_event".
        notification_id: The gateway's id.
        status: Lower case; "" for none.
        event: Lower case; "" for none.
        content_type: The media type of the body.
        body: The bytes as received.
        report_class: See `tether_core.notifications.excess_deliveries`; "" where rows are not bounded.
        traceparent: The trace of its request; "" while traces are off.
        relay_id: The relay by which it came; `None` for the plain route.
        sender: The address of its sender, where it came by a relay.
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
    traceparent: str = ""
    relay_id: int | None = None
    sender: str | None = None


class ClaimedNotification(msgspec.Struct, frozen=True):
    """
    A row that this transaction has locked.

    Attributes:
        id: The row.
        account: The account that signed.
        content_type: Of the body.
        body: The bytes as received.
        failures: Attempts to process it that failed.
        received_at: When it was first recorded.
        inquiries_began_at: When the gateway first contradicted it in the current series of inquiries.
        confirmed_at: When the gateway's own record was stored.
        confirmation: The gateway's own record; `None` before a status inquiry.
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
    The result of processing a claimed row.

    Attributes:
        id: The row.
        state: A state of `tether_core.notifications.inbox`.
        outcome: `tether_core.payments.attempt.Decision.outcome`, or "failed".
        reason: The cause, a stable word.
        failures: Failed attempts, this one included.
        next_at: When to try again; `None` when processing is complete.
        attempt_id: The billing attempt that it names, if there is one.
        is_contradicted: Whether the gateway has just contradicted it.
        inquiries_began_at: When the gateway first contradicted it in the current series of inquiries.
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


async def owners(conn: Connection, named: Sequence[tuple[str, str, str]]) -> list[str | None]:
    """
    The accounts of the payments that notifications name.

    Args:
        named: Of n notifications: the signed id, our id, and the payment that a refund refers to; "" for none.

    Returns:
        n accounts in their order; `None` for a payment that is not known.
    """
    unique_ids, transaction_ids, references = zip(*named, strict=True) if named else ((), (), ())
    cursor = await conn.execute(
        _SQL["owners"],
        {
            "unique_ids": list(unique_ids),
            "transaction_ids": list(transaction_ids),
            "references": list(references),
        },
    )
    return [account for (account,) in await cursor.fetchall()]


async def record(
    conn: Connection, rows: Sequence[Recording], *, now: datetime, source: str = "webhook"
) -> list[Delivery]:
    """
    Store notifications in the inbox.

    In autocommit mode every statement is durable when this returns.

    Args:
        rows: n notifications; duplicates are allowed.
        now: The time of receipt, aware, UTC.
        source: "webhook", or "report" for records of the gateway's reports. A report words the same event differently, so
            a record whose key is stored is a repeat even if its content differs.

    Returns:
        n outcomes in the order of *rows*. Of equal rows the first is recorded, the others are repeats. A notification that
        the gateway contradicted and that is reported again becomes due for an inquiry at once.

    Raises:
        StoreUnreachable: when a row was neither inserted nor found, e.g. because it is deleted at the same time.
    """
    # Under a flood the copies are large: looking up their keys costs less than sending them again.
    is_large = sum(len(row.body) for row in rows) > _LARGE_BYTES
    known = await _stored(conn, [row.key for row in rows]) if is_large else {}
    inserted = await _insert(conn, [row for row in rows if row.key not in known], source=source, now=now)
    times = Counter(row.key for row in rows)
    looked_up = [
        key for key, count in times.items() if key not in known and (count > 1 or key not in inserted)
    ]
    if looked_up:
        known |= await _stored(conn, looked_up)
    # Looked up after the inbox: a row leaves the inbox only once its key is here.
    if missing := [key for key in times if key not in known and key not in inserted]:
        known |= await _archived(conn, missing)
    again = _Again()
    outcomes: list[Delivery | None] = []
    for row in rows:
        found = known.get(row.key)
        if found is None:
            if row.key in inserted:
                outcomes.append("recorded")
            elif row.report_class:
                again.excess.append(row)
                outcomes.append("counted")
            else:
                raise StoreUnreachable("postgres", why="a row neither new nor stored")
        elif found.content != row.content and source == "webhook":
            again.conflicts.append((row, found))
            outcomes.append(None)
        elif row.key in inserted:
            inserted.discard(row.key)
            outcomes.append("recorded")
        else:
            again.contradicted |= {found.id} if found.is_contradicted else set()
            outcomes.append("repeated")
    conflicting = iter(await _record_again(conn, again, now=now))
    return [next(conflicting) if outcome is None else outcome for outcome in outcomes]


async def _insert(conn: Connection, rows: Sequence[Recording], *, source: str, now: datetime) -> set[bytes]:
    """Insert what is new and within the bounds; returns the keys inserted."""
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
            "relay_ids": [row.relay_id for row in rows],
            "senders": [row.sender for row in rows],
            "source": source,
            "now": now,
            "rows_max": ROWS_PER_CLASS_MAX,
            "identity_checks_max": IDENTITY_CHECKS_PER_DAY_MAX,
        },
    )
    return {bytes(key) for _, key in await cursor.fetchall()}


class _Stored(msgspec.Struct, frozen=True):
    """The stored notification of a key."""

    content: bytes
    id: int
    is_contradicted: bool


class _Again(msgspec.Struct):
    """Deliveries that add no row to the inbox, and what follows from them."""

    excess: list[Recording] = []
    conflicts: list[tuple[Recording, _Stored]] = []
    contradicted: set[int] = set()


async def _stored(conn: Connection, keys: Sequence[bytes]) -> dict[bytes, _Stored]:
    cursor = await conn.execute(_SQL["stored"], {"keys": list(keys)})
    return {
        bytes(key): _Stored(bytes(content), row_id, is_contradicted)
        for key, content, row_id, is_contradicted in await cursor.fetchall()
    }


async def _archived(conn: Connection, keys: Sequence[bytes]) -> dict[bytes, _Stored]:
    cursor = await conn.execute(_SQL["archived"], {"keys": list(keys)})
    return {
        bytes(key): _Stored(bytes(content), row_id, is_contradicted=False)
        for key, content, row_id in await cursor.fetchall()
    }


async def _record_again(conn: Connection, again: _Again, *, now: datetime) -> list[Delivery]:
    """Store conflicting deliveries within their bound and count the rest; returns the outcomes of the conflicting ones."""
    counts = Counter[int]()
    if again.excess:
        deliveries = [(row.account, row.notification_id, row.report_class) for row in again.excess]
        for row_id, contradicted_id in await excess_deliveries.representing(conn, deliveries):
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
    inserted = set[tuple[bytes, bytes]]()
    if rows:
        inserted = await _insert_conflicts(conn, list(rows.values()), now=now)
        if len(inserted) < len(rows):
            # Another process stored some of them in between.
            kept |= await _conflicts_stored(conn, [row.key for row, _ in rows.values()])
    kept |= inserted
    outcomes: list[Delivery] = []
    for row, _ in conflicts:
        item = (row.key, row.content)
        outcomes.append("conflicting" if item in inserted else "repeated" if item in kept else "counted")
        inserted.discard(item)
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
            "relay_ids": [row.relay_id for row, _ in rows],
            "senders": [row.sender for row, _ in rows],
            "conflicts_with": [found.id for _, found in rows],
            "conflicts_max": CONFLICTS_PER_KEY_MAX,
            "now": now,
        },
    )
    return {(bytes(key), bytes(content)) for key, content in await cursor.fetchall()}


async def claim(conn: Connection, *, now: datetime, limit: int, freeze_s: float) -> list[ClaimedNotification]:
    """
    Lock due rows until the caller's transaction ends; the oldest first.

    Args:
        freeze_s: How long this transaction may idle before Postgres ends its session, in seconds.
    """
    await conn.execute(_SQL["guard"], {"freeze_ms": int(freeze_s * 1000)})
    rows = await fetch_all(conn, _SQL["claim"], {"now": now, "limit": limit}, into=_claimed, binary=True)
    await conn.execute(_SQL["unguard"])
    return rows


def _claimed(*, body: bytes, **columns: Any) -> ClaimedNotification:
    prefix = "confirmed_"
    confirmed_at = columns.pop("confirmed_at")
    record = {
        name.removeprefix(prefix): columns.pop(name) for name in list(columns) if name.startswith(prefix)
    }
    confirmation = None if record["status"] is None else Confirmation(**record)
    return ClaimedNotification(
        body=bytes(body), confirmed_at=confirmed_at, confirmation=confirmation, **columns
    )


async def finish(conn: Connection, rows: Sequence[Finish], *, now: datetime) -> None:
    """Write the results of claimed rows, inside the transaction that claimed them."""
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
    Make notifications due that arrived before their payments were stored, parked ones included.

    Args:
        conn: The transaction that stores the payments, or any later one.
        unique_ids: The gateway's ids of the payments.

    Returns:
        How many were waiting, and how many were parked.
    """
    cursor = await conn.execute(_SQL["wake_known"], {"unique_ids": list(unique_ids), "now": now})
    woken: dict[str, int] = dict(await cursor.fetchall())
    return woken["waiting"], woken["parked"]


async def wake_matched(conn: Connection, *, now: datetime) -> int:
    """Make notifications due whose payment is stored by now; returns how many."""
    return await fetch_value(conn, _SQL["wake_matched"], {"now": now}, into=int)


async def due(conn: Connection, *, now: datetime, older_than_s: float = 0) -> bool:
    """Whether a row has been due for longer than *older_than_s* seconds."""
    return await fetch_value(conn, _SQL["due"], {"now": now, "older_than_s": older_than_s}, into=bool)


async def probe(conn: Connection) -> None:
    """Try to record a notification and roll it back; raises what recording one would raise."""
    await conn.execute(_SQL["probe"], prepare=False)


async def oldest_due_s(conn: Connection, *, now: datetime) -> float:
    """Age of the oldest row that is due, in seconds, 0 when none is."""
    return await fetch_value(conn, _SQL["oldest_due_s"], {"now": now}, into=float)


async def replay(conn: Connection, row_id: int, *, now: datetime) -> bool:
    """Make a parked or contradicted row due again, with a new inquiry; whether there was such a row."""
    return await (await conn.execute(_SQL["replay"], {"id": row_id, "now": now})).fetchone() is not None
