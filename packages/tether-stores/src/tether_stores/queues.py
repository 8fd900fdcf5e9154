"""Queues: what waits on each, and which are paused; the queries are in `queues.sql`, which describes the rows."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, get_args

import msgspec
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.jobs import Queue
from tether_core.reconciliation.status_inquiry import PENDING_AGE_S, TRIES_MAX, UNKNOWN_AGE_S

from tether_stores import workers
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "NAMES",
    "RETRIED_MAX",
    "ROWS_MAX",
    "ListedQueue",
    "Pause",
    "QueueBacklog",
    "Retried",
    "backlogs",
    "listed",
    "named",
    "pause",
    "pauses",
    "resume",
    "retry",
]

NAMES: Final[tuple[Queue, ...]] = get_args(Queue)
# Rows of a kind that are counted. Counting so many takes some milliseconds, and a queue with more is far behind.
ROWS_MAX: Final = 50_000

# Rows of a kind that one order tries again; a person orders again for more.
RETRIED_MAX: Final = 10_000

_SQL: Final = load("queues")
# What waits on each queue for its next try. A debit whose submission failed is not among them: it is inquired, never submitted again.
_RETRIES: Final[Mapping[Queue, tuple[str, ...]]] = {
    "webhooks": ("retry_parked", "retry_notifications"),
    "default": ("retry_uploads",),
    "reconciliation": ("retry_report_fetches",),
    "vop": ("retry_checks",),
}


_NOTES: Final[Mapping[Queue, str]] = {
    "billing": "Nothing is submitted again: a debit of unknown outcome is inquired. Order an inquiry of the debit, run or upload.",
    "reconciliation": "Status inquiries keep their schedule. Order an inquiry of a debit, run or upload to have its status now.",
    "vop": "Parked checks are not tried again. Request the checks of their upload again.",
}


class Pause(msgspec.Struct, frozen=True):
    """
    A queue that is paused.

    Attributes:
        queue: Its name.
        paused_by: Who ordered it.
        reason: Why.
        paused_at: Since when.
    """

    queue: Queue
    paused_by: str
    reason: str
    paused_at: datetime


class QueueBacklog(msgspec.Struct, frozen=True):
    """
    What waits on a queue.

    Attributes:
        queue: Its name.
        rows: Rows that are due or in progress; at most `ROWS_MAX` of a kind are counted.
        oldest_s: For how many seconds the oldest has been due.
    """

    queue: Queue
    rows: int
    oldest_s: float


class Retried(msgspec.Struct, frozen=True):
    """
    What an order to try again did.

    Attributes:
        queue: Its name.
        rows: Rows that are tried again now.
        more: Whether there are further ones; order again for these.
        note: What is not tried again, and how it goes on; "" for nothing.
    """

    queue: Queue
    rows: int
    more: bool
    note: str


def named(name: str, *, field: str = "name") -> Queue:
    """
    The queue of a name.

    Raises:
        InvalidRequest: when there is none.
    """
    found = next((queue for queue in NAMES if queue == name), None)
    if found is None:
        raise InvalidRequest(f"there is no such queue; there are {', '.join(NAMES)}", field=field)
    return found


async def pause(conn: Connection, queue: Queue, *, paused_by: str, reason: str, now: datetime) -> Pause:
    """
    Pause a queue for all workers.

    Raises:
        IllegalStep: when it is paused already; its pause stays as it is.
    """
    given = {"queue": queue, "paused_by": paused_by, "reason": reason, "now": now}
    made = await fetch_one(conn, _SQL["pause"], given, into=Pause)
    if made is None:
        why = f"Queue {queue} is paused already. Resume it first to give another reason."
        raise IllegalStep("queue", state="paused", step="paused", why=why)
    return made


async def resume(conn: Connection, queue: Queue) -> Pause:
    """
    Resume a queue.

    Returns:
        The pause that ended.

    Raises:
        IllegalStep: when it is not paused.
    """
    ended = await fetch_one(conn, _SQL["resume"], {"queue": queue}, into=Pause)
    if ended is None:
        why = f"Queue {queue} is not paused. GET /api/queues shows which queues are."
        raise IllegalStep("queue", state="running", step="resumed", why=why)
    return ended


async def retry(conn: Connection, queue: Queue, *, now: datetime, limit: int = RETRIED_MAX) -> Retried:
    """
    Try again now what waits on a queue for its next try, and parked notifications.

    Args:
        limit: Rows of a kind, at most.
    """
    counts = [
        await fetch_value(conn, _SQL[name], {"now": now, "limit": limit}, into=int)
        for name in _RETRIES.get(queue, ())
    ]
    return Retried(queue, sum(counts), any(count == limit for count in counts), _NOTES.get(queue, ""))


async def pauses(conn: Connection) -> dict[Queue, Pause]:
    """The queues that are paused."""
    return {found.queue: found for found in await fetch_all(conn, _SQL["pauses"], into=Pause)}


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

    name: Queue
    rows: int
    oldest_s: float
    workers: int
    handled_per_s: float
    paused: Pause | None


async def listed(conn: Connection, *, now: datetime) -> list[ListedQueue]:
    """All queues, with who serves them."""
    waiting = await backlogs(conn, now=now)
    live = await workers.live(conn, now=now)
    paused = await pauses(conn)
    return [
        ListedQueue(
            name=name,
            rows=waiting[name].rows,
            oldest_s=round(waiting[name].oldest_s, 3),
            workers=sum(name in worker.queues for worker in live),
            handled_per_s=round(
                sum(worker.activity[name].rows for worker in live if name in worker.activity) / 60, 3
            ),
            paused=paused.get(name),
        )
        for name in NAMES
    ]


async def backlogs(conn: Connection, *, now: datetime) -> Mapping[Queue, QueueBacklog]:
    """What waits on each queue, by its name."""
    given = {
        "now": now,
        "rows_max": ROWS_MAX,
        "unknown_since": now - timedelta(seconds=UNKNOWN_AGE_S),
        "pending_since": now - timedelta(seconds=PENDING_AGE_S),
        "inquiry_count_max": TRIES_MAX,
        "queues": list(NAMES),
    }
    rows = await fetch_all(conn, _SQL["backlogs"], given, into=QueueBacklog)
    return {row.queue: row for row in rows}
