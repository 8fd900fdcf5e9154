"""
`tether-worker accounts`: the gateway accounts beside the one of the environment.

    tether-worker accounts new-key                      a key for TETHER_SECRETS_KEY
    tether-worker accounts list                         names and limits, nothing secret: four digits for login and terminal
    tether-worker accounts put < second.json            create one, or replace all of it
    tether-worker accounts disable second               submit nothing more with it
    tether-worker accounts enable second

The login or address that an account had before is stored in the same way, with `"former_of": "default", "enabled": false`: its debits can still be
inquired, and what it signs and lists counts for that account.

Secrets are read from standard input and never from arguments, which other users of the machine can see.
"""

import argparse
import asyncio
import sys
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_stores import audit
from tether_stores.accounts import gateway_accounts, gateway_identities
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.clock import timestamp
from tether_stores.postgres import connection, open_pool, transaction
from tether_stores.settings import Settings

__all__ = ["add_commands"]

_EXAMPLE: Final = (
    '{"name": "second", "api_url": "https://gate.emerchantpay.net", "login": "...", "passwords": ["..."], '
    '"terminal_tokens": ["..."], "billing_per_s": 20, "day_count_max": 5000}'
)


def add_commands(commands: Any) -> None:
    """Add `accounts` to a command line."""
    accounts = commands.add_parser("accounts", help="gateway accounts beside the one of the environment")
    kinds = accounts.add_subparsers(required=True, metavar="COMMAND")
    parser = kinds.add_parser("new-key", help="print a fresh key for TETHER_SECRETS_KEY")
    parser.set_defaults(do=_new_key, needs=())
    parser = kinds.add_parser("list", help="names and limits, nothing secret")
    parser.set_defaults(do=_list, needs=("DATABASE_URL",))
    parser = kinds.add_parser(
        "put",
        help="create an account, or replace all of it; JSON on standard input",
        epilog=f"For example: {_EXAMPLE}",
    )
    parser.set_defaults(do=_put, needs=("DATABASE_URL",))
    for name, what in (
        ("enable", "submit with an account again"),
        ("disable", "submit nothing more with an account"),
    ):
        parser = kinds.add_parser(name, help=what)
        parser.add_argument("name", metavar="ACCOUNT")
        parser.set_defaults(do=_enable, enabled=name == "enable", needs=("DATABASE_URL",))


def _new_key(_args: argparse.Namespace, _settings: Settings) -> int:
    sys.stdout.write(f"{gateway_accounts.new_key()}\n")
    return 0


def _list(_args: argparse.Namespace, settings: Settings) -> int:
    found = asyncio.run(_all(settings))
    table = Table("account", "address", "terminals", "debits/s", "largest debit", "a day", "")
    for item in found.values():
        day = " / ".join(
            str(cap) if cap is not None else "-" for cap in (item.day_count_max, item.day_amount_max_minor)
        )
        table.add_row(
            item.name,
            item.api_url,
            "\n".join(place.name.partition(", ")[2] for place in gateway_identities.configured(item)),
            f"{item.billing_per_s or settings.emp_rate_limit:g}",
            "-" if item.debit_max_minor is None else str(item.debit_max_minor),
            day,
            _remark(item),
        )
    Console().print(table)
    return 0


def _remark(account: GatewayAccount) -> str:
    if account.former_of is not None:
        return f"former login or address of {account.former_of}"
    return "" if account.enabled else "disabled"


def _put(_args: argparse.Namespace, settings: Settings) -> int:
    try:
        account = msgspec.json.decode(sys.stdin.buffer.read(), type=GatewayAccount)
    except msgspec.DecodeError as exc:
        # Names the field; a value is never part of it.
        raise InvalidRequest(f"standard input is not an account: {exc}") from None
    asyncio.run(_write(account, settings))
    sys.stdout.write(f"{account.name} is stored; workers and web nodes know it within a minute\n")
    return 0


def _enable(args: argparse.Namespace, settings: Settings) -> int:
    if not asyncio.run(_set_enabled(args.name, settings, enabled=args.enabled)):
        raise InvalidRequest(
            "there is no such account, except for the one of the environment, or it is a former login or address, which submits "
            "nothing; see `tether-worker accounts list`",
            field=args.name,
        )
    sys.stdout.write(f"{args.name} is {'enabled' if args.enabled else 'disabled'}\n")
    return 0


async def _all(settings: Settings) -> dict[str, GatewayAccount]:
    async with (
        open_pool(settings.database_url, name="tether-accounts", max_size=1) as pool,
        connection(pool) as conn,
    ):
        return await gateway_accounts.all_accounts(conn, settings=settings)


async def _write(account: GatewayAccount, settings: Settings) -> None:
    async with (
        open_pool(settings.database_url, name="tether-accounts", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        now = await timestamp(conn)
        await gateway_accounts.put(conn, account, keys=settings.secrets_key, now=now)
        await audit.record(
            conn,
            audit.operator(),
            "account.stored",
            subject="account",
            subject_id=account.name,
            after=facts(
                api_url=account.api_url,
                passwords=len(account.passwords),
                terminals=len(account.terminal_tokens),
                enabled=account.enabled,
                former_of=account.former_of,
            ),
            now=now,
        )


async def _set_enabled(name: str, settings: Settings, *, enabled: bool) -> bool:
    async with (
        open_pool(settings.database_url, name="tether-accounts", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        now = await timestamp(conn)
        if not await gateway_accounts.enable(conn, name, enabled=enabled, now=now):
            return False
        await audit.record(
            conn,
            audit.operator(),
            "account.enabled" if enabled else "account.disabled",
            subject="account",
            subject_id=name,
            now=now,
        )
    return True
