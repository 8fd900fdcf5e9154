"""Mandates that end: MD01 ends them and their schedules, no other return does, and no list brings them back."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from tether_core.billing.eligibility import verdicts
from tether_core.billing.run_options import RunOptions
from tether_core.payments.attempt import ApplyPolicy
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.billing.candidates import load_owing
from tether_stores.postgres import transaction
from tether_stores.recurring import changes, collection_plans, enrolment, mandates, schedules
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
    assert await handle_returns(ReturnDeps(series.pool, ApplyPolicy(), lambda: series.clock.now)) == 2
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


async def test_a_cancelled_mandate_comes_back_through_no_list(series: Series) -> None:
    """Next month's list still has the member who cancelled: a debit under that mandate can be reclaimed for thirteen months."""
    await series.begin()
    [(mandate_id, debtor_id, reference)] = await series.rows("select id, debtor_id, reference from mandates")
    async with transaction(series.pool) as conn:
        assert await mandates.hold(conn, mandate_id)
        await changes.end_mandates(
            conn, [(mandate_id, debtor_id)], "cancelled", reason="by phone", code="mandate_cancelled", now=series.clock.now
        )  # fmt: skip
    [(account,)] = await series.rows("select iban from debtors")
    upload_id, [later] = seed_upload(series.database_url, [Owed(account, 1000)], now=series.clock.now)

    async def judged(signed_on: date | None) -> tuple[bool, str]:
        """Whether a billing run leaves the row out for that, and the verdict of an enrolment."""
        await series.conn.execute(
            "update debtors set mandate_id = %s, mandate_signed_on = %s where id = %s",
            (reference, signed_on, later),
        )
        async with transaction(series.pool) as conn:
            [owing] = await load_owing(conn, due_item="2026-07", now=series.clock.now, limit=1, ids=[later])
            plan = await collection_plans.by_id(conn, series.plan_id)
            assert plan is not None
            applicants = await schedules.applicants(conn, upload_id, after=0, limit=1)
            [(_, enrolled, _)] = await enrolment.judged(conn, applicants, plan, signed_on=date(2026, 1, 5))
        codes = [verdict.code for verdict in verdicts(owing.candidate, options=RunOptions())]
        return "mandate_ended" in codes, enrolled.verdict

    assert await judged(None) == (True, "mandate_ended")
    assert await judged(series.today) == (True, "mandate_ended")
    assert await judged(series.today + timedelta(days=1)) == (False, "enrolled")
    await series.conn.execute("update mandates set state = 'active', ended_at = null, ended_reason = null")
    assert await judged(None) == (False, "enrolled")
