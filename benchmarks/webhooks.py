"""
`python -m benchmarks webhooks`: Tether compared with the floor and its peers, in alternating runs, with the same bodies.

In each round every variant has one turn, in an order that moves on from round to round: it is started with empty stores, proves
that it verifies, answers and books, is warmed up, is sent 100, 500 and 1,000 a second (open loop, timed from the time each
request was due), then as much as it answers, and is killed. All variants of a round get the same bodies. Ratios are computed within a round;
the report has the median of the rounds, with the lowest and the highest.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from tether_sandbox.services.server import DidNotStart

from benchmarks import comparison, database
from benchmarks.database import FLOOR
from benchmarks.environment import Environment, environment
from benchmarks.environments import NotInstalled
from benchmarks.load import take
from benchmarks.results import heading, write
from benchmarks.turns import RATES, WARM_RATE, Length, Run, run_of
from benchmarks.variants import ALL, Variant
from benchmarks.workload import PER_ATTEMPT, notifications

__all__ = ["add_arguments", "run"]

# More than anything that verifies answers in a second on one core, so that no body is sent twice.
_PER_S_MAX = 12_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="one round of seconds, to see that it works")
    parser.add_argument("--rounds", type=int, help="rounds (default: 5, short: 1)")
    parser.add_argument(
        "--connections", default="64,256", help="at saturation, with commas (default: %(default)s)"
    )
    parser.add_argument("--only", help="variants, with commas; of: " + ", ".join(item.name for item in ALL))
    parser.add_argument("--seed", type=int, default=1, help="of the payments (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when every variant that could be installed answered every request."""
    rounds = args.rounds or (1 if args.short else 5)
    length = Length(1, 1, 4) if args.short else Length(3, 10, 8)
    connections = [int(count) for count in args.connections.split(",")]
    wanted = args.only.split(",") if args.only else [item.name for item in ALL]
    absent: dict[str, str] = {}
    chosen: list[Variant] = []
    for variant in ALL:
        if variant.name in wanted:
            try:
                variant.install()
                chosen.append(variant)
            except NotInstalled as exc:
                absent[variant.name] = str(exc)
    runs: dict[str, list[Run]] = {item.name: [] for item in chosen}
    with environment() as it:
        apart = database.added(it, "peers")
        database.run(apart, FLOOR["floor_table"])
        database.run(apart, FLOOR["peers_table"])
        for number in range(rounds):
            files = _bodies(it, length, connections, number=args.seed * 1_000 + number)
            first = number % max(len(chosen), 1)
            for variant in chain(chosen[first:], chosen[:first]):
                if variant.name in absent:
                    continue
                sys.stderr.write(f"round {number + 1}/{rounds}: {variant.name}\n")
                on = it if variant.kind == "ours" else apart
                # What Postgres tidies up by itself after one turn would else be counted in the next.
                for place in (it, apart):
                    database.run(place, b"vacuum (analyze)")
                database.run(on, b"checkpoint")
                try:
                    runs[variant.name].append(
                        run_of(on, variant, files, length=length, connections=connections)
                    )
                except (DidNotStart, TimeoutError) as exc:
                    absent[variant.name] = str(exc).splitlines()[0][:200]
    complete = {name: result for name, result in runs.items() if len(result) == rounds}
    name = "webhooks-short" if args.short else "webhooks"
    lines = heading("Webhooks: Tether, the floor and the peers", seed=args.seed)
    lines += comparison.report(complete, absent, length, rounds=rounds, connections=connections)
    write(name, lines)
    comparison.plot(complete, name, connections=connections)
    return 1 if any(item.failures for result in complete.values() for item in result) else 0


def _bodies(it: Environment, length: Length, connections: Sequence[int], *, number: int) -> dict[str, Path]:
    """Write the bodies of a round, of payments that exist; what was written for the last one is replaced."""
    counts = {
        "warm": int(WARM_RATE * length.warm_s),
        **{str(rate): int(rate * length.held_s) for rate in RATES},
        **{f"full-{count}": int(_PER_S_MAX * length.full_s) for count in connections},
    }
    attempts = it.seeded(sum(counts.values()) // PER_ATTEMPT + 1, number=number)
    bodies = notifications(attempts, number=number)
    return {part: take(bodies, count, it.folder / f"bodies-{part}") for part, count in counts.items()}
