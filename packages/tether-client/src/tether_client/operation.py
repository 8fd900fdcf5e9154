"""Queues, workers and stores in operation."""

from datetime import datetime
from urllib.parse import quote

import msgspec

from tether_client.connection import Connection

__all__ = [
    "Activity",
    "Cleared",
    "ListedQueue",
    "OperationRoutes",
    "Pause",
    "PoolStatus",
    "PostgresStatus",
    "RedisStatus",
    "RestartResponse",
    "Retried",
    "StoreStatus",
    "Supervisor",
    "Worker",
    "Workers",
]


class Pause(msgspec.Struct, frozen=True):
    """
    A queue that is paused.

    Attributes:
        queue: Its name.
        paused_by: Who ordered it.
        reason: Why.
        paused_at: Since when.
    """

    queue: str
    paused_by: str
    reason: str
    paused_at: datetime


class ListedQueue(msgspec.Struct, frozen=True):
    """
    A queue for people.

    Attributes:
        name: Its name.
        rows: Rows that are due or in progress; at most 50,000 of a kind are counted.
        oldest_s: For how many seconds the oldest has been due.
        workers: Workers that serve it.
        handled_per_s: Rows handled per second over the last minute.
        paused: Who paused it, why and when; null where nobody did.
    """

    name: str
    rows: int
    oldest_s: float
    workers: int
    handled_per_s: float
    paused: Pause | None


class Retried(msgspec.Struct, frozen=True):
    """
    What an order to try again did.

    Attributes:
        queue: Its name.
        rows: Rows that are tried again now.
        more: Whether there are further ones; order again for these.
        note: What is not tried again, and how it goes on; "" for nothing.
    """

    queue: str
    rows: int
    more: bool
    note: str


class Cleared(msgspec.Struct, frozen=True):
    """
    A queue whose wake-ups were removed.

    Attributes:
        queue: Its name.
        wake_ups: How many wake-ups were removed; they carry no work.
        rows: Rows of work that wait in Postgres all the same; at most 50,000 of a kind are counted.
    """

    queue: str
    wake_ups: int
    rows: int


class RestartResponse(msgspec.Struct, frozen=True):
    """
    An order to restart all workers.

    Attributes:
        ordered_at: Workers that started before are restarted.
        ordered_by: Who ordered it.
        reason: Why.
        supervised: Workers that their supervisor replaces, one of a pool after the other.
        alone: Workers without a supervisor: they end with exit code 75, and systemd or Kubernetes starts them again.
    """

    ordered_at: datetime
    ordered_by: str
    reason: str
    supervised: int
    alone: int


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
        supervisor_id: The supervisor that started it; null for none.
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
    queues: list[str]
    state: str
    memory_bytes: int
    activity: dict[str, Activity]
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
        cause: Why it has as many; see docs/guides/scaling.md.
        restarts: Processes that ended by themselves and were replaced.
    """

    queues: list[str]
    processes_min: int
    processes_max: int
    wanted: int
    running: int
    ending: int
    cause: str
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
    state: str
    pools: dict[str, PoolStatus]
    started_at: datetime
    seen_at: datetime


class Workers(msgspec.Struct, frozen=True):
    """
    The processes that live.

    Attributes:
        supervisors: With their pools.
        workers: Those of supervisors, and those that run alone.
        read_at: When this was read.
    """

    supervisors: list[Supervisor]
    workers: list[Worker]
    read_at: datetime


class PostgresStatus(msgspec.Struct, frozen=True):
    """
    How much of Postgres is in use.

    Attributes:
        version: Of the server.
        connections: Connections of all clients. Behind a pooler: of the pooler.
        connections_max: How many the server allows.
        database_bytes: The size of the database.
        oldest_transaction_s: For how many seconds the oldest transaction has been open, of those that the web's role may see; long ones keep old rows on disk.
    """

    version: str
    connections: int
    connections_max: int
    database_bytes: int
    oldest_transaction_s: float


class RedisStatus(msgspec.Struct, frozen=True):
    """
    How much of Redis is in use.

    Attributes:
        version: Of the server.
        memory_bytes: What it uses.
        memory_max_bytes: `maxmemory`; 0 for no limit.
        eviction: `maxmemory-policy`; it must be noeviction.
        evicted_keys: Keys that it dropped for want of memory since it started; it must be 0.
        connections: Connections of all clients.
        wake_ups: Wake-ups that wait, by queue. They carry no work.
    """

    version: str
    memory_bytes: int
    memory_max_bytes: int
    eviction: str
    evicted_keys: int
    connections: int
    wake_ups: dict[str, int]


class StoreStatus(msgspec.Struct, frozen=True):
    """
    How much of Postgres and Redis is in use.

    Attributes:
        postgres: Null where it does not answer.
        redis: Null where it does not answer.
        read_at: When this was read.
    """

    postgres: PostgresStatus | None
    redis: RedisStatus | None
    read_at: datetime


class OperationRoutes(Connection):
    """Routes of queues, workers and stores."""

    def queues(self) -> list[ListedQueue]:
        """Queues: what waits, who serves them, and whether they are paused."""
        return self._get("/api/queues", list[ListedQueue])

    def pause_queue(self, name: str, *, reason: str) -> Pause:
        """Pause a queue on all nodes: what is in progress ends, nothing else begins."""
        return self._post(f"/api/queues/{quote(name, safe='')}/pause", {"reason": reason}, Pause)

    def resume_queue(self, name: str) -> Pause:
        """Go on with a queue; returns the pause that ended."""
        return self._post(f"/api/queues/{quote(name, safe='')}/resume", None, Pause)

    def retry_queue(self, name: str, *, reason: str) -> Retried:
        """Try again now what waits for its next try; never submits a debit."""
        return self._post(f"/api/queues/{quote(name, safe='')}/retry", {"reason": reason}, Retried)

    def clear_queue(self, name: str, *, reason: str) -> Cleared:
        """Remove the wake-ups of a queue; no work is lost by that."""
        return self._post(f"/api/queues/{quote(name, safe='')}/clear", {"reason": reason}, Cleared)

    def workers(self) -> Workers:
        """Supervisors and workers that live."""
        return self._get("/api/workers", Workers)

    def restart_workers(self, *, reason: str) -> RestartResponse:
        """Restart all workers; those of a supervisor one after the other."""
        return self._post("/api/workers/restart", {"reason": reason}, RestartResponse)

    def store_status(self) -> StoreStatus:
        """Connections, memory and wake-ups of Postgres and Redis."""
        return self._get("/api/store-status", StoreStatus)
