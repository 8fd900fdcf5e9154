"""`tether plans`, `schedules` and `due-items`: what is collected, from whom, and when."""

from collections import Counter
from functools import partial
from typing import Any, Final

import msgspec

from tether_client.billing import Warned
from tether_client.command.arguments import (
    Commands,
    Do,
    add,
    add_filters,
    add_group,
    add_paging,
    add_reason,
    add_with_id,
    add_yes,
    date_of,
    json_object,
    whole,
)
from tether_client.command.context import Context, rows_text
from tether_client.command.output import money, shown
from tether_client.command.recurring.mandates import mandate_text
from tether_client.recurring import (
    CollectionPlan,
    DueItem,
    Enrolled,
    Enrolment,
    Forecast,
    PlanDetail,
    Schedule,
)

__all__ = ["add_commands"]

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
_EXPECTED: Final = (
    ("day", "on"),
    ("debits", "count"),
    ("amount", "amount_minor"),
    ("deferred", "deferred"),
)
_NOT_ENROLLED: Final = (("debtor", "debtor_id"), ("verdict", "verdict"), ("why", "text"))
_DAYS_MAX: Final = 400
# As many as the API names in one response.
_NAMED_MAX: Final = 200


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    _add_plans(commands)
    _add_schedules(commands)
    _add_due_items(commands)


def _add_life(group: Commands, of: str, do: tuple[Do, Do, Do], *, resume: str, end: str) -> None:
    """The commands pause, resume and end of a thing with a life, such as a plan."""
    pause = f"pause a {of}: nothing of it is made, ordered or submitted"
    item = add_with_id(
        group, "pause", do[0], text=pause, example=f'tether {of}s pause 4 --reason "wrong amounts"', of=of
    )
    add_reason(item)
    add_with_id(group, "resume", do[1], text=resume, example=f"tether {of}s resume 4", of=of)
    item = add_with_id(
        group, "end", do[2], text=end, example=f'tether {of}s end 4 --reason "the contract ended"', of=of
    )
    add_reason(item)
    add_yes(item)


def _add_plans(commands: Commands) -> None:
    group = add_group(
        commands, "plans", "collection plans: add, enrol, list, show, pause, resume, end, forecast"
    )
    item = add(
        group,
        "list",
        _plans,
        text="list collection plans, newest first",
        example="tether plans list --status active",
    )
    add_filters(
        item,
        status="only in this state: active, paused or ended",
        account="only of this gateway account",
    )
    add_paging(item)
    add_with_id(
        group,
        "show",
        _plan,
        text="show a collection plan, and what waits to be collected",
        example="tether plans show 4",
        of="plan",
    )
    item = add(
        group,
        "add",
        _add_plan,
        text="add a collection plan; debtors are enrolled in it afterwards",
        example='tether plans add Membership \'{"notice_days": 14, "pay_days": [1, 15]}\'',
    )
    item.add_argument("name", metavar="NAME", help="for people; once in a gateway account")
    item.add_argument(
        "options",
        type=json_object,
        nargs="?",
        metavar="JSON",
        help="what its debits may do; docs/guides/recurring.md has an example",
    )
    item.add_argument("--account", metavar="ACCOUNT", help="the gateway account (default: default)")
    item = add_with_id(
        group,
        "enrol",
        _enrol,
        text="give each debtor of an upload a schedule of a collection plan",
        example="tether plans enrol 4 12 --first-due-on 2027-02-01 --dry-run",
        of="plan",
    )
    item.add_argument("upload_id", type=whole(1), metavar="UPLOAD", help="the id of the upload")
    item.add_argument("--first-due-on", required=True, type=date_of, metavar="DAY", help="the first due date")
    item.add_argument("--last-due-on", type=date_of, metavar="DAY", help="no due date after this")
    item.add_argument(
        "--mandate-signed-on",
        type=date_of,
        metavar="DAY",
        help="when the debtors signed whose rows do not say it",
    )
    item.add_argument("--debtor", dest="debtor_id", type=whole(1), metavar="DEBTOR", help="only this debtor")
    item.add_argument("--dry-run", action="store_true", help="only show who would get a schedule")
    add_yes(item)
    _add_life(
        group,
        "plan",
        (_pause_plan, _resume_plan, _end_plan),
        resume="go on with a paused collection plan; due dates that passed meanwhile are missed",
        end="end a collection plan with all its schedules; open due items are waived",
    )
    item = add_with_id(
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
    group = add_group(commands, "schedules", "debtors under collection plans: list, show, pause, resume, end")
    item = add_with_id(
        group,
        "list",
        _schedules,
        text="list the schedules of a collection plan, newest first",
        example="tether schedules list 4 --status paused",
        of="plan",
    )
    add_filters(item, status="only in this state: active, paused or ended")
    add_paging(item)
    add_with_id(
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
    group = add_group(commands, "due-items", "what schedules owe on their due dates: list, recover, waive")
    item = add_with_id(
        group,
        "list",
        _due_items,
        text="list the due items of a collection plan, newest first",
        example="tether due-items list 4 --status missed",
        of="plan",
    )
    add_filters(item, status="only in this state: waiting, missed, ordered, skipped or waived")
    add_paging(item)
    item = add_with_id(
        group,
        "recover",
        _recover,
        text="collect a missed due item; it is debited on a next day",
        example='tether due-items recover 31 --reason "agreed by phone"',
        of="due item",
    )
    add_reason(item)
    add_yes(item)
    item = add_with_id(
        group,
        "waive",
        _waive,
        text="do not collect an open due item",
        example='tether due-items waive 31 --reason "paid in cash"',
        of="due item",
    )
    add_reason(item)
    add_yes(item)


def _plans(context: Context) -> int:
    args = context.args
    return context.listed(context.client.plans, _PLANS, status=args.status, account=args.account)


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


def _add_plan(context: Context) -> int:
    args = context.args
    return _plan_changed(
        context, context.client.add_plan(args.name, options=args.options, account=args.account)
    )


def _enrol(context: Context) -> int:
    args = context.args
    if args.dry_run or not args.yes:
        found = _enrolled(context, dry_run=True)
        if args.dry_run:
            context.output.result(found, lambda: _enrolment_text(found))
            return 0
        for line in _enrolment_text(found).splitlines():
            context.output.note(line)
        context.confirm(f"Enrol {found.enrolled:,} debtors, {money(found.amount_minor)} on each due date?")
    done = _enrolled(context, dry_run=False)
    context.output.result(done, lambda: _enrolment_text(done))
    return 0


def _enrolled(context: Context, *, dry_run: bool) -> Enrolment:
    """Order for all debtors of the upload, as many orders as that takes."""
    args = context.args
    names = ("last_due_on", "mandate_signed_on", "debtor_id")
    more: dict[str, Any] = {name: value for name in names if (value := getattr(args, name)) is not None}
    count, amount_minor, verdicts, debtors = 0, 0, Counter[str](), list[Enrolled]()
    warnings = list[Warned]()
    while True:
        found = context.client.enrol(
            args.row_id, args.upload_id, first_due_on=args.first_due_on, dry_run=dry_run, **more
        )
        count, amount_minor = count + found.enrolled, amount_minor + found.amount_minor
        verdicts.update(found.verdicts)
        debtors += found.debtors
        warnings += found.warnings  # of each order's debtors, so an item may come once an order
        if found.next is None:
            return msgspec.structs.replace(
                found,
                enrolled=count,
                amount_minor=amount_minor,
                verdicts=dict(verdicts),
                debtors=debtors[:_NAMED_MAX],
                warnings=warnings,
            )
        more["cursor"] = found.next


def _enrolment_text(found: Enrolment) -> str:
    verb = "would get" if found.dry_run else "got"
    lines = [f"{found.enrolled:,} debtors {verb} a schedule, {money(found.amount_minor)} on each due date"]
    lines += [
        f"not enrolled, {verdict}: {count:,}"
        for verdict, count in sorted(found.verdicts.items())
        if verdict != "enrolled"
    ]
    lines += [f"warning: {shown(warned.text)}" for warned in found.warnings]
    text = "\n".join(lines) + "\n"
    return text + rows_text(found.debtors, _NOT_ENROLLED) if found.debtors else text


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
            + mandate_text(found.mandate)
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
