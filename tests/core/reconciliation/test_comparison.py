"""What the gateway says, compared with our books: which statements are a line for a person, and which are none."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from tether_core.emp.notification import FORM, Notification, decode
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt, Confirmation, Decision
from tether_core.reconciliation import comparison
from tether_core.reconciliation.differences import KINDS, Difference, resolved_by

from tests.support.clock import NOON

APPROVED = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)
BELIEVED = Decision("unchanged", "late", APPROVED)


def _at(payment: int, dispute: int = 0) -> Attempt:
    return msgspec.structs.replace(APPROVED, payment_stage=payment, dispute_stage=dispute)


def _notification(**fields: str) -> Notification:
    form = "&".join(f"{name}={value}" for name, value in {"unique_id": "44177a21", **fields}.items())
    return decode(f"{form}&signature=ab".encode(), content_type=FORM)


@pytest.mark.parametrize(
    ("ours", "status", "minutes", "compared"),
    [
        ((stages.APPROVED, 0), "approved", 0, "agrees"),
        ((stages.APPROVED, 0), "declined", 0, "state_differs"),
        ((stages.APPROVED, 0), "error", 0, "state_differs"),
        ((stages.REFUNDED, 0), "declined", 0, "state_differs"),
        ((stages.APPROVED, 0), "pending_async", 1, "too early"),
        ((stages.APPROVED, 0), "pending_async", 61, "state_differs"),
        ((stages.VOIDED, 0), "approved", 61, "state_differs"),
        ((stages.DECLINED, 0), "error", 61, "agrees"),
        ((stages.APPROVED, stages.CHARGEBACKED), "approved", 61, "state_differs"),
        ((stages.APPROVED, stages.WON_BACK), "approved", 61, "agrees"),
        ((stages.APPROVED, stages.WON_BACK), "chargebacked", 1, "too early"),
        ((stages.APPROVED, stages.WON_BACK), "chargebacked", 61, "charged_back_again"),
        ((stages.APPROVED, stages.LOST_AGAIN), "represented", 61, "state_differs"),
        ((stages.REFUNDED, stages.CHARGEBACKED), "refunded", 61, "agrees"),
        ((stages.IN_PROGRESS, 0), "approved", 61, "moves"),
        ((stages.APPROVED, 0), "chargebacked", 61, "moves"),
    ],
)
def test_our_state_beside_the_gateways_present_record(
    ours: tuple[int, int], status: str, minutes: int, compared: str
) -> None:
    """A record that merely lags would cry wolf; one that stays another hides where the money is."""
    result = comparison.compare(
        _at(*ours), stages.STATUSES[status], changed_at=NOON, now=NOON + timedelta(minutes=minutes)
    )
    assert (result.kind if isinstance(result, Difference) else result) == compared


@pytest.mark.parametrize(
    ("fields", "theirs"),
    [
        ({"amount": "1000", "currency": "EUR"}, None),
        ({"amount": "-1000"}, None),
        ({}, None),
        ({"amount": "250", "currency": "EUR"}, "2.50 EUR (refunded)"),
        ({"amount": "-250"}, "-2.50 EUR (refunded)"),
        ({"amount": "1000", "currency": "JPY"}, "1000 JPY (refunded)"),
        ({"currency": "USD"}, "USD (refunded)"),
        ({"amount": "10,00"}, "10,00 EUR (refunded)"),
        ({"amount": "DE89370400440532013000"}, "an unreadable amount EUR (refunded)"),
    ],
)
def test_an_amount_that_is_not_the_debits(fields: dict[str, str], theirs: str | None) -> None:
    """A part that counts as the whole, or yen that count as euros, is found by nobody; and no account number gets into a line."""
    found = comparison.of_notification(
        APPROVED, _notification(status="refunded", **fields), decided=BELIEVED, confirmation=None
    )
    assert [difference.theirs for difference in found] == ([] if theirs is None else [theirs])


def test_what_was_not_believed_shows_nothing() -> None:
    """A sender who has seen one signature could fill the list and block refunds."""
    notification = _notification(status="declined", amount="1")
    contradicted = Decision("contradicted", "contradicted", APPROVED)
    assert (
        comparison.of_notification(
            APPROVED, notification, decided=contradicted, confirmation=Confirmation("approved")
        )
        == []
    )
    for outcome in ("confirm", "not_yet", "park"):
        decided = Decision(outcome, "x", APPROVED)
        assert comparison.of_notification(APPROVED, notification, decided=decided, confirmation=None) == []


def test_a_debit_that_fails_after_it_was_approved() -> None:
    """The books say collected, and no money came."""
    notification = _notification(status="declined")
    (line,) = comparison.of_notification(
        APPROVED, notification, decided=BELIEVED, confirmation=Confirmation("declined")
    )
    assert (line.kind, line.ours, line.theirs) == ("state_differs", "approved", "declined")
    assert KINDS[line.kind].holds_refunds
    assert resolved_by("state_differs", theirs="declined", state="declined")
    assert not resolved_by("state_differs", theirs="declined", state="approved")


def test_another_dispute_is_recognised_by_its_own_id() -> None:
    """The same chargeback reported late is not a second one; another one takes the money again."""
    won = _at(stages.APPROVED, stages.WON_BACK)
    again = _notification(status="chargebacked", event="chargeback", chargeback_unique_id="b")
    assert comparison.may_be_new_dispute(won, again, decided=BELIEVED)
    first = _notification(status="chargebacked", event="chargeback", chargeback_unique_id="a")
    reversal = _notification(
        status="chargeback_reversed", event="chargeback_reversal", chargeback_unique_id="a"
    )
    assert comparison.is_new_dispute(again, [first, reversal])
    assert not comparison.is_new_dispute(first, [first, reversal])
    own_reversal = _notification(
        status="chargeback_reversed", event="chargeback_reversal", chargeback_unique_id="b"
    )
    assert not comparison.is_new_dispute(again, [own_reversal])  # the reversal overtook it
    line = comparison.charged_back_again(won, dispute_id="b", known=["a"])
    assert (line.subject, line.theirs) == ("dispute b", "charged back again, dispute 2")


@pytest.mark.parametrize(
    ("status", "record_minor", "lines"),
    [("approved", 1000, 0), ("approved", 250, 1), ("refunded", 1000, 1), ("approved", None, 1)],
)
def test_the_gateways_record_says_whether_an_unsigned_amount_counts(
    status: str, record_minor: int | None, lines: int
) -> None:
    """A sender who has seen one signature could block refunds; and a partial refund has no record of its own."""
    notification = _notification(status=status, amount="250", currency="EUR")
    word = Confirmation(status, amount_minor=record_minor, currency="EUR")
    found = comparison.of_notification(APPROVED, notification, decided=BELIEVED, confirmation=word)
    assert len(found) == lines


@pytest.mark.parametrize(
    ("stage", "fields", "contradicts"),
    [
        (stages.DECLINED, {"status": "approved"}, True),
        (stages.DECLINED, {"status": "chargebacked", "event": "chargeback"}, True),
        (stages.DECLINED, {"status": "declined"}, False),
        (stages.APPROVED, {"status": "approved"}, False),
    ],
)
def test_news_that_contradict_a_stated_outcome(stage: int, fields: dict[str, str], contradicts: bool) -> None:  # noqa: FBT001 - a column
    """A person said that nothing was collected; the debtor would be billed again for what the bank has taken."""
    assert comparison.may_contradict_statement(_at(stage), _notification(**fields)) is contradicts
    line = comparison.statement_contradicted(_at(stage), stated="declined", theirs="approved")
    assert (line.kind, line.ours, line.theirs) == (
        "statement_contradicted",
        "declined, stated by a person",
        "approved",
    )


def test_a_refund_that_fails_after_its_approval_is_a_line() -> None:
    """The debtor never gets the money that our books call returned."""
    failed = stages.meaning("error", event=None, error_code="400")
    line = comparison.refund_failed(7, refund_id=3, kind="refund", step=failed)
    assert line is not None
    assert (line.kind, line.refund_id, line.ours) == ("refund_failed_later", 3, "refund approved")
    assert comparison.refund_failed(7, refund_id=3, kind="refund", step=None) is None
