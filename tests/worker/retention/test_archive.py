"""Old notifications and events move to the archive, and are never applied a second time."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from tether_core.retention.archive import ArchiveUnreadable, unpack
from tether_core.retention.periods import Periods
from tether_stores.notifications import event_lists, webhook_events
from tether_stores.notifications.webhook_events import Finish, Recording
from tether_stores.objects import open_objects
from tether_stores.reconciliation import completeness, differences
from tether_stores.retention import archives
from tether_stores.settings import Settings
from tether_worker.__main__ import main
from tether_worker.retention import archive as module
from tether_worker.retention.archive import ArchiveDeps, archive_once, archiving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Connection, Pool

NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=430)


def _row(name: str, *, content: str = "") -> Recording:
    return Recording(
        key=name.encode().ljust(16, b"."),
        content=(content or name).encode().ljust(16, b"."),
        account="default",
        kind="payment",
        notification_id=name,
        status="chargebacked",
        event="chargeback",
        content_type="application/x-www-form-urlencoded",
        body=b"unique_id=" + name.encode() + b"\x00\xff",
        report_class="disputes",
    )


async def _processed(conn: Connection, *names: str, at: datetime = OLD) -> None:
    """Notifications that came and were processed long ago."""
    await webhook_events.record(conn, [_row(name) for name in names], now=at)
    cursor = await conn.execute(
        "select id from webhook_events where notification_id = any(%s) order by id", (list(names),)
    )
    ids = [row_id for (row_id,) in await cursor.fetchall()]
    await webhook_events.finish(
        conn, [Finish(row_id, "processed", "applied", "moved", 0, None, None) for row_id in ids], now=at
    )
    await conn.execute("update webhook_events set listed_on = received_at::date where id = any(%s)", (ids,))


async def _kept(conn: Connection) -> list[str]:
    cursor = await conn.execute("select notification_id from webhook_events order by id")
    return [name for (name,) in await cursor.fetchall()]


def _objects(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.gz")]


@pytest.fixture
def deps(pool: Pool, objects_dir: Path) -> ArchiveDeps:
    """Archiving as the worker does it, now."""
    store = open_objects(Settings(objects_dir=str(objects_dir)))
    return ArchiveDeps(pool, store, Periods(), lambda: NOW, lambda: secrets.token_hex(8), lambda: False, 0.2)


async def test_a_repeat_after_14_months_is_recognised(conn: Connection, deps: ArchiveDeps) -> None:
    """The signature of a notification is valid for ever. If its key went with its row, a sender who kept one could have it applied again.

    What waits for a person or is young stays; the completeness report and the counts say the same as before.
    """
    await _processed(conn, "a", "b")
    await webhook_events.record(conn, [_row("parked")], now=OLD)
    await _processed(conn, "c", "young", at=NOW - timedelta(days=424))
    day = OLD.date()
    lines = await completeness.lines(conn, from_on=day, to_on=day)

    assert await archive_once(deps, "notifications") == 2
    assert await _kept(conn) == ["parked", "c", "young"]
    assert await completeness.lines(conn, from_on=day, to_on=day) == lines
    assert (await event_lists.counts(conn, now=NOW)).processed == 2
    (archive,) = await archives.listed(conn, limit=10)
    assert (archive.rows, archive.pruned_at, archive.to_at) == (2, NOW, OLD)

    batch = [_row("a"), _row("b", content="changed"), _row("new"), _row("a")]
    outcomes = await webhook_events.record(conn, batch, now=NOW)
    assert outcomes == ["repeated", "conflicting", "recorded", "repeated"]
    fetched = await webhook_events.record(conn, [_row("b", content="of a report")], now=NOW, source="report")
    assert fetched == ["repeated"]
    cursor = await conn.execute(
        "select notification_id, state, conflicts_with from webhook_events order by notification_id"
    )
    found = await cursor.fetchall()
    assert (found[0], found[2]) == (("b", "conflicting", 2), ("new", "waiting", None))
    # A second run finds nothing, and neither does one after everything else is old.
    assert await archive_once(deps, "notifications") == 0


async def test_a_run_rests_after_each_archive(
    conn: Connection,
    deps: ArchiveDeps,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Awaitable[object]],
) -> None:
    """Deleted without a rest, old rows make answers to notifications three times as slow for as long as there are any."""
    monkeypatch.setattr(module, "_ROWS_MAX", 1)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    await _processed(conn, "a", "b", "c")
    looks, is_stopping = 0, False

    def stopping() -> bool:
        nonlocal looks
        looks += 1
        return is_stopping

    resting = msgspec.structs.replace(deps, stopping=stopping, rest_ratio=1e6)
    run = asyncio.create_task(archive_once(resting, "notifications"))

    async def is_one_gone() -> bool:
        return len(await _kept(conn)) < 3

    await eventually(is_one_gone, what="the first archive")
    # Each archive takes a few looks at most: one that did not rest would be done with the others.
    enough = looks + 30
    await eventually(lambda: looks > enough, what="looks of a run that rests")
    assert await _kept(conn) == ["b", "c"]
    is_stopping = True
    assert await run == 1


async def test_no_row_is_deleted_while_an_insert_may_not_see_its_key(
    conn: Connection, deps: ArchiveDeps, database_url: str, eventually: Callable[..., Awaitable[object]]
) -> None:
    """An insert that began before the keys were kept would record the repeat as new, once the row is gone."""
    await _processed(conn, "b")
    # The first one is rolled back first, so that a failure of this test does not hang.
    async with (
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as second,
        await psycopg.AsyncConnection.connect(database_url) as first,
    ):
        await webhook_events.record(first, [_row("a")], now=NOW)
        # This one waits for the first one's key with a snapshot from before the archive.
        repeat = asyncio.create_task(webhook_events.record(second, [_row("a"), _row("b")], now=NOW))

        async def waits() -> bool:
            cursor = await conn.execute(
                "select count(*) from pg_locks where pid = %s and not granted", (second.info.backend_pid,)
            )
            return await cursor.fetchone() == (1,)

        await eventually(waits, what="the repeat waits for the first insert")
        assert await archive_once(deps, "notifications") == 0
        cursor = await conn.execute("select confirmed_at is not null, pruned_at from archives")
        assert await cursor.fetchall() == [(True, None)]
        await first.commit()
        assert await repeat == ["repeated", "repeated"]
    assert await archive_once(deps, "notifications") == 1
    assert await _kept(conn) == ["a"]
    assert await webhook_events.record(conn, [_row("b")], now=NOW) == ["repeated"]


async def test_a_worker_that_is_killed_between_archive_and_deletion(
    conn: Connection,
    environment: dict[str, str],
    process: Launch,
    database_url: str,
    deps: ArchiveDeps,
    eventually: Callable[..., Awaitable[object]],
) -> None:
    """Killed in between, a row is in its table and in the archive. The next worker deletes it, and archives nothing twice."""
    await _processed(conn, "a", "b")

    async def is_confirmed() -> bool:
        cursor = await conn.execute("select count(*) from archives where confirmed_at is not null")
        return await cursor.fetchone() == (1,)

    async with await psycopg.AsyncConnection.connect(database_url) as writer:
        await webhook_events.record(writer, [_row("other")], now=NOW)  # keeps the worker from deleting
        worker = process("tether-worker", "run", "default", environ=environment)
        await eventually(is_confirmed, what="the archive is confirmed")
        worker.kill()
        await writer.rollback()
    assert await _kept(conn) == ["a", "b"]
    assert await webhook_events.record(conn, [_row("a")], now=NOW) == ["repeated"]
    assert await archive_once(deps, "notifications") == 2
    assert await _kept(conn) == []
    assert len(await archives.listed(conn, limit=10)) == 1
    assert await webhook_events.record(conn, [_row("a"), _row("b")], now=NOW) == ["repeated", "repeated"]


async def test_nothing_is_deleted_without_an_archive_that_can_be_read(
    conn: Connection, deps: ArchiveDeps, objects_dir: Path
) -> None:
    """An object store that lost or changed an archive must not cost the rows."""
    await _processed(conn, "a")
    halted = msgspec.structs.replace(deps, stopping=iter([False, False, True, True]).__next__)
    await archive_once(halted, "notifications")
    (archive,) = await archives.listed(conn, limit=10)
    assert archive.pruned_at is None
    path = objects_dir / archive.object_key
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ArchiveUnreadable, match="checksum"):
        await archive_once(deps, "notifications")
    assert await _kept(conn) == ["a"]
    path.write_bytes(good)
    assert await archive_once(deps, "notifications") == 1


async def test_an_archive_that_was_begun_by_a_worker_that_died_is_taken_over(
    conn: Connection, deps: ArchiveDeps, objects_dir: Path
) -> None:
    """Otherwise nothing would ever be archived again, and the object of the dead worker would stay."""
    await _processed(conn, "a")
    await archives.begin(
        conn, "notifications", object_key="archives/lost.gz", now=NOW - timedelta(minutes=14)
    )
    (objects_dir / "archives").mkdir()
    (objects_dir / "archives" / "lost.gz").write_bytes(b"half")
    assert await archive_once(deps, "notifications") == 0
    await conn.execute("update archives set began_at = began_at - interval '2 minutes'")
    assert await archive_once(deps, "notifications") == 1
    assert [name for name in _objects(objects_dir) if name == "lost.gz"] == []
    assert len(_objects(objects_dir)) == 1


async def test_archives_are_read_and_replayed_by_command(
    conn: Connection, deps: ArchiveDeps, environment: dict[str, str], capsys: Any, monkeypatch: Any
) -> None:
    """What was archived can be read without this program, and be applied once more by a person."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    await _processed(conn, "a", "b")
    await archive_once(deps, "notifications")
    assert await asyncio.to_thread(main, ["archive", "list", "--kind", "notifications"]) == 0
    assert "rows 1 to 2 (2)" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["archive", "read", "1", "--reason", "a question"]) == 0
    rows = [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["notification_id"] for row in rows] == ["a", "b"]
    assert rows[0]["body"] == r"\x" + _row("a").body.hex()
    assert await asyncio.to_thread(main, ["archive", "replay", "9", "--reason", "x"]) == 2
    assert (
        await asyncio.to_thread(main, ["archive", "replay", "2", "--reason", "the reader was corrected"]) == 0
    )
    (claimed,) = await webhook_events.claim(conn, now=datetime.now(UTC), limit=9, freeze_s=5)
    assert (claimed.id, claimed.body) == (2, _row("b").body)
    assert await asyncio.to_thread(main, ["archive", "replay", "2", "--reason", "again"]) == 2
    assert await webhook_events.record(conn, [_row("b")], now=NOW) == ["repeated"]
    cursor = await conn.execute("select action, subject_id from audit order by id")
    assert await cursor.fetchall() == [("archive.read", "1"), ("notification.replayed", "2")]


async def test_events_are_archived_in_order_and_only_once_read(
    conn: Connection, deps: ArchiveDeps, objects_dir: Path
) -> None:
    """An event that the review of differences has not read, or that is younger than one before it, must stay."""
    await conn.execute(
        "insert into outbox (name, version, payload, occurred_at)"
        " select 'attempt.status_changed', 1, '{}', case when n < 4 or n = 5 then %s else %s end::timestamptz"
        " from generate_series(1, 6) n",
        (OLD, NOW),
    )
    assert await archive_once(deps, "events") == 0
    await differences.begin_position(conn, differences.CHANGED_DEBITS, position=2, now=NOW)
    assert await archive_once(deps, "events") == 2
    await conn.execute("update reconciliation_reviews set position = 6")
    assert await archive_once(deps, "events") == 1
    cursor = await conn.execute("select id from outbox order by id")
    assert [row_id for (row_id,) in await cursor.fetchall()] == [4, 5, 6]
    found = await archives.listed(conn, kind="events", limit=10)
    assert [(row.first_id, row.last_id) for row in found] == [(3, 3), (1, 2)]
    assert len(unpack((objects_dir / found[1].object_key).read_bytes()).rows) == 2
    assert await archives.archived_to(conn) == 3


async def test_archives_go_when_their_own_period_is_over(
    conn: Connection, deps: ArchiveDeps, objects_dir: Path
) -> None:
    """Personal data is not kept for ever. The keys stay."""
    await _processed(conn, "a")
    await archive_once(deps, "notifications")
    later = msgspec.structs.replace(deps, clock=lambda: OLD + timedelta(days=3_651))
    await archiving(later).do()
    assert _objects(objects_dir) == []
    (archive,) = await archives.listed(conn, limit=10)
    assert archive.removed_at is not None
    assert await webhook_events.record(conn, [_row("a")], now=NOW) == ["repeated"]


async def test_a_year_of_notifications_leaves_the_tables_as_large_as_before(
    conn: Connection, deps: ArchiveDeps
) -> None:
    """With a run each day, rows of one period are kept, however many years it works."""
    kept = []
    periods = Periods(notifications_days=90)
    for day in range(0, 360, 30):
        at = OLD + timedelta(days=day)
        await _processed(conn, *(f"{day}-{n}" for n in range(20)), at=at)
        await archive_once(
            msgspec.structs.replace(deps, periods=periods, clock=lambda at=at: at), "notifications"
        )
        kept.append(len(await _kept(conn)))
    assert max(kept) == kept[-1] == 80
    cursor = await conn.execute("select count(*), count(distinct key) from archived_notifications")
    assert await cursor.fetchone() == (160, 160)


async def test_an_archive_does_not_keep_what_was_erased_while_it_was_written(
    conn: Connection, deps: ArchiveDeps, database_url: str, objects_dir: Path
) -> None:
    """An archive has the row as it was read. Confirmed after an erasure, it would keep the name that is nowhere else any more."""
    await _processed(conn, "a")

    def erased_then_named() -> str:
        with psycopg.connect(database_url) as other:
            other.execute("update webhook_events set body = 'unique_id=a'")
        return secrets.token_hex(8)

    assert await archive_once(msgspec.structs.replace(deps, token=erased_then_named), "notifications") == 0
    assert await archives.listed(conn, limit=10) == []
    assert _objects(objects_dir) == []
    assert await archive_once(deps, "notifications") == 1
    (archive,) = await archives.listed(conn, limit=10)
    (row,) = unpack((objects_dir / archive.object_key).read_bytes()).rows
    assert bytes.fromhex(msgspec.json.decode(row)["body"].removeprefix("\\x")) == b"unique_id=a"
