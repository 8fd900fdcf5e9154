"""The command line `tether-sandbox`: all of Tether on one machine, with nothing installed."""

import argparse
import asyncio
import contextlib
import os
import random
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import msgspec
import psycopg
from rich.console import Console
from tether_core import __version__
from tether_core.errors import InvalidRequest, StoreUnreachable
from tether_stores.command_line import done, whole
from tether_stores.migrate import migrate
from tether_stores.privileges import PROGRAMS
from tether_stores.settings import Settings

from tether_sandbox import playground, receiver, year
from tether_sandbox.chaos import command as chaos
from tether_sandbox.database_roles import with_roles
from tether_sandbox.demo import demo
from tether_sandbox.gateway import command as gateway
from tether_sandbox.seed import seed
from tether_sandbox.services import running
from tether_sandbox.settings import ENVIRONMENT

__all__ = ["main"]

_UP = """\
Starts Postgres and Redis (unless DATABASE_URL and REDIS_URL are set), migrates the database, runs COMMAND with
the settings in its environment, and then stops what it started. The API key is "sandbox-key", the gateway's
password "sandbox-password". COMMAND connects to Postgres as the owner of the schema, or with --as as the role that the program has in
production, which may do no more than its queries need.

Without COMMAND it also starts web processes, a supervisor of workers and a simulated gateway, bills lists of debtors,
and prints the address of the console and a user to sign in as, with a password of this time, and a key for `tether`.

  tether-sandbox up
  tether-sandbox up -- bash
  tether-sandbox up -- sh -c 'tether-worker run webhooks & tether-web --port 8000'
  tether-sandbox up --as worker -- tether-worker doctor
"""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    Args:
        argv: Arguments without the program's name; `None` for those of the process.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, command = arguments[:cut], arguments[cut + 1 :]
    parser = _parser()
    args = parser.parse_args(arguments)
    if command and args.do is not _up:
        parser.error("only `up` takes a command after --")
    if args.do is _up:
        args.command += command
    code: int = done("tether-sandbox", lambda: args.do(args))
    return code


def _exit_on_signals() -> None:
    # After SIGTERM, or when its terminal closes, the program stops what it started, as after Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    sys.unraisablehook = _raise_again


def _raise_again(lost: "sys.UnraisableHookArgs") -> None:
    """Raise a request to stop once more that Python dropped because it came within a finalizer or a callback."""
    stop = lost.exc_value
    if not isinstance(stop, KeyboardInterrupt | SystemExit):
        sys.__unraisablehook__(lost)
        return

    def again(_number: int, _frame: FrameType | None) -> None:
        raise stop

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


# Long enough for the finalizer to end.
_AGAIN_S = 0.05


def _exit(number: int, _frame: FrameType | None) -> None:
    # Once: a second signal must not interrupt the clean-up.
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tether-sandbox",
        description="All of Tether on this machine: real Postgres and Redis, and a simulated gateway with faults.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    item = commands.add_parser("demo", help="run everything for a minute and check the result")
    item.add_argument(
        "--attempts", type=whole(1, 100_000), default=2000, help="payments (default: %(default)s)"
    )
    item.add_argument("--seed", type=int, default=1, help="same number, same run (default: %(default)s)")
    item.add_argument("--peaceful", action="store_true", help="without killing the worker and flushing Redis")
    item.add_argument(
        "--year",
        action="store_true",
        help="instead, a year of recurring collection with a clock that is moved",
    )
    item.add_argument(
        "--days",
        type=whole(year.DAYS_MIN, 365),
        default=365,
        help="length of the year (default: %(default)s)",
    )
    item.add_argument(
        "--debtors", type=whole(4, 200), default=24, help="debtors of the year (default: %(default)s)"
    )
    item.set_defaults(do=_demo)

    item = commands.add_parser(
        "up",
        help="start the services and run a command with their settings",
        description=_UP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="tether-sandbox up [--s3] [--services docker] [--keep DIR] [--port PORT] [--as PROGRAM] [--] [COMMAND ...]",
    )
    item.add_argument(
        "--s3", action="store_true", help="keep objects behind an S3 endpoint instead of in a folder"
    )
    item.add_argument(
        "--services", choices=("local", "docker"), default="local", help="where the services run"
    )
    item.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the data here and use it again next time"
    )
    item.add_argument(
        "--port",
        type=whole(1, 65_535),
        help="where the console listens, without COMMAND (default: a free port)",
    )
    item.add_argument(
        "--as",
        dest="program",
        choices=PROGRAMS,
        help="the program as whose role COMMAND connects to Postgres (default: as the owner of the schema)",
    )
    item.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command to run, with its options"
    )
    item.set_defaults(do=_up)

    item = commands.add_parser("seed", help="create debtors and pending attempts; print a JSON line for each")
    item.add_argument("--attempts", type=whole(1, 10_000_000), required=True, metavar="N", help="how many")
    item.add_argument("--seed", type=int, help="same number, same attempts (default: random)")
    item.set_defaults(do=_seed)

    item = commands.add_parser(
        "gateway",
        help="simulate the gateway, or send the notifications of seeded attempts",
        description="Without a subcommand: read attempts as `tether-sandbox seed` prints them and send their notifications.",
    )
    gateway.add_arguments(item)
    item.set_defaults(do=gateway.run)

    item = commands.add_parser(
        "receiver", help="receive events as a subscriber that misbehaves, and print a JSON line for each"
    )
    item.add_argument(
        "--port", type=whole(1, 65_535), default=8090, help="on 127.0.0.1 (default: %(default)s)"
    )
    item.add_argument(
        "--secret", action="append", default=[], help="verify signatures by it; may be repeated"
    )
    item.add_argument(
        "--fault", default="ok", help=f"how to answer: a status, or one of {', '.join(receiver.FAULTS)}"
    )
    item.add_argument(
        "--percent",
        type=whole(0, 100),
        default=100,
        help="requests that get the fault (default: %(default)s)",
    )
    item.set_defaults(do=_receiver)

    item = commands.add_parser(
        "chaos", help="kill, freeze and flush everything under load, then check the result"
    )
    chaos.add_arguments(item)
    item.set_defaults(do=_chaos)
    return parser


def _demo(args: argparse.Namespace) -> int:
    _exit_on_signals()
    if args.year:
        return year.run(
            year.YearScript(days=args.days, debtors=args.debtors, seed=args.seed), console=Console()
        )
    return demo(attempts=args.attempts, seed_number=args.seed, faults=not args.peaceful, console=Console())


def _chaos(args: argparse.Namespace) -> int:
    _exit_on_signals()
    return chaos.run(args)


def _receiver(args: argparse.Namespace) -> int:
    if args.fault.partition(":")[0] not in receiver.FAULTS and not re.fullmatch(
        r"[2-5][0-9]{2}(:[0-9]{1,6})?", args.fault
    ):
        raise InvalidRequest(f"use a status, or one of {', '.join(receiver.FAULTS)}", field="--fault")
    _exit_on_signals()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            receiver.run(
                port=args.port,
                secrets=args.secret,
                fault=args.fault,
                share=args.percent / 100,
                rng=random.Random(),
            )
        )
    return 0


def _up(args: argparse.Namespace) -> int:
    _exit_on_signals()
    # Services named in the environment are used as they are. Read their settings first, so that a wrong address fails at once.
    Settings.from_env({**ENVIRONMENT, **os.environ})
    if args.program and os.environ.get("DATABASE_URL"):
        # Roles that nobody ordered are not made in a database of the caller's.
        raise InvalidRequest(
            "cannot be used with the Postgres of DATABASE_URL; give DATABASE_URL the role that COMMAND is to have",
            field="--as",
        )
    if args.program and not args.command:
        raise InvalidRequest("needs a COMMAND; without one each program has its role anyway", field="--as")
    if args.keep:
        _make_folder(args.keep)
    if not args.command:
        with contextlib.suppress(KeyboardInterrupt):
            playground.run(
                Console(), port=args.port, folder=args.keep, s3=args.s3, docker=args.services == "docker"
            )
        return 0
    with running(os.environ, folder=args.keep, s3=args.s3, docker=args.services == "docker") as services:
        environment = {**ENVIRONMENT, **services.environment}
        # The caller's settings take precedence.
        environ = {**environment, **{name: value for name, value in os.environ.items() if value}}
        migrate(environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
        if args.program:
            url = with_roles(environ["DATABASE_DIRECT_URL"])[f"tether-{args.program}"]
            environ |= {"DATABASE_URL": url, "DATABASE_DIRECT_URL": url}
        return _run(args.command, environ)


def _make_folder(folder: Path) -> None:
    try:
        # Other users may pass through the folder but not list it: Postgres runs as another user when root starts it, and
        # each server protects its own folder.
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidRequest(f"{folder} cannot be created ({exc.strerror})", field="--keep") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidRequest(f"{folder} is not writable; choose another folder", field="--keep")


def _run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    # The console scripts are in the folder of this Python, which may not be on PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', '')}"
    try:
        child = subprocess.Popen(command, env={**environ, "PATH": path})
    except OSError as exc:
        print(f"tether-sandbox: {command[0]} cannot be started: {exc.strerror}", file=sys.stderr)
        return 127
    # The child gets the terminal's Ctrl-C itself; other signals are passed on.
    for received in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(received, lambda number, _: child.send_signal(number))
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue
        return code if code >= 0 else 128 - code


def _seed(args: argparse.Namespace) -> int:
    settings = Settings.from_env(os.environ)
    if not settings.database_url:
        raise InvalidRequest("DATABASE_URL is not set; run this under tether-sandbox up -- ...")
    number = args.seed if args.seed is not None else secrets.randbits(63)
    made = seed(
        settings.database_url,
        attempts=args.attempts,
        rng=random.Random(number),
        now=datetime.now(UTC),
        fingerprint_key=settings.fingerprint_key.encode(),
    )
    try:
        for seeded in made:
            print(msgspec.json.encode(seeded).decode())
    except psycopg.errors.UndefinedTable:
        raise InvalidRequest("the database has no tables yet; run tether-worker migrate first") from None
    except psycopg.OperationalError as exc:
        raise StoreUnreachable("postgres", why="no connection") from exc
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
