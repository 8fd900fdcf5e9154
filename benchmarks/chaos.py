"""
`python -m benchmarks chaos`: faults for fifteen minutes under load, the conservation check, and the recovery times.

What `tether-sandbox chaos` does (docs/guides/faults.md), with its report kept beside the other results, and its course as a picture.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tether_sandbox.chaos import FAULTS, ChaosReport, Recovery, run_chaos

from benchmarks import plots
from benchmarks.results import Aim, aims, heading, prose, table, write

__all__ = ["add_arguments", "run"]

_ACKNOWLEDGED_MIN = 200_000
_KILLS_MIN = 100
_RECOVERY_MAX_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="each kind of fault once")
    parser.add_argument("--minutes", type=float, default=15, help="how long (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=300, help="deliveries per second (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of faults and payments (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the logs of the programs in DIR")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 if the conservation check holds, everything recovered, and the aims are met."""
    if args.keep:
        args.keep.mkdir(parents=True)
    report = run_chaos(
        minutes=0 if args.short else args.minutes,
        seed_number=args.seed,
        rate=args.rate,
        keep=args.keep,
        report=_tell,
    )
    name = "chaos-short" if args.short else "chaos"
    found = _aims(report, short=args.short)
    lines = heading(f"Chaos test: {report.lasted_s / 60:.3g} minutes", seed=args.seed)
    lines += _sums(report) + aims(found) + _faults(report) + _books(report)
    write(name, lines)
    _plot(name, report)
    return 0 if report.holds and all(aim.met for aim in found) else 1


def _tell(recovery: Recovery) -> None:
    well = "never" if recovery.recovered_s is None else f"{recovery.recovered_s:.2f} s"
    sys.stdout.write(f"{recovery.at_s:7.1f} s  {recovery.fault:<17} recovered after {well}\n")
    sys.stdout.flush()


def _aims(report: ChaosReport, *, short: bool) -> list[Aim]:
    broken = sum(not line.holds for line in report.lines)
    corrupted = sum(item.failed_requests for item in report.request_losses)
    always = [
        Aim("lines of the conservation check that do not hold, 0", broken, broken == 0),
        Aim(
            f"slowest recovery after a kill, below {_RECOVERY_MAX_S:g} s",
            report.slowest_after_kill_s,
            report.slowest_after_kill_s < _RECOVERY_MAX_S,
        ),
        Aim("faults never recovered from, 0", len(report.unrecovered), not report.unrecovered),
        Aim("requests that failed at the proxy although a node was left, 0", corrupted, corrupted == 0),
        Aim("log lines of internal errors, 0", len(report.warnings), not report.warnings),
    ]
    if short:
        return always
    return [
        Aim(
            f"acknowledged, {_ACKNOWLEDGED_MIN:,} or more",
            report.acknowledged,
            report.acknowledged >= _ACKNOWLEDGED_MIN,
        ),
        Aim(f"kills, {_KILLS_MIN} or more", report.kills, report.kills >= _KILLS_MIN),
        *always,
    ]


def _sums(report: ChaosReport) -> list[str]:
    between = report.pooler or "nothing between"
    lines = prose(
        f"Two web nodes behind {report.proxy}, two workers, Postgres behind {between}, Redis, an object store and a gateway;",
        f"{report.lasted_s:.0f} s of deliveries, sent again until they are answered, while {report.files} files were uploaded",
        "and billed.",
    )
    quantiles = " / ".join(f"{report.latency_ms[item]:.0f}" for item in ("p50", "p95", "p99"))
    rows: list[tuple[str, object]] = [
        ("deliveries acknowledged", report.acknowledged),
        ("applied", report.applied),
        ("of these confirmed by the gateway", report.confirmed),
        ("repeated", report.repeated),
        ("invalid signatures, refused", report.refused),
        ("sent again without an answer", report.posts - report.planned),
        ("reached both nodes at the same time", report.races),
        ("files stored; objects that no row names", f"{report.files}; {report.objects_unnamed}"),
        ("debits in the gateway's ledger", report.debits),
        ("faults", len(report.recoveries)),
        ("kills among them", report.kills),
        ("recovered", len(report.recoveries) - len(report.unrecovered)),
        ("slowest recovery, s", f"{report.slowest_s:.2f}"),
        ("longest gap between acknowledgements, s", f"{report.longest_gap_s:.2f}"),
        ("answer time p50 / p95 / p99, ms", quantiles),
        ("acknowledged per second, mean", f"{report.acknowledged / report.lasted_s:.0f}"),
    ]
    return lines + table(("", "found"), rows)


def _faults(report: ChaosReport) -> list[str]:
    kinds: dict[str, list[Recovery]] = defaultdict(list)
    for recovery in report.recoveries:
        kinds[recovery.fault].append(recovery)

    def times(ones: Sequence[Recovery]) -> list[float]:
        return [float("inf") if recovery.recovered_s is None else recovery.recovered_s for recovery in ones]

    lines = ["## Faults", ""]
    lines += prose(
        "Recovered: a new notification was acknowledged and applied, or a new file read. Counted from a kill, or from the time",
        "at which the fault ended.",
    )
    return lines + table(
        ("fault", "what it does", "times", "recovered after, median s", "slowest s", "failed at the proxy"),
        [
            (
                name,
                FAULTS[name].description,
                len(ones),
                median(times(ones)),
                max(times(ones)),
                sum(recovery.failed_requests for recovery in ones),
            )
            for name, ones in sorted(kinds.items())
        ],
    )


def _books(report: ChaosReport) -> list[str]:
    lines = ["## Conservation check", ""]
    lines += table(
        ("", "wanted", "found", "holds"),
        [
            (line.what, str(line.wanted), str(line.found), "yes" if line.holds else f"no {line.note}")
            for line in report.lines
        ],
    )
    return lines + [f"- {warning}" for warning in report.warnings[:10]]


def _plot(name: str, report: ChaosReport) -> Path:
    seconds = list(range(len(report.acknowledged_each_s)))
    killed = [recovery for recovery in report.recoveries if FAULTS[recovery.fault].kills]
    others = [recovery for recovery in report.recoveries if not FAULTS[recovery.fault].kills]
    return plots.course(
        name,
        {"acknowledged in each second": (seconds, report.acknowledged_each_s)},
        {
            "recovery after a kill, s": [(item.at_s, item.recovered_s or 0.0) for item in killed],
            "after another fault, s": [(other.at_s, other.recovered_s or 0.0) for other in others],
        },
        across="seconds",
    )
