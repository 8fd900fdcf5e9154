"""The outbox: one short function per query of `sql/outbox.sql`, which tells how its rows live."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from tether_core import events
from tether_core.events import Event

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["append"]

_SQL: Final = load("outbox")


async def append(conn: Connection, facts: Sequence[tuple[int | None, Event]], *, now: datetime) -> None:
    """
    Write facts, inside the transaction of the change they speak of.

    Args:
        conn: That transaction.
        facts: Pairs of the notification that caused it (or `None`) and the fact, in the order they happened.
        now: The present moment.
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
