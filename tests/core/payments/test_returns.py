from collections import Counter
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.blacklist import REASONS
from tether_core.errors import InvalidRequest
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.payments.returns import RETRY_SPAN_DAYS, after_return, refund_allowed
from tether_core.return_policies.policy import built_in
from tether_core.target_calendar import exposure, is_open

days = st.dates(date(2024, 1, 1), date(2034, 12, 31))
reasons = st.sampled_from([*REASONS, "XX99", None])
DAY = timedelta(days=1)


def _attempt(payment_stage: int = stages.APPROVED, dispute_stage: int = stages.UNDISPUTED) -> Attempt:
    return Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage, dispute_stage)


@given(reasons, days, st.integers(0, 5))
def test_only_two_reasons_lead_to_another_try(
    reason_code: str | None, returned_on: date, retries_done: int
) -> None:
    """A debtor who objected, or whose account is closed, would be debited again."""
    result = after_return(reason_code, returned_on=returned_on, retries_done=retries_done)
    assert (result.retry_on is not None) == (reason_code in {"AM04", "MS03"} and retries_done < 2)
    assert (result.why == "retry") == (result.retry_on is not None)


@given(days, st.integers(1, 20), st.sampled_from([(), (1, 15), (31,)]))
def test_a_try_falls_on_an_open_day_after_its_distance(
    returned_on: date, spacing_days: int, pay_days: tuple[int, ...]
) -> None:
    """On a closing day the bank moves the debit without our books knowing; too soon, the account is still empty."""
    retry_on = after_return(
        "AM04", returned_on=returned_on, retries_done=0, spacing_days=spacing_days, pay_days=pay_days
    ).retry_on
    assert retry_on is not None
    assert is_open(retry_on)
    assert spacing_days <= (retry_on - returned_on).days <= spacing_days + 10 + 5


@given(days, st.integers(0, 60))
def test_no_try_six_weeks_after_the_first(first_due_on: date, came_back_after: int) -> None:
    """A debit long given up would surprise the debtor, who then asks the bank for the money back."""
    result = after_return(
        "MS03", returned_on=first_due_on + DAY * came_back_after, retries_done=1, first_due_on=first_due_on
    )
    if result.retry_on is None:
        assert result.why == "too late"
    else:
        assert result.retry_on <= first_due_on + DAY * RETRY_SPAN_DAYS


@given(days, st.integers(1, 3), st.integers(1, 40))
def test_no_day_holds_more_tries_than_it_may(returned_on: date, per_day_max: int, returns: int) -> None:
    """A thousand returns of one day would otherwise all be tried on one day, beyond the account's cap."""
    planned: Counter[date] = Counter()
    refused = 0
    for _ in range(returns):
        result = after_return(
            "AM04", returned_on=returned_on, retries_done=0, planned=planned, per_day_max=per_day_max
        )
        if result.retry_on is None:
            assert result.why == "no room"
            refused += 1
        else:
            planned[result.retry_on] += 1
            assert is_open(result.retry_on)
    assert planned.total() + refused == returns
    assert max(planned.values()) <= per_day_max
    assert not refused or all(count == per_day_max for count in planned.values())


def test_a_full_day_does_not_push_a_try_beyond_six_weeks() -> None:
    """The cap moves tries to later days; the limit of six weeks must hold for where they land."""
    returned_on, first_due_on = date(2026, 3, 2), date(2026, 1, 25)  # 42 days later is the 8th, a Sunday
    open_on = after_return(
        "AM04", returned_on=returned_on, retries_done=1, first_due_on=first_due_on, spacing_days=4
    )
    assert open_on.retry_on == date(2026, 3, 6)
    full = after_return(
        "AM04",
        returned_on=returned_on,
        retries_done=1,
        first_due_on=first_due_on,
        spacing_days=4,
        planned={date(2026, 3, 6): 1},
        per_day_max=1,
    )
    assert (full.retry_on, full.why) == (None, "no room")


def test_an_account_that_is_listed_now_is_not_tried_again() -> None:
    """An operator who blocks for AM04 would see the next debit on the blocked account anyway."""
    result = after_return("AM04", returned_on=date(2026, 3, 2), retries_done=0, policy=built_in({"AM04"}))
    assert (result.action, result.retry_on, result.why) == ("block", None, "listed")


def test_impossible_choices_are_refused() -> None:
    """A cap of 0 looks like "no limit" to some and like "never" to others."""
    with pytest.raises(InvalidRequest):
        after_return("AM04", returned_on=date(2026, 3, 2), retries_done=0, per_day_max=0)
    with pytest.raises(InvalidRequest):
        after_return("AM04", returned_on=date(2026, 3, 2), retries_done=-1)


@given(
    st.sampled_from([0, 10, 20, 30, 40, 50, 60, 70, 80]),
    st.sampled_from([0, 1, 2, 3]),
    days,
    st.integers(-5, 500),
)
def test_a_refund_never_joins_a_chargeback(
    payment_stage: int, dispute_stage: int, due_on: date, later: int
) -> None:
    """The same money would go back twice: once by us, once by the debtor's bank."""
    attempt = _attempt(payment_stage, dispute_stage)
    verdict = refund_allowed(attempt, due_on=due_on, today=due_on + DAY * later)
    if attempt.state != "approved":
        assert not verdict.allowed
    if dispute_stage in {stages.CHARGEBACKED, stages.LOST_AGAIN}:
        assert verdict.why == "charged back"
    assert verdict.allowed == (verdict.why == "collected")


@given(days)
def test_a_refund_waits_for_the_return_window(due_on: date) -> None:
    """A return may be on its way for five bank days; a refund sent meanwhile pays a second time."""
    attempt = _attempt()
    waiting = refund_allowed(attempt, due_on=due_on, today=due_on)
    assert (waiting.allowed, waiting.why) == (False, "return window")
    assert waiting.from_on is not None
    assert is_open(waiting.from_on)
    assert refund_allowed(attempt, due_on=due_on, today=waiting.from_on).allowed
    assert not refund_allowed(attempt, due_on=due_on, today=exposure(due_on).return_on).allowed


def test_what_was_won_back_may_be_refunded() -> None:
    """Its return has happened; waiting for another one would keep the debtor's money for nothing."""
    attempt = _attempt(stages.APPROVED, stages.WON_BACK)
    assert refund_allowed(attempt, due_on=date(2026, 3, 2), today=date(2026, 3, 3)).allowed


@pytest.mark.parametrize(
    ("payment_stage", "dispute_stage", "expected"),
    [
        (stages.REFUNDED, stages.CHARGEBACKED, True),
        (stages.VOIDED, stages.CHARGEBACKED, True),
        (stages.REFUNDED, stages.LOST_AGAIN, True),
        (stages.REFUNDED, stages.WON_BACK, False),
        (stages.REFUNDED, stages.UNDISPUTED, False),
        (stages.APPROVED, stages.CHARGEBACKED, False),
    ],
)
def test_money_that_went_back_twice_is_seen(
    payment_stage: int, dispute_stage: int, *, expected: bool
) -> None:
    """The bank returns the money even after our refund; if nobody sees it, the money is lost."""
    assert _attempt(payment_stage, dispute_stage).refunded_and_charged_back == expected


def test_what_another_system_sent_is_left_to_it() -> None:
    """Its own next try is planned there; a second plan is a second debit."""
    for reason_code, policy in REASONS.items():
        theirs = after_return(reason_code, returned_on=date(2026, 3, 27), retries_done=0, ours=False)
        mine = after_return(reason_code, returned_on=date(2026, 3, 27), retries_done=0)
        assert theirs.retry_on is None
        assert (theirs.action, theirs.scope) == (mine.action, mine.scope)
        if policy.retries:
            assert theirs.why == "tried enough"
