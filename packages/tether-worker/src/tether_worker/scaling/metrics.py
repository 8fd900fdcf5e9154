"""Metrics of a supervisor: its pools, and those of its workers added up."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    generate_latest,
    multiprocess,
)
from tether_core import __version__
from tether_stores.workers import PoolStatus

__all__ = ["PoolMetrics"]


class PoolMetrics:
    """
    The metrics of a supervisor.

    Attributes:
        folder: Where its workers write theirs.
    """

    def __init__(self) -> None:
        """Make a folder, which `close` removes."""
        self.folder = Path(tempfile.mkdtemp(prefix="tether-metrics-"))
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._processes = Gauge(
            "tether_pool_processes",
            "Worker processes of a pool: running, ending, wanted, and the least and the most it may have.",
            ["pool", "kind"],
            registry=self._registry,
        )
        self._memory = Gauge(
            "tether_pool_memory_bytes",
            "Resident memory of a pool's worker processes.",
            ["pool"],
            registry=self._registry,
        )
        self._restarts = Counter(
            "tether_pool_restarts",
            "Worker processes that ended by themselves and were replaced.",
            ["pool"],
            registry=self._registry,
        )
        Gauge("tether_supervisor_info", "The version.", ["version"], registry=self._registry).labels(
            __version__
        ).set(1)

    def environment(self) -> dict[str, str]:
        """What makes a worker write its metrics into the folder."""
        return {"PROMETHEUS_MULTIPROC_DIR": str(self.folder)}

    def observe(self, name: str, pool: PoolStatus, *, memory_bytes: int) -> None:
        """Set the values of a pool."""
        kinds: dict[str, Any] = {
            "running": pool.running,
            "ending": pool.ending,
            "wanted": pool.wanted,
            "min": pool.processes_min,
            "max": pool.processes_max,
        }
        for kind, count in kinds.items():
            self._processes.labels(name, kind).set(count)
        self._memory.labels(name).set(memory_bytes)
        self._restarts.labels(name)  # it is there before the first time

    def restarted(self, name: str) -> None:
        """Count a process that ended by itself."""
        self._restarts.labels(name).inc()

    def ended(self, slot: str) -> None:
        """Forget the present values of a process that has ended; its counts stay."""
        multiprocess.mark_process_dead(slot, path=str(self.folder))  # type: ignore[no-untyped-call]

    def rendered(self) -> bytes:
        """The metrics of the supervisor and of its workers in Prometheus' text format."""
        workers = CollectorRegistry()
        multiprocess.MultiProcessCollector(workers, path=str(self.folder))  # type: ignore[no-untyped-call]
        return generate_latest(self._registry) + generate_latest(workers)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
