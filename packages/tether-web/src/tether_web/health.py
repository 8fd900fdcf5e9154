"""
`GET /health` (the process is alive), `GET /ready` (what it needs is there), `GET /metrics` (Prometheus).

Balancers often probe with HEAD, and are answered with the same status.
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
from tether_stores.notifications import excess_deliveries, webhook_events
from tether_stores.postgres import Pool, SchemaBehind, connection, reading

from tether_web import billing
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
# Whoever probes gives up after some seconds; the answer must come before that. A scrape is given less time.
READY_S: Final = 2.0
METRICS_S: Final = 0.7
_asking: Final[set[asyncio.Task[Any]]] = set()


class Readiness(msgspec.Struct, frozen=True):
    """
    What the node needs, and whether it is there.

    Attributes:
        ready: Whether notifications can be recorded: Postgres takes them, a gateway password is configured, and this process
            is not about to end.
        postgres: Whether it takes writes and has the tables of this version.
        migrated: Whether it has those tables; false asks for `tether-worker migrate`, null where it does not answer.
        redis: Whether it answers; without it everything works, slower.
        objects: Whether the object store answers; without it files can be neither sent nor read, all else works.
        gateway_password: Whether one is configured; without it every notification is refused.
        oldest_waiting_s: Age of the oldest notification that is due and not applied, in seconds; null if unknown, which
            alone does not make a node unready.
        fingerprint_key: Whether this node's `TETHER_FINGERPRINT_KEY` is the database's: "matches", or why not; null if unknown.
            Notifications are recorded and processed all the same, so it does not make a node unready.
        refused: What is refused because of the key, and who must do what; null where nothing is.
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
    """Answer at once, asking nobody."""
    return {"status": "alive", "version": __version__}


@get("/ready", summary="Whether notifications can be recorded", tags=["operation"])
async def ready(state: State) -> Response[Readiness]:
    """Try Postgres, Redis and the object store; 503 when notifications cannot be recorded."""
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
    """Answer at once, without words."""


@head("/ready", include_in_schema=False)
async def ready_status(state: State) -> Response[None]:
    """Answer with the status of `ready`, without words."""
    response: Response[Readiness] = await ready.fn(state)
    return Response(None, status_code=response.status_code)


PROBES: Final = (health, ready, health_status, ready_status)


@get("/metrics", summary="Prometheus metrics of this node", tags=["operation"], media_type=MediaType.TEXT)
async def metrics(state: State) -> Response[bytes]:
    """All counters of the node's processes together; keep it inside, see the deployment guide."""
    refreshed = await asyncio.gather(*(_refreshed(refresh(state)) for _, refresh in _REFRESHED))
    stale = [names for (names, _), fresh in zip(_REFRESHED, refreshed, strict=True) if not fresh]
    LOG_LINES_DROPPED.set(telemetry.dropped())
    DATABASE_EPOCH.set(state.watch.number)
    text = rendered(exclude=frozenset().union(*stale))
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


class RecordingProbe:
    """
    Whether notifications can be recorded, tried on a connection that nothing else uses.

    Searches through the API may hold all other connections while notifications are recorded well, and a database may answer
    every query while it takes no writes. So what counts is a write to the very table, on a connection of its own.
    """

    def __init__(self, pool: Pool) -> None:
        """
        Prepare; nothing runs before the first question.

        Args:
            pool: Of Postgres, of one connection.
        """
        self._pool = pool
        self._running: asyncio.Task[Recordable] | None = None

    async def run(self) -> Recordable:
        """Try once, together with all who ask meanwhile."""
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


async def _in_time(inquiry_deps: Coroutine[Any, Any, T], wait_s: float) -> T | None:
    """What is asked of a store, or `None` when it does not answer in time."""
    task = asyncio.create_task(inquiry_deps)
    # Not cancelled when it takes too long: taking a query back from a server that hangs takes longer still. It ends
    # with the server's answer or with the connection.
    _asking.add(task)
    task.add_done_callback(_asking.discard)
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
        counts = await webhook_events.unfinished(conn)
        _, excess = await excess_deliveries.counts(conn)
        await differences.observe(conn)
        unknown = await gateway_identities.counts(conn)
    # A reason that is gone must not keep its last number.
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


async def _objects_answer(state: State) -> bool:
    return state.objects is not None and await objects.answers(state.objects)


# What /metrics refreshes before it answers, each with the names of the metrics it sets.
_REFRESHED: Final[tuple[tuple[frozenset[str], Callable[[State], Coroutine[Any, Any, None]]], ...]] = (
    (frozenset({"tether_oldest_waiting_seconds"}), _refresh_oldest),
    (frozenset({"tether_fingerprint_key_refused"}), _count_key),
    (
        frozenset({"tether_inbox_rows", "tether_excess_deliveries", "tether_submissions_unknown"})
        | differences.OBSERVED,
        _count_inbox,
    ),
    (billing.OBSERVED, billing.observe),
)
