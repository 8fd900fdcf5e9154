"""
`GET /health` (the process is alive), `GET /ready` (what it needs is there), `GET /metrics` (Prometheus).

Balancers often probe with HEAD, and are answered with the same status.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Literal, TypeVar

import msgspec
from litestar import MediaType, Response, get, head
from litestar.datastructures import State
from tether_core.errors import StoreUnreachable
from tether_stores import objects, redis, telemetry, webhook_events
from tether_stores.postgres import SchemaBehind, connection

from tether_web import billing
from tether_web.metrics import CONTENT_TYPE_LATEST, INBOX_ROWS, LOG_LINES_DROPPED, OLDEST_WAITING, rendered

__all__ = ["PROBES", "Readiness", "health", "metrics", "ready"]

T = TypeVar("T")

_log: Final = telemetry.logger("health")
# Whoever probes gives up after some seconds; the answer must come before that.
_PATIENCE_S: Final = 2.0
_asking: Final[set[asyncio.Task[Any]]] = set()


class Readiness(msgspec.Struct, frozen=True):
    """
    What the node needs, and whether it is there.

    Attributes:
        ready: Whether notifications can be recorded: Postgres answers and a gateway password is configured.
        postgres: Whether it answers and has the tables of this version.
        migrated: Whether it has those tables; false asks for `tether-worker migrate`, null where it does not answer.
        redis: Whether it answers; without it everything works, slower.
        objects: Whether the object store answers; without it files can be neither sent nor read, all else works.
        gateway_password: Whether one is configured; without it every notification is refused.
        oldest_waiting_s: Age of the oldest notification that is due and not booked, in seconds; null if unknown.
    """

    ready: bool
    postgres: bool
    migrated: bool | None
    redis: bool
    objects: bool
    gateway_password: bool
    oldest_waiting_s: float | None


@get("/health", summary="Whether the process is alive", tags=["operation"])
async def health() -> dict[Literal["status"], Literal["alive"]]:
    """Answer at once, asking nobody."""
    return {"status": "alive"}


@get("/ready", summary="Whether notifications can be recorded", tags=["operation"])
async def ready(state: State) -> Response[Readiness]:
    """Ask Postgres, Redis and the object store; 503 when notifications cannot be recorded."""
    oldest_s, migrated = await _oldest_s(state)
    told = Readiness(
        ready=oldest_s is not None and bool(state.credentials),
        postgres=oldest_s is not None,
        migrated=migrated,
        redis=await redis.answers(state.cache),
        objects=state.objects is not None and await objects.answers(state.objects),
        gateway_password=bool(state.credentials),
        oldest_waiting_s=oldest_s,
    )
    return Response(told, status_code=200 if told.ready else 503)


@head("/health", include_in_schema=False)
async def health_status() -> None:
    """Answer at once, without words."""


@head("/ready", include_in_schema=False)
async def ready_status(state: State) -> Response[None]:
    """Answer with the status of `ready`, without words."""
    told: Response[Readiness] = await ready.fn(state)
    return Response(None, status_code=told.status_code)


PROBES: Final = (health, ready, health_status, ready_status)


@get("/metrics", summary="Prometheus metrics of this node", tags=["operation"], media_type=MediaType.TEXT)
async def metrics(state: State) -> Response[bytes]:
    """All counters of the node's processes together; keep it inside, see the deployment guide."""
    await _oldest_s(state)
    await _in_time(_count_inbox(state))
    await billing.observe(state)
    LOG_LINES_DROPPED.set(telemetry.dropped())
    return Response(rendered(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _oldest_s(state: State) -> tuple[float | None, bool | None]:
    """The oldest row's age and whether the tables are there, each `None` when Postgres does not tell it in time."""
    return await _in_time(_ask_oldest_s(state)) or (None, None)


async def _in_time(asking: Coroutine[Any, Any, T]) -> T | None:
    """What is asked of Postgres, or `None` when it is not told in time."""
    task = asyncio.create_task(asking)
    # Not cancelled when it takes too long: taking a query back from a server that hangs takes longer still. It ends
    # with the server's answer or with the connection.
    _asking.add(task)
    task.add_done_callback(_asking.discard)
    await asyncio.wait({task}, timeout=_PATIENCE_S)
    return task.result() if task.done() else None


async def _count_inbox(state: State) -> None:
    try:
        async with connection(state.pool) as conn:
            counts = await webhook_events.unfinished(conn)
    except StoreUnreachable:
        return
    for name, count in counts.items():
        INBOX_ROWS.labels(name).set(count)


async def _ask_oldest_s(state: State) -> tuple[float | None, bool | None]:
    try:
        async with connection(state.pool) as conn:
            oldest_s = await webhook_events.oldest_due_s(conn, now=state.clock())
    except SchemaBehind as problem:
        _log.error(str(problem))
        return None, False
    except StoreUnreachable:
        return None, None
    OLDEST_WAITING.set(oldest_s)
    return oldest_s, True
