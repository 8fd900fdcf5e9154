"""`tether blacklist`: list, add and lift entries."""

import sys
from pathlib import Path
from typing import Final

from tether_client.blacklist import ListedEntry
from tether_client.command.arguments import Commands, add, add_filters, add_paging, add_reason, day, whole
from tether_client.command.context import Context
from tether_client.command.output import new_file, shown
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

    item = add(
        group,
        "import",
        _import,
        text="add the entries of a CSV file; exit code 1 where lines have problems, the others are added",
        example="tether blacklist import old-list.csv",
    )
    item.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="CSV in UTF-8 with any of the columns iban, name, email, bic, action, reason, note, expires_at",
    )
    item.add_argument(
        "--relist",
        action="store_true",
        help="also add entries that a person has lifted (default: they stay lifted)",
    )

    item = add(
        group,
        "export",
        _export,
        text="write all active entries into a new CSV file, with fingerprints in place of account numbers",
        example="tether blacklist export blacklist.csv",
    )
    item.add_argument("file", type=Path, metavar="FILE", help="a new CSV file")


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


def _import(context: Context) -> int:
    args = context.args
    try:
        content = args.file.read_bytes()
    except OSError as exc:
        raise Refused(f"{args.file} cannot be read: {exc.strerror}") from None
    found = context.client.import_blacklist(content, relist=args.relist)
    lines = [
        f"{found.rows:,} lines: {found.added:,} entries added, {found.existing:,} existed, {found.lifted:,} stay lifted",
        *(f"line {problem.row}, {problem.column}: {shown(problem.note)}" for problem in found.problems),
    ]
    if found.problem_count > len(found.problems):
        lines.append(f"and {found.problem_count - len(found.problems):,} further lines with problems")
    context.output.result(found, lambda: "\n".join(lines) + "\n")
    return 1 if found.problem_count else 0


def _export(context: Context) -> int:
    file = context.args.file
    size_bytes = new_file(file, context.client.export_blacklist())
    context.output.result(
        {"file": str(file), "size_bytes": size_bytes}, lambda: f"{file}: {size_bytes:,} bytes\n"
    )
    return 0


def _line(entry: ListedEntry) -> str:
    about = shown(entry.iban_masked or entry.name or entry.email or entry.bic)
    return f"entry {entry.id}: {entry.action} of {about}, {shown(entry.reason_code)}"
