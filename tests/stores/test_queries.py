"""SQL by name: what is written is found, and what is found is used."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest
from tether_stores import queries

FOLDER = Path(str(resources.files("tether_stores")))
SOURCES = [path.read_text() for path in FOLDER.rglob("*.py")]
# The schema and the migrations are run whole; the others are files of named queries, beside the module that loads them.
TABLES = sorted(
    path.relative_to(FOLDER).as_posix().removesuffix(".sql")
    for path in FOLDER.rglob("*.sql")
    if "sql" not in path.relative_to(FOLDER).parts[:-1]
)


def test_comments_and_semicolons_are_not_sent() -> None:
    """A comment with a percent sign would be read as a parameter, and fail a query long after it was written."""
    text = "-- prose, 100% of it\n\n-- one --\n-- says: 5%\nselect 1\nfrom t;\n-- two_b --\nselect 2;\n"
    assert queries.split(text) == {"one": "select 1\nfrom t", "two_b": "select 2"}


def test_names_cannot_be_changed_after_loading() -> None:
    """Queries are shared by all tasks of a process; one that changes its own would change everybody's."""
    loaded = queries.load("events")
    with pytest.raises(TypeError):
        loaded["append"] = "drop table outbox"  # type: ignore[index]


@pytest.mark.parametrize("table", TABLES)
def test_every_query_has_a_use_and_every_use_a_query(table: str) -> None:
    """A query nobody uses is read and kept for nothing; a name without a query fails when a payment needs it."""
    users = [source for source in SOURCES if f'load("{table}")' in source]
    named = {name for source in users for name in re.findall(r'_SQL\["(\w+)"\]', source)}
    assert named <= set(queries.load(table))
    # Some modules hand a query's name to a function of their own; it stands there in quotes all the same.
    unused = {name for name in queries.load(table) if not any(f'"{name}"' in source for source in users)}
    assert not unused


@pytest.mark.parametrize(
    "table", [table for table in TABLES if table not in {"clock", "database_epoch/watch", "store_status"}]
)
def test_queries_ask_nobody_for_the_time(table: str) -> None:
    """Time is an argument everywhere; a query that asks the server breaks retries and tests near midnight.

    One file asks for nothing else: `clock` is where the argument comes from. And how long ago a database went back is
    told by its own clock, because that of a process may be another; so is the age of its oldest transaction.
    """
    for name, query in queries.load(table).items():
        assert not re.search(r"\b(now\(\)|current_(date|time|timestamp)|clock_timestamp)", query), name
