"""Recurring collection: mandates, collection plans, schedules, due items, pre-notifications."""

from datetime import date, datetime
from typing import Any

import msgspec

__all__ = [
    "CollectionPlan",
    "DueItem",
    "Expected",
    "Forecast",
    "GivenResponse",
    "MandateRow",
    "NoticeResponse",
    "PlanDetail",
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


class GivenResponse(msgspec.Struct, frozen=True):
    """
    How many pre-notifications were stated as given.

    Attributes:
        given: Those that were to be given until now.
    """

    given: int
