"""
The review of a debit: the differences that our books show by themselves.

The gateway's statements are compared in `tether_core.reconciliation.comparison`; the kinds are in `tether_core.reconciliation.differences`.
"""

import math
from datetime import datetime, timedelta
from typing import Final

import msgspec

from tether_core.money import Money
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.reconciliation.comparison import refund_statement_contradicted, statement_contradicted
from tether_core.reconciliation.differences import Difference
from tether_core.reconciliation.status_inquiry import TRIES_MAX
from tether_core.stated_outcomes import StatedOutcome, is_contradicted
from tether_core.target_calendar import bank_day

__all__ = ["OPEN_DAYS_MAX", "WALK_MIN", "DebitFacts", "review", "walk_size"]

# Status inquiries about a pending debit end after some 14 days (`tether_core.reconciliation.status_inquiry`); one that could not be inquired
# about, because its account is gone or the gateway was silent, is shown a week later.
OPEN_DAYS_MAX: Final = 21
# Debits that the walk along all debits reviews in a minute at least: a second of work.
WALK_MIN: Final = 5_000


class DebitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the review of a debit looks at.

    Attributes:
        attempt: The debit.
        due_item: What it collects.
        submitted_at: When it was submitted, or made where it was not.
        inquiries: Status inquiries without a final result.
        collected_by: The debits that have collected its due item, ascending; itself among them where it has.
        refunds: Refunds and voids of it that the gateway approved, ours and those of its back office.
        unreachable_at: The names of the gateway identities it went to, where its outcome is unknown and none that is configured can
            be inquired; "" where it can.
        unreachable_refunds: The refunds and voids of it of which the same is true.
        stated: What a person stated of it last, or `None`.
        contradicted_refunds: The refunds and voids that a person stated not to have happened, and the gateway approved.
    """

    attempt: Attempt
    due_item: str
    submitted_at: datetime
    inquiries: int = 0
    collected_by: tuple[int, ...] = ()
    refunds: int = 0
    unreachable_at: str = ""
    unreachable_refunds: tuple[int, ...] = ()
    stated: StatedOutcome | None = None
    contradicted_refunds: tuple[int, ...] = ()


def review(facts: DebitFacts, *, now: datetime) -> list[Difference]:
    """
    What the books alone show of a debit.

    Args:
        facts: Of the debit.

    Returns:
        The differences of `REVIEWED` that hold now; open lines of these kinds that are not among them are over.
    """
    attempt = facts.attempt
    found = list[Difference]()
    first = min(facts.collected_by, default=attempt.id)
    if attempt.id in facts.collected_by and first != attempt.id:
        found.append(
            Difference(
                "collected_twice",
                attempt.id,
                facts.due_item,
                ours=f"{Money(attempt.amount_minor, attempt.currency)} for {facts.due_item}",
                theirs=f"collected by debit {first}",
                other_attempt_id=first,
            )
        )
    charged_back = attempt.state == "chargebacked"
    if attempt.refunded_and_charged_back or facts.refunds + charged_back > 1:
        ways = [f"{facts.refunds} refunds"] if facts.refunds > 1 else ["refund or void"]
        theirs = " and ".join([*ways, *(["chargeback"] if charged_back else [])])
        found.append(Difference("returned_twice", attempt.id, "", ours="returned once", theirs=theirs))
    is_open = attempt.state in {"pending", "unknown"} and attempt.payment_stage > stages.SENT
    if is_open and (facts.inquiries >= TRIES_MAX or now - facts.submitted_at > timedelta(days=OPEN_DAYS_MAX)):
        found.append(
            Difference(
                "pending_too_long",
                attempt.id,
                "",
                ours=f"{attempt.state}, submitted on {bank_day(facts.submitted_at)}",
                theirs="no outcome",
            )
        )
    return [*found, *_unreachable(facts), *_contradicted(facts)]


def _unreachable(facts: DebitFacts) -> list[Difference]:
    """Submissions of unknown outcome that nobody can inquire about, as the gateway identities are configured."""
    theirs = "cannot be inquired"
    found = list[Difference]()
    if facts.unreachable_at:
        ours = f"unknown, submitted on {bank_day(facts.submitted_at)} to {facts.unreachable_at}"
        found.append(Difference("unreachable_identity", facts.attempt.id, "", ours=ours, theirs=theirs))
    found += [
        Difference(
            "unreachable_identity",
            facts.attempt.id,
            f"refund {refund_id}",
            ours=f"refund or void {refund_id} unknown",
            theirs=theirs,
            refund_id=refund_id,
        )
        for refund_id in facts.unreachable_refunds
    ]
    return found


def _contradicted(facts: DebitFacts) -> list[Difference]:
    """Statements of people that the gateway has since contradicted."""
    found = list[Difference]()
    if facts.stated is not None and is_contradicted(facts.stated, facts.attempt):
        found.append(statement_contradicted(facts.attempt, stated=facts.stated, theirs=facts.attempt.state))
    found += [
        refund_statement_contradicted(facts.attempt.id, refund_id=refund_id)
        for refund_id in facts.contradicted_refunds
    ]
    return found


def walk_size(debits: int, *, hours: float) -> int:
    """
    How many debits the walk along all debits reviews in a minute.

    Args:
        debits: How many there are, about.
        hours: In how many hours the walk is to be over, above 0.

    Returns:
        At least `WALK_MIN`, so that the walk along few debits is over soon.

    >>> walk_size(10_000_000, hours=8), walk_size(1_000, hours=8)
    (20834, 5000)
    """
    return max(math.ceil(debits / (hours * 60)), WALK_MIN)
