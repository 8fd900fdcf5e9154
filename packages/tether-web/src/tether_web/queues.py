"""
`/api/queues`: what waits on each queue, and pauses; `/api/workers`: which processes live; `/api/store-status`: what the stores use.

```text
GET  /api/queues                  what waits, who serves it, and whether it is paused
POST /api/queues/{name}/pause     stop work on a queue, on all nodes, with a reason
POST /api/queues/{name}/resume    go on
POST /api/queues/{name}/retry     try again now what waits for its next try, and parked notifications
POST /api/queues/{name}/clear     remove the wake-ups that wait in Redis; no work is lost
GET  /api/workers                 supervisors with their pools, and workers
POST /api/workers/restart         restart all workers, those of a supervisor one after the other
GET  /api/store-status            connections, memory and wake-ups of Postgres and Redis
```

A pause takes effect within seconds: what is in progress ends, nothing else begins. Notifications are recorded all the same.
"""

import contextlib
from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.params import JSONBody, PathParameter
from prometheus_client import Gauge
from tether_core.audit import facts
from tether_core.errors import Unavailable
from tether_core.jobs import Queue
from tether_stores import audit, queues, store_status, workers
from tether_stores.jobs import queue as wake_up_queue
from tether_stores.postgres import reading, transaction
from tether_stores.queues import ListedQueue, Pause, Retried
from tether_stores.store_status import PostgresStatus, RedisStatus
from tether_stores.telemetry import logger
from tether_stores.workers import Restart, Supervisor, Worker

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import reason_of

__all__ = [
    "OBSERVED",
    "ROUTERS",
    "Cleared",
    "PauseBody",
    "RestartResponse",
    "StoreStatus",
    "WhyBody",
    "Workers",
    "observe",
]

Name = Annotated[str, PathParameter(description="The name of a queue.")]

_log = logger("queues")

_WAITING: Final = Gauge(
    "tether_queue_rows",
    "Rows of a queue that are due or in progress, as last measured by /metrics; more than 50,000 of a kind are not counted.",
    ["queue"],
    multiprocess_mode="mostrecent",
)
_OLDEST: Final = Gauge(
    "tether_queue_oldest_seconds",
    "For how long the oldest row of a queue has been due, as last measured by /metrics.",
    ["queue"],
    multiprocess_mode="mostrecent",
)
_PAUSED: Final = Gauge(
    "tether_queue_paused",
    "1 if a person paused the queue, else 0, as last measured by /metrics.",
    ["queue"],
    multiprocess_mode="mostrecent",
)
_ALIVE: Final = Gauge(
    "tether_workers_alive",
    "Workers that serve a queue and were seen within 15 s, as last measured by /metrics.",
    ["queue"],
    multiprocess_mode="mostrecent",
)
OBSERVED: Final = frozenset(
    {"tether_queue_rows", "tether_queue_oldest_seconds", "tether_queue_paused", "tether_workers_alive"}
)


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


class PauseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Why a queue is paused.

    Attributes:
        reason: Stored with the pause, the name of your key and the time.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class WhyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Why a person acts on a queue or on the workers.

    Attributes:
        reason: Stored in the audit.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Cleared(msgspec.Struct, frozen=True):
    """
    A queue whose wake-ups were removed.

    Attributes:
        queue: Its name.
        wake_ups: How many wake-ups were removed; they carry no work.
        rows: Rows of work that wait in Postgres all the same; at most 50,000 of a kind are counted.
    """

    queue: Queue
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


@get("/", summary="Queues: what waits, who serves it, and whether it is paused")
async def listed(state: State) -> list[ListedQueue]:
    """All queues; they are few."""
    async with reading(state.pool) as conn:
        return await queues.listed(conn, now=state.clock())


@post("/{name:str}/pause", status_code=200, summary="Pause a queue on all nodes")
async def pause(request: ApiRequest, state: State, name: Name, data: JSONBody[PauseBody]) -> Pause:
    """Workers begin nothing more of it within seconds; what is in progress ends."""
    queue, reason = queues.named(name), reason_of(data.reason)
    async with transaction(state.pool) as conn:
        now = state.clock()
        made = await queues.pause(conn, queue, paused_by=request.user, reason=reason, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "queue.paused",
            subject="queue",
            subject_id=queue,
            reason=reason,
            now=now,
        )
    _log.info("queue paused", queue=queue, by=request.user)
    return made


@post("/{name:str}/resume", status_code=200, summary="Resume a queue")
async def resume(request: ApiRequest, state: State, name: Name) -> Pause:
    """Workers go on within seconds. The response is the pause that ended."""
    queue = queues.named(name)
    async with transaction(state.pool) as conn:
        ended = await queues.resume(conn, queue)
        await audit.record(
            conn, request.auth.actor, "queue.resumed", subject="queue", subject_id=queue, now=state.clock()
        )
    _log.info("queue resumed", queue=queue, by=request.user)
    return ended


@post("/{name:str}/retry", status_code=200, summary="Try again now what waits for its next try")
async def retry(request: ApiRequest, state: State, name: Name, data: JSONBody[WhyBody]) -> Retried:
    """Up to 10,000 rows of a kind, parked notifications among them. A debit is never submitted again by this."""
    queue, reason = queues.named(name), reason_of(data.reason)
    async with transaction(state.pool) as conn:
        now = state.clock()
        done = await queues.retry(conn, queue, now=now)
        await audit.record(
            conn,
            request.auth.actor,
            "queue.retried",
            subject="queue",
            subject_id=queue,
            reason=reason,
            after=facts(rows=done.rows, more=done.more),
            now=now,
        )
    _log.info("queue retried", queue=queue, rows=done.rows, by=request.user)
    return done


@post("/{name:str}/clear", status_code=200, summary="Remove the wake-ups of a queue; no work is lost")
async def clear(request: ApiRequest, state: State, name: Name, data: JSONBody[WhyBody]) -> Cleared:
    """Rows in Postgres hold the work, and workers look for due rows every second or so. 503 where Redis is away."""
    queue, reason = queues.named(name), reason_of(data.reason)
    async with transaction(state.pool) as conn:
        now = state.clock()
        rows = (await queues.backlogs(conn, now=now))[queue].rows
        # Inside the transaction: where Redis is away nothing is recorded. A commit that fails leaves a queue without wake-ups, which costs a second.
        removed = await wake_up_queue.clear(state.cache, queue)
        await audit.record(
            conn,
            request.auth.actor,
            "queue.cleared",
            subject="queue",
            subject_id=queue,
            reason=reason,
            after=facts(wake_ups=removed, rows=rows),
            now=now,
        )
    _log.info("queue cleared", queue=queue, wake_ups=removed, by=request.user)
    return Cleared(queue, removed, rows)


@get("/", summary="Supervisors and workers that live")
async def processes(state: State) -> Workers:
    """Processes seen within the last 15 s; one that was killed disappears after that."""
    now = state.clock()
    async with reading(state.pool) as conn:
        return Workers(
            await workers.supervisors(conn, now=now), await workers.live(conn, now=now), read_at=now
        )


@post("/restart", status_code=200, summary="Restart all workers")
async def restart(request: ApiRequest, state: State, data: JSONBody[WhyBody]) -> RestartResponse:
    """What is in progress ends first. A supervisor replaces its workers one after the other; it is not restarted itself."""
    reason = reason_of(data.reason)
    async with transaction(state.pool) as conn:
        now = state.clock()
        made: Restart = await workers.order_restart(conn, ordered_by=request.user, reason=reason, now=now)
        live = await workers.live(conn, now=now)
        alone = sum(worker.supervisor_id is None for worker in live)
        await audit.record(
            conn,
            request.auth.actor,
            "workers.restarted",
            subject="workers",
            reason=reason,
            after=facts(supervised=len(live) - alone, alone=alone),
            now=now,
        )
    _log.info("workers restarted", supervised=len(live) - alone, alone=alone, by=request.user)
    return RestartResponse(made.ordered_at, made.ordered_by, made.reason, len(live) - alone, alone)


@get("/", summary="How much of Postgres and Redis is in use")
async def stores(state: State) -> StoreStatus:
    """Connections, memory and wake-ups, for a look in an emergency; null for a store that does not answer."""
    in_postgres, in_redis = None, None
    with contextlib.suppress(Unavailable):
        async with reading(state.pool) as conn:
            in_postgres = await store_status.of_postgres(conn)
    with contextlib.suppress(Unavailable):
        in_redis = await store_status.of_redis(state.cache)
    return StoreStatus(in_postgres, in_redis, state.clock())


async def observe(state: State) -> None:
    """Refresh the metrics of queues."""
    for queue in await listed.fn(state):
        _WAITING.labels(queue.name).set(queue.rows)
        _OLDEST.labels(queue.name).set(queue.oldest_s)
        _PAUSED.labels(queue.name).set(queue.paused is not None)
        _ALIVE.labels(queue.name).set(queue.workers)


ROUTERS: Final = (
    Router("/api/queues", route_handlers=[listed, pause, resume, retry, clear], tags=["operation"]),
    Router("/api/workers", route_handlers=[processes, restart], tags=["operation"]),
    Router("/api/store-status", route_handlers=[stores], tags=["operation"]),
)
