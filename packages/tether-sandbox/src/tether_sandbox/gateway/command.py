"""
The command line of the simulator: `tether-sandbox gateway`.

It reads payments as JSON lines (as `tether-sandbox seed` prints them; fields it does not know are passed over), plans
their notifications from a seed, delivers them and prints what became of them. The exit status is 0 when
everything genuine was acknowledged and everything forged refused.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tether_sandbox.gateway.life import Payment
from tether_sandbox.gateway.malice import Malice, Plan, plan
from tether_sandbox.gateway.sender import Delivered, deliver

__all__ = ["add_arguments", "read_payments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Describe the command's options.

    Args:
        parser: The parser of `tether-sandbox gateway`.
    """
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000/api/webhooks/emp",
        help="where notifications go (default: %(default)s)",
    )
    parser.add_argument(
        "--payments",
        default="-",
        metavar="FILE",
        help="payments as JSON lines, - for standard input (default)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="same seed, same notifications (default: %(default)s)"
    )
    parser.add_argument(
        "--hash",
        choices=("sha1", "sha256", "sha512"),
        default="sha1",
        help="of the signature (default: %(default)s)",
    )
    parser.add_argument(
        "--peaceful", action="store_true", help="no malice: every notification once, in order, genuine"
    )
    parser.add_argument("--json-share", type=float, default=0.0, metavar="SHARE", help="sent as JSON, 0 to 1")
    parser.add_argument(
        "--concurrency", type=int, default=32, help="requests under way at once (default: %(default)s)"
    )
    parser.add_argument(
        "--retry-interval-s",
        type=float,
        default=1.0,
        metavar="S",
        help="pause before a notification without echo is repeated; the real gateway waits 900 (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """
    Plan, deliver, report.

    The password that signs is the first of `EMP_API_PASSWORD`, the terminal `EMP_TERMINAL_TOKEN`.

    Args:
        args: What `add_arguments` described.

    Returns:
        0 when everything genuine was acknowledged and everything forged refused, 1 when not, 2 when there was
        nothing to do.
    """
    console = Console(stderr=True)
    password = os.environ.get("EMP_API_PASSWORD", "").split(",")[0].strip()
    if not password:
        console.print("EMP_API_PASSWORD is not set: there is nothing to sign with.")
        return 2
    if args.payments == "-":
        payments = read_payments(sys.stdin)
    else:
        with open(args.payments, encoding="utf-8") as lines:  # noqa: PTH123 - a name from the command line, read once
            payments = read_payments(lines)
    if not payments:
        console.print("No payments were given; `tether-sandbox seed` prints some.")
        return 2
    malice = Malice.none() if args.peaceful else Malice()
    planned = plan(
        payments,
        seed=args.seed,
        password=password,
        malice=msgspec.structs.replace(malice, json=args.json_share),
        algorithm=args.hash,
        terminal_token=os.environ.get("EMP_TERMINAL_TOKEN", ""),
    )
    delivered = asyncio.run(_deliver(planned, args=args, console=console))
    Console().print(_table(planned, delivered))
    for line in delivered.failures:
        console.print(line)
    return 0 if delivered.ok else 1


def read_payments(lines: Iterable[str]) -> list[Payment]:
    """
    Read payments from JSON lines.

    Args:
        lines: One object a line; blank lines are passed over, unknown fields too.

    Returns:
        The payments.

    Raises:
        msgspec.DecodeError: when a line is no payment.
    """
    decoder = msgspec.json.Decoder(Payment)
    return [decoder.decode(line) for line in lines if line.strip()]


async def _deliver(planned: Plan, *, args: argparse.Namespace, console: Console) -> Delivered:
    columns = (TextColumn("notifications"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(planned.deliveries))
        return await deliver(
            planned,
            url=args.url,
            concurrency=args.concurrency,
            retry_interval_s=args.retry_interval_s,
            progress=lambda tally: bar.update(task, completed=tally.settled),
        )


def _table(planned: Plan, delivered: Delivered) -> Table:
    table = Table("", "planned", "became", title="Notifications", title_justify="left")
    counts = planned.counts
    genuine = counts.sent - counts.forged
    table.add_row(
        "genuine", str(genuine), f"{delivered.acknowledged} acknowledged, {delivered.failed} failed"
    )
    table.add_row("forged", str(counts.forged), f"{delivered.refused} refused, {delivered.believed} believed")
    for name in msgspec.structs.asdict(counts):
        if name not in {"sent", "forged"}:
            table.add_row(f"  {name.replace('_', ' ')}", str(getattr(counts, name)), "")
    statuses = ", ".join(f"{number} x {status}" for status, number in sorted(delivered.statuses.items()))
    table.add_row("answers", "", statuses or "none")
    quantiles = " / ".join(f"{delivered.latency_s(q) * 1000:.1f}" for q in (0.5, 0.95, 0.99))
    table.add_row("p50 / p95 / p99", "", f"{quantiles} ms")
    return table
