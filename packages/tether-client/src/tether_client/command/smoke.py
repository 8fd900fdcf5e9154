"""`tether smoke` and `tether report`: whether an installation works, and how the last hours went."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from tether_client.command.arguments import Commands, add, add_yes, whole
from tether_client.command.context import Context
from tether_client.command.figures import share
from tether_client.command.output import cleaned, money, shown
from tether_client.errors import NotAllowed, Refused
from tether_client.monitoring import Monitoring, measured
from tether_client.smoke import Smoke, as_markdown

__all__ = ["add_commands"]

_HOURS_MAX: Final = 24 * 31


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    item = add(
        commands,
        "smoke",
        _smoke,
        text="try eight cases against an installation, without moving money; exit code 1 where one fails",
        example="tether smoke --url https://tether.example --report smoke.md",
    )
    item.add_argument(
        "--gateway-password-stdin",
        action="store_true",
        help="read the gateway's API password from stdin, to sign a notification of no payment; without it two cases are skipped",
    )
    item.add_argument(
        "--await",
        type=whole(1, 3_600),
        dest="await_s",
        default=0,
        metavar="SECONDS",
        help="wait until it is ready, and say how long that took",
    )
    item.add_argument(
        "--bill",
        type=Path,
        dest="bill_file",
        metavar="FILE",
        help="THIS MOVES MONEY unless the account is one of the gateway's staging: upload FILE and collect all its debits",
    )
    item.add_argument(
        "--report",
        type=Path,
        metavar="PATH",
        help="also write the report here: Markdown, or JSON where the name ends in .json",
    )
    add_yes(item)

    item = add(
        commands,
        "report",
        _report,
        text="write how the last hours went, and what needs a person, as Markdown; exit code 1 where something does",
        example="tether report --hours 24",
    )
    item.add_argument(
        "--hours",
        type=whole(1, _HOURS_MAX),
        default=24,
        metavar="N",
        help="how many hours back (default: %(default)s)",
    )


def _smoke(context: Context) -> int:
    args, output = context.args, context.output
    url, key = _address(context)
    password = ""
    if args.gateway_password_stdin:
        password = sys.stdin.readline().strip()
        if not password:
            raise Refused("There is no password on stdin.")
    if args.bill_file is not None:
        if not key:
            raise Refused("--bill needs a key: run `tether login`, or set TETHER_API_KEY.")
        context.confirm(f"Upload {args.bill_file} to {url} and collect all its debits? This moves money.")
    report = Smoke(
        url,
        api_key=key,
        gateway_password=password,
        file=args.bill_file,
        await_s=float(args.await_s),
    ).run(output.progress.show)
    text = _cleaned_lines(as_markdown(report))
    if args.report is not None:
        content = msgspec.json.format(msgspec.json.encode(report)).decode() + "\n"
        try:
            args.report.write_text(content if args.report.suffix == ".json" else text, encoding="utf-8")
        except OSError as exc:
            raise Refused(f"{args.report} cannot be written: {exc.strerror}.") from None
    output.result(report, lambda: text)
    return 0 if report.passed else 1


def _address(context: Context) -> tuple[str, str]:
    """The address, and the key for it; "" where there is none."""
    try:
        found = context.credentials
    except NotAllowed:
        url = context.args.url or context.environ.get("TETHER_URL", "")
        if not url:
            raise
        return url, ""
    return found.url, found.api_key


def _cleaned_lines(text: str) -> str:
    """A text of several lines without control characters."""
    return "".join(f"{cleaned(line)}\n" for line in text.splitlines())


def _report(context: Context) -> int:
    found = measured(context.client, last=timedelta(hours=context.args.hours))
    context.output.result(found, lambda: _cleaned_lines(_markdown(found)))
    return 1 if found.findings else 0


def _markdown(found: Monitoring) -> str:
    lines = [
        f"# Tether from {shown(found.from_at)} to {shown(found.to_at)} UTC",
        "",
        "## What needs a person",
        "",
        *([f"- {item}" for item in found.findings] or ["Nothing."]),
        "",
        "## Money by the day on which it moved",
        "",
        "| day | currency | collected | returned | refunded | net |",
        "|---|---|---:|---:|---:|---:|",
        *(
            f"| {figure.key} | {figure.currency} | {money(figure.collected.amount_minor)} | {money(figure.returned.amount_minor)} "
            f"| {money(figure.refunded.amount_minor)} | {money(figure.net_minor)} |"
            for figure in found.cash
        ),
        "",
        "## Return rate of the debits made on these days",
        "",
        *(
            [f"- {rate.currency}: {share(rate.return_rate) or 'no debit'}" for rate in found.cohort]
            or ["No debit."]
        ),
        "",
        "## Queues",
        "",
        "| queue | rows | oldest, s | workers | a second |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {queue.name} | {queue.rows:,} | {queue.oldest_s:.0f} | {queue.workers} | {queue.handled_per_s:.1f} |"
            for queue in found.queues
        ),
        "",
        "## Actions",
        "",
        *(
            [f"- {name}: {count:,}" for name, count in found.actions.items()]
            or ["None, or the key may not read the audit."]
        ),
    ]
    return "\n".join(lines) + "\n"
