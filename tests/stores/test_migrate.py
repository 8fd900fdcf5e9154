"""Migrations: once each, one process at a time, and clear words when one cannot be applied."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from tether_core.errors import StoreUnreachable
from tether_stores import migrate as module
from tether_stores.migrate import migrate, numbered

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def _applied(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute("select name, applied_at from schema_migrations order by name").fetchall()


def test_names_tell_order_and_phase() -> None:
    """A gap or a twin in the numbers would be applied on one machine and passed over on another."""
    names = list(numbered())
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    assert {name.split("_")[1] for name in names} <= {"pre", "post"}


def test_the_second_time_there_is_nothing_to_do(empty_database_url: str) -> None:
    """Every deploy migrates; one that applies anything twice would fail or, worse, not."""
    assert migrate(empty_database_url, now=NOON) == list(numbered())
    assert migrate(empty_database_url, now=datetime.now(UTC)) == []
    assert _applied(empty_database_url) == [(name, NOON) for name in numbered()]


def test_two_nodes_may_migrate_at_once(empty_database_url: str) -> None:
    """All nodes of a deploy start together; one of them applies each migration and the others wait for it."""
    start = threading.Barrier(4)

    def one(_: int) -> list[str]:
        start.wait()
        return migrate(empty_database_url, now=NOON)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(one, range(4)))
    assert sorted(done, key=len) == [[], [], [], list(numbered())]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Migrations of the test's own in place of ours: name to SQL."""
    files: dict[str, str] = {}
    monkeypatch.setattr(module, "numbered", lambda: iter(files))
    monkeypatch.setattr(
        module, "read", lambda path: files[path.removeprefix("migrations/").removesuffix(".sql")]
    )
    return files


def test_phases_are_told_by_their_place_in_the_name(empty_database_url: str, made_up: dict[str, str]) -> None:
    """What takes away waits for the deploy.

    A name that merely contains the word must not bring it forward.
    """
    made_up |= {
        "0001_pre_make_post_box": "create table box ()",
        "0002_post_drop_pre_box": "drop table box",
        "0003_pre_more": "create table more ()",
    }
    assert migrate(empty_database_url, now=NOON, phase="pre") == ["0001_pre_make_post_box", "0003_pre_more"]
    assert migrate(empty_database_url, now=NOON, phase="post") == ["0002_post_drop_pre_box"]


def test_a_migration_that_fails_leaves_nothing_half_done(
    empty_database_url: str, made_up: dict[str, str]
) -> None:
    """Half a migration can be neither repeated nor undone; those before it stay applied."""
    made_up |= {"0001_pre_a": "create table a ()", "0002_pre_b": "create table b (); select 1 / 0"}
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_database_url, now=NOON)
    assert [name for name, _ in _applied(empty_database_url)] == ["0001_pre_a"]
    with psycopg.connect(empty_database_url) as conn:
        assert conn.execute("select to_regclass('a') is not null, to_regclass('b')").fetchone() == (
            True,
            None,
        )


@pytest.mark.parametrize(
    ("trouble", "words"),
    [("lock table a in access share mode", "a table is locked; run it again"), ("", "ran out of time")],
)
def test_what_cannot_be_had_in_time_is_given_up_with_clear_words(
    empty_database_url: str,
    made_up: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    words: str,
) -> None:
    """A migration that waits makes every request wait behind it. It gives up, says why, and works next time."""
    made_up |= {"0001_pre_a": "create table a ()"}
    migrate(empty_database_url, now=NOON)
    made_up |= {"0002_pre_b": "alter table a add column b int" + ("" if trouble else "; select pg_sleep(60)")}
    quick = "select set_config('lock_timeout', '100ms', true), set_config('statement_timeout', '500ms', true)"
    with monkeypatch.context() as hasty, psycopg.connect(empty_database_url) as busy:
        hasty.setattr(module, "_SQL", {**module._SQL, "set_timeouts": quick})
        busy.execute(trouble)
        with pytest.raises(StoreUnreachable, match=words):
            migrate(empty_database_url, now=NOON)
    made_up |= {"0002_pre_b": "alter table a add column b int"}
    assert migrate(empty_database_url, now=NOON) == ["0002_pre_b"]


def test_a_server_that_is_away_is_named_without_its_address() -> None:
    """The sentence is printed and logged; the address holds a password."""
    with pytest.raises(StoreUnreachable) as raised:
        migrate("postgresql://postgres:hunter2@127.0.0.1:1/x?connect_timeout=2", now=NOON)
    assert (
        str(raised.value) == "postgres is not reachable (no connection); the same request may succeed in 5 s."
    )
