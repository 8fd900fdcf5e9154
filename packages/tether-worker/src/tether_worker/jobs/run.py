"""
Run background jobs.

A **Work** is a job with a function that processes one batch of due rows and returns how many it handled. It is started in two ways:

- by a *wake-up* on its queue: the run processes batches until no row is due;
- by *polling*: each worker looks for due rows every second or so. A lost wake-up, or no Redis at all, costs that long and nothing else.

A run that hits its time limit is restarted at once, so a job that keeps a rate has no pause between two runs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import msgspec
from tether_core.errors import Unavailable
from tether_core.jobs import Job
from tether_stores.telemetry import logger

__all__ = ["Ran", "Work", "look", "rewake", "run", "woken"]

_log = logger("work")


class Work(msgspec.Struct, frozen=True):
    """
    A job as this process runs it.

    Attributes:
        job: Its name, queue and limits.
        batch: Processes a batch of due rows and returns how many; 0 when none is due.
        has_pending: Whether any row has been due for so long that its wake-up must have been lost.
        batch_size: How many rows a batch takes where more are due; a smaller batch means that none is left for now.
    """

    job: Job
    batch: Callable[[], Awaitable[int]]
    has_pending: Callable[[], Awaitable[bool]]
    batch_size: int = 1


class Ran(msgspec.Struct, frozen=True):
    """
    The result of a run.

    Attributes:
        rows: How many were handled.
        all_done: Whether none was left for now; otherwise it hit its time limit.
    """

    rows: int
    all_done: bool


async def run(work: Work) -> Ran:
    """
    Process batches until no row is due, or the job's time for one run is over.

    Args:
        work: What to do.

    Returns:
        How far it came.

    Raises:
        Unavailable: when a store is away; rows stay as they were.
    """
    until = monotonic() + work.job.run_s
    done = 0
    while monotonic() < until:
        handled = await work.batch()
        done += handled
        if handled < work.batch_size:
            return Ran(done, all_done=True)
    return Ran(done, all_done=False)


def woken(work: Work) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """
    The SAQ function of a job.

    Args:
        work: What to do when it wakes.

    Returns:
        A coroutine function that takes SAQ's context. It never fails: what could not be done still waits.
    """

    async def wake_up(_context: dict[str, Any]) -> None:
        await _calmly(work)

    return wake_up


def rewake(works: list[Work]) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """
    What SAQ runs after each job has left the queue.

    The wake-up of a row that was committed during the last, empty batch of a run was dropped, because the job was still on the queue. The
    job is off the queue now, so one more batch either finds that row or proves that there is none.

    Args:
        works: All jobs of the queue.

    Returns:
        A coroutine function that takes SAQ's context.
    """
    by_name = {work.job.name: work for work in works}

    async def after(context: dict[str, Any]) -> None:
        await _calmly(by_name[context["job"].function])

    return after


async def look(work: Work, *, stopping: asyncio.Event) -> None:
    """Look for rows whose wake-up was lost until *stopping* is set."""
    while not stopping.is_set():
        try:
            if await work.has_pending() and await _calmly(work):
                continue
        except Unavailable as exc:
            _log.warning("poll failed", job=work.job.name, why=str(exc))
        except Exception as exc:  # noqa: BLE001 - polling must go on, or no lost wake-up is found again
            _log.error("poll failed", job=work.job.name, exc_info=exc)
        try:
            await asyncio.wait_for(stopping.wait(), work.job.look_every_s)
        except TimeoutError:
            continue


async def _calmly(work: Work) -> bool:
    """Run a job and log its errors; returns whether it hit its time limit."""
    try:
        return not (await run(work)).all_done
    except Unavailable as exc:
        _log.warning("job deferred", job=work.job.name, why=str(exc))
    except Exception as exc:  # noqa: BLE001 - one batch that fails must not end the process; the rows are still there
        _log.error("job failed", job=work.job.name, exc_info=exc)
    return False
