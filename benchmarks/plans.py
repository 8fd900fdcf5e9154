"""
`python -m benchmarks plans`: what every named query reads when tables are large.

A database is filled with that many debtors, attempts, notifications and events. Each named query is executed with the parameters of its
cases and rolled back; its plan says which rows and pages it read. A query that reads a large table, or more than its case allows, is listed.
"""

import argparse
import sys
from datetime import UTC, datetime

import psycopg
from tether_stores.migrate import migrate

from benchmarks import database, plan_cases
from benchmarks.environment import environment
from benchmarks.plan_check import Plan, explained, large_tables, trouble
from benchmarks.plan_database import fill
from benchmarks.results import heading, prose, table, write

__all__ = ["add_arguments", "run"]

_SLOWEST = 25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "--rows", type=int, default=10_000_000, help="in each large table (default: %(default)s, some 15 GB)"
    )
    parser.add_argument("--short", action="store_true", help="100,000 rows, to see that it works")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when no query reads more than it may."""
    rows = 100_000 if args.short else args.rows
    now = datetime.now(UTC)
    with environment() as it:
        on = database.added(it, "plans")
        url = on.environ["DATABASE_DIRECT_URL"]
        migrate(url, now=now)
        sys.stderr.write(f"filling {rows:,} rows\n")
        fill(url, rows=rows, now=now)
        sys.stderr.write("explaining\n")
        found = _explained(url, rows, now)
    plans = [(name, plan) for name, plan, _ in found]
    wrong = [result for _, _, result in found if result]
    lines = heading("Plans: what queries read in large tables", seed=0)
    lines += prose(
        f"{rows:,} rows in each large table; {len(plans)} cases of {len(plan_cases.QUERIES)} queries."
    )
    lines += ["## The slowest", "", *_table(sorted(plans, key=lambda item: -item[1].ms)[:_SLOWEST])]
    lines += [
        "## Those that touch most pages",
        "",
        *_table(sorted(plans, key=lambda item: -item[1].buffers)[:_SLOWEST]),
    ]
    lines += ["## More than they may", "", *(f"- {result}" for result in wrong or ["none"]), ""]
    write("plans-short" if args.short else "plans", lines)
    return 1 if wrong else 0


def _explained(url: str, rows: int, now: datetime) -> list[tuple[str, Plan, str | None]]:
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as conn:
        large = large_tables(conn, rows=rows)
        conn.execute("set session_replication_role = replica")
        found = []
        for case in plan_cases.cases(rows=rows, now=now):
            plan = explained(conn, plan_cases.QUERIES, case, large=large)
            found.append((case.name, plan, trouble(case, plan)))
    return found


def _table(plans: list[tuple[str, Plan]]) -> list[str]:
    return table(
        ("query", "ms", "rows", "in vain", "pages"),
        [(name, round(plan.ms, 1), plan.rows, plan.removed, plan.buffers) for name, plan in plans],
    )
