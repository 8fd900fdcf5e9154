import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp import codes
from tether_core.payments.stages import EVENTS, STATUSES, meaning

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


@pytest.mark.parametrize("code", UNKNOWN.split())
def test_codes_that_leave_the_outcome_open(code: str) -> None:
    """Taken for a refusal, such a debit would be sent again, and the debtor debited twice."""
    assert codes.error_meaning(code).outcome == "unknown"


@pytest.mark.parametrize("code", REFUSED.split())
def test_codes_that_refuse(code: str) -> None:
    """Taken for open, a refused debit would be asked after for weeks."""
    assert codes.error_meaning(code).outcome == "refused"


@pytest.mark.parametrize(("code", "outcome"), sorted(OTHER.items()))
def test_codes_that_are_neither(code: str, outcome: str) -> None:
    """An empty list would count as a failure, or a twin be debited beside the first."""
    assert codes.error_meaning(code).outcome == outcome


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


@given(st.sampled_from(sorted(STATUSES)) | st.just(""), st.none() | st.sampled_from(sorted(EVENTS)))
def test_disputes_are_the_statuses_and_events_of_the_dispute_track(status: str, event: str | None) -> None:
    """The reason of a chargeback would be lost, or a decline's error code be read as a reason."""
    step = meaning(status, event=event)
    reason = codes.return_reason(status, event=event, reason_code=None, error_code="AC04")
    assert (reason is not None) == (step is not None and step.track == "dispute")
