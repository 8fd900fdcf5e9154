"""`tether bulk`: one action for everything that matches the filter of a list, previewed first."""

import argparse
from collections.abc import Sequence
from typing import Final

from tether_client.bulk_orders import BulkOrder, BulkOrderDetail, BulkPreview, BulkTotal
from tether_client.command.arguments import (
    Commands,
    add,
    add_filters,
    add_key,
    add_paging,
    add_reason,
    add_yes,
    whole,
)
from tether_client.command.context import Context
from tether_client.command.output import money, shown

__all__ = ["add_commands"]

_ACTIONS: Final = (
    "replay",
    "inquire",
    "void",
    "refund",
    "lift",
    "withdraw",
    "pause_schedules",
    "resume_schedules",
    "end_schedules",
    "recover",
    "waive",
    "redeliver",
)
_COLUMNS: Final = (
    ("id", "id"),
    ("action", "action"),
    ("state", "state"),
    ("filters", "filters"),
    ("reason", "reason"),
    ("by", "ordered_by"),
    ("ordered", "created_at"),
)
_ITEM_COLUMNS: Final = (
    ("row", "id"),
    ("refused", "refused"),
    ("reason", "refused_reason"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("bulk", help="one action for everything that matches a filter")
    group = parser.add_subparsers(required=True, metavar="COMMAND")

    item = add(
        group,
        "preview",
        _preview,
        text="show what an action would do to how many rows and how much money",
        example="tether bulk preview replay status=parked",
    )
    _add_what(item)

    item = add(
        group,
        "order",
        _order,
        text="preview an action for everything that matches, and order it",
        example='tether bulk order void run=7 --reason "wrong file"',
    )
    _add_what(item)
    add_reason(item)
    item.add_argument("--wait", action="store_true", help="wait until it has ended")
    add_key(item)
    add_yes(item)

    item = add(group, "list", _list, text="list bulk orders, newest first", example="tether bulk list")
    add_filters(item, action="only orders of this action", status="only orders in this state")
    add_paging(item)

    item = add(
        group, "show", _show, text="show a bulk order and its progress", example="tether bulk show 4 --wait"
    )
    _add_id(item)
    item.add_argument("--wait", action="store_true", help="wait until it has ended")

    item = add(
        group,
        "items",
        _items,
        text="list the rows of a bulk order with their results",
        example="tether bulk items 4 --json",
    )
    _add_id(item)
    add_paging(item)

    item = add(
        group,
        "stop",
        _stop,
        text="end a bulk order; what was done stays done",
        example="tether bulk stop 4",
    )
    _add_id(item)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bulk_order_id", type=whole(1), metavar="ORDER", help="the id of the bulk order")


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=_ACTIONS, help="what is done to each row")
    parser.add_argument(
        "filters",
        nargs="+",
        type=_filter,
        metavar="NAME=VALUE",
        help="which rows, by the filters of their list: those of `notifications list` to replay, of `payments list` to inquire, "
        "void or refund, of `blacklist list` to lift, of `uploads list` to withdraw; collection_plan=PLAN and status of `schedules list` to "
        "pause, resume or end schedules, of `due-items list` to recover or waive; subscriber=SUBSCRIBER and state to redeliver",
    )


def _filter(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise argparse.ArgumentTypeError("must be like status=parked")
    return name.replace("-", "_"), value


def _preview(context: Context) -> int:
    preview = context.client.preview_bulk_order(context.args.action, dict(context.args.filters))
    context.output.result(preview, lambda: _preview_text(preview))
    return 0


def _order(context: Context) -> int:
    args = context.args
    filters, previewed = dict(args.filters), None
    if not args.yes:
        preview = context.client.preview_bulk_order(args.action, filters)
        for line in _preview_text(preview).splitlines():
            context.output.note(line)
        verb = args.action.partition("_")[0].capitalize()
        context.confirm(f"{verb} everything that matches?")
        previewed = preview.previewed
    order = context.client.order_bulk(
        args.action, filters, reason=args.reason, previewed=previewed, idempotency_key=args.idempotency_key
    )
    if args.wait:
        return _ended(context, order.id)
    context.output.result(order, lambda: _line(order) + "\n")
    return 0


def _list(context: Context) -> int:
    args = context.args
    return context.listed(context.client.bulk_orders, _COLUMNS, action=args.action, status=args.status)


def _show(context: Context) -> int:
    if context.args.wait:
        return _ended(context, context.args.bulk_order_id)
    detail = context.client.bulk_order(context.args.bulk_order_id)
    context.output.result(detail, lambda: _text(detail))
    return 0


def _items(context: Context) -> int:
    args = context.args
    return context.listed(
        lambda *, cursor, limit: context.client.bulk_order_items(
            args.bulk_order_id, cursor=cursor, limit=limit
        ),
        _ITEM_COLUMNS,
    )


def _stop(context: Context) -> int:
    order = context.client.stop_bulk_order(context.args.bulk_order_id)
    context.output.result(order, lambda: _line(order) + "\n")
    return 0


def _ended(context: Context, bulk_order_id: int) -> int:
    """Write an order once it has ended; 1 where it was stopped, or something was refused."""
    detail = context.client.await_bulk_order(
        bulk_order_id, on_progress=lambda found: context.output.progress.show(_summary(found.totals))
    )
    context.output.result(detail, lambda: _text(detail))
    is_whole = detail.order.state == "finished" and all(total.refused is None for total in detail.totals)
    return 0 if is_whole else 1


def _preview_text(preview: BulkPreview) -> str:
    lines = [f"{preview.action}: {_summary(preview.totals)}", *_refused(preview.totals)]
    if preview.more:
        lines.append("  more rows match, or may match, than this preview counted")
    return "\n".join(lines) + "\n"


def _text(detail: BulkOrderDetail) -> str:
    lines = [_line(detail.order), f"  {_summary(detail.totals)}", *_refused(detail.totals)]
    return "\n".join(lines) + "\n"


def _line(order: BulkOrder) -> str:
    return (
        f"bulk order {order.id}  {order.state}  {order.action} {shown(order.filters)}: {shown(order.reason)}"
    )


def _summary(totals: Sequence[BulkTotal]) -> str:
    done = [total for total in totals if total.refused is None]
    refused = [total for total in totals if total.refused is not None]
    return f"{_some(done)}; refused: {_some(refused)}"


def _refused(totals: Sequence[BulkTotal]) -> list[str]:
    return [f"  {shown(total.refused)}: {_some([total])}" for total in totals if total.refused is not None]


def _some(totals: Sequence[BulkTotal]) -> str:
    count = sum(total.count for total in totals)
    amounts = [f"{money(total.amount_minor)} {total.currency}" for total in totals if total.currency]
    return f"{count:,} {'row' if count == 1 else 'rows'}" + (f" of {', '.join(amounts)}" if amounts else "")
