"""
`tether-worker supervise`: worker processes by pool, as many as their work needs.

```text
every second   replace what ended by itself ─► as many processes as each pool should have
every 2 s      measure: what waits, how long a row takes, memory ─► tether_core.scaling.decide
```

The rule is `tether_core.scaling`; this module measures, starts, stops and reports. While Postgres is away nothing can be measured: the
pools stay as they are, and processes that end are replaced all the same.
"""

import asyncio
import contextlib
import os
import platform
import secrets
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from tether_core import __version__
from tether_core.errors import Unavailable
from tether_core.jobs import Queue
from tether_core.scaling import (
    Backlog,
    Memory,
    PoolState,
    ProcessState,
    WorkerPool,
    decide,
    restart_wait_s,
    unserved,
)
from tether_stores import queues, workers
from tether_stores.accounts import gateway_accounts
from tether_stores.boot_clock import boot_clock
from tether_stores.clock import SharedClock
from tether_stores.postgres import Pool, connection, open_pool
from tether_stores.settings import Settings
from tether_stores.telemetry import Sampled, logger
from tether_stores.workers import PoolStatus, Supervisor

from tether_worker.jobs.probes import probes
from tether_worker.scaling import children
from tether_worker.scaling.children import ENDING_S, Lifeline, WorkerChild
from tether_worker.scaling.metrics import PoolMetrics
from tether_worker.workers import memory_bytes

__all__ = ["supervise_until_stopped"]

_TICK_S: Final = 1.0
_MEASURE_S: Final = 2.0
_LIMITS_S: Final = 60.0
_LEAVE_S: Final = 2.0
# What a process is expected to take before the first was measured.
_PROCESS_BYTES: Final = 120 << 20
_MARGIN_S: Final = 1.0
# A worker that takes the place of another has started by then.
_STARTED_S: Final = 3.0

_log = logger("supervisor")
_sampled = Sampled(_log, every_s=30)


class _Keeper:
    """One pool: its processes, and when the next may be started."""

    def __init__(self, name: str, pool: WorkerPool, *, number: int) -> None:
        self.name = name
        self.pool = pool
        self.number = number
        self.children: list[WorkerChild] = []
        self.ended_soon = 0
        self.restarts = 0
        self.next_start_s = 0.0

    @property
    def running(self) -> list[WorkerChild]:
        """Processes that are not ending, oldest first."""
        return [child for child in self.children if child.ending_s is None]

    @property
    def ending(self) -> list[WorkerChild]:
        """Processes that finish what is in progress."""
        return [child for child in self.children if child.ending_s is not None]

    def free_slot(self) -> str:
        """A name for the metrics of a further process."""
        taken = {child.slot for child in self.children}
        names = (f"{self.number}-{number}" for number in range(len(taken) + 1))
        return next(name for name in names if name not in taken)


class _Supervisor:
    """A supervisor while it runs."""

    def __init__(
        self,
        settings: Settings,
        pools: Mapping[str, WorkerPool],
        *,
        pool: Pool,
        clock: SharedClock,
        grace_s: int,
        lifeline: Lifeline,
        metrics: PoolMetrics,
        environ: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._pools = pools
        self._pool = pool
        self._clock = clock
        self._grace_s = grace_s
        self._lifeline = lifeline
        self._metrics = metrics
        self._environ = {**environ, **metrics.environment()}
        self._id = secrets.token_hex(8)
        self._keepers = {
            name: _Keeper(name, found, number=number) for number, (name, found) in enumerate(pools.items())
        }
        self._states = {name: PoolState(found.processes_min) for name, found in pools.items()}
        self._row_s: dict[Queue, float] = {}
        self._limits: dict[Queue, float] = {}
        self._limits_read_s = self._measured_s = float("-inf")
        # Workers that started before are restarted, on the clock of `time.monotonic`.
        self._restart_before_s = float("-inf")
        self._state: ProcessState = "running"
        self._stopping = asyncio.Event()
        self._is_hurried = False

    def stop(self) -> None:
        """End all workers; a second time at once."""
        self._is_hurried = self._stopping.is_set()
        self._stopping.set()
        if self._is_hurried:
            for child in self._children():
                child.kill()

    async def run(self) -> None:
        """Keep the pools until `stop`, then end all workers."""
        try:
            while not self._stopping.is_set():
                await self._tick()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _TICK_S)
        finally:
            await self._end()

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether every pool has a process, and the pools."""
        status = self._status()
        return all(found.running for found in status.values()), {"version": __version__, "pools": status}

    async def _tick(self) -> None:
        for keeper in self._keepers.values():
            await self._reap(keeper)
        if monotonic() - self._measured_s >= _MEASURE_S:
            self._measured_s = monotonic()
            await self._decide()
        for keeper in self._keepers.values():
            await self._fit(keeper)

    async def _reap(self, keeper: _Keeper) -> None:
        """Take notice of processes that have ended, and cut off what does not end."""
        for child in list(keeper.children):
            if child.exit_code is None:
                if child.ending_s and monotonic() - child.ending_s > self._grace_s + ENDING_S:
                    _log.error("worker killed: it did not end in time", pool=keeper.name, pid=child.pid)
                    child.kill()
                continue
            keeper.children.remove(child)
            self._metrics.ended(child.slot)
            lived_s = monotonic() - child.started_s
            if child.ending_s is None:
                keeper.restarts += 1
                self._metrics.restarted(keeper.name)
                keeper.ended_soon, wait_s = restart_wait_s(keeper.ended_soon, lived_s=lived_s)
                keeper.next_start_s = monotonic() + wait_s
                _log.error(
                    "worker ended by itself",
                    pool=keeper.name,
                    pid=child.pid,
                    exit_code=child.exit_code,
                    lived_s=round(lived_s, 1),
                    next_in_s=wait_s,
                )
                await self._forget(child)

    async def _forget(self, child: WorkerChild) -> None:
        """Remove the row of a process that could not do so itself."""
        with contextlib.suppress(Unavailable):
            async with connection(self._pool) as conn:
                await workers.ended(conn, [child.worker_id])

    def _roll(self, keeper: _Keeper) -> None:
        """End the oldest process that a person has ordered to restart; the next once another has taken its place."""
        stale = [child for child in keeper.running if child.started_s < self._restart_before_s]
        newest_s = max((child.started_s for child in keeper.running), default=0.0)
        if stale and not keeper.ending and monotonic() - newest_s >= _STARTED_S:
            stale[0].end()
            _log.info("worker process restarting", pool=keeper.name, pid=stale[0].pid, left=len(stale) - 1)

    async def _fit(self, keeper: _Keeper) -> None:
        """Start or end processes of a pool until it has as many as it should have."""
        self._roll(keeper)
        wanted = self._states[keeper.name].wanted
        while (
            len(keeper.running) < wanted
            and monotonic() >= keeper.next_start_s
            and not self._stopping.is_set()
        ):
            child = await children.start(
                keeper.name,
                keeper.pool,
                supervisor_id=self._id,
                slot=keeper.free_slot(),
                grace_s=self._grace_s,
                lifeline=self._lifeline,
                environ=self._environ,
            )
            keeper.children.append(child)
            _log.info("worker process started", pool=keeper.name, pid=child.pid)
        for child in keeper.running[wanted:]:  # the youngest; the others have warm connections
            child.end()
            _log.info("worker process ending", pool=keeper.name, pid=child.pid)

    async def _decide(self) -> None:
        try:
            backlogs, supervisors = await self._measure()
        except Unavailable as exc:
            _sampled.warning("pools not measured", why=str(exc))
            backlogs, supervisors = None, {}
        memory = {child.pid: memory_bytes(child.pid) for child in self._children()}
        before = self._states
        self._states = decide(
            self._pools,
            before,
            backlogs,
            memory=Memory(
                used_bytes=sum(memory.values()),
                ending_bytes=sum(
                    memory[child.pid] for child in self._children() if child.ending_s is not None
                ),
                process_bytes=max(memory.values(), default=_PROCESS_BYTES),
                max_bytes=self._settings.worker_memory_max_bytes or None,
            ),
            supervisors=supervisors,
            now_s=monotonic(),
        )
        for name, state in self._states.items():
            if state.wanted != before[name].wanted:
                _log.info(
                    "pool resized",
                    pool=name,
                    processes=state.wanted,
                    before=before[name].wanted,
                    cause=state.cause,
                )
        for name, status in self._status().items():
            pids = [child.pid for child in self._keepers[name].children]
            self._metrics.observe(name, status, memory_bytes=sum(memory.get(pid, 0) for pid in pids))

    async def _measure(self) -> tuple[dict[Queue, Backlog], dict[str, int]]:
        now = self._clock()
        async with connection(self._pool) as conn:
            await workers.supervisor_seen(conn, self._row(), now=now)
            waiting = await queues.backlogs(conn, now=now)
            paused = await queues.pauses(conn)
            live = await workers.live(conn, now=now)
            others = await workers.supervisors(conn, now=now)
            ordered = await workers.last_restart(conn)
            if ordered is not None and ordered.ordered_at <= now:
                self._restart_before_s = monotonic() - (now - ordered.ordered_at).total_seconds()
            if monotonic() - self._limits_read_s >= _LIMITS_S:
                accounts = await gateway_accounts.all_accounts(conn, settings=self._settings)
                enabled = [account for account in accounts.values() if account.enabled]
                self._limits = {
                    "billing": sum(
                        account.billing_per_s or self._settings.emp_rate_limit for account in enabled
                    ),
                    "reconciliation": sum(
                        account.reconciliation_per_s or self._settings.reconciliation_rate_limit
                        for account in enabled
                    ),
                }
                self._limits_read_s = monotonic()
        self._row_s |= workers.row_s(live)
        backlogs = {
            queue: Backlog(
                rows=found.rows,
                oldest_s=found.oldest_s,
                row_s=self._row_s.get(queue),
                per_s_max=self._limits.get(queue),
                is_paused=queue in paused,
            )
            for queue, found in waiting.items()
        }
        running = [other for other in others if other.state == "running"]
        return backlogs, {name: sum(name in other.pools for other in running) for name in self._pools}

    async def _end(self) -> None:
        """End all workers, and wait for them."""
        self._state = "stopping"
        _log.info("supervisor stopping", grace_s=self._grace_s)
        for child in self._children():
            child.end()
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_LEAVE_S), connection(self._pool) as conn:
                await workers.supervisor_seen(conn, self._row(), now=self._clock())
        waits = [asyncio.create_task(child.wait()) for child in self._children()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=self._grace_s + ENDING_S + _MARGIN_S)
            for child in self._children() if late else ():
                child.kill()
            await asyncio.gather(*waits)
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_LEAVE_S), connection(self._pool) as conn:
                await workers.supervisor_ended(conn, self._id)

    def _children(self) -> list[WorkerChild]:
        return [child for keeper in self._keepers.values() for child in keeper.children]

    def _status(self) -> dict[str, PoolStatus]:
        return {
            name: PoolStatus(
                queues=list(keeper.pool.queues),
                processes_min=keeper.pool.processes_min,
                processes_max=keeper.pool.processes_max,
                wanted=self._states[name].wanted,
                running=len(keeper.running),
                ending=len(keeper.ending),
                cause=self._states[name].cause,
                restarts=keeper.restarts,
            )
            for name, keeper in self._keepers.items()
        }

    def _row(self) -> Supervisor:
        never = datetime.min.replace(tzinfo=UTC)
        return Supervisor(
            id=self._id,
            host=platform.node(),
            pid=os.getpid(),
            version=__version__,
            state=self._state,
            pools=self._status(),
            started_at=never,
            seen_at=never,
        )


async def supervise_until_stopped(
    settings: Settings,
    *,
    pools: Mapping[str, WorkerPool],
    grace_s: int,
    environ: Mapping[str, str],
    own_clock: Callable[[], datetime],
) -> None:
    """
    Keep pools of workers until SIGTERM or SIGINT.

    Args:
        pools: By name.
        grace_s: How long the work in progress of a worker may take to end, in seconds.
        environ: The settings of the workers.
        own_clock: This machine's clock, aware, UTC; all nodes go by that of Postgres.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.database_url, name="tether-supervisor", max_size=2)
        )
        clock = SharedClock(own_clock, boot=boot_clock())
        await stack.enter_async_context(clock.kept(pool))
        metrics = PoolMetrics()
        stack.callback(metrics.close)
        lifeline = Lifeline()
        stack.callback(lifeline.close)
        supervisor = _Supervisor(
            settings,
            pools,
            pool=pool,
            clock=clock,
            grace_s=grace_s,
            lifeline=lifeline,
            metrics=metrics,
            environ=environ,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)

        async def rendered() -> bytes:
            return metrics.rendered()

        await stack.enter_async_context(
            probes(settings.worker_listen, health=supervisor.health, metrics=rendered)
        )
        if missing := unserved(pools):
            _log.warning("queues without a pool here: another node must serve them", queues=list(missing))
        _log.info(
            "supervisor started",
            pools={name: f"{found.processes_min} to {found.processes_max}" for name, found in pools.items()},
        )
        await supervisor.run()
    _log.info("supervisor stopped")
