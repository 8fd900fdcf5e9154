"""
Metrics of the web nodes, in Prometheus' text form, summed over the worker processes of a node.

With several processes the counters live in files of `PROMETHEUS_MULTIPROC_DIR`, which `tether-web` sets up before it
starts them; whichever process is asked adds them up.
"""

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
    multiprocess,
)

__all__ = [
    "BATCH_ROWS",
    "CLOCK_STEPS",
    "CONTENT_TYPE_LATEST",
    "DATABASE_EPOCH",
    "EXCESS_DELIVERIES",
    "FINGERPRINT_KEY_REFUSED",
    "INBOX_ROWS",
    "LOG_LINES_DROPPED",
    "LOOKASIDE",
    "NOTIFICATIONS",
    "OLDEST_WAITING",
    "REPEATS",
    "REQUEST_SECONDS",
    "SUBMISSIONS_UNKNOWN",
    "WAKE_UPS",
    "rendered",
]

# Web answers lie between a millisecond and a few seconds; the promise is 100 ms.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

NOTIFICATIONS: Final = Counter(
    "tether_webhook_notifications", "Notifications answered, by what came of them.", ["outcome"]
)
BATCH_ROWS: Final = Histogram(
    "tether_group_rows", "Requests joined in one call.", ["call"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
LOOKASIDE: Final = Gauge(
    "tether_lookaside_asks_redis",
    "Processes that ask Redis for known notifications before Postgres, because repeats are frequent or Postgres is slow.",
    multiprocess_mode="livesum",
)
REPEATS: Final = Counter(
    "tether_webhook_repeats",
    "Repeats of notifications, by what recognised them: process, redis or postgres.",
    ["by"],
)
WAKE_UPS: Final = Counter(
    "tether_wake_ups", "Wake-up queue wake-ups, by whether they went through.", ["outcome"]
)
# Its count is that of the requests: a counter beside it would say the same again, on the way of every notification.
REQUEST_SECONDS: Final = Histogram(
    "tether_http_seconds",
    "HTTP requests and the time to the end of their answer, by route and status.",
    ["method", "route", "status"],
    buckets=_SECONDS,
)
OLDEST_WAITING: Final = Gauge(
    "tether_oldest_waiting_seconds",
    "Age of the oldest notification that is due, as last seen by /ready or /metrics.",
    multiprocess_mode="mostrecent",
)
INBOX_ROWS: Final = Gauge(
    "tether_inbox_rows",
    "Notifications that are not done with, by state, as last seen by /metrics; parked ones want a person.",
    ["state"],
    multiprocess_mode="mostrecent",
)
EXCESS_DELIVERIES: Final = Gauge(
    "tether_excess_deliveries",
    "Deliveries beyond what is kept of their payment or key, as last seen by /metrics; somebody floods under a genuine signature.",
    multiprocess_mode="mostrecent",
)
DATABASE_EPOCH: Final = Gauge(
    "tether_database_epoch",
    "Number of the database epoch, 0 before it is known; it grows when the database went back.",
    multiprocess_mode="mostrecent",
)
FINGERPRINT_KEY_REFUSED: Final = Gauge(
    "tether_fingerprint_key_refused",
    "1 where TETHER_FINGERPRINT_KEY of this node is missing or not the database's, else 0, as last seen by /ready or /metrics; "
    "uploads, billing and the blacklist are refused meanwhile.",
    multiprocess_mode="mostrecent",
)
SUBMISSIONS_UNKNOWN: Final = Gauge(
    "tether_submissions_unknown",
    "Debits, refunds and voids of unknown outcome, by why the latest inquiry did not resolve them, as last seen by "
    "/metrics; not_found_elsewhere wants a person.",
    ["reason"],
    multiprocess_mode="mostrecent",
)
CLOCK_STEPS: Final = Counter(
    "tether_clock_steps", "Steps of the clock of Postgres or of this machine that were noticed.", ["clock"]
)
LOG_LINES_DROPPED: Final = Gauge(
    "tether_log_lines_dropped", "Log lines lost because stderr stalled.", multiprocess_mode="livesum"
)


class _Without:
    """A registry without some of its metrics."""

    def __init__(self, registry: CollectorRegistry, names: AbstractSet[str]) -> None:
        self._registry = registry
        self._names = names

    def collect(self) -> Iterator[Metric]:
        return (family for family in self._registry.collect() if family.name not in self._names)


def rendered(*, without: AbstractSet[str] = frozenset()) -> bytes:
    """
    All metrics of this node as Prometheus' text form.

    Args:
        without: Names of metrics to leave out, because what they say could not be refreshed: an old value looks like
            a true one.
    """
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(_Without(registry, without))
