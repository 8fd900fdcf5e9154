"""The review of a debit: what the books show by themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.reconciliation.debit_review import WALK_MIN, DebitFacts, review, walk_size
from tether_core.reconciliation.status_inquiry import TRIES_MAX

from tests.support.clock import NOON

APPROVED = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)


def _at(payment: int, dispute: int = 0) -> Attempt:
    return msgspec.structs.replace(APPROVED, payment_stage=payment, dispute_stage=dispute)


def _facts(attempt: Attempt = APPROVED, **fields: Any) -> DebitFacts:
    return DebitFacts(attempt=attempt, due_item="once", submitted_at=NOON, **fields)


def test_the_later_of_two_debits_of_a_due_item_has_the_line() -> None:
    """Both would otherwise be refunded, or none; and a debit alone is no difference."""
    facts = _facts(collected_by=(3, 7))
    (line,) = review(facts, now=NOON)
    assert (line.kind, line.attempt_id, line.other_attempt_id) == ("collected_twice", 7, 3)
    first = msgspec.structs.replace(APPROVED, id=3)
    assert review(_facts(first, collected_by=(3, 7)), now=NOON) == []
    assert review(_facts(collected_by=(7,)), now=NOON) == []
    assert review(_facts(collected_by=(3,)), now=NOON) == []  # ours was refunded meanwhile


@pytest.mark.parametrize(
    ("payment", "dispute", "refunds", "line"),
    [
        (stages.REFUNDED, stages.CHARGEBACKED, 1, True),
        (stages.VOIDED, stages.LOST_AGAIN, 1, True),
        (stages.REFUNDED, stages.WON_BACK, 1, False),
        (stages.APPROVED, stages.CHARGEBACKED, 0, False),
        (stages.REFUNDED, stages.UNDISPUTED, 2, True),
        (stages.APPROVED, stages.CHARGEBACKED, 1, True),
    ],
)
def test_money_that_went_back_twice(payment: int, dispute: int, refunds: int, line: bool) -> None:  # noqa: FBT001 - a column
    """It is the creditor's loss until somebody claims it back."""
    found = review(_facts(_at(payment, dispute), refunds=refunds), now=NOON)
    assert [item.kind for item in found] == ["returned_twice"] * line


@pytest.mark.parametrize(
    ("stage", "inquiries", "days", "line"),
    [
        (stages.IN_PROGRESS, TRIES_MAX, 14, True),
        (stages.IN_PROGRESS, TRIES_MAX - 1, 14, False),
        (stages.UNKNOWN_TO_US, TRIES_MAX, 2, True),
        (stages.IN_PROGRESS, 0, 22, True),  # nobody could be asked
        (stages.SENT, 0, 90, False),  # never submitted: a run that is paused
        (stages.APPROVED, TRIES_MAX, 90, False),
    ],
)
def test_a_debit_that_stays_open(stage: int, inquiries: int, days: int, line: bool) -> None:  # noqa: FBT001 - a column
    """Its run is over, no inquiry is left, and the month of reports passes."""
    facts = _facts(_at(stage), inquiries=inquiries)
    found = review(facts, now=NOON + timedelta(days=days))
    assert [item.kind for item in found] == ["pending_too_long"] * line


def test_what_nobody_can_inquire_is_a_line_for_each() -> None:
    """A debit sent to an account whose credentials are gone would otherwise stay unknown for ever, unseen."""
    unknown = _at(stages.UNKNOWN_TO_US)
    lines = [
        line
        for line in review(_facts(unknown, unreachable_at="old login", unreachable_refunds=(3,)), now=NOON)
        if line.kind == "unreachable_identity"
    ]
    assert [(line.refund_id, line.theirs) for line in lines] == [
        (None, "cannot be inquired"),
        (3, "cannot be inquired"),
    ]
    contradicted = review(_facts(_at(stages.APPROVED), contradicted_refunds=(4,)), now=NOON)
    assert ("statement_contradicted", 4) in [(line.kind, line.refund_id) for line in contradicted]


def test_a_statement_that_the_gateway_contradicts_is_a_line() -> None:
    """What a person stated would otherwise stay in the books beside what the gateway says."""
    lines = review(_facts(stated="declined"), now=NOON)
    assert [line.kind for line in lines] == ["statement_contradicted"]


def test_few_debits_are_reviewed_soon() -> None:
    """A walk that spread a thousand debits over hours would find a double collection only then."""
    assert walk_size(10 * WALK_MIN, hours=24) == WALK_MIN
    assert walk_size(10_000_000, hours=8) * 8 * 60 >= 10_000_000
