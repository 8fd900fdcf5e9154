"""Recurring collection: mandates, collection plans, schedules, due items, pre-notifications."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from tether_client.billing import Warned
from tether_client.connection import Connection, given
from tether_client.pages import Page

__all__ = [
    "AnnouncementOrder",
    "AnnouncementResponse",
    "CollectionPlan",
    "DueItem",
    "Enrolled",
    "Enrolment",
    "Expected",
    "Forecast",
    "GivenResponse",
    "MandateRow",
    "NoticeResponse",
    "PlanDetail",
    "RecurringRoutes",
    "Schedule",
    "ScheduleDetail",
]


class MandateRow(msgspec.Struct, frozen=True):
    """
    A mandate.

    Attributes:
        id: Its row.
        account: The gateway account.
        debtor_id: The debtor who signed it.
        reference: As the debtor knows it.
        kind: "recurrent" or "one_off".
        state: Of its life cycle.
        iban_masked: The account it is for.
        signed_on: When it was signed.
        last_used_on: The day of its latest debit.
        uses: Due items that were ordered with it.
        is_of_other_account: Whether the debtor's account was changed since it was signed or amended.
        ended_at: When it was revoked or cancelled.
        ended_reason: Why.
        created_by: The name of the caller who added it.
        created_at: When that was.
        updated_at: When it last changed.
    """

    id: int
    account: str
    debtor_id: int
    reference: str
    kind: str
    state: str
    iban_masked: str
    signed_on: date
    last_used_on: date | None
    uses: int
    is_of_other_account: bool
    ended_at: datetime | None
    ended_reason: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class CollectionPlan(msgspec.Struct, frozen=True):
    """
    A collection plan.

    Attributes:
        id: Its row.
        name: For people.
        account: The gateway account.
        options: What its debits may do.
        state: Of its life cycle.
        state_reason: Why it is paused or ended.
        created_by: The name of the caller who added it.
        created_at: When that was.
        updated_at: When it last changed.
    """

    id: int
    name: str
    account: str
    options: dict[str, Any]
    state: str
    state_reason: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class PlanDetail(msgspec.Struct, frozen=True):
    """
    A collection plan and its schedules.

    Attributes:
        plan: The plan.
        schedules: Its live schedules.
        amount_minor: Their money on each due date.
        waiting: Due items that wait to be collected.
        waiting_minor: The money of these.
    """

    plan: CollectionPlan
    schedules: int
    amount_minor: int
    waiting: int
    waiting_minor: int


class Expected(msgspec.Struct, frozen=True):
    """
    What one day is expected to collect.

    Attributes:
        on: The day, a TARGET day.
        count: Debits that fall due and could be made.
        amount_minor: Their money.
        deferred: Debits beyond the daily cap, that move to the next TARGET day; included in that day, too.
    """

    on: date
    count: int
    amount_minor: int
    deferred: int = 0


class Forecast(msgspec.Struct, frozen=True):
    """
    What the next days are expected to collect; nothing is changed.

    Attributes:
        from_on: The first day.
        days: How many days.
        count: Debits in all.
        amount_minor: Their money.
        expected: The days on which something is expected. Returns, exclusions and holds are not known before, and not counted off.
    """

    from_on: date
    days: int
    count: int
    amount_minor: int
    expected: list[Expected]


class Schedule(msgspec.Struct, frozen=True):
    """
    One debtor under a collection plan.

    Attributes:
        id: Its row.
        collection_plan_id: The plan.
        debtor_id: Who pays.
        mandate_id: By which mandate.
        amount_minor: What is owed on each due date, whole minor units.
        first_due_on: The first due date.
        last_due_on: No due date after this; `None` for no end.
        next_number: The number of the next due date without a due item.
        make_on: When that item is made; `None` where no due date is left.
        state: Of its life cycle.
        state_reason: Why it is paused or ended.
        created_by: The name of the caller who added it.
        created_at: When that was.
        updated_at: When it last changed.
    """

    id: int
    collection_plan_id: int
    debtor_id: int
    mandate_id: int
    amount_minor: int
    first_due_on: date
    last_due_on: date | None
    next_number: int
    make_on: date | None
    state: str
    state_reason: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class DueItem(msgspec.Struct, frozen=True):
    """
    What a schedule owes on a due date.

    Attributes:
        id: Its row.
        schedule_id: The schedule.
        collection_plan_id: The plan.
        upload_id: The debtor's upload.
        debtor_id: Who pays.
        due_on: The due date.
        due_item: The name of what is owed.
        amount_minor: Whole minor units.
        is_last: Whether no due date follows.
        state: Of its life cycle.
        collect_from_on: The first day on which it could be ordered; `None` while its pre-notification is not given.
        collect_on: The next day on which it is ordered.
        reason: The last verdict against it, or why it is not collected.
        sequence: The sequence type of its debit.
        request: How its debit was requested.
        run_id: The run with its debit.
        ordered_on: When its debit was made.
        created_at: When the clock made it.
        updated_at: When it last changed.
    """

    id: int
    schedule_id: int
    collection_plan_id: int
    upload_id: int
    debtor_id: int
    due_on: date
    due_item: str
    amount_minor: int
    is_last: bool
    state: str
    collect_from_on: date | None
    collect_on: date | None
    reason: str | None
    sequence: str | None
    request: str | None
    run_id: int | None
    ordered_on: date | None
    created_at: datetime
    updated_at: datetime


class ScheduleDetail(msgspec.Struct, frozen=True):
    """
    A schedule with what belongs to it.

    Attributes:
        schedule: The schedule.
        mandate: Its mandate.
        due_items: The latest 200 due items, newest first.
    """

    schedule: Schedule
    mandate: MandateRow
    due_items: list[DueItem]


class Enrolled(msgspec.Struct, frozen=True):
    """
    What became of one debtor of an order to enrol.

    Attributes:
        debtor_id: The debtor.
        amount_minor: What is collected on each due date.
        verdict: "enrolled", or why not.
        text: The facts behind it.
        schedule_id: The schedule; `None` where there is none, and in a dry run.
    """

    debtor_id: int
    amount_minor: int
    verdict: str
    text: str
    schedule_id: int | None


class Enrolment(msgspec.Struct, frozen=True):
    """
    What became of the debtors of an order to enrol.

    Attributes:
        dry_run: Whether nothing was stored.
        enrolled: Debtors who got a schedule, or would get one.
        amount_minor: Their money on each due date.
        verdicts: All debtors that were looked at, by verdict.
        debtors: The first of those who got none, with the reason; at most 200.
        next: The cursor of the debtors after these; `None` for none.
        warnings: Of a dry run: debits of the debtors who would get a schedule that billing runs have collected or are collecting, by due item.
    """

    dry_run: bool
    enrolled: int
    amount_minor: int
    verdicts: dict[str, int]
    debtors: list[Enrolled]
    next: str | None
    warnings: list[Warned]


class NoticeResponse(msgspec.Struct, frozen=True):
    """
    A pre-notification.

    Attributes:
        id: Its row.
        status: "made" while it is to be given, "given", or "withdrawn".
        debtor_id: The debtor.
        name: The debtor's.
        email: The debtor's, or null.
        phone: The debtor's, or null.
        iban_masked: The account, masked.
        due_item: What is owed.
        due_on: When the account is debited.
        give_on: The last day on which it may be given without moving the debit.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        text: What the debtor reads.
        given_at: When it was given, or null.
        given_by: The adapter or key that gave it, or null.
    """

    id: int
    status: str
    debtor_id: int
    name: str
    email: str | None
    phone: str | None
    iban_masked: str
    due_item: str
    due_on: date
    give_on: date
    amount_minor: int
    currency: str
    text: str
    given_at: datetime | None
    given_by: str | None


class AnnouncementOrder(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order to announce a debit to the debtors of an upload; what is not set has the default of the server.

    Attributes:
        due_item: What is owed, as the run will say it.
        due_on: The day of the debit, such as "2026-12-14"; without it the first bank day that leaves the days.
        notice_days: How many calendar days the debtors have; the run states the same.
        account: The gateway account of the run.
        language: Of the built-in text.
        text: Your own text, with {amount} and {due_on}.
        creditor_name: In the text.
        creditor_id: The creditor identifier, in the text.
    """

    due_item: str | msgspec.UnsetType = msgspec.UNSET
    due_on: str | msgspec.UnsetType = msgspec.UNSET
    notice_days: int | msgspec.UnsetType = msgspec.UNSET
    account: str | msgspec.UnsetType = msgspec.UNSET
    language: str | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    creditor_name: str | msgspec.UnsetType = msgspec.UNSET
    creditor_id: str | msgspec.UnsetType = msgspec.UNSET


class AnnouncementResponse(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was announced.

    Attributes:
        due_item: What is owed.
        due_on: The day of the debit, as the debtors read it.
        give_on: The last day on which it may be given without moving the debit.
        debtors: Debtors whom a run would bill, so who are announced to.
        made: New pre-notifications; in a dry run how many there would be at most.
        existing: Debtors who have one of this due item and day already, given or not.
        withdrawn: Pre-notifications not given yet that stated another day or amount.
        skipped: Debtors whom no run would bill, by verdict.
        example: The text, as an invented debtor would read it.
    """

    due_item: str
    due_on: date
    give_on: date
    debtors: int
    made: int
    existing: int
    withdrawn: int
    skipped: dict[str, int]
    example: str


class GivenResponse(msgspec.Struct, frozen=True):
    """
    How many pre-notifications were stated as given.

    Attributes:
        given: Those that were to be given until now.
    """

    given: int


class RecurringRoutes(Connection):
    """Routes of recurring collection."""

    def mandates(
        self,
        *,
        account: str | None = None,
        debtor: int | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[MandateRow]:
        """Mandates, newest first."""
        return self._get("/api/mandates", Page[MandateRow], **given(locals()))

    def mandate(self, mandate_id: int) -> MandateRow:
        """One mandate."""
        return self._get(f"/api/mandates/{mandate_id}", MandateRow)

    def add_mandate(self, debtor_id: int, *, reference: str, signed_on: str, **more: str) -> MandateRow:
        """
        Add a mandate of a debtor, for the account that the debtor has now.

        Args:
            signed_on: A day such as "2026-03-02".
            more: Any of kind ("recurrent", "one_off") and account.
        """
        body = {**more, "debtor_id": debtor_id, "reference": reference, "signed_on": signed_on}
        return self._post("/api/mandates", body, MandateRow)

    def amend_mandate(self, mandate_id: int, *, signed_on: str, reason: str) -> MandateRow:
        """The debtor has signed for the account that the debtor has now."""
        body = {"signed_on": signed_on, "reason": reason}
        return self._post(f"/api/mandates/{mandate_id}/amend", body, MandateRow)

    def cancel_mandate(self, mandate_id: int, *, reason: str) -> MandateRow:
        """End a mandate, and the schedules that use it."""
        return self._post(f"/api/mandates/{mandate_id}/cancel", {"reason": reason}, MandateRow)

    def plans(
        self,
        *,
        status: str | None = None,
        account: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[CollectionPlan]:
        """Collection plans, newest first."""
        return self._get("/api/collection-plans", Page[CollectionPlan], **given(locals()))

    def plan(self, plan_id: int) -> PlanDetail:
        """One collection plan, and what waits to be collected."""
        return self._get(f"/api/collection-plans/{plan_id}", PlanDetail)

    def add_plan(
        self, name: str, *, options: Mapping[str, Any] | None = None, account: str | None = None
    ) -> CollectionPlan:
        """
        Add a collection plan; its schedules begin with `enrol`.

        Args:
            name: Once in the gateway account.
            options: What its debits may do, as in the OpenAPI document.
            account: The gateway account; `None` for the default one.
        """
        body: dict[str, Any] = {"name": name, "options": dict(options or {})}
        if account is not None:
            body["account"] = account
        return self._post("/api/collection-plans", body, CollectionPlan)

    def enrol(
        self, plan_id: int, upload_id: int, *, first_due_on: str, dry_run: bool = False, **more: Any
    ) -> Enrolment:
        """
        Give each debtor of an upload a schedule; at most 10,000 debtors an order.

        Args:
            first_due_on: A day such as "2027-02-01".
            dry_run: Only see who would get one.
            more: Any of last_due_on, mandate_signed_on, debtor_id and cursor (`Enrolment.next`).
        """
        body = {**more, "upload_id": upload_id, "first_due_on": first_due_on, "dry_run": dry_run}
        return self._post(f"/api/collection-plans/{plan_id}/schedules", body, Enrolment)

    def pause_plan(self, plan_id: int, *, reason: str) -> CollectionPlan:
        """After the response nothing of the plan is made, ordered or submitted."""
        return self._post(f"/api/collection-plans/{plan_id}/pause", {"reason": reason}, CollectionPlan)

    def resume_plan(self, plan_id: int) -> CollectionPlan:
        """Go on with a paused plan; due dates that passed meanwhile are missed."""
        return self._post(f"/api/collection-plans/{plan_id}/resume", None, CollectionPlan)

    def end_plan(self, plan_id: int, *, reason: str) -> CollectionPlan:
        """End a plan with all its schedules; open due items are waived."""
        return self._post(f"/api/collection-plans/{plan_id}/end", {"reason": reason}, CollectionPlan)

    def forecast(self, plan_id: int, *, days: int = 90) -> Forecast:
        """What the next days are expected to collect; nothing is changed."""
        return self._get(f"/api/collection-plans/{plan_id}/forecast", Forecast, days=days)

    def schedules(
        self, plan_id: int, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Schedule]:
        """The schedules of a plan, newest first."""
        query = {"status": status, "cursor": cursor, "limit": limit}
        return self._get(f"/api/collection-plans/{plan_id}/schedules", Page[Schedule], **query)

    def schedule(self, schedule_id: int) -> ScheduleDetail:
        """One schedule with its mandate and its due items."""
        return self._get(f"/api/schedules/{schedule_id}", ScheduleDetail)

    def pause_schedule(self, schedule_id: int, *, reason: str) -> Schedule:
        """After the response nothing of the schedule is made, ordered or submitted."""
        return self._post(f"/api/schedules/{schedule_id}/pause", {"reason": reason}, Schedule)

    def resume_schedule(self, schedule_id: int) -> Schedule:
        """Go on with a paused schedule; due dates that passed meanwhile are left out."""
        return self._post(f"/api/schedules/{schedule_id}/resume", None, Schedule)

    def end_schedule(self, schedule_id: int, *, reason: str) -> Schedule:
        """End a schedule; open due items are waived."""
        return self._post(f"/api/schedules/{schedule_id}/end", {"reason": reason}, Schedule)

    def due_items(
        self, plan_id: int, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[DueItem]:
        """The due items of a plan, newest first."""
        query = {"status": status, "cursor": cursor, "limit": limit}
        return self._get(f"/api/collection-plans/{plan_id}/due-items", Page[DueItem], **query)

    def recover_due_item(self, due_item_id: int, *, reason: str) -> DueItem:
        """Collect a missed due item."""
        return self._post(f"/api/due-items/{due_item_id}/recover", {"reason": reason}, DueItem)

    def waive_due_item(self, due_item_id: int, *, reason: str) -> DueItem:
        """Do not collect an open due item."""
        return self._post(f"/api/due-items/{due_item_id}/waive", {"reason": reason}, DueItem)

    def pre_notifications(
        self,
        *,
        status: str | None = None,
        upload: int | None = None,
        give_until: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[NoticeResponse]:
        """Pre-notifications, oldest first; *status* is "made", "given" or "withdrawn"."""
        return self._get("/api/pre-notifications", Page[NoticeResponse], **given(locals()))

    def announce(
        self, upload_id: int, order: AnnouncementOrder, *, dry_run: bool = False
    ) -> AnnouncementResponse:
        """Make a pre-notification for each debtor of an upload whom a run would bill; nobody gets two of one day."""
        body = {**msgspec.to_builtins(order), "dry_run": dry_run}
        return self._post(f"/api/uploads/{upload_id}/pre-notifications", body, AnnouncementResponse)

    def give_pre_notifications(self, ids: Sequence[int]) -> GivenResponse:
        """State that pre-notifications were given to their debtors; at most 10,000."""
        return self._post("/api/pre-notifications/give", {"ids": ids}, GivenResponse)
