"""Reconciliation differences as a list: what each line says, how it is closed, and what may be ordered again."""

from __future__ import annotations

import msgspec
import pytest
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.payments.submission import Submission
from tether_core.reconciliation import differences as rules
from tether_core.reconciliation.comparison import amount_named, refund_statement_contradicted
from tether_core.reconciliation.differences import KINDS
from tether_core.refunds.refund import Refund

from tests.support.clock import NOON

APPROVED = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)


def _at(payment: int, dispute: int = 0) -> Attempt:
    return msgspec.structs.replace(APPROVED, payment_stage=payment, dispute_stage=dispute)


def _refund(state: int, debit: Attempt) -> Refund:
    order = Submission(
        Attempt(3, "default", "r-3", "55177a21", 1000, "EUR", payment_stage=state), submission_count=1
    )
    return Refund("refund", debit, order, NOON)


def test_a_refund_that_failed_later_may_be_ordered_again() -> None:
    """The debtor would never get the money, because our books say that it went."""
    refunded = _at(stages.REFUNDED)
    outcome = rules.reopen(_refund(stages.APPROVED, refunded))
    assert (outcome.order.attempt.state, outcome.debit.state) == ("declined", "approved")
    assert len(outcome.events) == 2
    outcome = rules.reopen(_refund(stages.APPROVED, refunded), further_returns=1)
    assert (outcome.order.attempt.state, outcome.debit, len(outcome.events)) == ("declined", refunded, 1)
    with pytest.raises(IllegalStep):
        rules.reopen(_refund(stages.DECLINED, refunded))
    with pytest.raises(IllegalStep):  # its bank has returned it
        rules.reopen(_refund(stages.APPROVED, _at(stages.REFUNDED, stages.CHARGEBACKED)))


def test_a_line_about_a_refund_that_was_stated_lost_holds_refunds() -> None:
    """Ordered once more before a person has looked, the money goes back twice; a line about a debit must not keep its refund away."""
    of_refund = refund_statement_contradicted(7, refund_id=3)
    assert rules.holds_refunds(of_refund)
    assert not rules.holds_refunds(msgspec.structs.replace(of_refund, refund_id=None))
    assert rules.holds_refunds(msgspec.structs.replace(of_refund, kind="state_differs", refund_id=None))


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_a_line_is_acknowledged_with_a_reason(reason: str) -> None:
    """A line that somebody clicked away says nothing to the next who looks."""
    with pytest.raises(InvalidRequest):
        rules.require_reason(reason)


def test_every_kind_says_what_to_do() -> None:
    """At three in the morning the line is all there is."""
    for kind in KINDS:
        assert KINDS[kind].text.endswith("."), kind
        assert KINDS[kind].action.endswith("."), kind


def test_sentences_about_differences() -> None:
    """A line is closed by the facts, or by a person who says why; a count of none is no warning."""
    assert rules.resolved_by("charged_back_again", theirs="", state="chargebacked")
    assert not rules.resolved_by("state_differs", theirs="declined", state="approved")
    assert rules.open_debits(0) is None
    assert "3 debits of this run are" in str(rules.open_debits(3))
    assert rules.require_reason(" seen ") == "seen"
    line = amount_named(
        APPROVED, amount_text="10.00", amount_minor=1000, currency="\N{EURO SIGN}", about="approved"
    )
    assert line is not None
    assert "an unreadable currency" in line.theirs
    with pytest.raises(InvalidRequest):
        rules.require_reason(" ")
