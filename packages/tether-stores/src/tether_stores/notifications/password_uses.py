"""Which password verified how many notifications; the queries are in `notifications/password_uses.sql`."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from tether_core.emp.signature import Verified, password_tag
from tether_core.notifications.password_uses import CountedUse

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all

__all__ = ["add", "prune", "since"]

_SQL: Final = load("notifications/password_uses")


async def add(
    conn: Connection,
    *,
    live: Mapping[Verified, int],
    reverified: Mapping[Verified, int],
    used_on: date,
) -> None:
    """
    Add to the counts of a day.

    Args:
        live: How many notifications a password verified as they came.
        reverified: How many of the quarantine.
    """
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for found in live.keys() | reverified.keys():
        key = (found.account, password_tag(found.secret, account=found.account))
        before = counts.get(key, (0, 0))
        counts[key] = (before[0] + live.get(found, 0), before[1] + reverified.get(found, 0))
    if not counts:
        return
    await conn.execute(
        _SQL["add"],
        {
            "accounts": [account for account, _ in counts],
            "tags": [tag for _, tag in counts],
            "lives": [live_count for live_count, _ in counts.values()],
            "reverifieds": [reverified_count for _, reverified_count in counts.values()],
            "used_on": used_on,
        },
    )


async def since(conn: Connection, since_on: date) -> list[CountedUse]:
    """What was counted since a day, by account and tag."""
    return await fetch_all(conn, _SQL["since"], {"since_on": since_on}, into=CountedUse)


async def prune(conn: Connection, *, before_on: date) -> None:
    """Delete the counts of the days before *before_on*."""
    await conn.execute(_SQL["prune"], {"before_on": before_on})
