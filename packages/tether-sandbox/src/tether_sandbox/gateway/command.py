"""
The command line of the simulator: `tether-sandbox gateway send | serve | scripts`.

`send` reads payments as JSON lines (as `tether-sandbox seed` prints them; unknown fields are ignored), plans their
notifications from a seed, delivers them and prints the result. `serve` runs a whole gateway to integrate against; `scripts`
prints which amounts and IBANs choose which outcome.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from tether_core.errors import InvalidRequest
from tether_stores.command_line import cannot_listen, number, whole

from tether_sandbox.gateway.fault_injection import FaultInjection, FaultPlan, plan
from tether_sandbox.gateway.payment_history import Payment, PaymentHistories
from tether_sandbox.gateway.scenario import SCRIPTS, scripted_iban
from tether_sandbox.gateway.sender import Delivered, deliver
from tether_sandbox.gateway.setup import Setup
from tether_sandbox.gateway.simulator import serve

__all__ = ["add_arguments", "read_payments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of `tether-sandbox gateway`."""
    parser.set_defaults(what=None)
    commands = parser.add_subparsers(metavar="[send | serve | scripts]")
    _add_send(
        commands.add_parser("send", help="send the notifications of given payments, with fault injection")
    )

    item = commands.add_parser("serve", help="run a gateway: XML API, notifications, and a ledger for tests")
    item.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    item.add_argument(
        "--port", type=whole(1, 65_535), default=9000, help="port to listen on (default: %(default)s)"
    )
    item.add_argument(
        "--notify-url", default="", metavar="URL", help="where notifications go (default: none are sent)"
    )
    _add_hash(item)
    item.add_argument("--seed", type=int, default=1, help="of all random draws (default: %(default)s)")
    item.add_argument(
        "--payment-histories",
        action="store_true",
        help="draw the outcomes of debits; otherwise all are approved",
    )
    item.add_argument(
        "--fault-injection", action="store_true", help="repeat and reorder notifications, add invalid ones"
    )
    item.add_argument(
        "--results-every-s",
        type=number(0, 86_400),
        default=0.0,
        metavar="S",
        help="results come in bursts at this interval",
    )
    item.add_argument(
        "--setup", metavar="FILE", help="the whole configuration as JSON; its fields are those of Setup"
    )
    item.set_defaults(what=_serve)

    item = commands.add_parser("scripts", help="print which amounts and IBANs choose which outcome")
    item.set_defaults(what=_scripts)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand, by default `send`; returns the exit code."""
    if args.what is None:
        sending = argparse.ArgumentParser()
        _add_send(sending)
        args = sending.parse_args([])
    code: int = args.what(args)
    return code


def _add_send(parser: argparse.ArgumentParser) -> None:
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
    _add_hash(parser)
    parser.add_argument(
        "--peaceful",
        action="store_true",
        help="no fault injection: every notification once, in order, with a valid signature",
    )
    parser.add_argument(
        "--json-share", type=number(0, 1), default=0.0, metavar="SHARE", help="share sent as JSON, 0 to 1"
    )
    parser.add_argument(
        "--concurrency",
        type=whole(1, 10_000),
        default=32,
        help="requests at the same time (default: %(default)s)",
    )
    parser.add_argument(
        "--retry-interval-s",
        type=number(0, 86_400),
        default=1.0,
        metavar="S",
        help="wait before an unacknowledged notification is repeated; the real gateway waits 900 (default: %(default)s)",
    )
    parser.set_defaults(what=_send)


def _add_hash(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hash",
        choices=("sha1", "sha256", "sha512"),
        default="sha1",
        help="of the signature (default: %(default)s)",
    )


def _passwords() -> tuple[str, ...]:
    given = os.environ.get("EMP_API_PASSWORD", "").split(",")
    return tuple(password.strip() for password in given if password.strip())


def _serve(args: argparse.Namespace) -> int:
    setup = _read_setup(args.setup) if args.setup else _setup(args)
    if why := cannot_listen(args.host, args.port):
        raise InvalidRequest(why)
    Console(stderr=True).print(f"gateway at http://{args.host}:{args.port}, {setup!r}")
    serve(setup, host=args.host, port=args.port)
    return 0


def _read_setup(file: str) -> Setup:
    try:
        return msgspec.json.decode(_content(file, option="--setup"), type=Setup)
    except msgspec.DecodeError as exc:
        raise InvalidRequest(f"{file} is not a valid configuration: {exc}", field="--setup") from None


def _content(file: str, *, option: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as exc:
        raise InvalidRequest(f"{file} cannot be read ({exc.strerror})", field=option) from None


def _setup(args: argparse.Namespace) -> Setup:
    """The configuration from the options and the environment (EMP_API_LOGIN and so on)."""
    defaults = Setup()
    terminals = os.environ.get("EMP_TERMINAL_TOKEN", "").split(",")
    return Setup(
        login=os.environ.get("EMP_API_LOGIN") or defaults.login,
        passwords=_passwords() or defaults.passwords,
        terminals=tuple(filter(None, map(str.strip, terminals))) or defaults.terminals,
        algorithm=args.hash,
        notify_url=args.notify_url,
        results_every_s=args.results_every_s,
        seed=args.seed,
        payment_histories=PaymentHistories() if args.payment_histories else None,
        fault_injection=FaultInjection() if args.fault_injection else defaults.fault_injection,
    )


def _scripts(_args: argparse.Namespace) -> int:
    table = Table("amount ends in", "or this IBAN", "what happens", "taken", title_justify="left")
    for script in SCRIPTS.values():
        amount = f"9{script.number:02d}" if script.number else "anything else"
        table.add_row(amount, scripted_iban(script.number), script.name, "yes" if script.taken else "no")
    Console().print(table)
    return 0


def _send(args: argparse.Namespace) -> int:
    """Plan, deliver and report; 0 if every genuine notification was acknowledged and every other refused."""
    console = Console(stderr=True)
    passwords = _passwords()
    if not passwords:
        console.print("EMP_API_PASSWORD is not set; it is needed to sign notifications.")
        return 2
    given = sys.stdin.buffer.read() if args.payments == "-" else _content(args.payments, option="--payments")
    try:
        payments = read_payments(given.splitlines())
    except msgspec.DecodeError as exc:
        why = f"has a line that is not a payment as `tether-sandbox seed` prints them: {exc}"
        raise InvalidRequest(why, field="--payments") from None
    if not payments:
        console.print("No payments were given; `tether-sandbox seed` prints some.")
        return 2
    fault_injection = FaultInjection.none() if args.peaceful else FaultInjection()
    planned = plan(
        payments,
        seed=args.seed,
        password=passwords[0],
        fault_injection=msgspec.structs.replace(fault_injection, json=args.json_share),
        algorithm=args.hash,
        terminal_token=os.environ.get("EMP_TERMINAL_TOKEN", "").split(",")[0].strip(),
    )
    delivered = asyncio.run(_deliver(planned, args=args, console=console))
    Console().print(_table(planned, delivered))
    for line in delivered.failures:
        console.print(line)
    return 0 if delivered.ok else 1


def read_payments(lines: Iterable[str | bytes]) -> list[Payment]:
    """
    Read payments from JSON lines.

    Args:
        lines: One object a line; blank lines and unknown fields are ignored.

    Raises:
        msgspec.DecodeError: when a line is not a payment.
    """
    decoder = msgspec.json.Decoder(Payment)
    return [decoder.decode(line) for line in lines if line.strip()]


async def _deliver(planned: FaultPlan, *, args: argparse.Namespace, console: Console) -> Delivered:
    columns = (TextColumn("notifications"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(planned.deliveries))
        return await deliver(
            planned,
            url=args.url,
            concurrency=args.concurrency,
            retry_interval_s=args.retry_interval_s,
            progress=lambda counts: bar.update(task, completed=counts.resolved),
        )


def _table(planned: FaultPlan, delivered: Delivered) -> Table:
    table = Table("", "planned", "result", title="Notifications", title_justify="left")
    counts = planned.counts
    genuine = counts.sent - counts.invalid_signature
    table.add_row(
        "genuine", str(genuine), f"{delivered.acknowledged} acknowledged, {delivered.failed} failed"
    )
    table.add_row(
        "invalid signature",
        str(counts.invalid_signature),
        f"{delivered.refused} refused, {delivered.wrongly_accepted} wrongly accepted",
    )
    for name in msgspec.structs.asdict(counts):
        if name not in {"sent", "invalid_signature"}:
            table.add_row(f"  {name.replace('_', ' ')}", str(getattr(counts, name)), "")
    statuses = ", ".join(f"{number} x {status}" for status, number in sorted(delivered.statuses.items()))
    table.add_row("responses", "", statuses or "none")
    quantiles = " / ".join(f"{delivered.latency_s(q) * 1000:.1f}" for q in (0.5, 0.95, 0.99))
    table.add_row("p50 / p95 / p99", "", f"{quantiles} ms")
    return table
