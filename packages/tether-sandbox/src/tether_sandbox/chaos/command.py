"""The command line of the chaos test: `tether-sandbox chaos --minutes 15 --seed 1`."""

import argparse
from collections import defaultdict
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from tether_core.errors import InvalidRequest
from tether_stores.command_line import number, whole

from tether_sandbox.chaos.faults import FAULTS
from tether_sandbox.chaos.report import ChaosReport, Recovery
from tether_sandbox.chaos.run import run_chaos

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of `tether-sandbox chaos`."""
    parser.add_argument(
        "--minutes",
        type=number(0.01),
        default=1.0,
        help="how long faults are injected (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="same number, same faults (default: %(default)s)")
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=[],
        metavar="FAULT",
        choices=list(FAULTS),
        help="only faults of these kinds",
    )
    parser.add_argument(
        "--rate", type=whole(1, 100_000), default=300, help="deliveries per second (default: %(default)s)"
    )
    parser.add_argument("--own", action="store_true", help="without nginx and pgBouncer, even if installed")
    parser.add_argument(
        "--unconfirmed",
        action="store_true",
        help="apply disputes without confirmation by the gateway",
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the logs of the programs in DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to FILE")


def run(args: argparse.Namespace) -> int:
    """Run the chaos test and print its report; 0 if everything recovered and the conservation check holds, else 1."""
    console = Console()

    def print_recovery(recovery: Recovery) -> None:
        result = (
            "not recovered" if recovery.recovered_s is None else f"recovered in {recovery.recovered_s:.2f} s"
        )
        console.print(
            f"{recovery.at_s:7.1f} s  {recovery.fault:<17} {result}"
            + (f", {recovery.failed_requests} requests failed" if recovery.failed_requests else ""),
            highlight=False,
        )

    if args.keep:
        try:
            args.keep.mkdir(parents=True)
        except OSError as exc:
            raise InvalidRequest(f"{args.keep} cannot be created ({exc.strerror})", field="--keep") from None
    report = run_chaos(
        minutes=args.minutes,
        seed_number=args.seed,
        kinds=args.kinds,
        rate=args.rate,
        own=args.own,
        confirm=not args.unconfirmed,
        keep=args.keep,
        report=print_recovery,
    )
    if args.json:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    _show(report, console=console)
    return 0 if report.holds else 1


def _show(report: ChaosReport, *, console: Console) -> None:
    sums = Table(
        title=f"Chaos test of {report.lasted_s:.0f} s, seed {report.seed}",
        title_justify="left",
        show_header=False,
    )
    sums.add_column("")
    sums.add_column("", justify="right")
    quantiles = " / ".join(f"{report.latency_ms[q]:.0f}" for q in ("p50", "p95", "p99"))
    for what, count in (
        ("proxy; pooler", f"{report.proxy}; {report.pooler or 'none'}"),
        ("deliveries acknowledged", report.acknowledged),
        ("notifications applied", report.applied),
        ("of these confirmed by the gateway", report.confirmed),
        ("duplicates", report.repeated),
        ("invalid signatures refused", report.refused),
        ("repeated for lack of a response", report.posts - report.planned),
        ("sent to both nodes at the same time", report.races),
        (
            "files uploaded; with questions; orphaned objects",
            f"{report.files}; {report.answered}; {report.objects_unnamed}",
        ),
        ("debits in the gateway's ledger", report.debits),
        ("kills", report.kills),
        ("recovered", f"{len(report.recoveries) - len(report.unrecovered)} of {len(report.recoveries)}"),
        (
            "slowest recovery; after a kill",
            f"{report.slowest_s:.2f} s; {report.slowest_after_kill_s:.2f} s",
        ),
        ("longest gap between acknowledgements", f"{report.longest_gap_s:.2f} s"),
        ("latency p50 / p95 / p99", f"{quantiles} ms"),
        (
            "responses",
            ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(report.statuses.items())),
        ),
    ):
        sums.add_row(what, str(count))
    console.print(sums)
    console.print(_by_kind(report))
    checks = Table(title="Conservation check", title_justify="left")
    for column in ("", "gateway", "Tether", ""):
        checks.add_column(column, justify="right" if column else "left")
    for line in report.lines:
        mark = "[green]✓[/]" if line.holds else f"[red]✗ {line.note}[/]"
        checks.add_row(line.what, str(line.wanted), str(line.found), mark)
    console.print(checks)
    for warning in report.warnings[:10]:
        console.print(f"[red]{warning}[/]", highlight=False)
    for item in report.request_losses:
        console.print(
            f"[red]{item.failed_requests} requests failed during {item.fault} although a node was up[/]"
        )
    console.print("[green]The chaos test passed.[/]" if report.holds else "[red]The chaos test failed.[/]")


def _by_kind(report: ChaosReport) -> Table:
    table = Table(title="Faults", title_justify="left")
    for column in (
        "",
        "times",
        "recovery: median",
        "slowest",
        "all ready: slowest",
        "failed requests",
    ):
        table.add_column(column, justify="right" if column else "left")
    kinds: dict[str, list[Recovery]] = defaultdict(list)
    for recovery in report.recoveries:
        kinds[recovery.fault].append(recovery)
    for name, recoveries in sorted(kinds.items()):
        times = sorted(
            item.recovered_s if item.recovered_s is not None else float("inf") for item in recoveries
        )
        table.add_row(
            name,
            str(len(recoveries)),
            f"{times[len(times) // 2]:.2f} s",
            f"{times[-1]:.2f} s",
            f"{max(item.whole_s for item in recoveries):.2f} s",
            str(sum(item.failed_requests for item in recoveries)),
        )
    return table
