"""A worker process: it runs the jobs and periodic tasks of its queues until it is stopped."""

import asyncio
import contextlib
import os
import platform
import secrets
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from tether_core import __version__
from tether_core.clock_steps import ClockStep
from tether_core.errors import Unavailable
from tether_core.jobs import Queue
from tether_core.scaling import LIVE_S
from tether_stores import redis
from tether_stores.boot_clock import boot_clock
from tether_stores.clock import SharedClock
from tether_stores.database_epoch.watch import Watch
from tether_stores.fingerprint_key import observe_at_start
from tether_stores.jobs.queue import open_wake_up_queue
from tether_stores.objects import open_objects
from tether_stores.postgres import open_pool
from tether_stores.settings import Settings
from tether_stores.telemetry import logger
from tether_stores.workers import Worker as WorkerRow

from tether_worker.app import Clock, WorkerNode, all_work
from tether_worker.jobs.activity import Activities, observed
from tether_worker.jobs.gates import Gates
from tether_worker.jobs.metrics import WorkerMetrics
from tether_worker.jobs.periodic import run_periodic_tasks
from tether_worker.jobs.probes import probes
from tether_worker.jobs.run import look
from tether_worker.jobs.wake_ups import wake_up_worker
from tether_worker.workers import Presence

__all__ = ["Supervised", "work_until_stopped"]

_log = logger("process")

# SAQ cancels what it woke after the grace period, and waits a second for that.
_QUEUES_END_S: Final = 2.0
# How long a cancelled task may clean up, and how often it is cancelled.
_CANCELLED_S: Final = 3.0
_CANCELLATIONS_MAX: Final = 3


class Supervised(msgspec.Struct, frozen=True):
    """
    What a supervisor gives to a worker that it starts.

    Attributes:
        supervisor_id: The supervisor's row.
        worker_id: The worker's row.
        pool: The worker's pool.
        slot: The name of the worker's files of metrics.
    """

    supervisor_id: str
    worker_id: str
    pool: str
    slot: str


async def work_until_stopped(
    settings: Settings,
    *,
    queues: Sequence[Queue],
    grace_s: int,
    own_clock: Clock = lambda: datetime.now(UTC),
    supervised: Supervised | None = None,
) -> bool:
    """
    Run the jobs of some queues until SIGTERM or SIGINT, or until a person orders a restart.

    Args:
        queues: Which queues; see `tether_core.jobs.Queue`.
        grace_s: How long work in progress may take to end after the signal, in seconds.
        own_clock: This machine's clock, aware, UTC; all nodes go by that of Postgres.
        supervised: Of the supervisor that started this process; `None` for none.

    Returns:
        Whether a person ordered a restart.
    """
    queues = list(dict.fromkeys(queues))
    metrics = WorkerMetrics(slot=supervised.slot if supervised else None)
    gates, activities = Gates(queues), Activities(queues)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(
                settings.database_url,
                name="tether-worker",
                max_size=settings.database_pool_max,
                wait_s=settings.database_pool_wait_s,
                prepared=settings.database_prepared,
            )
        )
        steps = deque[ClockStep](maxlen=100)
        clock = SharedClock(own_clock, boot=boot_clock(), on_step=steps.append)
        await stack.enter_async_context(clock.kept(pool))
        cache = await stack.enter_async_context(redis.open_redis(settings.redis_url, name="tether-worker"))
        await _warn(settings, cache)
        with contextlib.suppress(Unavailable):  # each use of the key checks it again
            await observe_at_start(pool, settings.fingerprint_key.encode())
        watch = Watch(
            cache=cache,
            store=open_objects(settings) if settings.aws_bucket or settings.objects_dir else None,
            clock=clock,
            token=lambda: secrets.token_hex(16),
            is_pulsing="billing" in queues,
        )
        await stack.enter_async_context(watch.kept(pool))
        stopping = asyncio.Event()
        presence = Presence(
            pool,
            _row(queues, supervised),
            gates=gates,
            activities=activities,
            metrics=metrics,
            clock=clock,
            restart=stopping.set,
        )
        works, periodic_tasks = await all_work(
            stack,
            settings,
            pool,
            cache,
            node=WorkerNode(queues, clock, boot_clock(), watch, gates, metrics, steps),
        )
        works = [observed(work, gates=gates, activities=activities, metrics=metrics) for work in works]
        workers = [
            wake_up_worker(
                await stack.enter_async_context(open_wake_up_queue(settings.redis_url, queue=queue)),
                [work for work in works if work.job.queue == queue],
                grace_s=grace_s,
            )
            for queue in queues
        ]
        _stop_on_signal(stopping)
        await stack.enter_async_context(presence.kept())
        if supervised is None:
            await stack.enter_async_context(
                probes(
                    settings.worker_listen,
                    health=lambda: _health(presence, queues=queues, clock=clock),
                    metrics=_rendered(metrics),
                )
            )
        _log.info("worker started", queues=queues)
        running = [
            *(asyncio.create_task(worker.start()) for worker in workers),
            *(asyncio.create_task(look(work, stopping=stopping)) for work in works),
            *(
                asyncio.create_task(run_periodic_tasks(periodic_task, stopping=stopping, metrics=metrics))
                for periodic_task in periodic_tasks
            ),
        ]
        await stopping.wait()
        _log.info("worker stopping", grace_s=grace_s)
        gates.end()
        presence.stop()
        for worker in workers:
            worker.drain()
        await _ended(running, grace_s=grace_s)
    _log.info("worker stopped")
    return presence.is_restarted


async def _ended(running: Sequence["asyncio.Task[None]"], *, grace_s: int) -> None:
    """Wait for work in progress, and cancel what takes longer; its rows become due again when their leases expire."""
    _, late = await asyncio.wait(running, timeout=grace_s + _QUEUES_END_S)
    for _ in range(_CANCELLATIONS_MAX):  # a library may swallow one
        if not late:
            break
        _log.warning("work cancelled: it took longer than the grace period", tasks=len(late))
        for task in late:
            task.cancel()
        _, late = await asyncio.wait(late, timeout=_CANCELLED_S)
    for task in running:
        if task.done() and not task.cancelled():
            task.result()


def _row(queues: list[Queue], supervised: Supervised | None) -> WorkerRow:
    never = datetime.min.replace(tzinfo=UTC)
    return WorkerRow(
        id=supervised.worker_id if supervised else secrets.token_hex(8),
        supervisor_id=supervised.supervisor_id if supervised else None,
        pool=supervised.pool if supervised else "",
        host=platform.node(),
        pid=os.getpid(),
        version=__version__,
        queues=queues,
        state="running",
        memory_bytes=0,
        activity={},
        started_at=never,
        seen_at=never,
    )


def _health(presence: Presence, *, queues: list[Queue], clock: Clock) -> tuple[bool, dict[str, Any]]:
    """Whether this worker does its work: it wrote its row lately, so it reaches Postgres and its loop turns."""
    age_s: float | None = None
    with contextlib.suppress(Unavailable):  # a clock that was never compared
        age_s = None if presence.written_at is None else (clock() - presence.written_at).total_seconds()
    facts = {
        "version": __version__,
        "queues": queues,
        "paused": presence.paused,
        "postgres_answered_s_ago": age_s,
    }
    return age_s is not None and age_s < LIVE_S, facts


def _rendered(metrics: WorkerMetrics) -> Callable[[], Awaitable[bytes]]:
    async def rendered() -> bytes:
        return metrics.rendered()

    return rendered


def _stop_on_signal(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)


async def _warn(settings: Settings, cache: Redis) -> None:
    for warning in (*settings.warnings, *await redis.warnings(cache)):
        _log.error(warning)
    if settings.policy.confirm == "off":
        _log.warning(
            "notifications are not confirmed by a status inquiry: "
            + (
                "EMP_CONFIRM is off"
                if settings.gateway_can_be_inquired
                else "EMP_API_URL or its credentials are not set"
            )
        )
