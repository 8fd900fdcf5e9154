from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core.emp import codes
from tether_core.emp.responses import GatewayAnswer, read_answer
from tether_core.errors import CredentialsRejected, GatewaySilent, IllegalStep, InvalidRequest, NotSubmitted
from tether_core.events import AmountDiffered, AttemptMoved
from tether_core.payments.attempt import Attempt, state_of
from tether_core.payments.not_found import FirstAnswer, Inquiry
from tether_core.payments.submission import (
    CAUSES,
    LIFE,
    After,
    Rules,
    Send,
    claim,
    lapse,
    record,
    resolve,
    transaction_id,
    withhold,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
RULES = Rules()
SILENT = GatewaySilent(why="timeout")
SETTLED = NOON + timedelta(seconds=RULES.lease_s + RULES.settle_s)
ATTEMPT = Attempt(7, "default", "t-7", None, 1000, "EUR")
READY = Send(ATTEMPT, send_at=NOON)
SENDING = claim(READY, now=NOON, identity="a1")
LOST = record(SENDING, SILENT, number=1, now=NOON).send
# Not found where it was submitted, for the first time, and once more when no call can be under way any more.
FIRST = Inquiry(frozenset({"a1"}), frozenset({"a1"}), boot="boot-1", asked_s=30.0, answered_s=31.0)
AGAIN = msgspec.structs.replace(FIRST, asked_s=10_000.0, answered_s=10_001.0)
UNKNOWN = msgspec.structs.replace(LOST, not_found=(FirstAnswer("boot-1", 31.0),))


def answer(status: str, **fields: str) -> GatewayAnswer:
    """An answer with some fields."""
    told = "".join(f"<{name}>{text}</{name}>" for name, text in {"status": status, **fields}.items())
    return read_answer(f"<payment_response>{told}</payment_response>".encode())


APPROVED = answer("approved", unique_id="u-7", transaction_id="t-7", amount="1000", currency="EUR")
ABSENT = answer("error", code="460")

# --- the way of one call


def test_an_approved_debit_ends() -> None:
    """The plain way; an attempt that stays leased would be given up and asked about for nothing."""
    after = record(SENDING, APPROVED, number=1, now=NOON)
    assert after.send == Send(
        msgspec.structs.replace(ATTEMPT, unique_id="u-7", payment_stage=codes.APPROVED),
        1,
        None,
        None,
        NOON,
        submitted_to=("a1",),
    )
    assert (after.cause, after.halt, after.send.step) == ("answered", None, "ended")
    assert after.events == (AttemptMoved(7, "t-7", "pending", "approved", "approved"),)


@pytest.mark.parametrize(
    ("told", "stage", "code"),
    [
        (answer("pending_async", unique_id="u-7"), codes.IN_PROGRESS, None),
        (answer("declined", unique_id="u-7", code="500"), codes.DECLINED, "500"),
        (answer("error", unique_id="u-7", code="501"), codes.ERROR, "501"),
        (answer("error", code="340"), codes.ERROR, "340"),  # refused as a whole: not even taken in
        (answer("unsuccessful", unique_id="u-7"), codes.ERROR, None),
        (answer("voided", unique_id="u-7"), codes.VOIDED, None),
        (
            answer("chargebacked", unique_id="u-7"),
            codes.APPROVED,
            None,
        ),  # the dispute has its own notification
    ],
)
def test_a_clear_answer_ends_the_debit(told: GatewayAnswer, stage: int, code: str | None) -> None:
    """A clear answer that is not booked leaves a debtor in the air, or lets a refused debit stand as collected."""
    after = record(SENDING, told, number=1, now=NOON).send
    assert (after.attempt.payment_stage, after.attempt.error_code, after.step) == (stage, code, "ended")
    assert (after.send_at, after.leased_until) == (None, None)


@pytest.mark.parametrize(
    ("told", "cause"),
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
def test_without_a_clear_answer_a_debit_is_unknown(told: GatewayAnswer | GatewaySilent, cause: str) -> None:
    """Each of these may hide a debit that stands; sent again, the debtor would pay twice."""
    after = record(SENDING, told, number=1, now=NOON)
    assert (after.cause, after.send.step, after.send.attempt.state) == (cause, "unknown", "unknown")
    assert after.send.attempt.payment_stage == codes.UNKNOWN_TO_US
    assert isinstance(after.events[0], AttemptMoved)
    assert any(isinstance(event, AmountDiffered) for event in after.events) == (cause == "other_amount")
    with pytest.raises(IllegalStep):
        claim(after.send, now=NOON + timedelta(days=1))


def test_an_id_that_came_with_a_muddle_is_kept() -> None:
    """With the gateway's id the debit is known to stand, and can be found; without it, it might be sent again."""
    named = record(SENDING, answer("error", code="230", unique_id="u-7"), number=1, now=NOON).send
    assert named.attempt.unique_id == "u-7"
    assert resolve(named, ABSENT, asked_at=SETTLED, inquiry=AGAIN).cause == "contradicted"
    other = record(
        SENDING, answer("approved", transaction_id="t-8", unique_id="u-8"), number=1, now=NOON
    ).send
    assert other.attempt.unique_id is None


@pytest.mark.parametrize("code", ["110", "120", "220", "310", "350", "360"])
def test_what_is_wrong_on_our_side_turns_debits_away_and_ends_none(code: str) -> None:
    """A mistyped password would otherwise end a whole run in errors, and a person would have to find each."""
    after = record(SENDING, answer("error", code=code), number=1, now=NOON)
    assert (after.cause, after.send.step, after.send.attempt.state) == ("turned_away", "ready", "pending")
    assert after.send.send_at == NOON + timedelta(seconds=RULES.back_s)
    assert after.halt is not None
    assert code in after.halt
    with pytest.raises(IllegalStep, match="submitted later"):
        claim(after.send, now=NOON)
    # With an id of its own it is the debit that was refused, not we.
    assert (
        record(SENDING, answer("error", code=code, unique_id="u-7"), number=1, now=NOON).send.step == "ended"
    )


@pytest.mark.parametrize("cause", ["no_free_connection", "connect", "cancelled", "throttled"])
def test_what_was_not_submitted_is_ready_again(cause: str) -> None:
    """Nothing left: a quarter of an hour of not knowing, and an inquiry, would be for nothing."""
    after = record(SENDING, NotSubmitted(cause), number=1, now=NOON)
    assert (after.send.step, after.send.attempt.state, after.events) == ("ready", "pending", ())
    assert after.cause == ("throttled" if cause == "throttled" else "not_submitted")
    assert after.send.send_at is not None
    assert NOON < after.send.send_at <= NOON + timedelta(seconds=5)
    again = claim(after.send, now=after.send.send_at, identity="a1")
    assert (again.sends, again.uncounted) == (2, 1)
    assert (after.send.submitted_to, again.submitted_to) == ((), ("a1",))  # it need not be inquired for


def test_not_submitted_is_proven_for_the_latest_call_alone() -> None:
    """A later call may have left, or the lease be over and the debit be inquired: then the proof comes too late."""
    second = msgspec.structs.replace(SENDING, sends=2)
    assert record(second, NotSubmitted("dns"), number=1, now=NOON) == After(second, "late")
    assert record(UNKNOWN, NotSubmitted("dns"), number=1, now=NOON).send == UNKNOWN


def test_each_wait_is_longer_up_to_a_bound() -> None:
    """Without pauses an outage would turn each debit over once a second; without a bound it would never be seen again."""
    send, waits, now = SENDING, [], NOON
    for _ in range(14):
        after = record(send, NotSubmitted("connect"), number=send.sends, now=now).send
        assert after.send_at is not None
        waits.append((after.send_at - now).total_seconds())
        now = after.send_at
        send = claim(after, now=now, identity="a1")
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == 300
    asked = record(SENDING, NotSubmitted("throttled", slow_down_s=90), number=1, now=NOON).send
    assert asked.send_at == NOON + timedelta(seconds=90)
    for_ever = record(SENDING, NotSubmitted("throttled", slow_down_s=1e9), number=1, now=NOON).send
    assert for_ever.send_at == NOON + timedelta(seconds=300)


@pytest.mark.parametrize(
    "told",
    [
        NotSubmitted("connect"),
        answer("error", code="110"),
        GatewaySilent(why="http 429", slow_down_s=0.0, http_status=429),
    ],
)
def test_some_calls_cost_no_try_and_yet_every_debit_ends(told: GatewaySilent | GatewayAnswer) -> None:
    """Five 429s would end a debit that was never refused; without a bound one that is never taken would never end."""
    send = SENDING
    for calls in range(1, 200):
        if send.sends > RULES.sends_max:
            assert send.step == "sending"
        after = record(send, told, number=send.sends, now=NOON)
        if after.send.step == "unknown":
            known = msgspec.structs.replace(after.send, not_found=UNKNOWN.not_found)
            after = resolve(known, ABSENT, asked_at=SETTLED, inquiry=AGAIN)
        if after.cause == "given_up":
            assert calls > RULES.uncounted_max
            return
        assert after.send.step == "ready"
        send = claim(after.send, now=NOON + timedelta(days=1), identity="a1")
        send = msgspec.structs.replace(send, sent_at=NOON)
    assert send.uncounted == RULES.uncounted_max
    lost = record(send, SILENT, number=send.sends, now=NOON).send
    lost = msgspec.structs.replace(lost, not_found=UNKNOWN.not_found)
    assert resolve(lost, ABSENT, asked_at=SETTLED, inquiry=AGAIN).cause == "given_up"


def test_credentials_without_a_word_about_the_debit_pause_and_leave_it_unknown() -> None:
    """A 401 of whatever stands before the gateway is no proof; a run that went on would make every debit unknown."""
    after = record(SENDING, CredentialsRejected(why="http 401"), number=1, now=NOON)
    assert (after.cause, after.send.step) == ("credentials", "unknown")
    assert after.halt is not None
    assert "EMP_API_PASSWORD" in after.halt


# --- later and elsewhere


def test_bad_news_of_an_older_call_says_nothing_about_a_later_one() -> None:
    """The refusal of the first call, heard late, would end a debit whose second call was taken; it would be tried again."""
    again = claim(resolve(UNKNOWN, None, asked_at=SETTLED, inquiry=AGAIN).send, now=SETTLED)
    for told in (
        SILENT,
        answer("declined", unique_id="u-7"),
        answer("error", code="340"),
        answer("error", code="110"),
    ):
        assert record(again, told, number=1, now=SETTLED) == After(again, "late")
    heard = record(again, APPROVED, number=1, now=SETTLED).send
    assert (heard.step, heard.leased_until) == (
        "ended",
        again.leased_until,
    )  # the second call is still under way
    assert record(heard, SILENT, number=2, now=SETTLED).send.leased_until is None


def test_an_answer_that_comes_after_its_lease_still_counts() -> None:
    """A database that was away for two minutes must not cost the answers of that time."""
    lost = lapse(SENDING, now=NOON + timedelta(seconds=RULES.lease_s)).send
    assert (lost.step, lost.leased_until) == ("unknown", None)
    assert record(lost, APPROVED, number=1, now=SETTLED).send.attempt.state == "approved"
    assert (
        record(lost, answer("declined", unique_id="u-7"), number=1, now=SETTLED).send.attempt.state
        == "declined"
    )
    assert record(lost, SILENT, number=1, now=SETTLED) == After(lost, "late")
    ready = resolve(lost, None, asked_at=SETTLED + timedelta(hours=1), inquiry=AGAIN).send
    assert record(ready, APPROVED, number=1, now=SETTLED).send.step == "ended"
    assert record(ready, SILENT, number=1, now=SETTLED).send == ready


def test_a_notification_may_be_faster_than_the_answer() -> None:
    """The gateway notifies within a second; its answer, booked after that, must not undo what it said."""
    heard = msgspec.structs.replace(
        SENDING, attempt=msgspec.structs.replace(ATTEMPT, payment_stage=codes.APPROVED, unique_id="u-7")
    )
    assert heard.step == "ended"
    for told in (SILENT, answer("pending_async", unique_id="u-7"), answer("declined", unique_id="u-7")):
        after = record(heard, told, number=1, now=NOON).send
        assert (after.attempt, after.leased_until) == (heard.attempt, None)
    given_up = lapse(heard, now=SETTLED)
    assert (given_up.cause, given_up.send.leased_until, given_up.send.attempt) == (
        "late",
        None,
        heard.attempt,
    )


def test_a_lease_that_runs_is_not_taken_away() -> None:
    """A debit that is being sent would become unknown, be asked about, and perhaps be sent beside itself."""
    with pytest.raises(IllegalStep):
        lapse(SENDING, now=NOON + timedelta(seconds=RULES.lease_s - 1))
    with pytest.raises(IllegalStep):
        lapse(READY, now=SETTLED)


# --- asking


def test_not_there_counts_after_the_settling_time_and_by_the_moment_of_the_question() -> None:
    """A call still under way, or one begun after the question, would be overtaken by its own repetition."""
    early = resolve(UNKNOWN, ABSENT, asked_at=SETTLED - timedelta(seconds=1), inquiry=AGAIN)
    assert (early.cause, early.send, early.again_at) == ("too_early", UNKNOWN, SETTLED)
    ready = resolve(UNKNOWN, ABSENT, asked_at=SETTLED, inquiry=AGAIN).send
    assert (ready.step, ready.attempt.state) == ("ready", "unknown")
    second = record(claim(ready, now=SETTLED, identity="a1"), SILENT, number=2, now=SETTLED).send
    assert (second.sends, second.not_found) == (2, ())
    # Asked before the second call was over.
    assert resolve(second, None, asked_at=SETTLED, inquiry=AGAIN).cause == "too_early"


def test_a_first_not_found_frees_nothing_whatever_the_clocks_read() -> None:
    """A machine that was put back during its inquiry freed debits at once."""
    back = msgspec.structs.replace(FIRST, asked_s=9_000.0, answered_s=31.0)
    after = resolve(LOST, None, asked_at=SETTLED, inquiry=back)
    assert (after.cause, after.send.step) == ("too_early", "unknown")
    assert after.again_at is not None
    assert after.again_at > SETTLED


def test_a_debit_is_not_called_for_ever() -> None:
    """A debit that the gateway loses each time must come to an end that a person can see."""
    send, at = READY, NOON
    for number in range(1, RULES.sends_max + 1):
        send = record(claim(send, now=at, identity="a1"), SILENT, number=number, now=at).send
        at += timedelta(days=1)
        send = resolve(send, None, asked_at=at, inquiry=FIRST).send
        after = resolve(send, None, asked_at=at, inquiry=AGAIN)
        send = after.send
    assert (after.cause, send.step, send.attempt.state, send.attempt.error_code) == (
        "given_up",
        "ended",
        "error",
        "460",
    )


@pytest.mark.parametrize(
    ("told", "cause"),
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
def test_an_answer_about_something_else_resolves_nothing(told: GatewayAnswer, cause: str) -> None:
    """A refused question booked as a refused debit frees the debtor for a second one, while the first stands."""
    after = resolve(UNKNOWN, told, asked_at=SETTLED, inquiry=AGAIN)
    assert (after.cause, after.send.step) == (cause, "unknown")
    assert (after.halt is not None) == (told.code == "110")


@pytest.mark.parametrize(
    ("told", "stage"),
    [
        (APPROVED, codes.APPROVED),
        (answer("error", code="230", unique_id="u-7"), codes.UNKNOWN_TO_GATEWAY),
        (answer("error", code="450", unique_id="u-7"), codes.UNKNOWN_TO_GATEWAY),
        (answer("error", code="501", unique_id="u-7"), codes.ERROR),
        (answer("pending", unique_id="u-7"), codes.IN_PROGRESS),
    ],
)
def test_the_gateways_word_resolves_a_debit(told: GatewayAnswer, stage: int) -> None:
    """What the gateway has in its books is the truth; it must end in ours."""
    after = resolve(UNKNOWN, told, asked_at=NOON, inquiry=AGAIN).send
    assert (after.step, after.attempt.payment_stage, after.attempt.unique_id) == ("ended", stage, "u-7")


@pytest.mark.parametrize("send", [READY, SENDING, record(SENDING, APPROVED, number=1, now=NOON).send])
def test_only_what_is_unknown_is_resolved(send: Send) -> None:
    """An answer that was long on its way must not touch a debit that is being sent by now."""
    assert resolve(send, None, asked_at=SETTLED, inquiry=AGAIN) == After(send, "late")
    assert resolve(send, APPROVED, asked_at=SETTLED, inquiry=AGAIN) == After(send, "late")


# --- withholding


def test_a_debit_that_is_withheld_is_an_error_and_not_voided() -> None:
    """Voided comes after approved: were the gateway ever to speak of it, its word would be swallowed."""
    after = withhold(READY, because="held")
    assert (after.send.step, after.send.attempt.state, after.send.attempt.error_code) == (
        "ended",
        "error",
        "withheld",
    )
    assert after.events == (AttemptMoved(7, "t-7", "pending", "error", "held"),)
    for send in (SENDING, UNKNOWN):
        with pytest.raises(IllegalStep):
            withhold(send, because="held")


# --- everything


@st.composite
def sends(draw: st.DrawFn) -> Send:
    """Any debit a table may hold."""
    moment = NOON + timedelta(seconds=draw(st.integers(-4_000, 0)))
    send_at, leased_until = draw(st.sampled_from([(None, None), (moment, None), (None, moment)]))
    attempt = msgspec.structs.replace(
        ATTEMPT,
        payment_stage=draw(st.sampled_from([0, 10, 10, 20, 30, 40, 50, 60, 70, 80])),
        dispute_stage=draw(st.sampled_from([0, 0, 0, 1, 2, 3])),
        unique_id=draw(st.sampled_from([None, "u-7"])),
    )
    return Send(attempt, draw(st.integers(1, 6)), send_at, leased_until, moment)


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
    send=sends(),
    told=answers | st.just(SILENT),
    number=st.integers(1, 6),
    source=st.sampled_from(["call", "question"]),
)
def test_stages_only_grow_and_steps_follow_the_table(
    send: Send, told: GatewayAnswer | GatewaySilent, number: int, source: str
) -> None:
    """Whatever comes when: an attempt that goes back, or takes a way that is not in the table, has been proven by nobody."""
    if source == "question" and isinstance(told, GatewayAnswer):
        after = resolve(send, told, asked_at=NOON, inquiry=AGAIN)
    else:
        after = record(send, told, number=min(number, send.sends), now=NOON)
    before, attempt = send.attempt, after.send.attempt
    assert attempt.payment_stage >= before.payment_stage
    assert attempt.dispute_stage == before.dispute_stage
    assert before.unique_id in {None, attempt.unique_id}
    assert after.send.sends == send.sends
    assert after.cause in CAUSES
    assert not (after.send.send_at and after.send.leased_until)
    assert after.send.step == send.step or after.send.step in LIFE[send.step].values()
    moved = [event for event in after.events if isinstance(event, AttemptMoved)]
    assert len(moved) == (state_of(attempt.payment_stage, attempt.dispute_stage) != before.state)


@given(send=sends())
def test_only_what_is_ready_is_claimed(send: Send) -> None:
    """The one door to the gateway: whatever else is let through may be a second debit."""
    if send.step == "ready":
        claimed = claim(send, now=NOON)
        assert (claimed.step, claimed.sends, claimed.send_at) == ("sending", send.sends + 1, None)
        assert claimed.attempt == send.attempt
    else:
        with pytest.raises(IllegalStep):
            claim(send, now=NOON)


# --- ids


@given(
    debtor=st.integers(1, 2**62),
    item=st.from_regex(r"[a-z0-9][a-z0-9.-]{0,31}", fullmatch=True),
    number=st.integers(1, 99),
)
def test_ids_are_made_of_what_they_are_for(debtor: int, item: str, number: int) -> None:
    """Two tries with one id could not be told apart at the gateway; one try with two ids would be debited twice."""

    def made(debtor: int = debtor, item: str = item, number: int = number, **more: object) -> str:
        facts = {"amount_minor": 1000, "currency": "EUR", "iban_fingerprint": b"a" * 16} | more
        return transaction_id(debtor, due_item=item, number=number, **facts)  # type: ignore[arg-type]

    one = made()
    assert one == made()
    assert len(one) <= 80
    assert one.isascii()
    assert not any(mark.isspace() for mark in one)
    others = {
        made(debtor=debtor + 1),
        made(item=("x" + item)[:32] if not item.startswith("x") else "y"),
        made(number=number + 1),
        made(amount_minor=1001),
        made(iban_fingerprint=b"b" * 16),
    }
    assert one not in others
    assert len(others) == 5


@pytest.mark.parametrize("item", ["", "März", "A", "-x", "x" * 33, "a b", "a\n"])
def test_an_item_has_a_form(item: str) -> None:
    """What cannot stand in an id of the gateway would be refused there, debit by debit."""
    with pytest.raises(InvalidRequest):
        transaction_id(7, due_item=item, number=1, amount_minor=1, currency="EUR", iban_fingerprint=b"")
