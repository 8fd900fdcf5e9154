"""Void of a run: which debits are voided, and why the others are not."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from tether_core.holds import Hold
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.refunds.run_voids import RunNotVoidable, judge, require_voidable

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DEBIT = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)


def test_a_debit_is_voided_once_and_only_where_it_can_be() -> None:
    """A second order would return money twice; a void of what was never submitted would wait for ever."""
    assert judge(DEBIT, submitted_at=NOW, now=NOW) is None
    assert judge(DEBIT, submitted_at=NOW, now=NOW, ordered="void") is None
    refunded = judge(DEBIT, submitted_at=NOW, now=NOW, ordered="refund")
    won_back = judge(msgspec.structs.replace(DEBIT, dispute_stage=stages.WON_BACK), submitted_at=NOW, now=NOW)
    waiting = Attempt(7, "default", "t-7", None, 1000, "EUR", payment_stage=stages.SENT)
    unsubmitted = judge(waiting, submitted_at=NOW, now=NOW, is_submitted=False)
    held = judge(
        DEBIT, submitted_at=NOW, now=NOW, hold=Hold("dispute_unconfirmed", "a dispute waits", passes=True)
    )
    assert [found and found.code for found in (refunded, won_back, unsubmitted, held)] == [
        "refund_ordered",
        "won_back",
        "not_submitted",
        "held",
    ]
    for state in ("planning", "canary", "running"):
        with pytest.raises(RunNotVoidable):
            require_voidable(state)
