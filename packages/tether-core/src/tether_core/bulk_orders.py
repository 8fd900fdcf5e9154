"""
Bulk orders: one action for everything that matches a filter.

A person filters a list, sees what an action would do to how many rows and how much money, says why, and orders it. A worker then goes
through the rows that match, a batch in a transaction, and does to each what the single order does, or keeps the reason why not. It can be
stopped between batches; a worker that dies leaves whole batches, and the next one continues after them.

| action | list | each row |
|---|---|---|
| replay | notifications | parked or contradicted: it is processed again |
| inquire | payments | submitted once: its status is inquired |
| void | payments | collected or submitted today, and no report speaks against it: a void is ordered |
| refund | payments of a run, an upload or a debtor | collected, past the return window, no report against it: a refund is ordered |
| lift | blacklist | active: it is lifted, and the disputes that caused it are forgiven |
| withdraw | uploads | nothing of it was submitted: it is withdrawn |
| pause_schedules, resume_schedules, end_schedules | schedules of a collection plan | it has this step: it is taken |
| recover | due items of a collection plan | missed: it is collected on the next TARGET day, or after its pre-notification |
| waive | due items of a collection plan | waiting or missed: it is not collected |
| redeliver | deliveries of a subscriber | the event is sent again with its former id |

Rows that are added after the preview, or after an order without one, are not part of it. Older rows may change in between, so a preview holds for `PREVIEW_HOLDS`:
an order by an older one is refused. An order without any filter is refused: it
would be about everything there is.

>>> filters_of("replay", {"status": "parked"})
NotificationFilter(status='parked', unique_id=None, account=None)
>>> filters_of("replay", {})
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: filters: Give at least one filter; without any it would be about everything.
>>> filters_of("void", {"runn": "7"})
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: filters: Object contains unknown field `runn`.
>>> filters_of("refund", {"status": "approved"})
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: filters: A refund of many debits needs one of run, upload and debtor.
>>> sorted(ACTS_ON["waive"]), sorted(ACTS_ON["resume_schedules"])
(['missed', 'waiting'], ['paused'])
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

import msgspec

from tether_core.audit import Action
from tether_core.banks import canonical
from tether_core.blacklist import Action as EntryAction
from tether_core.errors import InvalidRequest
from tether_core.notifications.filters import require_narrow
from tether_core.notifications.inbox import InboxState
from tether_core.payments.attempt import AttemptState
from tether_core.payments.filters import AttemptFilters, led_by
from tether_core.people.roles import Permission
from tether_core.recurring import due_item, schedule
from tether_core.recurring.due_item import DueItemState
from tether_core.recurring.schedule import ScheduleState
from tether_core.subscribers import delivery
from tether_core.subscribers.delivery import DeliveryState
from tether_core.uploads.upload import UploadState

__all__ = [
    "ACTS_ON",
    "FILTERS",
    "PERMISSIONS",
    "PREVIEW_HOLDS",
    "RECORDED",
    "TRANSITIONS",
    "BulkAction",
    "BulkOrderState",
    "BulkRefusal",
    "DeliveryFilter",
    "DueItemFilter",
    "EntryFilter",
    "Filter",
    "NotificationFilter",
    "PaymentFilter",
    "ScheduleFilter",
    "UploadFilter",
    "account_of",
    "attempt_filters",
    "filters_of",
    "require_recent",
]

BulkAction = Literal[
    "replay",
    "inquire",
    "void",
    "refund",
    "lift",
    "withdraw",
    "pause_schedules",
    "resume_schedules",
    "end_schedules",
    "recover",
    "waive",
    "redeliver",
]
BulkOrderState = Literal["working", "finished", "stopped"]
BulkOrderStep = Literal["advanced", "all done", "stopped"]

# state x step -> state
TRANSITIONS: Final[dict[BulkOrderState, dict[BulkOrderStep, BulkOrderState]]] = {
    "working": {"advanced": "working", "all done": "finished", "stopped": "stopped"},
    "finished": {},
    "stopped": {},
}

# The permission that an action needs: that of its single order.
PERMISSIONS: Final[dict[BulkAction, Permission]] = {
    "replay": "notifications",
    "inquire": "reconciliation",
    "void": "refunds",
    "refund": "refunds",
    "lift": "blacklist",
    "withdraw": "uploads",
    "pause_schedules": "billing",
    "resume_schedules": "billing",
    "end_schedules": "billing",
    "recover": "billing",
    "waive": "billing",
    "redeliver": "notifications",
}
# What the audit says of each row: the action of its single order, and the kind of thing.
RECORDED: Final[dict[BulkAction, tuple[Action, str]]] = {
    "replay": ("notification.replayed", "notification"),
    "inquire": ("inquiry.ordered", "attempt"),
    "void": ("void.ordered", "attempt"),
    "refund": ("refund.ordered", "attempt"),
    "lift": ("blacklist.lifted", "blacklist_entry"),
    "withdraw": ("upload.withdrawn", "upload"),
    "pause_schedules": ("schedule.paused", "schedule"),
    "resume_schedules": ("schedule.resumed", "schedule"),
    "end_schedules": ("schedule.ended", "schedule"),
    "recover": ("due_item.recovered", "due_item"),
    "waive": ("due_item.waived", "due_item"),
    "redeliver": ("subscriber.replayed", "delivery"),
}


def _with_step(transitions: Mapping[Any, Mapping[Any, Any]], step: str) -> frozenset[str]:
    return frozenset(state for state, steps in transitions.items() if step in steps)


# The states of the rows to which something is done, for the actions that are judged by the state alone.
ACTS_ON: Final[dict[BulkAction, frozenset[str]]] = {
    "replay": frozenset({"parked", "contradicted"}),
    "lift": frozenset({"active"}),
    "pause_schedules": _with_step(schedule.TRANSITIONS, "paused"),
    "resume_schedules": _with_step(schedule.TRANSITIONS, "resumed"),
    "end_schedules": _with_step(schedule.TRANSITIONS, "ended"),
    "recover": _with_step(due_item.TRANSITIONS, "recovered"),
    "waive": _with_step(due_item.TRANSITIONS, "waived"),
    "redeliver": _with_step(delivery.TRANSITIONS, "replayed"),
}


class BulkRefusal(msgspec.Struct, frozen=True):
    """
    Why nothing is done to a row.

    Attributes:
        code: A stable word.
        text: A sentence.
    """

    code: str
    text: str


class NotificationFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Which notifications; as the parameters of `GET /api/webhook-events`.

    Attributes:
        status: In this state.
        unique_id: Of this id of the gateway.
        account: Of this gateway account.
    """

    status: InboxState | None = None
    unique_id: str | None = None
    account: str | None = None


class PaymentFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Which payments; as the parameters of `GET /api/billing-attempts`.

    Attributes:
        status: In this state.
        upload: Of the billing runs of this upload.
        run: Of this billing run.
        debtor: Of this debtor.
        account: Of this gateway account.
        reason_code: That came back for this reason.
        unique_id: With this id of the gateway.
        transaction_id: With this transaction id, which Tether gave.
        amount_min_minor: Of at least this amount, in whole minor units.
        amount_max_minor: Of at most this amount.
        created_from: Made at this time or later.
        created_to: Made before this time.
        updated_from: Last changed at this time or later.
        updated_to: Last changed before this time.
        country: From an account in this country.
        bank: Collected from an account at this bank.
    """

    status: AttemptState | None = None
    upload: int | None = None
    run: int | None = None
    debtor: int | None = None
    account: str | None = None
    reason_code: str | None = None
    unique_id: str | None = None
    transaction_id: str | None = None
    amount_min_minor: int | None = None
    amount_max_minor: int | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    updated_from: datetime | None = None
    updated_to: datetime | None = None
    country: str | None = None
    bank: str | None = None


class EntryFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Which blacklist entries; as the parameters of `GET /api/blacklist`. Names and addresses are no filters here: an order is kept permanently.

    Attributes:
        which: Active entries, ended ones, or both; `None` for active ones.
        action: With this action.
        source: Of this source.
        reason: For this reason.
        bic: That are written so: a BIC, or a beginning with a star (`tether_core.banks.canonical`).
    """

    which: Literal["live", "ended", "all"] | None = None
    action: EntryAction | None = None
    source: Literal["chargeback", "manual", "import", "automatic"] | None = None
    reason: str | None = None
    bic: str | None = None


class UploadFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Which uploads; as the parameters of `GET /api/uploads`.

    Attributes:
        status: In this state.
        filename: Whose file name contains this, in any case.
        account: That were billed with this gateway account, and with no other.
    """

    status: UploadState | None = None
    filename: str | None = None
    account: str | None = None


class ScheduleFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Which schedules; as the parameters of `GET /api/collection-plans/{id}/schedules`.

    Attributes:
        collection_plan: Of this collection plan.
        status: In this state.
    """

    collection_plan: int
    status: ScheduleState | None = None


class DueItemFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Which due items; as the parameters of `GET /api/collection-plans/{id}/due-items`.

    Attributes:
        collection_plan: Of this collection plan.
        status: In this state.
    """

    collection_plan: int
    status: DueItemState | None = None


class DeliveryFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Which deliveries; as the parameters of `GET /api/subscribers/{id}/deliveries`.

    Attributes:
        subscriber: To this subscriber.
        state: In this state.
    """

    subscriber: int
    state: DeliveryState | None = None


Filter: TypeAlias = (
    NotificationFilter
    | PaymentFilter
    | EntryFilter
    | UploadFilter
    | ScheduleFilter
    | DueItemFilter
    | DeliveryFilter
)
FILTERS: Final[dict[BulkAction, type[Filter]]] = {
    "replay": NotificationFilter,
    "inquire": PaymentFilter,
    "void": PaymentFilter,
    "refund": PaymentFilter,
    "lift": EntryFilter,
    "withdraw": UploadFilter,
    "pause_schedules": ScheduleFilter,
    "resume_schedules": ScheduleFilter,
    "end_schedules": ScheduleFilter,
    "recover": DueItemFilter,
    "waive": DueItemFilter,
    "redeliver": DeliveryFilter,
}
_ID_MAX: Final = 2**63 - 1
# What a person has seen may have changed by then: money that could not be refunded yesterday can be today.
PREVIEW_HOLDS: Final = timedelta(hours=1)


def filters_of(action: BulkAction, given: Mapping[str, str]) -> Filter:
    """
    The filter of an order.

    Args:
        action: What is ordered; it says which list is meant.
        given: The parameters of the list, as in its address; empty ones do not count.

    Raises:
        InvalidRequest: when a parameter is unknown or wrong, when there is none, or when the list could not be read by them.
    """
    known = {name: value for name, value in given.items() if value}
    try:
        found = msgspec.convert(known, type=FILTERS[action], strict=False)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(str(exc).partition(" - at")[0], field="filters") from exc
    if not known.keys() - {"which"}:
        raise InvalidRequest(
            "give at least one filter; without any it would be about everything", field="filters"
        )
    if isinstance(found, EntryFilter) and found.bic is not None:
        canonical(found.bic)
    if isinstance(found, NotificationFilter):
        require_narrow(found.account, status=found.status, unique_id=found.unique_id, field="filters")
    numbers = [value for value in msgspec.structs.astuple(found) if isinstance(value, int)]
    if any(not 0 <= number <= _ID_MAX for number in numbers):
        raise InvalidRequest("a number is out of range", field="filters")
    if isinstance(found, PaymentFilter):
        times = (found.created_from, found.created_to, found.updated_from, found.updated_to)
        if any(at is not None and at.tzinfo is None for at in times):
            raise InvalidRequest(
                "a time needs an offset from UTC, as in 2026-03-02T12:00:00Z", field="filters"
            )
        if action == "refund" and found.run is found.upload is found.debtor is None:
            raise InvalidRequest(
                "a refund of many debits needs one of run, upload and debtor", field="filters"
            )
        led_by(attempt_filters(found))
    return found


def require_recent(previewed_at: datetime, *, now: datetime) -> None:
    """
    Refuse an order by a preview that somebody saw long ago.

    Args:
        previewed_at: When the preview was made.

    Raises:
        InvalidRequest: when that is more than `PREVIEW_HOLDS` ago.
    """
    if abs(now - previewed_at) > PREVIEW_HOLDS:
        raise InvalidRequest("the preview is older than an hour; preview the order again", field="previewed")


def account_of(filters: Filter) -> str | None:
    """The gateway account that an order is limited to; `None` where it may be about several."""
    if isinstance(filters, PaymentFilter | NotificationFilter | UploadFilter):
        return filters.account
    return None


def attempt_filters(chosen: PaymentFilter) -> AttemptFilters:
    """The same filter by the names of `tether_core.payments.filters`."""
    return AttemptFilters(
        state=chosen.status,
        upload_id=chosen.upload,
        run_id=chosen.run,
        debtor_id=chosen.debtor,
        account=chosen.account,
        reason_code=chosen.reason_code,
        unique_id=chosen.unique_id,
        transaction_id=chosen.transaction_id,
        amount_min_minor=chosen.amount_min_minor,
        amount_max_minor=chosen.amount_max_minor,
        created_from=chosen.created_from,
        created_to=chosen.created_to,
        updated_from=chosen.updated_from,
        updated_to=chosen.updated_to,
        country=chosen.country,
        bank=chosen.bank,
    )
