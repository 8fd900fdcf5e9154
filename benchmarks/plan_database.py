"""Fill the tables to a size for explain plans, by the SQL of `sql/plans.sql`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, LiteralString

import psycopg
from psycopg import sql
from tether_stores.queries import split_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["FILL", "fill"]

FILL: Final[Mapping[str, LiteralString]] = split_file("benchmarks", "sql/plans")

# As many as small machines have cores.
_THREADS: Final = 2
# What fills which table, the largest first.
_STEPS: Final[tuple[tuple[LiteralString, str], ...]] = (
    ("attempts", "billing_attempts"),
    ("notifications", "webhook_events"),
    ("debtors", "debtors"),
    ("events", "outbox"),
    ("uploads", "uploads"),
    ("edits", "debtor_edits"),
    ("runs", "billing_runs"),
    ("run_counts", "billing_run_counts"),
    ("imported", "imported_attempts"),
    ("problems", "problems"),
    ("checks", "vop_checks"),
    ("entries", "blacklist"),
    ("disputes", "blacklist_disputes"),
    ("forgiven", "forgiven_disputes"),
    ("refunds", "refunds"),
    ("gateway_refunds", "gateway_refunds"),
    ("voids", "run_voids"),
    ("void_debits", "run_void_debits"),
    ("differences", "reconciliation_differences"),
    ("excess", "excess_deliveries"),
    ("order_keys", "order_keys"),
    ("ticks", "ticks"),
    ("dry_run", "dry_run_rows"),
    ("report_fetches", "report_fetches"),
    ("rekeyings", "fingerprint_rekeyings"),
    ("unmatched", "fingerprint_rekeying_unmatched"),
    ("epochs", "database_epochs"),
    ("reviews", "reconciliation_reviews"),
    ("audit", "audit"),
    ("collection_plans", "collection_plans"),
    ("mandates", "mandates"),
    ("schedules", "collection_schedules"),
    ("due_items", "due_items"),
    ("pre_notifications", "pre_notifications"),
)


def fill(database_url: str, *, rows: int, now: datetime) -> None:
    """
    Fill the tables of an empty, migrated database.

    Indexes are dropped first and made anew at the end: sorted once, a million keys take a second or two.

    Args:
        database_url: Of that database.
        rows: Debtors, attempts, notifications and events, each; 100,000 or more.
        now: When all of it was a year ago, and until when.
    """
    facts: dict[str, object] = {"rows": rows, "now": now}
    facts |= {f"of_{share:02}": rows * share // 100 for share in (2, 3, 25, 30, 55, 60, 90)}
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda step: _fill_table(database_url, step[0], step[1], facts), _STEPS):
            pass
    # Rows were written past the triggers that count them.
    with psycopg.connect(database_url, autocommit=True, prepare_threshold=None) as conn:
        conn.execute(FILL["counted"])
        conn.execute(FILL["summed"])
        for table in ("billing_attempt_counts", "row_counts", "figures"):
            conn.execute(sql.SQL(FILL["tidied"]).format(table=sql.Identifier(table)))


def _fill_table(database_url: str, query: LiteralString, table: str, facts: Mapping[str, object]) -> None:
    with psycopg.connect(database_url, autocommit=True, prepare_threshold=None) as conn:
        conn.execute(FILL["quickly"])
        with conn.transaction():
            indexes: list[tuple[str, str]] = conn.execute(FILL["indexes"], {"table": table}).fetchall()
            for drop, _ in indexes:
                conn.execute(drop.encode())
            conn.execute(FILL[query], facts)
            for _, make in indexes:
                conn.execute(make.encode())
        conn.execute(sql.SQL(FILL["tidied"]).format(table=sql.Identifier(table)))
