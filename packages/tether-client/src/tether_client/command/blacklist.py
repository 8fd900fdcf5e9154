"""`tether blacklist`: list, add and lift entries."""

import sys
from typing import Final

from tether_client.blacklist import ListedEntry
from tether_client.command.arguments import Commands, add, add_filters, add_paging, add_reason, day, whole
from tether_client.command.context import Context
from tether_client.command.output import shown
from tether_client.errors import Refused

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("id", "id"),
    ("action", "action"),
    ("iban", "iban_masked"),
    ("name", "name"),
    ("email", "email"),
    ("bank", "bic"),
    ("reason", "reason_code"),
    ("source", "source"),
    ("by", "added_by"),
    ("added", "created_at"),
    ("expires", "expires_at"),
    ("lifted", "lifted_at"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser(
        "blacklist", help="accounts, names, addresses and banks that must not be debited"
    )
    group = parser.add_subparsers(required=True, metavar="COMMAND")

    item = add(
        group, "list", _list, text="list entries, newest first", example="tether blacklist list --which all"
    )
    item.add_argument("--which", choices=("live", "ended", "all"), help="active entries, ended ones, or both")
    add_filters(
        item,
        action="only entries with this action: hold or block",
        source="only entries from this source: chargeback, manual, import or automatic",
        reason="only entries with this reason",
        name="only entries for this name",
        email="only entries for this e-mail address",
        bic="only entries for this BIC, or beginning of BICs with a star",
    )
    add_paging(item)

    item = add(
        group,
        "add",
        _add,
        text="add an account, a name, an e-mail address or banks",
        example='tether blacklist add --name "Ana Kowalska" --note "asked by phone"',
    )
    item.add_argument(
        "--iban-stdin",
        action="store_true",
        help="read the IBAN from stdin: arguments can be read by other users of the machine",
    )
    item.add_argument("--name", metavar="NAME", help="the name of the account holder")
    item.add_argument("--email", metavar="ADDRESS", help="an e-mail address")
    item.add_argument(
        "--bic", metavar="BIC", help="a bank, or banks by the beginning of their BICs: COBADEFF, COBADE*"
    )
    item.add_argument(
        "--action", choices=("hold", "block"), help="the lift of a block needs a reason (default: block)"
    )
    item.add_argument(
        "--code", metavar="CODE", help="a reason code of the scheme, or a short word (default: MANUAL)"
    )
    item.add_argument("--note", metavar="TEXT", help="a note for people")
    item.add_argument("--expires-at", type=day, metavar="DAY", help="when it expires (default: never)")

    item = add(
        group,
        "lift",
        _lift,
        text="lift an entry; it stays stored",
        example='tether blacklist lift 4 --reason "paid"',
    )
    item.add_argument("entry_id", type=whole(1), metavar="ENTRY", help="the id of the entry")
    add_reason(item, is_required=False)
    item.add_argument(
        "--forgives",
        choices=("entry", "disputes", "account"),
        help="what the lift forgives: nothing, the disputes that caused the entry, or all chargebacks of the account "
        "(default: disputes)",
    )


def _list(context: Context) -> int:
    filters = {
        name: getattr(context.args, name)
        for name in ("which", "action", "source", "reason", "name", "email", "bic")
    }
    return context.listed(context.client.blacklist, _COLUMNS, **filters)


def _add(context: Context) -> int:
    args = context.args
    iban = sys.stdin.readline().strip() if args.iban_stdin else None
    about = {"iban": iban, "name": args.name, "email": args.email, "bic": args.bic}
    if sum(value is not None for value in about.values()) != 1:
        raise Refused("Give exactly one of --iban-stdin, --name, --email and --bic.")
    more = {"action": args.action, "reason": args.code, "note": args.note, "expires_at": args.expires_at}
    entry = context.client.add_to_blacklist(
        {name: value for name, value in {**about, **more}.items() if value is not None}
    )
    context.output.result(entry, lambda: _line(entry) + "\n")
    return 0


def _lift(context: Context) -> int:
    args = context.args
    lifted = context.client.lift_from_blacklist(args.entry_id, reason=args.reason, forgives=args.forgives)
    context.output.result(lifted, lambda: shown(lifted.explanation) + "\n")
    return 0


def _line(entry: ListedEntry) -> str:
    about = shown(entry.iban_masked or entry.name or entry.email or entry.bic)
    return f"entry {entry.id}: {entry.action} of {about}, {shown(entry.reason_code)}"
