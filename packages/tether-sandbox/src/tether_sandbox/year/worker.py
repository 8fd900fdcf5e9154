"""
The worker of a played year: the jobs and periodic tasks of `tether-worker`, in this process, on the clock of the year.

A **round** is twenty seconds. In it each periodic task whose pause is over runs once, at a moment of its own, and then each job runs until
none of its rows is due. Rounds follow each other until one of them finds nothing to do; then the driver moves the clock to the next event.
So what has to happen within a minute of being due happens as late as it would in a worker whose periodic tasks run every 20 seconds.
"""

import asyncio
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from tether_core.jobs import SUBMIT, Queue
from tether_stores import redis
from tether_stores.database_epoch.watch import Watch
from tether_stores.objects import open_objects
from tether_stores.postgres import Pool, connection, open_pool
from tether_stores.queries import split_file
from tether_stores.settings import Settings
from tether_worker.app import WorkerNode, all_work
from tether_worker.jobs.gates import Gates
from tether_worker.jobs.metrics import WorkerMetrics
from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.jobs.run import Work, run

from tether_sandbox.services.waiting import eventually
from tether_sandbox.year.clock import YearClock

__all__ = ["LEFT_OUT", "ROUND", "YearWorker", "working"]

_SQL: Final = split_file("tether_sandbox", "sql/year")
ROUND: Final = timedelta(seconds=20)
_QUEUES: Final[tuple[Queue, ...]] = ("webhooks", "reconciliation", "billing", "default")
# Periodic tasks of the night that would fetch the same reports three hundred times; the year fetches all of them at its end.
LEFT_OUT: Final = frozenset({"tick_report_fetches", "report_completeness"})
_ROUNDS_MAX: Final = 200


class YearWorker:
    """Runs the work that is due; made by `working`."""

    def __init__(
        self,
        pool: Pool,
        works: list[Work],
        tasks: list[PeriodicTask],
        *,
        clock: YearClock,
        rng: random.Random,
    ) -> None:
        self.pool = pool
        self._works = works
        self._clock = clock
        phases = [rng.random() * ROUND for _ in tasks]
        # By their moments within a round.
        self._tasks = sorted(zip(phases, range(len(tasks)), tasks, strict=True))
        self._next_at: dict[int, datetime] = {}

    async def until_quiet(self) -> None:
        """
        Run rounds until one finds nothing to do.

        Raises:
            TimeoutError: when work never ends.
        """
        for _ in range(_ROUNDS_MAX):
            if not await self._round():
                return
        raise TimeoutError(f"work goes on after {_ROUNDS_MAX} rounds")

    async def _round(self) -> bool:
        """Whether anything was done."""
        began_at = self._clock()
        before = await self._last_event()
        for phase, number, task in self._tasks:
            at = began_at + phase
            if at >= self._next_at.get(number, at):
                self._clock.move_to(at)
                await task.do()
                self._next_at[number] = at + timedelta(seconds=task.every_s)
        self._clock.move_to(began_at + ROUND)
        rows = 0
        for work in self._works:
            handled = (await run(work)).rows
            if handled and work.job is SUBMIT:
                await eventually(self._recorded, what="the responses of the gateway to be recorded")
            rows += handled
        return rows > 0 or await self._last_event() > before

    async def _last_event(self) -> int:
        async with connection(self.pool) as conn:
            row = await (await conn.execute(_SQL["last_event"])).fetchone()
        assert row is not None
        number: int = row[0]
        return number

    async def _recorded(self) -> bool:
        async with connection(self.pool) as conn:
            row = await (await conn.execute(_SQL["leased"])).fetchone()
        assert row is not None
        return not row[0]


@asynccontextmanager
async def working(settings: Settings, *, clock: YearClock, rng: random.Random) -> AsyncIterator[YearWorker]:
    """
    A worker for the length of a block.

    Args:
        rng: Draws the moments of periodic tasks.

    Yields:
        The worker; nothing of it runs by itself.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            # Nothing ends a connection during the year, so none is checked before it is used.
            open_pool(
                settings.database_url,
                name="tether-worker",
                max_size=settings.database_pool_max,
                checked=False,
            )
        )
        cache = await stack.enter_async_context(redis.open_redis(settings.redis_url, name="tether-worker"))
        watch = Watch(
            cache=cache,
            store=open_objects(settings),
            clock=clock,
            token=lambda: secrets.token_hex(16),
            is_pulsing=True,
        )
        await stack.enter_async_context(watch.kept(pool))
        gates = Gates(_QUEUES)
        gates.apply(())
        node = WorkerNode(_QUEUES, clock, clock.boot, watch, gates, WorkerMetrics(), deque())
        works, tasks = await all_work(stack, settings, pool, cache, node=node)
        tasks = [task for task in tasks if task.name not in LEFT_OUT]
        stack.callback(gates.end)
        yield YearWorker(pool, works, tasks, clock=clock, rng=rng)
        await asyncio.sleep(0)
