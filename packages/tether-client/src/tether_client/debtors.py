"""Debtors, as their files have them and as they were edited."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from tether_client.blacklist import ListedEntry
from tether_client.connection import Connection, given
from tether_client.notifications import WebhookEvent
from tether_client.pages import Page
from tether_client.vop import ListedCheck

__all__ = [
    "DebtorAction",
    "DebtorChange",
    "DebtorDetail",
    "DebtorHistory",
    "DebtorResponse",
    "DebtorRoutes",
    "EditResponse",
    "EditWarning",
    "ListedDebtor",
    "ListedEdit",
    "ListedProblem",
    "Verdict",
]


class Verdict(msgspec.Struct, frozen=True):
    """
    Why a row is excluded.

    Attributes:
        rule: The rule of screening.
        cause: The facts behind it, as a sentence.
        on: Of an earlier debit: its day.
        current_status: Its state.
        upload_id: Where it came from; `None` for another system.
    """

    rule: str
    cause: str
    on: date | None = None
    current_status: str | None = None
    upload_id: int | None = None


class ListedDebtor(msgspec.Struct, frozen=True):
    """
    A debtor in lists; the IBAN is masked.

    Attributes:
        id: Our row.
        upload_id: The upload of the debtor.
        row: Row number in the file.
        iban_masked: First and last four characters.
        name: Of the account holder.
        amount_minor: What is owed, in cents.
        currency: ISO 4217.
        reference: The creditor's reference.
        verdict: "clear", or the rule of screening that excludes it.
        cause: Why it is excluded.
        created_at: When it was stored.
        reasons: All reasons for which it is excluded; the verdict is the first.
        erased_at: When its personal data was erased; null where it was not.
    """

    id: int
    upload_id: int | None
    row: int | None
    iban_masked: str
    name: str
    amount_minor: int
    currency: str
    reference: str | None
    verdict: str
    cause: str | None
    created_at: datetime
    reasons: list[Verdict]
    erased_at: datetime | None = None


class DebtorDetail(msgspec.Struct, frozen=True):
    """
    A debtor with all columns of the file.

    Attributes:
        debtor: As in the list.
        first_name: If the file has names in two columns.
        last_name: The same.
        bic: The BIC in the file.
        mandate_id: The mandate.
        mandate_signed_on: The day the mandate was signed.
        customer_id: The creditor's customer number.
        email: For the pre-notification.
        phone: As in the file.
        street: Of the debtor's address.
        house_number: The same.
        postcode: The same.
        city: The same.
        province: The same.
        country: The same, ISO 3166 if it could be read.
        description: The text for the statement.
        born_on: Date of birth.
        national_id: As in the file.
        extra: Columns without a field, by their heading.
    """

    debtor: ListedDebtor
    first_name: str | None
    last_name: str | None
    bic: str | None
    mandate_id: str | None
    mandate_signed_on: date | None
    customer_id: str | None
    email: str | None
    phone: str | None
    street: str | None
    house_number: str | None
    postcode: str | None
    city: str | None
    province: str | None
    country: str | None
    description: str | None
    born_on: date | None
    national_id: str | None
    extra: dict[str, str] | None


class DebtorChange(msgspec.Struct, frozen=True):
    """
    A changed field.

    Attributes:
        field: Its name.
        before: The former value, account numbers masked; "" for none.
        after: The new value, likewise.
    """

    field: str
    before: str
    after: str


class ListedEdit(msgspec.Struct, frozen=True):
    """
    An edit in the history of a debtor.

    Attributes:
        version: Of the debtor since then, from 1.
        changes: The fields that differ, account numbers masked.
        reason: Why.
        verdict_before: Of screening, before.
        verdict_after: Of screening, afterwards.
        edited_by: Who.
        edited_at: When.
    """

    version: int
    changes: list[DebtorChange]
    reason: str
    verdict_before: str
    verdict_after: str
    edited_by: str
    edited_at: datetime


class ListedProblem(msgspec.Struct, frozen=True):
    """
    A warning about a row of a file.

    Attributes:
        row: Number of the row in the file.
        ordinal: Place among the problems of that row, from 0.
        level: "error" when the row is refused for it, else "warning".
        column: The column's header, or its letters.
        code: A stable word; docs/reference/spreadsheets.md lists them.
        excerpt: The cell, cut and masked.
        note: What is wrong and what to do, a sentence.
    """

    row: int
    ordinal: int
    level: str
    column: str
    code: str
    excerpt: str
    note: str


class DebtorResponse(msgspec.Struct, frozen=True):
    """
    One debtor.

    Attributes:
        debtor: All fields from the file; account numbers in the extra fields are masked.
        warnings: Warnings about the row of the file.
        version: How often it was edited; an edit names it.
        edits: Who changed what, newest first.
        obstacle: Why it cannot be edited now; null if it can.
    """

    debtor: DebtorDetail
    warnings: list[ListedProblem]
    version: int
    edits: list[ListedEdit]
    obstacle: str | None


class EditWarning(msgspec.Struct, frozen=True):
    """
    A warning about a new value.

    Attributes:
        field: The field.
        code: A code of the problems of files.
        note: What is wrong and what to do.
    """

    field: str
    code: str
    note: str


class EditResponse(msgspec.Struct, frozen=True):
    """
    What an edit did.

    Attributes:
        changes: The fields that differ, account numbers masked.
        verdict_before: The verdict of screening before.
        warnings: Warnings about the new values.
        debtor: The debtor now.
    """

    changes: list[DebtorChange]
    verdict_before: str
    warnings: list[EditWarning]
    debtor: DebtorResponse


class DebtorAction(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a person or a program did about a debtor.

    Attributes:
        acted_at: When.
        actor: Who.
        action: What was done, e.g. "refund.ordered".
        subject: The kind of thing it was done to, e.g. "attempt".
        subject_id: The id of that thing.
        reason: What the person gave as reason.
        change: What it changed, as a line.
    """

    acted_at: datetime
    actor: str
    action: str
    subject: str
    subject_id: str | None
    reason: str | None
    change: str


class DebtorHistory(msgspec.Struct, frozen=True, kw_only=True):
    """
    What happened to a debtor; each list has the newest 50 rows at most.

    Attributes:
        blacklist: Entries about its account, name, e-mail address and bank; `None` for callers who are limited to some gateway accounts.
        check: The check of its account; `None` where none was requested.
        notifications: Of its debits and their refunds.
        actions: What people did with it and what belongs to it; `None` for callers who may not read the audit.
    """

    blacklist: list[ListedEntry] | None
    check: ListedCheck | None
    notifications: list[WebhookEvent]
    actions: list[DebtorAction] | None


class DebtorRoutes(Connection):
    """Routes of debtors."""

    def clean_payers(self, *, days: int = 30, debits: int = 1, account: str | None = None) -> Iterator[bytes]:
        """People who paid and whose money never came back, as a CSV file in pieces."""
        return self._pieces("/api/debtors/clean-payers", **given(locals()))

    def debtors(self, *, cursor: str | None = None, limit: int = 50, **filters: Any) -> Page[ListedDebtor]:
        """
        Debtors, newest first.

        Args:
            filters: Any of upload, verdict, name, reference, iban_tail, sort.
        """
        return self._get("/api/debtors", Page[ListedDebtor], **{**filters, "cursor": cursor, "limit": limit})

    def debtor(self, debtor_id: int) -> DebtorResponse:
        """One debtor, with warnings and edits."""
        return self._get(f"/api/debtors/{debtor_id}", DebtorResponse)

    def debtor_history(self, debtor_id: int) -> DebtorHistory:
        """What happened to a debtor: blacklist, check, notifications, actions."""
        return self._get(f"/api/debtors/{debtor_id}/history", DebtorHistory)

    def edit_debtor(
        self,
        debtor_id: int,
        changes: Mapping[str, str | int | None],
        *,
        version: int,
        reason: str,
        collect: bool = False,
    ) -> EditResponse:
        """
        Edit a debtor, and screen it again.

        Args:
            changes: Field to its new value, `None` for none; amounts in minor units.
            version: The debtor's, for which the edit was made.
            collect: Whether it is collected where screening leaves that to a person.
        """
        body = {"version": version, "reason": reason, "changes": dict(changes), "collect": collect}
        return self._patch(f"/api/debtors/{debtor_id}", body, EditResponse)
