"""
Consequences of a return: for the debtor's account, for another try of the debit, and for refunds.

A return has a reason code (`tether_core.blacklist`), and the active version of the return policy (`tether_core.return_policies`) says what follows
from it for the account: nothing, a hold or a block. Where it says that the account merely lacked money (AM04), or says nothing at all (MS03), the same debit may be
tried again: twice at most, on days on which banks settle, some days apart, within six weeks, and not more of them
on one day than the operator allows. Every other reason ends it.

Money can be returned in two ways, by our refund and by the debtor's bank, and neither checks the other. So a debit is refunded only where it
is collected and no return can be pending any more, and never after it was
charged back. A debtor who was refunded may still turn to the bank, for 8 weeks without a reason and for 13 months
without a mandate; only a person can recover that money, so such a debit is shown
(`tether_core.payments.attempt.Attempt.refunded_and_charged_back`).

| the debit is | a refund is |
|---|---|
| not collected, voided, or its outcome unknown | refused: there is nothing to refund |
| refunded | refused: it was refunded |
| charged back, or a dispute about it is lost | refused: the bank gave it back |
| collected, and its bank may still return it unasked (5 TARGET days) | refused until then: a return may be on its way |
| collected, or won back | allowed |

Source: European Payments Council, EPC016-06, 4.3 and 4.4 (time limits); practice of European acquirers for tries after
a return (AM04 and MS03 only, twice, within 42 days).

>>> back_on = date(2026, 3, 27)
>>> after_return("AM04", returned_on=back_on, retries_done=0).retry_on
datetime.date(2026, 4, 1)
>>> after_return("AC04", returned_on=back_on, retries_done=0)
AfterReturn(action='block', scope='iban', retry_on=None, why='reason')
>>> after_return("MS03", returned_on=back_on, retries_done=2).why
'tried enough'
>>> collected = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)
>>> refund_allowed(collected, due_on=date(2026, 3, 2), today=date(2026, 3, 5))
RefundAllowed(allowed=False, why='return window', from_on=datetime.date(2026, 3, 10))
>>> after_return("AM04", returned_on=back_on, retries_done=0, per_day_max=0)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: per_day_max must be 1 or more.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from tether_core.blacklist import Action, Scope
from tether_core.errors import InvalidRequest
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.return_policies.policy import BUILT_IN, RETRIED, ReturnPolicy
from tether_core.target_calendar import Scheme, add_target_days, exposure, next_open, retry_dates

__all__ = [
    "RETRY_SPAN_DAYS",
    "AfterReturn",
    "RefundAllowed",
    "RetryWhy",
    "after_return",
    "is_too_late",
    "refund_allowed",
    "settles_on",
]

# Acquirers stop retries after six weeks.
RETRY_SPAN_DAYS: Final = 42
# Days after a full day that are searched for free capacity.
_SHIFT_DAYS_MAX: Final = 10

_DAY: Final = timedelta(days=1)

RetryWhy = Literal["reason", "listed", "tried enough", "too late", "no room", "retry"]


class AfterReturn(msgspec.Struct, frozen=True):
    """
    What follows from a return.

    Attributes:
        action: For the account: "none", "hold" or "block".
        scope: What that is about: the "iban" or its "mandate".
        retry_on: The day on which the same debit may be tried again, or `None`.
        why: "retry" it may; else why not: the "reason" forbids it; the account is "listed" now; it was "tried enough";
            it would come "too late"; there is "no room" on the days that follow.
    """

    action: Action
    scope: Scope
    retry_on: date | None
    why: RetryWhy


def after_return(
    reason_code: str | None,
    *,
    returned_on: date,
    retries_done: int,
    ours: bool = True,
    first_due_on: date | None = None,
    policy: ReturnPolicy = BUILT_IN,
    spacing_days: int = 5,
    pay_days: tuple[int, ...] = (),
    planned: Mapping[date, int] = MappingProxyType({}),
    per_day_max: int | None = None,
) -> AfterReturn:
    """
    What follows from a return.

    Args:
        reason_code: As it came, upper case; `None` where none came.
        returned_on: The day on which it came back.
        retries_done: Tries after the first that were made for the same due item.
        ours: Whether a billing run made the debit. Debits that another system submitted are not tried again.
        first_due_on: The day of the first try; `None` to use *returned_on* instead.
        policy: The version that is active.
        spacing_days: Calendar days before the next try, at least.
        pay_days: Days of the month on which wages come in; a try waits for one that is near.
        planned: Tries after a return that are planned already, by day.
        per_day_max: How many of these a day may hold; `None` for any number.

    Returns:
        What to do.

    Raises:
        InvalidRequest: when *per_day_max* or *spacing_days* is below 1, or *retries_done* below 0.
    """
    if per_day_max is not None and per_day_max < 1:
        raise InvalidRequest("must be 1 or more", field="per_day_max")
    if retries_done < 0:
        raise InvalidRequest("must be 0 or more", field="retries_done")
    reason = policy.of(reason_code)

    def result(why: RetryWhy, retry_on: date | None = None) -> AfterReturn:
        return AfterReturn(reason.action, reason.scope, retry_on, why)

    if reason.action != "none":
        return result("listed" if reason_code in RETRIED else "reason")
    if not reason.retries:
        return result("reason")
    if retries_done >= reason.retries or not ours:
        return result("tried enough")
    last_on = (first_due_on or returned_on) + _DAY * RETRY_SPAN_DAYS
    days = retry_dates(returned_on, retries=1, spacing_days=spacing_days, pay_days=pay_days)
    if not days or days[0] > last_on:
        return result("too late")
    room_on = _with_room(days[0], planned=planned, per_day_max=per_day_max)
    if room_on is None or room_on > last_on:
        return result("no room")
    return result("retry", room_on)


def is_too_late(*, first_tried_on: date, today: date) -> bool:
    """
    Whether a retry comes too late: it was made in time, and waited since for a pause or an outage to end.

    Args:
        first_tried_on: The day of the first try.
        today: The day at the banks.

    >>> [is_too_late(first_tried_on=date(2026, 3, 2), today=on) for on in (date(2026, 4, 13), date(2026, 4, 14))]
    [False, True]
    """
    return today > first_tried_on + _DAY * RETRY_SPAN_DAYS


def _with_room(day: date, *, planned: Mapping[date, int], per_day_max: int | None) -> date | None:
    end_on = day + _DAY * _SHIFT_DAYS_MAX
    while day <= end_on:
        if per_day_max is None or planned.get(day, 0) < per_day_max:
            return day
        day = next_open(day + _DAY)
    return None


def settles_on(submitted_on: date) -> date:
    """
    The estimated day on which a debit settles: the gateway names none.

    Args:
        submitted_on: The day it was sent to the gateway.

    Returns:
        The next open day after it: a debit reaches the debtor's bank at the latest one TARGET day before it settles.

    >>> settles_on(date(2026, 4, 2))
    datetime.date(2026, 4, 7)
    """
    return add_target_days(submitted_on, 1)


class RefundAllowed(msgspec.Struct, frozen=True):
    """
    Whether a debit may be refunded by us.

    Attributes:
        allowed: Whether it may, today.
        why: "collected" it may; else why not: there is "nothing to give", it was "refunded" by us or "charged back"
            by the bank, or the "return window" is open.
        from_on: The first day on which it may, where only time is missing; else `None`.
    """

    allowed: bool
    why: Literal["collected", "nothing to give", "refunded", "charged back", "return window"]
    from_on: date | None = None


def refund_allowed(attempt: Attempt, *, due_on: date, today: date, scheme: Scheme = "core") -> RefundAllowed:
    """
    Whether a debit may be refunded by us today, so that its money is never returned twice.

    Args:
        attempt: The debit.
        due_on: The day it was to be debited.
        today: The present day.
        scheme: "core" for consumers, "b2b" for businesses.

    Returns:
        The verdict.
    """
    if attempt.dispute_stage in {stages.CHARGEBACKED, stages.LOST_AGAIN}:
        return RefundAllowed(False, "charged back")
    if attempt.payment_stage == stages.REFUNDED:
        return RefundAllowed(False, "refunded")
    if attempt.state != "approved":
        return RefundAllowed(False, "nothing to give")
    last_on = exposure(due_on, scheme=scheme).return_on
    # A return that was won back has been through its window.
    if today <= last_on and attempt.dispute_stage == stages.UNDISPUTED:
        return RefundAllowed(False, "return window", next_open(last_on + _DAY))
    return RefundAllowed(True, "collected")
