"""`tether-worker`: migrate the database, run queues, show the status, and commands for operators."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import msgspec
import uvloop
from tether_core import __version__
from tether_core.errors import InvalidRequest
from tether_core.jobs import Queue
from tether_core.scaling import WorkerPool, parse_pools, read_pools
from tether_stores import telemetry
from tether_stores.command_line import day, done, whole
from tether_stores.migrate import migrate
from tether_stores.privileges import Program, grant_all
from tether_stores.settings import Settings
from tether_stores.traces import spans

from tether_worker import (
    accounts,
    debtor_edits,
    doctor,
    fingerprint_key,
    inquiry_orders,
    people,
    queues,
    secrets_key,
    stated_outcomes,
)
from tether_worker.app import Clock
from tether_worker.billing import refusals
from tether_worker.commands import (
    acknowledge_difference,
    completeness,
    open_differences,
    request_checks,
    request_report_fetches,
)
from tether_worker.erasures import commands as erasures
from tether_worker.payments import chargebacks, import_debits
from tether_worker.process import Supervised, work_until_stopped
from tether_worker.reconciliation.completeness import exit_code as completeness_code
from tether_worker.reconciliation.completeness import show as show_completeness
from tether_worker.reconciliation.differences import show as show_differences
from tether_worker.retention import commands as retention
from tether_worker.scaling import children
from tether_worker.scaling.supervisor import supervise_until_stopped
from tether_worker.status import show, status
from tether_worker.uploads import import_local, questions, withdrawals

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, *, clock: Clock = lambda: datetime.now(UTC)) -> int:
    """
    Run the command line.

    Args:
        argv: Arguments without the program's name; `None` for those of the process.
        clock: This machine's clock, aware, UTC; tests pass a wrong one.

    Returns:
        The exit code: 0 done, 2 the input must change, 75 a service is unavailable, or a worker is to be started again.
    """
    args = _parser().parse_args(argv)
    args.clock = clock

    def work() -> int:
        settings = Settings.from_env(os.environ)
        if argv is None:  # a process of its own: its log goes to stderr, beside what the command prints
            telemetry.configure(level=settings.log_level, program="tether-worker")
        _require(settings, *args.needs)
        code: int = args.do(args, settings)
        return code

    return done("tether-worker", work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tether-worker",
        description="Runs Tether's background jobs.",
        epilog="Settings come from the environment (docs/reference/settings.md).",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    item = commands.add_parser(
        "run",
        help="run the jobs of some queues until SIGTERM",
        epilog="Example: tether-worker run webhooks billing",
    )
    item.add_argument(
        "queues", nargs="+", metavar="QUEUE", choices=get_args(Queue), help=", ".join(get_args(Queue))
    )
    item.add_argument(
        "--grace",
        type=whole(1, 3_600),
        default=20,
        metavar="SECONDS",
        help="time to finish on SIGTERM (default: %(default)s)",
    )
    item.add_argument(
        "--supervised",
        type=_supervised,
        metavar="IDS",
        help="who started it; set by tether-worker supervise",
    )
    item.add_argument(
        "--lifeline",
        type=whole(0),
        metavar="FD",
        help="a pipe; the worker ends when it is closed; set by tether-worker supervise",
    )
    item.set_defaults(do=_run, needs=("DATABASE_URL", "REDIS_URL"))

    item = commands.add_parser(
        "supervise",
        help="keep as many workers as the work needs, by pools of queues, until SIGTERM",
        epilog="Example: tether-worker supervise --pools webhooks:2-5,billing+reconciliation:3-10,default+vop:2-8",
    )
    item.add_argument(
        "--pools",
        metavar="POOLS",
        help="pools, or the path of a TOML file with them (default: TETHER_WORKER_POOLS)",
    )
    item.add_argument(
        "--grace",
        type=whole(1, 3_600),
        default=20,
        metavar="SECONDS",
        help="time for a worker to finish what is in progress (default: %(default)s)",
    )
    item.set_defaults(do=_supervise, needs=("DATABASE_URL", "REDIS_URL"))

    item = commands.add_parser(
        "migrate", help="bring the database up to date", epilog="Example: tether-worker migrate --phase pre"
    )
    item.add_argument("--phase", choices=("pre", "post"), help="only migrations before, or after, a deploy")
    item.set_defaults(do=_migrate, needs=("DATABASE_URL",))

    item = commands.add_parser(
        "status",
        help="the state of inbox, attempts, runs, refunds and gateway accounts",
        epilog="Example: tether-worker status --json",
    )
    item.add_argument("--json", action="store_true", help="for programs")
    item.set_defaults(do=_status, needs=("DATABASE_URL",))

    item = commands.add_parser(
        "completeness",
        help="whether Tether has everything that the gateway's reports list; exit code 1 where something is missing or "
        "differs, 75 while reports are being fetched",
        epilog="Example: tether-worker completeness --from 2026-11-01 --to 2026-11-30",
    )
    _add_days(item)
    item.add_argument("--json", action="store_true", help="for programs")
    item.set_defaults(do=_completeness, needs=("DATABASE_URL",))

    item = commands.add_parser(
        "fetch-reports",
        help="fetch the gateway's reports of some days, on queue reconciliation",
        epilog="Example: tether-worker fetch-reports --from 2026-11-01 --to 2026-11-30",
    )
    _add_days(item)
    item.set_defaults(do=_report_fetch, needs=("DATABASE_URL",))

    item = commands.add_parser(
        "differences",
        help="list open reconciliation differences, or acknowledge one; exit code 1 where any is open",
        epilog='Example: tether-worker differences --acknowledge 12 --reason "fixed in the back office"',
    )
    item.add_argument("--json", action="store_true", help="for programs")
    item.add_argument(
        "--acknowledge",
        type=whole(1, 2**63 - 1),
        metavar="ID",
        help="acknowledge this difference",
    )
    item.add_argument("--reason", default="", metavar="TEXT", help="what was found; with --acknowledge")
    item.add_argument(
        "--order-again",
        action="store_true",
        help="with --acknowledge: the refund that failed may be ordered once more",
    )
    item.set_defaults(do=_differences, needs=("DATABASE_URL",))

    subjects = commands.add_parser("vop", help="checks of name and account").add_subparsers(
        required=True, metavar="COMMAND"
    )
    item = subjects.add_parser(
        "check",
        help="check the accounts of an upload's debtors, on queue vop",
        epilog="Example: tether-worker vop check 7 --again",
    )
    item.add_argument("upload_id", type=whole(1, 2**63 - 1), metavar="UPLOAD")
    item.add_argument("--again", action="store_true", help="also accounts that were checked before")
    item.set_defaults(do=_check, needs=("DATABASE_URL",))

    for subject in (
        queues,
        doctor,
        accounts,
        import_local,
        fingerprint_key,
        secrets_key,
        withdrawals,
        debtor_edits,
        import_debits,
        inquiry_orders,
        refusals,
        questions,
        chargebacks,
        stated_outcomes,
        people,
        retention,
        erasures,
    ):
        subject.add_commands(commands)
    return parser


def _add_days(parser: argparse.ArgumentParser) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    for name, which in (("from", "first"), ("to", "last")):
        parser.add_argument(
            f"--{name}",
            type=day,
            default=yesterday,
            dest=f"{name}_on",
            metavar="YYYY-MM-DD",
            help=f"the {which} day, UTC (default: yesterday)",
        )


def _require(settings: Settings, *names: str) -> None:
    held = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    missing = [name for name in names if not held[name]]
    if missing:
        raise InvalidRequest(
            f"{' and '.join(missing)} must be set. To try it without services of your own: "
            "tether-sandbox up -- tether-worker ..."
        )


def _supervised(text: str) -> Supervised:
    parts = text.split(":")
    if len(parts) != 4:
        raise argparse.ArgumentTypeError("is set by tether-worker supervise; leave it out")
    return Supervised(*parts)


def _run(args: argparse.Namespace, settings: Settings) -> int:
    telemetry.configure(level=settings.log_level, program="tether-worker")
    if args.lifeline is not None:
        children.follow(args.lifeline, grace_s=args.grace)
    spans.configure(settings.traces, program="tether-worker")
    try:
        is_restarted = uvloop.run(
            work_until_stopped(
                settings,
                queues=args.queues,
                grace_s=args.grace,
                own_clock=args.clock,
                supervised=args.supervised,
            )
        )
    finally:
        spans.close()
    # A service manager that restarts on failure only would take 0 for the end.
    return 75 if is_restarted else 0


def _supervise(args: argparse.Namespace, settings: Settings) -> int:
    telemetry.configure(level=settings.log_level, program="tether-worker")
    pools = _pools(settings.worker_pools if args.pools is None else args.pools)
    uvloop.run(
        supervise_until_stopped(
            settings, pools=pools, grace_s=args.grace, environ=os.environ, own_clock=args.clock
        )
    )
    return 0


def _pools(text: str) -> dict[str, WorkerPool]:
    """
    Read pools from a line or a file.

    Raises:
        InvalidRequest: naming the pool or the file, and what to change.
    """
    if not text.endswith(".toml"):
        return parse_pools(text)
    try:
        data = Path(text).read_bytes()
    except OSError as exc:
        raise InvalidRequest(
            f"the file {text} cannot be read: {os.strerror(exc.errno or 0)}", field="TETHER_WORKER_POOLS"
        ) from None
    return read_pools(data)


def _migrate(args: argparse.Namespace, settings: Settings) -> int:
    applied = migrate(settings.database_direct_url, now=datetime.now(UTC), phase=args.phase)
    for name in applied:
        print(f"applied {name}")
    roles: dict[Program, str] = {"web": settings.web_role, "worker": settings.worker_role}
    passwords: dict[Program, str] = {
        "web": settings.web_role_password,
        "worker": settings.worker_role_password,
    }
    keeps = args.phase == "pre"  # yesterday's code still runs
    for role in grant_all(settings.database_direct_url, roles, passwords=passwords, keeps=keeps):
        print(f"granted what {role} needs" + ("" if keeps else ", and nothing else"))
    print(
        "the database is up to date" if not applied else f"{len(applied)} applied; the database is up to date"
    )
    return 0


def _status(args: argparse.Namespace, settings: Settings) -> int:
    found = asyncio.run(status(settings))
    if args.json:
        print(msgspec.json.encode(found).decode())
    else:
        show(found)
    return 0


def _completeness(args: argparse.Namespace, settings: Settings) -> int:
    result = asyncio.run(completeness(settings, from_on=args.from_on, to_on=args.to_on))
    if args.json:
        print(msgspec.json.encode(result).decode())
    else:
        show_completeness(result)
    return completeness_code(result)


def _differences(args: argparse.Namespace, settings: Settings) -> int:
    if args.acknowledge is not None:
        line = asyncio.run(
            acknowledge_difference(
                settings, args.acknowledge, reason=args.reason, order_again=args.order_again
            )
        )
        print(f"difference {line.id} is acknowledged")
        return 0
    lines = asyncio.run(open_differences(settings))
    if args.json:
        print(msgspec.json.encode(lines).decode())
    else:
        show_differences(lines)
    return 1 if lines else 0


def _report_fetch(args: argparse.Namespace, settings: Settings) -> int:
    wanted = asyncio.run(request_report_fetches(settings, from_on=args.from_on, to_on=args.to_on))
    print(f"{wanted} reports will be fetched; `tether-worker completeness` shows when they have been")
    return 0


def _check(args: argparse.Namespace, settings: Settings) -> int:
    wanted = asyncio.run(request_checks(settings, upload_id=args.upload_id, again=args.again))
    print(f"{wanted} accounts will be checked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
