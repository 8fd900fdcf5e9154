from typing import get_args

from tether_core.notifications.confirmation import (
    Confirm,
    must_be_confirmed,
)
from tether_core.payments import stages


def test_what_is_believed_without_an_inquiry() -> None:
    """A report outside this list is applied unconfirmed; a sender who saw one notification could then invent it."""
    believed = {
        confirm: {
            status
            for status, step in stages.STATUSES.items()
            if step.track != "none"
            and not must_be_confirmed(
                step.track, step.stage, payment_stage=stages.IN_PROGRESS, confirm=confirm
            )
        }
        for confirm in get_args(Confirm)
    }
    pending = {status for status, step in stages.STATUSES.items() if step.stage == stages.IN_PROGRESS}
    assert believed["failures"] == pending | {"approved"}
    assert believed["all"] == pending
    disputes = {status for status, step in stages.STATUSES.items() if step.track == "dispute"}
    money = {status for status, step in stages.STATUSES.items() if step.track != "none"}
    assert believed["chargebacks"] == money - disputes
    assert believed["off"] == money
