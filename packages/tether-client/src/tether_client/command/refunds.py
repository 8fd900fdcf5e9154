"""`tether refunds`: refunds and voids of all payments; ordering them is in `tether refund` and `tether void`."""

from typing import Final

from tether_client.command.arguments import Commands, add, add_filters, add_outcome, add_paging, whole
from tether_client.command.context import Context

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("id", "id"),
    ("payment", "attempt_id"),
    ("kind", "kind"),
    ("status", "status"),
    ("amount", "amount_minor"),
    ("error", "error_code"),
    ("account", "account"),
    ("by", "ordered_by"),
    ("ordered", "created_at"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("refunds", help="refunds and voids: list, outcome")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    item = add(
        group,
        "list",
        _list,
        text="list refunds and voids, newest first",
        example="tether refunds list --status unknown",
    )
    add_filters(item, status="only orders in this state", account="only orders of this gateway account")
    add_paging(item)
    item = add(
        group,
        "outcome",
        _outcome,
        text="state the outcome of a refund or void whose status cannot be inquired any more",
        example='tether refunds outcome 4 declined --reason "seen in the back office"',
    )
    item.add_argument("refund_id", type=whole(1), metavar="REFUND", help="the id of the refund or void")
    add_outcome(item)


def _list(context: Context) -> int:
    args = context.args
    return context.listed(context.client.refunds, _COLUMNS, status=args.status, account=args.account)


def _outcome(context: Context) -> int:
    args = context.args
    closed = context.client.state_refund_outcome(
        args.refund_id, args.outcome, reason=args.reason, unique_id=args.unique_id
    )
    context.output.result(
        closed,
        lambda: (
            f"refund {args.refund_id}: {closed.status}; payment {closed.attempt_id}: {closed.debit_status}\n"
        ),
    )
    return 0
