"""The list of what ends the rows of each table, compared with the schema."""

from __future__ import annotations

import re
from pathlib import Path

import tether_worker
from tether_core.retention.tables import TABLES
from tether_stores import queries


def test_every_table_has_an_end_or_a_reason_for_none() -> None:
    """A table that nobody thought of grows for ever, and a name in it stays for ever."""
    schema = queries.read("schema.sql")
    tables = set(re.findall(r"^create table (\w+) \(", schema, re.MULTILINE)) | {"schema_migrations"}
    assert tables == set(TABLES)
    worker = Path(tether_worker.__file__).parent
    tasks = {
        name
        for path in worker.rglob("*.py")
        for name in re.findall(r'PeriodicTask\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    for table, found in TABLES.items():
        assert found.why.endswith("."), table
        if found.ends == "stays":
            assert not found.by, table
        elif found.ends == "with":
            assert found.by in tables, table
        elif "." in found.by:
            file, _, name = found.by.partition(".")
            assert f"delete from {table}" in queries.load(file)[name], table
        else:
            assert found.by in tasks, table
