"""The watch of a process on a real Postgres: what it notices, who begins an epoch, and what may be claimed."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.errors import StoreUnreachable
from tether_stores.database_epoch.watch import Watch, durability_warnings
from tether_stores.objects import open_objects
from tether_stores.postgres import open_pool, transaction
from tether_stores.redis import open_redis
from tether_stores.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tether_stores.objects import Objects
    from tether_stores.postgres import Pool
    from tether_stores.redis import Redis

TOKENS = count()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool as the worker opens it."""
    async with open_pool(database_url, name="tests", max_size=8) as opened:
        yield opened


@pytest.fixture
async def cache(redis_url: str) -> AsyncIterator[Redis]:
    """Redis, which keeps a mark."""
    async with open_redis(redis_url, name="tests", timeout_s=20) as opened:
        yield opened


@pytest.fixture
def store(objects_dir: Path) -> Objects:
    """An object store, which keeps another."""
    return open_objects(Settings.from_env({"TETHER_OBJECTS_DIR": str(objects_dir)}))


@pytest.fixture
def watch(cache: Redis) -> Callable[..., Watch]:
    """Make a watch, as a process that starts has it."""

    def made(**more: Any) -> Watch:
        options: dict[str, Any] = {
            "cache": cache,
            "store": None,
            "clock": lambda: datetime.now(UTC),
            "token": lambda: f"token-{next(TOKENS)}",
            "is_pulsing": True,
        }
        return Watch(**{**options, **more})

    return made


async def _epochs(pool: Pool) -> list[tuple[int, str]]:
    async with pool.connection() as conn:
        found = await conn.execute("select number, reason from database_epochs order by number")
        return [(number, reason) for number, reason in await found.fetchall()]


async def _execute(pool: Pool, query: str) -> None:
    async with pool.connection() as conn:
        await conn.execute(query)


async def _may_claim(watch: Watch, pool: Pool) -> bool:
    async with transaction(pool) as conn:
        return await watch.holds(conn)


async def test_the_first_use_of_a_database_is_an_epoch(pool: Pool, watch: Callable[..., Watch]) -> None:
    """An upgrade must not turn every ready debit into an inquiry."""
    item = watch()
    assert not await _may_claim(item, pool)
    await item.probe(pool)
    assert item.history is not None
    assert await _may_claim(item, pool)
    assert await _epochs(pool) == [(1, "first")]


async def test_many_processes_begin_one_epoch(pool: Pool, watch: Callable[..., Watch]) -> None:
    """Two epochs for one loss would make everything an inquiry twice."""
    await asyncio.gather(*(watch().probe(pool) for _ in range(6)))
    assert await _epochs(pool) == [(1, "first")]
    await _execute(pool, "update database_epochs set timeline = timeline + 1")
    watches = [watch() for _ in range(6)]
    await asyncio.gather(*(item.probe(pool) for item in watches))
    assert await _epochs(pool) == [(1, "first"), (2, "other timeline")]
    assert len({item.history for item in watches} - {None}) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update database_epochs set system_id = '1'", "other system"),
        ("update database_epochs set timeline = 9", "other timeline"),
        ("update database_epochs set pulse = pulse - 1", "position behind"),
        ("update database_epochs set token = 'that of another history'", "epoch lost"),
    ],
)
@pytest.mark.parametrize("memory", ["own", "redis", "objects"])
async def test_a_database_that_went_back_is_noticed(
    pool: Pool,
    watch: Callable[..., Watch],
    store: Objects,
    cache: Redis,
    change: str,
    reason: str,
    memory: str,
) -> None:
    """By the process that was there, and by one that starts afterwards, from either place of the marks."""
    item = watch(store=store)
    for _ in range(3):
        await item.probe(pool)
    if memory != "own":
        item = watch(store=store if memory == "objects" else None)
    if memory == "objects":
        await cache.flushall()
        change = change.replace("pulse - 1", "pulse - 3")  # that mark is older than the one in Redis
    await _execute(pool, change)
    assert not await _may_claim(item, pool)
    await item.probe(pool)
    assert (await _epochs(pool))[-1] == (2, reason)
    assert not await _may_claim(item, pool)  # until older submissions are reviewed
    await _execute(pool, "update database_epochs set reviewed_at = now()")
    assert await _may_claim(item, pool)
    await item.probe(pool)
    assert len(await _epochs(pool)) == 2


async def test_an_older_position_of_the_log_is_noticed(
    pool: Pool, watch: Callable[..., Watch], cache: Redis
) -> None:
    """The newest claims may be younger than the last pulse; their commits are in the log."""
    await watch().probe(pool)
    ((key),) = await cache.keys("tether:database-epoch:*")
    mark = await cache.get(key)
    assert isinstance(mark, bytes)
    notification = mark.decode()
    position = int(notification.partition('"position":')[2].rstrip("}"))
    await cache.set(key, notification.replace(str(position), str(position + 10**12)))
    await watch().probe(pool)
    assert (await _epochs(pool))[-1] == (2, "position behind")


async def test_without_any_mark_nothing_is_refused(
    pool: Pool, watch: Callable[..., Watch], cache: Redis
) -> None:
    """A Redis that was flushed, an object store that is away: neither may stop the collecting of money."""
    await watch().probe(pool)
    await cache.flushall()
    other = watch(cache=None)
    await other.probe(pool)
    assert await _may_claim(other, pool)
    assert await _epochs(pool) == [(1, "first")]


async def test_a_mark_that_cannot_be_read_is_none(
    pool: Pool, watch: Callable[..., Watch], cache: Redis
) -> None:
    """Junk under our key is no reason to stop."""
    await watch().probe(pool)
    ((key),) = await cache.keys("tether:database-epoch:*")
    await cache.set(key, b"{")
    item = watch()
    await item.probe(pool)
    assert await _may_claim(item, pool)


async def test_a_restart_of_the_server_is_no_loss(
    pool: Pool, watch: Callable[..., Watch], services: Any
) -> None:
    """Else each restart and each crash of Postgres would hold all debits up; until a probe has compared, none is claimed."""
    item = watch()
    await item.probe(pool)
    for stop in (services.postgres.stop, services.postgres.stop_immediately):
        stop()
        services.postgres.start()
        with contextlib.suppress(StoreUnreachable, psycopg.Error):
            assert not await _may_claim(item, pool)
        with contextlib.suppress(StoreUnreachable):
            await item.probe(pool)
        await item.probe(pool)
        assert await _may_claim(item, pool)
    assert await _epochs(pool) == [(1, "first")]


async def test_a_server_that_shows_nothing_of_its_log(
    pool: Pool, watch: Callable[..., Watch], database_url: str
) -> None:
    """Some managed servers refuse these functions; there the epoch's own row has to serve, and does."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("revoke execute on function pg_control_system() from public")
        conn.execute("create role plain_user login password 'plain'")
        conn.execute("grant pg_read_all_data, pg_write_all_data to plain_user")
    try:
        url = database_url.replace("//postgres:", "//plain_user:")
        head, _, tail = url.partition("plain_user:")
        url = f"{head}plain_user:plain@{tail.partition('@')[2]}"
        async with open_pool(url, name="plain", max_size=2) as plain:
            item = watch()
            await item.probe(plain)
            assert await _may_claim(item, plain)
            await _execute(pool, "update database_epochs set pulse = pulse - 1")
            assert not await _may_claim(item, plain)
            await item.probe(plain)
        assert (await _epochs(pool))[-1] == (2, "position behind")
    finally:
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("grant execute on function pg_control_system() to public")
            conn.execute("drop owned by plain_user")
            conn.execute("drop role plain_user")


async def test_an_epoch_waits_for_transactions_of_the_one_before(
    pool: Pool, watch: Callable[..., Watch]
) -> None:
    """A claim that commits after the review would submit what the review took for an inquiry."""
    item = watch()
    await item.probe(pool)
    async with transaction(pool) as conn:
        assert await item.holds(conn)
        async with pool.connection() as other:
            await other.execute("set lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await other.execute("select from database_epochs where ended_at is null for update")
            await other.execute("reset lock_timeout")
            # Comparing goes on meanwhile, and so do other claims.
            await item.probe(pool)
            assert await _may_claim(item, pool)


async def test_a_confirmation_lasts_a_second(
    pool: Pool, watch: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was true of the database a while ago says nothing about the one that answers now."""
    item = watch()
    await item.probe(pool)
    assert item.history is not None
    now_s = monotonic()
    monkeypatch.setattr("tether_stores.database_epoch.watch.monotonic", lambda: now_s + 1.1)
    assert item.history is None


async def test_settings_that_lose_commits_are_named(database_url: str, pool: Pool) -> None:
    """With durability turned off, for example after a load test, a crash loses acknowledged notifications."""
    async with pool.connection() as conn:
        before = await durability_warnings(conn)
        fsync = await (await conn.execute("show fsync")).fetchone()
    assert ["fsync" in warning for warning in before] == [True] * (fsync == ("off",))
    async with (
        open_pool(f"{database_url}?options=-csynchronous_commit%3Doff", name="tests", max_size=1) as unsafe,
        unsafe.connection() as conn,
    ):
        (warning,) = [text for text in await durability_warnings(conn) if text not in before]
    assert "synchronous_commit" in warning
