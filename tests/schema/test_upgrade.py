"""Each migration before a deployment only adds, so the code of the version before goes on working with the new schema."""

from __future__ import annotations

from typing import Any

import psycopg
from tether_stores.migrate import concurrent_statements, is_concurrent, numbered
from tether_stores.queries import read

# What code that knows nothing of a migration relies on: columns it reads and writes, constraints that judge its rows, functions.
COLUMNS = """
    select c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        a.attnotnull and not a.atthasdef and a.attidentity = '' and a.attgenerated = '' as must_be_given
    from pg_attribute a join pg_class c on c.oid = a.attrelid
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
"""
CONSTRAINTS = """
    select c.conrelid::regclass || '.' || c.conname,
        array(select a.attname::text from pg_attribute a where a.attrelid = c.conrelid and a.attnum = any(c.conkey)),
        c.contype::text, pg_get_constraintdef(c.oid), c.conrelid::regclass::text
    from pg_constraint c where c.connamespace = 'public'::regnamespace and c.conrelid <> 0
"""
UNIQUE = """
    select i.indexrelid::regclass::text, i.indrelid::regclass::text, pg_get_indexdef(i.indexrelid),
        array(select a.attname::text from pg_attribute a where a.attrelid = i.indrelid and a.attnum = any(i.indkey))
    from pg_index i join pg_class c on c.oid = i.indrelid
    where c.relnamespace = 'public'::regnamespace and i.indisunique
"""
# Constraints that replace one of the same name by a wider one: the older code's rows fit both. Name, and why it is wider.
WIDENED: dict[str, str] = {
    "blacklist.blacklist_scope_known": "entries about banks",
    "blacklist.blacklist_source_known": "entries that a return rate caused",
    "blacklist.blacklist_about_one": "entries about banks",
    "debtors.debtors_verdict_known": "rows whose bank is on the blacklist",
    "run_void_debits.run_void_debits_refused_known": "voids of debits that were won back",
    "bulk_orders.bulk_orders_action_known": "orders about schedules, due items and deliveries",
}


class Schema:
    """What a database has."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self.columns = {row[0]: row[1:] for row in conn.execute(COLUMNS).fetchall()}
        self.constraints = {row[0]: row[1:] for row in conn.execute(CONSTRAINTS).fetchall()}
        self.unique = {row[0]: row[1:] for row in conn.execute(UNIQUE).fetchall()}
        self.tables = {name.partition(".")[0] for name in self.columns}


def breaks(before: Schema, after: Schema) -> list[str]:
    """What the code of the version before could not bear."""
    found = [f"{name} is gone" for name in before.columns.keys() - after.columns.keys()]
    for name, (kind, not_null, must_be_given) in after.columns.items():
        was = before.columns.get(name)
        if was is None:
            if must_be_given and name.partition(".")[0] in before.tables:
                found.append(f"{name} must be given by code that does not know it")
        elif was[0] != kind or (not_null and not was[1]) or (must_be_given and not was[2]):
            found.append(f"{name} became narrower: {was} is now {(kind, not_null, must_be_given)}")
    for name, (columns, kind, text, table) in after.constraints.items():
        if table not in before.tables or name in WIDENED or kind == "n":
            continue
        known = {column for column in columns if f"{table}.{column}" in before.columns}
        # A constraint of new columns alone judges nothing that older code writes.
        if before.constraints.get(name, (None, None, None))[2] != text and known == set(columns):
            found.append(f"{name} judges rows that older code writes: {text}")
    for name, (table, text, columns) in after.unique.items():
        is_known = columns and all(f"{table}.{column}" in before.columns for column in columns)
        if table in before.tables and name not in before.unique and is_known:
            found.append(f"{name} refuses rows that older code writes: {text}")
    return sorted(found)


def test_each_migration_before_a_deployment_only_adds(empty_database_url: str) -> None:
    """The old version answers while the new schema is there already; what it cannot write is answered 500 until it is replaced."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        before = Schema(conn)
        for name in numbered():
            text = read(f"migrations/{name}.sql")
            for _, statement in concurrent_statements(text) if is_concurrent(text) else [("", text)]:
                conn.execute(statement)
            after = Schema(conn)
            if name.split("_")[1] == "pre":
                assert breaks(before, after) == [], name
            before = after
        assert len(before.columns) > 300


def test_what_breaks_older_code_is_found(empty_database_url: str) -> None:
    """A rule that accepts everything would hold nothing."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute("create table debts (id bigint primary key, amount int, note text)")
        for statement, words in (
            ("alter table debts drop column note", "gone"),
            ("alter table debts alter column amount type bigint", "narrower"),
            ("alter table debts alter column amount set not null", "narrower"),
            ("alter table debts add column currency text not null", "must be given"),
            ("alter table debts add constraint debts_positive check (amount > 0)", "judges rows"),
            ("create unique index debts_once on debts (amount)", "refuses rows"),
        ):
            with conn.transaction(force_rollback=True):
                before = Schema(conn)
                conn.execute(statement)
                assert any(words in line for line in breaks(before, Schema(conn))), statement
        for statement in (
            "alter table debts add column currency text not null default 'EUR'",
            "alter table debts add column paid_on date check (paid_on > '2000-01-01')",
            "create table payments (id bigint primary key, debt_id bigint not null references debts (id))",
            "create index debts_by_amount on debts (amount)",
        ):
            with conn.transaction(force_rollback=True):
                before = Schema(conn)
                conn.execute(statement)
                assert breaks(before, Schema(conn)) == [], statement
