from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import retry
from tether_core.notifications.confirmation import HOLD_S
from tether_core.reconciliation.status_inquiry import TRIES_MAX

from tests.support.clock import NOON

SCHEDULES = [
    retry.NOTIFICATION_S,
    retry.UNKNOWN_PAYMENT_S,
    retry.CONFIRMATION_S,
    *retry.INQUIRY_S.values(),
    retry.GATEWAY_REFUND_S,
    retry.REPORT_S,
    retry.ACCOUNT_CHECK_S,
]
jitters = st.floats(0, 1, exclude_max=True)


def test_the_first_waits_are_ten_thirty_and_sixty_seconds() -> None:
    """The operators' runbooks count on these; most failures are over after the first."""
    waits = [retry.next_try(retry.NOTIFICATION_S, n, now=NOON, jitter=0.5) for n in (1, 2, 3)]
    assert waits == [NOON + timedelta(seconds=s) for s in (10, 30, 60)]


def test_no_count_of_failures_raises() -> None:
    """A row whose counter was never raised would raise instead of waiting."""
    for failures in (0, -1):
        at = retry.next_try(retry.NOTIFICATION_S, failures, now=NOON, jitter=0.5)
        assert at == NOON + timedelta(seconds=10)


@pytest.mark.parametrize("schedule_s", SCHEDULES)
def test_a_schedule_ends_and_never_before(schedule_s: tuple[int, ...]) -> None:
    """A schedule without an end hides a row for ever; one that ends early parks it for nothing."""
    tries = [
        retry.next_try(schedule_s, n, now=NOON, jitter=0.5) is None for n in range(1, len(schedule_s) + 3)
    ]
    assert tries == [False] * len(schedule_s) + [True, True]


@pytest.mark.parametrize("schedule_s", SCHEDULES)
def test_waits_never_shrink(schedule_s: tuple[int, ...]) -> None:
    """Waits that shrink hammer a system in trouble."""
    assert list(schedule_s) == sorted(schedule_s)


@given(st.sampled_from(SCHEDULES), st.data(), jitters)
def test_waits_spread_by_a_tenth(schedule_s: tuple[int, ...], data: st.DataObject, jitter: float) -> None:
    """Thousands of rows that failed together would all be retried in the same second; or before now, which spins."""
    failures = data.draw(st.integers(1, len(schedule_s)))
    planned_s = schedule_s[failures - 1]
    at = retry.next_try(schedule_s, failures, now=NOON, jitter=jitter)
    assert at is not None
    assert at.tzinfo is UTC
    assert 0.9 * planned_s - 1e-3 <= (at - NOON).total_seconds() <= 1.1 * planned_s + 1e-3


def test_notifications_wait_up_to_a_day() -> None:
    """Waits beyond a day are forgotten by the person who waits."""
    assert max(retry.UNKNOWN_PAYMENT_S) == 86_400


def test_an_unknown_payment_waits_a_fortnight_longer() -> None:
    """A notification that precedes its import by a week would be parked before the import."""
    longer_s = sum(retry.UNKNOWN_PAYMENT_S) - sum(retry.NOTIFICATION_S)
    assert timedelta(seconds=longer_s) == timedelta(days=14)


def test_a_confirmation_outlasts_an_outage() -> None:
    """A retry schedule that ends within days would park every chargeback of a long outage, for a person to click through."""
    assert sum(retry.CONFIRMATION_S) > timedelta(days=14).total_seconds()
    assert max(retry.CONFIRMATION_S) <= timedelta(hours=1).total_seconds()


def test_status_inquiries_have_as_many_waits_as_tries() -> None:
    """The inquiry after the last wait would never be made."""
    assert {len(waits_s) for waits_s in retry.INQUIRY_S.values()} == {TRIES_MAX - 1}


def test_a_pending_debit_is_inquired_for_as_long_as_results_take() -> None:
    """Results come within 14 working days; tries that end after a day would leave every slow bank to the reports."""
    assert sum(retry.INQUIRY_S["pending"]) > timedelta(days=13).total_seconds()


def test_a_gateway_refund_is_inquired_again_after_the_hold() -> None:
    """Two "not found" must be ten minutes apart before the refund counts as contradicted."""
    assert retry.GATEWAY_REFUND_S[1] > HOLD_S


def _contradictions(jitter: float) -> list[datetime]:
    """When a report is contradicted whose inquiries are answered at once and always denied."""
    times = [NOON]
    while at := retry.next_by_age(retry.CONTRADICTION_AGES_S, NOON, now=times[-1], jitter=jitter):
        times.append(at)
    return times


@given(jitters)
def test_a_contradicted_report_is_inquired_over_seconds_hours_and_two_days(jitter: float) -> None:
    """A record that lags behind its notification loses a true chargeback for ever."""
    times = _contradictions(jitter)
    assert len(times) == len(retry.CONTRADICTION_AGES_S) + 1
    assert times[1] - NOON < timedelta(seconds=6)
    assert timedelta(days=2) <= times[-1] - NOON < timedelta(days=2, hours=5)


@given(jitters)
def test_two_contradictions_ten_minutes_apart_come_within_a_quarter_of_an_hour(jitter: float) -> None:
    """Refunds and debits wait for the second of them; an invalid report would freeze an account for an hour."""
    times = _contradictions(jitter)
    first = next(at for at in times if at - NOON >= timedelta(seconds=HOLD_S))
    assert first - NOON < timedelta(minutes=15)


@given(st.integers(0, 300_000), jitters)
def test_the_next_inquiry_is_later_and_the_schedule_ends(elapsed_s: int, jitter: float) -> None:
    """An inquiry in the past would be made at once, again and again; one without an end is never shown as contradicted."""
    now = NOON + timedelta(seconds=elapsed_s)
    at = retry.next_by_age(retry.CONTRADICTION_AGES_S, NOON, now=now, jitter=jitter)
    assert (at is None) == (elapsed_s >= retry.CONTRADICTION_AGES_S[-1])
    assert at is None or at > now


def test_inquiries_about_a_contradicted_report_become_rarer() -> None:
    """Steps that shrink would inquire about invalid reports more often the older they are."""
    gaps = [later - earlier for earlier, later in pairwise((0, *retry.CONTRADICTION_AGES_S))]
    assert all(later >= earlier for earlier, later in pairwise(gaps))
