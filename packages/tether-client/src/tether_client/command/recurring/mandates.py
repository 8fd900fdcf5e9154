"""`tether mandates`: what debtors have signed."""

from typing import Final

from tether_client.command.arguments import (
    Commands,
    add,
    add_filters,
    add_group,
    add_paging,
    add_reason,
    add_with_id,
    add_yes,
    date_of,
)
from tether_client.command.context import Context
from tether_client.command.output import shown
from tether_client.recurring import MandateRow

__all__ = ["add_commands", "mandate_text"]

_MANDATES: Final = (
    ("id", "id"),
    ("state", "state"),
    ("kind", "kind"),
    ("debtor", "debtor_id"),
    ("reference", "reference"),
    ("iban", "iban_masked"),
    ("signed", "signed_on"),
    ("last used", "last_used_on"),
    ("uses", "uses"),
    ("account", "account"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    group = add_group(commands, "mandates", "mandates of debtors: list, show, add, amend, cancel")
    item = add(
        group, "list", _mandates, text="list mandates, newest first", example="tether mandates list --json"
    )
    add_filters(item, account="only of this gateway account", debtor="only of this debtor")
    add_paging(item)
    add_with_id(
        group, "show", _mandate, text="show a mandate", example="tether mandates show 5", of="mandate"
    )
    item = add_with_id(
        group,
        "add",
        _add_mandate,
        text="add a mandate that a debtor signed, for the account that the debtor has now",
        example="tether mandates add 71 --reference M-2026-71 --signed-on 2026-03-02",
        of="debtor",
    )
    item.add_argument(
        "--reference", required=True, metavar="TEXT", help="the mandate, as the debtor knows it"
    )
    item.add_argument(
        "--signed-on", required=True, type=date_of, metavar="DAY", help="when the debtor signed it"
    )
    item.add_argument(
        "--kind",
        choices=("recurrent", "one_off"),
        help="for a series of debits or for one (default: recurrent)",
    )
    item.add_argument("--account", metavar="ACCOUNT", help="the gateway account (default: default)")
    item = add_with_id(
        group,
        "amend",
        _amend_mandate,
        text="amend a mandate that the debtor signed for a new account",
        example='tether mandates amend 5 --signed-on 2026-03-02 --reason "new account"',
        of="mandate",
    )
    item.add_argument(
        "--signed-on", required=True, type=date_of, metavar="DAY", help="when the debtor signed the amendment"
    )
    add_reason(item)
    item = add_with_id(
        group,
        "cancel",
        _cancel_mandate,
        text="cancel a mandate, and end its schedules",
        example='tether mandates cancel 5 --reason "asked by phone"',
        of="mandate",
    )
    add_reason(item)
    add_yes(item)


def _mandates(context: Context) -> int:
    args = context.args
    return context.listed(context.client.mandates, _MANDATES, account=args.account, debtor=args.debtor)


def _mandate(context: Context) -> int:
    return _with_mandate(context, context.client.mandate(context.args.row_id))


def _with_mandate(context: Context, found: MandateRow) -> int:
    context.output.result(found, lambda: mandate_text(found))
    return 0


def mandate_text(found: MandateRow) -> str:
    """A mandate for people: its id and state, then a line for each fact."""
    facts = {
        "debtor": found.debtor_id,
        "reference": found.reference,
        "iban": found.iban_masked,
        "account": found.account,
        "signed": found.signed_on,
        "last used": found.last_used_on,
        "uses": found.uses,
        "ended": found.ended_at,
        "reason": found.ended_reason,
    }
    lines = [f"mandate {found.id}  {shown(found.kind)}  {shown(found.state)}"]
    lines += [f"  {name}: {shown(value)}" for name, value in facts.items() if value is not None]
    if found.is_of_other_account:
        lines += ["  the debtor's account was changed since; amend the mandate once the debtor signed again"]
    return "\n".join(lines) + "\n"


def _add_mandate(context: Context) -> int:
    args = context.args
    more = {name: value for name in ("kind", "account") if (value := getattr(args, name)) is not None}
    made = context.client.add_mandate(args.row_id, reference=args.reference, signed_on=args.signed_on, **more)
    return _with_mandate(context, made)


def _amend_mandate(context: Context) -> int:
    args = context.args
    amended = context.client.amend_mandate(args.row_id, signed_on=args.signed_on, reason=args.reason)
    return _with_mandate(context, amended)


def _cancel_mandate(context: Context) -> int:
    args = context.args
    found = context.client.mandate(args.row_id)
    context.confirm(f"Cancel mandate {found.id} of debtor {found.debtor_id}? Its schedules end.")
    return _with_mandate(context, context.client.cancel_mandate(found.id, reason=args.reason))
