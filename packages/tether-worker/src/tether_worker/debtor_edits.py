"""
`tether-worker debtors edit`: correct a stored debtor, and screen it again.

    tether-worker debtors edit 7 --version 0 --set name="Anna Schmidt" --set amount_minor=1250 --by ada --reason "typing error"
    tether-worker debtors edit 7 --version 1 --set iban=- --clear email --by ada --reason "new account" < iban.txt
    tether-worker debtors edit 7 --version 2 --by ada --reason "the entry of the blacklist was lifted"

The same as `PATCH /api/debtors/7` (docs/concepts/screening.md). `--version` is how often the debtor was edited before, as the console
and `GET /api/debtors/7` show it. A value of `-` is read from standard input, so an account number stays out of the shell's history.
Without changes the debtor is only screened again.
"""

import argparse
import asyncio
import sys
from typing import Any, Final, get_args

from tether_core.audit import facts
from tether_core.debtor_edits import Field
from tether_core.errors import InvalidRequest
from tether_core.spreadsheet import Rules
from tether_stores import audit, debtor_edits
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.debtor_edits import Applied, DebtorEdit
from tether_stores.postgres import open_pool, transaction
from tether_stores.settings import Settings

__all__ = ["add_commands"]

_TEXT_MAX: Final = 500


def add_commands(commands: Any) -> None:
    """Add `debtors` to a command line."""
    parser = commands.add_parser(
        "debtors",
        help="correct a stored debtor, and screen it again",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    item = kinds.add_parser(
        "edit",
        help="change fields of a debtor; exit code 75 while a debit depends on it as it is, or after another edit",
    )
    item.add_argument("debtor_id", type=whole(1, 2**63 - 1), metavar="DEBTOR")
    item.add_argument(
        "--version", type=whole(0, 2**31 - 2), required=True, help="of the debtor, as it was seen"
    )
    item.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help=f"a new value, '-' from standard input; fields: {', '.join(get_args(Field))}",
    )
    item.add_argument("--clear", action="append", default=[], metavar="FIELD", help="leave a field blank")
    item.add_argument(
        "--collect", action="store_true", help="collect it where screening leaves that to a person"
    )
    item.add_argument("--by", required=True, metavar="NAME", help="who wants it; kept")
    item.add_argument("--reason", required=True, metavar="TEXT", help="why; kept")
    item.set_defaults(do=_edit, needs=("DATABASE_URL",))


def _edit(args: argparse.Namespace, settings: Settings) -> int:
    by, reason = " ".join(args.by.split()), " ".join(args.reason.split())
    if not by or not reason or len(by) > _TEXT_MAX or len(reason) > _TEXT_MAX:
        raise InvalidRequest("say who wants it (--by) and why (--reason)")
    order = DebtorEdit(
        version=args.version,
        changes=_changes(args.set, args.clear),
        reason=reason,
        edited_by=by,
        collect=args.collect,
    )
    done = asyncio.run(_edited(args.debtor_id, order, settings))
    if done is None:
        raise InvalidRequest("there is no such debtor", field=str(args.debtor_id))
    for change in done.changes:
        sys.stdout.write(f"{change.field}: {change.before or 'nothing'} -> {change.after or 'nothing'}\n")
    for warning in done.warnings:
        sys.stdout.write(f"warning: {warning.column}: {warning.note}\n")
    sys.stdout.write(
        f"debtor {args.debtor_id} has version {done.version}; screening: {done.verdict_before} -> {done.verdict}\n"
    )
    return 0


def _changes(given: list[str], cleared: list[str]) -> dict[Field, str | int | None]:
    changes: dict[Field, str | int | None] = {}
    for pair in given:
        name, sign, value = pair.partition("=")
        if not sign:
            raise InvalidRequest("write FIELD=VALUE", field="--set")
        changes[_field(name)] = sys.stdin.readline(10_000).strip() if value == "-" else value
    return changes | dict.fromkeys(map(_field, cleared))


def _field(name: str) -> Field:
    for field in get_args(Field):
        if field == name.strip():
            found: Field = field
            return found
    raise InvalidRequest(
        f"names no field that can be edited; those that can: {', '.join(get_args(Field))}", field="--set"
    )


async def _edited(debtor_id: int, order: DebtorEdit, settings: Settings) -> Applied | None:
    async with (
        open_pool(settings.database_url, name="tether-debtors", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        now = await timestamp(conn)
        done = await debtor_edits.edit(
            conn,
            debtor_id,
            order,
            key=settings.fingerprint_key.encode(),
            policy=settings.screening,
            rules=Rules(),
            now=now,
        )
        if done is not None:
            await audit.record(
                conn,
                audit.operator(),
                "debtor.edited",
                subject="debtor",
                subject_id=debtor_id,
                reason=order.reason,
                after=facts(
                    by=order.edited_by,
                    fields=", ".join(change.field for change in done.changes),
                    version=done.version,
                    verdict=done.verdict,
                ),
                now=now,
            )
    return done
