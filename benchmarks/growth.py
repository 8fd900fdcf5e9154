"""
`python -m benchmarks growth`: speed with large tables, and with a second web process.

For each size a database is filled with that many notifications and attempts, all long done with; then, in turns, each is sent
500 a second, then as much as it answers, and drains a backlog. All databases are in one Postgres, so they differ only in size. Then, on an
empty database, one web process is measured by itself, behind nginx, and
beside a second one behind nginx.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec
from tether_stores.migrate import migrate

from benchmarks import backlog, database, nodes, plots
from benchmarks.environment import Environment, environment
from benchmarks.fill import GROWTH, filled
from benchmarks.loaded import RATE, Amount, Figure, Loaded, alone, middle, quantile, ratio, ratios, turned
from benchmarks.results import Aim, aims, heading, prose, table, write

__all__ = ["add_arguments", "run"]

_Grown = Mapping[int, Sequence[Loaded]]


class _Size(msgspec.Struct, frozen=True, array_like=True):
    """The row of the query `sizes`."""

    notifications: int
    attempts: int
    size_bytes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="small tables, to see that it works")
    parser.add_argument(
        "--rows", help="sizes with commas (default: 100000,1000000,10000000, some 15 GB; short: 2000,50000)"
    )
    parser.add_argument("--rounds", type=int, help="rounds (default: 3, short: 1)")
    parser.add_argument("--connections", type=int, default=64, help="at saturation (default: %(default)s)")
    parser.add_argument(
        "--shared-buffers",
        metavar="SIZE",
        default="256MB",
        help="of Postgres; a quarter of the memory is usual (default: %(default)s, which the indexes of 10,000,000 rows exceed)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the payments (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when every request was answered."""
    wanted = args.rows or ("2000,50000" if args.short else "100000,1000000,10000000")
    rounds = args.rounds or (1 if args.short else 3)
    amount = Amount(3, 2, args.connections, 4_000) if args.short else Amount(15, 8, args.connections, 30_000)
    grown: dict[int, list[Loaded]] = {int(rows): [] for rows in wanted.split(",")}
    with environment() as it:
        database.set_shared_buffers(it, args.shared_buffers)
        databases = {str(rows): _database(it, f"rows_{rows}", rows) for rows in grown}
        before = {rows: _size(databases[str(rows)]) for rows in grown}
        for run_of in range(rounds):
            for name, on in turned(databases, run_of):
                sys.stderr.write(f"round {run_of + 1}/{rounds}: {name} rows\n")
                grown[int(name)].append(_run(on, amount, number=args.seed * 10_000 + run_of))
        after = {rows: _size(databases[str(rows)]) for rows in grown}
        ways = nodes.measured(_database(it, "nodes", 0), amount, rounds=rounds, seed=args.seed)
    name = "growth-short" if args.short else "growth"
    lines = heading("Growth: larger tables, more web processes", seed=args.seed)
    lines += prose(
        f"{rounds} rounds. Each turn: {RATE}/s for {amount.held_s:g} s, saturation over {amount.connections} connections for",
        f"{amount.full_s:g} s, a backlog of {amount.backlog_rows:,} rows. Medians of the rounds; ratios are made within a round.",
        f"Postgres has {args.shared_buffers} of shared buffers.",
    )
    lines += [*_report(grown, before, after), *nodes.report(ways), *aims(_aims(grown))]
    write(name, lines)
    _plot(name, grown)
    return 1 if any(item.failures for result in (*grown.values(), *ways.values()) for item in result) else 0


def _database(it: Environment, name: str, rows: int) -> Environment:
    """Make a database, migrate it and fill it."""
    on = database.added(it, name)
    migrate(on.environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
    if rows:
        sys.stderr.write(f"filling {rows} rows\n")
        filled(on, rows)
    return on


def _size(on: Environment) -> _Size:
    return _Size(*database.ask(on, GROWTH["sizes"])[0])


def _run(on: Environment, amount: Amount, *, number: int) -> Loaded:
    """Load, then a backlog."""
    on.forget()
    result = alone(on, amount, number=number)
    on.forget()
    backlog.written(on, amount.backlog_rows, number=number + 5_000)
    drained = backlog.drained(on)
    database.run(on, GROWTH["resolved"])
    return msgspec.structs.replace(result, drained_per_s=drained.per_s)


def _report(grown: _Grown, before: Mapping[int, _Size], after: Mapping[int, _Size]) -> list[str]:
    first = next(iter(grown.values()))
    lines = ["## Larger tables", ""]
    lines += prose(
        f"One web process, one worker. Times and CPU are per answer at {RATE}/s; ratios compare with the first row.",
        "The tables grow by what the turns send; the result has their size.",
    )
    lines += table(
        (
            "rows",
            "at the end",
            "MiB",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "p95 ratio",
            "answers/s",
            "ratio",
            "applied/s",
            "ratio",
        ),
        [
            (
                rows,
                after[rows].notifications,
                before[rows].size_bytes >> 20,
                *(middle(result, quantile(field)) for field in ("p50_ms", "p95_ms", "p99_ms")),
                ratio(result, first, quantile("p95_ms")),
                round(middle(result, _per_s)),
                ratio(result, first, _per_s),
                round(middle(result, _drained)),
                ratio(result, first, _drained),
            )
            for rows, result in grown.items()
        ],
    )
    programs = ("web", "worker", "Postgres")
    return lines + table(
        (
            "rows",
            *(f"{program} CPU us" for program in programs),
            *(f"{program} ratio" for program in programs),
        ),
        [
            (
                rows,
                *(round(middle(result, _cpu(program))) for program in programs),
                *(ratio(result, first, _cpu(program)) for program in programs),
            )
            for rows, result in grown.items()
        ],
    )


def _aims(grown: _Grown) -> list[Aim]:
    first, *others = grown
    found = []
    for rows in others:
        moved = median(ratios(grown[rows], grown[first], quantile("p95_ms")))
        found.append(Aim(f"p95 at {rows:,} rows : at {first:,}, below 1.2", moved, moved < 1.2))
        drained = median(ratios(grown[rows], grown[first], _drained))
        found.append(
            Aim(
                f"applied/s from a backlog at {rows:,} rows : at {first:,}, at least 0.9",
                drained,
                drained >= 0.9,
            )
        )
    return found


def _plot(name: str, grown: _Grown) -> Path:
    along = [float(rows) for rows in grown]

    def course(figure: Figure) -> tuple[list[float], list[float]]:
        return along, [middle(item, figure) for item in grown.values()]

    return plots.lines(
        name,
        {
            f"answer times at {RATE}/s, milliseconds": {
                "median": course(quantile("p50_ms")),
                "p95": course(quantile("p95_ms")),
                "p99": course(quantile("p99_ms")),
            },
            f"CPU per answer at {RATE}/s, microseconds": {
                program: course(_cpu(program)) for program in ("web", "worker", "Postgres")
            },
            "per second": {
                "answers at saturation": course(_per_s),
                "applied from a backlog": course(_drained),
            },
        },
        across="rows in webhook_events and in billing_attempts",
        logarithmic=True,
    )


def _cpu(program: str) -> Figure:
    return lambda item: item.held.cost.us[program]


def _per_s(loaded: Loaded) -> float:
    return loaded.full.per_s


def _drained(loaded: Loaded) -> float:
    return loaded.drained_per_s
