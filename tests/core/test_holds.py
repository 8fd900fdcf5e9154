"""Reported statuses block refunds and debits before they are applied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tether_core import retry
from tether_core.billing.eligibility import PASSING, Candidate, judge
from tether_core.billing.run_options import RunOptions
from tether_core.errors import IllegalStep
from tether_core.holds import Reported, refund_hold
from tether_core.payments import stages, submission
from tether_core.payments.attempt import Attempt
from tether_core.payments.submission import Submission
from tether_core.refunds import refund
from tether_core.refunds.refund import DEFERRED, Refund

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
DEBIT = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)
ORDER = Submission(Attempt(1, "default", "r-1", None, 1000, "EUR"), submit_at=NOON)
REFUND = Refund("refund", DEBIT, ORDER, NOON - timedelta(days=18))


@pytest.mark.parametrize(
    ("reported", "code", "passes"),
    [
        (Reported(dispute=True), "dispute_unconfirmed", True),
        (Reported(returned=True), "return_unconfirmed", True),
        (Reported(failed=True), "failure_unconfirmed", True),
        (Reported(gateway_refund=True), "gateway_refund", False),
        (Reported(difference="state_differs"), "difference", False),
        (Reported(dispute=True, difference="state_differs"), "dispute_unconfirmed", True),
    ],
)
def test_what_holds_a_refund(reported: Reported, code: str, passes: bool) -> None:  # noqa: FBT001 - a column
    """Each of these refunds would pay the same money out twice, or money that never came."""
    hold = refund_hold(reported)
    assert hold is not None
    assert (hold.code, hold.passes) == (code, passes)


def test_an_ordered_refund_waits_while_its_dispute_is_confirmed() -> None:
    """Ended, the debtor never gets it; submitted, the money goes back twice."""
    outcome = refund.claim(REFUND, now=NOON, hold=refund_hold(Reported(dispute=True)))
    assert (outcome.cause, outcome.order.step) == (DEFERRED, "ready")
    assert outcome.order.submit_at == NOON + timedelta(seconds=retry.HELD_S)
    assert outcome.events == ()
    assert refund.claim(REFUND, now=NOON, hold=refund_hold(Reported())).cause == "claimed"


def test_an_ordered_refund_ends_where_a_person_has_to_look_first() -> None:
    """It would wait for ever, in nobody's sight."""
    outcome = refund.claim(REFUND, now=NOON, hold=refund_hold(Reported(difference="amount_differs")))
    assert outcome.order.attempt.state == "error"
    assert "amount_differs" in outcome.cause


def test_only_what_is_ready_is_deferred() -> None:
    """A debit that is being submitted would be submitted once more."""
    with pytest.raises(IllegalStep):
        submission.defer(submission.claim(ORDER, now=NOON), until=NOON)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"dispute_unconfirmed": True}, "A chargeback"),
        ({"collection_unconfirmed": True}, "collected after all"),
    ],
)
def test_a_debit_of_the_account_waits_too(facts: dict[str, Any], words: str) -> None:
    """It would meet the same dispute, or be the second debit for its due item; and a permanent reason is shown first."""
    candidate = Candidate(
        debtor_id=7,
        iban="DE89370400440532013000",
        amount_minor=1000,
        currency="EUR",
        has_name=True,
        **facts,
    )
    verdict = judge(candidate, options=RunOptions())
    assert verdict.code == "being_confirmed"
    assert words in verdict.text
    assert "being_confirmed" in PASSING
    assert judge(candidate, options=RunOptions(debit_min_minor=2000)).code == "too_small"
