"""What a process does: rows and time by queue for its row in `workers`, and a job that stops at its queue's gate."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Final

import msgspec
from tether_core.errors import Unavailable
from tether_core.jobs import Queue
from tether_stores.traces import spans
from tether_stores.workers import Activity

from tether_worker.jobs.gates import Gates
from tether_worker.jobs.metrics import WorkerMetrics
from tether_worker.jobs.run import Work

__all__ = ["Activities", "observed"]

_WINDOW_S: Final = 60
_BUCKET_S: Final = 5


class _Bucket(msgspec.Struct):
    """Rows and busy seconds of a few seconds."""

    number: int
    rows: int = 0
    busy_s: float = 0.0


class Activities:
    """Rows and busy seconds of the last minute, by queue."""

    def __init__(self, queues: Iterable[Queue], *, clock_s: Callable[[], float] = monotonic) -> None:
        self._clock_s = clock_s
        self._running = dict.fromkeys(queues, 0)
        self._buckets: dict[Queue, deque[_Bucket]] = {queue: deque() for queue in self._running}

    def began(self, queue: Queue) -> None:
        """A run of a job began."""
        self._running[queue] += 1

    def ended(self, queue: Queue, *, rows: int, took_s: float) -> None:
        """A run ended; one without rows was no work."""
        self._running[queue] -= 1
        if rows:
            bucket = self._bucket(queue)
            bucket.rows += rows
            bucket.busy_s += took_s

    def of_last_minute(self) -> Mapping[Queue, Activity]:
        """What was done, by queue."""
        oldest = self._number() - _WINDOW_S // _BUCKET_S
        found: dict[Queue, Activity] = {}
        for queue, buckets in self._buckets.items():
            while buckets and buckets[0].number <= oldest:
                buckets.popleft()
            rows, busy_s = sum(item.rows for item in buckets), sum(item.busy_s for item in buckets)
            found[queue] = Activity(rows, round(busy_s, 6), self._running[queue])
        return found

    def _bucket(self, queue: Queue) -> _Bucket:
        buckets, number = self._buckets[queue], self._number()
        if not buckets or buckets[-1].number != number:
            buckets.append(_Bucket(number))
            if len(buckets) > _WINDOW_S // _BUCKET_S:
                buckets.popleft()
        return buckets[-1]

    def _number(self) -> int:
        return int(self._clock_s() // _BUCKET_S)


def observed(work: Work, *, gates: Gates, activities: Activities, metrics: WorkerMetrics) -> Work:
    """The same job, counted, and without rows while the gate of its queue is closed."""
    job, closed = work.job, gates.closed(work.job.queue)
    metrics.announce(job)

    async def batch() -> int:
        if closed.is_set():
            return 0
        began_s, rows = monotonic(), 0
        activities.began(job.queue)
        try:
            with spans.span(job.name) as current:
                rows = await work.batch()
                current.fact(queue=job.queue, job=job.name, rows=rows)
                if not rows:
                    current.drop()
        except Unavailable:
            metrics.batch_failed(job, is_deferred=True)
            raise
        except Exception:
            metrics.batch_failed(job, is_deferred=False)
            raise
        finally:
            took_s = monotonic() - began_s
            activities.ended(job.queue, rows=rows, took_s=took_s)
        metrics.batch_ended(job, rows=rows, took_s=took_s)
        return rows

    async def has_pending() -> bool:
        return not closed.is_set() and await work.has_pending()

    return msgspec.structs.replace(work, batch=batch, has_pending=has_pending)
