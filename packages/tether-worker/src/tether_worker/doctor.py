"""
`tether-worker doctor`: whether this installation is set up well, and who must change what.

    tether-worker doctor            # exit code 1 where something is wrong, 0 where it is well or only advice is given
    tether-worker doctor --json
    tether-worker doctor --without-gateway

It changes nothing but an object that it writes, reads and deletes. Of the gateway it inquires about an id that nobody has used, once for each terminal. A finding
is a sentence for the person who can act.
"""

import argparse
import asyncio
import os
import platform
import re
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from rich.console import Console
from rich.table import Table
from tether_core import __version__
from tether_core.errors import InvalidRequest, StoreUnreachable, TetherError
from tether_core.fingerprint_key import REASONS
from tether_core.scaling import parse_pools
from tether_stores import (
    fingerprint_key,
    migrate,
    objects,
    privileges,
    queues,
    redis,
    secrets_key,
    store_status,
    workers,
)
from tether_stores.accounts import gateway_accounts
from tether_stores.clock import timestamp
from tether_stores.database_epoch.watch import durability_warnings
from tether_stores.postgres import Connection, Pooling, SchemaBehind, connection, open_pool, pooling
from tether_stores.settings import Settings, described

from tether_worker.gateway.login import LoggedIn, Login, log_in
from tether_worker.secrets_key import TITLES, count, unopenable_text

__all__ = ["Finding", "add_commands", "examined", "is_older", "of_logins", "open_files", "weak_secrets"]

Verdict = Literal["well", "advice", "wrong"]

# A key that cannot be guessed: 128 bits in hexadecimal digits are 32 characters, in base64 22.
_KEY_LENGTH_MIN: Final = 22
_CLOCK_S: Final = 5.0
_GATEWAY_S: Final = 10.0
# docs/start.md states them.
_POSTGRES_MIN: Final = (15,)
_REDIS_MIN: Final = (6, 2)
_POOLING: Final[dict[Pooling, tuple[Verdict, str]]] = {
    "none": ("well", "it connects without a pooler"),
    "transaction": (
        "well",
        "it connects through a pooler in transaction mode; tether-worker migrate needs DATABASE_DIRECT_URL past it",
    ),
    "session": (
        "advice",
        "It connects through a pooler in session mode, or one without a free connection, so the pooler saves no connections. Set pool_mode to transaction.",
    ),
    "statement": (
        "wrong",
        "It connects through a pooler in statement mode, which allows no transactions: nothing works. Set pool_mode to transaction.",
    ),
}
_LOGINS: Final[dict[LoggedIn, str]] = {
    "rejected": "the gateway rejects login or password ({why}). Correct EMP_API_LOGIN and EMP_API_PASSWORD, or the account by `tether-worker accounts put`.",
    "refused": "the gateway refuses an inquiry with this terminal: {why} Correct EMP_TERMINAL_TOKEN, or ask the gateway whether the terminal is active.",
    "unreachable": "the gateway cannot be reached ({why}). Correct EMP_API_URL, the name server, or the firewall for outgoing connections.",
    "silent": "the gateway gives no credible answer ({why}). Is EMP_API_URL its address? Else see its status page, and try again.",
}
_COLOURS: Final = {"well": "green", "advice": "yellow", "wrong": "red"}


class Finding(msgspec.Struct, frozen=True):
    """
    The result of one examination.

    Attributes:
        subject: What was examined, such as "redis".
        verdict: "well", "advice", or "wrong" where Tether cannot do its work, or not safely.
        text: What was found, and what to change.
    """

    subject: str
    verdict: Verdict
    text: str


def add_commands(commands: Any) -> None:
    """Add `doctor` to a command line."""
    parser = commands.add_parser(
        "doctor",
        help="whether this installation is set up well; exit code 1 where something is wrong",
        epilog="Example: tether-worker doctor --json",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--without-gateway",
        action="store_true",
        help="do not inquire at the gateway whether it accepts the accounts",
    )
    parser.set_defaults(do=_doctor, needs=("DATABASE_URL",))


async def examined(
    settings: Settings,
    *,
    own_clock: Callable[[], datetime],
    environ: Mapping[str, str] | None = None,
    calls_gateway: bool = True,
) -> list[Finding]:
    """
    Examine settings and services.

    Args:
        own_clock: This machine's clock, aware, UTC.
        environ: Where the settings came from, to examine the files of secrets; `None` for nowhere.
        calls_gateway: Whether to inquire once for each terminal of each account.
    """
    found = [
        Finding("version", "well", f"Tether {__version__}, Python {platform.python_version()}"),
        *_settings(settings),
        *open_files(environ or {}),
    ]
    found += await _postgres(settings, own_clock=own_clock)
    found += await _redis(settings, own_clock=own_clock)
    found += await _objects(settings)
    if calls_gateway:
        found += of_logins(await _logged_in(settings))
    return found


def of_logins(logins: Iterable[Login]) -> list[Finding]:
    """What the gateway said of the accounts, by account and terminal."""
    found = []
    for login in logins:
        who = f"account {login.account}, terminal {login.terminal}"
        if login.result == "accepted":
            found.append(
                Finding("gateway", "well", f"{who}: the gateway accepts login, password and terminal")
            )
        else:
            text = _LOGINS[login.result].format(why=login.why)
            found.append(Finding("gateway", "wrong", f"{who}: {text}"))
    return found


def is_older(version: str, minimum: tuple[int, ...]) -> bool:
    """
    Whether a server's version is below the minimum.

    >>> is_older("14.9 (Debian 14.9-1)", (15,)), is_older("7.0.15", (6, 2)), is_older("6.0.16", (6, 2))
    (True, False, True)
    """
    return tuple(map(int, re.findall(r"\d+", version)[: len(minimum)])) < minimum


async def _logged_in(settings: Settings) -> Sequence[Login]:
    """What the gateway says of the accounts; of that of the environment alone where Postgres is away."""
    try:
        async with (
            open_pool(settings.database_url, name="tether-doctor", max_size=1) as pool,
            connection(pool) as conn,
        ):
            accounts = await gateway_accounts.all_accounts(conn, settings=settings)
    except TetherError:  # stated by the examination of Postgres
        account = gateway_accounts.default_account(settings)
        accounts = {} if account is None else {account.name: account}
    # An id that is random: nobody can have used it, and a second doctor does not meet the first.
    unused_id = f"doctor-{secrets.token_hex(8)}"
    return await log_in(
        accounts.values(), unused_id=unused_id, timeout_s=min(settings.emp_timeout_s, _GATEWAY_S)
    )


def weak_secrets(settings: Settings) -> list[Finding]:
    """The secrets that can be guessed; their values are never part of a finding."""
    keys = {f"TETHER_API_KEYS, key {name}": key for name, key in settings.api_keys.items()}
    if settings.fingerprint_key:
        keys["TETHER_FINGERPRINT_KEY"] = settings.fingerprint_key
    return [
        Finding(
            "secrets",
            "advice",
            f"{name} has fewer than {_KEY_LENGTH_MIN} characters. Make another by `openssl rand -hex 32`.",
        )
        for name, key in keys.items()
        if len(key) < _KEY_LENGTH_MIN
    ]


def open_files(environ: Mapping[str, str]) -> list[Finding]:
    """The files of secrets, `NAME_FILE`, that others than their owner and group can read, or that others can write."""
    found = []
    for setting in described():
        path = environ.get(f"{setting.env}_FILE") if setting.secret else None
        if not path:
            continue
        try:
            mode = stat.S_IMODE(Path(path).stat().st_mode)
        except OSError:  # the settings could not have been read
            continue
        if mode & 0o027:
            text = f"{setting.env}_FILE, {path}, has mode {mode:03o}. Run chmod 600 on it (440 where a group reads it), and replace the secret."
            found.append(Finding("secrets", "advice", text))
    return found


def _settings(settings: Settings) -> list[Finding]:
    found = [Finding("settings", "wrong", text) for text in settings.warnings]
    if not settings.emp_api_password:
        text = "EMP_API_PASSWORD is not set: all notifications are refused. Set the password of the gateway's account."
        found.append(Finding("gateway", "wrong", text))
    elif not settings.gateway_can_be_inquired:
        text = "EMP_API_URL, EMP_API_LOGIN or EMP_TERMINAL_TOKEN is not set: nothing can be submitted or inquired."
        found.append(Finding("gateway", "advice", text))
    else:
        found.append(Finding("gateway", "well", "address, login, password and terminal are set"))
    if not settings.api_keys:
        text = "TETHER_API_KEYS is not set: the API and the console let nobody in. Set name:key pairs."
        found.append(Finding("settings", "advice", text))
    if not settings.secrets_key:
        text = "TETHER_SECRETS_KEY is not set: what a wrong password refuses is not kept. `tether-worker accounts new-key` prints a key."
        found.append(Finding("settings", "advice", text))
    return found + weak_secrets(settings)


async def _postgres(settings: Settings, *, own_clock: Callable[[], datetime]) -> list[Finding]:
    try:
        found = await _pooling(settings)
        if any(item.verdict == "wrong" for item in found):
            return found  # nothing else could be examined through it
        async with (
            open_pool(settings.database_url, name="tether-doctor", max_size=1) as pool,
            connection(pool) as conn,
        ):
            ahead_s = (own_clock() - await timestamp(conn)).total_seconds()
            found += await _database(conn, settings)
    except TetherError as exc:
        text = str(exc)
        if isinstance(exc, StoreUnreachable) and not isinstance(exc, SchemaBehind):
            text = f"Postgres is not reachable ({exc.why}). Start it, or correct DATABASE_URL: host, port, user, password and database."
        return [Finding("postgres", "wrong", text)]
    if abs(ahead_s) > _CLOCK_S:
        text = f"This machine's clock differs from Postgres' by {abs(ahead_s):.0f} s. Run NTP on both; Tether goes by Postgres."
        found.append(Finding("clock", "advice", text))
    return found


async def _database(conn: Connection, settings: Settings) -> list[Finding]:
    if not await privileges.is_granted(conn):
        text = (
            "The role of DATABASE_URL may not read the tables. As the owner of the schema, run tether-worker migrate with TETHER_WORKER_ROLE set "
            "to it, and TETHER_WEB_ROLE to the role of the web (docs/guides/database-roles.md)."
        )
        return [Finding("roles", "wrong", text)]
    pending = await migrate.pending(conn)
    if pending:
        text = f"{len(pending)} migrations are pending, the first is {pending[0]}. Run tether-worker migrate."
        return [Finding("postgres", "wrong", text)]
    version = (await store_status.of_postgres(conn)).version
    text = f"it answers, and has the tables of this version; Postgres {version}"
    found = [Finding("postgres", "well", text)]
    if is_older(version, _POSTGRES_MIN):
        text = f"Postgres {version} is too old; Tether needs {_POSTGRES_MIN[0]} or newer. Update it."
        found.append(Finding("postgres", "wrong", text))
    found += [
        Finding(
            "roles",
            "advice",
            f"{program} connects as a role that may do everything. Give it a role of its own (docs/guides/database-roles.md).",
        )
        for program in await privileges.unbounded(conn)
    ]
    found += [Finding("postgres", "wrong", text) for text in await durability_warnings(conn)]
    return found + await _sealed(conn, settings) + await _rows(conn, settings)


async def _sealed(conn: Connection, settings: Settings) -> list[Finding]:
    """What is sealed under another key than the first one of `TETHER_SECRETS_KEY`."""
    if not settings.secrets_key:
        kinds = [
            TITLES[kind]
            for kind in secrets_key.SEALED
            if await secrets_key.texts(conn, kind, after=None, limit=1)
        ]
        text = f"TETHER_SECRETS_KEY is not set, and nothing here opens what is sealed under it: {', '.join(kinds)}. Set it as it was."
        return [Finding("secrets", "wrong", text)] if kinds else []
    try:
        counted = await count(conn, settings.secrets_key)
    except InvalidRequest as exc:
        return [Finding("secrets", "wrong", str(exc))]
    # Refused notifications expire by themselves; without the others an account, a subscriber or a person is cut off.
    found = [
        Finding(
            "secrets",
            "advice" if kind == "quarantine" else "wrong",
            unopenable_text(kind, counts.unopenable),
        )
        for kind, counts in counted.items()
        if counts.unopenable
    ]
    former = ", ".join(
        f"{counts.former:,} {TITLES[kind]}" for kind, counts in counted.items() if counts.former
    )
    if former:
        text = f"A former key of TETHER_SECRETS_KEY still seals {former}. Run `tether-worker secrets reseal` before that key is removed."
        found.append(Finding("secrets", "advice", text))
    elif not found:
        text = "the first key of TETHER_SECRETS_KEY opens all that is sealed"
        found.append(Finding("secrets", "well", text))
    return found


async def _pooling(settings: Settings) -> list[Finding]:
    mode = await pooling(settings.database_url)
    verdict, text = _POOLING[mode]
    found = [Finding("pooler", verdict, text)]
    if mode == "transaction" and settings.database_prepared == "on":
        text = "DATABASE_PREPARED is on behind a pooler: PgBouncer must be 1.21 or newer and have max_prepared_statements above 0, or statements fail. Else set auto."
        found.append(Finding("pooler", "advice", text))
    return found


async def _rows(conn: Connection, settings: Settings) -> list[Finding]:
    found: list[Finding] = []
    key = await fingerprint_key.observe(conn, settings.fingerprint_key.encode())
    if key != "matches":
        found.append(Finding("settings", "wrong", f"{REASONS[key]}."))
    now = await timestamp(conn)
    for queue in await queues.listed(conn, now=now):
        if queue.paused:
            text = f"queue {queue.name} is paused by {queue.paused.paused_by}: {queue.paused.reason}"
            found.append(Finding("queues", "advice", text))
        elif not queue.workers:
            text = f"No worker serves queue {queue.name}. Start tether-worker supervise, or run it with that queue."
            found.append(Finding("queues", "wrong" if queue.rows else "advice", text))
    others = {worker.version for worker in await workers.live(conn, now=now)} - {__version__}
    if others:
        text = f"Workers of version {', '.join(sorted(others))} run beside {__version__}. Finish the update."
        found.append(Finding("version", "advice", text))
    if not settings.worker_pools.endswith(".toml"):
        processes = sum(pool.processes_max for pool in parse_pools(settings.worker_pools).values())
        count = processes * settings.database_pool_max
        text = f"{processes} workers of a supervisor may hold {count} connections to Postgres"
        found.append(Finding("connections", "well", text))
    return found


async def _redis(settings: Settings, *, own_clock: Callable[[], datetime]) -> list[Finding]:
    if not settings.redis_url:
        text = "REDIS_URL is not set: workers do not start. Set the address of a Redis with maxmemory-policy noeviction."
        return [Finding("redis", "wrong", text)]
    async with redis.open_redis(settings.redis_url, name="tether-doctor", timeout_s=2) as cache:
        if not await redis.answers(cache):
            text = "Redis does not answer. Work goes on more slowly; start it, or correct REDIS_URL."
            return [Finding("redis", "wrong", text)]
        found = [Finding("redis", "wrong", text) for text in await redis.warnings(cache)]
        try:
            version = (await store_status.of_redis(cache)).version
            ahead_s = (own_clock() - await redis.server_time(cache)).total_seconds()
        except TetherError as exc:
            return [*found, Finding("redis", "wrong", str(exc))]
    if is_older(version, _REDIS_MIN):
        text = (
            f"Redis {version} is too old; Tether needs {'.'.join(map(str, _REDIS_MIN))} or newer. Update it."
        )
        found.append(Finding("redis", "wrong", text))
    if not found:
        text = f"it answers, evicts nothing, and keeps what it has on disk; Redis {version}"
        found = [Finding("redis", "well", text)]
    if abs(ahead_s) > _CLOCK_S:
        text = f"This machine's clock differs from Redis' by {abs(ahead_s):.0f} s. Run NTP on both; the shared rate limits go by Redis."
        found.append(Finding("clock", "advice", text))
    return found


async def _objects(settings: Settings) -> list[Finding]:
    if not (settings.aws_bucket or settings.objects_dir):
        text = "AWS_BUCKET and TETHER_OBJECTS_DIR are not set: uploads are refused. Set one of them."
        return [Finding("objects", "wrong", text)]
    try:
        store = objects.open_objects(settings)
        if await objects.answers(store):
            text = "the object store answers; a probe was written, read and deleted"
            if await _probe(store):
                text += (
                    ". The bucket keeps former versions, which neither an erasure nor the end of a period reaches: "
                    "a lifecycle rule must end them (docs/concepts/erasure.md)"
                )
            return [Finding("objects", "well", text)]
    except TetherError as exc:
        return [
            Finding(
                "objects", "wrong", f"{exc} The keys must be allowed to put, get, list and delete objects."
            )
        ]
    text = "The object store does not answer, or the bucket does not exist. Correct AWS_ENDPOINT, AWS_BUCKET and the keys."
    return [Finding("objects", "wrong", text)]


async def _probe(store: objects.Objects) -> bool:
    """Write, read and delete an object; whether a former version of it is kept."""
    key = f"doctor/{secrets.token_hex(8)}"

    async def content() -> AsyncIterator[bytes]:
        yield b"probe"

    await objects.put(store, key, content())
    try:
        async for _ in await objects.get(store, key):
            pass
        stored = await objects.stat(store, key)
    finally:
        await objects.delete(store, key)
    return stored is not None and stored.is_versioned


def _doctor(args: argparse.Namespace, settings: Settings) -> int:
    found = asyncio.run(
        examined(settings, own_clock=args.clock, environ=os.environ, calls_gateway=not args.without_gateway)
    )
    if args.json:
        sys.stdout.write(f"{msgspec.json.encode(found).decode()}\n")
    else:
        table = Table("", "", "")
        for item in found:
            table.add_row(f"[{_COLOURS[item.verdict]}]{item.verdict}[/]", item.subject, item.text)
        Console().print(table)
    return 1 if any(item.verdict == "wrong" for item in found) else 0
