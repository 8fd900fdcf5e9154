"""The outbox of events; the queries are in `events.sql`, which describes the rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core import events
from tether_core.events import Event

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = ["Horizon", "StoredEvent", "Tip", "append", "between", "tip"]

_SQL: Final = load("events")
# Rows that one statement looks at for those of some names.
_EXAMINED_MAX: Final = 10_000


class StoredEvent(msgspec.Struct, frozen=True):
    """
    An event as it is kept.

    Attributes:
        id: Its row; later events have larger ids.
        name: What happened, without the version.
        payload: The event, as `tether_core.events.encode` wrote it.
        webhook_event_id: The notification that caused it, if one did.
        occurred_at: When.
    """

    id: int
    name: str
    payload: bytes
    webhook_event_id: int | None
    occurred_at: datetime


class Tip(msgspec.Struct, frozen=True):
    """
    How far the outbox could be seen at some time.

    Attributes:
        id: The newest row in sight, 0 for none.
        writing: Transactions that were writing to it, and may have been given smaller ids.
    """

    id: int
    writing: frozenset[str]


class Horizon:
    """
    Computes up to which id the outbox is complete, from successive tips.

    >>> horizon = Horizon()
    >>> horizon.complete_to(Tip(7, frozenset({"3/12"})))  # 3/12 may have been given 6, and may not have committed
    >>> horizon.complete_to(Tip(9, frozenset({"3/12", "4/1"})))
    >>> horizon.complete_to(Tip(9, frozenset({"4/1"})))  # it has ended: whatever is below 7 is in sight, or will never be
    7
    >>> horizon.complete_to(Tip(11, frozenset()))
    11
    """

    def __init__(self) -> None:
        # Oldest first. Each awaits all that those before it await, so there are at most as many as there are writers.
        self._awaiting: list[Tip] = []

    def complete_to(self, seen: Tip) -> int | None:
        """
        Take another tip in.

        Args:
            seen: The present one.

        Returns:
            An id: of the rows up to it, those that are in sight for a statement that begins now are all that there will ever be.
            `None` where nothing new is known.
        """
        reached = None
        awaiting: list[Tip] = []
        for tip in (*self._awaiting, seen):
            writing = tip.writing & seen.writing
            if not writing:
                reached = tip.id
                continue
            if awaiting and awaiting[-1].writing == writing:
                awaiting.pop()  # both are complete at the same time, and this one reaches further
            awaiting.append(Tip(tip.id, writing))
        self._awaiting = awaiting
        return reached


async def append(conn: Connection, facts: Sequence[tuple[int | None, Event]], *, now: datetime) -> None:
    """
    Write events, inside the transaction of the change they report.

    Args:
        conn: That transaction.
        facts: Pairs of the notification that caused it (or `None`) and the fact, in the order they happened.
    """
    if not facts:
        return
    await conn.execute(
        _SQL["append"],
        {
            "names": [events.name(fact) for _, fact in facts],
            "versions": [events.version(fact) for _, fact in facts],
            "payloads": [events.encode(fact) for _, fact in facts],
            "webhook_event_ids": [cause for cause, _ in facts],
            "now": now,
        },
    )


async def tip(conn: Connection, *, after: int) -> Tip:
    """
    How far the outbox can be seen.

    Args:
        conn: In autocommit mode: what is read next must see what was committed meanwhile.
        after: Up to here it is known; without newer rows the writers are not read.

    Returns:
        The tip.
    """
    found = await fetch_one(conn, _SQL["tip"], {"after": after}, into=_tip)
    assert found is not None
    return found


def _tip(*, id: int, writing: list[str]) -> Tip:  # noqa: A002 - the column's name
    return Tip(id, frozenset(writing))


async def between(
    conn: Connection, *, after: int, up_to: int, limit: int, names: Sequence[str] | None = None
) -> list[StoredEvent]:
    """
    Events in the order of their ids.

    Args:
        after: Only those with larger ids.
        up_to: And with none larger than this.
        limit: At most so many.
        names: Only these; `None` for all.

    Returns:
        The first of them.
    """
    found: list[StoredEvent] = []
    begin = after
    while begin < up_to and len(found) < limit:
        # Events of rare names may be millions of rows apart; no statement reads more than a part of the way.
        end = up_to if names is None else min(up_to, begin + _EXAMINED_MAX)
        given = {
            "after": begin,
            "up_to": end,
            "limit": limit - len(found),
            "names": None if names is None else list(names),
        }
        found += await fetch_all(conn, _SQL["between"], given, into=StoredEvent)
        begin = end
    return found
