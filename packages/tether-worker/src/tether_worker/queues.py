"""
`tether-worker queues`: what waits on each queue, and pauses for all workers.

    tether-worker queues list
    tether-worker queues pause billing --reason "the bank is closed"
    tether-worker queues resume billing
"""

import argparse
import asyncio
import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from tether_core.errors import InvalidRequest
from tether_stores import audit, queues
from tether_stores.clock import timestamp
from tether_stores.postgres import connection, open_pool, transaction
from tether_stores.queues import ListedQueue
from tether_stores.settings import Settings

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add `queues` to a command line."""
    parser = commands.add_parser("queues", help="what waits on each queue; pause and resume one on all nodes")
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    item = kinds.add_parser("list", help="what waits, who serves it, and whether it is paused")
    item.add_argument("--json", action="store_true", help="for programs")
    item.set_defaults(do=_list, needs=("DATABASE_URL",))
    item = kinds.add_parser(
        "pause",
        help="begin nothing more of a queue; what is in progress ends",
        epilog='Example: tether-worker queues pause billing --reason "the bank is closed"',
    )
    item.add_argument("queue", choices=queues.NAMES, metavar="QUEUE", help=", ".join(queues.NAMES))
    item.add_argument("--reason", required=True, metavar="TEXT", help="why; stored with the pause")
    item.set_defaults(do=_pause, needs=("DATABASE_URL",))
    item = kinds.add_parser("resume", help="go on with a queue")
    item.add_argument("queue", choices=queues.NAMES, metavar="QUEUE", help=", ".join(queues.NAMES))
    item.set_defaults(do=_resume, needs=("DATABASE_URL",))


def _list(args: argparse.Namespace, settings: Settings) -> int:
    async def read() -> list[ListedQueue]:
        async with (
            open_pool(settings.database_url, name="tether-queues", max_size=1) as pool,
            connection(pool) as conn,
        ):
            return await queues.listed(conn, now=await timestamp(conn))

    found = asyncio.run(read())
    if args.json:
        sys.stdout.write(f"{msgspec.json.encode(found).decode()}\n")
        return 0
    table = Table("queue", "rows", "oldest", "workers", "")
    for item in found:
        pause = item.paused
        paused = (
            ""
            if pause is None
            else f"paused by {pause.paused_by} since {pause.paused_at:%Y-%m-%d %H:%M}: {pause.reason}"
        )
        table.add_row(item.name, f"{item.rows:,}", f"{item.oldest_s:.0f} s", str(item.workers), paused)
    Console().print(table)
    return 0


def _pause(args: argparse.Namespace, settings: Settings) -> int:
    reason = " ".join(args.reason.split())
    if not reason or not reason.isprintable() or len(reason) > 500:
        raise InvalidRequest("say why, in at most 500 printable characters", field="--reason")

    async def write() -> None:
        async with (
            open_pool(settings.database_url, name="tether-queues", max_size=1) as pool,
            transaction(pool) as conn,
        ):
            actor, now = audit.operator(), await timestamp(conn)
            by = f"command line of {actor.label}"
            await queues.pause(conn, args.queue, paused_by=by, reason=reason, now=now)
            await audit.record(
                conn,
                actor,
                "queue.paused",
                subject="queue",
                subject_id=args.queue,
                reason=reason,
                now=now,
            )

    asyncio.run(write())
    sys.stdout.write(f"{args.queue} is paused; workers begin nothing more of it within seconds\n")
    return 0


def _resume(args: argparse.Namespace, settings: Settings) -> int:
    async def write() -> None:
        async with (
            open_pool(settings.database_url, name="tether-queues", max_size=1) as pool,
            transaction(pool) as conn,
        ):
            await queues.resume(conn, args.queue)
            await audit.record(
                conn,
                audit.operator(),
                "queue.resumed",
                subject="queue",
                subject_id=args.queue,
                now=await timestamp(conn),
            )

    asyncio.run(write())
    sys.stdout.write(f"{args.queue} is resumed; workers go on within seconds\n")
    return 0
