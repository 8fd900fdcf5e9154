"""
Handle returns: decide once for each returned debit whether it is tried again.

The rules are those of `tether_core.payments.returns`, by the active version of the return policy: most reasons end the debit, two allow another attempt on a later day. The day is
stored beside the returned attempt; billing makes the attempt when the day has come, and judges it once more then. A return without a
reason waits until the reason is known.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
from tether_core.jobs import HANDLE_RETURNS
from tether_core.payments.attempt import ApplyPolicy
from tether_core.payments.returns import after_return
from tether_core.recurring.mandate import REVOKING
from tether_core.target_calendar import bank_day
from tether_stores import return_policies
from tether_stores.payments import billing_attempts
from tether_stores.payments.billing_attempts import ReturnHandling
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.recurring import due_items

from tether_worker.jobs.run import Work
from tether_worker.recurring.mandates import revoke

__all__ = ["ReturnDeps", "handle_returns", "handling_returns"]

BATCH_MAX: Final = 500


class ReturnDeps(msgspec.Struct, frozen=True):
    """
    What following needs.

    Attributes:
        policy: The operator's choices; its version of the return policy decides before the first switch.
        spacing_days: Calendar days before the next try, at least.
        per_day_max: Attempts after a return on one day at most; `None` for any number.
    """

    pool: Pool
    policy: ApplyPolicy
    clock: Callable[[], datetime]
    spacing_days: int = 5
    per_day_max: int | None = None


def handling_returns(deps: ReturnDeps) -> Work:
    """The job that handles returns."""

    async def batch() -> int:
        return await handle_returns(deps)

    async def has_pending() -> bool:
        async with connection(deps.pool) as conn:
            return await billing_attempts.any_returned(conn)

    return Work(HANDLE_RETURNS, batch, has_pending)


async def handle_returns(deps: ReturnDeps, *, limit: int = BATCH_MAX) -> int:
    """
    Decide what follows for debits that came back, at most *limit* of them.

    Returns:
        How many were decided about.

    Raises:
        Unavailable: when Postgres is away; nothing was decided.
    """
    now = deps.clock()
    async with transaction(deps.pool) as conn:
        policy = await return_policies.active_to_decide(conn, built_in=deps.policy.returns)
        rows = await billing_attempts.lock_returned(conn, limit=limit)
        if not rows:
            return 0
        plans = await due_items.plans_of(conn, [row.id for row in rows])
        planned = Counter(await billing_attempts.planned_retries(conn, from_on=bank_day(now)))
        decided: list[ReturnHandling] = []
        for row in rows:
            plan = plans.get(row.id)
            result = after_return(
                row.reason_code,
                returned_on=bank_day(now),
                retries_done=row.try_number - 1,
                ours=not row.imported,
                first_due_on=bank_day(row.first_tried_at),
                policy=policy,
                spacing_days=(plan and plan.retry_spacing_days) or deps.spacing_days,
                pay_days=plan.pay_days if plan else (),
                planned=planned,
                per_day_max=deps.per_day_max,
            )
            if result.retry_on is not None:
                planned[result.retry_on] += 1
            decided.append(ReturnHandling(row.id, result.retry_on, result.why))
        await billing_attempts.handle_returns(conn, decided, policy_version=policy.version, now=now)
        await revoke(conn, [row.id for row in rows if row.reason_code in REVOKING], now=now)
    return len(rows)
