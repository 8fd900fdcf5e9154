"""`tether users`, `tether keys` and `tether audit`: who may do what, and who did what."""

import argparse
import sys
from typing import Any, Final

from tether_client.command.arguments import Commands, add, add_paging, add_reason, add_yes, day
from tether_client.command.context import Context, rows_text
from tether_client.command.output import shown
from tether_client.errors import Refused
from tether_client.people import ApiKey, ListedUser, UserWithPassword

__all__ = ["add_commands"]

_ROLES: Final = ("viewer", "operator", "admin")
_USERS: Final = (
    ("id", "id"),
    ("name", "name"),
    ("role", "role"),
    ("accounts", "accounts"),
    ("second factor", "has_second_factor"),
    ("signed in", "signed_in_at"),
    ("disabled", "disabled_at"),
)
_KEYS: Final = (
    ("id", "id"),
    ("name", "name"),
    ("role", "role"),
    ("accounts", "accounts"),
    ("created by", "created_by"),
    ("expires", "expires_at"),
    ("last used", "last_used_at"),
    ("revoked", "revoked_at"),
)
_AUDIT: Final = (
    ("at", "acted_at"),
    ("who", "actor"),
    ("from", "address"),
    ("action", "action"),
    ("subject", "subject"),
    ("id", "subject_id"),
    ("reason", "reason"),
    ("change", "change"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    _add_users(commands.add_parser("users", help="users of the console: list, add, change, reset"))
    _add_keys(commands.add_parser("keys", help="API keys: list, add, revoke; and whoami"))
    item = add(
        commands,
        "audit",
        _audit,
        text="list who did what, from where and why, newest first",
        example="tether audit --action run.paused --from 2026-03-01",
    )
    for name, text in (
        ("actor", "only of this user or key"),
        ("action", "only this action, such as run.paused"),
        ("subject", "only about this kind of thing, such as run"),
        ("subject_id", "only about this id; with --subject"),
    ):
        item.add_argument(f"--{name.replace('_', '-')}", metavar=name.upper(), help=text)
    for name, text in (("from", "not before"), ("to", "before")):
        item.add_argument(f"--{name}", type=day, dest=f"{name}_at", metavar="DAY", help=text)
    add_paging(item)


def _add_users(parser: argparse.ArgumentParser) -> None:
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    add(group, "list", _users, text="list users by name", example="tether users list")
    item = add(
        group,
        "add",
        _add_user,
        text="create a user; the temporary password is written once",
        example="tether users add ada --role operator",
    )
    item.add_argument("name", metavar="NAME", help="1 to 64 letters, digits and . _ - @ +")
    _add_rights(item, is_required=True)
    item.add_argument(
        "--no-password", action="store_true", help="the user signs in at the identity provider only"
    )
    add_reason(item, is_required=False)
    item = add(
        group,
        "unbind",
        _unbind_user,
        text="forget which person at the identity provider is bound to a user; the user's sessions end",
        example='tether users unbind ada --reason "another Ada"',
    )
    _add_user_name(item)
    add_reason(item, is_required=False)
    item = add(
        group,
        "change",
        _change_user,
        text="change the role or the accounts of a user, disable or enable one; the user's sessions end",
        example='tether users change ada --disable --reason "has left"',
    )
    _add_user_name(item)
    _add_rights(item, is_required=False)
    item.add_argument("--all-accounts", action="store_true", help="no longer limit the user to some accounts")
    either = item.add_mutually_exclusive_group()
    either.add_argument("--disable", action="store_true", help="the user cannot sign in")
    either.add_argument("--enable", action="store_true", help="the user may sign in again")
    add_reason(item, is_required=False)
    item = add(
        group,
        "reset",
        _reset_user,
        text="give a user a new temporary password; the user's sessions end",
        example='tether users reset ada --second-factor --reason "lost phone"',
    )
    _add_user_name(item)
    item.add_argument("--second-factor", action="store_true", help="also remove the second factor")
    add_reason(item, is_required=False)
    add_yes(item)


def _add_keys(parser: argparse.ArgumentParser) -> None:
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    add(group, "list", _keys, text="list API keys, newest first", example="tether keys list")
    add(
        group,
        "whoami",
        _whoami,
        text="show who your key is, and what it may do",
        example="tether keys whoami",
    )
    item = add(
        group,
        "add",
        _add_key,
        text="create an API key; it is written once",
        example="tether keys add ci --role viewer --expires-at 2027-03-01",
    )
    item.add_argument("name", metavar="NAME", help="unique among users and keys")
    _add_rights(item, is_required=True)
    item.add_argument(
        "--expires-at", type=day, metavar="DAY", help="when it expires, such as 2026-12-31 (default: never)"
    )
    add_reason(item, is_required=False)
    item = add(
        group,
        "revoke",
        _revoke_key,
        text="revoke an API key; it and its sessions end at once",
        example='tether keys revoke ci --reason "replaced"',
    )
    item.add_argument("key", metavar="KEY", help="its name or its id")
    add_reason(item, is_required=False)
    add_yes(item)


def _add_user_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="the name or the id of the user")


def _add_rights(parser: argparse.ArgumentParser, *, is_required: bool) -> None:
    parser.add_argument("--role", choices=_ROLES, required=is_required, help="what it may do")
    parser.add_argument(
        "--account",
        action="append",
        dest="accounts",
        metavar="ACCOUNT",
        help="only this gateway account; may be given several times (default: all)",
    )


def _users(context: Context) -> int:
    found = context.client.users()
    context.output.result(found, lambda: rows_text(found, _USERS))
    return 0


def _user(context: Context) -> ListedUser:
    wanted = context.args.user
    for user in context.client.users():
        if wanted in {str(user.id), user.name} or wanted.lower() == user.name:
            return user
    raise Refused(f"There is no user {shown(wanted)}; `tether users list` lists them.")


def _add_user(context: Context) -> int:
    args = context.args
    made = context.client.add_user(
        args.name,
        role=args.role,
        accounts=args.accounts,
        has_password=not args.no_password,
        reason=args.reason,
    )
    return _with_password(context, made)


def _change_user(context: Context) -> int:
    args = context.args
    changes: dict[str, Any] = {}
    if args.role:
        changes["role"] = args.role
    if args.accounts or args.all_accounts:
        changes["accounts"] = None if args.all_accounts else args.accounts
    if args.disable or args.enable:
        changes["enabled"] = args.enable
    if not changes:
        raise Refused("Give at least one of --role, --account, --all-accounts, --disable and --enable.")
    changed = context.client.change_user(_user(context).id, reason=args.reason, **changes)
    state = "disabled" if changed.disabled_at else "enabled"
    context.output.result(changed, lambda: f"user {shown(changed.name)}: {changed.role}, {state}\n")
    return 0


def _reset_user(context: Context) -> int:
    args, user = context.args, _user(context)
    context.confirm(f"Give user {user.name} a new temporary password? The sessions of the user end.")
    return _with_password(
        context, context.client.reset_user(user.id, second_factor=args.second_factor, reason=args.reason)
    )


def _unbind_user(context: Context) -> int:
    user = context.client.unbind_user(_user(context).id, reason=context.args.reason)
    context.output.result(user, lambda: f"user {shown(user.name)}: nobody at the identity provider\n")
    return 0


def _with_password(context: Context, made: UserWithPassword) -> int:
    user = made.user
    secret = "no password" if made.password is None else "temporary password, shown this once: "
    context.output.result(
        made, lambda: f"user {shown(user.name)}, {user.role}\n{secret}{shown(made.password or '')}\n"
    )
    return 0


def _keys(context: Context) -> int:
    found = context.client.api_keys()
    context.output.result(found, lambda: rows_text(found, _KEYS))
    return 0


def _whoami(context: Context) -> int:
    me = context.client.me()
    accounts = "all accounts" if me.accounts is None else f"accounts {shown(me.accounts)}"
    context.output.result(
        me, lambda: f"{shown(me.name)}, {me.role}, {accounts}\nmay: {shown(me.permissions)}\n"
    )
    return 0


def _add_key(context: Context) -> int:
    args = context.args
    made = context.client.add_api_key(
        args.name, role=args.role, accounts=args.accounts, expires_at=args.expires_at, reason=args.reason
    )
    if not context.output.is_json and sys.stdout.isatty():
        context.output.note("The key is shown this once; keep it where no one else can read it.")
    context.output.result(made, lambda: f"{made.secret}\n")
    return 0


def _revoke_key(context: Context) -> int:
    wanted = context.args.key
    found: ApiKey | None = next(
        (
            key
            for key in context.client.api_keys()
            if wanted == str(key.id) or (wanted == key.name and not key.revoked_at)
        ),
        None,
    )
    if found is None:
        raise Refused(
            f"There is no API key {shown(wanted)} that is not revoked; `tether keys list` lists them."
        )
    context.confirm(f"Revoke API key {found.name}, created by {found.created_by}? It ends at once.")
    revoked = context.client.revoke_api_key(found.id, reason=context.args.reason)
    context.output.result(revoked, lambda: f"key {shown(revoked.name)} is revoked\n")
    return 0


def _audit(context: Context) -> int:
    args = context.args
    filters = {name: getattr(args, name) for name in ("actor", "action", "subject", "subject_id")}
    return context.listed(context.client.audit, _AUDIT, **filters, **{"from": args.from_at, "to": args.to_at})
