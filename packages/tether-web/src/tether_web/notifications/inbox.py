"""
The inbox of a process: records verified notifications, with look-aside and group commit.

```text
deliver ──► committed by this process lately? ── yes ─────────┐
               │ no                                          ▼
               │                          Postgres: still in the history of that mark? ── yes ──► "repeated"
               │                                             ▲             │ no
               ├── repeats are frequent, or Postgres         │             │
               │   is slow ──► Redis: seen within a day? ── yes            │
               │                        │ no, or Redis is away             │
               ▼                        ▼                                  │
            group commit: one insert for all that wait ◄───────────────────┘
               │ committed
               │                                              │ after the response, best effort
               ▼                                              ▼
            "recorded" | "repeated" | "conflicting" | "counted"    mark in Redis, wake the worker
```

Where several accounts share a password, the account of a notification is that of the payment it names. It is looked up first (`owner`), once for all
that wait; elsewhere this costs nothing.

`tether_core.notifications.lookaside` decides from measurements of this process whether Redis is used.

Redis can only be wrong by forgetting: a mark is written after its row is committed, never before. Redis can be flushed or stopped at
any time, and responses stay correct, only slower. A database forgets, too, when it is restored. So a mark names the history of the
database in which it was written (`tether_stores.database_epoch`), and it counts only if Postgres, queried after the look-up and once
for all waiting requests, is still in that history. The same rule holds for the keys that this process remembers. In all other cases
the row is inserted, which is always correct.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import datetime
from typing import Final

from tether_core.emp.notification import Notification
from tether_core.errors import StoreUnreachable
from tether_core.jobs import WEBHOOKS
from tether_core.notifications import lookaside
from tether_core.notifications.identity import Delivery
from tether_core.notifications.lookaside import LookasidePolicy, Traffic
from tether_core.reconciliation.gateway_refunds import reference_of
from tether_stores import redis
from tether_stores.database_epoch.watch import is_history
from tether_stores.jobs.queue import WakeUpQueue, wake
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.postgres import Connection, ConnectionLost, Pool, connection
from tether_stores.redis import Redis
from tether_stores.telemetry import logger
from tether_stores.traces import parents, spans

from tether_web.http.metrics import BATCH_ROWS, LOOKASIDE, REPEATS, WAKE_UPS
from tether_web.notifications.group_commit import Deadlines, GroupCommit

__all__ = ["Inbox"]

# An insert of 256 rows takes a few milliseconds; in a larger batch the first row would wait for the last.
_BATCH_MAX: Final = 256
# An idle Postgres returns its history in a millisecond. If it takes longer than this, the row is inserted instead.
_HISTORY_MAX_S: Final = 1.0
# After a failure Redis is not used for this long, so that its timeouts do not delay every response.
_REDIS_PAUSE_S: Final = 3.0
# With more frequent wake-ups the worker processes fewer rows at a time, at nearly the cost of many: docs/performance-tuning.md.
_WAKE_UP_PAUSE_S: Final = 0.1
_MARKS_MAX: Final = 10_000
# Keys that this process remembers, about 200 bytes each.
_KNOWN_MAX: Final = 20_000
_POLICY: Final = LookasidePolicy()
_CALM: Final = Traffic()
_REPEATS: Final = {by: REPEATS.labels(by) for by in ("process", "redis", "postgres")}

_log = logger("inbox")


class Inbox:
    """Records notifications, marks them in Redis, and wakes the worker; one per process."""

    def __init__(
        self,
        *,
        pool: Pool,
        history_pool: Pool,
        cache: Redis,
        wake_up_queue: WakeUpQueue,
        clock: Callable[[], datetime],
        history: Callable[[], str | None],
        deadline_s: float,
        waiting_max: int,
        traffic: Traffic = _CALM,
    ) -> None:
        """
        Nothing runs until the first delivery.

        Args:
            pool: For inserts; one connection, which need not be checked before use.
            history_pool: For history checks, which must not wait for an insert; likewise.
            wake_up_queue: Of queue "webhooks".
            history: Returns `Watch.history`; while it is `None`, no mark counts.
            deadline_s: Time limit of a delivery, in seconds; then `StoreUnreachable`.
            waiting_max: Maximum of waiting deliveries in this process.
            traffic: Assumed rates of repeats and commits until they are measured.
        """
        self._pool = pool
        self._history_pool = history_pool
        self._cache = cache
        self._wake_up_queue = wake_up_queue
        self._clock = clock
        self._history = history
        self._deadline_s = deadline_s
        # An insert takes milliseconds. An insert that exceeds the deadline of its deliveries is stuck, behind a lock or in a
        # hanging store; it is abandoned with its connection, so that it does not block the next one.
        self._insert_max_s = 2 * deadline_s
        deadlines = Deadlines(deadline_s, _no_commit_in_time)
        self._commits: GroupCommit[Recording, Delivery] = GroupCommit(
            self._commit,
            batch_max=_BATCH_MAX,
            waiting_max=waiting_max,
            what="notifications",
            sizes=BATCH_ROWS.labels("commit").observe,
            deadlines=deadlines,
        )
        self._confirms: GroupCommit[Recording, Delivery] = GroupCommit(
            self._confirm,
            batch_max=_BATCH_MAX,
            waiting_max=waiting_max,
            what="notifications",
            sizes=BATCH_ROWS.labels("confirm").observe,
            next_group=self._commits,
            deadlines=deadlines,
        )
        self._lookups: GroupCommit[Recording, Delivery] = GroupCommit(
            self._look_up,
            batch_max=_BATCH_MAX,
            waiting_max=waiting_max,
            what="notifications",
            sizes=BATCH_ROWS.labels("look-aside").observe,
            next_group=self._commits,
            deadlines=deadlines,
        )
        self._owners: GroupCommit[tuple[str, str, str], str] = GroupCommit(
            self._look_up_owners,
            batch_max=_BATCH_MAX,
            waiting_max=waiting_max,
            what="notifications",
            sizes=BATCH_ROWS.labels("owners").observe,
            deadlines=deadlines,
        )
        self._redis_paused_until = 0.0
        # Key -> content of deliveries that this process committed in `_known_history`; the oldest are dropped first.
        # Ordered, because finding the first key of a plain dict passes all that were deleted before it.
        self._known = OrderedDict[bytes, bytes]()
        self._known_history: str | None = None
        self._traffic = traffic
        self._commit_began_s: float | None = None
        self._marks: list[tuple[str, bytes, bytes]] = []
        self._wake_ups_due = False
        self._slot = 0
        self._after: asyncio.Task[None] | None = None

    async def deliver(self, row: Recording) -> Delivery:
        """
        Record a verified notification durably, or recognise that it is stored.

        Returns:
            "recorded", "repeated", "conflicting" or "counted"; in each case the row or the count is committed.

        Raises:
            StoreUnreachable: when no commit succeeded within the deadline. The row may still be committed; the gateway's
                next delivery is then a repeat.
            Overloaded: when too many deliveries wait.
        """
        history = self._history()
        if history is None:
            return await self._commits.do(row)
        if history == self._known_history and self._known.get(row.key) == row.content:
            return await self._confirms.do(row)
        looks_up = self._uses_redis() and not self._redis_is_paused()
        return await (self._lookups if looks_up else self._commits).do(row)

    async def owner(self, notification: Notification) -> str | None:
        """
        The account of the payment that a notification names; `None` where the payment is not known.

        Raises:
            StoreUnreachable: when it was not found out within the deadline.
            Overloaded: when too many deliveries wait.
        """
        named = (
            notification.unique_id or "",
            notification.transaction_id or "",
            reference_of(notification) or "",
        )
        return await self._owners.do(named) or None

    async def close(self) -> None:
        """Finish the deliveries in flight; called after the last request, so a hanging call is abandoned."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_s):
                await self._owners.drained()
                await self._lookups.drained()
                await self._confirms.drained()
                await self._commits.drained()
        if self._after is not None:
            await asyncio.wait([self._after], timeout=1.0)

    async def _look_up(self, rows: Sequence[Recording]) -> Sequence[Delivery | None]:
        history = self._history()
        if history is None or self._redis_is_paused():  # items that were queued before Redis failed
            return [None] * len(rows)
        try:
            seen = await redis.seen(self._cache, [row.key for row in rows], history=history)
        except StoreUnreachable as exc:
            self._pause_redis(exc)
            return [None] * len(rows)
        found: list[Delivery | None] = [
            "repeated" if content == row.content else None for row, content in zip(rows, seen, strict=True)
        ]
        # After the look-up: an earlier check would miss a database that was restored in between.
        if any(found) and not await self._is_in(history):
            return [None] * len(rows)
        repeats = len(found) - found.count(None)
        if repeats:  # new rows are counted by their commit
            _REPEATS["redis"].inc(repeats)
            self._observe(deliveries=repeats, repeats=repeats, commit_s=None)
        return found

    async def _confirm(self, rows: Sequence[Recording]) -> Sequence[Delivery | None]:
        """The deliveries that this process committed and that the database still has."""
        history = self._known_history
        if history is None or not await self._is_in(history) or history != self._known_history:
            return [None] * len(rows)
        found: list[Delivery | None] = [
            "repeated" if self._known.get(row.key) == row.content else None for row in rows
        ]
        _REPEATS["process"].inc(len(found) - found.count(None))
        return found

    async def _look_up_owners(self, named: Sequence[tuple[str, str, str]]) -> Sequence[str]:
        try:
            found = await self._stored_owners(named)
        except ConnectionLost:  # it had died while idle
            found = await self._stored_owners(named)
        return [account or "" for account in found]

    async def _stored_owners(self, named: Sequence[tuple[str, str, str]]) -> list[str | None]:
        try:
            async with asyncio.timeout(self._insert_max_s), connection(self._history_pool) as conn:
                return await webhook_events.owners(conn, named)
        except TimeoutError as exc:
            raise StoreUnreachable("postgres", why="no look-up in time") from exc

    async def _is_in(self, history: str) -> bool:
        """Whether Postgres confirms in time that it is in *history*; otherwise the row is inserted."""
        try:
            async with asyncio.timeout(_HISTORY_MAX_S), connection(self._history_pool) as conn:
                return await is_history(conn, history)
        except (StoreUnreachable, TimeoutError):
            return False

    async def _commit(self, rows: Sequence[Recording]) -> Sequence[Delivery]:
        # Read before the commit: if the database is restored in between, the mark belongs to the lost history.
        history = self._history()
        began_s = self._commit_began_s = asyncio.get_running_loop().time()
        try:
            outcomes = await self._record(rows)
        except ConnectionLost:
            # The connection had died while idle, e.g. after a restart of Postgres. Rows that were committed
            # nevertheless are found as repeats.
            outcomes = await self._record(rows)
            self._wake_ups_due = (
                True  # rows of the first try are repeats now, and no wake-up was sent for them
            )
        finally:
            self._commit_began_s = None
            took_s = asyncio.get_running_loop().time() - began_s
        repeats = outcomes.count("repeated")
        if repeats:
            _REPEATS["postgres"].inc(repeats)
        self._observe(deliveries=len(rows), repeats=repeats, commit_s=took_s)
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome == "recorded":
                self._wake_ups_due = True
            if history is not None and outcome in {"recorded", "repeated"}:
                self._remember(history, row)
                if len(self._marks) < _MARKS_MAX:
                    self._marks.append((history, row.key, row.content))
        if self._after is None:
            self._after = asyncio.create_task(self._mark_and_wake(), context=Context())
        return outcomes

    def _remember(self, history: str, row: Recording) -> None:
        if history != self._known_history:  # rows of another history may be lost
            self._known.clear()
            self._known_history = history
        self._known[row.key] = row.content
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def _observe(self, *, deliveries: int, repeats: int, commit_s: float | None) -> None:
        self._traffic = lookaside.observed(
            self._traffic, deliveries=deliveries, repeats=repeats, commit_s=commit_s, policy=_POLICY
        )
        LOOKASIDE.set(self._traffic.uses_redis)

    def _uses_redis(self) -> bool:
        # A hanging commit is not measured yet.
        began_s = self._commit_began_s
        return self._traffic.uses_redis or (
            began_s is not None and asyncio.get_running_loop().time() - began_s >= _POLICY.commit_on_s
        )

    async def _record(self, rows: Sequence[Recording]) -> list[Delivery]:
        # Autocommit: the insert is one statement. BEGIN and COMMIT would add two round trips and no safety; conflicting
        # deliveries are further statements, each committed by itself.
        try:
            async with asyncio.timeout(self._insert_max_s), connection(self._pool) as conn:
                now = self._clock()
                outcomes = await webhook_events.record(conn, rows, now=now)
                if spans.is_on():
                    await _remember_traces(conn, rows, outcomes, now=now)
                return outcomes
        except TimeoutError as exc:
            raise _no_commit_in_time() from exc

    async def _mark_and_wake(self) -> None:
        """Write marks and wake the worker until nothing is left to do."""
        try:
            await asyncio.sleep(0)  # the responses go out first
            while self._marks or self._wake_ups_due:
                marks, self._marks = self._marks, []
                wake_ups_due, self._wake_ups_due = self._wake_ups_due, False
                if self._redis_is_paused():
                    return  # workers poll, and Postgres recognises repeats
                try:
                    if wake_ups_due:
                        await self._wake()
                    if marks:
                        await redis.mark_seen(self._cache, marks)
                except StoreUnreachable as exc:
                    self._pause_redis(exc)
                    return
                await asyncio.sleep(_WAKE_UP_PAUSE_S)
        finally:
            self._after = None

    async def _wake(self) -> None:
        self._slot += 1
        try:
            is_new = await wake(self._wake_up_queue, WEBHOOKS, slot=self._slot)
        except StoreUnreachable:
            WAKE_UPS.labels("failed").inc()
            raise
        WAKE_UPS.labels("woken" if is_new else "already woken").inc()

    def _redis_is_paused(self) -> bool:
        return asyncio.get_running_loop().time() < self._redis_paused_until

    def _pause_redis(self, exc: StoreUnreachable) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._redis_paused_until:
            _log.warning("redis unavailable; continuing without it", why=exc.why, pause_s=_REDIS_PAUSE_S)
        self._redis_paused_until = now + _REDIS_PAUSE_S


async def _remember_traces(
    conn: Connection, rows: Sequence[Recording], outcomes: Sequence[Delivery], *, now: datetime
) -> None:
    new = [
        (row.key, row.traceparent)
        for row, outcome in zip(rows, outcomes, strict=True)
        if outcome == "recorded" and row.traceparent
    ]
    try:
        await parents.remember_notifications(conn, new, now=now)
    except Exception as exc:  # noqa: BLE001 - the rows are committed: a trace is no reason to answer otherwise
        _log.warning("traces not stored", rows=len(new), exc_info=exc)


def _no_commit_in_time() -> StoreUnreachable:
    return StoreUnreachable("postgres", why="no commit in time")
