"""
How every kind of background work runs.

A **Work** is a kind of job and a function that does one batch of it: take some waiting rows, do them, commit, say how
many there were. The same function is run in two ways, and nobody needs to know which:

- *woken*: a wake-up on the queue starts a run, which takes batches until nothing waits;
- *looked*: each worker looks at the rows by itself every so often, so a wake-up that was lost, or a Redis that is
  gone altogether, costs a second or two and nothing else. A run that ends because its time is over, and not its rows, is
  followed by the next look at once: work that is to keep a rate has no pause between two runs.
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
    One kind of work as this process does it.

    Attributes:
        job: Its name, queue and limits.
        batch: Does some waiting rows and gives how many; 0 when none waits.
        has_pending: Whether any row has waited so long that its wake-up must have been lost.
        batch_size: How many rows a batch takes where more wait; a smaller one says that none is left for now.
    """

    job: Job
    batch: Callable[[], Awaitable[int]]
    has_pending: Callable[[], Awaitable[bool]]
    batch_size: int = 1


class Ran(msgspec.Struct, frozen=True):
    """
    What a run has done.

    Attributes:
        rows: How many.
        all_done: Whether none was left for now; otherwise its time was over.
    """

    rows: int
    all_done: bool


async def run(work: Work) -> Ran:
    """
    Take batches until nothing waits, or the job's time for one run is over.

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
    The SAQ function of a kind of work.

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

    A row committed while its slot's job was at its last, empty batch found the wake-up queue still waking and woke
    for nothing. The job is off the queue now, so one more batch either finds that row or proves there is none.

    Args:
        works: All kinds of work of the queue.

    Returns:
        A coroutine function that takes SAQ's context.
    """
    by_name = {work.job.name: work for work in works}

    async def after(context: dict[str, Any]) -> None:
        await _calmly(by_name[context["job"].function])

    return after


async def look(work: Work, *, stopping: asyncio.Event) -> None:
    """
    Look for rows whose wake-up was lost, until told to stop.

    Args:
        work: What to look for.
        stopping: Set when this process ends.
    """
    while not stopping.is_set():
        try:
            if await work.has_pending() and await _calmly(work):
                continue
        except Unavailable as exc:
            _log.warning("poll failed", job=work.job.name, why=str(exc))
        except Exception as exc:  # noqa: BLE001 - who stopped looking would never find a lost wake-up again
            _log.error("poll failed", job=work.job.name, exc_info=exc)
        try:
            await asyncio.wait_for(stopping.wait(), work.job.look_every_s)
        except TimeoutError:
            continue


async def _calmly(work: Work) -> bool:
    """Run, whatever happens; gives whether its time was over before its rows were."""
    try:
        return not (await run(work)).all_done
    except Unavailable as exc:
        _log.warning("work deferred", job=work.job.name, why=str(exc))
    except Exception as exc:  # noqa: BLE001 - one batch that fails must not end the process; the rows are still there
        _log.error("work failed", job=work.job.name, exc_info=exc)
    return False
