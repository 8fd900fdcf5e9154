"""
`tether-worker withdraw`: take an upload back, as long as nothing of it was submitted.

    tether-worker withdraw 7 --by ada --reason "the list of last month"

Its debtors count for nothing from then on, its runs are cancelled, and the file can be handed in again, corrected or not. The same as
`DELETE /api/uploads/7`.
"""

import argparse
import asyncio
import sys
from typing import Any

from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_stores import audit
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.postgres import open_pool, transaction
from tether_stores.settings import Settings
from tether_stores.uploads import withdrawals
from tether_stores.uploads.withdrawals import Withdrawn

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add `withdraw` to a command line."""
    parser = commands.add_parser(
        "withdraw",
        help="take an upload back, as long as nothing of it was submitted",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("upload_id", type=whole(1, 2**63 - 1), metavar="UPLOAD")
    parser.add_argument("--by", required=True, metavar="NAME", help="who wants it; kept")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; kept")
    parser.set_defaults(do=_withdraw, needs=("DATABASE_URL",))


def _withdraw(args: argparse.Namespace, settings: Settings) -> int:
    by, reason = " ".join(args.by.split()), " ".join(args.reason.split())
    if not by or not reason:
        raise InvalidRequest("say who wants it (--by) and why (--reason)")
    done = asyncio.run(_withdrawn(args.upload_id, settings, by=by, reason=reason))
    if done is None:
        raise InvalidRequest("there is no such upload", field=str(args.upload_id))
    if not done.is_new:
        sys.stdout.write(f"upload {args.upload_id} was withdrawn before\n")
        return 0
    runs = ", ".join(str(run_id) for run_id in done.cancelled)
    sys.stdout.write(f"upload {args.upload_id} is withdrawn{f'; cancelled: run {runs}' if runs else ''}\n")
    return 0


async def _withdrawn(upload_id: int, settings: Settings, *, by: str, reason: str) -> Withdrawn | None:
    async with (
        open_pool(settings.database_url, name="tether-withdraw", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        now = await timestamp(conn)
        done = await withdrawals.withdraw(conn, upload_id, withdrawn_by=by, reason=reason, now=now)
        if done is not None and done.is_new:
            await audit.record(
                conn,
                audit.operator(),
                "upload.withdrawn",
                subject="upload",
                subject_id=upload_id,
                reason=reason,
                after=facts(by=by, cancelled_runs=len(done.cancelled)),
                now=now,
            )
    return done
