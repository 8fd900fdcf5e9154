"""
`tether-worker chargebacks forgive ATTEMPT`: forgive a chargeback, so that it no longer excludes its account.

    tether-worker chargebacks forgive 4711 --reason "paid the return fee, signed a new mandate" --by ada

The same as `POST /api/billing-attempts/4711/forgive`. Blacklist entries stay; lifting an entry can forgive its chargebacks, too.
"""

import argparse
import asyncio
import sys
from typing import Any

import msgspec
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_stores import audit
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.payments import forgiven_disputes
from tether_stores.payments.forgiven_disputes import Forgiven
from tether_stores.postgres import open_pool, transaction
from tether_stores.settings import Settings

__all__ = ["add_commands", "forgive"]


async def forgive(settings: Settings, attempt_id: int, *, by: str, reason: str) -> Forgiven:
    """
    Forgive the chargeback of a debit.

    Args:
        by: Who forgives it.
        reason: Why.

    Raises:
        InvalidRequest: when there is no such debit, or a text is missing or too long.
        IllegalStep: when it is not charged back.
        StoreUnreachable: when Postgres does not answer.
    """
    name = " ".join(by.split())
    if not name or not name.isprintable():
        raise InvalidRequest("say who forgives it", field="--by")
    async with (
        open_pool(settings.database_url, name="tether-chargebacks", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        now = await timestamp(conn)
        found = await forgiven_disputes.forgive(
            conn, attempt_id, by=name, reason=" ".join(reason.split()), now=now
        )
        if found is None:
            raise InvalidRequest("there is no such billing attempt", field=str(attempt_id))
        await audit.record(
            conn,
            audit.operator(),
            "chargeback.forgiven",
            subject="attempt",
            subject_id=attempt_id,
            reason=reason,
            after=facts(by=name, is_new=found.is_new),
            now=now,
        )
    return found


def add_commands(commands: Any) -> None:
    """Add `chargebacks forgive` to the command line."""
    parser = commands.add_parser("chargebacks", help="debits that were charged back")
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    item = kinds.add_parser(
        "forgive",
        help="forgive a chargeback, so that it no longer excludes its account",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    item.add_argument("attempt_id", type=whole(1, 2**63 - 1), metavar="ATTEMPT")
    item.add_argument("--reason", required=True, metavar="TEXT", help="why; kept")
    item.add_argument("--by", required=True, metavar="NAME", help="who forgives it; kept")
    item.add_argument("--json", action="store_true", help="for programs")
    item.set_defaults(do=_forgive, needs=("DATABASE_URL",))


def _forgive(args: argparse.Namespace, settings: Settings) -> int:
    found = asyncio.run(forgive(settings, args.attempt_id, by=args.by, reason=args.reason))
    if args.json:
        sys.stdout.write(f"{msgspec.json.encode(found).decode()}\n")
        return 0
    before = "" if found.is_new else f" (since {found.forgiven_at:%Y-%m-%d}, by {found.forgiven_by})"
    sys.stdout.write(f"the chargeback of attempt {found.attempt_id} is forgiven{before}\n")
    if found.unforgiven:
        sys.stdout.write(f"{found.unforgiven} other chargebacks of the account still exclude it\n")
    if found.still_held_by:
        entries = ", ".join(str(entry_id) for entry_id in found.still_held_by)
        sys.stdout.write(f"active blacklist entries of the account: {entries}\n")
    return 0
