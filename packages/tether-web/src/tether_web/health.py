"""
Probes and metrics: `GET /health` (the process is alive), `GET /ready` (notifications can be recorded), `GET /metrics`.

Load balancers often probe with HEAD; it has the same status.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec
from litestar import MediaType, Response, get, head
from litestar.datastructures import State
from tether_core import __version__
from tether_core.errors import StoreUnreachable, Unavailable
from tether_core.fingerprint_key import FingerprintKeyRefused, KeyState
from tether_core.payments import submission
from tether_stores import fingerprint_key, objects, redis, telemetry
from tether_stores.accounts import gateway_identities
from tether_stores.notifications import event_lists, excess_deliveries, webhook_events
from tether_stores.postgres import Pool, SchemaBehind, connection, reading

from tether_web import limits, monitoring, queues
from tether_web.http.metrics import (
    CONTENT_TYPE_LATEST,
    DATABASE_EPOCH,
    EXCESS_DELIVERIES,
    FINGERPRINT_KEY_REFUSED,
    INBOX_ROWS,
    LOG_LINES_DROPPED,
    OLDEST_WAITING,
    SUBMISSIONS_UNKNOWN,
    rendered,
)
from tether_web.reconciliation import differences

__all__ = ["PROBES", "Readiness", "RecordingProbe", "health", "metrics", "ready"]

T = TypeVar("T")
Recordable: TypeAlias = Literal["recordable", "not_migrated", "unreachable"]

_log: Final = telemetry.logger("health")
# Probes time out after some seconds, so the response must come earlier. A scrape has less time.
READY_S: Final = 2.0
METRICS_S: Final = 0.7
_STORE_S: Final = 0.5  # below the time of a scrape, so what does not answer is known to be away
_checks: Final[set[asyncio.Task[Any]]] = set()


class Readiness(msgspec.Struct, frozen=True):
    """
    Whether the node can record notifications, and which of its services answer.

    Attributes:
        ready: Whether notifications can be recorded: Postgres accepts writes, a gateway password is configured, and this
            process is not shutting down.
        postgres: Whether it accepts writes and has the tables of this version.
        migrated: Whether it has those tables; if false, run `tether-worker migrate`; null if it does not answer.
        redis: Whether it answers; without it everything works, but slower.
        objects: Whether the object store answers; without it only uploads cannot be sent or read.
        gateway_password: Whether one is configured; without it all notifications are refused.
        oldest_waiting_s: Age of the oldest notification that is due and not applied, in seconds; null if unknown. It does not
            make a node unready.
        fingerprint_key: Whether this node's `TETHER_FINGERPRINT_KEY` is the database's: "matches", or why not; null if unknown.
            Notifications are recorded and processed in any case, so it does not make a node unready.
        refused: What is refused because of the key, and who must do what; null if nothing is refused.
    """

    ready: bool
    postgres: bool
    migrated: bool | None
    redis: bool
    objects: bool
    gateway_password: bool
    oldest_waiting_s: float | None
    fingerprint_key: KeyState | None
    refused: str | None


@get("/health", summary="Whether the process is alive", tags=["operation"])
async def health() -> dict[Literal["status", "version"], str]:
    """The process is alive; nothing else is checked."""
    return {"status": "alive", "version": __version__}


@get("/ready", summary="Whether notifications can be recorded", tags=["operation"])
async def ready(state: State) -> Response[Readiness]:
    """Check Postgres, Redis and the object store; 503 when notifications cannot be recorded."""
    outcome, oldest_s, has_redis, has_objects, key = await asyncio.gather(
        _in_time(state.recording_probe.run(), READY_S),
        _in_time(_measure_oldest(state), READY_S),
        _in_time(redis.answers(state.cache), READY_S),
        _in_time(_objects_answer(state), READY_S),
        _in_time(_observe_key(state), READY_S),
    )
    readiness = Readiness(
        ready=outcome == "recordable" and bool(state.credentials) and not state.shutdown.announced,
        postgres=outcome == "recordable",
        migrated={"recordable": True, "not_migrated": False}.get(outcome or ""),
        redis=bool(has_redis),
        objects=bool(has_objects),
        gateway_password=bool(state.credentials),
        oldest_waiting_s=oldest_s,
        fingerprint_key=key,
        refused=None if key in {None, "matches"} else str(FingerprintKeyRefused(key)),
    )
    return Response(readiness, status_code=200 if readiness.ready else 503)


@head("/health", include_in_schema=False)
async def health_status() -> None:
    """As `health`, without a body."""


@head("/ready", include_in_schema=False)
async def ready_status(state: State) -> Response[None]:
    """As `ready`, without a body."""
    response: Response[Readiness] = await ready.fn(state)
    return Response(None, status_code=response.status_code)


PROBES: Final = (health, ready, health_status, ready_status)


@get("/metrics", summary="Prometheus metrics of this node", tags=["operation"], media_type=MediaType.TEXT)
async def metrics(state: State) -> Response[bytes]:
    """The metrics of all processes of the node. Do not expose it to the internet; see the deployment guide."""
    refreshed = await asyncio.gather(*(_refreshed(refresh(state)) for _, refresh in _REFRESHED))
    stale = [names for (names, _), fresh in zip(_REFRESHED, refreshed, strict=True) if not fresh]
    LOG_LINES_DROPPED.set(telemetry.dropped())
    DATABASE_EPOCH.set(state.watch.number)
    text = rendered(exclude=frozenset().union(*stale))
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


class RecordingProbe:
    """
    Probes whether notifications can be recorded, on its own connection.

    Searches through the API may hold all other connections while notifications are recorded, and a database may answer queries
    while it accepts no writes. So the probe is a write to the inbox table on a separate connection.
    """

    def __init__(self, pool: Pool) -> None:
        """
        Nothing runs before the first probe.

        Args:
            pool: With one connection.
        """
        self._pool = pool
        self._running: asyncio.Task[Recordable] | None = None

    async def run(self) -> Recordable:
        """Probe once; concurrent calls share the result."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._try())
        return await asyncio.shield(self._running)

    async def _try(self) -> Recordable:
        try:
            async with connection(self._pool) as conn:
                await webhook_events.probe(conn)
        except SchemaBehind as exc:
            _log.error(str(exc))
            return "not_migrated"
        except StoreUnreachable:
            return "unreachable"
        return "recordable"


async def _in_time(check: Coroutine[Any, Any, T], wait_s: float) -> T | None:
    """The result of a check, or `None` when it takes too long."""
    task = asyncio.create_task(check)
    # Not cancelled when it takes too long: cancelling a query of a hanging server takes even longer. It ends with the
    # server's response or with the connection.
    _checks.add(task)
    task.add_done_callback(_checks.discard)
    await asyncio.wait({task}, timeout=wait_s)
    return task.result() if task.done() else None


async def _refreshed(refresh: Coroutine[Any, Any, None]) -> bool:
    async def done() -> bool:
        try:
            await refresh
        except Unavailable:
            return False
        return True

    return bool(await _in_time(done(), METRICS_S))


async def _count_inbox(state: State) -> None:
    async with reading(state.pool) as conn:
        counts = await event_lists.unfinished(conn)
        _, excess = await excess_deliveries.counts(conn)
        await differences.observe(conn)
        unknown = await gateway_identities.counts(conn)
    # A reason without rows must not keep its last value.
    for reason in ("", *submission.UNRESOLVED):
        SUBMISSIONS_UNKNOWN.labels(reason or "not_inquired").set(unknown.get(reason, 0))
    for name, count in counts.items():
        INBOX_ROWS.labels(name).set(count)
    EXCESS_DELIVERIES.set(excess)


async def _refresh_oldest(state: State) -> None:
    async with reading(state.pool) as conn:
        OLDEST_WAITING.set(await webhook_events.oldest_due_s(conn, now=state.clock()))


async def _measure_oldest(state: State) -> float | None:
    try:
        async with reading(state.pool) as conn:
            oldest_s = await webhook_events.oldest_due_s(conn, now=state.clock())
    except Unavailable:
        return None
    OLDEST_WAITING.set(oldest_s)
    return oldest_s


async def _observe_key(state: State) -> KeyState | None:
    try:
        return await _refresh_key(state)
    except Unavailable:
        return None


async def _refresh_key(state: State) -> KeyState:
    async with reading(state.pool) as conn:
        key = await fingerprint_key.observe(conn, state.settings.fingerprint_key.encode())
    FINGERPRINT_KEY_REFUSED.set(key != "matches")
    return key


async def _count_key(state: State) -> None:
    await _refresh_key(state)


async def _see_stores(state: State) -> None:
    checks = {
        "postgres": state.recording_probe.run(),
        "redis": redis.answers(state.cache),
        "objects": _objects_answer(state),
    }
    found = await asyncio.gather(*(_in_time(check, _STORE_S) for check in checks.values()))
    for store, answer in zip(checks, found, strict=True):
        monitoring.store_up(store, is_up=answer in {True, "recordable"})


async def _objects_answer(state: State) -> bool:
    return state.objects is not None and await objects.answers(state.objects)


# What /metrics refreshes before it responds, with the names of the metrics that each function sets.
_REFRESHED: Final[tuple[tuple[frozenset[str], Callable[[State], Coroutine[Any, Any, None]]], ...]] = (
    (frozenset({"tether_oldest_waiting_seconds"}), _refresh_oldest),
    (frozenset({"tether_fingerprint_key_refused"}), _count_key),
    (
        frozenset({"tether_inbox_rows", "tether_excess_deliveries", "tether_submissions_unknown"})
        | differences.OBSERVED,
        _count_inbox,
    ),
    (frozenset(), _see_stores),
    (limits.OBSERVED, limits.observe),
    (monitoring.OBSERVED, monitoring.observe),
    (monitoring.OBSERVED_MONEY, monitoring.observe_money),
    (queues.OBSERVED, queues.observe),
)
