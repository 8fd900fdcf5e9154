"""
Metrics about the work itself: debits, refunds, runs, uploads, the gateway's reports, money, and the stores.

`/metrics` refreshes them. What is in a table of counts or among the newest rows is read each time; sums of money are read once a minute.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, get_args

from litestar.datastructures import State
from prometheus_client import Gauge
from tether_core import __version__
from tether_core.billing.run import RunState
from tether_core.figures import Total, figures
from tether_core.payments.attempt import AttemptState
from tether_core.refunds.refund import RefundState
from tether_core.subscribers.subscriber import SubscriberState
from tether_core.uploads.upload import UploadState
from tether_stores import figures as stored
from tether_stores import monitoring, store_status, telemetry
from tether_stores.figures import FigureFilters
from tether_stores.notifications import quarantine
from tether_stores.payments import billing_attempts
from tether_stores.postgres import Connection, Pool, reading
from tether_stores.refunds import refunds

from tether_web.http.metrics import LOG_LINES_DROPPED, QUARANTINE_ROWS

__all__ = ["OBSERVED", "OBSERVED_MONEY", "measured", "observe", "observe_money", "store_up"]

_BUILD: Final = Gauge(
    "tether_build_info", "1 for the version of this node.", ["program", "version"], multiprocess_mode="max"
)
_STORES: Final = Gauge(
    "tether_store_up",
    "1 if a store answered the latest /metrics in time, else 0: postgres, redis or objects.",
    ["store"],
    multiprocess_mode="mostrecent",
)
_CONNECTIONS: Final = Gauge(
    "tether_database_connections",
    "Connections of this node's pools to Postgres: open, idle, and callers that wait for one.",
    ["pool", "state"],
    multiprocess_mode="livesum",
)
_DATABASE_BYTES: Final = Gauge(
    "tether_database_bytes", "Bytes of the database on disk.", multiprocess_mode="mostrecent"
)
_DATABASE_USED: Final = Gauge(
    "tether_database_connections_used",
    "Part of the connections Postgres accepts that are open, of all programs, from 0 to 1.",
    multiprocess_mode="mostrecent",
)
_ATTEMPTS: Final = Gauge(
    "tether_attempts", "Billing attempts by state.", ["state"], multiprocess_mode="mostrecent"
)
_REFUNDS: Final = Gauge(
    "tether_refunds", "Refunds and voids by state.", ["state"], multiprocess_mode="mostrecent"
)
_RUNS: Final = Gauge(
    "tether_billing_runs",
    f"The newest {monitoring.NEWEST} billing runs by state; paused ones need a person.",
    ["state"],
    multiprocess_mode="mostrecent",
)
_AWAITING: Final = Gauge(
    "tether_billing_runs_awaiting_release",
    "Of these, runs that wait for a second person (dual control).",
    multiprocess_mode="mostrecent",
)
_SUBSCRIBERS: Final = Gauge(
    "tether_subscribers",
    "Subscribers by state; nothing is sent to one that is disabled.",
    ["state"],
    multiprocess_mode="mostrecent",
)
_FAILING: Final = Gauge(
    "tether_subscriber_failing_seconds",
    "For how long the active subscriber that has failed longest has had no success; 0 if none fails. After five days it is disabled.",
    multiprocess_mode="mostrecent",
)
_LATE: Final = Gauge(
    "tether_collection_late",
    "What recurring collection should have done before today (UTC), by step: make a due item, order its debit, notify its debtor, "
    f"recover a missed one (by a person). At most {monitoring.NEWEST} each.",
    ["step"],
    multiprocess_mode="mostrecent",
)
_ARCHIVES: Final = Gauge(
    "tether_archive_oldest_seconds",
    "For how long the oldest archive has waited for its next step: confirm (it is read back) or prune (its rows are deleted).",
    ["step"],
    multiprocess_mode="mostrecent",
)
_UPLOADS: Final = Gauge(
    "tether_uploads",
    f"The newest {monitoring.NEWEST} uploads by state.",
    ["state"],
    multiprocess_mode="mostrecent",
)
_UPLOAD_AGE: Final = Gauge(
    "tether_upload_oldest_seconds",
    "For how long the oldest of these uploads has been in a state in which it is not finished.",
    ["state"],
    multiprocess_mode="mostrecent",
)
_UNEXPLAINED: Final = Gauge(
    "tether_report_items_unexplained",
    "Items of the gateway's reports of the last seven days that are not recorded here; must be 0.",
    ["account", "report"],
    multiprocess_mode="mostrecent",
)
_READ_AGE: Final = Gauge(
    "tether_report_read_age_seconds",
    "Seconds since the latest report of the last seven days was read to its end.",
    ["account", "report"],
    multiprocess_mode="mostrecent",
)
_MONEY: Final = Gauge(
    "tether_money_minor",
    "Money that moved today (UTC), in minor units: collected, returned, refunded, net. At most a minute old.",
    ["currency", "kind"],
    multiprocess_mode="mostrecent",
)
_RETURN_RATE: Final = Gauge(
    "tether_return_rate",
    "Return rate of the debits of the last 30 days, from 0 to 1. At most a minute old.",
    ["currency"],
    multiprocess_mode="mostrecent",
)

OBSERVED: Final = frozenset(
    {
        "tether_archive_oldest_seconds",
        "tether_attempts",
        "tether_billing_runs",
        "tether_billing_runs_awaiting_release",
        "tether_collection_late",
        "tether_database_bytes",
        "tether_database_connections_used",
        "tether_quarantine_rows",
        "tether_refunds",
        "tether_report_items_unexplained",
        "tether_report_read_age_seconds",
        "tether_subscriber_failing_seconds",
        "tether_subscribers",
        "tether_upload_oldest_seconds",
        "tether_uploads",
    }
)
OBSERVED_MONEY: Final = frozenset({"tether_money_minor", "tether_return_rate"})

_REPORT_DAYS: Final = 7
_RATE_DAYS: Final = 30
_MONEY_S: Final = 60.0
_UNFINISHED: Final = ("received", "examining", "needs_answer", "reading")
_SENT_TO: Final[tuple[SubscriberState, ...]] = ("active", "paused", "disabled")
_MEASURE_S: Final = 2.0


async def observe(state: State) -> None:
    """Refresh what is read at each scrape."""
    now = state.clock()
    async with reading(state.pool) as conn:
        attempts = await billing_attempts.states(conn)
        orders = await refunds.counts(conn)
        runs = await monitoring.runs(conn)
        uploads = await monitoring.uploads(conn, now=now)
        reports = await monitoring.reports(
            conn, since_on=now.date() - timedelta(days=_REPORT_DAYS - 1), now=now
        )
        quotas = await quarantine.counts(conn)
        await _observe_waiting(conn, now=now)
        use = await store_status.of_postgres(conn)
    # A state without rows must not keep its last value.
    for word in get_args(AttemptState):
        _ATTEMPTS.labels(word).set(attempts.get(word, (0, 0))[0])
    for word in get_args(RefundState):
        _REFUNDS.labels(word).set(orders.get(word, (0, 0))[0])
    for word in get_args(RunState):
        _RUNS.labels(word).set(runs.get(word, 0))
    for word in get_args(UploadState):
        _UPLOADS.labels(word).set(uploads.get(word, (0, 0.0))[0])
    for word in _UNFINISHED:
        _UPLOAD_AGE.labels(word).set(uploads.get(word, (0, 0.0))[1])
    for report in reports:
        _UNEXPLAINED.labels(report.account, report.name).set(report.unexplained)
        if report.read_age_s is not None:
            _READ_AGE.labels(report.account, report.name).set(report.read_age_s)
    kept = {(quota.account, quota.is_known): quota.rows for quota in quotas}
    accounts = {known.account for known in state.credentials} | {quota.account for quota in quotas}
    for account in accounts | {""}:
        QUARANTINE_ROWS.labels(account, "known").set(kept.get((account, True), 0))
        QUARANTINE_ROWS.labels(account, "unknown").set(kept.get((account, False), 0))
    _DATABASE_BYTES.set(use.database_bytes)
    _DATABASE_USED.set(use.connections / use.connections_max)


async def _observe_waiting(conn: Connection, *, now: datetime) -> None:
    """Refresh what waits for a person, another system or the clock."""
    _AWAITING.set(await monitoring.awaiting_release(conn))
    subscribers = await monitoring.subscribers(conn, now=now)
    for word in _SENT_TO:
        _SUBSCRIBERS.labels(word).set(subscribers.get(word, (0, 0.0))[0])
    _FAILING.set(subscribers.get("active", (0, 0.0))[1])
    for step, count in (await monitoring.late(conn, today=now.date())).items():
        _LATE.labels(step).set(count)
    for step, age_s in (await monitoring.archives(conn, now=now)).items():
        _ARCHIVES.labels(step).set(age_s)


async def observe_money(state: State) -> None:
    """Refresh sums of money, at most once a minute."""
    now = state.clock()
    read_at = state.get("money_read_at")
    if read_at is not None and abs((now - read_at).total_seconds()) < _MONEY_S:
        return
    today = now.date()
    async with reading(state.pool) as conn:
        moved = await stored.sums(
            conn, FigureFilters(from_on=today, to_on=today), by="total", basis="cash", limit=100
        )
        made = await stored.sums(
            conn,
            FigureFilters(from_on=today - timedelta(days=_RATE_DAYS - 1), to_on=today),
            by="total",
            basis="cohort",
            limit=100,
        )
    todays = {figure.currency: figure for figure in figures(moved, by="total", basis="cash")}
    rates = {figure.currency: figure.return_rate for figure in figures(made, by="total")}
    for currency in todays.keys() | rates.keys():
        figure = todays.get(currency)
        for kind in ("collected", "returned", "refunded"):
            total: Total = getattr(figure, kind, Total())
            _MONEY.labels(currency, kind).set(total.amount_minor)
        _MONEY.labels(currency, "net").set(figure.net_minor if figure else 0)
        rate = rates.get(currency)
        _RETURN_RATE.labels(currency).set(0.0 if rate is None else rate)
    if todays or rates:
        state["money_read_at"] = now


def store_up(store: str, *, is_up: bool) -> None:
    """Note whether a store answered a probe in time."""
    _STORES.labels(store).set(is_up)


@asynccontextmanager
async def measured(pools: Mapping[str, Pool]) -> AsyncIterator[None]:
    """Keep the metrics of this process up to date for the length of a block: each of a node's processes has its own."""
    _BUILD.labels("tether-web", __version__).set(1)

    async def measure() -> None:
        while True:
            for name, pool in pools.items():
                for word, count in pool.use.items():
                    _CONNECTIONS.labels(name, word).set(count)
            LOG_LINES_DROPPED.set(telemetry.dropped())
            await asyncio.sleep(_MEASURE_S)

    measuring = asyncio.create_task(measure())
    try:
        yield
    finally:
        measuring.cancel()
