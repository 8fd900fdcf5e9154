"""`tether differences` and `tether completeness`: what the gateway's records say."""

import argparse
from typing import Any, Final

from tether_client.command.arguments import Commands, add, add_paging, add_reason, date_of, whole
from tether_client.command.context import Context
from tether_client.command.output import shown
from tether_client.reconciliation import DifferenceLine

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("id", "id"),
    ("kind", "kind"),
    ("payment", "attempt_id"),
    ("ours", "ours"),
    ("gateway's", "theirs"),
    ("state", "state"),
    ("holds refunds", "holds_refunds"),
    ("since", "first_seen_at"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("differences", help="reconciliation differences: list, show, acknowledge")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    item = add(
        group,
        "list",
        _list,
        text="list reconciliation differences, newest first",
        example="tether differences list --status all",
    )
    item.add_argument("--kind", metavar="KIND", help="only of this kind")
    item.add_argument("--payment", type=whole(1), metavar="PAYMENT", help="only about this payment")
    item.add_argument(
        "--status", choices=("open", "all"), default="open", help="which (default: %(default)s)"
    )
    add_paging(item)
    item = add(
        group,
        "show",
        _show,
        text="show a difference, and what to do",
        example="tether differences show 4",
    )
    _add_id(item)
    item = add(
        group,
        "acknowledge",
        _acknowledge,
        text="close a difference with what was found; only new facts open it again",
        example='tether differences acknowledge 4 --reason "fixed in the back office"',
    )
    _add_id(item)
    add_reason(item)
    item.add_argument(
        "--order-again",
        action="store_true",
        help="for a refund that failed later: it did not happen, so the payment may be refunded again",
    )

    item = add(
        commands,
        "completeness",
        _completeness,
        text="say whether Tether has everything that the gateway's reports of some days list; exit code 1 where a person must look, 75 while reports are being read",
        example="tether completeness --from 2026-03-01 --to 2026-03-07",
    )
    for name, text in (
        ("from", "the first day, UTC (default: yesterday)"),
        ("to", "the last day (default: the first)"),
    ):
        item.add_argument(f"--{name}", type=date_of, dest=f"{name}_on", metavar="DAY", help=text)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("line_id", type=whole(1), metavar="DIFFERENCE", help="the id of the difference")


def _list(context: Context) -> int:
    args = context.args
    return context.listed(
        context.client.differences, _COLUMNS, kind=args.kind, attempt_id=args.payment, status=args.status
    )


def _show(context: Context) -> int:
    return _written(context, context.client.difference(context.args.line_id))


def _acknowledge(context: Context) -> int:
    args = context.args
    return _written(
        context,
        context.client.acknowledge_difference(args.line_id, reason=args.reason, order_again=args.order_again),
    )


def _written(context: Context, line: DifferenceLine) -> int:
    context.output.result(line, lambda: _text(line))
    return 0


def _text(line: DifferenceLine) -> str:
    facts = {
        "what": line.text,
        "do": line.action,
        "ours": line.ours,
        "gateway's": line.theirs,
        "payment": line.attempt_id,
        "refund": line.refund_id,
        "since": line.first_seen_at,
        "acknowledged": line.acknowledged_reason,
    }
    lines = [f"difference {line.id}  {line.kind}  {line.state}"]
    lines += [f"  {name}: {shown(value)}" for name, value in facts.items() if value not in {None, ""}]
    return "\n".join(lines) + "\n"


def _completeness(context: Context) -> int:
    found: dict[str, Any] = context.client.completeness(
        from_on=context.args.from_on, to_on=context.args.to_on
    )
    context.output.result(found, lambda: _report(found))
    report = found["report"]
    if found["complete"] and not found["open_lines"]:
        return 0
    must_look = report["unexplained"] or report["not_read"] or found["open_lines"]
    return 1 if must_look else 75


def _report(found: dict[str, Any]) -> str:
    report = found["report"]
    lines = {
        "days": f"{report['from_on']} to {report['to_on']}",
        "complete": found["complete"],
        "events at the gateway": report["known"],
        "received as notifications": report["by_webhook"],
        "found by fetching": report["fetched"],
        "unexplained": report["unexplained"],
        "lists not read": len(report["not_read"]),
        "lists being read": len(report["awaited"]),
        "debits of unknown outcome, inquiries used up": found["left_open"],
        "open differences": found["differences"],
    }
    return "".join(f"{name}: {shown(value)}\n" for name, value in lines.items())
