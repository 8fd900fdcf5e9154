"""
The presence of a worker: a row that says that it lives and what it does, and the pauses and orders to restart that it obeys.

The row is written every two seconds, and the pauses are read with it. While Postgres is away nothing is written, and the last known
pauses hold. A worker of a supervisor leaves restarts to it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import psutil
from tether_core.errors import Unavailable
from tether_stores import queues, workers
from tether_stores.postgres import Pool, connection
from tether_stores.telemetry import Sampled, logger
from tether_stores.workers import Worker

from tether_worker.jobs.activity import Activities
from tether_worker.jobs.gates import Gates
from tether_worker.jobs.metrics import WorkerMetrics

__all__ = ["EVERY_S", "Presence", "memory_bytes"]

EVERY_S: Final = 2.0
_FIRST_S: Final = 3.0
_LEAVE_S: Final = 2.0
# Beats between two looks for rows of killed processes.
_PRUNE_EVERY: Final = 150

_log = logger("workers")
_sampled = Sampled(_log, every_s=30)


class Presence:
    """
    Keeps the row of this worker.

    Attributes:
        written_at: When the row was last written; `None` for never.
        paused: The queues that were paused then.
        is_restarted: Whether a person has ordered its restart.
    """

    def __init__(
        self,
        pool: Pool,
        worker: Worker,
        *,
        gates: Gates,
        activities: Activities,
        metrics: WorkerMetrics,
        clock: Callable[[], datetime],
        restart: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Nothing is written before `kept`.

        Args:
            worker: The row; what changes is filled in.
            restart: Called once a person has ordered the restart of this worker, unless it has a supervisor.
        """
        self._pool = pool
        self._worker = worker
        self._gates = gates
        self._activities = activities
        self._metrics = metrics
        self._clock = clock
        self._restart = restart
        self._started_at: datetime | None = None
        self.is_restarted = False
        self._beats = 0
        self._stopping = asyncio.Event()
        self.written_at: datetime | None = None
        self.paused: tuple[str, ...] = ()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Write the row now and then for the length of a block, and remove it at its end."""
        over, first = asyncio.Event(), asyncio.Event()

        async def keep() -> None:
            while not over.is_set():
                try:
                    await self._beat()
                    first.set()
                except Unavailable as exc:
                    _sampled.warning("worker row not written", why=str(exc))
                except Exception as exc:  # noqa: BLE001 - without this task no pause would be noticed any more
                    _log.error("worker row not written", exc_info=exc)
                waits = [asyncio.create_task(event.wait()) for event in (over, self._stopping)]
                # Once it is known that the worker stops, that is written at once, and then in the usual time.
                await asyncio.wait(
                    waits[:1] if self._stopping.is_set() else waits,
                    timeout=EVERY_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for wait in waits:
                    wait.cancel()

        keeping = asyncio.create_task(keep())
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(first.wait(), _FIRST_S)
            yield
        finally:
            over.set()
            await asyncio.wait([keeping], timeout=_LEAVE_S)
            keeping.cancel()
            with contextlib.suppress(Unavailable, TimeoutError):
                await asyncio.wait_for(self._leave(), _LEAVE_S)

    def stop(self) -> None:
        """Say from now on that the worker stops."""
        self._worker = msgspec.structs.replace(self._worker, state="stopping")
        self._stopping.set()

    async def _beat(self) -> None:
        now = self._clock()
        worker = msgspec.structs.replace(
            self._worker,
            memory_bytes=memory_bytes(self._worker.pid),
            activity=dict(self._activities.of_last_minute()),
        )
        async with connection(self._pool) as conn:
            await workers.seen(conn, worker, now=now)
            paused = await queues.pauses(conn)
            ordered = await workers.last_restart(conn)
            if self._beats % _PRUNE_EVERY == 0:
                await workers.prune(conn, now=now)
        self._beats += 1
        self._started_at = self._started_at or now
        # An order of the future is left alone: with a clock that went back, it would restart every new worker again.
        if (
            ordered is not None
            and self._worker.supervisor_id is None
            and self._started_at < ordered.ordered_at <= now
        ):
            _log.info("worker restarting", by=ordered.ordered_by)
            self.is_restarted = True
            self._restart()
        self._gates.apply(paused)
        self._metrics.measure(self._pool)
        self.written_at = now
        changed = tuple(queue for queue in self._worker.queues if queue in paused)
        if changed != self.paused:
            _log.info("queues paused" if changed else "queues resumed", queues=list(changed))
        self.paused = changed

    async def _leave(self) -> None:
        async with connection(self._pool) as conn:
            await workers.ended(conn, [self._worker.id])


def memory_bytes(pid: int) -> int:
    """The resident memory of a process and its child processes, 0 where it has ended; pages they share count for each."""
    total = 0
    for member in (pid, *_descendants(pid)):
        try:
            total += psutil.Process(member).memory_info().rss
        except psutil.Error:
            continue
    return total


def _descendants(pid: int) -> list[int]:
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it has ended
        return []
    children = [int(word) for text in lists for word in text.split()]
    return [*children, *(member for child in children for member in _descendants(child))]
