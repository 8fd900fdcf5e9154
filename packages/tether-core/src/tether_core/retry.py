"""
Retry schedules: how long each kind of work waits before it is tried again, and when it is left to a person.

| schedule | retried | at its end |
|---|---|---|
| `NOTIFICATION_S` | applying a notification that failed | parked |
| `UNKNOWN_PAYMENT_S` | a notification of a payment that is not stored | parked |
| `CONFIRMATION_S` | a notification whose status inquiry had no result | parked |
| `CONTRADICTION_AGES_S` | a status inquiry about a report that the gateway contradicted; counts from the first contradiction | contradicted |
| `INQUIRY_S` | a status inquiry about an attempt or refund, by kind | left to the daily reports and a person |
| `GATEWAY_REFUND_S` | a status inquiry about a refund made in the gateway's back office | left to the daily reports |
| `SILENCE_S` | a status inquiry that the gateway did not answer; counts as no try | |
| `HELD_S` | a debit or refund that a hold defers (`tether_core.holds`) | |
| `REPORT_S` | fetching a report; the last wait repeats | |
| `ACCOUNT_CHECK_S` | a check of an account that the provider did not answer | parked |
| `DELIVERY_S` | an event that a subscriber did not take | given up |
| `UNSENT_DELIVERY_S` | an event that this process cannot send: no key opens the secret, or no broker is set; counts as no try | |

All values are seconds. Waits grow, so that a short failure ends soon and a long outage costs little.

>>> from datetime import UTC, datetime
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> next_try(NOTIFICATION_S, 1, now=noon, jitter=0.5).isoformat()
'2026-03-02T12:00:10+00:00'
>>> next_try(NOTIFICATION_S, len(NOTIFICATION_S) + 1, now=noon, jitter=0.5) is None
True
>>> next_by_age(CONTRADICTION_AGES_S, noon, now=noon, jitter=0.0).isoformat()
'2026-03-02T12:00:05+00:00'
"""

from datetime import datetime, timedelta
from typing import Final, Literal

__all__ = [
    "ACCOUNT_CHECK_S",
    "CONFIRMATION_S",
    "CONTRADICTION_AGES_S",
    "DELIVERY_S",
    "GATEWAY_REFUND_S",
    "HELD_S",
    "INQUIRY_S",
    "NOTIFICATION_S",
    "REPORT_S",
    "SILENCE_S",
    "UNKNOWN_PAYMENT_S",
    "UNSENT_DELIVERY_S",
    "next_by_age",
    "next_try",
]

_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400

# 10, 30 and 60 seconds for a short failure, then up to a day for an outage. Two days in all.
NOTIFICATION_S: Final = (10, 30, _MINUTE, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY)
# A notification may arrive before its payment is imported, so it waits a fortnight longer.
UNKNOWN_PAYMENT_S: Final = NOTIFICATION_S + (_DAY,) * 14
# Hourly for a fortnight: longer than any outage, and a chargeback is at most an hour late after it.
CONFIRMATION_S: Final = (10, 30, _MINUTE, 5 * _MINUTE, 30 * _MINUTE, *(_HOUR,) * 24 * 14)
# Seconds after the first contradiction. The first steps are for records that lag by seconds, the fifth follows
# `tether_core.notifications.confirmation.HOLD_S`, the hours are for batches of the gateway, the two days for a weekend in which
# one part of it was down.
CONTRADICTION_AGES_S: Final = (
    5,
    30,
    2 * _MINUTE,
    5 * _MINUTE,
    11 * _MINUTE,
    _HOUR,
    6 * _HOUR,
    24 * _HOUR,
    48 * _HOUR,
)
# After the 1st, 2nd, ... response without a final result.
INQUIRY_S: Final[dict[Literal["unknown", "pending"], tuple[int, ...]]] = {
    "unknown": (*(n * _MINUTE for n in (1, 2, 5, 15, 30)), *(n * _HOUR for n in (1, 4, 12, 24))),
    "pending": (*(n * _HOUR for n in (2, 4, 8, 16)), *(n * _DAY for n in (1, 1, 2, 3, 5))),
}
# The second wait is longer than `tether_core.notifications.confirmation.HOLD_S`.
GATEWAY_REFUND_S: Final = (_MINUTE, 11 * _MINUTE, _HOUR, 6 * _HOUR, *(_DAY,) * 6)
SILENCE_S: Final = 60
# A confirmation takes seconds; where it takes longer, the gateway is away.
HELD_S: Final = 20
REPORT_S: Final = (30, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR)
# An outage of a day.
ACCOUNT_CHECK_S: Final = (30, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, *(_HOUR,) * 24)
# Four and a half days: an endpoint that breaks on a Friday evening is repaired on Tuesday.
DELIVERY_S: Final = (
    5,
    30,
    2 * _MINUTE,
    10 * _MINUTE,
    30 * _MINUTE,
    *(n * _HOUR for n in (1, 2, 4, 8, 12)),
    *(_DAY,) * 3,
)
# It ends when a person corrects a setting; until then each look costs a query.
UNSENT_DELIVERY_S: Final = _MINUTE


def next_try(schedule_s: tuple[int, ...], failures: int, *, now: datetime, jitter: float) -> datetime | None:
    """
    Return when to try again, or `None` when the schedule has ended.

    Args:
        schedule_s: The wait after each failure.
        failures: Tries without a result so far, 1 or more.
        jitter: Drawn by the caller from [0, 1); spreads the wait by a tenth either way, so that rows that failed together are
            not all retried together.
    """
    if failures > len(schedule_s):
        return None
    return now + timedelta(seconds=schedule_s[max(failures, 1) - 1] * (0.9 + 0.2 * jitter))


def next_by_age(ages_s: tuple[int, ...], since: datetime, *, now: datetime, jitter: float) -> datetime | None:
    """
    Return the first time after *now* of a schedule that counts from one event, or `None` when it has ended.

    However many tries are made in between, they do not use the schedule up.

    Args:
        ages_s: Seconds after *since*, growing.
        since: The event.
        jitter: Drawn by the caller from [0, 1); delays by up to a tenth of the age, never hastens.
    """
    for age_s in ages_s:
        if since + timedelta(seconds=age_s) > now:
            return since + timedelta(seconds=age_s * (1 + 0.1 * jitter))
    return None
