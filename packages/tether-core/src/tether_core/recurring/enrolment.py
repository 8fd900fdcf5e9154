"""
Who gets a schedule of a collection plan, and why not.

| verdict | the debtor gets no schedule because |
|---|---|
| `screened_out` | its row was excluded when its file was read |
| `has_schedule` | it has one already |
| `other_currency` | the scheme moves euros only |
| `outside_price_bands` | the plan does not collect such an amount |
| `no_mandate` | its row names no mandate, and the order does not say when the debtors signed |
| `unreadable_mandate` | a spreadsheet program has damaged the reference of its mandate |
| `mandate_of_other_account` | the mandate is in use for another account |
| `mandate_for_one_debit` | the mandate is for one debit only |
| `mandate_ended` | the mandate was cancelled or revoked, and not signed again since |

>>> judge(EnrolmentFacts(verdict="clear", currency="EUR", amount_minor=500), options=PlanOptions(), signed_on=None).code
'no_mandate'
>>> judge(EnrolmentFacts(verdict="clear", currency="EUR", amount_minor=500), options=PlanOptions(), signed_on=date(2026, 1, 2)).code
'enrolled'
"""

from datetime import date
from typing import Final

import msgspec

from tether_core.billing.eligibility import Eligibility
from tether_core.errors import InvalidRequest
from tether_core.money import Money
from tether_core.payments.same_debit import is_damaged, plain
from tether_core.recurring.collection_plan import PlanOptions
from tether_core.recurring.mandate import Ended

__all__ = ["VERDICTS", "EnrolmentFacts", "judge", "reference_of", "require_dates"]

VERDICTS: Final = (
    "enrolled",
    "screened_out",
    "has_schedule",
    "other_currency",
    "outside_price_bands",
    "no_mandate",
    "unreadable_mandate",
    "mandate_of_other_account",
    "mandate_for_one_debit",
    "mandate_ended",
)


class EnrolmentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What decides whether a debtor gets a schedule.

    Attributes:
        verdict: Of screening.
        currency: ISO 4217.
        amount_minor: What is to be collected, whole minor units.
        has_schedule: Whether the debtor has a live one.
        reference: Of the mandate in the row; `None` for none.
        signed_on: When it was signed, by the row.
        is_of_other_account: Whether an active mandate with this reference is for another account.
        is_one_off: Whether an active mandate with this reference is for one debit.
        ended: The mandate of the account with this reference that has ended, where none is active; else `None`.
    """

    verdict: str
    currency: str
    amount_minor: int
    has_schedule: bool = False
    reference: str | None = None
    signed_on: date | None = None
    is_of_other_account: bool = False
    is_one_off: bool = False
    ended: Ended | None = None

    def __repr__(self) -> str:
        """Show the amount; the mandate is personal."""
        return f"EnrolmentFacts({self.amount_minor} {self.currency})"


def reference_of(debtor_id: int, reference: str | None) -> str:
    """
    The reference of a debtor's mandate.

    Args:
        debtor_id: The debtor.
        reference: Of the row; `None` for none.

    Returns:
        That of the row, else one that Tether makes.
    """
    return reference or f"T-{debtor_id}"


def judge(facts: EnrolmentFacts, *, options: PlanOptions, signed_on: date | None) -> Eligibility:
    """
    Whether a debtor gets a schedule.

    Args:
        facts: The facts.
        options: Of the plan.
        signed_on: When the debtors signed whose rows do not say it; `None` where only rows that say it count.

    Returns:
        "enrolled", or why not.
    """
    key = plain(facts.reference)
    amount = Money(facts.amount_minor, facts.currency)
    against: tuple[tuple[bool, str, str], ...] = (
        (facts.verdict != "clear", "screened_out", f"Screening has excluded the row: {facts.verdict}."),
        (facts.has_schedule, "has_schedule", "The debtor has a schedule already; end that first."),
        (
            facts.currency != "EUR",
            "other_currency",
            f"SEPA moves euros, and this is owed in {facts.currency}.",
        ),
        (
            not options.allows(facts.amount_minor),
            "outside_price_bands",
            f"The plan does not collect {amount}.",
        ),
        (
            is_damaged(key),
            "unreadable_mandate",
            "A spreadsheet program has damaged the reference of the mandate; edit the debtor.",
        ),
        (
            facts.signed_on is None and signed_on is None,
            "no_mandate",
            "The row does not say when the mandate was signed; give mandate_signed_on with the order.",
        ),
        (
            facts.is_of_other_account,
            "mandate_of_other_account",
            "The mandate is in use for another account; amend it, or have a new one signed.",
        ),
        (
            facts.is_one_off,
            "mandate_for_one_debit",
            "The mandate is for one debit; have a recurrent one signed.",
        ),
        (
            facts.ended is not None and facts.ended.holds(facts.signed_on or signed_on),
            "mandate_ended",
            ""
            if facts.ended is None
            else f"The mandate was {facts.ended.state} on {facts.ended.ended_on}, and not signed again since.",
        ),
    )
    return next(
        (Eligibility(code, text) for applies, code, text in against if applies), Eligibility("enrolled")
    )


def require_dates(first_due_on: date, last_due_on: date | None, *, today: date) -> None:
    """
    Refuse due dates that make no sense.

    Args:
        first_due_on: The first due date.
        last_due_on: No due date after this; `None` for no end.
        today: The day at the banks.

    Raises:
        InvalidRequest: when the first lies in the past or ten years ahead, or after the last.
    """
    if first_due_on < today:
        raise InvalidRequest(
            f"the first due date has passed; give {today} or a later day", field="first_due_on"
        )
    if (first_due_on - today).days > 3_660:
        raise InvalidRequest("give a day within ten years", field="first_due_on")
    if last_due_on is not None and last_due_on < first_due_on:
        raise InvalidRequest("is before the first due date", field="last_due_on")
