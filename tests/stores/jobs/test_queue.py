"""Wake-up queues: woken once a slot, lost without harm, calm while Redis is away."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import redis as plain
from tether_core.errors import StoreUnreachable
from tether_core.jobs import WEBHOOKS
from tether_sandbox.services.server import free_port
from tether_stores.jobs.queue import clear, open_wake_up_queue, wake, wake_ups
from tether_stores.redis import open_redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services import Services


async def test_a_slot_that_wake_ups_is_not_woken_again(redis_url: str) -> None:
    """A thousand notifications a second are one wake-up. Once it was answered, the next one must get through."""
    async with open_wake_up_queue(redis_url, queue="webhooks") as wake_up_queue:
        assert [await wake(wake_up_queue, WEBHOOKS, slot=slot) for slot in (1, 1, 5, 2)] == [
            True,
            False,
            False,
            True,
        ]
        first = await wake_up_queue.dequeue(timeout=1)
        assert first is not None
        assert (first.function, first.key, first.timeout, first.retries, first.kwargs) == (
            WEBHOOKS.name,
            "drain_webhooks:1",
            WEBHOOKS.timeout_s,
            1,
            None,
        )
        assert not await wake(wake_up_queue, WEBHOOKS, slot=1)
        await wake_up_queue.finish(first, "complete")  # type: ignore[arg-type]
        assert await wake(wake_up_queue, WEBHOOKS, slot=1)


async def test_what_was_woken_leaves_nothing_behind(redis_url: str) -> None:
    """Results that nobody asks for would fill the memory of a Redis that must never evict."""
    async with open_wake_up_queue(redis_url, queue="webhooks") as wake_up_queue:
        await wake(wake_up_queue, WEBHOOKS, slot=0)
        job = await wake_up_queue.dequeue(timeout=1)
        assert job is not None
        await wake_up_queue.finish(job, "complete")  # type: ignore[arg-type]
    with plain.Redis.from_url(redis_url) as server:
        assert [key for key in server.scan_iter() if b"job" in key] == []


async def test_waking_an_unavailable_redis_is_given_up_soon(
    redis_url: str, services: Services, eventually: Callable[..., Any]
) -> None:
    """The caller writes marks after the wake-up. A hanging wake-up would delay the marks of all requests behind it."""
    async with open_wake_up_queue("redis://127.0.0.1:1", queue="webhooks", timeout_s=0.5) as wake_up_queue:
        await _gives_up(wake_up_queue, within_s=30)
    if services.redis is None:
        return
    async with open_wake_up_queue(redis_url, queue="webhooks", timeout_s=0.5) as wake_up_queue:

        async def woken() -> bool:
            await wake(wake_up_queue, WEBHOOKS, slot=0)
            return True

        await eventually(woken, what="a wake-up", despite=(StoreUnreachable,))
        with services.redis.paused():
            await _gives_up(wake_up_queue, within_s=30)
        services.redis.flush()
        await eventually(woken, what="a wake-up to one that is back", despite=(StoreUnreachable,))


async def _gives_up(wake_up_queue: object, *, within_s: float) -> None:
    began = monotonic()
    with pytest.raises(StoreUnreachable, match="Redis is not reachable"):
        await wake(wake_up_queue, WEBHOOKS, slot=1)  # type: ignore[arg-type]
    assert monotonic() - began < within_s


async def test_waiting_for_an_unavailable_redis_is_calm_and_short(
    redis_url: str, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker asks again and again.

    Without a pause it would burn a core and fill the log while Redis is away. And each wait must be over
    soon, for a worker that is told to stop waits for it.
    """
    async with open_wake_up_queue("redis://127.0.0.1:1", queue="webhooks", timeout_s=0.5) as wake_up_queue:
        began = monotonic()
        assert await wake_up_queue.dequeue(timeout=1) is None
        assert 0.4 < monotonic() - began < 60
    if services.redis:
        async with open_wake_up_queue(redis_url, queue="webhooks", timeout_s=2) as wake_up_queue:
            assert await wake_up_queue.dequeue(timeout=0.1) is None
            with services.redis.paused():
                began = monotonic()
                assert await wake_up_queue.dequeue(timeout=1) is None
                assert monotonic() - began < 60
            await wake(wake_up_queue, WEBHOOKS, slot=0)
            async with asyncio.timeout(120):
                while await wake_up_queue.dequeue(timeout=1) is None:
                    pass
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_cleared_wake_ups_are_gone_and_the_next_one_gets_through(redis_url: str) -> None:
    """A slot that stays taken after a clear would sleep until somebody flushes Redis; the names of SAQ's lists must be SAQ's."""
    async with (
        open_wake_up_queue(redis_url, queue="webhooks") as wake_up_queue,
        open_redis(redis_url, name="tests", timeout_s=20) as client,
    ):
        for slot in (1, 2, 3):
            await wake(wake_up_queue, WEBHOOKS, slot=slot)
        taken = await wake_up_queue.dequeue(timeout=1)
        assert taken is not None
        assert (
            await wake_ups(client, ["webhooks", "vop"])
            == [2, 0]
            == [
                await wake_up_queue.count("queued"),
                0,
            ]
        )
        assert await clear(client, "webhooks") == 2
        assert await wake_ups(client, ["webhooks"]) == [0]
        assert await wake_up_queue.count("incomplete") == 1  # the one that was taken
        assert await clear(client, "webhooks") == 0
        assert [await wake(wake_up_queue, WEBHOOKS, slot=slot) for slot in (1, 2)] == [False, True]


async def test_without_redis_nothing_is_cleared() -> None:
    """A person who believes that a queue is empty would look for the trouble elsewhere."""
    async with open_redis(f"redis://127.0.0.1:{free_port()}/0", name="tests") as client:
        with pytest.raises(StoreUnreachable):
            await clear(client, "webhooks")
        with pytest.raises(StoreUnreachable):
            await wake_ups(client, ["webhooks"])
