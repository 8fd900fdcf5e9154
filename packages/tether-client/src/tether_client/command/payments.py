"""`tether payments`, `tether refund`, `tether void` and `tether inquire`."""

import argparse
from typing import Any, Final

from tether_client.command.arguments import (
    Commands,
    add,
    add_filters,
    add_key,
    add_outcome,
    add_paging,
    add_reason,
    add_yes,
    amount,
    whole,
)
from tether_client.command.context import Context
from tether_client.command.output import money, shown
from tether_client.inquiry_orders import InquiryOrder
from tether_client.payments import ExposureResponse, ListedAttempt
from tether_client.refunds import ListedRefund

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("id", "id"),
    ("status", "status"),
    ("amount", "amount_minor"),
    ("reason", "reason_code"),
    ("error", "error_code"),
    ("debtor", "debtor_id"),
    ("run", "run_id"),
    ("due item", "due_item"),
    ("changed", "updated_at"),
)
_FILTERS: Final = {
    "status": "only payments in this state",
    "upload": "only payments of this upload",
    "run": "only payments of this run",
    "debtor": "only payments of this debtor",
    "account": "only payments through this gateway account",
    "reason_code": "only returns with this reason, such as AC04",
    "unique_id": "the gateway's id",
    "transaction_id": "Tether's id at the gateway",
    "created_from": "made at or after this day or time",
    "created_to": "made before this day or time",
    "updated_from": "changed at or after this day or time",
    "updated_to": "changed before this day or time",
    "country": "only from accounts of this country, such as DE",
    "bank": "only from accounts at this bank: the first eight characters of its BIC",
}
_AMOUNTS: Final = {"amount_min": "of at least this amount", "amount_max": "of at most this amount"}


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("payments", help="billing attempts: list, show, forgive, outcome")
    group = parser.add_subparsers(required=True, metavar="COMMAND")

    item = add(
        group,
        "list",
        _list,
        text="list payments, newest first",
        example="tether payments list --status chargebacked --created-from 2026-03-01",
    )
    add_filters(item, **_FILTERS)
    for name, text in _AMOUNTS.items():
        item.add_argument(f"--{name.replace('_', '-')}", type=amount, metavar="AMOUNT", help=text)
    add_paging(item)

    item = add(
        group,
        "show",
        _show,
        text="show a payment, its refunds, and until when it can be returned",
        example="tether payments show 17",
    )
    _add_id(item)

    item = add(
        group,
        "forgive",
        _forgive,
        text="forgive the chargeback of a payment, so that it no longer excludes its account",
        example='tether payments forgive 17 --reason "the bank was wrong"',
    )
    _add_id(item)
    add_reason(item)

    item = add(
        group,
        "outcome",
        _outcome,
        text="state the outcome of a payment whose status cannot be inquired any more",
        example='tether payments outcome 17 declined --reason "seen in the back office"',
    )
    _add_id(item)
    add_outcome(item)

    for name, do, text in (
        ("refund", _refund, "refund a collected payment"),
        ("void", _void, "void a payment that was submitted today"),
    ):
        item = add(commands, name, do, text=text, example=f'tether {name} 17 --reason "paid twice"')
        _add_id(item)
        add_reason(item, is_required=False)
        item.add_argument("--usage", metavar="TEXT", help="the text on the debtor's bank statement")
        add_key(item)
        add_yes(item)

    item = add(
        commands,
        "inquire",
        _inquire,
        text="order status inquiries: the gateway is asked for the status of payments now",
        example='tether inquire run 3 --reason "after the outage"',
    )
    item.add_argument("scope", choices=("payment", "run", "upload"), help="what is inquired")
    item.add_argument("subject_id", type=whole(1), metavar="ID", help="its id")
    item.add_argument(
        "--what", choices=("open", "submitted"), help="of a run or an upload: which payments (default: open)"
    )
    add_reason(item)
    add_key(item)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("attempt_id", type=whole(1), metavar="PAYMENT", help="the id of the payment")


def _list(context: Context) -> int:
    filters = {name: getattr(context.args, name) for name in _FILTERS}
    filters |= {f"{name}_minor": getattr(context.args, name) for name in _AMOUNTS}
    return context.listed(context.client.payments, _COLUMNS, **filters)


def _show(context: Context) -> int:
    attempt = context.client.payment(context.args.attempt_id)
    exposure = context.client.exposure(attempt.id)
    refunds = context.client.refunds_of(attempt.id)
    value: dict[str, Any] = {"payment": attempt, "exposure": exposure, "refunds": refunds}
    context.output.result(value, lambda: _text(attempt, exposure, refunds))
    return 0


def _forgive(context: Context) -> int:
    args = context.args
    found = context.client.forgive_chargeback(args.attempt_id, reason=args.reason)
    held = (
        f"; entries of the blacklist still hold it: {shown(found.still_held_by)}"
        if found.still_held_by
        else ""
    )
    left = f"; {found.unforgiven:,} other chargebacks exclude it" if found.unforgiven else ""
    context.output.result(
        found, lambda: f"the chargeback of payment {found.attempt_id} is forgiven{left}{held}\n"
    )
    return 0


def _outcome(context: Context) -> int:
    args = context.args
    closed = context.client.state_outcome(
        args.attempt_id, args.outcome, reason=args.reason, unique_id=args.unique_id
    )
    context.output.result(closed, lambda: f"payment {closed.attempt_id}: {closed.debit_status}\n")
    return 0


def _refund(context: Context) -> int:
    return _give_back(context, "refund")


def _void(context: Context) -> int:
    return _give_back(context, "void")


def _give_back(context: Context, kind: str) -> int:
    args = context.args
    if not args.yes:
        attempt = context.client.payment(args.attempt_id)
        context.confirm(
            f"Order the {kind} of payment {attempt.id}, {money(attempt.amount_minor)} {attempt.currency}, {attempt.status}?"
        )
    order = context.client.refund if kind == "refund" else context.client.void
    made = order(args.attempt_id, reason=args.reason, usage=args.usage, idempotency_key=args.idempotency_key)
    context.output.result(made, lambda: _refund_line(made) + "\n")
    return 0


def _inquire(context: Context) -> int:
    args = context.args
    order = context.client.inquire(
        args.scope, args.subject_id, reason=args.reason, what=args.what, idempotency_key=args.idempotency_key
    )
    context.output.result(order, lambda: _inquiry_text(order))
    return 0


def _inquiry_text(order: InquiryOrder) -> str:
    more = "; more payments match: order again when these have ended" if order.more else ""
    return f"inquiry {order.id} of {order.debits:,} payments: {order.waiting:,} waiting, {order.inquired:,} inquired{more}\n"


def _refund_line(refund: ListedRefund) -> str:
    amount = f"{money(refund.amount_minor)} {refund.currency}"
    return f"{refund.kind} {refund.id} of payment {refund.attempt_id}: {amount}, {refund.status}"


def _text(attempt: ListedAttempt, exposure: ExposureResponse, refunds: list[ListedRefund]) -> str:
    facts = {
        "transaction id": attempt.transaction_id,
        "unique id": attempt.unique_id,
        "debtor": attempt.debtor_id,
        "run": attempt.run_id,
        "due item": attempt.due_item,
        "account": attempt.account,
        "reason": attempt.reason_code,
        "error": attempt.error_code,
        "not submitted because": attempt.not_submitted_reason,
        "made": attempt.created_at,
        "changed": attempt.updated_at,
        "can be returned until": exposure.final_on,
        "refund": exposure.refundable_why,
        "void": exposure.voidable_why,
    }
    head = f"payment {attempt.id}  {attempt.status}  {money(attempt.amount_minor)} {attempt.currency}"
    lines = [head, *(f"  {name}: {shown(value)}" for name, value in facts.items() if value not in {None, ""})]
    return "\n".join([*lines, *(f"  {_refund_line(refund)}" for refund in refunds)]) + "\n"
