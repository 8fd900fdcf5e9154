"""Write refunds and voids with what follows for their debits."""

from collections.abc import Sequence
from datetime import datetime

from tether_core.events import Event
from tether_core.payments import submission
from tether_core.refunds import refund
from tether_core.refunds.refund import Outcome, Refund
from tether_stores import events
from tether_stores.payments import billing_attempts
from tether_stores.payments.submissions import Written
from tether_stores.postgres import Connection
from tether_stores.refunds import refunds

__all__ = ["write"]


async def write(
    conn: Connection, before: Sequence[Refund], outcomes: Sequence[Outcome], *, now: datetime
) -> None:
    """
    Write orders, their debits and their events, inside the transaction that locked them.

    Args:
        before: n orders as they were.
        outcomes: The outcome of each.
    """
    await refunds.write(
        conn,
        [
            Written(
                outcome.order,
                (outcome.not_submitted_reason or outcome.cause) if _is_not_submitted(outcome) else None,
                outcome.cause
                if outcome.order.step == "unknown" and outcome.cause in submission.UNRESOLVED
                else None,
            )
            for outcome in outcomes
        ],
        now=now,
    )
    moved = [after.debit for item, after in zip(before, outcomes, strict=True) if after.debit != item.debit]
    await billing_attempts.move(conn, moved, now=now)
    facts: list[tuple[int | None, Event]] = [(None, fact) for outcome in outcomes for fact in outcome.events]
    await events.append(conn, facts, now=now)


def _is_not_submitted(outcome: Outcome) -> bool:
    return outcome.order.attempt.error_code == submission.EXCLUDED or outcome.cause == refund.DEFERRED
