"""What a dossier holds: everything that is stored about one person, as a bank or the person gets it."""

from datetime import date, datetime

import msgspec

from tether_stores.debtor_edits import ListedEdit
from tether_stores.debtors.debtors import DebtorDetail
from tether_stores.reconciliation.differences import DifferenceLine
from tether_stores.reconciliation.gateway_refunds import GatewayRefund
from tether_stores.refunds.refunds import ListedRefund
from tether_stores.stated_outcomes import KeptStatement
from tether_stores.uploads.problems import ListedProblem

__all__ = [
    "Dossier",
    "DossierAction",
    "DossierCheck",
    "DossierDueItem",
    "DossierEntry",
    "DossierForgiven",
    "DossierInquiry",
    "DossierMandate",
    "DossierNotice",
    "DossierNotification",
    "DossierPayment",
    "DossierPaymentHistory",
    "DossierRow",
    "DossierSchedule",
]


class DossierCheck(msgspec.Struct, frozen=True, kw_only=True):
    """
    The check of an account before it was debited.

    Attributes:
        debtor_id: Whose account.
        state: "waiting", "checked" or "parked".
        provider: Who answered.
        score: How well all answers fit, in whole percent.
        answered: The share of answered questions, in whole percent.
        result: What the score means, see `tether_core.vop`.
        iban_answer: Whether the IBAN is one.
        bank_answer: Whether its bank is known.
        debit_answer: Whether the bank takes direct debits.
        country_answer: Whether account and debtor are of one country.
        name_answer: Whether the name is that of the account.
        name_percent: How well the names fit, in whole percent.
        bank_name: The bank's name.
        bic: The bank's BIC.
        requested_at: When it was requested.
        checked_at: When it was answered.
    """

    debtor_id: int
    state: str
    provider: str | None
    score: int | None
    answered: int | None
    result: str | None
    iban_answer: str | None
    bank_answer: str | None
    debit_answer: str | None
    country_answer: str | None
    name_answer: str | None
    name_percent: int | None
    bank_name: str | None
    bic: str | None
    requested_at: datetime
    checked_at: datetime | None


class DossierRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    A row of a file about the person.

    Attributes:
        debtor_id: The debtor.
        iban: Its account in clear; "" once it is erased.
        former_ibans: Accounts that it had before people edited it.
        debtor: All fields, as they are now.
        warnings: Warnings about the row when it was read.
        edits: What people changed, newest first.
        check: The check of its account.
    """

    debtor_id: int
    iban: str
    former_ibans: list[str]
    debtor: DebtorDetail
    warnings: list[ListedProblem]
    edits: list[ListedEdit]
    check: DossierCheck | None


class DossierMandate(msgspec.Struct, frozen=True, kw_only=True):
    """
    A mandate.

    Attributes:
        id: Its row.
        debtor_id: Whose it is.
        account: The gateway account.
        reference: The creditor's reference of it.
        kind: "recurrent" or "one_off".
        state: "active", "revoked" or "cancelled".
        iban_masked: The account it is for, masked.
        signed_on: When it was signed.
        last_used_on: The last day on which it was used.
        uses: How often it was used.
        created_at: When it was recorded.
        created_by: By whom.
        ended_at: When it ended.
        ended_reason: Why.
    """

    id: int
    debtor_id: int
    account: str
    reference: str
    kind: str
    state: str
    iban_masked: str
    signed_on: date
    last_used_on: date | None
    uses: int
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    ended_reason: str | None


class DossierSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """
    A schedule of a collection plan.

    Attributes:
        id: Its row.
        debtor_id: Whose it is.
        mandate_id: Its mandate.
        collection_plan: The name of the plan.
        amount_minor: What is collected each time, whole minor units.
        first_due_on: The first due date.
        last_due_on: The last due date.
        state: "active", "paused" or "ended".
        state_reason: Why it is paused or ended.
        created_at: When it was made.
    """

    id: int
    debtor_id: int
    mandate_id: int
    collection_plan: str
    amount_minor: int
    first_due_on: date
    last_due_on: date | None
    state: str
    state_reason: str | None
    created_at: datetime


class DossierDueItem(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a schedule owes on a due date.

    Attributes:
        schedule_id: Its schedule.
        due_item: Its name.
        due_on: Its due date.
        amount_minor: Whole minor units.
        state: "waiting", "missed", "ordered", "skipped" or "waived".
        reason: The verdict against it, or why it is not collected.
        sequence: The sequence type of the debit.
        run_id: The billing run that collects it.
        ordered_on: When it was ordered.
    """

    schedule_id: int
    due_item: str
    due_on: date
    amount_minor: int
    state: str
    reason: str | None
    sequence: str | None
    run_id: int | None
    ordered_on: date | None


class DossierNotice(msgspec.Struct, frozen=True, kw_only=True):
    """
    A pre-notification, with the proof that it was given.

    Attributes:
        id: Its row.
        debtor_id: Who is notified.
        due_item: What is owed.
        due_on: When the account is debited, by its text.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        text: What the debtor reads.
        state: "made", "given" or "withdrawn".
        given_at: When it was given.
        given_by: By which adapter or caller.
        created_at: When it was made.
    """

    id: int
    debtor_id: int
    due_item: str
    due_on: date
    amount_minor: int
    currency: str
    text: str
    state: str
    given_at: datetime | None
    given_by: str | None
    created_at: datetime


class DossierNotification(msgspec.Struct, frozen=True, kw_only=True):
    """
    A notification of the gateway, decoded.

    Attributes:
        id: Its row.
        notification_id: The gateway's id of what it is about.
        source: "webhook", or "report" for a fetched record.
        status: What it reports.
        event: What it reports besides, such as a chargeback.
        state: What became of it.
        outcome: The result of applying it.
        confirmed_status: The status by inquiry at the gateway.
        confirmed_at: When that was inquired.
        received_at: When it was received.
        handled_at: When it was applied.
        archive_id: The archive that it was read from.
        fields: Its fields, without signature and terminal; empty where it cannot be read.
    """

    id: int
    notification_id: str
    source: str
    status: str
    event: str | None
    state: str
    outcome: str | None
    confirmed_status: str | None
    confirmed_at: datetime | None
    received_at: datetime
    handled_at: datetime | None
    archive_id: int | None
    fields: dict[str, str]


class DossierForgiven(msgspec.Struct, frozen=True, kw_only=True):
    """
    A chargeback that a person has forgiven.

    Attributes:
        attempt_id: The debit.
        forgiven_at: When.
        reason: Why.
    """

    attempt_id: int
    forgiven_at: datetime
    reason: str


class DossierInquiry(msgspec.Struct, frozen=True, kw_only=True):
    """
    A status inquiry that a person ordered.

    Attributes:
        attempt_id: The debit.
        ordered_at: When.
        reason: Why.
        is_inquired: Whether the gateway was asked.
    """

    attempt_id: int
    ordered_at: datetime
    reason: str
    is_inquired: bool


class DossierPayment(msgspec.Struct, frozen=True, kw_only=True):
    """
    A debit.

    Attributes:
        id: The billing attempt.
        debtor_id: Whose account was debited.
        account: The gateway account.
        transaction_id: Our id of it at the gateway.
        unique_id: The gateway's id.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        state: Its state.
        error_code: The gateway's code of an error or decline.
        reason_code: The bank's reason of a return.
        iban_masked: The debited account, masked.
        due_item: What was owed.
        try_number: Which try it was.
        run_id: The billing run.
        created_at: When it was made.
        submitted_at: When it was submitted last.
        submission_count: Calls to the gateway.
        not_submitted_reason: Why it was not submitted.
        inquiry_count: Status inquiries without a final result.
        collected_on: When it was recorded as collected.
        returned_on: When it was recorded as returned.
        refunded_on: When it was recorded as refunded.
        return_handled_at: When its return was handled.
        retry_on: When it was to be tried again.
        retry_why: Why, or why not.
        updated_at: When it last changed.
        imported_at: When it was imported from another system.
    """

    id: int
    debtor_id: int
    account: str
    transaction_id: str
    unique_id: str | None
    amount_minor: int
    currency: str
    state: str
    error_code: str | None
    reason_code: str | None
    iban_masked: str
    due_item: str | None
    try_number: int | None
    run_id: int | None
    created_at: datetime
    submitted_at: datetime | None
    submission_count: int
    not_submitted_reason: str | None
    inquiry_count: int
    collected_on: date | None
    returned_on: date | None
    refunded_on: date | None
    return_handled_at: datetime | None
    retry_on: date | None
    retry_why: str | None
    updated_at: datetime
    imported_at: datetime | None


class DossierPaymentHistory(msgspec.Struct, frozen=True, kw_only=True):
    """
    A debit with everything that happened to it.

    Attributes:
        payment: The debit.
        refunds: Refunds and voids that were ordered here.
        gateway_refunds: Refunds of the gateway's back office.
        stated_outcomes: Outcomes that people stated.
        inquiries: Status inquiries that people ordered.
        differences: Differences between the gateway's records and ours.
        forgiven: Chargebacks that were forgiven.
        notifications: Notifications, the oldest first.
    """

    payment: DossierPayment
    refunds: list[ListedRefund]
    gateway_refunds: list[GatewayRefund]
    stated_outcomes: list[KeptStatement]
    inquiries: list[DossierInquiry]
    differences: list[DifferenceLine]
    forgiven: list[DossierForgiven]
    notifications: list[DossierNotification]


class DossierEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    An entry of the blacklist.

    Attributes:
        id: Its row.
        iban_masked: The account it is about, masked.
        name: The name it is about.
        email: The e-mail address it is about.
        action: "hold" or "block".
        scope: "iban", "mandate", "name" or "email".
        reason_code: Why it was made.
        note: Further explanation.
        source: "chargeback", "manual" or "import".
        attempt_id: The debit that caused it.
        created_at: When it was made.
        expires_at: When it expires.
        lifted_at: When it was lifted.
        lifted_reason: Why.
    """

    id: int
    iban_masked: str | None
    name: str | None
    email: str | None
    action: str
    scope: str
    reason_code: str
    note: str
    source: str
    attempt_id: int | None
    created_at: datetime
    expires_at: datetime | None
    lifted_at: datetime | None
    lifted_reason: str | None


class DossierAction(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a person or program of the creditor did about it.

    Attributes:
        acted_at: When.
        action: What, as in the audit.
        subject: The kind of thing.
        subject_id: Its id.
        actor: Who.
        reason: Why.
        change: What changed.
    """

    acted_at: datetime
    action: str
    subject: str
    subject_id: str | None
    actor: str
    reason: str | None
    change: str


class Dossier(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that is stored about one person.

    Attributes:
        format: The name and version of this form.
        made_at: When it was made.
        debtor_id: The debtor it was made for.
        rows: The rows of files about the person.
        mandates: Mandates.
        schedules: Schedules of collection plans.
        due_items: What these owed, by due date.
        pre_notifications: Pre-notifications, with proof.
        payments: Debits, the oldest first.
        blacklist: Entries of the blacklist.
        actions: What people and programs of the creditor did, the oldest first.
        unread: What could not be read, as sentences; empty for a complete dossier.
    """

    format: str
    made_at: datetime
    debtor_id: int
    rows: list[DossierRow]
    mandates: list[DossierMandate]
    schedules: list[DossierSchedule]
    due_items: list[DossierDueItem]
    pre_notifications: list[DossierNotice]
    payments: list[DossierPaymentHistory]
    blacklist: list[DossierEntry]
    actions: list[DossierAction]
    unread: list[str]
