"""`tether pre-notifications`: announcements of debits to debtors."""

from typing import Any, Final

from tether_client.command.arguments import (
    Commands,
    add,
    add_filters,
    add_group,
    add_paging,
    add_yes,
    date_of,
    whole,
)
from tether_client.command.context import Context
from tether_client.errors import Refused
from tether_client.pages import PAGE_MAX
from tether_client.recurring import AnnouncementOrder, AnnouncementResponse, GivenResponse

__all__ = ["add_commands"]

# The most that the API takes in one request.
_GIVE_MAX: Final = 10_000
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


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    group = add_group(commands, "pre-notifications", "announcements of debits to debtors: make, list, give")
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
