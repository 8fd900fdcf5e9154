"""
Wake-ups: the SAQ worker that takes the messages of one queue and runs the jobs they name.

It overrides only how SAQ's polls are started and stopped; docs/decisions/0004-the-queue-only-wakes.md says why.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import RedisError
from saq.worker import Worker
from tether_stores.jobs.queue import WakeUpQueue
from tether_stores.telemetry import logger

from tether_worker.jobs.run import Work, rewake, woken

__all__ = ["WakeUpWorker", "wake_up_worker"]

_log = logger("wake_ups")


class WakeUpWorker(Worker[Any]):
    """A SAQ worker without signal handlers of its own, which stops at once when nothing is being done."""

    SIGNALS: list[signal.Signals] = []  # noqa: RUF012 - SAQ's own form; several workers share this process's signals
    _is_draining: bool = False

    async def upkeep(self) -> list[asyncio.Task[None]]:
        """Start SAQ's polls; its own finish their pause before they stop, and may swallow a cancellation."""
        if self._is_draining:  # SAQ makes a new event when it starts, which nobody would set
            self.event.set()
        times = self.timers
        return [
            asyncio.create_task(self._poll(lambda: self.abort(times["abort"]), every_s=times["abort"])),
            asyncio.create_task(
                self._poll(lambda: self.schedule(times["schedule"]), every_s=times["schedule"])
            ),
            asyncio.create_task(self._poll(lambda: self.queue.sweep(times["sweep"]), every_s=times["sweep"])),
            asyncio.create_task(
                # Each sign of life of a worker lasts until the next.
                self._poll(lambda: self.worker_info(times["worker_info"] + 1), every_s=times["worker_info"])
            ),
        ]

    def drain(self) -> None:
        """Take no further wake-ups."""
        self._is_draining = True
        self.event.set()

    async def _poll(self, do: Callable[[], Awaitable[object]], *, every_s: float) -> None:
        while not self.event.is_set():
            try:
                await do()
            except (RedisError, OSError) as exc:
                _log.warning("queue maintenance deferred", queue=self.queue.name, why=type(exc).__name__)
            except Exception as exc:  # noqa: BLE001 - the next time may succeed; rows are found without any queue
                _log.error("queue maintenance failed", queue=self.queue.name, exc_info=exc)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.event.wait(), every_s)


def wake_up_worker(wake_up_queue: WakeUpQueue, works: list[Work], *, grace_s: int) -> WakeUpWorker:
    """
    The worker that runs the jobs of one queue when it is woken.

    Args:
        wake_up_queue: Open, of that queue.
        works: Its jobs.
        grace_s: How long a job may go on after the worker is stopped, in seconds.
    """
    return WakeUpWorker(
        wake_up_queue,
        functions=[(work.job.name, woken(work)) for work in works],
        concurrency=max(sum(work.job.slots for work in works), 1),
        after_process=rewake(works),
        # Wake-ups are never scheduled for later, so that poll is rare; the sweep frees a dead worker's slot.
        timers={"schedule": 60, "sweep": 15, "worker_info": 10, "abort": 5},
        dequeue_timeout=1,  # with 0 an idle slot would wait for the whole grace period
        shutdown_grace_period_s=grace_s,
    )
