"""`tether events tail`: the event stream, one line for each event."""

import time
from typing import Final

from tether_client.command.arguments import Commands, add, whole
from tether_client.command.context import Context
from tether_client.command.output import Output, shown
from tether_client.errors import Unavailable
from tether_client.events import Event

__all__ = ["add_commands"]

# What the stream itself asks for between two connections.
_RECONNECT_S: Final = 2.0


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("events", help="what happens, as it happens")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    item = add(
        group,
        "tail",
        _tail,
        text="write events as they happen, until Ctrl-C; reconnect where the stream ended",
        example="tether events tail --after 0 --type attempt.status_changed --json",
    )
    item.add_argument(
        "--after", type=whole(0), metavar="ID", help="begin after this event; 0 for all stored ones"
    )
    item.add_argument(
        "--type", action="append", metavar="TYPE", help="only events of this type; may be repeated"
    )
    item.add_argument("--count", type=whole(1), metavar="N", help="end after this many events")


def _tail(context: Context) -> int:
    after, count = context.args.after, 0
    while True:
        try:
            for event in context.client.follow_events(after=after, types=context.args.type):
                _write(context.output, event)
                after, count = event.id, count + 1
                if count == context.args.count:
                    return 0
        except Unavailable as exc:
            # Before the first event, what is wrong is the address or the node; later it is the end of a stream.
            if count == 0:
                raise
            context.output.note(str(exc))
        time.sleep(_RECONNECT_S)


def _line(event: Event) -> str:
    fact = {name: value for name, value in event.fact.items() if name != "event"}
    return f"{event.id}  {shown(event.occurred_at)}  {shown(event.fact.get('event', ''))}  {shown(fact)}\n"


def _write(output: Output, event: Event) -> None:
    output.result(event, lambda: _line(event))
