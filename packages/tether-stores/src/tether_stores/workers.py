"""The processes that live: workers and supervisors; the queries are in `workers.sql`, which describes the rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from tether_core.jobs import Queue
from tether_core.scaling import LIVE_S, Cause, ProcessState

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one

__all__ = [
    "Activity",
    "PoolStatus",
    "Restart",
    "Supervisor",
    "Worker",
    "ended",
    "last_restart",
    "live",
    "order_restart",
    "prune",
    "row_s",
    "seen",
    "supervisor_ended",
    "supervisor_seen",
    "supervisors",
]

_SQL: Final = load("workers")
# Rows of killed processes are kept this long, so that a person can still see them.
_KEPT: Final = timedelta(hours=1)


class Activity(msgspec.Struct, frozen=True):
    """
    What a worker did on a queue in the last minute.

    Attributes:
        rows: Rows it handled.
        busy_s: Seconds it spent on them, over all of its runs.
        running: Runs that go on now.
    """

    rows: int = 0
    busy_s: float = 0.0
    running: int = 0


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """
    A worker process.

    Attributes:
        id: Random; a new one for each process.
        supervisor_id: The supervisor that started it; `None` for none.
        pool: Its pool; "" without a supervisor.
        host: The name of its machine.
        pid: Its process id there.
        version: Of Tether.
        queues: Which queues it serves.
        state: "running", or "stopping" while it finishes what is in progress.
        memory_bytes: Its memory, with its child processes.
        activity: What it did in the last minute, by queue.
        started_at: When it started.
        seen_at: When it last wrote its row.
    """

    id: str
    supervisor_id: str | None
    pool: str
    host: str
    pid: int
    version: str
    queues: list[Queue]
    state: ProcessState
    memory_bytes: int
    activity: dict[Queue, Activity]
    started_at: datetime
    seen_at: datetime


class PoolStatus(msgspec.Struct, frozen=True):
    """
    A pool of a supervisor.

    Attributes:
        queues: Which queues it serves.
        processes_min: Processes that always run.
        processes_max: Processes that run at most.
        wanted: Processes it should have now.
        running: Processes it has.
        ending: Processes that finish what is in progress and end.
        cause: Why it has as many; see `tether_core.scaling`.
        restarts: Processes that ended by themselves and were replaced.
    """

    queues: list[Queue]
    processes_min: int
    processes_max: int
    wanted: int
    running: int
    ending: int
    cause: Cause
    restarts: int


class Supervisor(msgspec.Struct, frozen=True, kw_only=True):
    """
    A supervisor process.

    Attributes:
        id: Random; a new one for each process.
        host: The name of its machine.
        pid: Its process id there.
        version: Of Tether.
        state: "running", or "stopping" while its workers finish what is in progress.
        pools: Its pools by name.
        started_at: When it started.
        seen_at: When it last wrote its row.
    """

    id: str
    host: str
    pid: int
    version: str
    state: ProcessState
    pools: dict[str, PoolStatus]
    started_at: datetime
    seen_at: datetime


async def seen(conn: Connection, worker: Worker, *, now: datetime) -> None:
    """Write that a worker lives; its times are not read."""
    fields = msgspec.structs.asdict(worker)
    activity = msgspec.json.encode(worker.activity).decode()
    await conn.execute(_SQL["seen"], {**fields, "activity": activity, "now": now})


async def ended(conn: Connection, worker_ids: Sequence[str]) -> None:
    """Remove the rows of workers that have ended."""
    await conn.execute(_SQL["ended"], {"ids": list(worker_ids)})


async def supervisor_seen(conn: Connection, supervisor: Supervisor, *, now: datetime) -> None:
    """Write that a supervisor lives; its times are not read."""
    fields = msgspec.structs.asdict(supervisor)
    pools = msgspec.json.encode(supervisor.pools).decode()
    await conn.execute(_SQL["supervisor_seen"], {**fields, "pools": pools, "now": now})


async def supervisor_ended(conn: Connection, supervisor_id: str) -> None:
    """Remove the row of a supervisor that has ended."""
    await conn.execute(_SQL["supervisor_ended"], {"id": supervisor_id})


async def live(conn: Connection, *, now: datetime) -> list[Worker]:
    """The workers that live, oldest first."""
    since = now - timedelta(seconds=LIVE_S)
    return await fetch_all(conn, _SQL["live"], {"since": since}, into=_worker)


async def supervisors(conn: Connection, *, now: datetime) -> list[Supervisor]:
    """The supervisors that live, oldest first."""
    since = now - timedelta(seconds=LIVE_S)
    return await fetch_all(conn, _SQL["supervisors_live"], {"since": since}, into=_supervisor)


async def prune(conn: Connection, *, now: datetime) -> None:
    """Remove the rows of processes that were killed an hour ago."""
    for name in ("prune", "supervisors_prune"):
        await conn.execute(_SQL[name], {"before": now - _KEPT})


def row_s(workers: Sequence[Worker]) -> Mapping[Queue, float]:
    """Seconds that a process spent on a row in the last minute, by queue; none for a queue without rows."""
    rows: dict[Queue, int] = {}
    busy_s: dict[Queue, float] = {}
    for worker in workers:
        for queue, activity in worker.activity.items():
            rows[queue] = rows.get(queue, 0) + activity.rows
            busy_s[queue] = busy_s.get(queue, 0.0) + activity.busy_s
    return {queue: busy_s[queue] / count for queue, count in rows.items() if count}


def _worker(*, activity: str, **columns: Any) -> Worker:
    return Worker(activity=msgspec.json.decode(activity, type=dict[Queue, Activity]), **columns)


def _supervisor(*, pools: str, **columns: Any) -> Supervisor:
    return Supervisor(pools=msgspec.json.decode(pools, type=dict[str, PoolStatus]), **columns)


class Restart(msgspec.Struct, frozen=True):
    """
    An order to restart all workers.

    Attributes:
        ordered_at: Workers that started before are restarted.
        ordered_by: Who ordered it.
        reason: Why.
    """

    ordered_at: datetime
    ordered_by: str
    reason: str


async def order_restart(conn: Connection, *, ordered_by: str, reason: str, now: datetime) -> Restart:
    """Order the restart of all workers that have started by now."""
    given = {"ordered_by": ordered_by, "reason": reason, "now": now}
    made = await fetch_one(conn, _SQL["order_restart"], given, into=Restart)
    assert made is not None
    return made


async def last_restart(conn: Connection) -> Restart | None:
    """The latest order to restart all workers."""
    return await fetch_one(conn, _SQL["last_restart"], into=Restart)
