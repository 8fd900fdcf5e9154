"""`tether debtors`: list, show and edit debtors, export what is stored about one, and erase it."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tether_client.command.arguments import Commands, add, add_paging, add_reason, add_yes, whole
from tether_client.command.context import Context, rows_text
from tether_client.command.output import money, new_file, shown
from tether_client.debtors import DebtorHistory, DebtorResponse, EditResponse
from tether_client.erasures import ErasurePreview
from tether_client.errors import Refused

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("id", "id"),
    ("upload", "upload_id"),
    ("row", "row"),
    ("name", "name"),
    ("iban", "iban_masked"),
    ("amount", "amount_minor"),
    ("currency", "currency"),
    ("reference", "reference"),
    ("verdict", "verdict"),
)
_FIRST: Final = ("debtor",)
_ENTRIES: Final = (
    ("id", "id"),
    ("action", "action"),
    ("reason", "reason_code"),
    ("about", "scope"),
    ("source", "source"),
    ("added", "created_at"),
    ("lifted", "lifted_at"),
)
_CHECK: Final = (
    ("state", "state"),
    ("result", "result"),
    ("score", "score"),
    ("name", "name"),
    ("bank", "bank_name"),
    ("checked", "checked_at"),
)
_NOTIFICATIONS: Final = (
    ("id", "id"),
    ("status", "status"),
    ("event", "event"),
    ("state", "state"),
    ("outcome", "outcome"),
    ("payment", "attempt_id"),
    ("received", "received_at"),
)
_ACTIONS: Final = (
    ("at", "acted_at"),
    ("who", "actor"),
    ("action", "action"),
    ("what", "subject"),
    ("id", "subject_id"),
    ("reason", "reason"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser(
        "debtors", help="debtors: list, show, history, edit, export, export clean payers, erase"
    )
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    item = add(
        group,
        "list",
        _list,
        text="list debtors, newest first",
        example="tether debtors list --upload 12 --sort=-amount",
    )
    item.add_argument("--upload", type=whole(1), metavar="UPLOAD", help="only debtors of this upload")
    for name, text in (
        ("verdict", 'only with this screening verdict: "clear", or the rule that excluded them'),
        ("name", "only names with words that begin with these"),
        ("reference", "only with exactly this reference"),
        ("iban_tail", "only IBANs that end in these four characters"),
    ):
        item.add_argument(f"--{name.replace('_', '-')}", metavar=name.upper(), help=text)
    item.add_argument(
        "--sort",
        choices=("newest", "row", "amount", "-amount", "name"),
        help="the order; all but newest need --upload (default: newest)",
    )
    add_paging(item)
    item = add(
        group,
        "show",
        _show,
        text="show a debtor with its warnings and edits",
        example="tether debtors show 71",
    )
    _add_id(item)
    item = add(
        group,
        "history",
        _history,
        text="show what happened to a debtor: blacklist entries, name check, notifications, what people did",
        example="tether debtors history 71",
    )
    _add_id(item)
    item = add(
        group,
        "clean-payers",
        _clean_payers,
        text="export people who paid and whose money never came back, with whole account numbers, to be uploaded again",
        example="tether debtors clean-payers payers.csv --days 30",
    )
    item.add_argument("file", type=Path, metavar="FILE", help="a new CSV file")
    item.add_argument(
        "--days",
        type=whole(1, 3_650),
        default=30,
        metavar="DAYS",
        help="only people who were not debited for this many days (default: %(default)s)",
    )
    item.add_argument(
        "--debits",
        type=whole(1, 100),
        default=1,
        metavar="N",
        help="only people of whom at least this many debits were collected (default: %(default)s)",
    )
    item.add_argument("--account", metavar="NAME", help="only debits with this gateway account count")
    item = add(
        group,
        "edit",
        _edit,
        text="correct fields of a debtor, and screen it again",
        example='tether debtors edit 71 --set amount_minor=1250 --reason "asked by phone"',
    )
    _add_id(item)
    item.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="FIELD=VALUE",
        help="a field and its new value, empty for none; amounts in minor units; may be given several times",
    )
    item.add_argument(
        "--version",
        type=whole(0),
        metavar="N",
        help="the version that you have seen; another one is refused (default: the present one)",
    )
    item.add_argument(
        "--collect", action="store_true", help="collect it where screening leaves that to a person"
    )
    add_reason(item)
    item = add(
        group,
        "export",
        _export,
        text="write everything that is stored about the person of a debtor into a ZIP file",
        example='tether debtors export 71 --output debtor-71.zip --reason "inquiry 4711 of the bank"',
    )
    _add_id(item)
    item.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="a new file; only its owner can read it"
    )
    add_reason(item)
    item = add(
        group,
        "erase",
        _erase,
        text="erase the personal data of the person of a debtor, after a preview; it cannot be undone",
        example='tether debtors erase 71 --reason "asked by letter of 2 March"',
    )
    _add_id(item)
    item.add_argument(
        "--accept-reversible",
        action="store_true",
        help="accept that the debtor may reclaim money, and that the mandate cannot be shown then",
    )
    item.add_argument("--dry-run", action="store_true", help="only preview it")
    add_reason(item)
    add_yes(item)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("debtor_id", type=whole(1), metavar="DEBTOR", help="the id of the debtor")


def _clean_payers(context: Context) -> int:
    args = context.args
    payers = context.client.clean_payers(days=args.days, debits=args.debits, account=args.account)
    size_bytes = new_file(args.file, payers)
    context.output.result(
        {"file": str(args.file), "size_bytes": size_bytes}, lambda: f"{args.file}: {size_bytes:,} bytes\n"
    )
    return 0


def _list(context: Context) -> int:
    args = context.args
    names = ("upload", "verdict", "name", "reference", "iban_tail", "sort")
    return context.listed(context.client.debtors, _COLUMNS, **{name: getattr(args, name) for name in names})


def _show(context: Context) -> int:
    found = context.client.debtor(context.args.debtor_id)
    context.output.result(found, lambda: _text(found))
    return 0


def _history(context: Context) -> int:
    found = context.client.debtor_history(context.args.debtor_id)
    context.output.result(found, lambda: _history_text(found))
    return 0


def _history_text(found: DebtorHistory) -> str:
    parts = (
        ("blacklist", found.blacklist, _ENTRIES),
        ("name check", [] if found.check is None else [found.check], _CHECK),
        ("notifications", found.notifications, _NOTIFICATIONS),
        ("what people did", found.actions, _ACTIONS),
    )
    return "\n".join(f"{title}:\n{_rows_text(rows, columns)}" for title, rows, columns in parts)


def _rows_text(rows: Sequence[Any] | None, columns: Sequence[tuple[str, str]]) -> str:
    return "not shown to your key\n" if rows is None else rows_text(rows, columns)


def _edit(context: Context) -> int:
    args = context.args
    changes = dict[str, str | int | None]()
    for given in args.changes:
        field, sign, value = given.partition("=")
        if not sign:
            raise Refused(f"--set {shown(given)} must be like FIELD=VALUE.")
        changes[field] = (int(value) if field.endswith("_minor") and value.isdecimal() else value) or None
    version = context.client.debtor(args.debtor_id).version if args.version is None else args.version
    edited = context.client.edit_debtor(
        args.debtor_id, changes, version=version, reason=args.reason, collect=args.collect
    )
    context.output.result(edited, lambda: _edited(edited))
    return 0


def _export(context: Context) -> int:
    args = context.args
    try:
        # Made before the request, so that nothing is exported that cannot be kept.
        descriptor = os.open(args.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise Refused(f"{args.output} cannot be made: {exc.strerror}.") from None
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            content = context.client.export_debtor(args.debtor_id, reason=args.reason)
            file.write(content)
    except BaseException:
        args.output.unlink()
        raise
    done = {"file": str(args.output), "size_bytes": len(content)}
    context.output.result(done, lambda: f"{args.output}: {len(content):,} bytes\n")
    return 0


def _erase(context: Context) -> int:
    args = context.args
    preview = context.client.preview_erasure(args.debtor_id)
    if args.dry_run:
        context.output.result(preview, lambda: _preview_text(preview))
        return 1 if preview.obstacles else 0
    for line in _preview_text(preview).splitlines():
        context.output.note(line)
    context.confirm(f"Erase the personal data of {len(preview.debtor_ids)} rows? It cannot be undone.")
    done = context.client.erase_debtor(
        args.debtor_id,
        debtor_ids=preview.debtor_ids,
        reason=args.reason,
        accept_reversible=args.accept_reversible,
    )
    context.output.result(done, lambda: f"erasure {done.order.id}: {done.status}\n")
    return 0


def _preview_text(preview: ErasurePreview) -> str:
    rows = ", ".join(str(debtor_id) for debtor_id in preview.debtor_ids)
    lines = [f"rows about this person: {rows}"]
    lines += [
        f"  may be the same person, left alone: {item.debtor_id}, {item.why}" for item in preview.related
    ]
    lines += [f"  is erased: {item.what.replace('_', ' ')}, {item.count:,}" for item in preview.amounts]
    lines += [f"  stays: {item.what}. {item.why}" for item in preview.kept]
    lines += [f"  in the way: {shown(item.text)}" for item in preview.obstacles]
    return "\n".join(lines) + "\n"


def _edited(edited: EditResponse) -> str:
    lines = [
        f"  {change.field}: {shown(change.before) or '(none)'} to {shown(change.after) or '(none)'}"
        for change in edited.changes
    ]
    lines += [f"  warning, {item.field}: {shown(item.note)}" for item in edited.warnings]
    now = edited.debtor.debtor.debtor
    return "\n".join([f"debtor {now.id}: {edited.verdict_before}, now {now.verdict}", *lines]) + "\n"


def _text(found: DebtorResponse) -> str:
    detail, debtor = found.debtor, found.debtor.debtor
    lines = [
        f"debtor {debtor.id}  {shown(debtor.name)}  {money(debtor.amount_minor)} {debtor.currency}",
        f"  verdict: {debtor.verdict}" + (f", {shown(debtor.cause)}" if debtor.cause else ""),
        f"  account: {debtor.iban_masked}",
    ]
    for name in detail.__struct_fields__:
        value = getattr(detail, name)
        if name not in _FIRST and value:
            lines.append(f"  {name.replace('_', ' ')}: {shown(value)}")
    lines += [f"  warning, {shown(item.column)}: {shown(item.note)}" for item in found.warnings]
    lines += [
        f"  edit {edit.version} by {shown(edit.edited_by)}, {shown(edit.edited_at)}: {shown(edit.reason)}"
        for edit in found.edits
    ]
    return (
        "\n".join([*lines, f"  cannot be edited: {shown(found.obstacle)}"] if found.obstacle else lines)
        + "\n"
    )
