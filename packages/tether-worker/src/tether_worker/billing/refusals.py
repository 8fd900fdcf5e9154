"""
`tether-worker refusals release UPLOAD`: release the refusals that stop an upload's next run.

    tether-worker refusals release 7 --reason "mandates corrected" --by ada

When much of a run is refused, the run is paused, and its refusals count for the other runs of the upload for 24 hours
(`tether_core.billing.auto_pause`). A person who has corrected the cause releases them, with a reason that is kept with the runs.
"""

import argparse
import asyncio
import sys
from typing import Any

from tether_core.audit import facts
from tether_core.billing.auto_pause import RunCounts
from tether_core.errors import InvalidRequest
from tether_stores import audit
from tether_stores.billing import billing_runs
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.payments import billing_run_counts
from tether_stores.postgres import open_pool, transaction
from tether_stores.settings import Settings

__all__ = ["add_commands", "release"]

_REASON_MAX = 500


async def release(settings: Settings, upload_id: int, *, by: str, reason: str) -> list[RunCounts]:
    """
    Release the refusals of an upload's runs.

    Args:
        by: Who releases them.
        reason: Why its runs may go on.

    Returns:
        The counts of the runs that had refusals since they were last released.

    Raises:
        InvalidRequest: when there is no such upload, or a text is missing, too long or cannot be printed.
        StoreUnreachable: when Postgres is away; nothing was released.
    """
    for field, text in (("--by", by), ("--reason", reason)):
        if not text.strip() or len(text) > _REASON_MAX or not text.isprintable():
            raise InvalidRequest(f"give 1 to {_REASON_MAX} printable characters", field=field)
    async with (
        open_pool(settings.database_url, name="tether-refusals", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        if await billing_runs.upload_state(conn, upload_id) is None:
            raise InvalidRequest("there is no such upload", field="UPLOAD")
        now = await timestamp(conn)
        released = await billing_run_counts.release(conn, upload_id, by=by, reason=reason, now=now)
        await audit.record(
            conn,
            audit.operator(),
            "refusals.released",
            subject="upload",
            subject_id=upload_id,
            reason=reason,
            after=facts(by=by, runs=len(released), refused=sum(counts.refused for counts in released)),
            now=now,
        )
    return released


def add_commands(commands: Any) -> None:
    """Add `refusals release` to the command line."""
    refusals = commands.add_parser("refusals", help="debits that the gateway refused")
    kinds = refusals.add_subparsers(required=True, metavar="COMMAND")
    parser = kinds.add_parser(
        "release", help="release the refusals that stop an upload's next run", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("upload_id", type=whole(1, 2**63 - 1), metavar="UPLOAD", help="the upload")
    parser.add_argument(
        "--reason", required=True, metavar="TEXT", help="why its runs may go on; kept with them"
    )
    parser.add_argument("--by", required=True, metavar="NAME", help="who releases them; kept with them")
    parser.set_defaults(do=_release, needs=("DATABASE_URL",))


def _release(args: argparse.Namespace, settings: Settings) -> int:
    released = asyncio.run(release(settings, args.upload_id, by=args.by, reason=args.reason))
    for counts in released:
        sys.stdout.write(
            f"run {counts.run_id}: {counts.refused} of {counts.answered} debits that were answered were refused\n"
        )
    sys.stdout.write(f"released the refusals of {len(released)} runs\n")
    return 0
