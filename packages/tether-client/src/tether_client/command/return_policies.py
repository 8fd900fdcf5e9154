"""
`tether policy`: what each reason code of a return does, as versions.

>>> rule("AM04=none/1")
('AM04', {'action': 'none', 'retries': 1})
>>> rule("ms02=block")
('MS02', {'action': 'block', 'retries': 0})
"""

import argparse
import re
from typing import Any, Final

from tether_client.command.arguments import Commands, add, add_reason, add_yes, whole
from tether_client.command.context import Context, rows_text
from tether_client.command.output import money, shown
from tether_client.return_policies import CountAndAmount, CurrencyResult, DryRun, PolicyDetail, Range

__all__ = ["add_commands", "rule"]

_RULE: Final = re.compile(r"([A-Za-z0-9]{4})=(none|hold|block)(?:/([0-2]))?")
_VERSIONS: Final = (
    ("version", "version"),
    ("active", "active"),
    ("based on", "based_on"),
    ("made by", "created_by"),
    ("made", "created_at"),
    ("because", "reason"),
)
_RULES: Final = (("code", "code"), ("action", "action"), ("retries", "retries"), ("meaning", "meaning"))
_SWITCHES: Final = (
    ("switched", "switched_at"),
    ("version", "version"),
    ("before", "version_before"),
    ("by", "switched_by"),
    ("because", "reason"),
)


def rule(text: str) -> tuple[str, dict[str, Any]]:
    """A rule as `CODE=ACTION` or `CODE=ACTION/RETRIES`."""
    found = _RULE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError("must be like MS02=block, or like AM04=none/1")
    return found[1].upper(), {"action": found[2], "retries": int(found[3] or 0)}


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("policy", help="the return policy: what each reason code does, as versions")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    add(group, "list", _list, text="list the versions of the return policy", example="tether policy list")
    add(
        group,
        "history",
        _history,
        text="list who switched which version on, when and why",
        example="tether policy history",
    )
    item = add(group, "show", _show, text="show the rules of a version", example="tether policy show 2")
    _add_version(item)
    item = add(
        group,
        "diff",
        _diff,
        text="show which rules of a version differ from those of the active one",
        example="tether policy diff 2",
    )
    _add_version(item)
    item = add(
        group,
        "add",
        _add,
        text="make a version from another one; it decides nothing before it is switched on",
        example='tether policy add --based-on 0 --set MS02=block --set AM04=none/1 --reason "fewer returns"',
    )
    item.add_argument(
        "--based-on",
        type=whole(0, 2**31 - 1),
        metavar="VERSION",
        help="the version whose other rules are taken (default: the active one)",
    )
    item.add_argument(
        "--set",
        action="append",
        type=rule,
        required=True,
        dest="rules",
        metavar="CODE=ACTION/RETRIES",
        help="a rule: none, hold or block, and how often the debit is tried again; may be given several times",
    )
    add_reason(item)
    item = add(
        group,
        "dry-run",
        _dry_run,
        text="say what a version would have changed over past returns, against the active one",
        example="tether policy dry-run 2 --days 365",
    )
    _add_version(item)
    item.add_argument(
        "--days",
        type=whole(1, 5 * 365),
        default=365,
        metavar="DAYS",
        help="over the returns of this many days up to yesterday (default: %(default)s)",
    )
    item = add(
        group,
        "switch",
        _switch,
        text="switch a version on: all nodes decide by it from then on",
        example='tether policy switch 2 --reason "as agreed on Monday"',
    )
    _add_version(item)
    item.add_argument(
        "--active",
        type=whole(0, 2**31 - 1),
        metavar="VERSION",
        help="switch only if this version is the active one (default: the one that the command has read)",
    )
    add_reason(item)
    add_yes(item)


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "version",
        type=whole(0, 2**31 - 1),
        metavar="VERSION",
        help="the number of the version; 0 is built in",
    )


def _list(context: Context) -> int:
    found = context.client.return_policies()
    context.output.result(found, lambda: rows_text(found, _VERSIONS))
    return 0


def _history(context: Context) -> int:
    found = context.client.return_policy_switches()
    context.output.result(found, lambda: rows_text(found, _SWITCHES))
    return 0


def _show(context: Context) -> int:
    found = context.client.return_policy(context.args.version)
    context.output.result(found, lambda: rows_text(found.rules, _RULES))
    return 0


def _diff(context: Context) -> int:
    found = context.client.return_policy(context.args.version)
    context.output.result(found.changes, lambda: _changes(found))
    return 0


def _changes(found: PolicyDetail) -> str:
    if not found.changes:
        return f"version {found.version} decides as version {found.active_version}\n"
    lines = "".join(f"{shown(change.text)}\n" for change in found.changes)
    return f"version {found.active_version} -> version {found.version}\n{lines}"


def _add(context: Context) -> int:
    args, client = context.args, context.client
    based_on = args.based_on
    if based_on is None:
        based_on = next(version.version for version in client.return_policies() if version.active)
    made = client.add_return_policy(based_on=based_on, rules=dict(args.rules), reason=args.reason)
    context.output.result(made, lambda: f"version {made.version} is made\n{_changes(made)}")
    return 0


def _dry_run(context: Context) -> int:
    made = context.client.try_return_policy(context.args.version, days=context.args.days)
    context.output.result(made, lambda: _result(made.result))
    return 0


def _result(result: DryRun) -> str:
    head = f"version {result.version} against version {result.against}, returns of {result.from_on} to {result.to_on}\n"
    if not result.currencies:
        return f"{head}no decision would have differed\n"
    return head + "".join(_currency(found) for found in result.currencies)


def _currency(found: CurrencyResult) -> str:
    return (
        f"{found.currency}\n"
        f"  extra collected  {_range(found.collected)}\n"
        f"  extra returned   {_range(found.returned)}\n"
        f"  extra blocked    {_moved(found.blocked)} of accounts\n"
        f"  extra tries      {_moved(found.tries)}\n"
    )


def _moved(moved: CountAndAmount) -> str:
    return f"{moved.count:+,} ({money(moved.amount_minor)})"


def _range(found: Range | None) -> str:
    if found is None:
        return "unknown: no debit was tried again before"
    if found.low == found.high:
        return _moved(found.expected)
    return f"{_moved(found.expected)}, between {_moved(found.low)} and {_moved(found.high)}"


def _switch(context: Context) -> int:
    args, client = context.args, context.client
    active = args.active
    if active is None:
        active = client.return_policy(args.version).active_version
    context.confirm(f"Switch from version {active} to version {args.version} of the return policy?")
    made = client.switch_return_policy(args.version, active=active, reason=args.reason)
    context.output.result(
        made, lambda: f"version {made.version} decides; version {made.version_before} did before\n"
    )
    return 0
