"""`tether texts`: what debtors read on their bank statements, by gateway account and month."""

import argparse
from collections.abc import Sequence
from typing import Final

from tether_client.billing import StatementText
from tether_client.command.arguments import Commands, add
from tether_client.command.context import Context, rows_text

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("account", "account"),
    ("month", "month"),
    ("text", "text"),
    ("by", "written_by"),
    ("written", "written_at"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("texts", help="texts of bank statements: list, set, remove")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    add(
        group,
        "list",
        _list,
        text="list texts of bank statements; an empty account or month stands for all",
        example="tether texts list",
    )
    item = add(
        group,
        "set",
        _set,
        text="store the text that runs take where their order names none",
        example='tether texts set "Example club, December" --account shop --month 2026-12',
    )
    item.add_argument("text", metavar="TEXT", help="1 to 140 characters; the debtor's reference follows it")
    _add_key(item)
    item = add(
        group,
        "remove",
        _remove,
        text="remove a text; runs that were ordered keep theirs",
        example="tether texts remove --account shop --month 2026-12",
    )
    _add_key(item)


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", default="", metavar="NAME", help="the gateway account (default: all)")
    parser.add_argument("--month", default="", metavar="MONTH", help="a month such as 2026-12 (default: all)")


def _list(context: Context) -> int:
    return _shown(context, context.client.statement_texts())


def _set(context: Context) -> int:
    args = context.args
    return _shown(
        context, context.client.store_statement_text(args.text, account=args.account, month=args.month)
    )


def _remove(context: Context) -> int:
    args = context.args
    return _shown(context, context.client.remove_statement_text(account=args.account, month=args.month))


def _shown(context: Context, texts: Sequence[StatementText]) -> int:
    context.output.result(texts, lambda: rows_text(texts, _COLUMNS))
    return 0
