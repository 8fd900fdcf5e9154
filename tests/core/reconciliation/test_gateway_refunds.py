"""Refunds made in the gateway's back office: what its record makes of them, and of their debit."""

from __future__ import annotations

import msgspec
import pytest
from tether_core.emp.notification import FORM, decode
from tether_core.emp.responses import GatewayAnswer, read_answer
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.reconciliation import gateway_refunds as rules

DEBIT = Attempt(7, "default", "t-7", "a1", 1000, "EUR", payment_stage=stages.APPROVED)


def _record(status: str = "approved", kind: str = "sdd_refund", reference: str = "a1") -> GatewayAnswer:
    return read_answer(
        f"<payment_response><transaction_type>{kind}</transaction_type><status>{status}</status><unique_id>b1</unique_id>"
        f"<reference_transaction_unique_id>{reference}</reference_transaction_unique_id></payment_response>".encode()
    )


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (_record(), "approved"),
        (_record("refunded"), "approved"),
        (_record("pending_async"), "pending"),
        (_record("declined"), "failed"),
        (_record("beamed_up"), "pending"),
        (_record(kind="void"), "approved"),
        (_record(reference="a2"), "contradicted"),
        (_record(kind="sdd_sale"), "contradicted"),
    ],
)
def test_only_the_gateways_record_of_a_refund_of_this_debit_counts(record: GatewayAnswer, state: str) -> None:
    """The debit that a notification names is not signed; any refund could be said to be of any debit."""
    assert rules.state_of(record, debit_id="a1") == state


@pytest.mark.parametrize(
    ("body", "reference"),
    [
        (b"transaction_type=sdd_refund&reference_transaction_unique_id=a1", "a1"),
        (b"transaction_type=sdd_sale&reference_transaction_unique_id=a1", None),
        (b"transaction_type=sdd_refund", None),
        (b"transaction_type=sdd_refund&reference_transaction_unique_id=%20", None),
    ],
)
def test_the_debit_that_a_refund_names(body: bytes, reference: str | None) -> None:
    """A recurring debit refers to its first one, and returns nothing."""
    notification = decode(b"unique_id=b1&signature=ab&status=approved&" + body, content_type=FORM)
    assert rules.reference_of(notification) == reference


def test_the_whole_moves_the_debit_and_a_part_is_a_line() -> None:
    """A part that counts as the whole is money nobody asks for; a whole that does not count is refunded twice."""
    whole = rules.apply(DEBIT, kind="refund", amount_minor=1000, currency="EUR")
    assert (whole.debit.state, len(whole.events), whole.difference) == ("refunded", 1, None)
    assert rules.apply(DEBIT, kind="void", amount_minor=None, currency=None).debit.state == "voided"
    part = rules.apply(DEBIT, kind="refund", amount_minor=250, currency="EUR")
    assert part.debit == DEBIT
    assert part.difference is not None
    assert part.difference.theirs == "2.50 EUR (refunded)"
    again = rules.apply(whole.debit, kind="refund", amount_minor=1000, currency="EUR")
    assert (again.debit, again.events) == (whole.debit, ())


def test_money_that_the_bank_returned_as_well_is_announced() -> None:
    """A person must claim it back."""
    disputed = msgspec.structs.replace(DEBIT, dispute_stage=stages.CHARGEBACKED)
    effect = rules.apply(disputed, kind="refund", amount_minor=1000, currency="EUR")
    assert effect.debit.refunded_and_charged_back
    assert [type(fact).__name__ for fact in effect.events] == ["RefundChargedBack"]
