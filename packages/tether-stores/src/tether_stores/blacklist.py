"""The blacklist: one short function per query of `sql/blacklist.sql`, which tells how its rows live."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from tether_core.blacklist import Entry

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["CausedEntry", "add"]

_SQL: Final = load("blacklist")


class CausedEntry(msgspec.Struct, frozen=True):
    """
    An entry and what caused it.

    Attributes:
        entry: What the core asks for.
        webhook_event_id: The notification that said so.
        attempt_id: The debit that came back.
    """

    entry: Entry
    webhook_event_id: int
    attempt_id: int


async def add(conn: Connection, entries: Sequence[CausedEntry], *, now: datetime) -> int:
    """
    Make entries where they do not exist yet.

    Args:
        conn: Inside the transaction that books the return.
        entries: n entries.
        now: The present moment.

    Returns:
        How many are new.
    """
    if not entries:
        return 0
    cursor = await conn.execute(
        _SQL["add"],
        {
            "fingerprints": [one.entry.iban_fingerprint for one in entries],
            "maskeds": [one.entry.iban_masked for one in entries],
            "actions": [one.entry.action for one in entries],
            "scopes": [one.entry.scope for one in entries],
            "reason_codes": [one.entry.reason_code for one in entries],
            "webhook_event_ids": [one.webhook_event_id for one in entries],
            "attempt_ids": [one.attempt_id for one in entries],
            "now": now,
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
