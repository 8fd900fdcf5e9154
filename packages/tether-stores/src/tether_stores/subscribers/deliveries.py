"""Deliveries: one short function per query of `deliveries.sql`, which describes their rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.subscribers.delivery import DeliveryState, Response, TryResult

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "ClaimedDelivery",
    "Delivery",
    "NewDelivery",
    "Try",
    "accounts_of",
    "add",
    "bring_forward",
    "by_id",
    "claim",
    "drop_waiting",
    "due",
    "listed",
    "of_event",
    "prune",
    "put",
    "reopen",
    "send_again",
    "send_now",
    "tries",
    "waiting_count",
]

_SQL: Final = load("subscribers/deliveries")


class NewDelivery(msgspec.Struct, frozen=True):
    """
    An event that a subscriber gets.

    Attributes:
        event_id: Its row in the outbox.
        event_name: Its type, without the version.
        account: The gateway account it belongs to; `None` for none.
        order_key: What it is about; `None` where its order does not matter.
    """

    event_id: int
    event_name: str
    account: str | None
    order_key: str | None


class ClaimedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """
    A leased delivery, with what is needed to send it.

    Attributes:
        id: The delivery.
        tries: Its tries, with this one.
        failures: Failed tries since it began or was replayed.
        payload: The event; `None` where it is not stored any more.
        occurred_at: The time of the event, likewise.
        sealed: The encrypted secrets of the subscriber.
        old_secret_until: Until when the former secret signs, too.
    """

    id: int
    subscriber_id: int
    event_id: int
    account: str | None
    tries: int
    failures: int
    payload: bytes | None
    occurred_at: datetime | None
    url: str
    sealed: bytes
    old_secret_until: datetime | None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """
    A delivery: one event to one subscriber.

    Attributes:
        id: The row; larger ids are newer.
        subscriber_id: The subscriber.
        event_id: The event, as in the event stream.
        event_name: The type of the event.
        account: The gateway account it belongs to, or null.
        order_key: What the event is about; events about the same thing are sent in order. Null where it does not matter.
        state: "waiting", "delivered" or "given_up".
        tries: How often it was sent.
        due_at: When it is sent next; null where it has ended.
        http_status: The status of the last response; null where there was none.
        error: Why the last try was no success, or null.
        created_at: When it was made or replayed.
        ended_at: When it was delivered or given up, or null.
    """

    id: int
    subscriber_id: int
    event_id: int
    event_name: str
    account: str | None
    order_key: str | None
    state: DeliveryState
    tries: int
    due_at: datetime | None
    http_status: int | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None


class Try(msgspec.Struct, frozen=True):
    """
    A try of a delivery.

    Attributes:
        number: From 1.
        tried_at: When it began.
        took_ms: How long it took, in milliseconds.
        http_status: Of the response; null where there was none.
        error: Why it was no success, or null.
    """

    number: int
    tried_at: datetime
    took_ms: int
    http_status: int | None
    error: str | None


async def waiting_count(conn: Connection, subscriber_id: int, *, limit: int) -> int:
    """How many deliveries of a subscriber wait, at most *limit*."""
    given = {"subscriber_id": subscriber_id, "limit": limit}
    return await fetch_value(conn, _SQL["waiting_count"], given, into=int)


async def add(conn: Connection, subscriber_id: int, new: Sequence[NewDelivery], *, now: datetime) -> None:
    """Make deliveries; those that exist stay as they are."""
    if not new:
        return
    parameters = {
        "subscriber_id": subscriber_id,
        "event_ids": [item.event_id for item in new],
        "event_names": [item.event_name for item in new],
        "accounts": [item.account for item in new],
        "order_keys": [item.order_key for item in new],
        "now": now,
    }
    await conn.execute(_SQL["add"], parameters)


async def reopen(conn: Connection, subscriber_id: int, event_ids: Sequence[int], *, now: datetime) -> None:
    """Send ended deliveries of some events again."""
    given = {"subscriber_id": subscriber_id, "event_ids": list(event_ids), "now": now}
    await conn.execute(_SQL["reopen"], given)


async def accounts_of(
    conn: Connection, *, attempt_ids: Sequence[int], webhook_event_ids: Sequence[int]
) -> dict[tuple[str, int], str]:
    """The gateway accounts of attempts and notifications, by ("attempt" or "notification", id)."""
    given = {"attempt_ids": list(attempt_ids), "webhook_event_ids": list(webhook_event_ids)}
    rows = await (await conn.execute(_SQL["accounts_of"], given)).fetchall()
    return {(kind, int(row_id)): account for kind, row_id, account in rows}


async def due(conn: Connection, *, now: datetime) -> list[int]:
    """Active subscribers that have a due delivery."""
    return [int(row[0]) for row in await (await conn.execute(_SQL["due"], {"now": now})).fetchall()]


async def claim(
    conn: Connection, subscriber_id: int, *, limit: int, leased_until: datetime, now: datetime
) -> list[ClaimedDelivery]:
    """Lease due deliveries of a subscriber, the oldest events first."""
    given = {"subscriber_id": subscriber_id, "limit": limit, "leased_until": leased_until, "now": now}
    return await fetch_all(conn, _SQL["claim"], given, into=ClaimedDelivery, binary=True)


async def put(
    conn: Connection,
    claimed: ClaimedDelivery,
    response: Response,
    result: TryResult,
    *,
    tried_at: datetime,
    took_ms: int,
    now: datetime,
) -> bool:
    """Write the result of a try and note it; `False` where another worker has taken the delivery meanwhile."""
    parameters = {
        "delivery_id": claimed.id,
        "tries": claimed.tries,
        "state": result.state,
        "due_at": result.due_at,
        "http_status": response.http_status,
        "error": response.error,
        "failures": claimed.failures + (result.state != "delivered"),
        "ended_at": None if result.state == "waiting" else now,
    }
    is_ours = await (await conn.execute(_SQL["put"], parameters)).fetchone() is not None
    tried = {
        "delivery_id": claimed.id,
        "number": claimed.tries,
        "tried_at": tried_at,
        "took_ms": took_ms,
        "http_status": response.http_status,
        "error": response.error,
    }
    await conn.execute(_SQL["add_try"], tried)
    return is_ours


async def bring_forward(conn: Connection, subscriber_id: int, *, now: datetime) -> None:
    """Make all deliveries of a subscriber due now."""
    await conn.execute(_SQL["bring_forward"], {"subscriber_id": subscriber_id, "now": now})


async def send_now(conn: Connection, delivery_id: int, *, now: datetime) -> None:
    """Make a delivery that waits for a retry due now."""
    await conn.execute(_SQL["send_now"], {"delivery_id": delivery_id, "now": now})


async def send_again(conn: Connection, delivery: Delivery, *, now: datetime) -> None:
    """Send a delivery again, as a person orders it; one that waits for a retry is sent now."""
    await reopen(conn, delivery.subscriber_id, [delivery.event_id], now=now)
    await send_now(conn, delivery.id, now=now)


async def drop_waiting(conn: Connection, subscriber_id: int) -> None:
    """Delete the deliveries of a removed subscriber that wait."""
    await conn.execute(_SQL["drop_waiting"], {"subscriber_id": subscriber_id})


async def listed(
    conn: Connection, subscriber_id: int, *, state: DeliveryState | None, before: int | None, limit: int
) -> list[Delivery]:
    """Deliveries of a subscriber with ids below *before*, newest first."""
    given = {"subscriber_id": subscriber_id, "state": state, "before": before, "limit": limit}
    return await fetch_all(conn, _SQL["listed"], given, into=Delivery)


async def of_event(conn: Connection, event_id: int, *, limit: int) -> list[Delivery]:
    """Deliveries of an event."""
    return await fetch_all(conn, _SQL["of_event"], {"event_id": event_id, "limit": limit}, into=Delivery)


async def by_id(conn: Connection, delivery_id: int) -> Delivery | None:
    """One delivery."""
    return await fetch_one(conn, _SQL["by_id"], {"delivery_id": delivery_id}, into=Delivery)


async def tries(conn: Connection, delivery_id: int, *, limit: int) -> list[Try]:
    """The tries of a delivery, newest first."""
    return await fetch_all(conn, _SQL["tries"], {"delivery_id": delivery_id, "limit": limit}, into=Try)


async def prune(conn: Connection, *, before: datetime, limit: int) -> int:
    """Delete deliveries that ended before a time, with their tries; returns how many."""
    return len(await (await conn.execute(_SQL["prune"], {"before": before, "limit": limit})).fetchall())
