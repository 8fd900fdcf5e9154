"""`tether-sandbox`: everything on this machine, with nothing installed."""

import argparse
import os
import random
import secrets
import shlex
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
from tether_stores.settings import Settings

from tether_sandbox.chaos import command as storm
from tether_sandbox.demo import demo
from tether_sandbox.gateway import command as gateway
from tether_sandbox.seed import seed
from tether_sandbox.services import running
from tether_sandbox.settings import ENVIRONMENT

__all__ = ["main"]

_UP = """\
Starts Postgres and Redis (unless DATABASE_URL and REDIS_URL name some), migrates the database, runs COMMAND with
everything in its environment, and stops what it started afterwards. Without COMMAND it prints the environment
and waits for Ctrl-C. The API key is "sandbox-key", the gateway's password "sandbox-password".

  tether-sandbox up -- bash
  tether-sandbox up -- sh -c 'tether-worker run webhooks & tether-web --port 8000'
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


def _end_tidily() -> None:
    # Told to end, or left by its terminal, a program stops what it started, as after Ctrl-C.
    for which in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, _leave)


def _leave(which: int, _frame: FrameType | None) -> None:
    # Once: whoever is impatient must not interrupt the tidying up.
    signal.signal(which, signal.SIG_IGN)
    raise SystemExit(128 + which)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tether-sandbox",
        description="The whole of Tether on this machine: real Postgres and Redis, and a gateway that misbehaves.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    item = commands.add_parser("demo", help="watch it all for a minute, and see the books agree")
    item.add_argument(
        "--attempts", type=whole(1, 100_000), default=2000, help="payments (default: %(default)s)"
    )
    item.add_argument("--seed", type=int, default=1, help="same number, same run (default: %(default)s)")
    item.add_argument("--peaceful", action="store_true", help="kill nothing and flush nothing on the way")
    item.set_defaults(do=_demo)

    item = commands.add_parser(
        "up",
        help="services up, their environment set for a command",
        description=_UP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="tether-sandbox up [--s3] [--services docker] [--keep DIR] [--] [COMMAND ...]",
    )
    item.add_argument("--s3", action="store_true", help="objects behind an S3 endpoint instead of a folder")
    item.add_argument(
        "--services", choices=("local", "docker"), default="local", help="who brings the services"
    )
    item.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the data here, and use it again next time"
    )
    item.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, with its options"
    )
    item.set_defaults(do=_up)

    item = commands.add_parser("seed", help="make debtors and pending attempts; one JSON line each")
    item.add_argument("--attempts", type=whole(1, 10_000_000), required=True, metavar="N", help="how many")
    item.add_argument("--seed", type=int, help="same number, same attempts (default: a new one each time)")
    item.set_defaults(do=_seed)

    item = commands.add_parser(
        "gateway",
        help="send the notifications of seeded attempts, with fault injection",
        description="Reads attempts as `tether-sandbox seed` prints them and sends their notifications.",
    )
    gateway.add_arguments(item)
    item.set_defaults(do=gateway.run)

    item = commands.add_parser(
        "chaos", help="kill, freeze and flush everything under load, and see the books agree"
    )
    storm.add_arguments(item)
    item.set_defaults(do=_chaos)
    return parser


def _demo(args: argparse.Namespace) -> int:
    _end_tidily()
    return demo(attempts=args.attempts, seed_number=args.seed, faults=not args.peaceful, console=Console())


def _chaos(args: argparse.Namespace) -> int:
    _end_tidily()
    return storm.run(args)


def _up(args: argparse.Namespace) -> int:
    _end_tidily()
    # What is named is used as it is, so it is read first: a wrong address must not wait for the others to start.
    Settings.from_env({**ENVIRONMENT, **os.environ})
    if args.keep:
        _kept(args.keep)
    with running(os.environ, folder=args.keep, s3=args.s3, docker=args.services == "docker") as services:
        environment = {**ENVIRONMENT, **services.environment}
        # What the caller set stands; only what is missing is made up.
        environ = {**environment, **{name: value for name, value in os.environ.items() if value}}
        migrate(environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
        if not args.command:
            return _wait(environment)
        return _run(args.command, environ)


def _kept(folder: Path) -> None:
    try:
        # Others may pass through it and see nothing: Postgres runs as another user where root starts it, and each server
        # closes its own folder.
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidRequest(f"{folder} cannot be made a folder ({exc.strerror})", field="--keep") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidRequest(f"nothing can be written to {folder}; choose another folder", field="--keep")


def _wait(environment: Mapping[str, str]) -> int:
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}")
    print("\nEverything runs until Ctrl-C.", file=sys.stderr, flush=True)
    sys.stdout.flush()
    received = signal.sigwait({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    return 0 if received == signal.SIGINT else 128 + received


def _run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    # Our own console scripts lie beside the Python that runs this, whether or not that folder is on PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', '')}"
    try:
        child = subprocess.Popen(command, env={**environ, "PATH": path})
    except OSError as exc:
        print(f"tether-sandbox: {command[0]} cannot be started: {exc.strerror}", file=sys.stderr)
        return 127
    # The child gets the terminal's Ctrl-C itself; what comes to us alone is passed on.
    for which in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, lambda number, _: child.send_signal(number))
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue
        return code if code >= 0 else 128 - code


def _seed(args: argparse.Namespace) -> int:
    settings = Settings.from_env(os.environ)
    if not settings.database_url:
        raise InvalidRequest("DATABASE_URL must be set, e.g. by tether-sandbox up -- ...")
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
