"""
`tether-worker inquire`: order status inquiries about a debit, a run or an upload; and the job that makes them.

    tether-worker inquire --run 7 --by ada --reason "the bank says that it was credited"

The same as `POST /api/billing-runs/7/inquiry`. Queue reconciliation makes the inquiries, within the account's rate.
"""

import argparse
import asyncio
import sys
from typing import Any, Final

from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.inquiry_orders import Inquired, Scope
from tether_core.jobs import INQUIRE
from tether_core.payments.submission import SubmissionRules
from tether_stores import audit, inquiry_orders
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.inquiry_orders import InquiryOrder
from tether_stores.postgres import connection, open_pool, transaction
from tether_stores.settings import Settings
from tether_stores.telemetry import logger

from tether_worker.gateway import inquiry_batch
from tether_worker.gateway.status_inquiry import InquiryDeps
from tether_worker.jobs.run import Work
from tether_worker.reconciliation.attempts import reconcile

__all__ = ["add_commands", "inquire_ordered", "inquiring_ordered"]

_TEXT_MAX: Final = 500
_RULES: Final = SubmissionRules()
_log = logger("inquiries")


def inquiring_ordered(deps: InquiryDeps, *, rules: SubmissionRules = _RULES) -> Work:
    """
    The job that makes ordered inquiries.

    Args:
        rules: When "not found" counts.
    """

    async def run_batch() -> int:
        return await inquire_ordered(deps, rules=rules)

    async def has_pending() -> bool:
        return await inquiry_batch.any_due(deps, inquiry_orders.INQUIRIES)

    return Work(INQUIRE, run_batch, has_pending)


async def inquire_ordered(deps: InquiryDeps, *, rules: SubmissionRules = _RULES) -> int:
    """
    Make inquiries that a person has ordered, as `tether_worker.reconciliation.attempts` does by schedule.

    Returns:
        How many were made or given up.

    Raises:
        Unavailable: when Postgres is away; they become due again.
    """
    async with connection(deps.pool) as conn:
        given_up = await inquiry_orders.give_up(conn, now=deps.clock())
    if given_up:
        _log.warning("ordered inquiries given up", debits=given_up)
    return given_up + await reconcile(deps, rules=rules, table=inquiry_orders.INQUIRIES)


def add_commands(commands: Any) -> None:
    """Add `inquire` to a command line."""
    parser = commands.add_parser(
        "inquire",
        help="order status inquiries about a debit, a run or an upload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    for scope, text in (("attempt", "a debit"), ("run", "a billing run"), ("upload", "an upload")):
        subject.add_argument(f"--{scope}", type=whole(1, 2**63 - 1), metavar="ID", help=text)
    parser.add_argument(
        "--submitted",
        action="store_true",
        help="of a run or an upload: all debits that were submitted, not only those of open outcome",
    )
    parser.add_argument("--by", required=True, metavar="NAME", help="who wants it; kept")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; kept")
    parser.set_defaults(do=_inquire, needs=("DATABASE_URL",))


def _inquire(args: argparse.Namespace, settings: Settings) -> int:
    by, reason = " ".join(args.by.split()), " ".join(args.reason.split())
    for field, text in (("--by", by), ("--reason", reason)):
        if not text or len(text) > _TEXT_MAX or not text.isprintable():
            raise InvalidRequest(f"give 1 to {_TEXT_MAX} printable characters", field=field)
    scopes: tuple[Scope, ...] = ("attempt", "run", "upload")
    scope = next(scope for scope in scopes if getattr(args, scope) is not None)
    subject_id: int = getattr(args, scope)
    what: Inquired = "submitted" if args.submitted else "open"
    made = asyncio.run(_ordered(settings, scope, subject_id, what=what, by=by, reason=reason))
    if made is None:
        raise InvalidRequest(f"there is no {scope} with this id", field=f"--{scope}")
    more = "; order again for the others" if made.more else ""
    sys.stdout.write(f"inquiry {made.id}: {made.debits:,} debits will be inquired{more}\n")
    return 0


async def _ordered(
    settings: Settings, scope: Scope, subject_id: int, *, what: Inquired, by: str, reason: str
) -> InquiryOrder | None:
    async with (
        open_pool(settings.database_url, name="tether-inquire", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        now = await timestamp(conn)
        made = await inquiry_orders.order(
            conn, scope, subject_id, what=what, ordered_by=by, reason=reason, now=now
        )
        if made is not None:
            await audit.record(
                conn,
                audit.operator(),
                "inquiry.ordered",
                subject=scope,
                subject_id=subject_id,
                reason=reason,
                after=facts(by=by, inquiry_id=made.id, what=what, debits=made.debits),
                now=now,
            )
    return made
