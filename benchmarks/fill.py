"""Fill the tables to a size, by the SQL of `sql/growth.sql`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import LiteralString

import psycopg
from tether_stores.queries import split_file

from benchmarks.environment import Environment

__all__ = ["GROWTH", "filled"]

GROWTH: Mapping[str, LiteralString] = split_file("benchmarks", "sql/growth")


def filled(environment: Environment, rows: int, *, now: datetime | None = None) -> None:
    """
    Fill the tables of an empty, migrated database.

    The indexes are dropped first and made anew at the end: sorted once, ten million keys take seconds; put in one by one, at
    random places, they take many minutes.

    Args:
        environment: On that database.
        rows: Notifications, and attempts.
        now: When the youngest of them was made; `None` for now.
    """
    facts = {"rows": rows, "now": now or datetime.now(UTC)}
    with psycopg.connect(
        environment.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None
    ) as conn:
        for query, table in (
            ("debtors", "debtors"),
            ("attempts", "billing_attempts"),
            ("notifications", "webhook_events"),
        ):
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
