"""`tether mandates`, `plans`, `schedules`, `due-items` and `pre-notifications`: recurring collection."""

import argparse
from functools import partial
from typing import Any, Final

from tether_client.command.arguments import (
    Commands,
    Do,
    add,
    add_filters,
    add_paging,
    add_reason,
    add_yes,
    date_of,
    whole,
)
from tether_client.command.context import Context, rows_text
from tether_client.command.output import money, shown
from tether_client.errors import Refused
from tether_client.pages import PAGE_MAX
from tether_client.recurring import (
    AnnouncementOrder,
    AnnouncementResponse,
    CollectionPlan,
    DueItem,
    Forecast,
    GivenResponse,
    MandateRow,
    PlanDetail,
    Schedule,
)

__all__ = ["add_commands"]

# The most that the API takes in one request.
_GIVE_MAX: Final = 10_000

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
_PLANS: Final = (
    ("id", "id"),
    ("name", "name"),
    ("state", "state"),
    ("reason", "state_reason"),
    ("account", "account"),
    ("by", "created_by"),
    ("added", "created_at"),
)
_SCHEDULES: Final = (
    ("id", "id"),
    ("state", "state"),
    ("reason", "state_reason"),
    ("debtor", "debtor_id"),
    ("mandate", "mandate_id"),
    ("amount", "amount_minor"),
    ("first", "first_due_on"),
    ("last", "last_due_on"),
    ("next made", "make_on"),
)
_DUE_ITEMS: Final = (
    ("id", "id"),
    ("state", "state"),
    ("reason", "reason"),
    ("schedule", "schedule_id"),
    ("debtor", "debtor_id"),
    ("due", "due_on"),
    ("collect", "collect_on"),
    ("amount", "amount_minor"),
    ("run", "run_id"),
)
_NOTICES: Final = (
    ("id", "id"),
    ("status", "status"),
    ("debtor", "debtor_id"),
    ("name", "name"),
    ("iban", "iban_masked"),
    ("due", "due_on"),
    ("give by", "give_on"),
    ("amount", "amount_minor"),
    ("given", "given_at"),
    ("by", "given_by"),
)
_EXPECTED: Final = (
    ("day", "on"),
    ("debits", "count"),
    ("amount", "amount_minor"),
    ("deferred", "deferred"),
)
_DAYS_MAX: Final = 400


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    _add_mandates(commands)
    _add_plans(commands)
    _add_schedules(commands)
    _add_due_items(commands)
    _add_notices(commands)


def _group(commands: Commands, name: str, text: str) -> Commands:
    return commands.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")


def _add_one(
    group: Commands, name: str, do: Do, *, text: str, example: str, of: str
) -> argparse.ArgumentParser:
    """A command about one row: *of* is what the row is called."""
    item = add(group, name, do, text=text, example=example)
    item.add_argument(
        "row_id",
        type=whole(1),
        metavar=of.upper().replace(" ", "_"),
        help=f"the id of the {of}",
    )
    return item


def _add_life(group: Commands, of: str, do: tuple[Do, Do, Do], *, resume: str, end: str) -> None:
    """The commands pause, resume and end of a thing with a life, such as a plan."""
    pause = f"pause a {of}: nothing of it is made, ordered or submitted"
    item = _add_one(
        group, "pause", do[0], text=pause, example=f'tether {of}s pause 4 --reason "wrong amounts"', of=of
    )
    add_reason(item)
    _add_one(group, "resume", do[1], text=resume, example=f"tether {of}s resume 4", of=of)
    item = _add_one(
        group, "end", do[2], text=end, example=f'tether {of}s end 4 --reason "the contract ended"', of=of
    )
    add_reason(item)
    add_yes(item)


def _add_mandates(commands: Commands) -> None:
    group = _group(commands, "mandates", "mandates of debtors: list, show, add, amend, cancel")
    item = add(
        group, "list", _mandates, text="list mandates, newest first", example="tether mandates list --json"
    )
    add_filters(item, account="only of this gateway account", debtor="only of this debtor")
    add_paging(item)
    _add_one(group, "show", _mandate, text="show a mandate", example="tether mandates show 5", of="mandate")
    item = _add_one(
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
    item = _add_one(
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
    item = _add_one(
        group,
        "cancel",
        _cancel_mandate,
        text="cancel a mandate, and end its schedules",
        example='tether mandates cancel 5 --reason "asked by phone"',
        of="mandate",
    )
    add_reason(item)
    add_yes(item)


def _add_plans(commands: Commands) -> None:
    group = _group(commands, "plans", "collection plans: list, show, pause, resume, end, forecast")
    item = add(
        group,
        "list",
        _plans,
        text="list collection plans, newest first",
        example="tether plans list --status active",
    )
    add_filters(item, status="only in this state: active, paused or ended")
    add_paging(item)
    _add_one(
        group,
        "show",
        _plan,
        text="show a collection plan, and what waits to be collected",
        example="tether plans show 4",
        of="plan",
    )
    _add_life(
        group,
        "plan",
        (_pause_plan, _resume_plan, _end_plan),
        resume="go on with a paused collection plan; due dates that passed meanwhile are missed",
        end="end a collection plan with all its schedules; open due items are waived",
    )
    item = _add_one(
        group,
        "forecast",
        _forecast,
        text="show what the next days are expected to collect; nothing is changed",
        example="tether plans forecast 4 --days 30",
        of="plan",
    )
    item.add_argument(
        "--days",
        type=whole(1, _DAYS_MAX),
        default=90,
        metavar="DAYS",
        help="days from today on (default: %(default)s)",
    )


def _add_schedules(commands: Commands) -> None:
    group = _group(commands, "schedules", "debtors under collection plans: list, show, pause, resume, end")
    item = _add_one(
        group,
        "list",
        _schedules,
        text="list the schedules of a collection plan, newest first",
        example="tether schedules list 4 --status paused",
        of="plan",
    )
    add_filters(item, status="only in this state: active, paused or ended")
    add_paging(item)
    _add_one(
        group,
        "show",
        _schedule,
        text="show a schedule with its mandate and its due items",
        example="tether schedules show 8",
        of="schedule",
    )
    _add_life(
        group,
        "schedule",
        (_pause_schedule, _resume_schedule, _end_schedule),
        resume="go on with a paused schedule; due dates that passed meanwhile are left out",
        end="end a schedule; open due items are waived",
    )


def _add_due_items(commands: Commands) -> None:
    group = _group(commands, "due-items", "what schedules owe on their due dates: list, recover, waive")
    item = _add_one(
        group,
        "list",
        _due_items,
        text="list the due items of a collection plan, newest first",
        example="tether due-items list 4 --status missed",
        of="plan",
    )
    add_filters(item, status="only in this state: waiting, missed, ordered, skipped or waived")
    add_paging(item)
    item = _add_one(
        group,
        "recover",
        _recover,
        text="collect a missed due item; it is debited on a next day",
        example='tether due-items recover 31 --reason "agreed by phone"',
        of="due item",
    )
    add_reason(item)
    add_yes(item)
    item = _add_one(
        group,
        "waive",
        _waive,
        text="do not collect an open due item",
        example='tether due-items waive 31 --reason "paid in cash"',
        of="due item",
    )
    add_reason(item)
    add_yes(item)


def _add_notices(commands: Commands) -> None:
    group = _group(commands, "pre-notifications", "what debtors are told before a debit: make, list, give")
    item = add(
        group,
        "list",
        _notices,
        text="list pre-notifications, oldest first",
        example="tether pre-notifications list --status made --give-until 2026-03-02",
    )
    add_filters(item, status="only in this state: made, given or withdrawn", upload="only of this upload")
    item.add_argument(
        "--give-until", type=date_of, metavar="DAY", help="only those that must be given by this day"
    )
    add_paging(item)
    item = add(
        group,
        "give",
        _give,
        text="state that pre-notifications were given to their debtors; this time is the proof",
        example="tether pre-notifications give 12 13",
    )
    item.add_argument("row_ids", type=whole(1), nargs="*", metavar="PRE_NOTIFICATION", help="their ids")
    item.add_argument(
        "--upload", type=whole(1), metavar="UPLOAD", help="all of this upload that are to be given"
    )
    add_yes(item)
    item = add(
        group,
        "make",
        _announce,
        text="announce a debit to the debtors of an upload whom a run would bill",
        example="tether pre-notifications make 12 --due-item 2026-12 --language de --dry-run",
    )
    item.add_argument("upload_id", type=whole(1), metavar="UPLOAD", help="the id of the upload")
    item.add_argument("--due-item", metavar="NAME", help="what the debtors owe once (default: once)")
    item.add_argument(
        "--due-on",
        type=date_of,
        metavar="DAY",
        help="the day of the debit (default: the first that leaves the days)",
    )
    item.add_argument(
        "--notice-days", type=whole(1, 60), metavar="N", help="days that the debtors have (default: 14)"
    )
    item.add_argument("--account", metavar="NAME", help="the gateway account of the run (default: default)")
    item.add_argument(
        "--language", metavar="LANGUAGE", help="of the text: en, de, es, fr, it or nl (default: en)"
    )
    item.add_argument("--text", metavar="TEXT", help="your own text, with {amount} and {due_on}")
    item.add_argument("--creditor-name", metavar="NAME", help="the creditor, in the text")
    item.add_argument("--creditor-id", metavar="ID", help="the creditor identifier, in the text")
    item.add_argument(
        "--dry-run", action="store_true", help="only count the debtors and show the text for an invented one"
    )
    add_yes(item)


def _mandates(context: Context) -> int:
    args = context.args
    return context.listed(context.client.mandates, _MANDATES, account=args.account, debtor=args.debtor)


def _mandate(context: Context) -> int:
    return _with_mandate(context, context.client.mandate(context.args.row_id))


def _with_mandate(context: Context, found: MandateRow) -> int:
    context.output.result(found, lambda: _mandate_text(found))
    return 0


def _mandate_text(found: MandateRow) -> str:
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


def _plans(context: Context) -> int:
    return context.listed(context.client.plans, _PLANS, status=context.args.status)


def _plan(context: Context) -> int:
    found = context.client.plan(context.args.row_id)
    context.output.result(found, lambda: _plan_text(found))
    return 0


def _plan_text(found: PlanDetail) -> str:
    plan = found.plan
    reason = f", reason: {shown(plan.state_reason)}" if plan.state_reason else ""
    set_options = {name: value for name, value in plan.options.items() if value not in (None, [], "")}
    return "\n".join(
        [
            f"plan {plan.id}  {shown(plan.name)}  {shown(plan.state)}{reason}",
            f"  account: {shown(plan.account)}",
            f"  live schedules: {found.schedules:,}, {money(found.amount_minor)} on each due date",
            f"  due items that wait: {found.waiting:,}, {money(found.waiting_minor)}",
            *(f"    {shown(name)} = {shown(value)}" for name, value in set_options.items()),
            "",
        ]
    )


def _pause_plan(context: Context) -> int:
    args = context.args
    return _plan_changed(context, context.client.pause_plan(args.row_id, reason=args.reason))


def _resume_plan(context: Context) -> int:
    return _plan_changed(context, context.client.resume_plan(context.args.row_id))


def _end_plan(context: Context) -> int:
    args = context.args
    found = context.client.plan(args.row_id)
    context.confirm(
        f"End plan {found.plan.name}? {found.schedules:,} schedules end, and {found.waiting:,} due items"
        f" of {money(found.waiting_minor)} are waived."
    )
    return _plan_changed(context, context.client.end_plan(args.row_id, reason=args.reason))


def _plan_changed(context: Context, plan: CollectionPlan) -> int:
    context.output.result(plan, lambda: f"plan {shown(plan.name)} is {shown(plan.state)}\n")
    return 0


def _forecast(context: Context) -> int:
    args = context.args
    found = context.client.forecast(args.row_id, days=args.days)
    context.output.result(found, lambda: _forecast_text(found))
    return 0


def _forecast_text(found: Forecast) -> str:
    total = (
        f"{found.count:,} debits of {money(found.amount_minor)} in {found.days} days from {found.from_on}\n"
    )
    return rows_text(found.expected, _EXPECTED) + total if found.expected else total


def _schedules(context: Context) -> int:
    args = context.args
    return context.listed(partial(context.client.schedules, args.row_id), _SCHEDULES, status=args.status)


def _schedule(context: Context) -> int:
    found = context.client.schedule(context.args.row_id)
    context.output.result(
        found,
        lambda: (
            rows_text([found.schedule], _SCHEDULES)
            + "\n"
            + _mandate_text(found.mandate)
            + "\n"
            + rows_text(found.due_items, _DUE_ITEMS)
        ),
    )
    return 0


def _pause_schedule(context: Context) -> int:
    args = context.args
    return _schedule_changed(context, context.client.pause_schedule(args.row_id, reason=args.reason))


def _resume_schedule(context: Context) -> int:
    return _schedule_changed(context, context.client.resume_schedule(context.args.row_id))


def _end_schedule(context: Context) -> int:
    args = context.args
    context.confirm(f"End schedule {args.row_id}? Its open due items are waived.")
    return _schedule_changed(context, context.client.end_schedule(args.row_id, reason=args.reason))


def _schedule_changed(context: Context, schedule: Schedule) -> int:
    context.output.result(
        schedule,
        lambda: f"schedule {schedule.id} of debtor {schedule.debtor_id} is {shown(schedule.state)}\n",
    )
    return 0


def _due_items(context: Context) -> int:
    args = context.args
    return context.listed(partial(context.client.due_items, args.row_id), _DUE_ITEMS, status=args.status)


def _recover(context: Context) -> int:
    args = context.args
    context.confirm(f"Collect due item {args.row_id}? Its debtor is debited.")
    return _due_item_changed(context, context.client.recover_due_item(args.row_id, reason=args.reason))


def _waive(context: Context) -> int:
    args = context.args
    context.confirm(f"Waive due item {args.row_id}? It is not collected.")
    return _due_item_changed(context, context.client.waive_due_item(args.row_id, reason=args.reason))


def _due_item_changed(context: Context, item: DueItem) -> int:
    context.output.result(item, lambda: rows_text([item], _DUE_ITEMS))
    return 0


def _notices(context: Context) -> int:
    args = context.args
    filters: dict[str, Any] = {name: getattr(args, name) for name in ("status", "upload", "give_until")}
    return context.listed(context.client.pre_notifications, _NOTICES, **filters)


def _announce(context: Context) -> int:
    args = context.args
    names = (
        "due_item",
        "due_on",
        "notice_days",
        "account",
        "language",
        "text",
        "creditor_name",
        "creditor_id",
    )
    values = {name: getattr(args, name) for name in names}
    order = AnnouncementOrder(**{name: value for name, value in values.items() if value is not None})
    if args.dry_run or not args.yes:
        found = context.client.announce(args.upload_id, order, dry_run=True)
        if args.dry_run:
            context.output.result(found, lambda: _announced_text(found))
            return 0
        for line in _announced_text(found).splitlines():
            context.output.note(line)
        context.confirm(f"Announce the debit to {found.debtors:,} debtors?")
    made = context.client.announce(args.upload_id, order)
    context.output.result(made, lambda: _announced_text(made))
    return 0


def _announced_text(found: AnnouncementResponse) -> str:
    lines = [
        f"{found.debtors:,} debtors would be billed for {found.due_item} on {found.due_on}; give by {found.give_on}",
        f"{found.made:,} pre-notifications are new, {found.existing:,} exist, {found.withdrawn:,} were withdrawn",
    ]
    lines += [f"not billed, {verdict}: {count:,}" for verdict, count in found.skipped.items()]
    return "\n".join([*lines, f"The text: {found.example}"]) + "\n"


def _give(context: Context) -> int:
    args = context.args
    row_ids: list[int] = list(args.row_ids)
    if args.upload is not None:
        row_ids += _to_give(context, args.upload)
    if not row_ids:
        raise Refused("Nothing is to be given: name pre-notifications, or an upload that has some.")
    context.confirm(f"State that {len(row_ids)} pre-notifications were given? Their debits may be made then.")
    count = 0
    for begin in range(0, len(row_ids), _GIVE_MAX):
        count += context.client.give_pre_notifications(row_ids[begin : begin + _GIVE_MAX]).given
    given = GivenResponse(given=count)
    context.output.result(given, lambda: f"{given.given:,} pre-notifications are given\n")
    return 0


def _to_give(context: Context, upload: int) -> list[int]:
    """The pre-notifications of an upload that are to be given."""
    row_ids, cursor = list[int](), None
    while True:
        page = context.client.pre_notifications(status="made", upload=upload, cursor=cursor, limit=PAGE_MAX)
        row_ids += [notice.id for notice in page.items]
        cursor = page.next
        if cursor is None:
            return row_ids
