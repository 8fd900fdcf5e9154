"""Refunds and voids, of a debit or of a run."""

from datetime import datetime

import msgspec

from tether_client.billing import DebitTotal

__all__ = ["ListedRefund", "NotVoided", "RunVoid", "RunVoidDetail", "RunVoidPreview"]


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
