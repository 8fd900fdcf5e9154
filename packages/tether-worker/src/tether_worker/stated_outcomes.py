"""
`tether-worker outcome`: state the outcome of a debit, refund or void that cannot be inquired any more.

    tether-worker outcome debit 4711 --approved 44177a21403427eb96664a6d7e5d5d48 --reason "back office, 3 November" --by ada
    tether-worker outcome debit 4712 --never-arrived --reason "not in the back office, asked support" --by ada
    tether-worker outcome refund 12 --declined --reason "back office" --by ada

The same as `POST /api/billing-attempts/{id}/outcome` and `POST /api/refunds/{id}/outcome`. `tether-worker differences` lists what is
unreachable. It is refused while a configured terminal, login and address can be inquired.
"""

import argparse
import asyncio
import sys
from typing import Any, Literal

import msgspec
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.stated_outcomes import StatedOutcome, Statement, statement
from tether_stores import audit, stated_outcomes
from tether_stores.accounts import gateway_accounts
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.postgres import open_pool, transaction
from tether_stores.settings import Settings
from tether_stores.stated_outcomes import Closed

__all__ = ["add_commands", "state_outcome"]


async def state_outcome(
    settings: Settings, what: Literal["debit", "refund"], row_id: int, stated: Statement
) -> Closed:
    """
    Close a debit, or a refund or void, by what a person states.

    Args:
        settings: With `DATABASE_URL` and the account of the environment.
        what: Whether it is a debit; a refund or a void is "refund".
        row_id: Of the debit or the order.
        stated: From `tether_core.stated_outcomes.statement`.

    Raises:
        InvalidRequest: when there is no such row, or the id belongs to another payment.
        IllegalStep: when it cannot be closed by a person.
        StoreUnreachable: when Postgres does not answer.
    """
    close = stated_outcomes.close_debit if what == "debit" else stated_outcomes.close_refund
    async with (
        open_pool(settings.database_url, name="tether-outcome", max_size=1) as pool,
        transaction(pool) as conn,
    ):
        accounts = await gateway_accounts.all_accounts(conn, settings=settings)
        now = await timestamp(conn)
        found = await close(
            conn,
            row_id,
            stated,
            accounts=accounts.values(),
            now=now,
            submission_rules=settings.submission_rules,
        )
        if found is None:
            raise InvalidRequest(f"there is no such {what}", field=str(row_id))
        await audit.record(
            conn,
            audit.operator(),
            "outcome.stated",
            subject="attempt" if what == "debit" else "refund",
            subject_id=row_id,
            reason=stated.reason,
            after=facts(by=stated.by, outcome=stated.outcome, status=found.status),
            now=now,
        )
    return found


def add_commands(commands: Any) -> None:
    """Add `outcome` to the command line."""
    parser = commands.add_parser(
        "outcome",
        help="state the outcome of a debit or refund that cannot be inquired any more",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("debit", "refund"), help="a void is an order like a refund")
    parser.add_argument(
        "row_id", type=whole(1, 2**63 - 1), metavar="ID", help="of the debit, or of the order"
    )
    seen = parser.add_mutually_exclusive_group(required=True)
    seen.add_argument(
        "--approved", metavar="UNIQUE_ID", help="the gateway took it; its id from the back office"
    )
    seen.add_argument("--declined", action="store_true", help="the gateway has it, and declined it")
    seen.add_argument("--never-arrived", action="store_true", help="the gateway has no such payment")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="where it was seen; kept")
    parser.add_argument("--by", required=True, metavar="NAME", help="who saw it; kept")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(do=_state, needs=("DATABASE_URL",))


def _state(args: argparse.Namespace, settings: Settings) -> int:
    outcome: StatedOutcome = "never_arrived"
    if args.approved is not None:
        outcome = "approved"
    elif args.declined:
        outcome = "declined"
    stated = statement(outcome=outcome, unique_id=args.approved, reason=args.reason, by=args.by)
    found = asyncio.run(state_outcome(settings, args.what, args.row_id, stated))
    if args.json:
        sys.stdout.write(f"{msgspec.json.encode(found).decode()}\n")
    else:
        sys.stdout.write(
            f"{args.what} {args.row_id} is {found.status}; debit {found.attempt_id} is {found.debit_status}\n"
        )
    return 0
