"""Doorbells: rung once a lane, lost without harm, calm while Redis is away."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import redis as plain
from tether_core.errors import StoreUnreachable
from tether_core.jobs import WEBHOOKS
from tether_stores.jobs.queue import open_doorbell, ring

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services import Services


async def test_a_lane_that_rings_is_not_rung_again(redis_url: str) -> None:
    """A thousand notifications a second are one ring. Once it was answered, the next one must get through."""
    async with open_doorbell(redis_url, queue="webhooks") as doorbell:
        assert [await ring(doorbell, WEBHOOKS, lane=lane) for lane in (1, 1, 5, 2)] == [
            True,
            False,
            False,
            True,
        ]
        first = await doorbell.dequeue(timeout=1)
        assert first is not None
        assert (first.function, first.key, first.timeout, first.retries, first.kwargs) == (
            WEBHOOKS.name,
            "drain_webhooks:1",
            WEBHOOKS.timeout_s,
            1,
            None,
        )
        assert not await ring(doorbell, WEBHOOKS, lane=1)
        await doorbell.finish(first, "complete")  # type: ignore[arg-type]
        assert await ring(doorbell, WEBHOOKS, lane=1)


async def test_what_was_rung_leaves_nothing_behind(redis_url: str) -> None:
    """Results that nobody asks for would fill the memory of a Redis that must never evict."""
    async with open_doorbell(redis_url, queue="webhooks") as doorbell:
        await ring(doorbell, WEBHOOKS, lane=0)
        job = await doorbell.dequeue(timeout=1)
        assert job is not None
        await doorbell.finish(job, "complete")  # type: ignore[arg-type]
    with plain.Redis.from_url(redis_url) as server:
        assert [key for key in server.scan_iter() if b"job" in key] == []


async def test_ringing_a_redis_that_is_away_is_given_up_soon(
    redis_url: str, services: Services, eventually: Callable[..., Any]
) -> None:
    """Whoever rings has marks to write next. Hanging on would keep those of everybody behind it."""
    async with open_doorbell("redis://127.0.0.1:1", queue="webhooks", timeout_s=0.5) as doorbell:
        await _gives_up(doorbell, within_s=5)
    if services.redis is None:
        return
    async with open_doorbell(redis_url, queue="webhooks", timeout_s=0.5) as doorbell:

        async def rung() -> bool:
            await ring(doorbell, WEBHOOKS, lane=0)
            return True

        await eventually(rung, what="a ring", despite=(StoreUnreachable,))
        with services.redis.paused():
            await _gives_up(doorbell, within_s=5)
        services.redis.flush()
        await eventually(rung, what="a ring to one that is back", despite=(StoreUnreachable,))


async def _gives_up(doorbell: object, *, within_s: float) -> None:
    began = monotonic()
    with pytest.raises(StoreUnreachable, match="redis is not reachable"):
        await ring(doorbell, WEBHOOKS, lane=1)  # type: ignore[arg-type]
    assert monotonic() - began < within_s


async def test_waiting_for_a_redis_that_is_away_is_calm_and_short(
    redis_url: str, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker asks again and again.

    Without a pause it would burn a core and fill the log while Redis is away. And each wait must be over
    soon, for a worker that is told to stop waits for it.
    """
    async with open_doorbell("redis://127.0.0.1:1", queue="webhooks", timeout_s=0.5) as doorbell:
        began = monotonic()
        assert await doorbell.dequeue(timeout=1) is None
        assert 0.4 < monotonic() - began < 10
    if services.redis:
        async with open_doorbell(redis_url, queue="webhooks", timeout_s=2) as doorbell:
            assert await doorbell.dequeue(timeout=0.1) is None
            with services.redis.paused():
                began = monotonic()
                assert await doorbell.dequeue(timeout=1) is None
                assert monotonic() - began < 15
            await ring(doorbell, WEBHOOKS, lane=0)
            async with asyncio.timeout(30):
                while await doorbell.dequeue(timeout=1) is None:
                    pass
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
