"""Refused notifications end when their days are over."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from tether_core.notifications.quarantine import Bounds
from tether_worker.notifications.quarantine import prune_quarantine

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


async def test_rows_end_after_their_days_and_counts_after_theirs(conn: Connection, pool: Pool) -> None:
    """A row that stays for ever holds a name for ever, and takes the room of a genuine one."""
    await conn.execute(
        "insert into quarantined_notifications (digest, account, notification_id, report_class, sealed, size_bytes,"
        " deliveries, received_at, last_received_at)"
        " select int4send(n), '', 'x', 'unknown', ''::bytea, 1, 1, %(old)s, %(now)s from generate_series(1, 2500) n"
        " union all select 'new'::bytea, '', 'x', 'unknown', ''::bytea, 1, 1, %(new)s, %(now)s",
        {
            "old": NOW - timedelta(days=14, seconds=1),
            "new": NOW - timedelta(days=14) + timedelta(seconds=1),
            "now": NOW,
        },
    )
    await conn.execute(
        "insert into password_uses values ('default', 'a', %s, 1, 0), ('default', 'a', %s, 1, 0)",
        (date(2025, 12, 19), date(2025, 12, 20)),
    )
    await prune_quarantine(pool, bounds=Bounds(days=14), clock=lambda: NOW).do()
    left = await (await conn.execute("select digest from quarantined_notifications")).fetchall()
    assert [bytes(digest) for (digest,) in left] == [b"new"]
    days = await (await conn.execute("select used_on from password_uses")).fetchall()
    assert days == [(date(2025, 12, 20),)]
