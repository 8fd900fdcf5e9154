"""
Queues: wake-up queues on Redis, by SAQ.

A queue carries no work, it only signals that work waits (`tether_core.jobs`). A lost or repeated message costs one wake-up, which is
worth at most one second, so stock SAQ is enough with two changes. `WakeUpQueue` pauses before it calls an unavailable Redis again,
where SAQ 0.26.4 loops without a pause. `wake` sets every option at the call instead of SAQ's defaults (10 s, one try, results kept
for ten minutes).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError
from saq.job import Job as SaqJob
from saq.queue.redis import RedisQueue
from tether_core.errors import StoreUnreachable
from tether_core.jobs import Job, job_key

from tether_stores.redis import client_of

__all__ = ["WakeUpQueue", "open_wake_up_queue", "wake"]

_PAUSE_S = 0.5


class WakeUpQueue(RedisQueue):
    """A SAQ queue on Redis that pauses between calls while Redis is unavailable."""

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> SaqJob | None:  # noqa: ASYNC109 - SAQ's signature
        """Wait for a wake-up, at most *timeout* seconds; `None` when there was none or Redis is away."""
        try:
            return await super().dequeue(timeout, poll_interval)
        except (RedisError, OSError):
            await asyncio.sleep(_PAUSE_S)
            return None


@asynccontextmanager
async def open_wake_up_queue(
    redis_url: str, *, queue: str, timeout_s: float = 5.0
) -> AsyncIterator[WakeUpQueue]:
    """
    A wake-up queue for the life of a process; it connects when first used.

    Args:
        redis_url: The server.
        queue: A name of `tether_core.jobs.Queue`.
        timeout_s: For each reply, in seconds; a client that waits for wake-ups needs more than the second a wait takes.

    Yields:
        The wake-up queue.
    """
    client = client_of(
        redis_url,
        client_name=f"tether-{queue}",
        socket_timeout=timeout_s,
        socket_connect_timeout=min(timeout_s, 2.0),
        health_check_interval=15,
    )
    wake_up_queue = WakeUpQueue(client, name=queue)
    try:
        yield wake_up_queue
    finally:
        await client.aclose()


async def wake(wake_up_queue: WakeUpQueue, job: Job, *, slot: int) -> bool:
    """
    Say that work of a kind waits.

    Args:
        wake_up_queue: Of the job's queue.
        job: The kind of work.
        slot: Any whole number; see `tether_core.jobs`.

    Returns:
        Whether the wake-up was new; `False` when one of this slot waits or runs already.

    Raises:
        StoreUnreachable: when Redis is away. The work is not lost: workers look by themselves.
    """
    try:
        woken = await wake_up_queue.enqueue(
            job.name,
            key=job_key(job, slot=slot),
            timeout=job.timeout_s,
            retries=1,  # a wake-up that failed is not woken again: the next look finds the row
            ttl=-1,  # nothing to keep of a wake-up that is done
        )
    except (RedisError, OSError) as exc:
        raise StoreUnreachable("redis", why=type(exc).__name__) from exc
    return woken is not None
