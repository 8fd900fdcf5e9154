"""Mandates that a bank does not know: MD01 ends them and their schedules, and no other return does."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from tether_core.payments.attempt import Policy
from tether_worker.payments.returns import ReturnDeps, handle_returns

if TYPE_CHECKING:
    from tests.worker.recurring.conftest import Series


async def test_md01_revokes_the_mandate_and_ends_its_schedule(series: Series) -> None:
    """A second debit without a mandate can be reclaimed for thirteen months, and the bank complains."""
    await series.begin(debtors=2, first_due_on=date(2026, 6, 2))
    assert await series.pass_days(1) == 2
    for debtor_id, code in ((1, "MD01"), (2, "AM04")):
        await series.conn.execute(
            "update billing_attempts set payment_stage = 60, dispute_stage = 1, state = 'chargebacked', reason_code = %s, submit_at = null,"
            " submission_count = 1, submitted_at = %s where debtor_id = %s",
            (code, series.clock.now, debtor_id),
        )
    assert await handle_returns(ReturnDeps(series.pool, Policy(), lambda: series.clock.now)) == 2
    assert await series.rows("select debtor_id, state from mandates order by 1") == [
        (1, "revoked"),
        (2, "active"),
    ]
    assert await series.rows(
        "select debtor_id, state, state_reason from collection_schedules order by 1"
    ) == [
        (1, "ended", "mandate_revoked"),
        (2, "active", None),
    ]
    assert await series.rows("select debtor_id, retry_why from billing_attempts order by 1") == [
        (1, "reason"),
        (2, "retry"),
    ]
