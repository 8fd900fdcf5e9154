"""`tether notifications`: list, show and replay what the gateway sent."""

import argparse
from typing import Final

from tether_client.command import quarantine
from tether_client.command.arguments import Commands, add, add_filters, add_paging, add_reason, whole
from tether_client.command.context import Context
from tether_client.command.output import shown
from tether_client.notifications import EventDetail, ReplayEffect, ReplayPreview

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("id", "id"),
    ("state", "state"),
    ("kind", "kind"),
    ("status", "status"),
    ("event", "event"),
    ("payment", "attempt_id"),
    ("failures", "failures"),
    ("reason", "reason"),
    ("received", "received_at"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("notifications", help="notifications of the gateway: list, show, replay")
    group = parser.add_subparsers(required=True, metavar="COMMAND")

    item = add(
        group,
        "list",
        _list,
        text="list notifications, newest first",
        example="tether notifications list --status parked",
    )
    add_filters(
        item,
        status="only in this state: waiting, confirming, processed, contradicted, parked or conflicting",
        unique_id="only of this payment, by the gateway's id",
        account="only of this gateway account, with --unique-id or a --status other than processed",
    )
    add_paging(item)

    item = add(
        group, "show", _show, text="show a notification and its fields", example="tether notifications show 9"
    )
    _add_id(item)

    item = add(
        group,
        "replay",
        _replay,
        text="process a parked or contradicted notification again",
        example="tether notifications replay 9 --dry-run",
    )
    _add_id(item)
    item.add_argument("--dry-run", action="store_true", help="only show what it would change")
    add_reason(item, is_required=False)

    quarantine.add_to(group)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("event_id", type=whole(1), metavar="NOTIFICATION", help="the id of the notification")


def _list(context: Context) -> int:
    args = context.args
    return context.listed(
        context.client.notifications,
        _COLUMNS,
        status=args.status,
        unique_id=args.unique_id,
        account=args.account,
    )


def _show(context: Context) -> int:
    detail = context.client.notification(context.args.event_id)
    context.output.result(detail, lambda: _text(detail))
    return 0


def _replay(context: Context) -> int:
    event_id = context.args.event_id
    if context.args.dry_run:
        preview = context.client.preview_replay(event_id)
        context.output.result(preview, lambda: _preview_text(preview))
        return 0
    answer = context.client.replay_notification(event_id, reason=context.args.reason)
    context.output.result(answer, lambda: f"notification {event_id} will be processed again\n")
    return 0


def _preview_text(preview: ReplayPreview) -> str:
    lines = ["at once:", *_effect_lines(preview.now)]
    if preview.confirmed is not None:
        lines += ["if the gateway confirms it:", *_effect_lines(preview.confirmed)]
    return "\n".join(lines) + "\n"


def _effect_lines(effect: ReplayEffect) -> list[str]:
    return [
        f"  {shown(effect.outcome)}: {shown(effect.explanation or effect.reason)} Then it is {shown(effect.state)}.",
        *(
            f"  {shown(change.subject)} {change.subject_id}: {shown(change.field)} {shown(change.before) or 'none'}"
            f" to {shown(change.after) or 'none'}"
            for change in effect.changes
        ),
        *(f"  blacklist {shown(entry)}" for entry in effect.blacklist),
        *(f"  event {shown(name)}" for name in effect.events),
    ]


def _text(detail: EventDetail) -> str:
    event, confirmed = detail.event, detail.confirmed
    facts = {
        "account": event.account,
        "payment": event.attempt_id,
        "reported": detail.reported.status,
        "confirmed": confirmed.status if confirmed else None,
        "outcome": event.outcome,
        "reason": event.reason,
        "failures": event.failures or None,
        "received": event.received_at,
        "next try": event.next_at,
        "handled": event.handled_at,
    }
    lines = [f"notification {event.id}  {event.kind}  {event.state}"]
    lines += [f"  {name}: {shown(value)}" for name, value in facts.items() if value not in {None, ""}]
    return (
        "\n".join([*lines, *(f"    {shown(name)} = {shown(value)}" for name, value in detail.fields.items())])
        + "\n"
    )
