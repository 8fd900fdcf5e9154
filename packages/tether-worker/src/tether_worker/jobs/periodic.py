"""
How periodic tasks run.

Each task is safe to run twice and on several nodes at once, so no leader is needed.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from tether_core.errors import Unavailable
from tether_stores.telemetry import logger

from tether_worker.jobs.metrics import WorkerMetrics

__all__ = ["PeriodicTask", "run_periodic_tasks"]

_log = logger("periodic")


class PeriodicTask(msgspec.Struct, frozen=True):
    """
    A periodic task.

    Attributes:
        name: For logs.
        every_s: Pause between two runs, in seconds.
        do: Runs it once.
    """

    name: str
    every_s: float
    do: Callable[[], Awaitable[object]]


async def run_periodic_tasks(
    periodic_task: PeriodicTask, *, stopping: asyncio.Event, metrics: WorkerMetrics | None = None
) -> None:
    """
    Run a periodic task repeatedly until *stop* is set.

    Args:
        periodic_task: What to do.
        stopping: Set when this process ends.
        metrics: Counts each run; `None` for nobody.
    """

    def ran(outcome: str) -> None:
        if metrics is not None:
            metrics.periodic_task_ran(periodic_task.name, outcome)

    while not stopping.is_set():
        try:
            await periodic_task.do()
            ran("done")
        except Unavailable as exc:
            ran("deferred")
            _log.warning("periodic task deferred", periodic_task=periodic_task.name, why=str(exc))
        except Exception as exc:  # noqa: BLE001 - the next time may succeed, and the other periodic tasks must go on
            ran("failed")
            _log.error("periodic task failed", periodic_task=periodic_task.name, exc_info=exc)
        try:
            await asyncio.wait_for(stopping.wait(), periodic_task.every_s)
        except TimeoutError:
            continue
