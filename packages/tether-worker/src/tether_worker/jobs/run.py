"""
How every kind of background work runs.

A **Work** is a kind of job and a function that does one bite of it: take some waiting rows, do them, commit, say how
many there were. The same function is run in two ways, and nobody needs to know which:

- *rung*: a ring on the queue starts a run, which takes bites until nothing waits;
- *looked*: each worker looks at the rows by itself every so often, so a ring that was lost, or a Redis that is
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

__all__ = ["Ran", "Work", "look", "run", "rung", "rung_off"]

_log = logger("work")


class Work(msgspec.Struct, frozen=True):
    """
    One kind of work as this process does it.

    Attributes:
        job: Its name, queue and limits.
        bite: Does some waiting rows and gives how many; 0 when none waits.
        waits: Whether any row has waited so long that its ring must have been lost.
        bite_max: How many rows a bite takes where more wait; a smaller one says that none is left for now.
    """

    job: Job
    bite: Callable[[], Awaitable[int]]
    waits: Callable[[], Awaitable[bool]]
    bite_max: int = 1


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
    Take bites until nothing waits, or the job's time for one run is over.

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
        bitten = await work.bite()
        done += bitten
        if bitten < work.bite_max:
            return Ran(done, all_done=True)
    return Ran(done, all_done=False)


def rung(work: Work) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """
    The SAQ function of a kind of work.

    Args:
        work: What to do when it rings.

    Returns:
        A coroutine function that takes SAQ's context. It never fails: what could not be done still waits.
    """

    async def ring(_context: dict[str, Any]) -> None:
        await _calmly(work)

    return ring


def rung_off(works: list[Work]) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """
    What SAQ runs after each job has left the queue.

    A row committed while its lane's job was at its last, empty bite found the doorbell still ringing and rang
    for nothing. The job is off the queue now, so one more bite either finds that row or proves there is none.

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
    Look for rows whose ring was lost, until told to stop.

    Args:
        work: What to look for.
        stopping: Set when this process ends.
    """
    while not stopping.is_set():
        try:
            if await work.waits() and await _calmly(work):
                continue
        except Unavailable as problem:
            _log.warning("cannot look for work", job=work.job.name, why=str(problem))
        except Exception as problem:  # noqa: BLE001 - who stopped looking would never find a lost ring again
            _log.error("cannot look for work", job=work.job.name, exc_info=problem)
        try:
            await asyncio.wait_for(stopping.wait(), work.job.look_every_s)
        except TimeoutError:
            continue


async def _calmly(work: Work) -> bool:
    """Run, whatever happens; gives whether its time was over before its rows were."""
    try:
        return not (await run(work)).all_done
    except Unavailable as problem:
        _log.warning("work put off", job=work.job.name, why=str(problem))
    except Exception as problem:  # noqa: BLE001 - one bite that fails must not end the process; the rows are still there
        _log.error("work failed", job=work.job.name, exc_info=problem)
    return False
