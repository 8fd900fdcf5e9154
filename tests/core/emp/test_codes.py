import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp import codes
from tether_core.payments.attempt import state_of
from tether_core.testing import statuses

# Status -> the state an attempt shows that has heard nothing else; "-" where nothing of ours moves. Written down from
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
# Every error code of the documentation and the SDKs, by what it says about the debit.
UNKNOWN = "100 101 200 210 230 240 250 630 950 960"
REFUSED = """
    110 120 220 300 310 320 330 331 340 350 360 400 410 420 430 440 500 501 510 511 520 530 540 550 551 600 601 602
    609 610 611 612 613 614 615 620 621 622 623 624 625 626 627 628 629 690 691 692 693 694 695 696 697 700 701 702
    703 710 720 730 731 732 740 741 742 743 744 750 751 800 801 802 803 804 805 806 900 910 920 930 940
"""
OTHER = {
    "450": "may_exist",
    "460": "not_found",
    "470": "none_found",
    "471": "none_found",
    "480": "none_found",
    "490": "none_found",
}


def _state(step: codes.Step | None) -> str:
    assert step is not None
    if step.track == "none":
        assert step.note
        return "-"
    return state_of(step.stage, 0) if step.track == "payment" else state_of(0, step.stage)


@pytest.mark.parametrize("status", sorted(STATES))
def test_every_documented_status_means_something(status: str) -> None:
    """A status excluded would park every notification that carries it; a wrong one would book the wrong state."""
    assert _state(codes.meaning(status, event=None)) == STATES[status]


def test_no_status_or_event_is_known_that_nobody_documents() -> None:
    """A status that slipped in unnoticed would be applied without anybody having decided what it means."""
    assert set(codes.STATUSES) == set(STATES)
    assert set(codes.EVENTS) == set(EVENTS)


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_documented_event_means_something(event: str) -> None:
    """An event excluded would park a chargeback; one read wrong would move money that did not move."""
    beside, expected = EVENTS[event]
    assert _state(codes.meaning(beside, event=event)) == expected


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_an_event_outranks_the_status_beside_it(event: str) -> None:
    """A retrieval request comes with status "chargebacked" and must not book one."""
    for status in [*STATES, "", "never_seen"]:
        assert codes.meaning(status, event=event) == codes.EVENTS[event]


@pytest.mark.parametrize(
    ("event", "status"), [(e, s) for e, (s, effect) in sorted(EVENTS.items()) if effect != "-"]
)
def test_a_status_says_the_same_with_and_without_its_event(event: str, status: str) -> None:
    """Accounts that get no `event` field would miss their chargebacks."""
    assert codes.meaning(status, event=None) == codes.meaning(status, event=event)


@given(statuses(known=False))
def test_an_unknown_status_has_no_meaning(status: str) -> None:
    """A status nobody has seen would be applied as something instead of being shown to a person."""
    assert codes.meaning(status, event=None) is None


@given(statuses(), st.text(min_size=1).filter(lambda event: event not in EVENTS))
def test_an_unknown_event_has_no_meaning_whatever_the_status(status: str, event: str) -> None:
    """An unknown event would be taken for its familiar status."""
    assert codes.meaning(status, event=event) is None


@pytest.mark.parametrize("code", UNKNOWN.split())
def test_codes_that_leave_the_outcome_open(code: str) -> None:
    """Taken for a refusal, such a debit would be sent again, and the debtor debited twice."""
    assert codes.error_meaning(code).outcome == "unknown"
    assert codes.meaning("error", event=None, error_code=code) == codes.Step(
        "payment", codes.UNKNOWN_TO_GATEWAY
    )


@pytest.mark.parametrize("code", REFUSED.split())
def test_codes_that_refuse(code: str) -> None:
    """Taken for open, a refused debit would be asked after for weeks."""
    assert codes.error_meaning(code).outcome == "refused"
    assert codes.meaning("error", event=None, error_code=code) == codes.Step("payment", codes.ERROR)


@pytest.mark.parametrize(("code", "outcome"), sorted(OTHER.items()))
def test_codes_that_are_neither(code: str, outcome: str) -> None:
    """An empty list would count as a failure, or a twin be debited beside the first."""
    assert codes.error_meaning(code).outcome == outcome


def test_a_twin_that_may_stand_leaves_the_outcome_open() -> None:
    """Code 450 is no refusal: the same debit may have been taken minutes before."""
    assert codes.meaning("error", event=None, error_code="450") == codes.Step(
        "payment", codes.UNKNOWN_TO_GATEWAY
    )


def test_a_decline_stays_a_decline_whatever_its_code() -> None:
    """A bank's no would be asked after as if it were open."""
    for code in [*UNKNOWN.split(), *REFUSED.split()]:
        assert codes.meaning("declined", event=None, error_code=code) == codes.Step("payment", codes.DECLINED)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("199", "unknown"),
        ("299", "unknown"),
        ("399", "refused"),
        ("599", "refused"),
        ("699", "refused"),
        ("955", "unknown"),
        ("999", "refused"),
        ("000", "unknown"),
        ("", "unknown"),
        ("95", "unknown"),
        ("9500", "unknown"),
        ("abc", "unknown"),
        ("²³⁰", "unknown"),
    ],
)
def test_unlisted_codes_are_read_by_their_group(code: str, outcome: str) -> None:
    """A new code of a new release would raise; outside every group the careful reading is "unknown"."""
    assert codes.error_meaning(code).outcome == outcome


@given(st.text(max_size=6))
def test_every_code_has_a_meaning(code: str) -> None:
    """A strange code would raise in the middle of a batch."""
    meaning = codes.error_meaning(code)
    assert meaning.text.endswith(".")


def test_stages_grow_in_the_order_of_a_payments_life() -> None:
    """Taking the furthest stage would end in an earlier state if the numbers did not follow life."""
    payment = [
        codes.SENT,
        codes.UNKNOWN_TO_US,
        codes.IN_PROGRESS,
        codes.UNKNOWN_TO_GATEWAY,
        codes.ERROR,
        codes.DECLINED,
        codes.APPROVED,
        codes.VOIDED,
        codes.REFUNDED,
    ]
    dispute = [codes.UNDISPUTED, codes.CHARGEBACKED, codes.WON_BACK, codes.LOST_AGAIN]
    assert payment == sorted(set(payment))
    assert dispute == sorted(set(dispute))
