"""
Events: facts about what has happened, in past tense, with a version.

An event is written to the `outbox` table in the same transaction as the change it reports, and delivered in order, at least
once. Its payload names rows by id and contains no IBAN, name or secret, so it may be sent anywhere. A new version of an event is a new class; subscribers read by `name` and `version`.

>>> attempt_status_changed = AttemptStatusChanged(attempt_id=7, transaction_id="t-7", before="pending", after="approved", cause="approved")
>>> name(attempt_status_changed), version(attempt_status_changed)
('attempt.status_changed', 1)
>>> decode(encode(attempt_status_changed)) == attempt_status_changed
True
>>> decode(b'{"event":"attempt_teleported.1"}')
Traceback (most recent call last):
    ...
tether_core.errors.Unreadable: This event cannot be read: Invalid value 'attempt_teleported.1' - at `$.event`.
"""

from typing import Final, TypeAlias, get_args

import msgspec

from tether_core.errors import Unreadable

__all__ = [
    "NAMES",
    "AmountMismatched",
    "AttemptStatusChanged",
    "ClockStepped",
    "DatabaseEpochChanged",
    "DebtorEdited",
    "DebtorErased",
    "DifferenceClosed",
    "DifferenceOpened",
    "DueItemStatusChanged",
    "Event",
    "ExcessDelivered",
    "IbanBlocked",
    "MandateStatusChanged",
    "PreNotificationStatusChanged",
    "ReasonUnknown",
    "RefundChargedBack",
    "RefundStatusChanged",
    "ScheduleStatusChanged",
    "SubscriberDisabled",
    "decode",
    "encode",
    "name",
    "version",
]


class AttemptStatusChanged(msgspec.Struct, frozen=True, tag_field="event", tag="attempt.status_changed.1"):
    """
    The status of a billing attempt changed.

    Attributes:
        attempt_id: The billing attempt.
        transaction_id: Our id of the debit at the gateway.
        before: The previous status.
        after: The new status.
        cause: The status at the gateway, or our periodic task, that changed it.
        reason_code: The reason of a return or chargeback.
    """

    attempt_id: int
    transaction_id: str
    before: str
    after: str
    cause: str
    reason_code: str | None = None


class IbanBlocked(msgspec.Struct, frozen=True, tag_field="event", tag="iban.blocked.1"):
    """
    An IBAN was added to the blacklist because a debit of it was returned.

    Attributes:
        attempt_id: The returned debit.
        action: "hold" or "block".
        reason_code: The scheme's code.
        iban_masked: The masked IBAN, for people.
        policy_version: The version of the return policy that decided; 0 for the built-in one.
    """

    attempt_id: int
    action: str
    reason_code: str
    iban_masked: str
    policy_version: int = 0


class ReasonUnknown(msgspec.Struct, frozen=True, tag_field="event", tag="reason.unrecognized.1"):
    """
    A debit was returned with an unknown reason or none; a person should look.

    Attributes:
        attempt_id: The returned debit.
        reason_code: As received, or `None`.
    """

    attempt_id: int
    reason_code: str | None


class AmountMismatched(msgspec.Struct, frozen=True, tag_field="event", tag="amount.mismatched.1"):
    """
    A notification has another amount than the attempt, which keeps its amount; a person should look.

    Attributes:
        attempt_id: The debit.
        ours_minor: The amount of the attempt.
        theirs_minor: The amount in the notification.
    """

    attempt_id: int
    ours_minor: int
    theirs_minor: int


class RefundStatusChanged(msgspec.Struct, frozen=True, tag_field="event", tag="refund.status_changed.1"):
    """
    The status of a refund or void changed.

    Attributes:
        refund_id: The refund or void.
        attempt_id: The debit.
        kind: "refund" or "void".
        transaction_id: Our id of the refund or void at the gateway.
        before: The previous status.
        after: The new status.
        cause: The status at the gateway, or our periodic task, that changed it.
    """

    refund_id: int
    attempt_id: int
    kind: str
    transaction_id: str
    before: str
    after: str
    cause: str


class RefundChargedBack(msgspec.Struct, frozen=True, tag_field="event", tag="refund.charged_back.1"):
    """
    A debit was refunded by us and charged back by the debtor's bank; a person should claim one amount back.

    Attributes:
        attempt_id: The debit.
    """

    attempt_id: int


class DatabaseEpochChanged(msgspec.Struct, frozen=True, tag_field="event", tag="database.epoch_changed.1"):
    """
    The database went back to an older state, or another server took over; unfinished submissions need a status inquiry first.

    Events of the lost history may be missing, and their ids may be reused.

    Attributes:
        epoch: The number of the new epoch.
        reason: How it was detected, as in `tether_core.database_epoch`.
    """

    epoch: int
    reason: str


class ClockStepped(msgspec.Struct, frozen=True, tag_field="event", tag="clock.stepped.1"):
    """
    The clock of Postgres or of a machine was set; grace periods restart (`tether_core.clock_steps`).

    Attributes:
        clock: "postgres" or "machine".
        by_ms: The step in milliseconds; negative for a step back.
    """

    clock: str
    by_ms: int


class DifferenceOpened(msgspec.Struct, frozen=True, tag_field="event", tag="difference.opened.1"):
    """
    The gateway's records and ours differ; a person should look (`tether_core.reconciliation.differences`).

    Attributes:
        difference_id: The difference.
        kind: The kind of difference.
        attempt_id: The debit.
        ours: What our records say.
        theirs: What the gateway's records, or those of the other debit, say.
    """

    difference_id: int
    kind: str
    attempt_id: int
    ours: str
    theirs: str


class DifferenceClosed(msgspec.Struct, frozen=True, tag_field="event", tag="difference.closed.1"):
    """
    A difference was resolved, or a person acknowledged it.

    Attributes:
        difference_id: The difference.
        kind: The kind of difference.
        attempt_id: The debit.
        state: "resolved" by the facts, or "acknowledged" by a person.
    """

    difference_id: int
    kind: str
    attempt_id: int
    state: str


class ExcessDelivered(msgspec.Struct, frozen=True, tag_field="event", tag="notifications.excess_delivered.1"):
    """
    More notifications were received than are stored for a payment, key or account; a flood with valid signatures is possible.

    Attributes:
        kind: Kind of the notification that represents them, the event's `webhook_event_id`.
        deliveries: Their number when the event was written.
    """

    kind: str
    deliveries: int


class DebtorEdited(msgspec.Struct, frozen=True, tag_field="event", tag="debtor.edited.1"):
    """
    A person edited a debtor, and it was screened again.

    Attributes:
        debtor_id: The debtor.
        upload_id: Its upload.
        version: Of the debtor now, from 1.
        fields: The names of the fields that were changed; none where it was only screened again.
        verdict_before: Of screening, before.
        verdict: Of screening now; "clear" for a debtor that may be billed.
    """

    debtor_id: int
    upload_id: int
    version: int
    fields: tuple[str, ...]
    verdict_before: str
    verdict: str


class DebtorErased(msgspec.Struct, frozen=True, tag_field="event", tag="debtor.erased.1"):
    """
    The personal data of a debtor was erased; a receiver that has copies must erase them, too (`tether_core.erasures`).

    Attributes:
        debtor_id: The debtor.
        upload_id: Its upload; null for one that came with the debits of another system.
    """

    debtor_id: int
    upload_id: int | None


class SubscriberDisabled(msgspec.Struct, frozen=True, tag_field="event", tag="subscriber.disabled.1"):
    """
    Nothing more is sent to a subscriber until a person activates it; its events wait (`tether_core.subscribers.subscriber`).

    Attributes:
        subscriber_id: The subscriber.
        reason: "failing": no success for days; "gone": its endpoint answered 410.
    """

    subscriber_id: int
    reason: str


class MandateStatusChanged(msgspec.Struct, frozen=True, tag_field="event", tag="mandate.status_changed.1"):
    """
    The status of a mandate changed.

    Attributes:
        mandate_id: The mandate.
        debtor_id: The debtor who signed it.
        before: The previous status; "" for a new mandate.
        after: The new status.
    """

    mandate_id: int
    debtor_id: int
    before: str
    after: str


class ScheduleStatusChanged(msgspec.Struct, frozen=True, tag_field="event", tag="schedule.status_changed.1"):
    """
    The status of a schedule of a collection plan changed.

    Attributes:
        schedule_id: The schedule.
        debtor_id: Its debtor.
        before: The previous status; "" for a new schedule.
        after: The new status.
        reason: Why it is paused or ended, as a code; "" for a new or resumed one.
    """

    schedule_id: int
    debtor_id: int
    before: str
    after: str
    reason: str


class DueItemStatusChanged(msgspec.Struct, frozen=True, tag_field="event", tag="due_item.status_changed.1"):
    """
    The status of a due item of a schedule changed.

    Attributes:
        due_item_id: The due item.
        schedule_id: Its schedule.
        debtor_id: Its debtor.
        due_item: What is owed, named by its due date.
        before: The previous status; "" for a new due item.
        after: The new status.
        reason: The verdict against it, or why it is not collected; "" for none.
    """

    due_item_id: int
    schedule_id: int
    debtor_id: int
    due_item: str
    before: str
    after: str
    reason: str


class PreNotificationStatusChanged(
    msgspec.Struct, frozen=True, tag_field="event", tag="pre_notification.status_changed.1"
):
    """
    A pre-notification is to be given to its debtor, was given, or is withdrawn.

    Attributes:
        pre_notification_id: The pre-notification; its text is read through the API.
        debtor_id: The debtor.
        due_item: What is owed.
        due_on: The day of the debit, as an ISO 8601 date.
        before: The previous status; "" for a new one.
        after: The new status.
    """

    pre_notification_id: int
    debtor_id: int
    due_item: str
    due_on: str
    before: str
    after: str


Event: TypeAlias = (
    DatabaseEpochChanged
    | ClockStepped
    | AttemptStatusChanged
    | IbanBlocked
    | ReasonUnknown
    | AmountMismatched
    | RefundStatusChanged
    | RefundChargedBack
    | DifferenceOpened
    | DifferenceClosed
    | ExcessDelivered
    | DebtorEdited
    | DebtorErased
    | SubscriberDisabled
    | MandateStatusChanged
    | ScheduleStatusChanged
    | DueItemStatusChanged
    | PreNotificationStatusChanged
)

_decoder = msgspec.json.Decoder(Event)


def _named(kind: type[Event]) -> str:
    return str(kind.__struct_config__.tag).rpartition(".")[0]


NAMES: Final = tuple(sorted({_named(kind) for kind in get_args(Event)}))


def name(event: Event) -> str:
    """The event's name in past tense, without its version."""
    return _named(type(event))


def version(event: Event) -> int:
    """The version of the event's form, from 1."""
    return int(_tag(event).rpartition(".")[2])


def encode(event: Event) -> bytes:
    """The event as one JSON object; its `event` member holds name and version."""
    return msgspec.json.encode(event)


def decode(data: bytes) -> Event:
    """
    Decode an event that `encode` made.

    Args:
        data: One JSON object.

    Returns:
        The event.

    Raises:
        Unreadable: when the bytes are not an event, or are of a newer version than this code knows.
    """
    try:
        event: Event = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Unreadable("event", why=str(exc)) from exc
    return event


def _tag(event: Event) -> str:
    return str(type(event).__struct_config__.tag)
