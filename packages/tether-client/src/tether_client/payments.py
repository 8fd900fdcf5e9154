"""Billing attempts, here: payments."""

from datetime import date, datetime
from typing import Any

import msgspec

from tether_client.connection import Connection
from tether_client.pages import Page

__all__ = [
    "Closed",
    "ExposureResponse",
    "Forgiven",
    "ListedAttempt",
    "PaymentRoutes",
]


class ListedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """
    An attempt in lists and in the API.

    Attributes:
        id: Our row.
        transaction_id: Our id, as the gateway knows it.
        unique_id: The gateway's id, or `None` until it is known.
        status: The attempt's state.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        error_code: The gateway's code, for "error" and "declined".
        reason_code: Why money went back, where it did.
        debtor_id: The debtor.
        updated_at: When it last changed.
        run_id: The billing run it belongs to, or `None`.
        due_item: What is owed, or `None` where no run made it.
        try_number: Which try to collect that it is, from 1.
        submission_count: Calls begun for it.
        not_submitted_reason: Why it was not submitted, or `None`.
        account: The gateway account.
        created_at: When it was created.
    """

    id: int
    transaction_id: str
    unique_id: str | None
    status: str
    amount_minor: int
    currency: str
    error_code: str | None
    reason_code: str | None
    debtor_id: int
    updated_at: datetime
    run_id: int | None
    due_item: str | None
    try_number: int | None
    submission_count: int
    not_submitted_reason: str | None
    account: str
    created_at: datetime


class ExposureResponse(msgspec.Struct, frozen=True, kw_only=True):
    """
    The exposure of a debit.

    Attributes:
        attempt_id: The debit.
        status: Its state.
        settled_on: The estimated settlement day; the gateway does not report it.
        return_on: Last day on which the debtor's bank may return it.
        refund_on: Last day on which the debtor may demand a refund without a reason.
        unauthorised_on: Last day on which the debtor may claim that there was no mandate.
        final_on: The first day on which the debit cannot be returned or reclaimed any more.
        refundable: Whether it can be refunded today.
        refundable_why: Why, or why not and what to do, as a sentence.
        refundable_from: The first day on which it can be refunded, if only time is missing.
        voidable: Whether it can be voided today, before it goes to the banks.
        voidable_why: Why, or why not and what to do, as a sentence.
        retry_on: The day on which it is submitted again after a return.
        retry_why: Why on that day, or why not at all.
        return_policy_version: The version of the return policy that decided this; null without a return.
        refunded_and_charged_back: Whether it was both refunded and charged back.
    """

    attempt_id: int
    status: str
    settled_on: date
    return_on: date
    refund_on: date | None
    unauthorised_on: date | None
    final_on: date
    refundable: bool
    refundable_why: str
    refundable_from: date | None
    voidable: bool
    voidable_why: str
    retry_on: date | None
    retry_why: str | None
    return_policy_version: int | None
    refunded_and_charged_back: bool


class Forgiven(msgspec.Struct, frozen=True, kw_only=True):
    """
    A chargeback that is forgiven, and what still excludes its account.

    Attributes:
        attempt_id: The debit that was charged back.
        forgiven_by: Who forgave it.
        forgiven_at: When.
        reason: Why.
        is_new: Whether it was not forgiven before.
        unforgiven: Chargebacks of the account that still exclude it.
        still_held_by: The active blacklist entries of the account; lift these, too, if it is to be debited.
    """

    attempt_id: int
    forgiven_by: str
    forgiven_at: datetime
    reason: str
    is_new: bool
    unforgiven: int
    still_held_by: list[int]


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """
    A submission whose outcome a person has stated.

    Attributes:
        statement_id: The statement.
        attempt_id: The debit.
        refund_id: The refund or void, or null where it is about the debit.
        status: The state it has now.
        debit_status: The state of the debit now.
    """

    statement_id: int
    attempt_id: int
    refund_id: int | None
    status: str
    debit_status: str


class PaymentRoutes(Connection):
    """Routes of billing attempts."""

    def payments(self, *, cursor: str | None = None, limit: int = 50, **filters: Any) -> Page[ListedAttempt]:
        """
        Billing attempts, newest first.

        Args:
            filters: As in docs/guides/attempts.md, such as `status="chargebacked"`, `upload=7` or `created_from=...`.
        """
        query = {**filters, "cursor": cursor, "limit": limit}
        return self._get("/api/billing-attempts", Page[ListedAttempt], **query)

    def payment(self, attempt_id: int) -> ListedAttempt:
        """One billing attempt."""
        return self._get(f"/api/billing-attempts/{attempt_id}", ListedAttempt)

    def exposure(self, attempt_id: int) -> ExposureResponse:
        """Until when a payment can be returned, refunded or voided."""
        return self._get(f"/api/billing-attempts/{attempt_id}/exposure", ExposureResponse)

    def forgive_chargeback(self, attempt_id: int, *, reason: str) -> Forgiven:
        """Forgive the chargeback of a payment, so that it no longer excludes its account; entries of the blacklist stay."""
        return self._post(f"/api/billing-attempts/{attempt_id}/forgive", {"reason": reason}, Forgiven)

    def state_outcome(
        self, attempt_id: int, outcome: str, *, reason: str, unique_id: str | None = None
    ) -> Closed:
        """
        State the outcome of a payment whose status cannot be inquired any more.

        Args:
            outcome: "approved", "declined" or "never_arrived".
            reason: Where it was seen.
            unique_id: The gateway's id; needed for "approved".
        """
        body = {"outcome": outcome, "reason": reason, "unique_id": unique_id}
        return self._post(f"/api/billing-attempts/{attempt_id}/outcome", body, Closed)
