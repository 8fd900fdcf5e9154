"""Chargebacks that a person has forgiven; the queries are in `payments/forgiven_disputes.sql`."""

from datetime import datetime
from typing import Final

import msgspec
from tether_core.errors import IllegalStep
from tether_core.reconciliation.differences import require_reason

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["Forgiven", "forgive"]

_SQL: Final = load("payments/forgiven_disputes")


class Forgiven(msgspec.Struct, frozen=True):
    """
    A chargeback that is forgiven, and what still excludes its account.

    Attributes:
        attempt_id: The debit that was charged back.
        forgiven_by: Who forgave it.
        forgiven_at: When.
        reason: Why.
        is_new: Whether it was not forgiven before.
        unforgiven: Chargebacks of the account that still exclude it.
        still_held_by: The active blacklist entries of the account; lift these, too, if it is to be debited.
    """

    attempt_id: int
    forgiven_by: str
    forgiven_at: datetime
    reason: str
    is_new: bool
    unforgiven: int
    still_held_by: tuple[int, ...]


async def forgive(
    conn: Connection, attempt_id: int, *, by: str, reason: str, now: datetime
) -> Forgiven | None:
    """
    Forgive the chargeback of one debit, so that it excludes its account no longer.

    One that is forgiven already keeps who forgave it, and why.

    Args:
        conn: Inside a transaction.
        attempt_id: The debit.
        by: Who forgives it.
        reason: Why; without blanks around it 1 to 500 characters.

    Returns:
        The result, or `None` where there is no such debit.

    Raises:
        InvalidRequest: when the reason is missing or too long.
        IllegalStep: when the debit is not charged back.
    """
    reason = require_reason(reason)
    row = await (await conn.execute(_SQL["hold"], {"attempt_id": attempt_id})).fetchone()
    if row is None:
        return None
    state, dispute_stage, forgiven_by, forgiven_at, before = row
    if state != "chargebacked":
        raise IllegalStep("billing attempt", state=state, step="forgiven; only a chargeback can be")
    is_new = forgiven_at is None
    known = {"attempt_id": attempt_id, "now": now}
    if is_new:
        forgiven_by, forgiven_at, before = by, now, reason
        await conn.execute(
            _SQL["forgive"], {**known, "dispute_stage": dispute_stage, "forgiven_by": by, "reason": reason}
        )
    rest = await (await conn.execute(_SQL["remaining"], known)).fetchone()
    assert rest is not None
    return Forgiven(attempt_id, forgiven_by, forgiven_at, before, is_new, rest[0], tuple(rest[1]))
