"""The way into the inbox: Redis may forget and may be gone, and no answer is given before its commit."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
import redis as plain
from tether_core.errors import StoreUnreachable
from tether_core.notifications.lookaside import Traffic
from tether_stores import redis
from tether_stores.database_epoch.watch import Watch
from tether_stores.jobs.queue import open_wake_up_queue
from tether_stores.notifications.webhook_events import Recording
from tether_stores.postgres import open_pool
from tether_web.notifications import inbox as module
from tether_web.notifications.inbox import Inbox

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tether_sandbox.services import Services

CALM = Traffic()
# Repeats were frequent until now, so Redis is used first.
BUSY = Traffic(repeats=1.0, uses_redis=True)
SEEN = b"tether:seen:"


def _row(name: str, *, content: str = "") -> Recording:
    return Recording(
        name.encode().ljust(16, b"."),
        (content or name).encode().ljust(16, b"."),
        "default",
        "payment",
        name,
        "approved",
        "",
        "text/plain",
        b"body",
    )


@contextlib.asynccontextmanager
async def _opened(
    database_url: str,
    redis_url: str,
    *,
    deadline_s: float = 30,
    waiting_max: int = 100,
    history: Callable[[], str | None] | None = None,
    traffic: Traffic = CALM,
) -> AsyncIterator[Inbox]:
    """An inbox as the application opens it."""
    watch = Watch(
        cache=None, store=None, clock=lambda: NOON, token=lambda: secrets.token_hex(4), is_pulsing=False
    )
    async with (
        open_pool(database_url, name="tests", max_size=1, checked=False) as pool,
        open_pool(database_url, name="tests-look", max_size=1, checked=False) as look_pool,
        open_pool(database_url, name="tests-watch", max_size=1) as watch_pool,
        watch.kept(watch_pool),
        redis.open_redis(redis_url, name="tests") as cache,
        open_wake_up_queue(redis_url, queue="webhooks", timeout_s=0.5) as wake_up_queue,
    ):
        made = Inbox(
            pool=pool,
            history_pool=look_pool,
            cache=cache,
            wake_up_queue=wake_up_queue,
            clock=lambda: NOON,
            history=history or (lambda: watch.history),
            deadline_s=deadline_s,
            waiting_max=waiting_max,
            traffic=traffic,
        )
        try:
            yield made
        finally:
            await made.close()


@pytest.fixture
def server(redis_url: str) -> Iterator[plain.Redis]:
    """A client of another kind, to look into Redis from the side."""
    with plain.Redis.from_url(redis_url) as client:
        yield client


def _keys(server: plain.Redis) -> set[bytes]:
    return set(server.scan_iter())


def _is_marked(server: plain.Redis, name: str) -> bool:
    return any(key.startswith(SEEN) and key.endswith(_row(name).key) for key in _keys(server))


def _states(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute("select notification_id, state from webhook_events order by id").fetchall()


async def test_a_mark_and_a_wake_up_follow_the_commit_and_never_precede_it(
    database_url: str, redis_url: str, server: plain.Redis, eventually: Callable[..., Any]
) -> None:
    """A mark before its commit would have the repeat of a lost notification answered "already processed"."""
    async with _opened(database_url, redis_url) as inbox:
        with psycopg.connect(database_url) as busy:
            busy.execute("lock table webhook_events in share mode")
            delivery = asyncio.create_task(inbox.deliver(_row("a")))
            await eventually(lambda: _is_blocked(database_url), what="the insert to wait")
            assert _keys(server) == set()
        assert await delivery == "recorded"
        await eventually(lambda: _is_marked(server, "a"), what="the mark")
        assert b"saq:webhooks:queued" in _keys(server)


def _is_blocked(url: str) -> bool:
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    with psycopg.connect(url) as conn:
        row = conn.execute(query).fetchone()
    return bool(row and row[0])


async def test_what_this_process_committed_lately_is_answered_without_an_insert(
    database_url: str, redis_url: str, server: plain.Redis
) -> None:
    """The gateway repeats ten times, mostly to the same node; a repeat shall cost neither Redis nor a place in a commit."""
    async with _opened(database_url, redis_url) as inbox:
        assert await inbox.deliver(_row("a")) == "recorded"
        server.flushdb()
        with psycopg.connect(database_url) as busy:
            busy.execute("lock table webhook_events in share mode")
            assert await inbox.deliver(_row("a")) == "repeated"


async def test_what_another_node_committed_is_answered_by_redis_while_postgres_hangs(
    database_url: str, redis_url: str, eventually: Callable[..., Any], server: plain.Redis
) -> None:
    """While no commit ends, a repeat of what is committed must not wait for one and be answered 503."""
    async with (
        _opened(database_url, redis_url) as other,
        _opened(database_url, redis_url, deadline_s=150) as inbox,
    ):
        await other.deliver(_row("a"))
        await eventually(lambda: _is_marked(server, "a"), what="the mark")
        with psycopg.connect(database_url) as busy:
            busy.execute("lock table webhook_events in share mode")
            hanging = asyncio.create_task(inbox.deliver(_row("b")))

            async def answered() -> bool:
                async with asyncio.timeout(0.3):
                    return await inbox.deliver(_row("a")) == "repeated"

            await eventually(answered, what="Redis to be asked", despite=(TimeoutError,))
            busy.rollback()
        assert await hanging == "recorded"


async def test_while_repeats_are_frequent_redis_is_queried_first(
    database_url: str, redis_url: str, eventually: Callable[..., Any], server: plain.Redis
) -> None:
    """A chaos test of repeats that all reach Postgres would make new notifications wait behind them."""
    rows = [_row(f"r{n}") for n in range(1200)]
    async with (
        _opened(database_url, redis_url, waiting_max=10_000) as other,
        _opened(database_url, redis_url, waiting_max=10_000) as inbox,
    ):
        await asyncio.gather(*map(other.deliver, rows))
        await eventually(
            lambda: len([key for key in _keys(server) if key.startswith(SEEN)]) == 1200, what="the marks"
        )
        assert set(await asyncio.gather(*map(inbox.deliver, rows[:1000]))) == {"repeated"}
        with psycopg.connect(database_url) as busy:
            busy.execute("lock table webhook_events in share mode")
            # These are known to Redis alone, and no commit hangs yet that would say that Postgres is slow.
            assert set(await asyncio.gather(*map(inbox.deliver, rows[1000:]))) == {"repeated"}


@pytest.mark.parametrize("memory", ["process", "redis"])
@pytest.mark.parametrize(
    "change",
    [
        "update database_epochs set token = 'that of another history'",  # another process began an epoch
        "truncate webhook_events cascade",  # as restoring a dump over it does
        "restart",  # the server that answers now may have been put back
    ],
)
async def test_a_mark_of_another_history_counts_for_nothing(
    database_url: str,
    redis_url: str,
    server: plain.Redis,
    eventually: Callable[..., Any],
    services: Services,
    memory: str,
    change: str,
) -> None:
    """
    After a restore the rows are gone and the marks are not: the gateway's repeat would be answered and kept nowhere.

    A database goes back within a fraction of a second. A process that probed it just before still takes it for the same.
    """
    believed: str | None = None
    async with _opened(database_url, redis_url) as other:
        believed = other._history()  # as a probe confirmed it; no other comes
        assert believed is not None
        await other.deliver(_row("a"))
        await eventually(lambda: _is_marked(server, "a"), what="the mark")
    async with _opened(database_url, redis_url, traffic=BUSY, history=lambda: believed) as inbox:
        if memory == "process":
            assert await inbox.deliver(_row("a")) == "repeated"
            server.flushdb()
            await inbox._commits.do(_row("a"))
            server.flushdb()  # what is known now, this process alone knows
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("delete from webhook_events")  # the file of the table stays as it was
        assert await inbox.deliver(_row("a")) == "repeated"
        if change != "restart":
            with psycopg.connect(database_url, autocommit=True) as conn:
                conn.execute(change)
        elif services.postgres is None:
            return
        else:
            services.postgres.restart()
        assert await inbox.deliver(_row("a")) == "recorded"


async def test_no_mark_is_written_without_a_confirmed_history(
    database_url: str, redis_url: str, server: plain.Redis, eventually: Callable[..., Any]
) -> None:
    """Nobody knows which history such a commit belongs to; a mark of it could outlive the row."""
    history: str | None = None
    async with _opened(database_url, redis_url, history=lambda: history) as inbox:
        await inbox.deliver(_row("a"))
        history = "h1"
        await inbox.deliver(_row("b"))
        await eventually(lambda: _is_marked(server, "b"), what="the mark")
        assert not _is_marked(server, "a")


@pytest.mark.parametrize("traffic", [CALM, BUSY], ids=["not asked first", "asked first"])
async def test_redis_may_forget_everything_at_any_timestamp(
    traffic: Traffic, database_url: str, redis_url: str, server: plain.Redis
) -> None:
    """A flushed Redis costs a look at the database, and neither an event nor a second applying."""
    async with _opened(database_url, redis_url, traffic=traffic) as inbox:
        assert await inbox.deliver(_row("a")) == "recorded"
        server.flushdb()
        assert await inbox.deliver(_row("a")) == "repeated"
        assert await inbox.deliver(_row("a", content="x")) == "conflicting"
        server.flushdb()
        assert await inbox.deliver(_row("a", content="x")) == "repeated"
    assert _states(database_url) == [("a", "waiting"), ("a", "conflicting")]


@pytest.mark.parametrize("traffic", [CALM, BUSY], ids=["not asked first", "asked first"])
async def test_a_mark_vouches_for_its_content_alone(
    traffic: Traffic, database_url: str, redis_url: str, server: plain.Redis, eventually: Callable[..., Any]
) -> None:
    """Other content under a marked key is for a person to see. A look-aside by key alone would hide it."""
    async with _opened(database_url, redis_url, traffic=traffic) as inbox:
        await inbox.deliver(_row("a"))
        await eventually(lambda: _is_marked(server, "a"), what="the mark")
        assert await inbox.deliver(_row("a", content="x")) == "conflicting"
        assert await inbox.deliver(_row("a")) == "repeated"
        assert await inbox.deliver(_row("a", content="x")) == "repeated"
        assert await inbox.deliver(_row("a", content="y")) == "conflicting"
    assert len(_states(database_url)) == 3


@pytest.mark.parametrize("traffic", [CALM, BUSY], ids=["not asked first", "asked first"])
async def test_without_redis_everything_is_recorded_and_quickly(
    traffic: Traffic,
    database_url: str,
    redis_url: str,
    services: Services,
    server: plain.Redis,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
) -> None:
    """Redis frozen or gone costs the first sender a quarter of a second.

    Then it is left alone for a while.
    """
    if services.redis is None:
        async with _opened(database_url, "redis://127.0.0.1:1", traffic=traffic) as inbox:
            assert await inbox.deliver(_row("a")) == "recorded"
        return
    monkeypatch.setattr(module, "_REDIS_PAUSE_S", 1.0)
    async with _opened(database_url, redis_url, traffic=traffic) as inbox:
        with services.redis.paused():
            began = monotonic()
            assert await inbox.deliver(_row("first")) == "recorded"
            assert monotonic() - began < 30
            quick = 0
            for n in range(40):
                began = monotonic()
                assert await inbox.deliver(_row(f"e{n}")) == "recorded"
                quick += monotonic() - began < 0.25
            assert await inbox.deliver(_row("e0")) == "repeated"
            # With Redis in use each would have waited that long. A busy machine makes some slow, but not this many.
            assert quick > 10
        services.redis.kill()
        assert await inbox.deliver(_row("second")) == "recorded"
        services.redis.start()

        async def marked() -> bool:
            await inbox.deliver(_row(f"later-{monotonic()}"))
            return any(key.startswith(SEEN) for key in _keys(server))

        await eventually(marked, what="Redis to be used again")


async def test_a_wake_up_is_sent_for_every_burst(
    database_url: str, redis_url: str, server: plain.Redis, eventually: Callable[..., Any]
) -> None:
    """A row that is not woken for waits a second for the look; on a quiet day that would be every row."""
    async with _opened(database_url, redis_url) as inbox:
        await asyncio.gather(*(inbox.deliver(_row(f"e{n}")) for n in range(50)))
        await eventually(lambda: server.llen("saq:webhooks:queued"), what="a wake-up")
        server.flushdb()
        assert await inbox.deliver(_row("e0")) == "repeated"
        assert await inbox.deliver(_row("later")) == "recorded"
        await eventually(lambda: server.llen("saq:webhooks:queued"), what="a wake-up for the later one")
        (job,) = [server.get(key) for key in _keys(server) if key.startswith(b"saq:job:")]
        assert b"later" not in msgspec.json.encode(msgspec.json.decode(job))  # type: ignore[arg-type]


async def test_a_restart_of_postgres_between_two_deliveries_costs_no_answer(
    database_url: str, redis_url: str, services: Services
) -> None:
    """The idle connection dies with the restart; the next sender must be answered 200 and not 503."""
    async with _opened(database_url, redis_url) as inbox:
        assert await inbox.deliver(_row("a")) == "recorded"
        if services.postgres:
            services.postgres.restart()
        assert await inbox.deliver(_row("b")) == "recorded"
        assert await inbox.deliver(_row("b")) == "repeated"


async def test_one_stuck_row_does_not_hold_up_the_others(
    database_url: str, redis_url: str, eventually: Callable[..., Any]
) -> None:
    """A forgotten session that holds one key must not stop the intake of every node until it is found."""
    async with _opened(database_url, redis_url, deadline_s=0.2) as inbox:
        with psycopg.connect(database_url) as forgotten:
            stuck = _row("stuck")
            forgotten.execute(
                "insert into webhook_events (key, content, account, kind, notification_id, status, source,"
                " content_type, body, state, failures, received_at, next_at) values (%s, %s, 'default', 'payment',"
                " 'stuck', '', 'webhook', '', '', 'waiting', 0, %s, %s)",
                [stuck.key, stuck.content, NOON, NOON],
            )
            with pytest.raises(StoreUnreachable):
                await inbox.deliver(stuck)

            async def taken() -> bool:
                return await inbox.deliver(_row("other")) == "recorded"

            await eventually(taken, what="another delivery to be taken", despite=(StoreUnreachable,))
            forgotten.rollback()

        async def landed() -> bool:
            return await inbox.deliver(stuck) in {"recorded", "repeated"}  # a 503 may have landed late

        await eventually(landed, what="the row that was stuck", despite=(StoreUnreachable,))


async def test_a_redis_that_hangs_is_waited_for_once_and_not_by_all_in_turn(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch that waited for the timeout of its own would have the last of a burst answered 503, with Postgres well."""
    monkeypatch.setattr(module, "_REDIS_PAUSE_S", 600.0)
    connected = 0

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        writer.close()

    hanging = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = hanging.sockets[0].getsockname()[1]
    # Sixteen batches; waiting in turn, each would give up a connection and open another.
    rows = [_row(f"r{n}") for n in range(16 * 256)]
    async with _opened(
        database_url, f"redis://127.0.0.1:{port}", deadline_s=60, waiting_max=10_000, traffic=BUSY
    ) as inbox:
        answers = await asyncio.gather(*map(inbox.deliver, rows), return_exceptions=True)
    hanging.close()
    assert Counter(map(str, answers)) == {"recorded": len(rows)}
    assert 1 <= connected < 12


async def test_a_row_that_vanishes_is_not_acknowledged(database_url: str, redis_url: str) -> None:
    """Where something in the database swallows rows, a 200 would be a promise that nobody keeps."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "create function swallow() returns trigger language plpgsql as 'begin return null; end';"
            "create trigger swallow before insert on webhook_events for each row execute function swallow()"
        )
    async with _opened(database_url, redis_url) as inbox:
        with pytest.raises(StoreUnreachable, match="neither new nor stored"):
            await inbox.deliver(_row("a"))


async def test_closing_finishes_what_is_in_flight(database_url: str, redis_url: str) -> None:
    """Who was let in before the node stopped is answered by what happened, and not by the end of the process."""
    with psycopg.connect(database_url) as busy:
        busy.execute("lock table webhook_events in share mode")
        async with _opened(database_url, redis_url, deadline_s=30) as inbox:
            delivering = asyncio.create_task(inbox.deliver(_row("a")))
            await asyncio.sleep(0)
            closing = asyncio.create_task(inbox.close())
            done, _ = await asyncio.wait([closing], timeout=0.5)
            assert not done
            busy.rollback()
            await closing
            assert delivering.done()
            assert await delivering == "recorded"


async def test_closing_does_not_wait_for_a_store_that_hangs(
    database_url: str, redis_url: str, eventually: Callable[..., Any]
) -> None:
    """A node that stops finishes what it promised. Waiting for a store that hangs, it would be killed."""
    with psycopg.connect(database_url) as busy:
        busy.execute("lock table webhook_events in share mode")
        began = monotonic()
        async with _opened(database_url, redis_url, deadline_s=0.3) as inbox:
            with pytest.raises(StoreUnreachable, match="no commit in time"):
                await inbox.deliver(_row("a"))
            closing = asyncio.create_task(inbox.close())
            await closing
            assert monotonic() - began < 60
            busy.rollback()
    await eventually(lambda: _states(database_url) in ([], [("a", "waiting")]), what="an end of it")
