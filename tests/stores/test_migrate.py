"""Migrations: once each, one process at a time, and clear words when one cannot be applied."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.errors import StoreUnreachable
from tether_stores import migrate as module
from tether_stores.migrate import concurrent_statements, is_concurrent, migrate, numbered
from tether_stores.queries import read

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import Callable


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

    def fetch_one(_: int) -> list[str]:
        start.wait()
        return migrate(empty_database_url, now=NOON)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(fetch_one, range(4)))
    assert sorted(done, key=len) == [[], [], [], list(numbered())]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The test's own migrations instead of the real ones: name to SQL."""
    files: dict[str, str] = {}
    monkeypatch.setattr(module, "numbered", lambda: iter(files))
    monkeypatch.setattr(
        module, "read", lambda path: files[path.removeprefix("migrations/").removesuffix(".sql")]
    )
    return files


def test_phases_are_recognised_by_their_place_in_the_name(
    empty_database_url: str, made_up: dict[str, str]
) -> None:
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


_BUILD = "create index {0}if not exists box_by_n on box (n)"
_BUILT = """
    select i.indisvalid from pg_index i where i.indexrelid = to_regclass('box_by_n') and pg_get_indexdef(i.indexrelid) like '%(n)'
"""
_BUILDING = "select from pg_stat_activity where query ilike 'create index%' and wait_event_type = 'Lock' and datname = current_database()"


@pytest.mark.parametrize(("mark", "word"), [("-- concurrently\n", "concurrently "), ("", "")])
def test_writers_do_not_wait_while_an_index_is_built(
    empty_database_url: str, made_up: dict[str, str], until: Callable[..., object], mark: str, word: str
) -> None:
    """An index over ten million rows takes minutes, and in each of them notifications have to be recorded.

    An open transaction keeps the build where it is. What is written meanwhile gets through, and the index has it. The same index
    without "concurrently" keeps everybody waiting, which shows that this test can fail.
    """
    made_up |= {"0001_pre_box": "create table box (n int); insert into box select generate_series(1, 1000)"}
    migrate(empty_database_url, now=NOON)
    made_up |= {"0002_pre_index": mark + _BUILD.format(word)}

    def write() -> bool:
        with psycopg.connect(empty_database_url, options="-c lock_timeout=2s") as writer:
            try:
                writer.execute("insert into box values (-1)")
                writer.execute("update box set n = -n where n = 500")
            except psycopg.errors.LockNotAvailable:
                return False
        return True

    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(empty_database_url) as busy,
        psycopg.connect(empty_database_url, autocommit=True) as conn,
    ):
        busy.execute("insert into box values (0)")
        done = pool.submit(migrate, empty_database_url, now=NOON)
        until(lambda: conn.execute(_BUILDING).fetchone() is not None, what="the build waits")
        assert write() is bool(mark)
        busy.commit()
        assert done.result() == ["0002_pre_index"]
        assert conn.execute(_BUILT).fetchall() == [(True,)]
        conn.execute("set enable_seqscan to off")
        conn.execute("set enable_bitmapscan to off")
        found = conn.execute("select n from box where n <= 0 order by n").fetchall()
        assert found == ([(-500,), (-1,), (0,)] if mark else [(0,)])


def test_an_index_that_could_not_be_built_is_built_anew(
    empty_database_url: str, made_up: dict[str, str]
) -> None:
    """A build that fails leaves an index that slows each write and serves nobody.

    "If not exists" alone would take it for done, and a rule that nothing may come twice would never hold.
    """
    made_up |= {"0001_pre_box": "create table box (n int); insert into box values (1), (1)"}
    migrate(empty_database_url, now=NOON)
    build = "create unique index concurrently if not exists box_by_n on box (n);"
    made_up |= {
        "0002_pre_once": f"-- concurrently\n-- Why.\ncreate index concurrently if not exists other on box (n);\n{build}\n"
    }
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        with pytest.raises(psycopg.errors.UniqueViolation):
            migrate(empty_database_url, now=NOON)
        assert conn.execute(_BUILT).fetchall() == [(False,)]
        assert [name for name, _ in _applied(empty_database_url)] == ["0001_pre_box"]
        conn.execute("delete from box where ctid = '(0,1)'")
        assert migrate(empty_database_url, now=NOON) == ["0002_pre_once"]
        assert conn.execute(_BUILT).fetchall() == [(True,)]
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("insert into box values (1)")


def test_nodes_that_start_together_do_not_wait_for_each_others_index(
    empty_database_url: str, made_up: dict[str, str]
) -> None:
    """A node that waits for its turn inside a statement keeps the index waiting that it waits for itself.

    Postgres would end one of the two after a second, and a deploy would fail by chance.
    """
    made_up |= {"0001_pre_box": "create table box (n int)"}
    made_up |= {
        f"000{i}_pre_index_{i}": f"-- concurrently\ncreate index concurrently if not exists i_{i} on box (n)"
        for i in range(2, 7)
    }
    start = threading.Barrier(4)

    def fetch_one(_: int) -> list[str]:
        start.wait()
        return migrate(empty_database_url, now=NOON)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(fetch_one, range(4)))
    assert sorted(done, key=len) == [[], [], [], list(made_up)]


@pytest.mark.parametrize(
    "statement",
    [
        "create index box_by_n on box (n)",
        "create index concurrently box_by_n on box (n)",
        "update box set n = 1",
        "create index concurrently if not exists a on box (n); drop table box",
    ],
)
def test_outside_a_transaction_only_what_can_be_repeated_is_done(
    empty_database_url: str, made_up: dict[str, str], statement: str
) -> None:
    """Half of such a file may have been applied when it fails. What cannot be done twice belongs in a transaction."""
    made_up |= {"0001_pre_box": "create table box (n int)", "0002_pre_b": f"-- concurrently\n{statement};\n"}
    with pytest.raises(ValueError, match='marked "-- concurrently" holds only'):
        migrate(empty_database_url, now=NOON)


def test_our_own_files_keep_the_rule() -> None:
    """The mark decides how a file is applied; without it, "concurrently" fails in production as it does in a transaction."""
    files = {name: read(f"migrations/{name}.sql") for name in numbered()}
    for text in files.values():
        assert is_concurrent(text) == (" concurrently " in text.partition("\n")[2])
        if is_concurrent(text):
            assert concurrent_statements(text)


def test_an_unreachable_server_is_named_without_its_address() -> None:
    """The sentence is printed and logged; the address holds a password."""
    with pytest.raises(StoreUnreachable) as raised:
        migrate("postgresql://postgres:hunter2@127.0.0.1:1/x?connect_timeout=2", now=NOON)
    assert str(raised.value) == "Postgres is not reachable (no connection); try again in 5 s."
