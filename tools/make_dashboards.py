"""
Write the Grafana dashboards of deploy/grafana: `uv run python tools/make_dashboards.py`, or `just docs`.

A dashboard is a table of panels below: title, unit, queries with their legends, and what to look for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

__all__ = ["DASHBOARDS", "FOLDER", "Panel", "files", "queries"]

FOLDER: Final = Path(__file__).parent.parent / "deploy" / "grafana"


class Panel(NamedTuple):
    """
    One panel.

    Attributes:
        title: What it shows.
        unit: Of Grafana's units, such as "s", "reqps", "percentunit", "short".
        queries: Legend to PromQL.
        text: What to look for.
    """

    title: str
    unit: str
    queries: Mapping[str, str]
    text: str


DASHBOARDS: Final[Mapping[str, Mapping[str, tuple[Panel, ...]]]] = {
    "operations": {
        "Notifications": (
            Panel(
                "Notifications by outcome",
                "reqps",
                {
                    "{{outcome}}": "sum by (outcome) (rate(tether_webhook_notifications_total[5m]))",
                },
                "Refused: a signature does not fit. Unavailable: Postgres did not commit in time, the gateway repeats.",
            ),
            Panel(
                "Duration of answers to the gateway",
                "s",
                {
                    "p50": 'histogram_quantile(0.5, sum by (le) (rate(tether_http_seconds_bucket{route="/api/webhooks/emp"}[5m])))',
                    "p95": 'histogram_quantile(0.95, sum by (le) (rate(tether_http_seconds_bucket{route="/api/webhooks/emp"}[5m])))',
                    "p99": 'histogram_quantile(0.99, sum by (le) (rate(tether_http_seconds_bucket{route="/api/webhooks/emp"}[5m])))',
                },
                "The objective is 100 ms at p95, the commit included.",
            ),
            Panel(
                "Age of the oldest notification",
                "s",
                {"oldest": "max(tether_oldest_waiting_seconds)"},
                "Grows when no worker serves the queue webhooks.",
            ),
            Panel(
                "Unfinished notifications",
                "short",
                {"{{state}}": "max by (state) (tether_inbox_rows)"},
                "Parked and contradicted ones wait for a person.",
            ),
            Panel(
                "Rows in one commit",
                "short",
                {
                    "mean, {{call}}": "sum by (call) (rate(tether_group_rows_sum[5m])) / sum by (call) (rate(tether_group_rows_count[5m]))"
                },
                "The busier a node is, the more notifications share a commit.",
            ),
            Panel(
                "What recognised repeats",
                "reqps",
                {"{{by}}": "sum by (by) (rate(tether_webhook_repeats_total[5m]))"},
                "Process and Redis spare Postgres the work.",
            ),
            Panel(
                "Processes that look for repeats in Redis first",
                "short",
                {"web": "sum(tether_lookaside_active)"},
                "Above 0 where repeats are frequent or Postgres is slow.",
            ),
            Panel(
                "Notifications with an invalid signature, by what became of them",
                "reqps",
                {"{{outcome}}": "sum by (outcome) (rate(tether_quarantined_notifications_total[5m]))"},
                "no_key: TETHER_SECRETS_KEY is not set, so they are not kept. dropped or over_quota: a flood.",
            ),
        ),
        "Objectives": (
            Panel(
                "Notifications that failed, by window",
                "percentunit",
                {
                    "1 h": "tether:notifications_failed:ratio_rate1h",
                    "6 h": "tether:notifications_failed:ratio_rate6h",
                    "3 days": "tether:notifications_failed:ratio_rate3d",
                },
                "The objective is 0.1 % over 30 days.",
            ),
            Panel(
                "Answers slower than 100 ms, by window",
                "percentunit",
                {
                    "5 min": "tether:notifications_slow:ratio_rate5m",
                    "1 h": "tether:notifications_slow:ratio_rate1h",
                },
                "The objective is 5 %.",
            ),
        ),
        "Queues and workers": (
            Panel(
                "Age of the oldest row of each queue",
                "s",
                {"{{queue}}": "max by (queue) (tether_queue_oldest_seconds)"},
                "For how long work has been due.",
            ),
            Panel(
                "Rows that are due",
                "short",
                {"{{queue}}": "max by (queue) (tether_queue_rows)"},
                "Of each kind at most 50,000 are counted.",
            ),
            Panel(
                "Workers of each queue",
                "short",
                {
                    "{{queue}}": "max by (queue) (tether_workers_alive)",
                    "{{queue}} paused": "max by (queue) (tether_queue_paused)",
                },
                "0 means that nobody does this work.",
            ),
            Panel(
                "Processes of each pool",
                "short",
                {
                    "{{pool}} {{kind}}": 'sum by (pool, kind) (tether_pool_processes{kind=~"running|wanted|max"})'
                },
                "Wanted above running for long: the pool cannot grow.",
            ),
            Panel(
                "Memory of each pool",
                "bytes",
                {"{{pool}}": "sum by (pool) (tether_pool_memory_bytes)"},
                "Flat over weeks.",
            ),
            Panel(
                "Worker processes that ended by themselves",
                "short",
                {"{{pool}}": "sum by (pool) (increase(tether_pool_restarts_total[15m]))"},
                "Their exit codes are in the log of the supervisor.",
            ),
            Panel(
                "Rows handled",
                "reqps",
                {"{{job}}": "sum by (job) (rate(tether_job_rows_total[5m]))"},
                "What the workers do.",
            ),
            Panel(
                "Duration of batches, p95",
                "s",
                {
                    "{{job}}": "histogram_quantile(0.95, sum by (job, le) (rate(tether_job_seconds_bucket[5m])))"
                },
                "A job that gets slower finds a larger table or a slower service.",
            ),
            Panel(
                "Batches that did not end",
                "reqps",
                {"{{job}} {{kind}}": "sum by (job, kind) (rate(tether_job_failures_total[5m]))"},
                "Deferred: a service was unavailable. Failed: a defect.",
            ),
            Panel(
                "Periodic tasks by outcome",
                "short",
                {"{{outcome}}": "sum by (outcome) (rate(tether_periodic_task_runs_total[5m]))"},
                "Deferred: a service was unavailable. Failed: a defect.",
            ),
            Panel(
                "Wake-ups by outcome",
                "reqps",
                {"{{outcome}}": "sum by (outcome) (rate(tether_wake_ups_total[5m]))"},
                "A lost wake-up costs a second, no data.",
            ),
        ),
        "Stores and nodes": (
            Panel(
                "Stores that answer",
                "short",
                {"{{store}}": "min by (store) (tether_store_up)"},
                "1 if all web nodes reach it.",
            ),
            Panel(
                "Connections to Postgres",
                "short",
                {
                    "web, {{pool}} {{state}}": "sum by (pool, state) (tether_database_connections)",
                    "workers, {{state}}": "sum by (state) (tether_worker_database_connections)",
                },
                "Waiting above 0 for long: the pool is too small, or Postgres is slow.",
            ),
            Panel(
                "Connections Postgres has left",
                "percentunit",
                {"used": "max(tether_database_connections_used)"},
                "Of all programs.",
            ),
            Panel(
                "Size of the database",
                "bytes",
                {"on disk": "max(tether_database_bytes)"},
                "Plan the disk by it.",
            ),
            Panel(
                "Memory of the processes",
                "bytes",
                {"{{job}} {{instance}}": 'process_resident_memory_bytes{job=~"tether.*"}'},
                "Of supervisors, and of workers without one. Flat over weeks.",
            ),
            Panel(
                "Processor use",
                "percentunit",
                {"{{job}} {{instance}}": 'rate(process_cpu_seconds_total{job=~"tether.*"}[5m])'},
                "Of supervisors, and of workers without one. 1 is one core.",
            ),
            Panel(
                "Responses of all routes by status",
                "reqps",
                {"{{status}}": "sum by (status) (rate(tether_http_seconds_count[5m]))"},
                "A 500 is a defect.",
            ),
            Panel(
                "Versions",
                "short",
                {
                    "{{program}} {{version}}": "count by (program, version) (tether_build_info)",
                    "supervisor {{version}}": "count by (version) (tether_supervisor_info)",
                },
                "Two versions only during an update.",
            ),
            Panel(
                "Nodes whose fingerprint key is refused",
                "short",
                {"refused": "sum(tether_fingerprint_key_refused)"},
                "Above 0: a node has another TETHER_FINGERPRINT_KEY than the database.",
            ),
            Panel(
                "Log lines dropped",
                "short",
                {"web": "sum(tether_log_lines_dropped)", "workers": "sum(tether_worker_log_lines_dropped)"},
                "The reader of the logs is too slow.",
            ),
        ),
        "Subscribers and archives": (
            Panel(
                "Subscribers by state",
                "short",
                {"{{state}}": "max by (state) (tether_subscribers)"},
                "Nothing is sent to one that is disabled.",
            ),
            Panel(
                "For how long a subscriber has failed",
                "s",
                {"longest": "max(tether_subscriber_failing_seconds)"},
                "After five days it is disabled.",
            ),
            Panel(
                "For how long an archive has waited",
                "s",
                {"{{step}}": "max by (step) (tether_archive_oldest_seconds)"},
                "Minutes. Days: the object store, its keys, or a long transaction.",
            ),
        ),
    },
    "money": {
        "Today": (
            Panel(
                "Money that moved today, minor units",
                "short",
                {"{{currency}} {{kind}}": "max by (currency, kind) (tether_money_minor)"},
                "By the day on which it was recorded, UTC.",
            ),
            Panel(
                "Return rate of 30 days",
                "percentunit",
                {"{{currency}}": "max by (currency) (tether_return_rate)"},
                "Schemes and the gateway watch it.",
            ),
        ),
        "Debits": (
            Panel(
                "Debits by state",
                "short",
                {"{{state}}": "max by (state) (tether_attempts)"},
                "Unknown ones are being inquired; pending ones wait for the bank.",
            ),
            Panel(
                "Debits that reach a state, an hour",
                "short",
                {
                    "{{state}}": 'max by (state) (delta(tether_attempts{state=~"approved|declined|error|chargebacked"}[1h]))'
                },
                "Errors and declines after a new list: look at its run.",
            ),
            Panel(
                "Unknown outcomes by why they stay unknown",
                "short",
                {"{{reason}}": "max by (reason) (tether_submissions_unknown)"},
                "not_found_elsewhere needs a person.",
            ),
            Panel(
                "Refunds and voids by state",
                "short",
                {"{{state}}": "max by (state) (tether_refunds)"},
                "Of orders placed here.",
            ),
            Panel(
                "Billing runs by state",
                "short",
                {
                    "{{state}}": "max by (state) (tether_billing_runs)",
                    "awaits a second person": "max(tether_billing_runs_awaiting_release)",
                },
                "Paused ones need a person.",
            ),
        ),
        "Recurring collection": (
            Panel(
                "What should have been done before today",
                "short",
                {"{{step}}": "max by (step) (tether_collection_late)"},
                "Make, order and notify are the workers' part; recover is a person's. At most 1000 each.",
            ),
        ),
        "Files": (
            Panel(
                "Uploads by state",
                "short",
                {"{{state}}": "max by (state) (tether_uploads)"},
                "needs_answer and failed need a person.",
            ),
            Panel(
                "Age of the oldest unfinished upload",
                "s",
                {"{{state}}": "max by (state) (tether_upload_oldest_seconds)"},
                "A file of a million rows takes minutes.",
            ),
        ),
        "Books": (
            Panel(
                "Differences from the gateway's records",
                "short",
                {"{{kind}}": "max by (kind) (tether_reconciliation_differences)"},
                "0 is right; each needs a person.",
            ),
            Panel(
                "Reported items that are not recorded here",
                "short",
                {"{{account}} {{report}}": "max by (account, report) (tether_report_items_unexplained)"},
                "Completeness: 0 is right.",
            ),
            Panel(
                "Age of the latest report read",
                "s",
                {"{{account}} {{report}}": "min by (account, report) (tether_report_read_age_seconds)"},
                "An hour is usual.",
            ),
        ),
    },
    "gateway": {
        "Calls": (
            Panel(
                "Calls by kind and outcome",
                "reqps",
                {
                    "{{account}} {{call}} {{outcome}}": "sum by (account, call, outcome) (rate(tether_gateway_seconds_count[5m]))"
                },
                "Silent calls leave an unknown outcome, which is inquired.",
            ),
            Panel(
                "Duration of answered calls",
                "s",
                {
                    "{{call}} p50": 'histogram_quantile(0.5, sum by (call, le) (rate(tether_gateway_seconds_bucket{outcome="answered"}[5m])))',
                    "{{call}} p95": 'histogram_quantile(0.95, sum by (call, le) (rate(tether_gateway_seconds_bucket{outcome="answered"}[5m])))',
                },
                "Beyond EMP_TIMEOUT outcomes become unknown.",
            ),
            Panel(
                "Calls that submitted nothing",
                "short",
                {"{{account}} {{cause}}": "max by (account, cause) (tether_gateway_not_submitted)"},
                "Their debits are submitted again.",
            ),
            Panel(
                "Connections replaced",
                "short",
                {"{{account}} {{phase}}": "max by (account, phase) (tether_gateway_connections_replaced)"},
                "A connection without a whole response is not used again.",
            ),
        ),
        "Limits": (
            Panel(
                "Circuit breaker",
                "short",
                {"{{account}} {{state}}": "max by (account, state) (tether_gateway_breaker)"},
                "Open: nothing is submitted with this account.",
            ),
            Panel(
                "Usable part of the rate",
                "percentunit",
                {"{{account}}": "min by (account) (tether_gateway_rate_part)"},
                "Below 1 the gateway asked for less.",
            ),
            Panel(
                "Calls that could be made at once",
                "short",
                {"{{account}} {{share}}": "min by (account, share) (tether_gateway_calls_left)"},
                "0 for long: the limit is what holds the work back.",
            ),
        ),
        "From the gateway": (
            Panel(
                "Notifications of the last burst",
                "short",
                {"{{outcome}}": "sum by (outcome) (increase(tether_webhook_notifications_total[6h]))"},
                "The gateway sends four bursts a day.",
            ),
            Panel(
                "Deliveries beyond the limits",
                "short",
                {"counted only": "max(tether_excess_deliveries)"},
                "Somebody floods with a valid signature.",
            ),
            Panel(
                "Refused notifications that are kept",
                "short",
                {"{{debit}}": "sum by (debit) (max by (account, debit) (tether_quarantine_rows))"},
                "Known debits: a password is wrong. Unknown ones may be anybody's.",
            ),
            Panel(
                "Detected steps of clocks, database epoch",
                "short",
                {
                    "{{clock}}": "sum by (clock) (tether_clock_steps_total)",
                    "epoch": "max(tether_database_epoch)",
                },
                "The epoch grows when the database went back.",
            ),
        ),
    },
}
_WIDTH: Final = 12
_HEIGHT: Final = 8


def queries() -> Iterator[tuple[str, str]]:
    """Every query of every dashboard, with where it stands."""
    for name, rows in DASHBOARDS.items():
        for panels in rows.values():
            for panel in panels:
                for query in panel.queries.values():
                    yield f"{name}: {panel.title}", query


def files() -> dict[Path, str]:
    """The files, with what they hold."""
    return {FOLDER / f"{name}.json": _json(name, rows) for name, rows in DASHBOARDS.items()}


def _json(name: str, rows: Mapping[str, tuple[Panel, ...]]) -> str:
    source = DataSourceRef(type_val="prometheus", uid="${source}")
    board = (
        dashboard.Dashboard(f"Tether: {name}")
        .uid(f"tether-{name}")
        .tags(["tether"])
        .time("now-24h", "now")
        .refresh("1m")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    )
    for title, panels in rows.items():
        board = board.with_row(dashboard.Row(title))
        for panel in panels:
            built = (
                timeseries.Panel()
                .title(panel.title)
                .description(panel.text)
                .unit(panel.unit)
                .datasource(source)
                .legend(common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST))
                .span(_WIDTH)
                .height(_HEIGHT)
            )
            for number, (legend, query) in enumerate(panel.queries.items()):
                built = built.with_target(
                    prometheus.Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + number))
                )
            board = board.with_panel(built)
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.name}")
