"""Every named query on large tables: what it reads, by its explain plan."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from tether_stores.migrate import migrate

from benchmarks import plan_cases
from benchmarks.plan_check import Case, explained, large_tables, trouble
from benchmarks.plan_database import fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tether_sandbox.services import Services

ROWS = 1_000_000
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def large_database_url(services: Services) -> Iterator[str]:
    """The URL of a database with a million debtors, attempts, notifications and events."""
    server = services.environment["DATABASE_DIRECT_URL"]
    name = f"plans_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"create database {name}".encode())
    url = urlsplit(server)._replace(path=f"/{name}").geturl()
    try:
        migrate(url, now=NOW)
        fill(url, rows=ROWS, now=NOW)
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(f"drop database {name} with (force)".encode())


def test_every_query_has_a_case() -> None:
    """A query that nobody has tried on large tables is tried by the first installation that has them."""
    assert not plan_cases.unlisted(), (
        "add them to benchmarks/plan_cases.py, and those that are gone take away"
    )


def test_no_query_reads_a_large_table(large_database_url: str) -> None:
    """What takes a millisecond with a thousand debits takes minutes with ten million, and is done every ten seconds.

    A query that reads a whole table, or throws away most of what it reads, slows everything beside it and in the end stops the
    page or the worker that waits for it.
    """
    with psycopg.connect(large_database_url, autocommit=True, prepare_threshold=None) as conn:
        large = large_tables(conn, rows=ROWS)
        assert {"debtors", "billing_attempts", "webhook_events", "outbox", "blacklist"} <= large
        conn.execute(
            "set session_replication_role = replica"
        )  # no checks of references: they are no part of a query
        found = [
            result
            for case in plan_cases.cases(rows=ROWS, now=NOW)
            if case.query not in plan_cases.KNOWN
            and (result := trouble(case, explained(conn, plan_cases.QUERIES, case, large=large)))
        ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select count(*) from billing_attempts where amount_minor = 1", "reads all of billing_attempts"),
        ("select count(*) from billing_attempts", "reads"),
        ("select from debtors where name = 'nobody' order by id limit 1", "reads"),
        (
            "update billing_attempts set state = 'approved' where error_code = 'none'",
            "reads all of billing_attempts",
        ),
    ],
)
def test_queries_that_read_large_tables_are_found(large_database_url: str, query: str, words: str) -> None:
    """A check that finds nothing wrong with these would find nothing at all."""
    with psycopg.connect(large_database_url, autocommit=True, prepare_threshold=None) as conn:
        case = Case("tried", "tried", {})
        text = trouble(case, explained(conn, {"tried": query}, case, large=large_tables(conn, rows=ROWS)))
    assert text is not None
    assert words in text
