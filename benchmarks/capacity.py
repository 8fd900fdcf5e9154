"""
`python -m benchmarks capacity`: what a million notifications cost, and what an installation needs for many of them.

One web process and one worker take notifications at a fixed rate. Measured are CPU by program, bytes of tables and WAL, flushes and connections.
From these costs a simulation says what a year of up to 10^9 notifications needs, when the gateway sends an hour's worth in a minute, and what
is used up first. Costs of this machine are costs of this machine: run it on yours.
"""

import argparse
import time
from datetime import UTC, datetime
from typing import Final

import msgspec
from tether_sandbox.services.waiting import until
from tether_stores.queries import split_file

from benchmarks import database
from benchmarks.database import PRODUCT
from benchmarks.environment import environment
from benchmarks.load import hold, take
from benchmarks.results import heading, prose, table, write
from benchmarks.workload import PER_ATTEMPT, notifications

__all__ = ["Costs", "Need", "add_arguments", "need", "run"]

_SQL: Final = split_file("benchmarks", "sql/capacity")
_PATH: Final = "/api/webhooks/emp"
_YEAR_H: Final = 8_760
# What one Postgres and its disk are taken to have in the table: a usual server of today. The simulation says which is used up first.
CORES: Final = 16
FLUSHES_PER_S: Final = 5_000
CONNECTIONS_MAX: Final = 400
DISK_GIB: Final = 2_000
# Of a web process and of a worker (docs/performance-tuning.md).
_WEB_CONNECTIONS: Final = 11
_WORKER_CONNECTIONS: Final = 8
# Busier than this, answers wait for the processor.
_BUSY_MAX: Final = 0.6


class Costs(msgspec.Struct, frozen=True):
    """
    What a notification costs.

    Attributes:
        web_us: Processor time of the web process, microseconds.
        worker_us: Of the worker.
        postgres_us: Of Postgres.
        database_bytes: What stays in tables and indexes.
        wal_bytes: Written to WAL.
        flushes: Flushes of WAL; many notifications share one when the node is busy.
    """

    web_us: float
    worker_us: float
    postgres_us: float
    database_bytes: float
    wal_bytes: float
    flushes: float


class Need(msgspec.Struct, frozen=True):
    """
    What a volume needs.

    Attributes:
        burst_per_s: Notifications a second while the gateway sends an hour's worth in a minute.
        web: Web processes.
        workers: Worker processes of the queue webhooks, to apply a burst within ten minutes.
        postgres_cores: Cores of Postgres during a burst.
        database_gib: What a year adds to the tables.
        wal_gib_a_day: WAL of a day.
        connections: Connections of these processes.
        first: What is used up first on one server.
        used: Which part of it is used, 1 being all.
    """

    burst_per_s: float
    web: int
    workers: int
    postgres_cores: float
    database_gib: float
    wal_gib_a_day: float
    connections: int
    first: str
    used: float


def need(costs: Costs, *, a_year: float) -> Need:
    """
    What a number of notifications a year needs.

    Args:
        costs: Measured.
        a_year: Notifications.

    >>> found = need(Costs(250, 150, 400, 2_000, 4_000, 0.1), a_year=1e9)
    >>> round(found.burst_per_s), found.web, found.workers, found.first
    (1903, 2, 2, 'disk, in a year')
    >>> need(Costs(250, 150, 400, 2_000, 4_000, 0.1), a_year=1e6).web
    2
    """
    per_s = a_year / _YEAR_H / 60
    # A web process answers from one core; two are there for deployments and deaths.
    web = max(2, -(-int(per_s * costs.web_us) // int(1e6 * _BUSY_MAX)))
    workers = max(2, -(-int(per_s / 10 * costs.worker_us) // int(1e6 * _BUSY_MAX)))
    postgres_cores = per_s * costs.postgres_us / 1e6
    connections = web * _WEB_CONNECTIONS + workers * _WORKER_CONNECTIONS
    parts = {
        "Postgres, processor": postgres_cores / (CORES * _BUSY_MAX),
        "Postgres, flushes": per_s * costs.flushes / FLUSHES_PER_S,
        "Postgres, connections": connections / CONNECTIONS_MAX,
        "disk, in a year": a_year * costs.database_bytes / 2**30 / DISK_GIB,
    }
    first = max(parts, key=lambda name: parts[name])
    return Need(
        per_s,
        web,
        workers,
        postgres_cores,
        a_year * costs.database_bytes / 2**30,
        a_year / 365 * costs.wal_bytes / 2**30,
        connections,
        first,
        parts[first],
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--rate", type=int, default=500, help="notifications a second (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="for this long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the payments (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Measure, simulate, and write the result; 0."""
    count = args.rate * args.seconds
    with environment() as it:
        attempts = it.seeded(count // PER_ATTEMPT + 200, number=args.seed)
        bodies = take(notifications(attempts, number=args.seed), count, it.folder / "bodies.txt")
        web, worker = it.start_web(workers=1), it.start_worker("webhooks")
        # Checkpoints write each touched page whole once; long runs have few of them.
        database.run(it, b"checkpoint")
        before = database.ask(it, _SQL["usage"])[0]
        programs = {"web": web.pid, "worker": worker.pid, "Postgres": it.stores["Postgres"]}
        held = hold(it.url + _PATH, bodies, rate=args.rate, seconds=args.seconds, programs=programs)
        until(
            lambda: not database.ask(it, PRODUCT["waiting"], now=datetime.now(UTC))[0][0],
            what="all notifications to be applied",
            timeout_s=120,
        )
        time.sleep(6)  # counts of WAL and pages are published after some seconds
        after = database.ask(it, _SQL["usage"])[0]
    answers = max(held.sent.answers, 1)
    size, wal, flushes = ((b - a) / answers for a, b in zip(before, after, strict=True))
    us = held.cost.us
    costs = Costs(us["web"], us["worker"], us["Postgres"], size, wal, flushes)
    volumes = (1e6, 1e7, 1e8, 3e8, 1e9)
    lines = [
        *heading("Capacity", seed=args.seed),
        *prose(
            f"{answers:,} notifications at {args.rate}/s, one web process and one worker beside Postgres on the same cores.",
            "A quiet node costs more processor time for each than a busy one: at saturation it is a third (webhooks.md).",
        ),
        "## What a million notifications cost",
        "",
        *table(
            ["what", "a million"],
            [
                ["tables and indexes, MiB", f"{size * 1e6 / 2**20:,.0f}"],
                ["WAL, MiB", f"{wal * 1e6 / 2**20:,.0f}"],
                ["flushes of WAL", f"{flushes * 1e6:,.0f}"],
                ["processor, web, s", f"{costs.web_us:,.0f}"],
                ["processor, worker, s", f"{costs.worker_us:,.0f}"],
                ["processor, Postgres, s", f"{costs.postgres_us:,.0f}"],
            ],
        ),
        "## What a year needs",
        "",
        *prose(
            "Simulated from these costs: an hour's worth comes within a minute, processors are busy to 60 % at most, and a burst is applied within ten",
            f"minutes. One server of {CORES} cores, {FLUSHES_PER_S:,} flushes a second, {CONNECTIONS_MAX} connections and {DISK_GIB:,} GiB.",
        ),
        *table(
            [
                "a year",
                "burst, a second",
                "web",
                "workers",
                "Postgres cores",
                "tables, GiB a year",
                "WAL, GiB a day",
                "connections",
                "used up first",
                "used",
            ],
            [
                [
                    f"{volume:,.0f}",
                    round(found.burst_per_s, 1),
                    found.web,
                    found.workers,
                    round(found.postgres_cores, 2),
                    round(found.database_gib, 1),
                    round(found.wal_gib_a_day, 2),
                    found.connections,
                    found.first,
                    f"{found.used:.0%}",
                ]
                for volume in volumes
                for found in [need(costs, a_year=volume)]
            ],
        ),
    ]
    print(write("capacity", lines))
    return 0
