"""
Arguments that commands share, and values with their bounds.

>>> amount("12.50")
1250
>>> amount("12,5")
Traceback (most recent call last):
    ...
argparse.ArgumentTypeError: must be an amount like 12.50
"""

import argparse
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Any, Final

import msgspec

from tether_client.command.context import Context

__all__ = [
    "Commands",
    "Do",
    "add",
    "add_filters",
    "add_group",
    "add_key",
    "add_outcome",
    "add_paging",
    "add_reason",
    "add_with_id",
    "add_yes",
    "amount",
    "date_of",
    "day",
    "json_object",
    "whole",
]

Do = Callable[[Context], int]
# argparse keeps the type of its subparsers private.
Commands = Any
_AMOUNT: Final = re.compile(r"[0-9]{1,13}(?:\.[0-9]{2})?")
_ID_MAX: Final = 2**63 - 1


def whole(least: int, most: int = _ID_MAX) -> Callable[[str], int]:
    """A whole number within bounds, for `add_argument(type=...)`."""

    def read(text: str) -> int:
        value = int(text) if re.fullmatch(r"[0-9]{1,19}", text) else least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}")
        return value

    return read


def amount(text: str) -> int:
    """An amount with a point and two decimals, or without; in minor units."""
    if not _AMOUNT.fullmatch(text):
        raise argparse.ArgumentTypeError("must be an amount like 12.50")
    euros, _, cents = text.partition(".")
    return int(euros) * 100 + int(cents or 0)


def day(text: str) -> str:
    """A day, as the timestamp at which it begins, UTC; or a timestamp of ISO 8601."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return datetime.combine(date.fromisoformat(text), time(), UTC).isoformat()
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "must be a day like 2026-03-02, or a time like 2026-03-02T12:00:00Z"
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


def date_of(text: str) -> str:
    """A day as 2026-03-02, for routes that take days and not times."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise argparse.ArgumentTypeError("must be a day like 2026-03-02")


def json_object(text: str) -> dict[str, Any]:
    """An object of JSON."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise argparse.ArgumentTypeError("must be a JSON object") from None


def add(commands: Commands, name: str, do: Do, *, text: str, example: str) -> argparse.ArgumentParser:
    """
    Add a command with the options that all have.

    Args:
        commands: Where it belongs.
        do: Runs it; returns the exit code.
        text: What it does, for --help.
        example: A command line.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=f"Example: {example}"
    )
    parser.add_argument("--json", action="store_true", help="write JSON, and nothing else, to stdout")
    parser.add_argument(
        "--url", metavar="URL", help="the address of Tether; a stored key is sent to its own address only"
    )
    parser.add_argument(
        "--profile", metavar="NAME", help="use the key that `tether login` stored under this name"
    )
    parser.add_argument(
        "--timeout",
        type=whole(1, 3_600),
        default=30,
        metavar="SECONDS",
        help="how long to wait for each answer (default: %(default)s)",
    )
    parser.set_defaults(do=do)
    return parser


def add_group(commands: Commands, name: str, text: str) -> Commands:
    """Add a command that has commands of its own; returns where they belong."""
    return commands.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")


def add_with_id(
    group: Commands, name: str, do: Do, *, text: str, example: str, of: str
) -> argparse.ArgumentParser:
    """
    Add a command about one row, whose id is read into `row_id`.

    Args:
        group: Where it belongs.
        name: Of the command.
        do: As for `add`.
        text: As for `add`.
        example: As for `add`.
        of: What the row is called, such as "due item".
    """
    item = add(group, name, do, text=text, example=example)
    item.add_argument(
        "row_id",
        type=whole(1),
        metavar=of.upper().replace(" ", "_"),
        help=f"the id of the {of}",
    )
    return item


def add_paging(parser: argparse.ArgumentParser) -> None:
    """Add the options of a list."""
    parser.add_argument(
        "--limit",
        type=whole(1, 1_000_000),
        default=50,
        metavar="ROWS",
        help="at most this many rows (default: %(default)s)",
    )
    parser.add_argument(
        "--cursor", metavar="CURSOR", help="show the rows that follow; an earlier list printed this value"
    )


def add_filters(parser: argparse.ArgumentParser, **filters: str) -> None:
    """Add an option for each filter, with its help."""
    for name, text in filters.items():
        kind: Callable[[str], Any] = str
        if name.endswith(("_from", "_to")):
            kind = day
        elif name in {"upload", "run", "debtor"}:
            kind = whole(1)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=name.upper(), help=text)


def add_reason(parser: argparse.ArgumentParser, *, is_required: bool = True) -> None:
    """Add the reason of an action."""
    parser.add_argument(
        "--reason",
        required=is_required,
        default="",
        metavar="TEXT",
        help="why; stored with the name of your key and the time",
    )


def add_outcome(parser: argparse.ArgumentParser) -> None:
    """Add what a person states of a submission whose status cannot be inquired."""
    parser.add_argument(
        "outcome",
        choices=("approved", "declined", "never_arrived"),
        help="what the gateway's back office shows; never_arrived where it has no such payment",
    )
    parser.add_argument("--unique-id", metavar="ID", help="the gateway's id; needed with approved")
    add_reason(parser)


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add the option that agrees beforehand."""
    parser.add_argument(
        "--yes", action="store_true", help="do not ask for confirmation; required where there is no terminal"
    )


def add_key(parser: argparse.ArgumentParser) -> None:
    """Add the key of an order."""
    parser.add_argument(
        "--idempotency-key", metavar="KEY", help="an order sent twice with the same key is placed once"
    )
