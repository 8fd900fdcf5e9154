"""`tether relays`: further addresses for notifications, each of one gateway account."""

from collections.abc import Sequence
from typing import Final

from tether_client.command.arguments import Commands, add, add_reason, whole
from tether_client.command.context import Context, rows_text
from tether_client.relays import ListedRelay

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("id", "id"),
    ("name", "name"),
    ("account", "account"),
    ("by", "created_by"),
    ("created", "created_at"),
    ("last notification", "last_received_at"),
    ("revoked", "revoked_at"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser(
        "relays", help="further addresses for notifications, each of one account: list, create, revoke"
    )
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    add(
        group,
        "list",
        _list,
        text="list relays, newest first; tokens are not shown",
        example="tether relays list",
    )
    item = add(
        group,
        "create",
        _create,
        text="create a relay and print the path of its address, this once",
        example='tether relays create partner --account shop --reason "their proxy forwards"',
    )
    item.add_argument("name", metavar="NAME", help="1 to 32 of a-z, 0-9, hyphen and underscore")
    item.add_argument(
        "--account",
        default="default",
        metavar="ACCOUNT",
        help="the gateway account whose passwords verify what comes there (default: %(default)s)",
    )
    add_reason(item, is_required=False)
    item = add(
        group,
        "revoke",
        _revoke,
        text="revoke a relay; all nodes refuse its address within seconds",
        example='tether relays revoke 3 --reason "the partner left"',
    )
    item.add_argument("relay_id", type=whole(1), metavar="RELAY", help="the id of the relay")
    add_reason(item, is_required=False)


def _list(context: Context) -> int:
    return _shown(context, context.client.relays())


def _create(context: Context) -> int:
    args = context.args
    made = context.client.create_relay(args.name, account=args.account, reason=args.reason)
    context.output.result(
        made,
        lambda: (
            f"Relay {made.relay.id} ({made.relay.name}) of account {made.relay.account}. Its path, shown this once:\n{made.path}"
        ),
    )
    return 0


def _revoke(context: Context) -> int:
    args = context.args
    return _shown(context, context.client.revoke_relay(args.relay_id, reason=args.reason))


def _shown(context: Context, relays: Sequence[ListedRelay]) -> int:
    context.output.result(relays, lambda: rows_text(relays, _COLUMNS))
    return 0
