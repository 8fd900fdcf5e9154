"""Replays: one short function per query of `replays.sql`, which describes their rows."""

from datetime import datetime
from typing import Any, Final

import msgspec

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = ["Replay", "add", "advance", "hold_open", "id_before", "newest", "of_subscriber"]

_SQL: Final = load("subscribers/replays")


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order to send a range of events to a subscriber again.

    Attributes:
        id: The order.
        subscriber_id: The subscriber.
        types: Only events of these types; null for all that the subscriber gets.
        position: Events up to this id are done.
        up_to: The last event of the range.
        replayed: How many deliveries it has made or sent again so far.
        ordered_by: The name of the user or key.
        reason: Why.
        created_at: When it was ordered.
        finished_at: When the last delivery was made; null before.
    """

    id: int
    subscriber_id: int
    types: tuple[str, ...] | None
    position: int
    up_to: int
    replayed: int
    ordered_by: str
    reason: str
    created_at: datetime
    finished_at: datetime | None


class _Event(msgspec.Struct, frozen=True):
    id: int
    occurred_at: datetime


def _replay(*, types: list[str] | None, **columns: Any) -> Replay:
    return Replay(types=None if types is None else tuple(types), **columns)


async def add(
    conn: Connection,
    subscriber_id: int,
    *,
    types: tuple[str, ...] | None,
    after: int,
    up_to: int,
    ordered_by: str,
    reason: str,
    now: datetime,
) -> Replay | None:
    """Order a replay of the events after *after*; `None` where one of the subscriber is open."""
    given = {
        "subscriber_id": subscriber_id,
        "types": None if types is None else list(types),
        "after": after,
        "up_to": up_to,
        "ordered_by": ordered_by,
        "reason": reason,
        "now": now,
    }
    return await fetch_one(conn, _SQL["add"], given, into=_replay)


async def hold_open(conn: Connection, subscriber_id: int) -> Replay | None:
    """The open replay of a subscriber, locked for the transaction."""
    return await fetch_one(conn, _SQL["hold_open"], {"subscriber_id": subscriber_id}, into=_replay)


async def advance(
    conn: Connection, replay_id: int, *, position: int, count: int, finished_at: datetime | None
) -> None:
    """Note how far a replay has come, and how many deliveries its last turn made."""
    given = {"replay_id": replay_id, "position": position, "count": count, "finished_at": finished_at}
    await conn.execute(_SQL["advance"], given)


async def of_subscriber(conn: Connection, subscriber_id: int, *, limit: int) -> list[Replay]:
    """Replays of a subscriber, newest first."""
    given = {"subscriber_id": subscriber_id, "limit": limit}
    return await fetch_all(conn, _SQL["of_subscriber"], given, into=_replay)


async def newest(conn: Connection) -> int:
    """The id of the newest event, 0 for none."""
    return await fetch_value(conn, _SQL["newest"], into=int)


async def id_before(conn: Connection, at: datetime) -> int:
    """
    The id of the last event before a time, 0 for none, found by halving.

    The times of events follow their ids but for a second, so events of that second may be on either side.
    """
    low, high = 0, await newest(conn)
    while low < high:
        middle = (low + high + 1) // 2
        event = await fetch_one(conn, _SQL["first_from"], {"event_id": middle}, into=_Event)
        if event is not None and event.occurred_at < at:
            low = max(middle, event.id)
        else:
            high = middle - 1
    return low
