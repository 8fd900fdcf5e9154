"""Redis as what may be forgotten: quick when it is there, quickly given up when it is not."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import redis as plain
import uvloop
from tether_core.errors import StoreUnreachable
from tether_stores.redis import MARK_TTL_S, answers, mark_seen, open_redis, seen, warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services import Services

PATIENT_S = 20.0  # for a reply, where it is not its time that is tested: the machine may be busy
MARKS = [("e1", b"key-%d" % n, b"content-%d" % n) for n in range(300)]


@pytest.fixture
def server(redis_url: str) -> Iterator[plain.Redis]:
    """A client of another kind, to look from the side."""
    with plain.Redis.from_url(redis_url) as client:
        yield client


async def test_what_was_marked_is_remembered_for_a_day(redis_url: str, server: plain.Redis) -> None:
    """The gateway repeats for hours, people press "resend" a day later.

    A mark without end would fill the memory.
    """
    async with open_redis(redis_url, name="tests", timeout_s=PATIENT_S) as client:
        await mark_seen(client, MARKS)
        keys = [b"unheard-of", *(key for _, key, _ in MARKS)]
        assert await seen(client, keys, history="e1") == [None, *(content for _, _, content in MARKS)]
        assert await seen(client, keys, history="e2") == [None] * len(keys)
    ttls = {int(server.ttl(key)) for key in server.scan_iter()}
    assert MARK_TTL_S - 60 < min(ttls) <= max(ttls) <= MARK_TTL_S == 86_400


async def test_many_keys_are_one_round_trip(redis_url: str, server: plain.Redis) -> None:
    """All waiting requests look together. A command for each would make looking dearer than the database."""
    async with open_redis(redis_url, name="tests", timeout_s=PATIENT_S) as client:
        await seen(client, [b"first"], history="e1")  # connects
        server.config_resetstat()
        await mark_seen(client, MARKS)
        await seen(client, [key for _, key, _ in MARKS], history="e1")
    result = server.info("commandstats")
    calls = {name: stat["calls"] for name, stat in result.items()}
    assert (calls["cmdstat_mget"], calls["cmdstat_eval"]) == (1, 1)


def test_a_connection_that_was_closed_a_timestamp_ago_costs_nobody_an_answer(redis_url: str) -> None:
    """The loop of our programs calls that a RuntimeError, which would pass for an internal error; found by the chaos test."""

    async def closed_between_two_looks() -> list[bytes | None]:
        async with open_redis(redis_url, name="tests", timeout_s=PATIENT_S) as client:
            await mark_seen(client, MARKS[:1])
            pool: Any = client.connection_pool
            connection = await pool.get_connection()
            await pool.release(connection)
            connection._writer.transport.abort()
            return await seen(client, [MARKS[0][1]], history="e1")

    assert uvloop.run(closed_between_two_looks()) == [MARKS[0][2]]


async def test_a_redis_that_is_down_or_frozen_is_given_up_within_a_second(
    redis_url: str, services: Services, eventually: Callable[..., Any]
) -> None:
    """Redis is a shortcut: when it takes longer than the way it shortens, the way must be taken."""
    if services.redis is None:
        return await _away("redis://127.0.0.1:1/0")

    async def remembered() -> bool:
        return await seen(client, [b"key-0"], history="e1") == [b"content-0"]

    async with open_redis(redis_url, name="tests", timeout_s=PATIENT_S) as patient:
        await mark_seen(patient, MARKS[:1])
    async with open_redis(redis_url, name="tests") as client:
        await eventually(remembered, what="the mark", despite=(StoreUnreachable,))
        with services.redis.paused():
            await _fails_quickly(client)
        await eventually(remembered, what="the mark", despite=(StoreUnreachable,))
        services.redis.stop()
        await _fails_quickly(client)
        services.redis.start()
        await eventually(remembered, what="the mark", despite=(StoreUnreachable,))
        await eventually(lambda: answers(client), what="an answer")
    return None


async def _away(url: str) -> None:
    async with open_redis(url, name="tests") as client:
        await _fails_quickly(client)


async def _fails_quickly(client: plain.asyncio.Redis) -> None:
    for attempt in (seen(client, [b"key"], history="e1"), mark_seen(client, MARKS[:1])):
        began = monotonic()
        with pytest.raises(StoreUnreachable, match=r"^Redis is not reachable \(\w+\)") as raised:
            await attempt
        assert monotonic() - began < 30  # its own limit is a quarter of a second; without it, minutes
        assert "@" not in str(raised.value)
    assert not await answers(client)


async def test_a_restarted_redis_costs_no_call(redis_url: str, services: Services) -> None:
    """Idle connections die with a restart; the next call must get through on a new one, without an error."""
    async with open_redis(redis_url, name="tests", timeout_s=PATIENT_S) as client:
        await mark_seen(client, MARKS[:1])
        if services.redis:
            services.redis.restart()
        assert await seen(client, [b"key-0"], history="e1") == [b"content-0"]


async def test_a_setup_that_loses_work_is_complained_about(redis_url: str, server: plain.Redis) -> None:
    """A Redis that evicts keys drops queued work without a word.

    The operator must see a warning at the start.
    """
    async with open_redis(redis_url, name="tests", timeout_s=PATIENT_S) as client:
        before = server.config_get("maxmemory-policy")
        assert await warnings(client) == []
        try:
            server.config_set("maxmemory-policy", "allkeys-lru")
            server.config_set("appendonly", "no")
            evicts, forgets = await warnings(client)
        finally:
            server.config_set("maxmemory-policy", str(before["maxmemory-policy"]))
            server.config_set("appendonly", "yes")
    assert "maxmemory-policy allkeys-lru" in evicts
    assert "append-only" in forgets


async def test_a_redis_that_tells_nothing_is_not_complained_about(
    redis_url: str, server: plain.Redis
) -> None:
    """Hosted ones forbid CONFIG; that is no reason for an alarm at every start, nor for not starting."""
    server.acl_setuser("plain", enabled=True, passwords=["+pass"], keys=["*"], commands=["+@all", "-config"])
    try:
        host = redis_url.rpartition("@")[2]
        async with open_redis(f"redis://plain:pass@{host}", name="tests", timeout_s=PATIENT_S) as client:
            assert await answers(client)
            assert await warnings(client) == []
    finally:
        server.acl_deluser("plain")
    async with open_redis("redis://127.0.0.1:1", name="tests") as client:
        assert await warnings(client) == []
