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
from tether_sandbox.chaos.run import Recovery, Report, run_chaos

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Describe the command's options.

    Args:
        parser: The parser of `tether-sandbox chaos`.
    """
    parser.add_argument(
        "--minutes", type=number(0.01), default=1.0, help="how long faults are drawn (default: %(default)s)"
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
    parser.add_argument(
        "--own", action="store_true", help="without nginx and pgBouncer, even where installed"
    )
    parser.add_argument(
        "--unconfirmed",
        action="store_true",
        help="let disputes take effect as they are told, without asking the gateway",
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep there what the programs said")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")


def run(args: argparse.Namespace) -> int:
    """
    Let it rage, and print what it showed.

    Args:
        args: What `add_arguments` described.

    Returns:
        0 when everything recovered and the books agree, else 1.
    """
    console = Console()

    def print_recovery(recovery: Recovery) -> None:
        well = "never" if recovery.recovered_s is None else f"{recovery.recovered_s:.2f} s"
        console.print(
            f"{recovery.at_s:7.1f} s  {recovery.fault:<17} well after {well}"
            + (f", {recovery.failed_requests} requests failed" if recovery.failed_requests else ""),
            highlight=False,
        )

    if args.keep:
        try:
            args.keep.mkdir(parents=True)
        except OSError as exc:
            raise InvalidRequest(f"{args.keep} cannot be made ({exc.strerror})", field="--keep") from None
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


def _show(report: Report, *, console: Console) -> None:
    sums = Table(
        title=f"Storm of {report.lasted_s:.0f} s, seed {report.seed}", title_justify="left", show_header=False
    )
    sums.add_column("")
    sums.add_column("", justify="right")
    quantiles = " / ".join(f"{report.latency_ms[q]:.0f}" for q in ("p50", "p95", "p99"))
    for what, count in (
        ("in front; before Postgres", f"{report.proxy}; {report.pooler or 'nothing'}"),
        ("acked", report.acked),
        ("applied", report.applied),
        ("of these confirmed by the gateway", report.confirmed),
        ("repeated", report.repeated),
        ("forged and refused", report.refused),
        ("sent again for want of an answer", report.posts - report.planned),
        ("reached both nodes at the same time", report.races),
        (
            "files taken; with questions; objects nobody names",
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
        ("answer time p50 / p95 / p99", f"{quantiles} ms"),
        (
            "answers",
            ", ".join(f"{status or 'none'}: {count}" for status, count in sorted(report.statuses.items())),
        ),
    ):
        sums.add_row(what, str(count))
    console.print(sums)
    console.print(_by_kind(report))
    books = Table(title="Conservation check", title_justify="left")
    for column in ("", "sent", "applied", ""):
        books.add_column(column, justify="right" if column in {"sent", "applied"} else "left")
    for line in report.lines:
        mark = "[green]✓[/]" if line.holds else f"[red]✗ {line.note}[/]"
        books.add_row(line.what, str(line.wanted), str(line.found), mark)
    console.print(books)
    for warning in report.warnings[:10]:
        console.print(f"[red]{warning}[/]", highlight=False)
    for item in report.corrupted:
        console.print(
            f"[red]{item.failed_requests} requests failed at {item.fault}, though a node was left[/]"
        )
    console.print("[green]All is well.[/]" if report.holds else "[red]Not all is well.[/]")


def _by_kind(report: Report) -> Table:
    table = Table(title="Faults", title_justify="left")
    for column in (
        "",
        "times",
        "well after: median",
        "slowest",
        "whole again: slowest",
        "failed at the proxy",
    ):
        table.add_column(column, justify="right" if column else "left")
    kinds: dict[str, list[Recovery]] = defaultdict(list)
    for recovery in report.recoveries:
        kinds[recovery.fault].append(recovery)
    for name, ones in sorted(kinds.items()):
        times = sorted(item.recovered_s if item.recovered_s is not None else float("inf") for item in ones)
        table.add_row(
            name,
            str(len(ones)),
            f"{times[len(times) // 2]:.2f} s",
            f"{times[-1]:.2f} s",
            f"{max(item.whole_s for item in ones):.2f} s",
            str(sum(item.failed_requests for item in ones)),
        )
    return table
