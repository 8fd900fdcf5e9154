from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp.responses import GatewayAnswer, read_answer
from tether_core.errors import CredentialsRejected, GatewaySilent, IllegalStep, InvalidRequest, NotSubmitted
from tether_core.events import AmountMismatched, AttemptStatusChanged
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt, state_of
from tether_core.payments.not_found import FirstAnswer, Inquiry
from tether_core.payments.submission import (
    CAUSES,
    TRANSITIONS,
    After,
    Submission,
    SubmissionRules,
    claim,
    exclude,
    expire,
    record,
    resolve,
)
from tether_core.payments.transaction_ids import transaction_id

from tests.support.clock import NOON

RULES = SubmissionRules()
SILENT = GatewaySilent(why="timeout")
RESOLVED = NOON + timedelta(seconds=RULES.lease_s + RULES.not_found_grace_s)
ATTEMPT = Attempt(7, "default", "t-7", None, 1000, "EUR")
READY = Submission(ATTEMPT, submit_at=NOON)
SUBMITTING = claim(READY, now=NOON, identity="a1")
LOST = record(SUBMITTING, SILENT, number=1, now=NOON).submission
# Not found where it was submitted, for the first time, and once more when no call can be under way any more.
FIRST = Inquiry(frozenset({"a1"}), frozenset({"a1"}), boot="boot-1", inquired_s=30.0, answered_s=31.0)
AGAIN = msgspec.structs.replace(FIRST, inquired_s=10_000.0, answered_s=10_001.0)
UNKNOWN = msgspec.structs.replace(LOST, not_found=(FirstAnswer("boot-1", 31.0),))


def answer(status: str, **fields: str) -> GatewayAnswer:
    """An answer with some fields."""
    result = "".join(f"<{name}>{text}</{name}>" for name, text in {"status": status, **fields}.items())
    return read_answer(f"<payment_response>{result}</payment_response>".encode())


APPROVED = answer("approved", unique_id="u-7", transaction_id="t-7", amount="1000", currency="EUR")
ABSENT = answer("error", code="460")

# --- the way of one call


def test_an_approved_debit_ends() -> None:
    """The plain way; an attempt that stays leased would be given up and asked about for nothing."""
    after = record(SUBMITTING, APPROVED, number=1, now=NOON)
    assert after.submission == Submission(
        msgspec.structs.replace(ATTEMPT, unique_id="u-7", payment_stage=stages.APPROVED),
        1,
        None,
        None,
        NOON,
        submitted_to=("a1",),
    )
    assert (after.cause, after.pause_reason, after.submission.step) == ("answered", None, "ended")
    assert after.events == (AttemptStatusChanged(7, "t-7", "pending", "approved", "approved"),)


@pytest.mark.parametrize(
    ("result", "stage", "code"),
    [
        (answer("pending_async", unique_id="u-7"), stages.IN_PROGRESS, None),
        (answer("declined", unique_id="u-7", code="500"), stages.DECLINED, "500"),
        (answer("error", unique_id="u-7", code="501"), stages.ERROR, "501"),
        (answer("error", code="340"), stages.ERROR, "340"),  # refused as a whole: not even taken in
        (answer("unsuccessful", unique_id="u-7"), stages.ERROR, None),
        (answer("voided", unique_id="u-7"), stages.VOIDED, None),
        (
            answer("chargebacked", unique_id="u-7"),
            stages.APPROVED,
            None,
        ),  # the dispute has its own notification
    ],
)
def test_a_clear_answer_ends_the_debit(result: GatewayAnswer, stage: int, code: str | None) -> None:
    """A clear answer that is not applied leaves a debtor in the air, or lets a refused debit stand as collected."""
    after = record(SUBMITTING, result, number=1, now=NOON).submission
    assert (after.attempt.payment_stage, after.attempt.error_code, after.step) == (stage, code, "ended")
    assert (after.submit_at, after.leased_until) == (None, None)


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        (SILENT, "silent"),
        *(
            (answer("error", code=code), "unclear")
            for code in ("100", "101", "200", "230", "250", "630", "950", "955")
        ),
        (answer("error", code="230", unique_id="u-7"), "unclear"),
        (answer("error", code="1"), "unclear"),  # outside of every group
        (answer("error", code="450"), "may_exist"),
        (answer("error", code="460"), "unclear"),  # an answer to another question
        (answer("error"), "unclear"),  # without a code nothing is refused
        (answer("unsuccessful", code="230"), "unclear"),
        (answer("beamed_up", unique_id="u-7"), "unknown_status"),
        (answer("partially_reversed", unique_id="u-7"), "unknown_status"),
        (answer("approved", transaction_id="t-8", unique_id="u-8"), "other_payment"),
        (answer("approved", unique_id="u-7", amount="999"), "other_amount"),
        (answer("approved", unique_id="u-7", currency="CHF"), "other_amount"),
    ],
)
def test_without_a_clear_answer_a_debit_is_unknown(result: GatewayAnswer | GatewaySilent, cause: str) -> None:
    """Each of these may hide a debit that stands; sent again, the debtor would pay twice."""
    after = record(SUBMITTING, result, number=1, now=NOON)
    assert (after.cause, after.submission.step, after.submission.attempt.state) == (
        cause,
        "unknown",
        "unknown",
    )
    assert after.submission.attempt.payment_stage == stages.UNKNOWN_TO_US
    assert isinstance(after.events[0], AttemptStatusChanged)
    assert any(isinstance(event, AmountMismatched) for event in after.events) == (cause == "other_amount")
    with pytest.raises(IllegalStep):
        claim(after.submission, now=NOON + timedelta(days=1))


def test_an_id_that_came_with_a_muddle_is_kept() -> None:
    """With the gateway's id the debit is known to stand, and can be found; without it, it might be sent again."""
    named = record(SUBMITTING, answer("error", code="230", unique_id="u-7"), number=1, now=NOON).submission
    assert named.attempt.unique_id == "u-7"
    assert resolve(named, ABSENT, inquired_at=RESOLVED, inquiry=AGAIN).cause == "contradicted"
    other = record(
        SUBMITTING, answer("approved", transaction_id="t-8", unique_id="u-8"), number=1, now=NOON
    ).submission
    assert other.attempt.unique_id is None


@pytest.mark.parametrize("code", ["110", "120", "220", "310", "350", "360"])
def test_a_wrong_merchant_configuration_rejects_debits_and_ends_none(code: str) -> None:
    """A mistyped password would otherwise end a whole run in errors, and a person would have to find each."""
    after = record(SUBMITTING, answer("error", code=code), number=1, now=NOON)
    assert (after.cause, after.submission.step, after.submission.attempt.state) == (
        "rejected",
        "ready",
        "pending",
    )
    assert after.submission.submit_at == NOON + timedelta(seconds=RULES.back_s)
    assert after.pause_reason is not None
    assert code in after.pause_reason
    with pytest.raises(IllegalStep, match="submitted later"):
        claim(after.submission, now=NOON)
    # With an id of its own it is the debit that was refused, not we.
    assert (
        record(SUBMITTING, answer("error", code=code, unique_id="u-7"), number=1, now=NOON).submission.step
        == "ended"
    )


@pytest.mark.parametrize("cause", ["no_free_connection", "connect", "cancelled", "throttled"])
def test_what_was_not_submitted_is_ready_again(cause: str) -> None:
    """Nothing left: a quarter of an hour of not knowing, and an inquiry, would be for nothing."""
    after = record(SUBMITTING, NotSubmitted(cause), number=1, now=NOON)
    assert (after.submission.step, after.submission.attempt.state, after.events) == ("ready", "pending", ())
    assert after.cause == ("throttled" if cause == "throttled" else "not_submitted")
    assert after.submission.submit_at is not None
    assert NOON < after.submission.submit_at <= NOON + timedelta(seconds=5)
    again = claim(after.submission, now=after.submission.submit_at, identity="a1")
    assert (again.submission_count, again.uncounted) == (2, 1)
    assert (after.submission.submitted_to, again.submitted_to) == ((), ("a1",))  # it need not be inquired for


def test_not_submitted_is_proven_for_the_latest_call_alone() -> None:
    """A later call may have left, or the lease be over and the debit be inquired: then the proof comes too late."""
    second = msgspec.structs.replace(SUBMITTING, submission_count=2)
    assert record(second, NotSubmitted("dns"), number=1, now=NOON) == After(second, "late")
    assert record(UNKNOWN, NotSubmitted("dns"), number=1, now=NOON).submission == UNKNOWN


def test_each_wait_is_longer_up_to_a_bound() -> None:
    """Without pauses an outage would turn each debit over once a second; without a bound it would never be seen again."""
    submission, waits, now = SUBMITTING, [], NOON
    for _ in range(14):
        after = record(
            submission, NotSubmitted("connect"), number=submission.submission_count, now=now
        ).submission
        assert after.submit_at is not None
        waits.append((after.submit_at - now).total_seconds())
        now = after.submit_at
        submission = claim(after, now=now, identity="a1")
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == 300
    asked = record(SUBMITTING, NotSubmitted("throttled", slow_down_s=90), number=1, now=NOON).submission
    assert asked.submit_at == NOON + timedelta(seconds=90)
    for_ever = record(SUBMITTING, NotSubmitted("throttled", slow_down_s=1e9), number=1, now=NOON).submission
    assert for_ever.submit_at == NOON + timedelta(seconds=300)


@pytest.mark.parametrize(
    "result",
    [
        NotSubmitted("connect"),
        answer("error", code="110"),
        GatewaySilent(why="http 429", slow_down_s=0.0, http_status=429),
    ],
)
def test_some_calls_cost_no_try_and_yet_every_debit_ends(result: GatewaySilent | GatewayAnswer) -> None:
    """Five 429s would end a debit that was never refused; without a bound one that is never taken would never end."""
    submission = SUBMITTING
    for calls in range(1, 200):
        if submission.submission_count > RULES.submissions_max:
            assert submission.step == "submitting"
        after = record(submission, result, number=submission.submission_count, now=NOON)
        if after.submission.step == "unknown":
            known = msgspec.structs.replace(after.submission, not_found=UNKNOWN.not_found)
            after = resolve(known, ABSENT, inquired_at=RESOLVED, inquiry=AGAIN)
        if after.cause == "given_up":
            assert calls > RULES.uncounted_max
            return
        assert after.submission.step == "ready"
        submission = claim(after.submission, now=NOON + timedelta(days=1), identity="a1")
        submission = msgspec.structs.replace(submission, submitted_at=NOON)
    assert submission.uncounted == RULES.uncounted_max
    lost = record(submission, SILENT, number=submission.submission_count, now=NOON).submission
    lost = msgspec.structs.replace(lost, not_found=UNKNOWN.not_found)
    assert resolve(lost, ABSENT, inquired_at=RESOLVED, inquiry=AGAIN).cause == "given_up"


def test_credentials_without_a_word_about_the_debit_pause_and_leave_it_unknown() -> None:
    """A 401 of a proxy is no proof; a run that continued would make every debit unknown."""
    after = record(SUBMITTING, CredentialsRejected(why="http 401"), number=1, now=NOON)
    assert (after.cause, after.submission.step) == ("credentials", "unknown")
    assert after.pause_reason is not None
    assert "EMP_API_PASSWORD" in after.pause_reason


# --- later and elsewhere


def test_bad_news_of_an_older_call_says_nothing_about_a_later_one() -> None:
    """A late refusal of the first call would end a debit whose second call was accepted; it would be tried again."""
    again = claim(resolve(UNKNOWN, None, inquired_at=RESOLVED, inquiry=AGAIN).submission, now=RESOLVED)
    for result in (
        SILENT,
        answer("declined", unique_id="u-7"),
        answer("error", code="340"),
        answer("error", code="110"),
    ):
        assert record(again, result, number=1, now=RESOLVED) == After(again, "late")
    heard = record(again, APPROVED, number=1, now=RESOLVED).submission
    assert (heard.step, heard.leased_until) == (
        "ended",
        again.leased_until,
    )  # the second call is still under way
    assert record(heard, SILENT, number=2, now=RESOLVED).submission.leased_until is None


def test_an_answer_that_comes_after_its_lease_still_counts() -> None:
    """A database that was away for two minutes must not cost the answers of that time."""
    lost = expire(SUBMITTING, now=NOON + timedelta(seconds=RULES.lease_s)).submission
    assert (lost.step, lost.leased_until) == ("unknown", None)
    assert record(lost, APPROVED, number=1, now=RESOLVED).submission.attempt.state == "approved"
    assert (
        record(lost, answer("declined", unique_id="u-7"), number=1, now=RESOLVED).submission.attempt.state
        == "declined"
    )
    assert record(lost, SILENT, number=1, now=RESOLVED) == After(lost, "late")
    ready = resolve(lost, None, inquired_at=RESOLVED + timedelta(hours=1), inquiry=AGAIN).submission
    assert record(ready, APPROVED, number=1, now=RESOLVED).submission.step == "ended"
    assert record(ready, SILENT, number=1, now=RESOLVED).submission == ready


def test_a_notification_may_be_faster_than_the_answer() -> None:
    """The gateway notifies within a second; its answer, applied after that, must not undo what it said."""
    heard = msgspec.structs.replace(
        SUBMITTING, attempt=msgspec.structs.replace(ATTEMPT, payment_stage=stages.APPROVED, unique_id="u-7")
    )
    assert heard.step == "ended"
    for result in (SILENT, answer("pending_async", unique_id="u-7"), answer("declined", unique_id="u-7")):
        after = record(heard, result, number=1, now=NOON).submission
        assert (after.attempt, after.leased_until) == (heard.attempt, None)
    given_up = expire(heard, now=RESOLVED)
    assert (given_up.cause, given_up.submission.leased_until, given_up.submission.attempt) == (
        "late",
        None,
        heard.attempt,
    )


def test_a_lease_that_runs_is_not_taken_away() -> None:
    """A debit that is being sent would become unknown, be asked about, and perhaps be sent beside itself."""
    with pytest.raises(IllegalStep):
        expire(SUBMITTING, now=NOON + timedelta(seconds=RULES.lease_s - 1))
    with pytest.raises(IllegalStep):
        expire(READY, now=RESOLVED)


# --- asking


def test_not_there_counts_after_the_settling_time_and_by_the_timestamp_of_the_question() -> None:
    """A call still under way, or one begun after the question, would be overtaken by its own repetition."""
    early = resolve(UNKNOWN, ABSENT, inquired_at=RESOLVED - timedelta(seconds=1), inquiry=AGAIN)
    assert (early.cause, early.submission, early.again_at) == ("too_early", UNKNOWN, RESOLVED)
    ready = resolve(UNKNOWN, ABSENT, inquired_at=RESOLVED, inquiry=AGAIN).submission
    assert (ready.step, ready.attempt.state) == ("ready", "unknown")
    second = record(claim(ready, now=RESOLVED, identity="a1"), SILENT, number=2, now=RESOLVED).submission
    assert (second.submission_count, second.not_found) == (2, ())
    # Asked before the second call was over.
    assert resolve(second, None, inquired_at=RESOLVED, inquiry=AGAIN).cause == "too_early"


def test_a_first_not_found_frees_nothing_whatever_the_clocks_read() -> None:
    """A machine that was put back during its inquiry freed debits at once."""
    back = msgspec.structs.replace(FIRST, inquired_s=9_000.0, answered_s=31.0)
    after = resolve(LOST, None, inquired_at=RESOLVED, inquiry=back)
    assert (after.cause, after.submission.step) == ("too_early", "unknown")
    assert after.again_at is not None
    assert after.again_at > RESOLVED


def test_the_calls_of_a_debit_are_limited() -> None:
    """A debit that the gateway loses each time must come to an end that a person can see."""
    submission, at = READY, NOON
    for number in range(1, RULES.submissions_max + 1):
        submission = record(
            claim(submission, now=at, identity="a1"), SILENT, number=number, now=at
        ).submission
        at += timedelta(days=1)
        submission = resolve(submission, None, inquired_at=at, inquiry=FIRST).submission
        after = resolve(submission, None, inquired_at=at, inquiry=AGAIN)
        submission = after.submission
    assert (after.cause, submission.step, submission.attempt.state, submission.attempt.error_code) == (
        "given_up",
        "ended",
        "error",
        "460",
    )


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        (answer("error", code="100"), "no_word"),
        (answer("error", code="110"), "no_word"),
        (answer("error", code="500"), "no_word"),  # a refusal of the question, not of the debit
        (answer("declined"), "no_word"),
        (answer("error", unique_id="u-7"), "unclear"),
        (answer("beamed_up", unique_id="u-7"), "unknown_status"),
        (answer("approved", unique_id="u-8", transaction_id="t-8"), "other_payment"),
        (answer("approved", unique_id="u-7", amount="5"), "other_amount"),
    ],
)
def test_an_answer_about_something_else_resolves_nothing(result: GatewayAnswer, cause: str) -> None:
    """A refused question applied as a refused debit frees the debtor for a second one, while the first stands."""
    after = resolve(UNKNOWN, result, inquired_at=RESOLVED, inquiry=AGAIN)
    assert (after.cause, after.submission.step) == (cause, "unknown")
    assert (after.pause_reason is not None) == (result.code == "110")


@pytest.mark.parametrize(
    ("result", "stage"),
    [
        (APPROVED, stages.APPROVED),
        (answer("error", code="230", unique_id="u-7"), stages.UNKNOWN_TO_GATEWAY),
        (answer("error", code="450", unique_id="u-7"), stages.UNKNOWN_TO_GATEWAY),
        (answer("error", code="501", unique_id="u-7"), stages.ERROR),
        (answer("pending", unique_id="u-7"), stages.IN_PROGRESS),
    ],
)
def test_the_gateways_word_resolves_a_debit(result: GatewayAnswer, stage: int) -> None:
    """What the gateway has in its books is the truth; it must end in ours."""
    after = resolve(UNKNOWN, result, inquired_at=NOON, inquiry=AGAIN).submission
    assert (after.step, after.attempt.payment_stage, after.attempt.unique_id) == ("ended", stage, "u-7")


@pytest.mark.parametrize(
    "submission", [READY, SUBMITTING, record(SUBMITTING, APPROVED, number=1, now=NOON).submission]
)
def test_only_what_is_unknown_is_resolved(submission: Submission) -> None:
    """An answer that was long on its way must not touch a debit that is being sent by now."""
    assert resolve(submission, None, inquired_at=RESOLVED, inquiry=AGAIN) == After(submission, "late")
    assert resolve(submission, APPROVED, inquired_at=RESOLVED, inquiry=AGAIN) == After(submission, "late")


# --- excluding


def test_a_debit_that_is_excluded_is_an_error_and_not_voided() -> None:
    """Voided comes after approved: were the gateway ever to speak of it, its word would be swallowed."""
    after = exclude(READY, reason="held")
    assert (after.submission.step, after.submission.attempt.state, after.submission.attempt.error_code) == (
        "ended",
        "error",
        "excluded",
    )
    assert after.events == (AttemptStatusChanged(7, "t-7", "pending", "error", "held"),)
    for submission in (SUBMITTING, UNKNOWN):
        with pytest.raises(IllegalStep):
            exclude(submission, reason="held")


# --- everything


@st.composite
def submissions(draw: st.DrawFn) -> Submission:
    """Any debit a table may hold."""
    timestamp = NOON + timedelta(seconds=draw(st.integers(-4_000, 0)))
    submit_at, leased_until = draw(st.sampled_from([(None, None), (timestamp, None), (None, timestamp)]))
    attempt = msgspec.structs.replace(
        ATTEMPT,
        payment_stage=draw(st.sampled_from([0, 10, 10, 20, 30, 40, 50, 60, 70, 80])),
        dispute_stage=draw(st.sampled_from([0, 0, 0, 1, 2, 3])),
        unique_id=draw(st.sampled_from([None, "u-7"])),
    )
    return Submission(attempt, draw(st.integers(1, 6)), submit_at, leased_until, timestamp)


answers = st.builds(
    lambda status, fields: answer(status, **fields),
    st.sampled_from(
        ["approved", "declined", "error", "pending_async", "voided", "chargebacked", "beamed_up"]
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "code": st.sampled_from(["100", "110", "230", "340", "450", "460", "501", "950", "7"]),
            "unique_id": st.sampled_from(["u-7", "u-8"]),
            "transaction_id": st.sampled_from(["t-7", "t-8"]),
            "amount": st.sampled_from(["1000", "999"]),
        },
    ),
)


@given(
    submission=submissions(),
    result=answers | st.just(SILENT),
    number=st.integers(1, 6),
    source=st.sampled_from(["call", "question"]),
)
def test_stages_only_grow_and_steps_follow_the_table(
    submission: Submission, result: GatewayAnswer | GatewaySilent, number: int, source: str
) -> None:
    """With any order of inputs, an attempt must not go back or make a transition that is not in the table."""
    if source == "question" and isinstance(result, GatewayAnswer):
        after = resolve(submission, result, inquired_at=NOON, inquiry=AGAIN)
    else:
        after = record(submission, result, number=min(number, submission.submission_count), now=NOON)
    before, attempt = submission.attempt, after.submission.attempt
    assert attempt.payment_stage >= before.payment_stage
    assert attempt.dispute_stage == before.dispute_stage
    assert before.unique_id in {None, attempt.unique_id}
    assert after.submission.submission_count == submission.submission_count
    assert after.cause in CAUSES
    assert not (after.submission.submit_at and after.submission.leased_until)
    assert (
        after.submission.step == submission.step
        or after.submission.step in TRANSITIONS[submission.step].values()
    )
    moved = [event for event in after.events if isinstance(event, AttemptStatusChanged)]
    assert len(moved) == (state_of(attempt.payment_stage, attempt.dispute_stage) != before.state)


@given(submission=submissions())
def test_only_what_is_ready_is_claimed(submission: Submission) -> None:
    """The only way to a submission: any other state that passes may be a second debit."""
    if submission.step == "ready":
        claimed = claim(submission, now=NOON)
        assert (claimed.step, claimed.submission_count, claimed.submit_at) == (
            "submitting",
            submission.submission_count + 1,
            None,
        )
        assert claimed.attempt == submission.attempt
    else:
        with pytest.raises(IllegalStep):
            claim(submission, now=NOON)


# --- ids


@given(
    debtor=st.integers(1, 2**62),
    item=st.from_regex(r"[a-z0-9][a-z0-9.-]{0,31}", fullmatch=True),
    number=st.integers(1, 99),
)
def test_ids_are_made_of_what_they_are_for(debtor: int, item: str, number: int) -> None:
    """Two tries with one id could not be distinguished at the gateway; one try with two ids would be debited twice."""

    def made(debtor: int = debtor, item: str = item, number: int = number, **more: object) -> str:
        facts = {"amount_minor": 1000, "currency": "EUR", "iban_fingerprint": b"a" * 16} | more
        return transaction_id(debtor, due_item=item, number=number, **facts)  # type: ignore[arg-type]

    entry = made()
    assert entry == made()
    assert len(entry) <= 80
    assert entry.isascii()
    assert not any(mark.isspace() for mark in entry)
    others = {
        made(debtor=debtor + 1),
        made(item=("x" + item)[:32] if not item.startswith("x") else "y"),
        made(number=number + 1),
        made(amount_minor=1001),
        made(iban_fingerprint=b"b" * 16),
    }
    assert entry not in others
    assert len(others) == 5


@pytest.mark.parametrize("item", ["", "März", "A", "-x", "x" * 33, "a b", "a\n"])
def test_an_item_has_a_form(item: str) -> None:
    """What cannot stand in an id of the gateway would be refused there, debit by debit."""
    with pytest.raises(InvalidRequest):
        transaction_id(7, due_item=item, number=1, amount_minor=1, currency="EUR", iban_fingerprint=b"")
