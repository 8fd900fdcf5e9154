"""
Prometheus metrics of a web node, summed over its processes.

With several processes the counters live in files of `PROMETHEUS_MULTIPROC_DIR`, which `tether-web` creates before it
starts them. The process that serves `/metrics` adds them up.
"""

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final, get_args

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
from tether_core.clock_steps import Clock

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
    "QUARANTINED",
    "QUARANTINE_ROWS",
    "REPEATS",
    "REQUEST_SECONDS",
    "SUBMISSIONS_UNKNOWN",
    "WAKE_UPS",
    "rendered",
]

# Responses take between a millisecond and a few seconds; the promise is 100 ms.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

NOTIFICATIONS: Final = Counter(
    "tether_webhook_notifications", "Notifications answered, by outcome.", ["outcome"]
)
QUARANTINED: Final = Counter(
    "tether_quarantined_notifications",
    "Notifications with an invalid signature, by what became of them: kept, repeated (a body that is kept already), over_quota, dropped "
    "(a flood, or no Postgres), no_key (TETHER_SECRETS_KEY is not set).",
    ["outcome"],
)
for _outcome in ("kept", "repeated", "over_quota", "dropped", "no_key"):
    QUARANTINED.labels(_outcome)  # as below
QUARANTINE_ROWS: Final = Gauge(
    "tether_quarantine_rows",
    "Notifications with an invalid signature that are kept, by the account whose terminal they name, and whether they name a known debit "
    "(known) or none (unknown). Known ones mean a wrong password.",
    ["account", "debit"],
    multiprocess_mode="mostrecent",
)
BATCH_ROWS: Final = Histogram(
    "tether_group_rows",
    "Requests joined in one group call.",
    ["call"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
LOOKASIDE: Final = Gauge(
    "tether_lookaside_active",
    "Processes that look up known notifications in Redis before Postgres, because repeats are frequent or Postgres is slow.",
    multiprocess_mode="livesum",
)
REPEATS: Final = Counter(
    "tether_webhook_repeats",
    "Repeated notifications, by what recognised them: process, redis or postgres.",
    ["by"],
)
WAKE_UPS: Final = Counter("tether_wake_ups", "Wake-ups of the worker, by outcome.", ["outcome"])
# Its count is the number of requests, so there is no counter beside it.
REQUEST_SECONDS: Final = Histogram(
    "tether_http_seconds",
    "Duration of HTTP requests, by route and status.",
    ["method", "route", "status"],
    buckets=_SECONDS,
)
OLDEST_WAITING: Final = Gauge(
    "tether_oldest_waiting_seconds",
    "Age of the oldest notification that is due, as last measured by /ready or /metrics.",
    multiprocess_mode="mostrecent",
)
INBOX_ROWS: Final = Gauge(
    "tether_inbox_rows",
    "Unfinished notifications by state, as last measured by /metrics; parked ones need a person.",
    ["state"],
    multiprocess_mode="mostrecent",
)
EXCESS_DELIVERIES: Final = Gauge(
    "tether_excess_deliveries",
    "Deliveries that are only counted, beyond the limit of their payment or key, as last measured by /metrics; somebody floods with a valid signature.",
    multiprocess_mode="mostrecent",
)
DATABASE_EPOCH: Final = Gauge(
    "tether_database_epoch",
    "Number of the database epoch, 0 before it is known; it grows when the database was restored to an earlier state.",
    multiprocess_mode="mostrecent",
)
FINGERPRINT_KEY_REFUSED: Final = Gauge(
    "tether_fingerprint_key_refused",
    "1 if TETHER_FINGERPRINT_KEY of this node is missing or not the database's, else 0, as last measured by /ready or /metrics; "
    "uploads, billing and the blacklist are refused until it is set.",
    multiprocess_mode="mostrecent",
)
SUBMISSIONS_UNKNOWN: Final = Gauge(
    "tether_submissions_unknown",
    "Debits, refunds and voids of unknown outcome, by why the latest inquiry did not resolve them, as last measured by "
    "/metrics; not_found_elsewhere needs a person.",
    ["reason"],
    multiprocess_mode="mostrecent",
)
CLOCK_STEPS: Final = Counter(
    "tether_clock_steps", "Detected clock steps, of Postgres or of this machine.", ["clock"]
)
for _clock in get_args(Clock):
    CLOCK_STEPS.labels(_clock)  # a counter that begins with its first step would show no increase
LOG_LINES_DROPPED: Final = Gauge(
    "tether_log_lines_dropped", "Log lines dropped because stderr stalled.", multiprocess_mode="livesum"
)


class _FilteredRegistry:
    """A registry that leaves some metrics out."""

    def __init__(self, registry: CollectorRegistry, names: AbstractSet[str]) -> None:
        self._registry = registry
        self._names = names

    def collect(self) -> Iterator[Metric]:
        return (family for family in self._registry.collect() if family.name not in self._names)


def rendered(*, exclude: AbstractSet[str] = frozenset()) -> bytes:
    """
    The metrics of this node in Prometheus' text format.

    Args:
        exclude: Names of metrics that could not be refreshed: a stale value looks like a current one.
    """
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(_FilteredRegistry(registry, exclude))
