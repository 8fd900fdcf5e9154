"""Periodic tasks: repeated after any result of the last run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from tether_core.errors import StoreUnreachable
from tether_core.spreadsheet import Answers
from tether_stores import objects
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Finish, Recording
from tether_stores.objects import open_objects
from tether_stores.settings import Settings
from tether_stores.uploads import uploads
from tether_worker.jobs.periodic import PeriodicTask, run_periodic_tasks
from tether_worker.notifications.wake_matched import wake_matched
from tether_worker.uploads.orphans import sweep_objects

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tether_stores.postgres import Connection, Pool


async def test_a_periodic_task_is_done_again_after_it_failed(eventually: Callable[..., Any]) -> None:
    """A periodic task that ended with its first failure would be missed weeks later, when its rows have piled up."""
    outcomes: list[Exception | None] = [None, StoreUnreachable("postgres"), KeyError("x"), None]
    done = 0

    async def do() -> None:
        nonlocal done
        done += 1
        problem = outcomes.pop(0) if outcomes else None
        if problem:
            raise problem

    stopping = asyncio.Event()
    with structlog.testing.capture_logs() as lines:
        task = asyncio.create_task(run_periodic_tasks(PeriodicTask("count", 0.01, do), stopping=stopping))
        await eventually(lambda: done > 5, what="the periodic task to be done again")
        stopping.set()
        await task
    assert [(line["periodic_task"], line["log_level"]) for line in lines] == [
        ("count", "warning"),
        ("count", "error"),
    ]


async def test_a_periodic_task_ends_without_its_pause(eventually: Callable[..., Any]) -> None:
    """A stopping worker must not wait for the end of an hour's pause."""
    done, stopping = asyncio.Event(), asyncio.Event()

    async def do() -> None:
        done.set()

    task = asyncio.create_task(run_periodic_tasks(PeriodicTask("once", 3_600, do), stopping=stopping))
    await done.wait()
    stopping.set()
    async with asyncio.timeout(120):
        await task


async def test_waiting_notifications_find_their_payment(
    pool: Pool, conn: Connection, attempt: Callable[..., Awaitable[int]]
) -> None:
    """What came before its import is applied seconds after it.

    Two nodes that do the periodic task at once change nothing.
    """
    row = Recording(b"k" * 16, b"c" * 16, "default", "payment", "u-1", "approved", "", "text/plain", b"")
    await webhook_events.record(conn, [row], now=NOON)
    later = NOON + timedelta(days=1)
    waiting = Finish(1, "waiting", "not_yet", "unknown_payment", 1, later, None)
    await webhook_events.finish(conn, [waiting], now=NOON)
    periodic_task = wake_matched(pool, clock=lambda: NOON)
    assert periodic_task.every_s <= 10
    await periodic_task.do()
    assert not await webhook_events.due(conn, now=NOON)
    await attempt("t-1", unique_id="u-1", at=NOON)
    with structlog.testing.capture_logs() as lines:
        await asyncio.gather(periodic_task.do(), periodic_task.do())
    assert await webhook_events.due(conn, now=NOON)
    assert [line["rows"] for line in lines] == [1]


async def test_only_old_files_that_no_upload_names_are_removed(
    pool: Pool, conn: Connection, objects_dir: Path
) -> None:
    """Files of nodes that were killed pile up otherwise; one removed too many is a list of debtors lost."""
    store = open_objects(Settings.from_env({"TETHER_OBJECTS_DIR": str(objects_dir)}))
    named, orphan, foreign = (f"uploads/2026/03/02/{letter * 32}.csv" for letter in "abz")

    async def content() -> AsyncIterator[bytes]:
        yield b"x"

    for key in (named, orphan, foreign, "uploads/old.csv"):
        await objects.put(store, key, content())
    recording = uploads.NewUpload(named, "a.csv", 1, b"s" * 32, b"c" * 32, Answers(), False, False, "tests")
    await uploads.record(conn, recording, now=NOON)

    async def left(now: datetime) -> set[str]:
        await sweep_objects(pool, store, clock=lambda: now).do()
        return {stored.key async for stored in objects.listed(store, "uploads")}

    put_at = datetime.now(UTC)
    everything = {named, orphan, foreign, "uploads/old.csv"}
    assert await left(put_at + timedelta(days=6)) == everything
    assert await left(put_at + timedelta(days=8)) == everything - {orphan}


@pytest.mark.parametrize(
    ("named", "unnamed", "first_in_days", "errors"),
    [
        (0, 2, None, 1),  # a database that was emptied, or is new
        (1, 2, -300, 1),  # one that was restored from long ago, or that of another installation
        (2, 1, 1, 0),  # what was there before the first upload
    ],
)
async def test_files_of_another_database_are_never_removed(
    pool: Pool,
    conn: Connection,
    objects_dir: Path,
    named: int,
    unnamed: int,
    first_in_days: int | None,
    errors: int,
) -> None:
    """A worker of staging with the bucket of production would take every list of debtors for nobody's."""
    store = open_objects(Settings.from_env({"TETHER_OBJECTS_DIR": str(objects_dir)}))
    keys = [f"uploads/2026/03/02/{number:032x}.csv" for number in range(named + unnamed)]

    async def content() -> AsyncIterator[bytes]:
        yield b"x"

    for key in keys:
        await objects.put(store, key, content())
    now = datetime.now(UTC)
    for key in keys[:named]:
        digest = key.encode()[-32:]
        recording = uploads.NewUpload(key, "a.csv", 1, digest, digest, Answers(), False, False, "tests")
        await uploads.record(conn, recording, now=now + timedelta(days=first_in_days or 0))
    with structlog.testing.capture_logs() as lines:
        await sweep_objects(pool, store, clock=lambda: now + timedelta(days=30)).do()
    assert {stored.key async for stored in objects.listed(store, "uploads")} == set(keys)
    said = [line["event"] for line in lines if line["log_level"] == "error"]
    assert len(said) == errors
    assert all("DATABASE_URL" in sentence and "AWS_BUCKET" in sentence for sentence in said)
