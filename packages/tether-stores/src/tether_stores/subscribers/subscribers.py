"""Subscribers: one short function per query of `subscribers.sql`, which describes their rows."""

from datetime import datetime
from typing import Any, Final

import msgspec
from tether_core.subscribers.subscriber import DisabledReason, EventFilter, SubscriberState

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "WAITING_MAX",
    "Failing",
    "Subscriber",
    "add",
    "advance",
    "all_subscribers",
    "by_id",
    "change",
    "count",
    "failed",
    "hold",
    "hold_position",
    "hold_to_add",
    "put_secrets",
    "put_state",
    "sealed",
    "succeeded",
    "with_work",
]

_SQL: Final = load("subscribers/subscribers")
# Deliveries of a subscriber that wait at a time; its other events are still in the outbox.
WAITING_MAX: Final = 1_000


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """
    A subscriber, without its secrets.

    Attributes:
        id: The row.
        name: Unique among subscribers.
        url: Where its events are sent.
        types: The names of the events it gets; null for all.
        accounts: The gateway accounts whose events it gets; null for all.
        state: "active", "paused" or "disabled".
        disabled_reason: "failing" or "gone"; null where it is not disabled.
        old_secret_until: Until when deliveries are signed with the former secret, too; null where there is none.
        position: Events of the outbox up to this id have become deliveries.
        failing_since_at: The first failure after the last success; null while it works.
        delivered_at: The last success, up to a minute late; null for none.
        created_by: The name of the user or key that added it.
        created_at: When it was added.
        updated_at: When a person last changed it.
        waiting: Deliveries that wait, at most a thousand.
        behind: Stored events that have not become deliveries yet, with those that it does not get.
    """

    id: int
    name: str
    url: str
    types: tuple[str, ...] | None
    accounts: tuple[str, ...] | None
    state: SubscriberState
    disabled_reason: DisabledReason | None
    old_secret_until: datetime | None
    position: int
    failing_since_at: datetime | None
    delivered_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    waiting: int
    behind: int


class Failing(msgspec.Struct, frozen=True):
    """
    A subscriber after a failure.

    Attributes:
        failing_since_at: The first failure after its last success.
        state: Its state.
    """

    failing_since_at: datetime
    state: SubscriberState


def _chosen(*, types: list[str] | None, accounts: list[str] | None) -> EventFilter:
    return EventFilter(None if types is None else tuple(types), None if accounts is None else tuple(accounts))


def _subscriber(*, types: list[str] | None, accounts: list[str] | None, **columns: Any) -> Subscriber:
    chosen = _chosen(types=types, accounts=accounts)
    return Subscriber(types=chosen.types, accounts=chosen.accounts, **columns)


async def all_subscribers(conn: Connection, *, limit: int) -> list[Subscriber]:
    """All subscribers by name."""
    given = {"limit": limit, "waiting_max": WAITING_MAX}
    return await fetch_all(conn, _SQL["all_subscribers"], given, into=_subscriber)


async def by_id(conn: Connection, subscriber_id: int) -> Subscriber | None:
    """One subscriber."""
    given = {"subscriber_id": subscriber_id, "waiting_max": WAITING_MAX}
    return await fetch_one(conn, _SQL["by_id"], given, into=_subscriber)


async def hold(conn: Connection, subscriber_id: int) -> Subscriber | None:
    """One subscriber, locked for the transaction; nothing is counted."""
    return await fetch_one(conn, _SQL["hold"], {"subscriber_id": subscriber_id}, into=_subscriber)


async def hold_to_add(conn: Connection) -> None:
    """Wait for others that add subscribers, until the transaction ends."""
    await conn.execute(_SQL["hold_to_add"])


async def count(conn: Connection) -> int:
    """How many there are."""
    return await fetch_value(conn, _SQL["count"], into=int)


async def add(
    conn: Connection,
    *,
    name: str,
    url: str,
    chosen: EventFilter,
    position: int | None,
    created_by: str,
    now: datetime,
) -> int | None:
    """
    Add a subscriber, without secrets yet.

    Args:
        position: The event after which it begins; `None` for new events only.

    Returns:
        The id; `None` where another subscriber has the name.
    """
    parameters = {
        "name": name,
        "url": url,
        **_lists(chosen),
        "position": position,
        "created_by": created_by,
        "now": now,
    }
    row = await (await conn.execute(_SQL["add"], parameters)).fetchone()
    return None if row is None else int(row[0])


def _lists(chosen: EventFilter) -> dict[str, list[str] | None]:
    return {
        "types": None if chosen.types is None else list(chosen.types),
        "accounts": None if chosen.accounts is None else list(chosen.accounts),
    }


async def put_secrets(
    conn: Connection, subscriber_id: int, *, text: bytes, old_secret_until: datetime | None, now: datetime
) -> None:
    """Replace the encrypted secrets; *old_secret_until* is `None` where there is one."""
    parameters = {
        "subscriber_id": subscriber_id,
        "sealed": text,
        "old_secret_until": old_secret_until,
        "now": now,
    }
    await conn.execute(_SQL["put_secrets"], parameters)


async def sealed(conn: Connection, subscriber_id: int) -> bytes:
    """The encrypted secrets."""
    return await fetch_value(conn, _SQL["sealed"], {"subscriber_id": subscriber_id}, into=bytes)


async def change(
    conn: Connection, subscriber_id: int, *, name: str, url: str, chosen: EventFilter, now: datetime
) -> bool:
    """Replace what a person may change; `False` where another subscriber has the name."""
    parameters = {"subscriber_id": subscriber_id, "name": name, "url": url, **_lists(chosen), "now": now}
    return await (await conn.execute(_SQL["change"], parameters)).fetchone() is not None


async def put_state(
    conn: Connection,
    subscriber_id: int,
    state: SubscriberState,
    *,
    disabled_reason: DisabledReason | None = None,
    now: datetime,
) -> None:
    """Write a state; the secrets of a removed subscriber are deleted."""
    parameters = {
        "subscriber_id": subscriber_id,
        "state": state,
        "disabled_reason": disabled_reason,
        "now": now,
    }
    await conn.execute(_SQL["put_state"], parameters)


async def with_work(conn: Connection, *, up_to: int) -> list[int]:
    """Active subscribers that have not passed an event, or that have a replay to do."""
    cursor = await conn.execute(_SQL["with_work"], {"up_to": up_to})
    return [int(row[0]) for row in await cursor.fetchall()]


def _held(*, position: int, types: list[str] | None, accounts: list[str] | None) -> tuple[int, EventFilter]:
    return position, _chosen(types=types, accounts=accounts)


async def hold_position(conn: Connection, subscriber_id: int) -> tuple[int, EventFilter] | None:
    """The position and the filters of an active subscriber, locked; `None` while another worker holds it."""
    return await fetch_one(conn, _SQL["hold_position"], {"subscriber_id": subscriber_id}, into=_held)


async def advance(conn: Connection, subscriber_id: int, *, position: int) -> None:
    """Move the position of a subscriber."""
    await conn.execute(_SQL["advance"], {"subscriber_id": subscriber_id, "position": position})


async def succeeded(conn: Connection, subscriber_id: int, *, now: datetime) -> datetime | None:
    """Note a success of a subscriber that was failing; since when, or `None` where it was not."""
    given = {"subscriber_id": subscriber_id, "now": now}
    row = await (await conn.execute(_SQL["succeeded"], given)).fetchone()
    if row is not None:
        since: datetime = row[0]
        return since
    await conn.execute(_SQL["delivered"], given)
    return None


async def failed(conn: Connection, subscriber_id: int, *, now: datetime) -> Failing | None:
    """Note a failure; locks the row."""
    return await fetch_one(conn, _SQL["failed"], {"subscriber_id": subscriber_id, "now": now}, into=Failing)
