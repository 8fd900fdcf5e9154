"""
`/api/queues`: what waits on each queue, and pauses; `/api/workers`: which processes live.

```text
GET  /api/queues                  what waits, who serves it, and whether it is paused
POST /api/queues/{name}/pause     stop work on a queue, on all nodes, with a reason
POST /api/queues/{name}/resume    go on
GET  /api/workers                 supervisors with their pools, and workers
```

A pause takes effect within seconds: what is in progress ends, nothing else begins. Notifications are recorded all the same.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.params import JSONBody, PathParameter
from prometheus_client import Gauge
from tether_core.errors import InvalidRequest
from tether_stores import audit, queues, workers
from tether_stores.postgres import reading, transaction
from tether_stores.queues import ListedQueue, Pause
from tether_stores.telemetry import logger
from tether_stores.workers import Supervisor, Worker

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import printable

__all__ = ["OBSERVED", "ROUTERS", "PauseBody", "Workers", "observe"]

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


@get("/", summary="Queues: what waits, who serves it, and whether it is paused")
async def listed(state: State) -> list[ListedQueue]:
    """All queues; they are few."""
    async with reading(state.pool) as conn:
        return await queues.listed(conn, now=state.clock())


@post("/{name:str}/pause", status_code=200, summary="Pause a queue on all nodes")
async def pause(request: ApiRequest, state: State, name: Name, data: JSONBody[PauseBody]) -> Pause:
    """Workers begin nothing more of it within seconds; what is in progress ends."""
    queue = queues.named(name)
    reason = printable(" ".join(data.reason.split()), field="reason")
    if not reason:
        raise InvalidRequest("say why; it is stored with the pause", field="reason")
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


@get("/", summary="Supervisors and workers that live")
async def processes(state: State) -> Workers:
    """Processes seen within the last 15 s; one that was killed disappears after that."""
    now = state.clock()
    async with reading(state.pool) as conn:
        return Workers(
            await workers.supervisors(conn, now=now), await workers.live(conn, now=now), read_at=now
        )


async def observe(state: State) -> None:
    """Refresh the metrics of queues."""
    for queue in await listed.fn(state):
        _WAITING.labels(queue.name).set(queue.rows)
        _OLDEST.labels(queue.name).set(queue.oldest_s)
        _PAUSED.labels(queue.name).set(queue.paused is not None)
        _ALIVE.labels(queue.name).set(queue.workers)


ROUTERS: Final = (
    Router("/api/queues", route_handlers=[listed, pause, resume], tags=["operation"]),
    Router("/api/workers", route_handlers=[processes], tags=["operation"]),
)
