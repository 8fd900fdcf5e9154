from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import events
from tether_core.errors import Rejected, Unreadable
from tether_core.events import (
    AmountMismatched,
    AttemptStatusChanged,
    ClockStepped,
    DatabaseEpochChanged,
    DebtorEdited,
    DebtorErased,
    DifferenceClosed,
    DifferenceOpened,
    DueItemStatusChanged,
    Event,
    ExcessDelivered,
    IbanBlocked,
    MandateStatusChanged,
    PreNotificationStatusChanged,
    ReasonUnknown,
    RefundChargedBack,
    RefundStatusChanged,
    ScheduleStatusChanged,
    SubscriberDisabled,
    decode,
    encode,
)

# What stands in outboxes already and must be read for ever.
RECORDED: list[tuple[bytes, Event]] = [
    (
        (
            b'{"event":"attempt.status_changed.1","attempt_id":7,"transaction_id":"t","before":"approved",'
            b'"after":"chargebacked","cause":"chargeback","reason_code":"AC04"}'
        ),
        AttemptStatusChanged(7, "t", "approved", "chargebacked", "chargeback", "AC04"),
    ),
    (
        b'{"event":"iban.blocked.1","attempt_id":7,"action":"block","reason_code":"AC04","iban_masked":"DE89****3000","policy_version":0}',
        IbanBlocked(7, "block", "AC04", "DE89****3000"),
    ),
    (b'{"event":"reason.unrecognized.1","attempt_id":7,"reason_code":null}', ReasonUnknown(7, None)),
    (
        b'{"event":"amount.mismatched.1","attempt_id":7,"ours_minor":1000,"theirs_minor":900}',
        AmountMismatched(7, 1000, 900),
    ),
    (
        (
            b'{"event":"refund.status_changed.1","refund_id":3,"attempt_id":7,"kind":"refund","transaction_id":"r",'
            b'"before":"pending","after":"approved","cause":"answered"}'
        ),
        RefundStatusChanged(3, 7, "refund", "r", "pending", "approved", "answered"),
    ),
    (b'{"event":"refund.charged_back.1","attempt_id":7}', RefundChargedBack(7)),
    (
        b'{"event":"subscriber.disabled.1","subscriber_id":3,"reason":"failing"}',
        SubscriberDisabled(3, "failing"),
    ),
    (
        b'{"event":"database.epoch_changed.1","epoch":2,"reason":"other timeline"}',
        DatabaseEpochChanged(2, "other timeline"),
    ),
    (b'{"event":"clock.stepped.1","clock":"postgres","by_ms":1200000}', ClockStepped("postgres", 1_200_000)),
    (
        (
            b'{"event":"difference.opened.1","difference_id":3,"kind":"state_differs","attempt_id":7,"ours":"approved",'
            b'"theirs":"declined"}'
        ),
        DifferenceOpened(3, "state_differs", 7, "approved", "declined"),
    ),
    (
        (b'{"event":"notifications.excess_delivered.1","kind":"payment","deliveries":9}'),
        ExcessDelivered("payment", 9),
    ),
    (
        b'{"event":"difference.closed.1","difference_id":3,"kind":"state_differs","attempt_id":7,"state":"resolved"}',
        DifferenceClosed(3, "state_differs", 7, "resolved"),
    ),
    (
        b'{"event":"debtor.edited.1","debtor_id":7,"upload_id":3,"version":1,"fields":["name"],"verdict_before":"blacklisted","verdict":"clear"}',
        DebtorEdited(7, 3, 1, ("name",), "blacklisted", "clear"),
    ),
    (
        b'{"event":"mandate.status_changed.1","mandate_id":5,"debtor_id":7,"before":"active","after":"revoked"}',
        MandateStatusChanged(5, 7, "active", "revoked"),
    ),
    (
        b'{"event":"schedule.status_changed.1","schedule_id":4,"debtor_id":7,"before":"active","after":"ended","reason":"completed"}',
        ScheduleStatusChanged(4, 7, "active", "ended", "completed"),
    ),
    (
        (
            b'{"event":"due_item.status_changed.1","due_item_id":9,"schedule_id":4,"debtor_id":7,"due_item":"2026-06-01",'
            b'"before":"waiting","after":"ordered","reason":""}'
        ),
        DueItemStatusChanged(9, 4, 7, "2026-06-01", "waiting", "ordered", ""),
    ),
    (
        (
            b'{"event":"pre_notification.status_changed.1","pre_notification_id":8,"debtor_id":7,"due_item":"2026-06-01",'
            b'"due_on":"2026-06-01","before":"","after":"made"}'
        ),
        PreNotificationStatusChanged(8, 7, "2026-06-01", "2026-06-01", "", "made"),
    ),
    (b'{"event":"debtor.erased.1","debtor_id":7,"upload_id":3}', DebtorErased(7, 3)),
]
ids = st.integers(-(2**63), 2**63 - 1)
words = st.text(st.characters(codec="utf-8"), max_size=20)
some_event = st.one_of(
    st.builds(AttemptStatusChanged, ids, words, words, words, words, st.none() | words),
    st.builds(IbanBlocked, ids, words, words, words),
    st.builds(ReasonUnknown, ids, st.none() | words),
    st.builds(AmountMismatched, ids, ids, ids),
    st.builds(RefundStatusChanged, ids, ids, words, words, words, words, words),
    st.builds(RefundChargedBack, ids),
    st.builds(DatabaseEpochChanged, ids, words),
    st.builds(ClockStepped, words, ids),
    st.builds(DifferenceOpened, ids, words, ids, words, words),
    st.builds(DifferenceClosed, ids, words, ids, words),
)


@pytest.mark.parametrize(("data", "event"), RECORDED)
def test_events_stored_stay_readable(data: bytes, event: Event) -> None:
    """A renamed field would leave every outbox row of the last release unread."""
    assert decode(data) == event
    assert encode(event) == data


def test_every_event_is_stored_here() -> None:
    """An event without a recorded form could change it unseen."""
    assert {type(event) for _, event in RECORDED} == set(get_args(Event))


@given(some_event)
def test_events_survive_the_outbox(event: Event) -> None:
    """A subscriber would read a false event."""
    assert decode(encode(event)) == event


@given(some_event)
def test_names_and_versions_stand_in_the_payload(event: Event) -> None:
    """Subscribers choose by name and version; a payload that says otherwise reaches the wrong one."""
    tag = msgspec.json.decode(encode(event))["event"]
    assert tag == f"{events.name(event)}.{events.version(event)}"
    assert events.version(event) >= 1


def test_names_are_distinct_and_past_tense() -> None:
    """Two events under one name would be decoded as one of them."""
    names = [events.name(event) for _, event in RECORDED]
    assert len(set(names)) == len(names)
    assert all(name.endswith(("ed", "back")) for name in names)


def test_a_field_of_a_later_release_is_passed_over() -> None:
    """In a rolling update the old worker would stop at the new one's events."""
    newer = b'{"event":"reason.unrecognized.1","attempt_id":7,"reason_code":"XX99","seen_at":"2026-03-02"}'
    assert decode(newer) == ReasonUnknown(7, "XX99")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"event":"attempt.status_changed.2"}',
        b'{"event":"attempt.status_changed"}',
        b'{"event":7}',
        b'{"event":"reason.unrecognized.1"}',
        b'{"event":"reason.unrecognized.1","attempt_id":"7","reason_code":null}',
        b'{"event":"reason.unrecognized.1","attempt_id":7,"reason_code":"\xff"}',
        b'{"event":"reason.unrecognized.1","attempt_id":' + b"1" * 5000 + b',"reason_code":null}',
        b'{"event":"reason.unrecognized.1","x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_event_is_refused(data: bytes) -> None:
    """One damaged row would stop the relay for all behind it."""
    with pytest.raises(Unreadable):
        decode(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_an_event_or_refused(data: bytes) -> None:
    """Any other exception would stop the relay."""
    with pytest.raises(Rejected):
        decode(data)


def test_no_event_has_room_for_personal_data() -> None:
    """Events travel to subscribers outside; a field for an IBAN or a name would take it along."""
    fields = {field for kind in get_args(Event) for field in kind.__struct_fields__}
    assert fields == {
        "attempt_id",
        "difference_id",
        "ours",
        "state",
        "theirs",
        "refund_id",
        "kind",
        "transaction_id",
        "before",
        "after",
        "cause",
        "reason_code",
        "action",
        "iban_masked",
        "policy_version",
        "ours_minor",
        "theirs_minor",
        "epoch",
        "clock",
        "by_ms",
        "reason",
        "deliveries",
        "subscriber_id",
        "mandate_id",
        "schedule_id",
        "due_item_id",
        "due_item",
        "due_on",
        "pre_notification_id",
        "debtor_id",
        "upload_id",
        "version",
        "fields",
        "verdict_before",
        "verdict",
    }
