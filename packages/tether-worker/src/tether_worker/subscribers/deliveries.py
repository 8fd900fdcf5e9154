"""
Deliveries: made from the outbox, sent, and recorded.

```text
outbox ─► position of each subscriber ─► deliveries (waiting) ─► leased ─► request ─► delivered | retried later | given up
              one commit a turn                                 one commit            one commit
```

Rows are the truth: a worker that dies leaves a lease that ends, and the delivery is sent again with the same id. Each subscriber has
slots of its own in each process, so an endpoint that does not answer delays nobody else, and nothing here is part of the way of a notification.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from types import MappingProxyType
from typing import Final

import msgspec
from tether_core.events import SubscriberDisabled
from tether_core.jobs import DELIVER
from tether_core.retry import UNSENT_DELIVERY_S
from tether_core.subscribers import cloud_events
from tether_core.subscribers.delivery import Response, TryResult, decide
from tether_core.subscribers.subscriber import (
    DisabledReason,
    EventFilter,
    is_recovery,
    must_disable,
    step,
    wants,
)
from tether_core.subscribers.topics import topic_of
from tether_stores import events
from tether_stores.events import Horizon, StoredEvent, Tip
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.subscribers import deliveries, replays, subscribers
from tether_stores.subscribers.deliveries import ClaimedDelivery, NewDelivery
from tether_stores.subscribers.secrets import opened
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask
from tether_worker.jobs.run import Work
from tether_worker.subscribers.brokers import Brokers
from tether_worker.subscribers.sending import TIMEOUT_S, Sender, signed_headers

__all__ = ["SLOTS", "Delivering", "delivering", "pruning", "record"]

# Requests to one subscriber at a time, in each process.
SLOTS: Final = 8
# Events that a turn of a subscriber looks at, and how many of them become deliveries.
_LOOKED_AT_MAX: Final = 20_000
_TURN_MAX: Final = 500
# Longer than an exchange and its record; then another worker sends again.
_LEASE: Final = timedelta(seconds=TIMEOUT_S + 15)
# How long a batch waits for slots that become free, and how long for further ones after the first: looking for what is due costs
# as much as a delivery, whether one slot is free or all are.
_PAUSE_S: Final = 0.5
_TOGETHER_S: Final = 0.005
_PRUNE_MAX: Final = 1_000

# Tries that never left this process: the event is not stored any more, or the key of the secrets or the broker is not set.
_INTERNAL: Final = frozenset({"broker_not_configured", "event_deleted", "secret_unreadable"})

_log = logger("subscribers")


class _Position(msgspec.Struct):
    horizon: Horizon
    reached: int = 0


class Delivering:
    """What a process sends now."""

    def __init__(
        self,
        pool: Pool,
        sender: Sender,
        *,
        secrets_key: Sequence[str],
        clock: Callable[[], datetime],
        brokers: Brokers = MappingProxyType({}),
        jitter: Callable[[], float] = random.random,
        slots: int = SLOTS,
    ) -> None:
        """
        Nothing is sent until the first batch.

        Args:
            secrets_key: `TETHER_SECRETS_KEY`, which opens the secrets of subscribers.
            brokers: Those that are configured, for subscribers that are a topic.
            jitter: Gives a number of [0, 1), for the spread of retries.
            slots: Requests to one subscriber at a time.
        """
        self._pool = pool
        self._sender = sender
        self._brokers = brokers
        self._secrets_key = tuple(secrets_key)
        self._clock = clock
        self._jitter = jitter
        self._slots = slots
        self._seen = _Position(Horizon())
        self._in_progress: dict[asyncio.Task[None], int] = {}

    async def batch(self) -> int:
        """Make deliveries, begin to send those that are due, and wait until one of them ends; returns how many began."""
        await self._make()
        begun = await self._begin()
        if self._in_progress:
            await asyncio.wait(self._in_progress, timeout=_PAUSE_S, return_when=asyncio.FIRST_COMPLETED)
            if self._in_progress:
                await asyncio.wait(self._in_progress, timeout=_TOGETHER_S)
            return max(begun, 1)
        return begun

    async def has_pending(self) -> bool:
        """Whether there is any subscriber; a batch without work costs three short queries."""
        async with connection(self._pool) as conn:
            return await subscribers.count(conn) > 0

    async def ended(self) -> None:
        """Wait for what is being sent; each has a time limit."""
        while self._in_progress:
            await asyncio.wait(self._in_progress)
        await self._sender.close()
        for broker in self._brokers.values():
            await broker.close()

    # From the outbox to deliveries

    async def _make(self) -> None:
        seen = self._seen
        async with connection(self._pool) as conn:
            tip: Tip = await events.tip(conn, after=seen.reached)
            if tip.id < seen.reached:
                # The database is an earlier copy of itself.
                seen = self._seen = _Position(Horizon())
            seen.reached = max(seen.reached, seen.horizon.complete_to(tip) or 0)
            ids = await subscribers.with_work(conn, up_to=seen.reached)
        for subscriber_id in ids:
            async with transaction(self._pool) as conn:
                await _make_some(conn, subscriber_id, up_to=seen.reached, now=self._clock())

    # From deliveries to requests

    async def _begin(self) -> int:
        now, begun = self._clock(), 0
        async with connection(self._pool) as conn:
            due = await deliveries.due(conn, now=now)
            busy = list(self._in_progress.values())
            for subscriber_id in due:
                free = self._slots - busy.count(subscriber_id)
                if free <= 0:
                    continue
                claimed = await deliveries.claim(
                    conn, subscriber_id, limit=free, leased_until=now + _LEASE, now=now
                )
                for delivery in claimed:
                    task = asyncio.create_task(self._send(delivery))
                    self._in_progress[task] = subscriber_id
                    task.add_done_callback(self._in_progress.pop)
                begun += len(claimed)
        return begun

    async def _send(self, claimed: ClaimedDelivery) -> None:
        try:
            tried_at, began_s = self._clock(), monotonic()
            response = await self._tried(claimed, now=tried_at)
            took_ms = round((monotonic() - began_s) * 1000)
            async with transaction(self._pool) as conn:
                await record(
                    conn,
                    claimed,
                    response,
                    tried_at=tried_at,
                    took_ms=took_ms,
                    now=self._clock(),
                    jitter=self._jitter(),
                )
        except Exception as exc:  # noqa: BLE001 - the lease ends, and the delivery is sent again
            _log.warning("delivery not recorded", delivery_id=claimed.id, why=type(exc).__name__)

    async def _tried(self, claimed: ClaimedDelivery, *, now: datetime) -> Response:
        if claimed.payload is None or claimed.occurred_at is None:
            return Response(None, "event_deleted")
        secrets = opened(claimed.subscriber_id, claimed.sealed, keys=self._secrets_key)
        if not secrets:
            _log.error(
                "no key of TETHER_SECRETS_KEY opens the secrets of a subscriber",
                subscriber_id=claimed.subscriber_id,
            )
            return Response(None, "secret_unreadable")
        if claimed.old_secret_until is None or claimed.old_secret_until <= now:
            secrets = secrets[:1]
        occurred_at, payload = claimed.occurred_at, claimed.payload
        body = cloud_events.body(
            claimed.event_id, occurred_at=occurred_at, payload=payload, account=claimed.account
        )
        message_id = cloud_events.stable_id(claimed.event_id, occurred_at=occurred_at, payload=payload)
        topic = topic_of(claimed.url)
        if topic is None:
            return await self._sender.send(
                claimed.url, message_id=message_id, body=body, secrets=secrets, now=now
            )
        broker = self._brokers.get(topic.broker)
        if broker is None:
            _log.error(
                "the broker of a subscriber is not configured here",
                subscriber_id=claimed.subscriber_id,
                broker=topic.broker,
            )
            return Response(None, "broker_not_configured")
        return await broker.send(
            topic.name,
            key=cloud_events.order_key(payload),
            headers=signed_headers(message_id, body, secrets=secrets, now=now),
            body=body,
        )


def delivering(deps: Delivering) -> Work:
    """The job that sends events to subscribers; it has no wake-ups, because events come from everywhere."""
    return Work(DELIVER, deps.batch, deps.has_pending)


def pruning(pool: Pool, *, clock: Callable[[], datetime], days: int) -> PeriodicTask:
    """The periodic task that deletes deliveries that ended *days* ago or earlier."""

    async def prune() -> None:
        async with connection(pool) as conn:
            await deliveries.prune(conn, before=clock() - timedelta(days=days), limit=_PRUNE_MAX)

    return PeriodicTask("prune_deliveries", 60, prune)


async def _make_some(conn: Connection, subscriber_id: int, *, up_to: int, now: datetime) -> None:
    held = await subscribers.hold_position(conn, subscriber_id)
    if held is None:
        return
    position, chosen = held
    room = subscribers.WAITING_MAX - await deliveries.waiting_count(
        conn, subscriber_id, limit=subscribers.WAITING_MAX
    )
    if room <= 0:
        return
    limit = min(room, _TURN_MAX)
    if position < up_to:
        found, reached = await _next(conn, chosen, after=position, up_to=up_to, limit=limit)
        await deliveries.add(conn, subscriber_id, found, now=now)
        await subscribers.advance(conn, subscriber_id, position=reached)
        limit -= len(found)
    replay = await replays.hold_open(conn, subscriber_id) if limit > 0 else None
    if replay is not None:
        types = chosen.types if replay.types is None else replay.types
        some = msgspec.structs.replace(chosen, types=types)
        found, reached = await _next(conn, some, after=replay.position, up_to=replay.up_to, limit=limit)
        await deliveries.reopen(conn, subscriber_id, [delivery.event_id for delivery in found], now=now)
        await deliveries.add(conn, subscriber_id, found, now=now)
        finished_at = now if reached >= replay.up_to else None
        await replays.advance(conn, replay.id, position=reached, count=len(found), finished_at=finished_at)


async def _next(
    conn: Connection, chosen: EventFilter, *, after: int, up_to: int, limit: int
) -> tuple[list[NewDelivery], int]:
    """The next deliveries of a subscriber, and how far along the outbox they reach."""
    end = min(up_to, after + _LOOKED_AT_MAX)
    stored = await events.between(conn, after=after, up_to=end, limit=limit, names=chosen.types)
    reached = stored[-1].id if len(stored) == limit else end
    found = [delivery for delivery in await _described(conn, stored) if _is_wanted(chosen, delivery)]
    return found, reached


def _is_wanted(chosen: EventFilter, delivery: NewDelivery) -> bool:
    return wants(chosen, name=delivery.event_name, account=delivery.account)


async def _described(conn: Connection, stored: Sequence[StoredEvent]) -> list[NewDelivery]:
    attempt_ids = [cloud_events.facts_of(event.payload)[1].get("attempt_id") for event in stored]
    accounts = await deliveries.accounts_of(
        conn,
        attempt_ids=[attempt_id for attempt_id in attempt_ids if attempt_id],
        webhook_event_ids=[event.webhook_event_id for event in stored if event.webhook_event_id],
    )
    return [
        NewDelivery(
            event.id,
            event.name,
            accounts.get(("attempt", attempt_id or 0))
            or accounts.get(("notification", event.webhook_event_id or 0)),
            cloud_events.order_key(event.payload),
        )
        for event, attempt_id in zip(stored, attempt_ids, strict=True)
    ]


async def record(
    conn: Connection,
    claimed: ClaimedDelivery,
    response: Response,
    *,
    tried_at: datetime,
    took_ms: int,
    now: datetime,
    jitter: float,
) -> None:
    """
    Record the result of a try, and what it means for the subscriber.

    Args:
        conn: Inside a transaction. The row of the subscriber is locked before that of the delivery, as where deliveries are made.
        jitter: Of [0, 1).
    """
    subscriber_id = claimed.subscriber_id
    if response.error in _INTERNAL:
        # It says nothing about the subscriber, so it uses no try up.
        later = TryResult("waiting", now + timedelta(seconds=UNSENT_DELIVERY_S))
        result = TryResult("given_up", None) if response.error == "event_deleted" else later
        kept = msgspec.structs.replace(claimed, failures=claimed.failures - 1)
        await deliveries.put(conn, kept, response, result, tried_at=tried_at, took_ms=took_ms, now=now)
        return
    result = decide(response, tries=claimed.failures + 1, now=now, jitter=jitter)
    if result.state == "delivered":
        since = await subscribers.succeeded(conn, subscriber_id, now=now)
        await deliveries.put(conn, claimed, response, result, tried_at=tried_at, took_ms=took_ms, now=now)
        if is_recovery(failing_since=since, now=now):
            await deliveries.bring_forward(conn, subscriber_id, now=now)
            _log.info("subscriber recovered", subscriber_id=subscriber_id)
        return
    health = await subscribers.failed(conn, subscriber_id, now=now)
    await deliveries.put(conn, claimed, response, result, tried_at=tried_at, took_ms=took_ms, now=now)
    if result.state == "given_up":
        _log.warning("delivery given up", subscriber_id=subscriber_id, delivery_id=claimed.id)
    if health is None or health.state != "active":
        return
    reason: DisabledReason | None = None
    if result.is_gone:
        reason = "gone"
    elif must_disable(failing_since=health.failing_since_at, now=now):
        reason = "failing"
    if reason is None:
        return
    state = step(health.state, "disabled")
    await subscribers.put_state(conn, subscriber_id, state, disabled_reason=reason, now=now)
    await events.append(conn, [(None, SubscriberDisabled(subscriber_id, reason))], now=now)
    _log.error("subscriber disabled", subscriber_id=subscriber_id, reason=reason)
