"""The blacklist: one live entry per IBAN and reason."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tether_core.blacklist import Entry
from tether_sandbox.seed import seed
from tether_stores import blacklist
from tether_stores.blacklist import CausedEntry

from tests.support.clock import NOON

if TYPE_CHECKING:
    from tether_stores.postgres import Connection


async def test_an_entry_is_made_once_while_it_lives(database_url: str, conn: Connection) -> None:
    """Ten repeats of a chargeback are one entry; once a person lifted it, the next chargeback counts again.

    The same chargeback does not: a further report would undo a person's decision.
    """
    (made,) = seed(database_url, attempts=1, rng=random.Random(1), now=NOON)
    await conn.execute(
        "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body,"
        " state, failures, received_at, next_at) values ('k', 'c', 'default', 'payment', 'x', 'chargebacked',"
        " 'webhook', '', '', 'waiting', 0, %s, %s)",
        [NOON, NOON],
    )

    def caused(code: str, *, stage: int = 1, own_id: str | None = None) -> CausedEntry:
        return CausedEntry(Entry("block", "iban", code, b"f" * 32, "DE89**3000", stage, own_id), 1, made.id)

    assert await blacklist.add(conn, [], now=NOON) == []
    assert await blacklist.add(conn, [caused("AC04"), caused("MD01"), caused("AC04")], now=NOON) == [
        caused("AC04"),
        caused("MD01"),
    ]
    assert await blacklist.add(conn, [caused("AC04")], now=NOON) == []
    await conn.execute(
        "update blacklist set lifted_at = %s, lifted_by = 'ada', lifted_reason = 'signed' where reason_code = 'AC04'",
        [NOON],
    )
    same = [caused("AC04"), caused("MD01"), caused("MD07"), caused("AC04", own_id="cb-1")]
    assert await blacklist.add(conn, same, now=NOON) == []
    another = caused("AC04", stage=3)
    assert await blacklist.add(conn, [caused("MD01"), another], now=NOON) == [another]
    cursor = await conn.execute(
        "select reason_code, action, scope, source, iban_masked, webhook_event_id, attempt_id, lifted_by"
        " from blacklist order by id"
    )
    cause = ("block", "iban", "chargeback", "DE89**3000", 1, made.id)
    assert await cursor.fetchall() == [
        ("AC04", *cause, "ada"),
        ("MD01", *cause, None),
        ("AC04", *cause, None),
    ]
