"""The outbox: facts in the order in which they happened, readable by what wrote them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tether_core import events
from tether_core.events import AttemptMoved, IbanListed
from tether_stores import outbox

if TYPE_CHECKING:
    from tether_stores.postgres import Connection

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


async def test_facts_are_kept_in_order_and_can_be_read_again(conn: Connection) -> None:
    """A subscriber that hears of a chargeback before its approval would book backwards."""
    facts = [
        AttemptMoved(n, f"t-{n}", "pending", "approved", cause="approved", reason_code=None)
        for n in range(50)
    ]
    listed = IbanListed(7, "block", "AC04", "DE89**3000")
    await outbox.append(conn, [], now=NOON)
    await outbox.append(conn, [*((None, fact) for fact in facts), (None, listed)], now=NOON)
    cursor = await conn.execute(
        "select name, version, payload, occurred_at from outbox order by id"
    )
    rows = await cursor.fetchall()
    assert [events.decode(row[2]) for row in rows] == [*facts, listed]
    assert {(*row[:2], *row[3:]) for row in rows} == {
        ("attempt_moved", 1, NOON),
        ("iban_listed", 1, NOON),
    }
