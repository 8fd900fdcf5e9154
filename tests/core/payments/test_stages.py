import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp import codes
from tether_core.payments import stages
from tether_core.payments.attempt import state_of
from tether_core.testing import statuses

# Status -> the state of an attempt after this status alone; "-" where no attempt changes. Written down from
# the gateway's documentation v60.1 (transaction states) and its SDKs' constants, not from the module.
STATES = {
    "approved": "approved",
    "declined": "declined",
    "error": "error",
    "pending_async": "pending",
    "pending": "pending",
    "pending_hold": "pending",
    "pending_review": "pending",
    "in_progress": "pending",
    "unsuccessful": "error",
    "voided": "voided",
    "refunded": "refunded",
    "partially_reversed": "-",
    "chargebacked": "chargebacked",
    "chargeback_reversed": "approved",
    "represented": "approved",
    "representment_reversed": "chargebacked",
    "second_chargebacked": "chargebacked",
    "pre_arbitrated": "-",
    "chargeback_reversal": "approved",
    "new": "pending",
    "user": "pending",
    "submitted": "pending",
    "timeout": "error",
    "enabled": "-",
    "disabled": "-",
    "active": "-",
    "invalidated": "-",
    "success": "-",
    "cancelled": "-",
    "accepted": "-",
    "changed": "-",
    "deleted": "-",
    "received": "-",
}
# Event -> the status beside it and the state it leads to.
EVENTS = {
    "chargeback": ("chargebacked", "chargebacked"),
    "chargeback_reversal": ("chargeback_reversed", "approved"),
    "representment": ("represented", "approved"),
    "representment_reversal": ("representment_reversed", "chargebacked"),
    "second_chargeback": ("second_chargebacked", "chargebacked"),
    "retrieval_request": ("chargebacked", "-"),
    "rapid_dispute_resolution": ("", "-"),
    "rapid_dispute_resolution_reversal": ("", "-"),
}


def _state(step: stages.Step | None) -> str:
    assert step is not None
    if step.track == "none":
        assert step.note
        return "-"
    return state_of(step.stage, 0) if step.track == "payment" else state_of(0, step.stage)


@pytest.mark.parametrize("status", sorted(STATES))
def test_every_documented_status_means_something(status: str) -> None:
    """A status excluded would park every notification that carries it; a wrong one would book the wrong state."""
    assert _state(stages.meaning(status, event=None)) == STATES[status]


def test_no_status_or_event_is_known_that_nobody_documents() -> None:
    """A status that slipped in unnoticed would be applied without anybody having decided what it means."""
    assert set(stages.STATUSES) == set(STATES)
    assert set(stages.EVENTS) == set(EVENTS)


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_documented_event_means_something(event: str) -> None:
    """An event excluded would park a chargeback; one read wrong would move money that did not move."""
    beside, expected = EVENTS[event]
    assert _state(stages.meaning(beside, event=event)) == expected


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_an_event_outranks_the_status_beside_it(event: str) -> None:
    """A retrieval request comes with status "chargebacked" and must not book one."""
    for status in [*STATES, "", "never_seen"]:
        assert stages.meaning(status, event=event) == stages.EVENTS[event]


@pytest.mark.parametrize(
    ("event", "status"), [(e, s) for e, (s, effect) in sorted(EVENTS.items()) if effect != "-"]
)
def test_a_status_says_the_same_with_and_without_its_event(event: str, status: str) -> None:
    """Accounts that get no `event` field would miss their chargebacks."""
    assert stages.meaning(status, event=None) == stages.meaning(status, event=event)


@given(statuses(known=False))
def test_an_unknown_status_has_no_meaning(status: str) -> None:
    """A status nobody has seen would be applied as something instead of being shown to a person."""
    assert stages.meaning(status, event=None) is None


@given(statuses(), st.text(min_size=1).filter(lambda event: event not in EVENTS))
def test_an_unknown_event_has_no_meaning_whatever_the_status(status: str, event: str) -> None:
    """An unknown event would be taken for its familiar status."""
    assert stages.meaning(status, event=event) is None


def test_a_twin_that_may_stand_leaves_the_outcome_open() -> None:
    """Code 450 is no refusal: the same debit may have been taken minutes before."""
    assert stages.meaning("error", event=None, error_code="450") == stages.Step(
        "payment", stages.UNKNOWN_TO_GATEWAY
    )


def test_a_decline_stays_a_decline_whatever_its_code() -> None:
    """A bank's no would be asked after as if it were open."""
    for code in codes.ERRORS:
        assert stages.meaning("declined", event=None, error_code=code) == stages.Step(
            "payment", stages.DECLINED
        )


def test_stages_grow_in_the_order_of_a_payments_life() -> None:
    """Taking the furthest stage would end in an earlier state if the numbers did not follow life."""
    payment = [
        stages.SENT,
        stages.UNKNOWN_TO_US,
        stages.IN_PROGRESS,
        stages.UNKNOWN_TO_GATEWAY,
        stages.ERROR,
        stages.DECLINED,
        stages.APPROVED,
        stages.VOIDED,
        stages.REFUNDED,
    ]
    dispute = [stages.UNDISPUTED, stages.CHARGEBACKED, stages.WON_BACK, stages.LOST_AGAIN]
    assert payment == sorted(set(payment))
    assert dispute == sorted(set(dispute))


@pytest.mark.parametrize("code", sorted(codes.ERRORS))
def test_an_error_with_an_open_outcome_is_unknown_to_the_gateway(code: str) -> None:
    """Taken for a failure, such a debit would be submitted again, and the debtor debited twice."""
    is_open = codes.error_meaning(code).outcome in {"unknown", "may_exist"}
    stage = stages.UNKNOWN_TO_GATEWAY if is_open else stages.ERROR
    assert stages.meaning("error", event=None, error_code=code) == stages.Step("payment", stage)
