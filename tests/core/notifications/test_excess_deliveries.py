import pytest
from hypothesis import given
from tether_core.emp.notification import FORM, Notification, decode
from tether_core.notifications.excess_deliveries import ROWS_PER_CLASS_MAX, report_class
from tether_core.payments import stages
from tether_core.testing import form_body, notifications


def _notification(**fields: str) -> Notification:
    return decode(form_body({"unique_id": "44177a21", **fields}), content_type=FORM)


def test_whatever_says_the_same_is_one_class() -> None:
    """A sender who varies words and ids under one signature would fill the table without end."""
    disputes = [
        _notification(status=f"s{n}", event="chargeback", chargeback_unique_id=str(n)) for n in range(50)
    ]
    assert {report_class(dispute) for dispute in disputes} == {"dispute 1"}
    assert {report_class(_notification(status=f"s{n}")) for n in range(50)} == {"unknown"}


@pytest.mark.parametrize("status", sorted(stages.STATUSES))
def test_another_stage_is_another_class(status: str) -> None:
    """A class that holds two stages could be full of one when the other comes: a chargeback would be dropped."""
    step = stages.STATUSES[status]
    same = {
        report_class(_notification(status=other)) for other, its in stages.STATUSES.items() if its == step
    }
    others = {
        report_class(_notification(status=other))
        for other, its in stages.STATUSES.items()
        if (its.track, its.stage) != (step.track, step.stage)
    }
    assert same == {report_class(_notification(status=status))}
    assert not same & others


@given(notifications())
def test_few_classes_bound_what_one_signature_stores(notification: Notification) -> None:
    """The number of rows of one payment is the number of classes times what is kept of each."""
    moved = {f"{its.track} {its.stage}" for its in stages.STATUSES.values() if its.track != "none"}
    classes = moved | {"unknown", "information", "wpf", "kyc", "apm_event", "other"}
    assert report_class(notification) in classes
    assert len(classes) * ROWS_PER_CLASS_MAX < 150
