from datetime import datetime, timedelta
from itertools import pairwise
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st
from tether_core.notifications.confirmation import (
    HOLD_S,
    SCHEDULE_S,
    Confirm,
    must_be_confirmed,
    next_inquiry,
)
from tether_core.payments import stages

from tests.support.clock import NOON

jitters = st.floats(0, 1, exclude_max=True)


def _contradictions(jitter: float) -> list[datetime]:
    """When a report is contradicted whose inquiries are answered at once and always denied."""
    times = [NOON]
    while (at := next_inquiry(NOON, now=times[-1], jitter=jitter)) is not None:
        times.append(at)
    return times


@given(jitters)
def test_a_contradicted_report_is_inquired_over_seconds_hours_and_two_days(jitter: float) -> None:
    """A record that lags behind its notification loses a true chargeback for ever."""
    times = _contradictions(jitter)
    assert len(times) == len(SCHEDULE_S) + 1
    assert times[1] - NOON < timedelta(seconds=6)
    assert timedelta(days=2) <= times[-1] - NOON < timedelta(days=2, hours=5)


@given(jitters)
def test_two_contradictions_ten_minutes_apart_come_within_a_quarter_of_an_hour(jitter: float) -> None:
    """Refunds and debits wait for the second of them; a forger would freeze an account for an hour."""
    times = _contradictions(jitter)
    first = next(at for at in times if at - NOON >= timedelta(seconds=HOLD_S))
    assert first - NOON < timedelta(minutes=15)


@given(st.integers(0, 300_000), jitters)
def test_the_next_inquiry_is_later_and_the_schedule_ends(elapsed_s: int, jitter: float) -> None:
    """An inquiry in the past would be made at once, again and again; one without an end is never shown as contradicted."""
    now = NOON + timedelta(seconds=elapsed_s)
    at = next_inquiry(NOON, now=now, jitter=jitter)
    assert (at is None) == (elapsed_s >= SCHEDULE_S[-1])
    assert at is None or at > now


def test_inquiries_grow_rarer() -> None:
    """Steps that shrink would inquire about lies more often the older they are."""
    gaps = [later - earlier for earlier, later in pairwise((0, *SCHEDULE_S))]
    assert all(later >= earlier for earlier, later in pairwise(gaps))


def test_what_is_believed_without_an_inquiry() -> None:
    """Whatever is not in this list and believed could be forged by whoever saw one notification of the payment."""
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
