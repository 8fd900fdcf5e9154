"""
Metrics of a worker process: batches, periodic tasks, connections.

A supervised worker writes its values to files that its supervisor adds up (`tether_worker.scaling`). The files belong to the *slot* of
the worker and not to its process id: a new process in the slot goes on counting, and there are never more files than slots.
"""

from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    values,
)
from tether_core import __version__
from tether_core.jobs import Job
from tether_stores import telemetry
from tether_stores.pool import Pool

__all__ = ["CONTENT_TYPE_LATEST", "WorkerMetrics"]

# A batch takes from some milliseconds to the minutes of a large file.
_CALL_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
_SECONDS: Final = (0.005, 0.02, 0.1, 0.5, 1, 5, 15, 30, 60, 300, 900)


class WorkerMetrics:
    """The metrics of this process."""

    def __init__(self, *, slot: str | None = None) -> None:
        """
        Make the metrics; once in a process that has a slot.

        Args:
            slot: Of a supervised worker, such as "billing-2"; `None` for a worker alone.
        """
        if slot is not None:
            values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        if slot is None:
            ProcessCollector(registry=self._registry)
        self._rows = Counter(
            "tether_job_rows",
            "Rows that background jobs handled.",
            ["queue", "job"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tether_job_seconds",
            "Duration of batches with rows, by job.",
            ["queue", "job"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._failures = Counter(
            "tether_job_failures",
            "Batches that did not end: deferred because a service was unavailable, or failed by an internal error.",
            ["queue", "job", "kind"],
            registry=self._registry,
        )
        self._periodic = Counter(
            "tether_periodic_task_runs",
            "Runs of periodic tasks, by outcome: done, deferred because a service was unavailable, or failed.",
            ["periodic_task", "outcome"],
            registry=self._registry,
        )
        self._connections = Gauge(
            "tether_worker_database_connections",
            "Connections to Postgres: open, idle, and callers that wait for one.",
            ["state"],
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self._gateway_seconds = Histogram(
            "tether_gateway_seconds",
            "Duration of calls to the gateway, by what they were and whether a response came: answered, not_submitted or silent.",
            ["account", "call", "outcome"],
            buckets=_CALL_SECONDS,
            registry=self._registry,
        )
        Gauge(
            "tether_build_info",
            "1 for the version of this process.",
            ["program", "version"],
            multiprocess_mode="max",
            registry=self._registry,
        ).labels("tether-worker", __version__).set(1)
        self._dropped = Gauge(
            "tether_worker_log_lines_dropped",
            "Log lines dropped because stderr stalled.",
            ["program"],
            multiprocess_mode="livesum",
            registry=self._registry,
        )

    def announce(self, job: Job) -> None:
        """Begin the counts of a job at 0: a counter that begins with its first failure would show no increase."""
        self._rows.labels(job.queue, job.name)
        for kind in ("deferred", "failed"):
            self._failures.labels(job.queue, job.name, kind)

    def batch_ended(self, job: Job, *, rows: int, took_s: float) -> None:
        """Count a batch that ended."""
        if rows:
            self._rows.labels(job.queue, job.name).inc(rows)
            self._seconds.labels(job.queue, job.name).observe(took_s)

    def batch_failed(self, job: Job, *, is_deferred: bool) -> None:
        """Count a batch that did not end."""
        self._failures.labels(job.queue, job.name, "deferred" if is_deferred else "failed").inc()

    def periodic_task_ran(self, name: str, outcome: str) -> None:
        """Count a run of a periodic task."""
        self._periodic.labels(name, outcome).inc()

    def gateway_called(self, account: str, call: str, outcome: str, took_s: float) -> None:
        """Count a call to the gateway."""
        self._gateway_seconds.labels(account, call, outcome).observe(took_s)

    def measure(self, pool: Pool) -> None:
        """Refresh what is not counted as it happens."""
        for state, count in pool.use.items():
            self._connections.labels(state).set(count)
        self._dropped.labels("tether-worker").set(telemetry.dropped())

    def rendered(self) -> bytes:
        """The metrics of this process in Prometheus' text format; of a worker without a slot."""
        return generate_latest(self._registry)
