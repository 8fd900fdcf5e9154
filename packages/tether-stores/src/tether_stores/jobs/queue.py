"""
Queues: wake-up queues on Redis, by SAQ.

A queue carries no work, it only signals that work waits (`tether_core.jobs`). A lost or repeated message costs one wake-up, which is
worth at most one second, so stock SAQ is enough with two changes. `WakeUpQueue` pauses before it calls an unavailable Redis again,
where SAQ 0.26.4 loops without a pause. `wake` sets every option at the call instead of SAQ's defaults (10 s, one try, results kept
for ten minutes).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from redis.exceptions import RedisError
from saq.job import Job as SaqJob
from saq.queue.redis import RedisQueue
from tether_core.errors import StoreUnreachable
from tether_core.jobs import Job, Queue, job_key

from tether_stores.queries import read_lua
from tether_stores.redis import Redis, client_of

__all__ = ["WakeUpQueue", "clear", "open_wake_up_queue", "wake", "wake_ups"]

_PAUSE_S = 0.5
_CLEAR = read_lua("clear_wake_ups")


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


async def wake_ups(client: Redis, queues: Sequence[Queue]) -> list[int]:
    """
    How many wake-ups wait on each of n queues; those that a worker has taken do not count.

    Raises:
        StoreUnreachable: when Redis is away.
    """
    try:
        async with client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(_waiting(queue)[0])
            found: list[int] = await pipe.execute()
    except (RedisError, OSError) as exc:
        raise StoreUnreachable("redis", why=type(exc).__name__) from exc
    return found


async def clear(client: Redis, queue: Queue) -> int:
    """
    Remove the wake-ups that wait on a queue; returns how many.

    No work is lost by that: rows in Postgres hold it, and workers look for due rows by themselves.

    Raises:
        StoreUnreachable: when Redis is away.
    """
    try:
        return int(await client.eval(_CLEAR, 2, *_waiting(queue)))
    except (RedisError, OSError) as exc:
        raise StoreUnreachable("redis", why=type(exc).__name__) from exc


def _waiting(queue: Queue) -> tuple[str, str]:
    # SAQ's names (`RedisQueue.namespace`); tests/stores/jobs compares them with a queue of SAQ.
    return f"saq:{queue}:queued", f"saq:{queue}:incomplete"
