"""Refunds and voids, of a debit or of a run."""

from datetime import datetime

import msgspec

from tether_client.billing import DebitTotal
from tether_client.connection import Connection, given
from tether_client.pages import Page
from tether_client.payments import Closed

__all__ = [
    "ListedRefund",
    "NotVoided",
    "RefundRoutes",
    "RunVoid",
    "RunVoidDetail",
    "RunVoidPreview",
]


class ListedRefund(msgspec.Struct, frozen=True, kw_only=True):
    """
    A refund or void in lists.

    Attributes:
        id: Our row.
        attempt_id: The debit.
        kind: "refund" or "void".
        number: Of the order about this debit, from 1.
        account: The gateway account.
        transaction_id: Our id of the order, as the gateway knows it.
        unique_id: The gateway's id, or null until it is known.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        usage: The text on the statement.
        status: Its state.
        error_code: The gateway's code, for "error" and "declined".
        not_submitted_reason: Why it was not submitted, or null.
        submission_count: Calls begun.
        ordered_by: The name of the key it was ordered with.
        created_at: When.
        updated_at: When it last changed.
    """

    id: int
    attempt_id: int
    kind: str
    number: int
    account: str
    transaction_id: str
    unique_id: str | None
    amount_minor: int
    currency: str
    usage: str
    status: str
    error_code: str | None
    not_submitted_reason: str | None
    submission_count: int
    ordered_by: str
    created_at: datetime
    updated_at: datetime


class RunVoid(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order to void a run.

    Attributes:
        id: Our row.
        run_id: The run.
        state: "working" until every debit of the run was decided, then "finished"; voids may still be in
            progress then.
        usage: The text on the debtors' statements.
        reason: Why, for other people.
        ordered_by: The name of the key it was ordered with.
        created_at: When.
        updated_at: When it last went on.
        finished_at: When every debit was judged, or null.
    """

    id: int
    run_id: int
    state: str
    usage: str
    reason: str
    ordered_by: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


class NotVoided(msgspec.Struct, frozen=True, kw_only=True):
    """
    Debits that are not voided, for one reason.

    Attributes:
        code: The reason, a stable code.
        text: The reason as a sentence, with what to do.
        count: Number of debits.
        amount_minor: Their total.
    """

    code: str
    text: str
    count: int
    amount_minor: int


class RunVoidPreview(msgspec.Struct, frozen=True, kw_only=True):
    """
    What voiding a run would do now; nothing was changed.

    Attributes:
        run_id: The run.
        voids: Debits that would be voided; the gateway decides on each.
        refused: Debits that would not be voided, by reason.
    """

    run_id: int
    voids: DebitTotal
    refused: list[NotVoided]


class RunVoidDetail(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order to void a run, with its progress.

    Attributes:
        order: The order.
        debits: All planned debits of the run.
        judged: Debits among them that were judged so far.
        voids: Debits with a void, by its state: "approved" once the debit is voided, "declined" or
            "error" if the gateway refused it or it was not submitted.
        refused: Debits without a void, by reason.
    """

    order: RunVoid
    debits: DebitTotal
    judged: DebitTotal
    voids: dict[str, DebitTotal]
    refused: list[NotVoided]


class RefundRoutes(Connection):
    """Routes of refunds and voids."""

    def refunds(
        self,
        *,
        status: str | None = None,
        account: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ListedRefund]:
        """Refunds and voids of all payments, newest first."""
        return self._get("/api/refunds", Page[ListedRefund], **given(locals()))

    def state_refund_outcome(
        self, refund_id: int, outcome: str, *, reason: str, unique_id: str | None = None
    ) -> Closed:
        """State the outcome of a refund or void, as `state_outcome` does for a payment."""
        body = {"outcome": outcome, "reason": reason, "unique_id": unique_id}
        return self._post(f"/api/refunds/{refund_id}/outcome", body, Closed)

    def refunds_of(self, attempt_id: int) -> list[ListedRefund]:
        """The refunds and voids of a payment."""
        return self._get(f"/api/billing-attempts/{attempt_id}/refunds", list[ListedRefund])

    def refund(
        self,
        attempt_id: int,
        *,
        reason: str = "",
        usage: str | None = None,
        idempotency_key: str | None = None,
    ) -> ListedRefund:
        """Order the refund of a payment; *usage* is the text on the debtor's bank statement."""
        body = {"reason": reason} | ({} if usage is None else {"usage": usage})
        return self._order(f"/api/billing-attempts/{attempt_id}/refund", body, ListedRefund, idempotency_key)

    def void(
        self,
        attempt_id: int,
        *,
        reason: str = "",
        usage: str | None = None,
        idempotency_key: str | None = None,
    ) -> ListedRefund:
        """Order the void of a payment that was submitted today."""
        body = {"reason": reason} | ({} if usage is None else {"usage": usage})
        return self._order(f"/api/billing-attempts/{attempt_id}/void", body, ListedRefund, idempotency_key)

    def preview_run_void(self, run_id: int, *, reason: str) -> RunVoidPreview:
        """What voiding a run would do; nothing is changed."""
        body = {"reason": reason, "dry_run": True}
        return self._post(f"/api/billing-runs/{run_id}/void", body, RunVoidPreview)

    def void_run(self, run_id: int, *, reason: str, idempotency_key: str | None = None) -> RunVoid:
        """Order the void of all debits of a run that can still be voided."""
        return self._order(f"/api/billing-runs/{run_id}/void", {"reason": reason}, RunVoid, idempotency_key)

    def run_void(self, void_id: int) -> RunVoidDetail:
        """An order to void a run, with its progress."""
        return self._get(f"/api/run-voids/{void_id}", RunVoidDetail)
