"""Books that differ: which facts are a line for a person, and which are none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tether_core.emp.notification import FORM, Notification, decode
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt, Confirmation, Decision
from tether_core.payments.submission import Submission
from tether_core.reconciliation import differences as rules
from tether_core.reconciliation.differences import KINDS, DebitFacts, Difference
from tether_core.reconciliation.status_inquiry import TRIES_MAX
from tether_core.refunds.refund import Refund

from tests.support.clock import NOON

APPROVED = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)
BELIEVED = Decision("unchanged", "late", APPROVED)


def _at(payment: int, dispute: int = 0) -> Attempt:
    return msgspec.structs.replace(APPROVED, payment_stage=payment, dispute_stage=dispute)


def _facts(attempt: Attempt = APPROVED, **fields: Any) -> DebitFacts:
    return DebitFacts(attempt=attempt, due_item="once", submitted_at=NOON, **fields)


def _notification(**fields: str) -> Notification:
    form = "&".join(f"{name}={value}" for name, value in {"unique_id": "44177a21", **fields}.items())
    return decode(f"{form}&signature=ab".encode(), content_type=FORM)


def test_the_later_of_two_debits_of_a_due_item_has_the_line() -> None:
    """Both would otherwise be refunded, or none; and a debit alone is no difference."""
    facts = _facts(collected_by=(3, 7))
    (line,) = rules.review(facts, now=NOON)
    assert (line.kind, line.attempt_id, line.other_attempt_id) == ("collected_twice", 7, 3)
    first = msgspec.structs.replace(APPROVED, id=3)
    assert rules.review(_facts(first, collected_by=(3, 7)), now=NOON) == []
    assert rules.review(_facts(collected_by=(7,)), now=NOON) == []
    assert rules.review(_facts(collected_by=(3,)), now=NOON) == []  # ours was refunded meanwhile


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
    found = rules.review(_facts(_at(payment, dispute), refunds=refunds), now=NOON)
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
    found = rules.review(facts, now=NOON + timedelta(days=days))
    assert [item.kind for item in found] == ["pending_too_long"] * line


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
    result = rules.compare(
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
    found = rules.of_notification(
        APPROVED, _notification(status="refunded", **fields), decided=BELIEVED, confirmation=None
    )
    assert [difference.theirs for difference in found] == ([] if theirs is None else [theirs])


def test_what_was_not_believed_shows_nothing() -> None:
    """A sender who has seen one signature could fill the list and block refunds."""
    notification = _notification(status="declined", amount="1")
    contradicted = Decision("contradicted", "contradicted", APPROVED)
    assert (
        rules.of_notification(
            APPROVED, notification, decided=contradicted, confirmation=Confirmation("approved")
        )
        == []
    )
    for outcome in ("confirm", "not_yet", "park"):
        decided = Decision(outcome, "x", APPROVED)
        assert rules.of_notification(APPROVED, notification, decided=decided, confirmation=None) == []


def test_a_debit_that_fails_after_it_was_approved() -> None:
    """The books say collected, and no money came."""
    notification = _notification(status="declined")
    (line,) = rules.of_notification(
        APPROVED, notification, decided=BELIEVED, confirmation=Confirmation("declined")
    )
    assert (line.kind, line.ours, line.theirs) == ("state_differs", "approved", "declined")
    assert KINDS[line.kind].holds_refunds
    assert rules.resolved_by("state_differs", theirs="declined", state="declined")
    assert not rules.resolved_by("state_differs", theirs="declined", state="approved")


def test_another_dispute_is_told_by_its_own_id() -> None:
    """The same chargeback reported late is not a second one; another one takes the money again."""
    won = _at(stages.APPROVED, stages.WON_BACK)
    again = _notification(status="chargebacked", event="chargeback", chargeback_unique_id="b")
    assert rules.may_be_new_dispute(won, again, decided=BELIEVED)
    first = _notification(status="chargebacked", event="chargeback", chargeback_unique_id="a")
    reversal = _notification(
        status="chargeback_reversed", event="chargeback_reversal", chargeback_unique_id="a"
    )
    assert rules.is_new_dispute(again, [first, reversal])
    assert not rules.is_new_dispute(first, [first, reversal])
    own_reversal = _notification(
        status="chargeback_reversed", event="chargeback_reversal", chargeback_unique_id="b"
    )
    assert not rules.is_new_dispute(again, [own_reversal])  # the reversal overtook it
    line = rules.charged_back_again(won, dispute_id="b", known=["a"])
    assert (line.subject, line.theirs) == ("dispute b", "charged back again, dispute 2")


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
    with pytest.raises(IllegalStep):
        rules.reopen(_refund(stages.DECLINED, refunded))
    with pytest.raises(IllegalStep):  # its bank has returned it
        rules.reopen(_refund(stages.APPROVED, _at(stages.REFUNDED, stages.CHARGEBACKED)))


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
    found = rules.of_notification(APPROVED, notification, decided=BELIEVED, confirmation=word)
    assert len(found) == lines


def test_what_nobody_can_inquire_is_a_line_for_each() -> None:
    """A debit sent to an account whose credentials are gone would otherwise stay unknown for ever, unseen."""
    unknown = _at(stages.UNKNOWN_TO_US)
    lines = [
        line
        for line in rules.review(
            _facts(unknown, unreachable_at="old login", unreachable_refunds=(3,)), now=NOON
        )
        if line.kind == "unreachable_identity"
    ]
    assert [(line.refund_id, line.theirs) for line in lines] == [
        (None, "cannot be inquired"),
        (3, "cannot be inquired"),
    ]
    contradicted = rules.review(_facts(_at(stages.APPROVED), contradicted_refunds=(4,)), now=NOON)
    assert ("statement_contradicted", 4) in [(line.kind, line.refund_id) for line in contradicted]


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
    assert rules.may_contradict_statement(_at(stage), _notification(**fields)) is contradicts
    line = rules.statement_contradicted(_at(stage), stated="declined", theirs="approved")
    assert (line.kind, line.ours, line.theirs) == (
        "statement_contradicted",
        "declined, stated by a person",
        "approved",
    )


def test_a_refund_that_fails_after_its_approval_is_a_line() -> None:
    """The debtor never gets the money that our books call returned."""
    failed = stages.meaning("error", event=None, error_code="400")
    line = rules.refund_failed(7, refund_id=3, kind="refund", step=failed)
    assert line is not None
    assert (line.kind, line.refund_id, line.ours) == ("refund_failed_later", 3, "refund approved")
    assert rules.refund_failed(7, refund_id=3, kind="refund", step=None) is None


def test_sentences_about_differences() -> None:
    """A line is closed by the facts, or by a person who says why; a count of none is no warning."""
    assert rules.resolved_by("charged_back_again", theirs="", state="chargebacked")
    assert not rules.resolved_by("state_differs", theirs="declined", state="approved")
    assert rules.open_debits(0) is None
    assert "3 debits of this run are" in str(rules.open_debits(3))
    assert rules.require_reason(" seen ") == "seen"
    line = rules.amount_named(
        APPROVED, amount_text="10.00", amount_minor=1000, currency="\N{EURO SIGN}", about="approved"
    )
    assert line is not None
    assert "an unreadable currency" in line.theirs
    with pytest.raises(InvalidRequest):
        rules.require_reason(" ")


def test_a_statement_that_the_gateway_contradicts_is_a_line() -> None:
    """What a person stated would otherwise stay in the books beside what the gateway says."""
    lines = rules.review(_facts(stated="declined"), now=NOON)
    assert [line.kind for line in lines] == ["statement_contradicted"]
