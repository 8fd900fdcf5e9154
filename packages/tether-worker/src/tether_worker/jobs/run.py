"""
Run background jobs.

A **Work** is a job with a function that processes one batch of due rows and returns how many it handled. It is started in two ways:

- by a *wake-up* on its queue: the run processes batches until no row is due;
- by *polling*: each worker looks for due rows every second or so. A lost wake-up, or no Redis at all, costs that long and nothing else.

A run that hits its time limit is restarted at once, so a job that keeps a rate has no pause between two runs.

Where rows come all the time, a wake-up for every few of them costs more than the rows. A job may have a **pause**: a run that found fewer
rows than a batch takes waits that long and looks once more, until it finds none. Wake-ups that come during a pause have nothing to do.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import msgspec
from tether_core.errors import Unavailable
from tether_core.jobs import Job
from tether_stores.telemetry import logger

__all__ = ["BatchPause", "Ran", "Work", "look", "rewake", "run", "woken"]

_log = logger("work")


class BatchPause(msgspec.Struct):
    """
    The pause of a job's runs in this process.

    Attributes:
        lasts_s: How long it lasts, in seconds.
        is_on: Whether a run pauses now; it looks for all rows that are committed until its pause ends.
    """

    lasts_s: float
    is_on: bool = False


class Work(msgspec.Struct, frozen=True):
    """
    A job as this process runs it.

    Attributes:
        job: Its name, queue and limits.
        batch: Processes a batch of due rows and returns how many; 0 when none is due.
        has_pending: Whether any row has been due for so long that its wake-up must have been lost.
        batch_size: How many rows a batch takes where more are due; a smaller batch means that none is left for now.
        pause: After a smaller batch, before one more; `None` to end the run.
    """

    job: Job
    batch: Callable[[], Awaitable[int]]
    has_pending: Callable[[], Awaitable[bool]]
    batch_size: int = 1
    pause: BatchPause | None = None


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
    pause = work.pause
    if pause is not None and pause.is_on:
        return Ran(0, all_done=True)
    until = monotonic() + work.job.run_s
    done = 0
    while True:
        handled = await work.batch()
        done += handled
        is_over = monotonic() >= until
        if handled >= work.batch_size:
            if is_over:
                return Ran(done, all_done=False)
            continue
        if pause is None or pause.is_on or is_over or not handled:
            return Ran(done, all_done=True)
        pause.is_on = True
        try:
            await asyncio.sleep(pause.lasts_s)
        finally:
            pause.is_on = False


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
