"""When a database counts as one that went back, and what that does to a submission."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import database_epoch
from tether_core.database_epoch import Epoch, Mark, Server, is_current, judge, lost_days
from tether_core.payments import stages, submission
from tether_core.payments.attempt import Attempt
from tether_core.payments.not_found import Inquiry
from tether_core.payments.submission import Submission, SubmissionRules
from tether_core.refunds import refund
from tether_core.refunds.refund import Refund

from tests.support.clock import NOON

SERVER = Server(system_id="77", timeline=3, position=500, started_at="noon")
EPOCH = Epoch(2, "bb", system_id="77", timeline=3, pulse=40)
MARK = Mark("bb", pulse=40, system_id="77", timeline=3, position=500)
KNOWN = {"aa", "bb"}
DEBIT = Submission(Attempt(7, "default", "t-7", None, 1000, "EUR"), submit_at=NOON)


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        ({}, None),
        ({"system_id": "78"}, "other system"),
        ({"timeline": 2}, "other timeline"),
        ({"timeline": 4}, "other timeline"),
        ({"position": 499}, "position behind"),
        ({"position": 501}, None),
        ({"started_at": "one"}, None),
        # What may not be read says nothing.
        ({"system_id": None, "timeline": None, "position": None}, None),
    ],
)
def test_what_a_server_shows_is_compared(server: dict[str, object], reason: str | None) -> None:
    """A sign that is passed over lets lost debits be submitted again; a false one delays every debit for nothing."""
    assert judge(msgspec.structs.replace(SERVER, **server), EPOCH, known=KNOWN, marks=[MARK]) == reason


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        ({"pulse": 41}, "position behind"),
        ({"pulse": 41, "position": None, "system_id": None, "timeline": None}, "position behind"),
        ({"token": "cc"}, "epoch lost"),
        # A mark of an older epoch was compared when the next one began, and counts for nothing since.
        ({"token": "aa", "pulse": 9_999, "position": 9_999}, None),
        # Positions of another timeline say nothing.
        ({"timeline": 2, "position": 9_999}, None),
    ],
)
def test_a_mark_is_compared(mark: dict[str, object], reason: str | None) -> None:
    """An old copy of the data directory differs from the present one in nothing but its position."""
    marks = [msgspec.structs.replace(MARK, **mark)]
    assert judge(SERVER, EPOCH, known=KNOWN, marks=marks) == reason
    assert judge(SERVER, EPOCH, known=KNOWN, outside=marks) == reason


def test_marks_of_a_foreign_database_stop_nobody_permanently() -> None:
    """Two databases that keep their marks in one place would begin epochs without end, and nothing would be submitted."""
    foreign = [msgspec.structs.replace(MARK, token="ff")]
    begun = msgspec.structs.replace(EPOCH, reason="epoch lost", age_s=1.0)
    assert judge(SERVER, begun, known=KNOWN, outside=foreign) is None
    assert judge(SERVER, begun, known=KNOWN, marks=foreign) == "epoch lost"
    begun = msgspec.structs.replace(begun, age_s=database_epoch.FOREIGN_MARKS_S + 1)
    assert judge(SERVER, begun, known=KNOWN, outside=foreign) == "epoch lost"


@given(pulse=st.integers(0, 100), position=st.integers(0, 100), can_read=st.booleans())
def test_a_mark_says_nothing_against_the_database_it_was_taken_of(
    pulse: int, position: int, *, can_read: bool
) -> None:
    """A process that compares with what it has just seen must go on."""
    server = Server("77", 3, position, "noon") if can_read else Server(None, None, None, "noon")
    epoch = msgspec.structs.replace(EPOCH, pulse=pulse)
    mark = Mark(epoch.token, pulse, server.system_id, server.timeline, server.position)
    assert judge(server, epoch, known=KNOWN, marks=[mark]) is None


@pytest.mark.parametrize(
    ("server", "epoch", "current"),
    [
        ({}, {}, True),
        ({"position": 600}, {"pulse": 41}, True),
        ({"started_at": "one"}, {}, False),  # another process of the server: compare first
        ({"position": 400}, {}, False),
        ({"timeline": 4}, {}, False),
        ({}, {"token": "cc"}, False),
        ({}, {"pulse": 39}, False),
    ],
)
def test_a_claim_runs_in_the_confirmed_history_alone(
    server: dict[str, object], epoch: dict[str, object], *, current: bool
) -> None:
    """Between a switch of servers and the next probe a worker would claim what the lost history has submitted."""
    is_notified = is_current(
        MARK,
        msgspec.structs.replace(SERVER, **server),
        msgspec.structs.replace(EPOCH, **epoch),
        confirmed_started_at="noon",
    )
    assert is_notified == current


def test_the_days_of_the_lost_history() -> None:
    """A day excluded is a notification that nobody ever reads; a year of days would keep the gateway busy for hours."""
    assert lost_days(NOON, until=NOON) == [date(2026, 3, 1), date(2026, 3, 2)]
    assert len(lost_days(NOON - timedelta(days=400), until=NOON)) == 31
    assert lost_days(NOON + timedelta(days=1), until=NOON) == [date(2026, 3, 1), date(2026, 3, 2)]


STEPS = {
    "ready": DEBIT,
    "submitting": submission.claim(DEBIT, now=NOON, identity="a1"),
    "unknown": submission.expire(
        submission.claim(DEBIT, now=NOON, identity="a1"), now=NOON + timedelta(hours=1)
    ).submission,
}


def not_found(at: datetime, *identities: str) -> Inquiry:
    """What "not found" at some identities is worth; the account has two."""
    inquired_s = (at - NOON).total_seconds()
    return Inquiry(frozenset(identities), frozenset({"a1", "b2"}), "boot-1", inquired_s, inquired_s)


@pytest.mark.parametrize("step", STEPS)
def test_a_lost_history_leaves_a_submission_unknown(step: str) -> None:
    """What the lost history did is not known: submitted again at once, the debtor pays twice."""
    back_at = NOON + timedelta(hours=2)
    after = submission.lose_history(STEPS[step], at=back_at)
    assert after.submission.step == "unknown"
    assert (after.cause, after.submission.submitted_at, after.submission.submission_count) == (
        "history_lost",
        back_at,
        STEPS[step].submission_count,
    )
    rules = SubmissionRules()
    over_at = back_at + timedelta(seconds=rules.lease_s + rules.not_found_grace_s)
    # A lost call may have gone to any terminal of the account.
    alone = submission.resolve(
        after.submission, None, inquired_at=back_at, inquiry=not_found(back_at, "a1"), rules=rules
    )
    assert (alone.cause, alone.submission.step) == ("not_found_elsewhere", "unknown")
    both = not_found(back_at, "a1", "b2")
    early = submission.resolve(after.submission, None, inquired_at=back_at, inquiry=both, rules=rules)
    assert (early.cause, early.again_at) == ("too_early", over_at)
    both = not_found(over_at, "a1", "b2")
    assert (
        submission.resolve(
            early.submission, None, inquired_at=over_at, inquiry=both, rules=rules
        ).submission.step
        == "ready"
    )


def test_losing_the_history_again_and_again_uses_up_no_try() -> None:
    """A debit that was never submitted would end as given up, because the database moved five times."""
    current = DEBIT
    for hour in range(20):
        current = submission.lose_history(current, at=NOON + timedelta(hours=hour)).submission
        for minutes in (1, 30):
            at = NOON + timedelta(hours=hour, minutes=minutes)
            current = submission.resolve(
                current, None, inquired_at=at, inquiry=not_found(at, "a1", "b2")
            ).submission
        assert current.step == "ready"
    assert current.submission_count == 0


def test_what_the_gateway_has_spoken_of_stays() -> None:
    """Its word is recorded; to make it unknown would throw that away."""
    attempt = msgspec.structs.replace(DEBIT.attempt, payment_stage=stages.APPROVED)
    ended = Submission(attempt, submission_count=1, submitted_at=NOON)
    assert submission.lose_history(ended, at=NOON).submission == ended


def test_a_refund_of_a_lost_history_is_unknown() -> None:
    """The gateway may have paid it: ordered again, the debtor has the money twice."""
    debit = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)
    order = Submission(Attempt(1, "default", "tether-refund-7-1", None, 1000, "EUR"), submit_at=NOON)
    outcome = refund.lose_history(Refund("refund", debit, order, NOON), at=NOON)
    assert outcome.order.step == "unknown"
    assert [event.after for event in outcome.events] == ["unknown"]  # type: ignore[union-attr]
