"""`tether accounts`: gateway accounts with their circuit breakers, and their pauses."""

from typing import Final

from tether_client.accounts import AccountPause, AccountResponse
from tether_client.command.arguments import Commands, add, add_reason
from tether_client.command.context import Context, rows_text

__all__ = ["add_commands"]

_ACCOUNTS: Final = (
    ("account", "name"),
    ("state", "state"),
    ("breaker", "breaker"),
    ("calls", "calls"),
    ("failed", "failures"),
    ("debits/s", "billing_per_s"),
    ("inquiries/s", "reconciliation_per_s"),
    ("open", "open_calls"),
    ("open since", "open_since_at"),
    ("paused by", "paused_by"),
    ("because", "reason"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("accounts", help="gateway accounts: list, pause, resume")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    add(
        group,
        "list",
        _list,
        text="list gateway accounts: limits, circuit breaker, open submissions, pauses; nothing secret",
        example="tether accounts list --json",
    )
    item = add(
        group,
        "pause",
        _pause,
        text="pause an account on all nodes: no debit, refund or void is submitted with it; inquiries and notifications go on",
        example='tether accounts pause default --reason "the acquirer asked for it"',
    )
    item.add_argument("account", metavar="ACCOUNT", help="the name of the gateway account")
    add_reason(item)
    item = add(
        group,
        "resume",
        _resume,
        text="submit with a paused account again",
        example="tether accounts resume default",
    )
    item.add_argument("account", metavar="ACCOUNT", help="the name of the gateway account")


class _Row:
    """An account as a row."""

    def __init__(self, account: AccountResponse) -> None:
        self._account = account
        self.paused_by = account.paused and account.paused.paused_by
        self.reason = account.paused and account.paused.reason
        self.breaker = account.status.breaker
        self.calls, self.failures = account.status.calls, account.status.failures
        self.state = _state(account)

    def __getattr__(self, name: str) -> object:
        return getattr(self._account, name)


def _state(account: AccountResponse) -> str:
    if account.former_of:
        return f"former of {account.former_of}"
    if account.paused:
        return "paused"
    return "active" if account.enabled else "disabled"


def _list(context: Context) -> int:
    found = context.client.gateway_accounts()
    context.output.result(found, lambda: rows_text([_Row(item) for item in found], _ACCOUNTS))
    return 0


def _pause(context: Context) -> int:
    args = context.args
    return _done(context, context.client.pause_account(args.account, reason=args.reason), "paused")


def _resume(context: Context) -> int:
    return _done(context, context.client.resume_account(context.args.account), "resumed")


def _done(context: Context, pause: AccountPause, done: str) -> int:
    context.output.result(pause, lambda: f"{pause.account} is {done}; workers obey within seconds\n")
    return 0
