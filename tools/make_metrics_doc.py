"""Write docs/reference/metrics.md from the metrics themselves: `uv run python tools/make_metrics_doc.py`."""

# ruff: noqa: SLF001 - the library says the labels of a metric nowhere else

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client import REGISTRY, CollectorRegistry
from tether_web import app
from tether_worker.jobs.metrics import WorkerMetrics
from tether_worker.scaling.metrics import PoolMetrics

__all__ = ["PAGE", "text"]

PAGE: Final = Path(__file__).parent.parent / "docs" / "reference" / "metrics.md"

_HEAD: Final = """\
# Metrics

`/metrics` of a web node, and of a supervisor or worker with `TETHER_WORKER_LISTEN`, in Prometheus' text format. A node answers for all of its
processes, a supervisor for all of its workers. Values marked "as last measured by /metrics" are read from Postgres or Redis when the node is
scraped, so each web node has the same: take their `max`, not their sum. A value that could not be read in time is left out.
[How to watch Tether](../guides/monitoring.md) says what to do with them. A supervisor, and a worker alone, have
`process_*` too, such as their memory and their open files; of supervised workers see `tether_pool_memory_bytes`. This page is made by `tools/make_metrics_doc.py`.
"""
_SUFFIX: Final = {"counter": "_total"}


def text() -> str:
    """The page."""
    assert app  # importing it registers the metrics of all routes
    workers, pools = WorkerMetrics(), PoolMetrics()
    pools.close()
    lines = [_HEAD]
    for title, registry in (
        ("Web node", REGISTRY),
        ("Worker", workers._registry),
        ("Supervisor", pools._registry),
    ):
        lines += [f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        lines += [*_rows(registry), ""]
    return "\n".join(lines)


def _rows(registry: CollectorRegistry) -> Iterator[str]:
    collectors: list[Any] = [
        collector
        for collector in registry._collector_to_names
        if getattr(collector, "_name", "").startswith("tether_")
    ]
    for collector in sorted(collectors, key=lambda collector: collector._name):
        name = f"{collector._name}{_SUFFIX.get(collector._type, '')}"
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)
        yield f"| `{name}` | {collector._type} | {labels} | {collector._documentation} |"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
