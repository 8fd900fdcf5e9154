"""The event feed: all committed events, in order, to any number of followers, also during outages and shutdown."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from tether_core.errors import InvalidRequest, Overloaded
from tether_core.events import AttemptStatusChanged, Event, RefundChargedBack
from tether_sandbox.services.server import free_port
from tether_stores import events
from tether_stores.postgres import connection, open_pool
from tether_web.events import feed as feeds
from tether_web.events.feed import Feed
from tether_web.http.shutdown import Shutdown, announced_by_sigterm

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tether_sandbox.services import Services
    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on this test's database."""
    async with open_pool(database_url, name="tests", max_size=4) as opened:
        yield opened


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[events.Tip]:
    """What the reader has seen so far, look by look."""
    seen: list[events.Tip] = []
    tip = events.tip

    async def watched(*args: Any, **options: Any) -> events.Tip:
        seen.append(await tip(*args, **options))
        return seen[-1]

    monkeypatch.setattr(events, "tip", watched)
    return seen


@asynccontextmanager
async def _feed(pool: Pool, **options: float) -> AsyncIterator[Feed]:
    feed = Feed(pool, **options)
    try:
        yield feed
    finally:
        await feed.close()


def _moved(number: int) -> AttemptStatusChanged:
    return AttemptStatusChanged(number, f"t-{number}", "pending", "approved", "approved")


async def _announce(pool: Pool, facts: Sequence[Event]) -> None:
    async with connection(pool) as conn:
        await events.append(conn, [(None, fact) for fact in facts], now=NOON)


class _Follower:
    """The events that one follower has received, read in the background."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self.text = b""
        self.task = asyncio.create_task(self._read(lines))

    async def _read(self, lines: AsyncIterator[bytes]) -> None:
        async for text in lines:
            self.text += text

    @property
    def ids(self) -> list[int]:
        return [int(line[4:]) for line in self.text.splitlines() if line.startswith(b"id: ")]

    def count(self, number: int) -> Callable[[], bool]:
        return lambda: len(self.ids) >= number or self.task.done()


async def _follow(feed: Feed, after: int | None = 0, **options: Any) -> _Follower:
    return _Follower(feed.stream(await feed.opened(after), **options))


async def test_a_smaller_id_that_is_committed_later_is_not_skipped(
    pool: Pool, looks: list[events.Tip], eventually: Callable[..., Any]
) -> None:
    """A follower that got event 2 continues after 2; an event 1 that becomes visible later would be lost."""
    async with _feed(pool) as feed, pool.connection() as slow:
        follower = await _follow(feed)
        async with slow.transaction():
            await events.append(slow, [(None, _moved(1))], now=NOON)
            await _announce(pool, [_moved(2)])
            await eventually(lambda: looks[-1].id == 2, what="a look that began after it")
            looks.clear()
            await eventually(lambda: len(looks) >= 3, what="looks of the reader")
            assert {look.id for look in looks} == {2}
            assert all(look.writing for look in looks)
            assert follower.ids == []
        await eventually(follower.count(2), what="both events")
        assert follower.ids == [1, 2]


async def test_writers_that_never_pause_hold_nothing_back(
    pool: Pool, looks: list[events.Tip], eventually: Callable[..., Any]
) -> None:
    """On a busy day some transaction is always writing; a feed that waits for a quiet time would wait until the evening."""
    async with _feed(pool) as feed, pool.connection() as conn, pool.connection() as other:
        follower = await _follow(feed)
        async with other.transaction():
            async with conn.transaction():
                await events.append(conn, [(None, _moved(1))], now=NOON)
                await _announce(pool, [_moved(2)])
                await eventually(lambda: looks[-1].id == 2, what="a look of the reader")
                await events.append(other, [(None, _moved(3))], now=NOON)
            await eventually(follower.count(2), what="the events before the one that is being written")
            assert follower.ids == [1, 2]
        await eventually(follower.count(3), what="the last one")


async def test_followers_share_one_reader_and_resume_where_they_were(
    pool: Pool, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node with a hundred dashboards must not ask Postgres a hundred times; one that was away must miss nothing."""
    read = []
    between = events.between

    async def counted(*args: Any, **options: Any) -> Any:
        read.append(options)
        return await between(*args, **options)

    monkeypatch.setattr(events, "between", counted)
    monkeypatch.setattr(feeds, "_PAGE", 7)
    monkeypatch.setattr(feeds, "_BUFFER_MAX", 20)
    async with _feed(pool) as feed:
        many = [await _follow(feed, None) for _ in range(20)]
        await _announce(pool, [_moved(n) for n in range(1, 11)])
        await eventually(lambda: all(item.count(10)() for item in many), what="ten events each")
        assert {tuple(item.ids) for item in many} == {tuple(range(1, 11))}
        assert len(read) == 2  # one page and the rest of the ten, for any number of followers
        await _announce(pool, [_moved(n) for n in range(11, 61)])
        late, partly = await _follow(feed, 0), await _follow(feed, 33)
        await eventually(lambda: late.count(60)() and partly.count(27)(), what="what they missed")
        await eventually(lambda: all(item.count(60)() for item in many), what="sixty events each")
        assert late.ids == list(range(1, 61))
        assert partly.ids == list(range(34, 61))
        assert {tuple(item.ids) for item in many} == {tuple(range(1, 61))}
        assert len(feed._buffer) == 20


async def test_types_can_be_chosen_live_and_from_the_past(pool: Pool, eventually: Callable[..., Any]) -> None:
    """A follower of double refunds must not read a million approvals, nor miss one event."""
    facts = [RefundChargedBack(n) if n % 5 == 0 else _moved(n) for n in range(1, 21)]
    async with _feed(pool) as feed:
        live = await _follow(feed, None, names=["refund.charged_back"])
        await _announce(pool, facts)
        await eventually(live.count(4), what="four events")
        past = await _follow(feed, 0, names=["refund.charged_back"])
        await eventually(past.count(4), what="four events")
        assert live.ids == past.ids == [5, 10, 15, 20]


async def test_a_quiet_stream_says_that_it_lives_and_ends_in_time(pool: Pool) -> None:
    """A proxy cuts what is silent; a stream without end would stay on an old node for ever."""
    async with _feed(pool, heartbeat_s=0.05, life_s=0.5) as feed:
        follower = await _follow(feed, None)
        await asyncio.wait_for(follower.task, 120)
        assert follower.text.startswith(b"retry: 2000\n\n:\n\n")
        assert follower.ids == []


async def test_an_id_that_was_never_given_is_refused(pool: Pool) -> None:
    """After a restore from a backup a follower may be ahead of us; it would wait in silence for what it has had already."""
    async with _feed(pool) as feed:
        with pytest.raises(InvalidRequest, match="use after=0"):
            await feed.opened(1)


async def test_followers_of_one_process_are_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that opens streams in a loop must not take the node from everybody else."""
    monkeypatch.setattr(feeds, "_FOLLOWERS_MAX", 1)
    async with _feed(pool) as feed:
        lines = feed.stream(await feed.opened(None))
        assert await anext(lines) == b"retry: 2000\n\n"
        with pytest.raises(Overloaded, match="1 followers"):
            await feed.opened(None)
        await lines.aclose()  # type: ignore[attr-defined]
        assert await feed.opened(None) == 0


async def test_followers_wait_while_postgres_is_unavailable(
    pool: Pool, services: Services, eventually: Callable[..., Any]
) -> None:
    """An outage must not end in a gap, nor in an error page that a browser never comes back from."""
    async with _feed(pool, heartbeat_s=0.1) as feed:
        follower = await _follow(feed, None)
        await _announce(pool, [_moved(1)])
        await eventually(follower.count(1), what="the first event")
        if services.postgres is not None:
            services.postgres.stop()
            heard = len(follower.text)
            await eventually(lambda: len(follower.text) > heard, what="a sign of life")
            services.postgres.start()

        async def announced() -> bool:
            await _announce(pool, [_moved(2)])
            return True

        await eventually(announced, what="Postgres", despite=(Exception,))
        await eventually(follower.count(2), what="the second event")
        assert not follower.task.done()
        assert follower.ids == [1, 2]


async def test_sigterm_ends_the_streams_and_does_what_it_did_before(pool: Pool) -> None:
    """The server's own handling of the signal must not be lost by ours, and comes after the end was announced."""
    received: asyncio.Queue[int] = asyncio.Queue()
    before = signal.signal(signal.SIGTERM, lambda number, _: received.put_nowait(number))
    shutdown = Shutdown()
    try:
        async with _feed(pool) as feed:
            with announced_by_sigterm(shutdown, drain=feed.drain):
                follower = await _follow(feed, None)
                os.kill(os.getpid(), signal.SIGTERM)
                await asyncio.wait_for(follower.task, 120)
                assert shutdown.announced
                assert [text async for text in feed.stream(await feed.opened(None))] == [b"retry: 2000\n\n"]
                assert await asyncio.wait_for(received.get(), 120) == signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_streams_opened_all_at_once_share_one_look_or_learn_that_there_are_too_many(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a deploy all followers come back together. A wrong cause sends people to look at a database that is well."""
    monkeypatch.setattr(feeds, "_FOLLOWERS_MAX", 200)
    async with _feed(pool) as feed:
        opened = await asyncio.gather(*(feed.opened(None) for _ in range(230)), return_exceptions=True)
    assert [position for position in opened if not isinstance(position, BaseException)] == [0] * 200
    refused = [problem for problem in opened if isinstance(problem, BaseException)]
    assert {str(problem) for problem in refused} == {
        "200 followers are waiting already; send this request again in 2 s."
    }


def test_an_open_stream_does_not_hold_up_the_end_of_a_node(
    environment: dict[str, str], process: Launch, database_url: str
) -> None:
    """Without the drain a deploy would wait for the whole grace period of each node with followers, and then kill it."""
    port = free_port()
    web = process("tether-web", "--port", str(port), "--grace", "300", environ=environment)
    web.await_url(f"http://127.0.0.1:{port}/ready")
    headers = {"Authorization": "Bearer test-key", "Last-Event-ID": "0"}
    with httpx.stream(
        "GET", f"http://127.0.0.1:{port}/api/events?after=9", headers=headers, timeout=60, trust_env=False
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        lines = answer.iter_lines()
        assert [next(lines), next(lines)] == ["retry: 2000", ""]
        with psycopg.connect(database_url) as conn:
            conn.execute(
                "insert into outbox (name, version, payload, occurred_at) values (%s, 1, %s, %s)",
                ["refund.charged_back", b'{"event":"refund.charged_back.1","attempt_id":3}', NOON],
            )
        assert [next(lines), next(lines)] == ["id: 1", "event: refund.charged_back"]
        assert json.loads(next(lines).removeprefix("data: ")) == {
            "id": 1,
            "occurred_at": "2026-03-02T12:00:00Z",
            "webhook_event_id": None,
            "fact": {"event": "refund.charged_back.1", "attempt_id": 3},
        }
        web.signal(signal.SIGTERM)
        assert list(lines) == [""]  # the end of the event, and a proper end of the answer
    assert web.wait() == 0
