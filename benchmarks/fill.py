"""Fill the tables to a size, by the SQL of `sql/growth.sql`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, LiteralString

import psycopg
from tether_stores.queries import split_file

from benchmarks.environment import Environment

__all__ = ["GROWTH", "filled"]

GROWTH: Mapping[str, LiteralString] = split_file("benchmarks", "sql/growth")
# Queries of `sql/growth.sql` and the tables that they fill, in order.
_TABLES: Final = {"debtors": "debtors", "attempts": "billing_attempts", "notifications": "webhook_events"}


def filled(
    environment: Environment,
    rows: int,
    *,
    now: datetime | None = None,
    only: Sequence[str] = tuple(_TABLES),
) -> None:
    """
    Fill the tables of an empty, migrated database.

    The indexes are dropped first and made anew at the end: sorted once, ten million keys take seconds; put in one by one, at
    random places, they take many minutes.

    Args:
        environment: On that database.
        rows: Notifications, and attempts.
        now: When the youngest of them was made; `None` for now.
        only: "debtors", "attempts" and "notifications", or some of them.
    """
    facts = {"rows": rows, "now": now or datetime.now(UTC), "have_attempts": "attempts" in only}
    with psycopg.connect(
        environment.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None
    ) as conn:
        for query in only:
            table = _TABLES[query]
            with conn.transaction():
                conn.execute(GROWTH["quickly"])
                indexes: list[tuple[str, str]] = conn.execute(GROWTH["indexes"], {"table": table}).fetchall()
                for drop, _ in indexes:
                    conn.execute(drop.encode())
                conn.execute(GROWTH[query], facts)
                for _, make in indexes:
                    conn.execute(make.encode())
        conn.execute(GROWTH["tidied_notifications"])
        conn.execute(GROWTH["tidied_attempts"])
        conn.execute(GROWTH["resolved"])
