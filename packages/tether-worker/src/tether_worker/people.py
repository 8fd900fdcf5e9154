"""
`tether-worker users` and `tether-worker keys`: users of the console, and API keys, from a machine of Tether.

    tether-worker users add ada --role admin                    the first administrator; the temporary password is printed once
    tether-worker users list
    tether-worker users reset ada --second-factor               a new temporary password, for a lost phone
    tether-worker users unbind ada                              another person at the identity provider may be bound
    tether-worker users disable ada
    tether-worker keys add ci --role viewer --days 90           the key is printed once
    tether-worker keys list
    tether-worker keys revoke ci

The same as the page *People and keys*. A person who runs a command on this machine is an administrator; the audit names the operating
system's user.
"""

import argparse
import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.people import key_format
from tether_core.people.roles import ROLES, Role, require_accounts, require_name
from tether_stores import audit, sessions
from tether_stores.accounts import gateway_accounts
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.people import api_keys, passwords, users
from tether_stores.people.users import User
from tether_stores.postgres import Connection, open_pool, transaction
from tether_stores.settings import Settings

__all__ = ["add_commands", "add_key", "add_user"]

_LISTED_MAX: Final = 1_000


async def add_user(
    settings: Settings,
    name: str,
    *,
    role: Role,
    accounts: list[str] | None = None,
    has_password: bool = True,
    reason: str = "",
) -> str | None:
    """
    Create a user.

    Args:
        accounts: The gateway accounts to which the user is limited; `None` for all.
        has_password: Without a password only the identity provider signs the user in.

    Returns:
        The temporary password; `None` for a user without one.

    Raises:
        InvalidRequest: when the name or an account is invalid, or the name is taken.
        StoreUnreachable: when Postgres does not answer.
    """
    name, password = require_name(name), passwords.temporary() if has_password else None
    password_hash = None if password is None else await passwords.hashed(password)
    async with _writing(settings) as (conn, now):
        limited = await _limited(conn, settings, accounts)
        await _require_free(conn, settings, name)
        user_id = await users.add(
            conn,
            name=name,
            role=role,
            accounts=limited,
            password_hash=password_hash,
            is_temporary=has_password,
            now=now,
        )
        await audit.record(
            conn,
            audit.operator(),
            "user.created",
            subject="user",
            subject_id=user_id,
            reason=reason,
            after=facts(user=name, role=role, accounts=_words(limited)),
            now=now,
        )
    return password


async def add_key(
    settings: Settings,
    name: str,
    *,
    role: Role,
    accounts: list[str] | None = None,
    days: int | None = None,
    reason: str = "",
) -> str:
    """
    Create an API key.

    Args:
        accounts: The gateway accounts to which the key is limited; `None` for all.
        days: After how many days it expires; `None` for never.

    Returns:
        The key.

    Raises:
        InvalidRequest: when the name or an account is invalid, or the name is taken.
        StoreUnreachable: when Postgres does not answer.
    """
    name = require_name(name)
    secret = key_format.written(secrets.token_bytes(key_format.RANDOM_BYTES))
    key_digest, actor = key_format.digest(secret), audit.operator()
    assert key_digest is not None
    async with _writing(settings) as (conn, now):
        limited = await _limited(conn, settings, accounts)
        await _require_free(conn, settings, name)
        expires_at = None if days is None else now + timedelta(days=days)
        key_id = await api_keys.add(
            conn,
            name=name,
            key_digest=key_digest,
            role=role,
            accounts=limited,
            owner=f"command:{actor.label}",
            created_by=actor.label,
            expires_at=expires_at,
            now=now,
        )
        await audit.record(
            conn,
            actor,
            "api_key.created",
            subject="api_key",
            subject_id=key_id,
            reason=reason,
            after=facts(
                key=name,
                role=role,
                accounts=_words(limited),
                expires_at=None if expires_at is None else expires_at.isoformat(),
            ),
            now=now,
        )
    return secret


async def _limited(
    conn: Connection, settings: Settings, accounts: list[str] | None
) -> tuple[str, ...] | None:
    known = (*await gateway_accounts.all_accounts(conn, settings=settings),)
    return require_accounts(accounts, known=known)


async def _require_free(conn: Connection, settings: Settings, name: str) -> None:
    if name in settings.api_keys or await api_keys.is_taken(conn, name):
        raise InvalidRequest("a user or key with this name exists; choose another name", field="name")


def _words(accounts: tuple[str, ...] | None) -> str:
    return "all" if accounts is None else ", ".join(accounts)


@asynccontextmanager
async def _writing(settings: Settings) -> AsyncIterator[tuple[Connection, datetime]]:
    async with (
        open_pool(settings.database_url, name="tether-people", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        yield conn, await timestamp(conn)


async def _user(conn: Connection, name: str) -> User:
    found = await users.by_name(conn, require_name(name))
    held = None if found is None else await users.hold(conn, found.id)
    if held is None:
        raise InvalidRequest("there is no such user; see `tether-worker users list`", field="name")
    return held


async def _reset(settings: Settings, name: str, *, second_factor: bool, reason: str) -> str:
    password = passwords.temporary()
    password_hash = await passwords.hashed(password)
    async with _writing(settings) as (conn, now):
        user = await _user(conn, name)
        await users.set_password(conn, user.id, password_hash=password_hash, is_temporary=True, now=now)
        if second_factor:
            await users.set_second_factor(conn, user.id, second_factor=None, step=None, now=now)
        await sessions.remove_of_user(conn, user.id)
        await audit.record(
            conn,
            audit.operator(),
            "user.password_reset",
            subject="user",
            subject_id=user.id,
            reason=reason,
            after=facts(second_factor=user.second_factor is not None and not second_factor),
            now=now,
        )
    return password


async def _set_enabled(settings: Settings, name: str, *, enabled: bool, reason: str) -> None:
    async with _writing(settings) as (conn, now):
        user = await _user(conn, name)
        changed = msgspec.structs.replace(user, disabled_at=None if enabled else user.disabled_at or now)
        await users.change(conn, changed, now=now)
        await sessions.remove_of_user(conn, user.id)
        await audit.record(
            conn,
            audit.operator(),
            "user.enabled" if enabled else "user.disabled",
            subject="user",
            subject_id=user.id,
            reason=reason,
            now=now,
        )


async def _unbind(settings: Settings, name: str, *, reason: str) -> None:
    async with _writing(settings) as (conn, now):
        user = await _user(conn, name)
        await users.unbind(conn, user.id, now=now)
        await sessions.remove_of_user(conn, user.id)
        await audit.record(
            conn,
            audit.operator(),
            "user.unbound",
            subject="user",
            subject_id=user.id,
            reason=reason,
            before=facts(issuer=user.oidc_issuer),
            after=facts(issuer=None),
            now=now,
        )


async def _revoke(settings: Settings, name: str, *, reason: str) -> None:
    async with _writing(settings) as (conn, now):
        given = require_name(name)
        keys = await api_keys.all_keys(conn, limit=_LISTED_MAX)
        key = next((key for key in keys if key.name == given and key.revoked_at is None), None)
        if key is None:
            raise InvalidRequest("there is no such key; see `tether-worker keys list`", field="name")
        actor = audit.operator()
        await api_keys.revoke(conn, key.id, revoked_by=actor.label, now=now)
        await sessions.remove_of_api_key(conn, key.id)
        await audit.record(
            conn, actor, "api_key.revoked", subject="api_key", subject_id=key.id, reason=reason, now=now
        )


def add_commands(commands: Any) -> None:
    """Add `users` and `keys` to a command line."""
    for what, text in (("users", "users of the console"), ("keys", "API keys of the database")):
        parser = commands.add_parser(
            what, help=text, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        kinds = parser.add_subparsers(required=True, metavar="COMMAND")
        item = kinds.add_parser("list", help=text)
        item.add_argument("--json", action="store_true", help="for programs")
        item.set_defaults(do=_list, what=what, needs=("DATABASE_URL",))
        item = kinds.add_parser("add", help="create one; its secret is printed once")
        item.add_argument("name", metavar="NAME")
        item.add_argument("--role", required=True, choices=ROLES, help="what the user or key may do")
        item.add_argument("--accounts", metavar="A,B", help="only these gateway accounts (default: all)")
        _add_reason(item)
        if what == "users":
            item.add_argument(
                "--no-password", action="store_true", help="the user signs in at the identity provider only"
            )
        if what == "keys":
            item.add_argument(
                "--days", type=whole(1, 3_650), metavar="N", help="it expires after N days (default: never)"
            )
        item.set_defaults(do=_add, what=what, needs=("DATABASE_URL",))
        if what == "keys":
            item = kinds.add_parser("revoke", help="end a key at once")
            item.set_defaults(do=_revoke_key, needs=("DATABASE_URL",))
            _add_name(item)
            continue
        item = kinds.add_parser("reset", help="print a new temporary password once")
        item.add_argument("--second-factor", action="store_true", help="also remove the second factor")
        item.set_defaults(do=_reset_user, needs=("DATABASE_URL",))
        _add_name(item)
        item = kinds.add_parser(
            "unbind", help="forget which person at the identity provider is bound to a user"
        )
        item.set_defaults(do=_unbind_user, needs=("DATABASE_URL",))
        _add_name(item)
        for kind in ("enable", "disable"):
            item = kinds.add_parser(kind, help=f"{kind} a user; the sessions end")
            item.set_defaults(do=_enable_user, enabled=kind == "enable", needs=("DATABASE_URL",))
            _add_name(item)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    _add_reason(parser)


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; stored in the audit")


def _list(args: argparse.Namespace, settings: Settings) -> int:
    asyncio.run(_print_list(settings, what=args.what, as_json=args.json))
    return 0


async def _print_list(settings: Settings, *, what: str, as_json: bool) -> None:
    async with _writing(settings) as (conn, _):
        found_users = await users.all_users(conn, limit=_LISTED_MAX) if what == "users" else []
        found_keys = await api_keys.all_keys(conn, limit=_LISTED_MAX) if what == "keys" else []
    rows = [
        {
            "id": user.id,
            "name": user.name,
            "role": user.role,
            "accounts": user.accounts,
            "second_factor": user.second_factor is not None,
            "disabled": user.disabled_at is not None,
        }
        for user in found_users
    ] + [msgspec.to_builtins(key, builtin_types=(datetime,)) for key in found_keys]
    if as_json:
        sys.stdout.write(f"{msgspec.json.encode(rows).decode()}\n")
        return
    table = Table("id", "name", "role", "accounts", "state")
    for row in rows:
        ended = row.get("disabled") or row.get("revoked_at") is not None
        table.add_row(
            str(row["id"]),
            row["name"],
            row["role"],
            ", ".join(row["accounts"] or ()) or "all",
            "ended" if ended else "",
        )
    Console().print(table)


def _add(args: argparse.Namespace, settings: Settings) -> int:
    accounts = None if args.accounts is None else [name.strip() for name in args.accounts.split(",")]
    if args.what == "users":
        password = asyncio.run(
            add_user(
                settings,
                args.name,
                role=args.role,
                accounts=accounts,
                has_password=not args.no_password,
                reason=args.reason,
            )
        )
        text = "no password" if password is None else f"temporary password of {args.name}: {password}"
        sys.stdout.write(f"{text}\n")
    else:
        secret = asyncio.run(
            add_key(
                settings, args.name, role=args.role, accounts=accounts, days=args.days, reason=args.reason
            )
        )
        sys.stdout.write(f"{secret}\n")
    return 0


def _reset_user(args: argparse.Namespace, settings: Settings) -> int:
    password = asyncio.run(_reset(settings, args.name, second_factor=args.second_factor, reason=args.reason))
    sys.stdout.write(f"temporary password of {args.name}: {password}\n")
    return 0


def _unbind_user(args: argparse.Namespace, settings: Settings) -> int:
    asyncio.run(_unbind(settings, args.name, reason=args.reason))
    sys.stdout.write(f"nobody at the identity provider is bound to {args.name}\n")
    return 0


def _enable_user(args: argparse.Namespace, settings: Settings) -> int:
    asyncio.run(_set_enabled(settings, args.name, enabled=args.enabled, reason=args.reason))
    sys.stdout.write(f"{args.name} is {'enabled' if args.enabled else 'disabled'}\n")
    return 0


def _revoke_key(args: argparse.Namespace, settings: Settings) -> int:
    asyncio.run(_revoke(settings, args.name, reason=args.reason))
    sys.stdout.write(f"{args.name} is revoked\n")
    return 0
