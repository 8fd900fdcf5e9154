"""Outcomes that people state: what they close, and what they may not."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.payments.gateway_identity import EVERY, UNKNOWN
from tether_core.payments.submission import Submission
from tether_core.refunds.refund import Refund
from tether_core.stated_outcomes import Reach, close, close_refund, is_contradicted, statement

from tests.support.clock import NOON

LATER = NOON + timedelta(days=1)
GONE = Reach(frozenset({"b1"}), frozenset({"b1"}))
LOST = Submission(
    Attempt(7, "default", "t-7", None, 1000, "EUR", payment_stage=stages.UNKNOWN_TO_US),
    1,
    submitted_at=NOON,
    submitted_to=("a1",),
)
UNIQUE_ID = "44177a21403427eb"


def seen(outcome: Any = "approved", unique_id: str | None = None, **text: str) -> Any:
    """What a person states."""
    if outcome == "approved" and unique_id is None:
        unique_id = UNIQUE_ID
    return statement(
        outcome=outcome, unique_id=unique_id, **{"reason": "seen in the back office", "by": "ada", **text}
    )


@pytest.mark.parametrize(
    ("outcome", "state", "unique_id", "code"),
    [
        ("approved", "approved", UNIQUE_ID, None),
        ("declined", "declined", None, None),
        ("never_arrived", "error", None, "460"),
    ],
)
def test_a_debit_becomes_what_was_seen(
    outcome: str, state: str, unique_id: str | None, code: str | None
) -> None:
    """Its due item is free, or collected, by what somebody saw."""
    after = close(LOST, seen(outcome), reach=GONE, now=LATER)
    attempt = after.submission.attempt
    assert (attempt.state, attempt.unique_id, attempt.error_code, after.submission.step) == (
        state,
        unique_id,
        code,
        "ended",
    )
    (fact,) = after.events
    assert (fact.before, fact.after, fact.cause) == ("unknown", state, "stated by a person")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("submitted_to", "reach", "closable"),
    [
        (("a1",), GONE, True),
        (("b1",), GONE, False),
        (("a1", "b1"), GONE, True),  # one of the two cannot be inquired
        (None, GONE, True),  # nobody knows where it went
        ((UNKNOWN,), GONE, True),
        ((EVERY,), GONE, False),
        ((EVERY,), Reach(frozenset({"b1"}), frozenset({"a1", "b1"})), True),
        ((EVERY,), Reach(frozenset(), frozenset()), True),  # its account is gone
        (("a1",), Reach(frozenset({"a1"}), frozenset()), False),  # another account has the identity now
    ],
)
def test_only_what_nobody_can_inquire_about(
    submitted_to: tuple[str, ...] | None,
    reach: Reach,
    closable: bool,  # noqa: FBT001 - a column
) -> None:
    """A person in a hurry would close what the gateway itself can say a minute later, and say it wrong."""
    send = msgspec.structs.replace(LOST, submitted_to=submitted_to)
    if closable:
        assert close(send, seen(), reach=reach, now=LATER).submission.step == "ended"
        return
    with pytest.raises(IllegalStep, match="can be inquired about"):
        close(send, seen(), reach=reach, now=LATER)


@pytest.mark.parametrize(
    ("fields", "now"),
    [
        ({"submit_at": NOON}, LATER),  # ready: it will be submitted
        ({"leased_until": LATER}, LATER),  # being submitted
        ({"attempt": msgspec.structs.replace(LOST.attempt, payment_stage=stages.IN_PROGRESS)}, LATER),
        ({}, NOON + timedelta(minutes=5)),  # the call may be under way
    ],
)
def test_nothing_is_closed_that_may_still_move(fields: dict[str, Any], now: datetime) -> None:
    """What was seen in the back office a short time ago is not what a call on its way will make of it."""
    with pytest.raises(IllegalStep):
        close(msgspec.structs.replace(LOST, **fields), seen(), reach=GONE, now=now)


def test_the_gateways_own_id_counts() -> None:
    """A debit with an id did arrive; not the id that the gateway gave is another payment."""
    known = msgspec.structs.replace(LOST, attempt=msgspec.structs.replace(LOST.attempt, unique_id="11111111"))
    with pytest.raises(IllegalStep, match="known to the gateway"):
        close(known, seen("never_arrived"), reach=GONE, now=LATER)
    with pytest.raises(InvalidRequest, match="not the id that the gateway gave"):
        close(known, seen(), reach=GONE, now=LATER)
    assert close(known, seen("declined"), reach=GONE, now=LATER).submission.attempt.unique_id == "11111111"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"outcome": "approved", "unique_id": " "}, "unique_id"),
        ({"outcome": "approved", "unique_id": "short"}, "unique_id"),
        ({"outcome": "declined", "unique_id": "x" * 65}, "unique_id"),
        ({"outcome": "never_arrived", "unique_id": UNIQUE_ID}, "unique_id"),
        ({"outcome": "declined", "reason": "  "}, "reason"),
        ({"outcome": "declined", "reason": "x" * 501}, "reason"),
        ({"outcome": "declined", "by": ""}, "by"),
    ],
)
def test_a_statement_is_whole_or_refused(fields: dict[str, str], field: str) -> None:
    """An approval without an id is found by no notification; one without a reason is a guess."""
    with pytest.raises(InvalidRequest) as raised:
        seen(**fields)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("outcome", "state", "debit"),
    [
        ("approved", "approved", "refunded"),
        ("declined", "declined", "approved"),
        ("never_arrived", "error", "approved"),
    ],
)
def test_a_refund_is_closed_and_takes_its_debit_along(outcome: str, state: str, debit: str) -> None:
    """A refund that happened and is in no books is paid twice; one that did not is never paid."""
    collected = Attempt(3, "default", "t-3", "22222222", 1000, "EUR", payment_stage=stages.APPROVED)
    after = close_refund(Refund("refund", collected, LOST, NOON), seen(outcome), reach=GONE, now=LATER)
    assert (after.order.attempt.state, after.debit.state) == (state, debit)
    assert after.events[0].cause == "stated by a person"  # type: ignore[union-attr]
    reachable = Reach(frozenset({"a1"}), frozenset({"a1"}))
    with pytest.raises(IllegalStep):
        close_refund(Refund("refund", collected, LOST, NOON), seen(outcome), reach=reachable, now=LATER)


def test_what_the_gateway_says_later_may_contradict() -> None:
    """Money that moved all the same is somebody's."""
    for stage, contradicted in [
        (stages.DECLINED, False),
        (stages.ERROR, False),
        (stages.APPROVED, True),
        (stages.REFUNDED, True),
    ]:
        attempt = msgspec.structs.replace(LOST.attempt, payment_stage=stage)
        assert is_contradicted("never_arrived", attempt) is contradicted
        assert is_contradicted("declined", attempt) is contradicted
        assert not is_contradicted("approved", attempt)
        assert not is_contradicted(None, attempt)
