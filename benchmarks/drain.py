"""
`python -m benchmarks drain`: how fast one worker applies notifications, and whether it keeps up with one web process.

Three figures: events applied per second from a backlog, answers per second of one web process at saturation with that worker
running, and the time from receipt to applying at 500 a second. A worker that applies faster than its web process answers can never
fall behind for long.
"""

import argparse
from datetime import UTC, datetime

import msgspec

from benchmarks import backlog, database, plots
from benchmarks.backlog import Drained
from benchmarks.database import PRODUCT
from benchmarks.environment import Environment, environment
from benchmarks.load import Full, Held, generator, hold, saturate, take
from benchmarks.results import Aim, aims, heading, prose, table, write
from benchmarks.workload import PER_ATTEMPT, notifications

__all__ = ["add_arguments", "run"]

_RATE = 500
_PER_S_MAX = 12_000
_PATH = "/api/webhooks/emp"
# How much faster one worker applies a backlog than its web process answers at saturation, and the time from receipt to applying.
_AIM_RATIO = 2.5
_AIM_P95_MS = 60


class _Applied(msgspec.Struct, frozen=True, array_like=True):
    """From receipt to applying; the row of the query `applied_after`."""

    rows: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="small numbers, to see that it works")
    parser.add_argument("--rows", type=int, help="of the backlog (default: 200000, short: 10000)")
    parser.add_argument("--seconds", type=float, help="of load (default: 20, short: 4)")
    parser.add_argument("--connections", type=int, default=64, help="at saturation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the payments (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when every row was applied and every request answered."""
    rows = args.rows or (10_000 if args.short else 200_000)
    seconds = args.seconds or (4.0 if args.short else 20.0)
    with environment() as it:
        backlog.written(it, rows, number=args.seed)
        drained = backlog.drained(it)
        states = dict(database.ask(it, PRODUCT["current_status"]))
        database.run(it, PRODUCT["emptied"])
        it.forget()
        held, applied = _held(it, seconds, number=args.seed + 1)
        full, behind = _full(it, seconds, connections=args.connections, number=args.seed + 2)
    name = "drain-short" if args.short else "drain"
    lines = heading("Drain: one worker, a backlog, and a web process", seed=args.seed)
    lines += _report(drained, states, held, applied, full, behind, connections=args.connections)
    write(name, lines)
    course = [at_s for at_s, _ in drained.course], [left for _, left in drained.course]
    plots.lines(name, {"notifications waiting, one worker": {"waiting": course}}, across="seconds")
    whole = states == {"processed": drained.rows} and not held.sent.failures and not full.failures
    return 0 if whole else 1


def _held(it: Environment, seconds: float, *, number: int) -> tuple[Held, _Applied]:
    """Hold 500 a second with one web process and one worker."""
    warm = 2 * _RATE
    count = int(_RATE * seconds)
    attempts = it.seeded((warm + count) // PER_ATTEMPT + 1, number=number)
    bodies = notifications(attempts, number=number)
    web, worker = it.start_web(workers=1), it.start_worker("webhooks")
    url = it.url + _PATH
    programs = {"web": web.pid, "worker": worker.pid, **it.stores}
    hold(url, take(bodies, warm, it.folder / "warm"), rate=_RATE, seconds=2, programs={})
    since = datetime.now(UTC)
    held = hold(url, take(bodies, count, it.folder / "held"), rate=_RATE, seconds=seconds, programs=programs)
    backlog.resolved(it)
    applied = _Applied(*database.ask(it, PRODUCT["applied_after"], since=since)[0])
    web.kill()
    worker.kill()
    return held, applied


def _full(it: Environment, seconds: float, *, connections: int, number: int) -> tuple[Full, int]:
    """Send as much as one web process answers while one worker applies it; also return what waits at the end."""
    count = int(_PER_S_MAX * seconds)
    attempts = it.seeded(count // PER_ATTEMPT + 1, number=number)
    bodies = take(notifications(attempts, number=number), count, it.folder / "full")
    web, worker = it.start_web(workers=1), it.start_worker("webhooks")
    programs = {"web": web.pid, "worker": worker.pid, **it.stores}
    full = saturate(it.url + _PATH, bodies, connections=connections, seconds=seconds, programs=programs)
    behind = backlog.waiting(it)
    web.kill()
    worker.kill()
    return full, behind


def _report(
    drained: Drained,
    states: dict[str, int],
    held: Held,
    applied: _Applied,
    full: Full,
    behind: int,
    *,
    connections: int,
) -> list[str]:
    lines = ["## From a backlog", ""]
    lines += prose("One worker process and nothing else; wake-ups of every slot wait for it.")
    lines += table(
        ("rows", "seconds", "applied/s", *(f"{name} CPU us" for name in drained.cost_us), "rows afterwards"),
        [
            (
                drained.rows,
                drained.lasted_s,
                round(drained.per_s),
                *(round(us) for us in drained.cost_us.values()),
                ", ".join(f"{count} {state}" for state, count in sorted(states.items())),
            )
        ],
    )
    lines += ["## At saturation", ""]
    lines += prose(
        f"One web process, {connections} connections, load from {generator()}; the worker applies them meanwhile and shares the two",
        "cores with everything else.",
    )
    lines += table(
        ("answers/s", "p95 ms", "applied/s from a backlog : answers/s", "waiting at the end", "failures"),
        [(round(full.per_s), full.p95_ms, drained.per_s / full.per_s, behind, full.failures)],
    )
    lines += [f"## From receipt to applying, at {_RATE}/s", ""]
    lines += prose(
        "From `received_at` to `handled_at`, the time the transaction that applied it began; the transaction itself takes some",
        "milliseconds more.",
    )
    lines += table(
        ("applied", "p50 ms", "p95 ms", "p99 ms", "max ms", "answer p95 ms", "failures"),
        [(*msgspec.structs.astuple(applied), held.sent.p95_ms, held.sent.failures)],
    )
    lines += table(
        ("program", f"CPU us per notification at {_RATE}/s", "at saturation"),
        [(name, round(us), round(full.cost.us[name])) for name, us in held.cost.us.items()],
    )
    ratio = drained.per_s / full.per_s
    return lines + aims(
        [
            Aim(f"applied/s : answers/s, at least {_AIM_RATIO}", ratio, ratio >= _AIM_RATIO),
            Aim(
                f"receipt to applying p95 at {_RATE}/s, at most {_AIM_P95_MS} ms",
                applied.p95_ms,
                applied.p95_ms <= _AIM_P95_MS,
            ),
        ]
    )
