"""Replays: the preview is the decision that applying makes, in its two parts."""

from __future__ import annotations

import pytest
from tether_core.emp.notification import FORM, Notification, decode
from tether_core.payments import stages
from tether_core.payments.attempt import ApplyPolicy, Attempt, Confirmation
from tether_core.payments.submission import Submission
from tether_core.refunds import refund
from tether_core.refunds.refund import Refund
from tether_core.replays import Named, preview

from tests.support.clock import NOON

CONFIRMED = ApplyPolicy(confirm="failures")
DEBIT = Attempt(7, "default", "t-7", "d1", 1000, "EUR", stages.APPROVED)


def _notification(**fields: str) -> Notification:
    given = {"unique_id": "d1", "signature": "x", "transaction_type": "sdd_sale", **fields}
    return decode("&".join(f"{name}={value}" for name, value in given.items()).encode(), content_type=FORM)


def _order() -> Refund:
    own_id = refund.transaction_id("refund", DEBIT, number=1)
    order = Attempt(1, "default", own_id, "b1", 1000, "EUR", stages.IN_PROGRESS)
    return Refund("refund", DEBIT, Submission(order), NOON)


def test_a_notification_that_cannot_be_read_stays_with_a_person() -> None:
    """A preview that fails would leave the person without any page."""
    found = preview(Named(), None, account="default")
    assert (found.now.state, found.now.reason, found.confirmed) == ("parked", "unreadable", None)


def test_a_refund_changes_its_order_and_its_debit() -> None:
    """Who replays the report of a refund must see that the payment becomes refunded."""
    report = _notification(unique_id="b1", transaction_type="refund", status="approved")
    found = preview(Named(order=_order()), report, account="default", policy=CONFIRMED)
    assert found.now.outcome == "confirm"
    assert found.confirmed is not None
    assert found.confirmed.state == "processed"
    assert {(change.subject, change.subject_id, change.after) for change in found.confirmed.changes} >= {
        ("refund", 1, "approved"),
        ("attempt", 7, "refunded"),
    }
    assert "refund.status_changed" in found.confirmed.events


def test_a_refund_of_the_back_office_changes_no_payment() -> None:
    """It is linked to its debit only; of another account, it names nothing."""
    report = _notification(unique_id="b9", transaction_type="refund", status="approved")
    found = preview(Named(refunded=DEBIT), report, account="default", policy=CONFIRMED)
    assert (found.now.outcome, found.now.reason, found.now.changes) == ("unchanged", "gateway_refund", [])
    foreign = preview(Named(refunded=DEBIT), report, account="second", policy=CONFIRMED)
    assert (foreign.now.outcome, foreign.now.state) == ("not_yet", "waiting")


@pytest.mark.parametrize(("status", "state"), [("approved", "confirming"), ("chargebacked", "processed")])
def test_the_record_of_a_report_needs_no_inquiry(status: str, state: str) -> None:
    """Its confirmation is kept, so the effect is at once: confirmed, or contradicted and inquired again."""
    report = _notification(status="chargebacked", event="chargeback", reason_code="AC04")
    record = Confirmation(status, reason_code="AC04")
    found = preview(Named(DEBIT), report, account="default", policy=CONFIRMED, confirmation=record)
    assert (found.now.state, found.confirmed) == (state, None)
