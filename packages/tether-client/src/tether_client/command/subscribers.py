"""`tether subscribers` and `tether deliveries`: other systems to which events are sent, and what they got."""

import argparse
import sys
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
    day,
    whole,
)
from tether_client.command.context import Context, rows_text
from tether_client.command.output import shown
from tether_client.errors import Refused
from tether_client.subscribers import DeliveryDetail, Subscriber, SubscriberWithSecret

__all__ = ["add_commands"]

_SUBSCRIBERS: Final = (
    ("id", "id"),
    ("name", "name"),
    ("state", "state"),
    ("url", "url"),
    ("waiting", "waiting"),
    ("behind", "behind"),
    ("delivered", "delivered_at"),
    ("failing since", "failing_since_at"),
)
_DELIVERIES: Final = (
    ("id", "id"),
    ("subscriber", "subscriber_id"),
    ("event", "event_id"),
    ("type", "event_name"),
    ("state", "state"),
    ("tries", "tries"),
    ("http", "http_status"),
    ("error", "error"),
    ("next try", "due_at"),
    ("ended", "ended_at"),
)
_TRIES: Final = (
    ("try", "number"),
    ("at", "tried_at"),
    ("ms", "took_ms"),
    ("http", "http_status"),
    ("error", "error"),
)
_OVERLAP_HOURS_MAX: Final = 24 * 14


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("subscribers", help="other systems to which events are sent")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    add(group, "list", _list, text="list subscribers by name", example="tether subscribers list")
    _add_one(group, "show", _show, text="show a subscriber", example="tether subscribers show 2")

    item = add(
        group,
        "add",
        _add,
        text="add a subscriber; its secret is written this once",
        example="tether subscribers add ledger https://ledger.example/events --type attempt.status_changed",
    )
    item.add_argument("name", metavar="NAME", help="its name")
    item.add_argument(
        "address",
        metavar="ADDRESS",
        help="where events are sent: https and a public address, or kafka:TOPIC, nats:SUBJECT",
    )
    _add_types(item)
    item.add_argument(
        "--account",
        action="append",
        dest="accounts",
        metavar="ACCOUNT",
        help="only events of this gateway account; may be given several times (default: all)",
    )
    item.add_argument(
        "--after",
        type=whole(0),
        metavar="EVENT",
        help="begin after this event; 0 for all stored events (default: new events only)",
    )
    add_reason(item, is_required=False)

    for name, do, text in (
        ("pause", _pause, "send nothing more to a subscriber for now; its events wait"),
        ("activate", _activate, "go on after a pause, or after Tether disabled the subscriber"),
    ):
        item = _add_one(group, name, do, text=text, example=f"tether subscribers {name} 2")
        add_reason(item, is_required=False)

    item = _add_one(
        group,
        "rotate",
        _rotate,
        text="make a new secret; the former one signs too for some hours",
        example="tether subscribers rotate 2 --overlap-hours 48",
    )
    item.add_argument(
        "--overlap-hours",
        type=whole(0, _OVERLAP_HOURS_MAX),
        default=24,
        metavar="HOURS",
        help="for how long the former secret signs too; 0 ends it at once, as after a leak (default: %(default)s)",
    )
    add_reason(item, is_required=False)
    add_yes(item)

    item = _add_one(
        group,
        "replay",
        _replay,
        text="send a range of events again, with the same ids",
        example="tether subscribers replay 2 --since 2026-03-02T08:00:00Z --until 2026-03-02T09:30:00Z",
    )
    item.add_argument("--after", type=whole(0), metavar="EVENT", help="events after this id")
    item.add_argument("--up-to", type=whole(0), metavar="EVENT", help="up to and with this id")
    item.add_argument(
        "--since", type=day, metavar="TIME", help="events from this time on, in place of --after"
    )
    item.add_argument(
        "--until", type=day, metavar="TIME", help="events before this time, in place of --up-to"
    )
    _add_types(item)
    add_reason(item, is_required=False)

    item = _add_one(
        group,
        "deliveries",
        _deliveries,
        text="list the deliveries to a subscriber, newest first",
        example="tether subscribers deliveries 2 --status given_up",
    )
    add_filters(item, status="only in this state: waiting, delivered or given_up")
    add_paging(item)

    item = _add_one(
        group,
        "remove",
        _remove,
        text="remove a subscriber: nothing more is sent to it, and its secrets are deleted",
        example='tether subscribers remove 2 --reason "replaced"',
    )
    add_reason(item, is_required=False)
    add_yes(item)

    parser = commands.add_parser("deliveries", help="deliveries of events to subscribers: list, show, replay")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    item = add(
        group,
        "list",
        _of_event,
        text="list which subscribers got an event",
        example="tether deliveries list --event 120",
    )
    item.add_argument("--event", type=whole(1), required=True, metavar="EVENT", help="the id of the event")
    item = add(
        group, "show", _delivery, text="show a delivery with its tries", example="tether deliveries show 9"
    )
    _add_delivery(item)
    item = add(
        group,
        "replay",
        _replay_delivery,
        text="send a delivery again, now",
        example='tether deliveries replay 9 --reason "the receiver lost it"',
    )
    _add_delivery(item)
    add_reason(item, is_required=False)


def _add_one(group: Commands, name: str, do: Do, *, text: str, example: str) -> argparse.ArgumentParser:
    item = add(group, name, do, text=text, example=example)
    item.add_argument("subscriber_id", type=whole(1), metavar="SUBSCRIBER", help="the id of the subscriber")
    return item


def _add_delivery(item: argparse.ArgumentParser) -> None:
    item.add_argument("delivery_id", type=whole(1), metavar="DELIVERY", help="the id of the delivery")


def _add_types(item: argparse.ArgumentParser) -> None:
    item.add_argument(
        "--type",
        action="append",
        dest="types",
        metavar="TYPE",
        help="only events of this type, such as attempt.status_changed; may be given several times (default: all)",
    )


def _list(context: Context) -> int:
    found = context.client.subscribers()
    context.output.result(found, lambda: rows_text(found, _SUBSCRIBERS))
    return 0


def _show(context: Context) -> int:
    found = context.client.subscriber(context.args.subscriber_id)
    context.output.result(found, lambda: _text(found))
    return 0


def _text(found: Subscriber) -> str:
    facts = {
        "url": found.url,
        "types": found.types or "all",
        "accounts": found.accounts or "all",
        "disabled because": found.disabled_reason,
        "failing since": found.failing_since_at,
        "last delivery": found.delivered_at,
        "deliveries that wait": found.waiting,
        "events behind": found.behind,
        "former secret until": found.old_secret_until,
        "added": found.created_at,
        "added by": found.created_by,
    }
    lines = [f"subscriber {found.id}  {shown(found.name)}  {shown(found.state)}"]
    lines += [f"  {name}: {shown(value)}" for name, value in facts.items() if value is not None]
    return "\n".join(lines) + "\n"


def _add(context: Context) -> int:
    args = context.args
    made = context.client.add_subscriber(
        args.name,
        args.address,
        types=args.types,
        accounts=args.accounts,
        after=args.after,
        reason=args.reason,
    )
    return _with_secret(context, made)


def _with_secret(context: Context, made: SubscriberWithSecret) -> int:
    # stdout has the secret alone, so that it can be piped to where it is kept.
    if not context.output.is_json:
        context.output.note(f"subscriber {made.subscriber.id}, {shown(made.subscriber.name)}")
        if sys.stdout.isatty():
            context.output.note("The secret is shown this once; keep it where no one else can read it.")
    context.output.result(made, lambda: f"{made.secret}\n")
    return 0


def _pause(context: Context) -> int:
    args = context.args
    return _changed(context, context.client.pause_subscriber(args.subscriber_id, reason=args.reason))


def _activate(context: Context) -> int:
    args = context.args
    return _changed(context, context.client.activate_subscriber(args.subscriber_id, reason=args.reason))


def _changed(context: Context, found: Subscriber) -> int:
    context.output.result(
        found, lambda: f"subscriber {shown(found.name)} is {found.state}; {found.waiting:,} deliveries wait\n"
    )
    return 0


def _rotate(context: Context) -> int:
    args = context.args
    if args.overlap_hours == 0:
        name = context.client.subscriber(args.subscriber_id).name
        context.confirm(f"End the secret of subscriber {name} at once? It must verify with the new one.")
    made = context.client.rotate_subscriber(
        args.subscriber_id, overlap_hours=args.overlap_hours, reason=args.reason
    )
    return _with_secret(context, made)


def _replay(context: Context) -> int:
    args = context.args
    if (args.after is None) == (args.since is None):
        raise Refused("Say where the range begins: give either --after or --since.")
    if args.up_to is not None and args.until is not None:
        raise Refused("Give either --up-to or --until.")
    chosen: dict[str, Any] = {
        name: getattr(args, name) for name in ("after", "up_to", "since", "until", "types")
    }
    order = context.client.replay_subscriber(args.subscriber_id, reason=args.reason, **chosen)
    context.output.result(
        order,
        lambda: f"replay {order.id}: events after {order.position} up to {order.up_to} will be sent again\n",
    )
    return 0


def _deliveries(context: Context) -> int:
    args = context.args
    listing = partial(context.client.subscriber_deliveries, args.subscriber_id)
    return context.listed(listing, _DELIVERIES, status=args.status)


def _remove(context: Context) -> int:
    args = context.args
    found = context.client.subscriber(args.subscriber_id)
    context.confirm(f"Remove subscriber {found.name}? {found.waiting} deliveries that wait are not sent.")
    context.client.remove_subscriber(found.id, reason=args.reason)
    context.output.result({"removed": found.id}, lambda: f"subscriber {shown(found.name)} is removed\n")
    return 0


def _of_event(context: Context) -> int:
    found = context.client.deliveries_of_event(context.args.event)
    context.output.result(found, lambda: rows_text(found, _DELIVERIES))
    return 0


def _delivery(context: Context) -> int:
    return _detail(context, context.client.delivery(context.args.delivery_id))


def _replay_delivery(context: Context) -> int:
    args = context.args
    return _detail(context, context.client.replay_delivery(args.delivery_id, reason=args.reason))


def _detail(context: Context, found: DeliveryDetail) -> int:
    context.output.result(
        found, lambda: rows_text([found.delivery], _DELIVERIES) + "\n" + rows_text(found.tries, _TRIES)
    )
    return 0
