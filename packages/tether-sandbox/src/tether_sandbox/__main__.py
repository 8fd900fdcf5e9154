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

import msgspec
from rich.console import Console
from tether_core.errors import TetherError
from tether_stores.migrate import migrate
from tether_stores.settings import Settings

from tether_sandbox.demo import demo
from tether_sandbox.gateway import command as gateway
from tether_sandbox.seed import seed
from tether_sandbox.services import running
from tether_sandbox.settings import ENVIRONMENT
from tether_sandbox.storm import command as storm

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
    args = _parser().parse_args(arguments)
    args.command = command
    try:
        code: int = args.do(args)
    except TetherError as problem:
        print(f"tether-sandbox: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tether-sandbox",
        description="The whole of Tether on this machine: real Postgres and Redis, and a gateway that misbehaves.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("demo", help="watch it all for a minute, and see the books agree")
    one.add_argument("--attempts", type=int, default=2000, help="payments (default: %(default)s)")
    one.add_argument("--seed", type=int, default=1, help="same number, same run (default: %(default)s)")
    one.add_argument("--peaceful", action="store_true", help="kill nothing and flush nothing on the way")
    one.set_defaults(do=_demo)

    one = commands.add_parser(
        "up",
        help="services up, their environment set for a command",
        description=_UP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="tether-sandbox up [--s3] [--services docker] [--keep DIR] [-- COMMAND ...]",
    )
    one.add_argument("--s3", action="store_true", help="objects behind an S3 endpoint instead of a folder")
    one.add_argument(
        "--services", choices=("local", "docker"), default="local", help="who brings the services"
    )
    one.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the data here, and use it again next time"
    )
    one.set_defaults(do=_up)

    one = commands.add_parser("seed", help="make debtors and pending attempts; one JSON line each")
    one.add_argument("--attempts", type=int, required=True, metavar="N", help="how many")
    one.add_argument("--seed", type=int, help="same number, same attempts (default: a new one each time)")
    one.set_defaults(do=_seed)

    one = commands.add_parser(
        "gateway",
        help="send the notifications of seeded attempts, with malice",
        description="Reads attempts as `tether-sandbox seed` prints them and sends their notifications.",
    )
    gateway.add_arguments(one)
    one.set_defaults(do=gateway.run)

    one = commands.add_parser(
        "storm", help="kill, freeze and flush everything under load, and see the books agree"
    )
    storm.add_arguments(one)
    one.set_defaults(do=storm.run)
    return parser


def _demo(args: argparse.Namespace) -> int:
    return demo(attempts=args.attempts, seed_number=args.seed, faults=not args.peaceful, console=Console())


def _up(args: argparse.Namespace) -> int:
    with running(os.environ, folder=args.keep, s3=args.s3, docker=args.services == "docker") as services:
        environment = {**ENVIRONMENT, **services.environment}
        # What the caller set stands; only what is missing is made up.
        environ = {**environment, **{name: value for name, value in os.environ.items() if value}}
        migrate(environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
        if not args.command:
            return _wait(environment)
        return _run(args.command, environ)


def _wait(environment: Mapping[str, str]) -> int:
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}")
    print("\nEverything runs until Ctrl-C.", file=sys.stderr, flush=True)
    sys.stdout.flush()
    received = signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0 if received == signal.SIGINT else 128 + received


def _run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    # Our own console scripts lie beside the Python that runs this, whether or not that folder is on PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', '')}"
    try:
        child = subprocess.Popen(command, env={**environ, "PATH": path})
    except OSError as problem:
        print(f"tether-sandbox: {command[0]} cannot be started: {problem.strerror}", file=sys.stderr)
        return 127
    # The child gets the terminal's Ctrl-C itself; a SIGTERM to us alone is passed on.
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            continue
        return code if code >= 0 else 128 - code


def _seed(args: argparse.Namespace) -> int:
    settings = Settings.from_env(os.environ)
    if not settings.database_url:
        print("tether-sandbox: DATABASE_URL must be set, e.g. by tether-sandbox up -- ...", file=sys.stderr)
        return 2
    number = args.seed if args.seed is not None else secrets.randbits(63)
    made = seed(
        settings.database_url,
        attempts=args.attempts,
        chance=random.Random(number),
        now=datetime.now(UTC),
        fingerprint_key=settings.fingerprint_key.encode(),
    )
    for one in made:
        print(msgspec.json.encode(one).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
