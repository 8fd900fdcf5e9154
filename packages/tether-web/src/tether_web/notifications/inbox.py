"""
The way of a verified notification into the inbox, for all requests of one process together.

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
               │                                              │ after the answer, best effort
               ▼                                              ▼
            "recorded" | "repeated" | "conflicting" | "counted"    mark in Redis, ring the worker
```

Whether Redis is asked is decided by `tether_core.notifications.lookaside` from what this process measures.

Redis may be wrong in one way only, by forgetting: a mark is written after its row is committed, never before.
So it can be flushed or stopped at any time and the answers stay right, only slower. A database may forget, too, when it is
restored, and within a fraction of a second. So a mark names the history of the database in which it was written
(`tether_stores.database_epoch`), and it counts only where Postgres, asked after the look and once for all that wait, is still in
that history. The keys that this process remembers by itself count under the same rule. Otherwise the row is inserted, which is
always right.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import datetime
from typing import Final

from tether_core.errors import StoreUnreachable
from tether_core.jobs import WEBHOOKS
from tether_core.notifications import lookaside
from tether_core.notifications.identity import Delivery
from tether_core.notifications.lookaside import Policy, Traffic
from tether_stores import database_epoch, redis
from tether_stores.jobs.queue import WakeUpQueue, wake
from tether_stores.notifications import webhook_events
from tether_stores.notifications.webhook_events import Recording
from tether_stores.postgres import ConnectionLost, Pool, connection
from tether_stores.redis import Redis
from tether_stores.telemetry import logger

from tether_web.http.metrics import BATCH_ROWS, LOOKASIDE, REPEATS, WAKE_UPS
from tether_web.notifications.group_commit import Deadlines, Group

__all__ = ["Inbox"]

# One insert of 256 rows takes a few milliseconds; more would only make the first of them wait for the last.
_BATCH_MAX: Final = 256
# An idle Postgres says in a millisecond which history it is in. Where it takes longer, the row is inserted as soon as can be.
_LOOK_MAX_S: Final = 1.0
# A Redis that failed is left alone this long, so that its timeouts are not added to every answer.
_REDIS_PAUSE_S: Final = 3.0
# Wake-ups closer together than this would have the worker book a few rows at a time, at the price of many.
_WAKE_UP_PAUSE_S: Final = 0.1
_MARKS_MAX: Final = 10_000
# Keys that this process remembers, of some 200 bytes each.
_KNOWN_MAX: Final = 20_000
_POLICY: Final = Policy()
_CALM: Final = Traffic()
_REPEATS: Final = {by: REPEATS.labels(by) for by in ("process", "redis", "postgres")}

_log = logger("inbox")


class Inbox:
    """One per process: joins requests, writes rows, marks them, and wake-ups the worker."""

    def __init__(
        self,
        *,
        pool: Pool,
        look_pool: Pool,
        cache: Redis,
        wake_up_queue: WakeUpQueue,
        clock: Callable[[], datetime],
        history: Callable[[], str | None],
        deadline_s: float,
        waiting_max: int,
        traffic: Traffic = _CALM,
    ) -> None:
        """
        Prepare; nothing runs until the first delivery.

        Args:
            pool: Of Postgres; one connection is used, and it need not be checked before.
            look_pool: Of Postgres likewise; a look must not wait for an insert.
            cache: Redis, for the look-aside.
            wake_up_queue: Of queue "webhooks".
            clock: Gives the current time, aware, UTC.
            history: Gives `Watch.history`; `None` while none is confirmed, and no mark counts.
            deadline_s: How long a delivery may take before `StoreUnreachable`, in seconds.
            waiting_max: Deliveries at most that may wait in this process.
            traffic: What is assumed of repeats and commits until they are measured.
        """
        self._pool = pool
        self._look_pool = look_pool
        self._cache = cache
        self._wake_up_queue = wake_up_queue
        self._clock = clock
        self._history = history
        self._deadline_s = deadline_s
        # An insert takes milliseconds. One for whose rows nobody waits any more is stuck, behind a lock or in a store that
        # hangs; it is given up with its connection, so that those behind it are not let down as well.
        self._insert_max_s = 2 * deadline_s
        deadlines = Deadlines(deadline_s, _no_commit_in_time)
        self._commits: Group[Recording, Delivery] = Group(
            self._commit,
            batch_max=_BATCH_MAX,
            waiting_max=waiting_max,
            what="notifications",
            sizes=BATCH_ROWS.labels("commit").observe,
            deadlines=deadlines,
        )
        self._confirms: Group[Recording, Delivery] = Group(
            self._confirm,
            batch_max=_BATCH_MAX,
            waiting_max=waiting_max,
            what="notifications",
            sizes=BATCH_ROWS.labels("confirm").observe,
            onward=self._commits,
            deadlines=deadlines,
        )
        self._looks: Group[Recording, Delivery] = Group(
            self._look,
            batch_max=_BATCH_MAX,
            waiting_max=waiting_max,
            what="notifications",
            sizes=BATCH_ROWS.labels("look-aside").observe,
            onward=self._commits,
            deadlines=deadlines,
        )
        self._redis_away_until = 0.0
        # Key -> content, of what this process committed in the history beside it; the oldest are forgotten first.
        self._known: dict[bytes, bytes] = {}
        self._known_history: str | None = None
        self._traffic = traffic
        self._commit_began_s: float | None = None
        self._marks: list[tuple[str, bytes, bytes]] = []
        self._wake_ups_due = False
        self._slot = 0
        self._after: asyncio.Task[None] | None = None

    async def deliver(self, row: Recording) -> Delivery:
        """
        Record a notification durably, or learn that it is stored.

        Args:
            row: Verified.

        Returns:
            "recorded", "repeated", "conflicting" or "counted"; in each case its row or its count is committed.

        Raises:
            StoreUnreachable: when no commit came within the deadline. The row may still land; the gateway's
                repeat will then find it.
            Overloaded: when too many wait.
        """
        history = self._history()
        if history is None:
            return await self._commits.do(row)
        if history == self._known_history and self._known.get(row.key) == row.content:
            return await self._confirms.do(row)
        looks = self._asks_redis() and not self._redis_is_left_alone()
        return await (self._looks if looks else self._commits).do(row)

    async def close(self) -> None:
        """Finish what is in flight; called once no request can come any more, so nobody waits for what hangs."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._deadline_s):
                await self._looks.drained()
                await self._confirms.drained()
                await self._commits.drained()
        if self._after is not None:
            await asyncio.wait([self._after], timeout=1.0)

    async def _look(self, rows: Sequence[Recording]) -> Sequence[Delivery | None]:
        history = self._history()
        if history is None or self._redis_is_left_alone():  # those who had queued for it before it failed
            return [None] * len(rows)
        try:
            seen = await redis.seen(self._cache, [row.key for row in rows], history=history)
        except StoreUnreachable as exc:
            self._leave_redis_alone(exc)
            return [None] * len(rows)
        found: list[Delivery | None] = [
            "repeated" if content == row.content else None for row, content in zip(rows, seen, strict=True)
        ]
        # After the look: what Postgres said before it would say nothing of a database that went back in between.
        if any(found) and not await self._is_in(history):
            return [None] * len(rows)
        repeats = len(found) - found.count(None)
        if repeats:  # the others are counted by their commit
            _REPEATS["redis"].inc(repeats)
            self._observe(deliveries=repeats, repeats=repeats, commit_s=None)
        return found

    async def _confirm(self, rows: Sequence[Recording]) -> Sequence[Delivery | None]:
        """Of what this process committed: what is still there."""
        history = self._known_history
        if history is None or not await self._is_in(history) or history != self._known_history:
            return [None] * len(rows)
        found: list[Delivery | None] = [
            "repeated" if self._known.get(row.key) == row.content else None for row in rows
        ]
        _REPEATS["process"].inc(len(found) - found.count(None))
        return found

    async def _is_in(self, history: str) -> bool:
        """Whether Postgres is in a history; not where it does not say so in time, and the insert finds out more."""
        try:
            async with asyncio.timeout(_LOOK_MAX_S), connection(self._look_pool) as conn:
                return await database_epoch.is_history(conn, history)
        except (StoreUnreachable, TimeoutError):
            return False

    async def _commit(self, rows: Sequence[Recording]) -> Sequence[Delivery]:
        # Taken before the commit: should the database go back in between, the mark is one of the lost history.
        history = self._history()
        began_s = self._commit_began_s = asyncio.get_running_loop().time()
        try:
            outcomes = await self._record(rows)
        except ConnectionLost:
            # The connection had died while it was idle, as after a restart of Postgres. Whether the rows landed is
            # not known and does not matter: recording them again finds them.
            outcomes = await self._record(rows)
            self._wake_ups_due = (
                True  # rows that landed at first are repeats now, and nobody has woken for them
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
            self._after = asyncio.create_task(self._afterwards(), context=Context())
        return outcomes

    def _remember(self, history: str, row: Recording) -> None:
        if history != self._known_history:  # what was committed in another history may be gone
            self._known.clear()
            self._known_history = history
        self._known[row.key] = row.content
        if len(self._known) > _KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def _observe(self, *, deliveries: int, repeats: int, commit_s: float | None) -> None:
        self._traffic = lookaside.observed(
            self._traffic, deliveries=deliveries, repeats=repeats, commit_s=commit_s, policy=_POLICY
        )
        LOOKASIDE.set(self._traffic.inquiry_count)

    def _asks_redis(self) -> bool:
        # A commit that hangs has not ended and is not measured yet.
        began_s = self._commit_began_s
        return self._traffic.inquiry_count or (
            began_s is not None and asyncio.get_running_loop().time() - began_s >= _POLICY.commit_on_s
        )

    async def _record(self, rows: Sequence[Recording]) -> list[Delivery]:
        # Autocommit: the insert is one statement, committed by itself. A BEGIN and a COMMIT around it would be two
        # more round trips and no more safety; conflicting deliveries are further statements, each committed too.
        try:
            async with asyncio.timeout(self._insert_max_s), connection(self._pool) as conn:
                return await webhook_events.record(conn, rows, now=self._clock())
        except TimeoutError as exc:
            raise _no_commit_in_time() from exc

    async def _afterwards(self) -> None:
        """Mark and ring, as long as there is something to mark or ring for."""
        try:
            while self._marks or self._wake_ups_due:
                marks, self._marks = self._marks, []
                wake_ups_due, self._wake_ups_due = self._wake_ups_due, False
                if self._redis_is_left_alone():
                    return  # workers look by themselves, and repeats are recognised by their rows
                try:
                    if wake_ups_due:
                        await self._wake()
                    if marks:
                        await redis.mark_seen(self._cache, marks)
                except StoreUnreachable as exc:
                    self._leave_redis_alone(exc)
                    return
                await asyncio.sleep(_WAKE_UP_PAUSE_S)
        finally:
            self._after = None

    async def _wake(self) -> None:
        self._slot += 1
        try:
            fresh = await wake(self._wake_up_queue, WEBHOOKS, slot=self._slot)
        except StoreUnreachable:
            WAKE_UPS.labels("failed").inc()
            raise
        WAKE_UPS.labels("woken" if fresh else "already woken").inc()

    def _redis_is_left_alone(self) -> bool:
        return asyncio.get_running_loop().time() < self._redis_away_until

    def _leave_redis_alone(self, problem: StoreUnreachable) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._redis_away_until:
            _log.warning("redis unavailable; continuing without it", why=problem.why, pause_s=_REDIS_PAUSE_S)
        self._redis_away_until = now + _REDIS_PAUSE_S


def _no_commit_in_time() -> StoreUnreachable:
    return StoreUnreachable("postgres", why="no commit in time")
