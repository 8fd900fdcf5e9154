r"""
Submission of debits, never twice.

The gateway has no idempotency key, and a call can fail after the gateway has accepted it. So the life cycle of the submission is kept
apart from that of the payment (`tether_core.payments.attempt`), and answers one question: *may this debit be submitted now?* Only a row
that is `ready` may. It is claimed, in a commit of its own, before the call; if anything then goes wrong, it is no longer ready, and only
the gateway's own record can make it ready again.

```text
             claimed                 answered
 ready ──────────────► submitting ─────────────────────────────► ended
   ▲ ▲   rejected,     │  │                                      ▲
   │ └─ not submitted ─┘  │ silent, unclear, lease expired       │
   │                      ▼                                      │
   └───── not found ──── unknown ── answered, given up ──────────┘

 ready, submitting, unknown ── history lost ──► unknown
```

| step | what it means | how a row shows it |
|---|---|---|
| ready | may be submitted from a time on | `submit_at` is set |
| submitting | a worker holds the lease and may be calling | `leased_until` is set |
| unknown | called, and the outcome is unknown: inquire by `transaction_id`, never submit | neither is set |
| ended | the gateway has responded, or it will never be submitted | the payment has come further than "unknown to us" |

The rules:

- **No response is not a refusal.** A timeout, a broken connection, an unreadable answer, the codes 2xx and 95x, a status
  nobody knows and code 450 ("the same debit minutes ago") all leave the debit unknown.
- **Not submitted is a result of its own.** Where provably no byte of the request was sent (all connections in use, no connection made,
  cancelled before the request), or the gateway states that it accepted nothing (HTTP 429 with a refusal), the debit
  is ready again, after a wait that grows. This needs proof; see `tether_core.emp.http_response`.
- **Such a call costs no try.** It does not count towards `submissions_max`, nor does one that was rejected or throttled, up to
  `SubmissionRules.uncounted_max` of them.
- **Not there counts only from where the debit was submitted, and only after the grace period.** Each call is committed
  with the gateway identity it goes to. Code 460 makes an unknown debit ready again when all of these identities gave it,
  two times so far apart that no call can be under way any more (`tether_core.payments.not_found`), and the gateway has never
  named an id for the debit. Postgres's clock must agree that the last call has been over for `SubmissionRules.not_found_grace_s`.
- **A lost history is an inquiry first.** Where the database has gone back to an earlier state, what it calls ready may
  have been submitted by the history that is gone: such a debit becomes unknown, and every identity of its account
  has to say "not found".
- **A debit is submitted again under the same `transaction_id`**, so that a gateway that took the first call late refuses the second.
- **Calls are numbered.** A response to an older call may show that the gateway has the debit; a refusal of the first call says
  nothing about the second.
- **A restored database has lost calls.** What was ready or unfinished then is inquired first
  (`tether_core.database_epoch`), and the grace period runs from that time.
- **A configuration error is no refusal.** A wrong password or terminal rejects every debit and ends none; they become ready
  again, and their run is paused for a person.

Without an idempotency key one case remains: a call that reaches the gateway after "not found" and after the grace period is taken as a
first one. So the grace period is longer than any call can last, and the gateway's own check for equal ids comes after it.

Source: Genesis API documentation v60.1, Errors (2xx and 95x: reconcile; 450: duplicate within 5 minutes; 460: not
found), SDD Sale (`transaction_id` is unique per merchant).

>>> from datetime import UTC, datetime, timedelta
>>> from tether_core.emp.responses import read_answer
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> debit = Submission(Attempt(7, "default", "t-7", None, 1000, "EUR"), submit_at=noon)
>>> sent = claim(debit, now=noon, identity="a1")
>>> sent.step, sent.submission_count
('submitting', 1)
>>> lost = record(sent, GatewaySilent(why="timeout"), number=1, now=noon).submission
>>> lost.step, lost.attempt.state
('unknown', 'unknown')
>>> claim(lost, now=noon)
Traceback (most recent call last):
    ...
tether_core.errors.IllegalStep: This debit has an unknown outcome, so it cannot be claimed. Keep its row as it is, and report this error with the log lines of that time.
>>> absent = read_answer(b"<payment_response><status>error</status><code>460</code></payment_response>")
>>> first = Inquiry(frozenset({"a1"}), frozenset({"a1"}), boot="boot-1", inquired_s=60.0, answered_s=60.2)
>>> early = resolve(lost, absent, inquired_at=noon + timedelta(minutes=1), inquiry=first)
>>> early.cause
'too_early'
>>> later = msgspec.structs.replace(first, inquired_s=3_600.0, answered_s=3_600.2)
>>> resolve(early.submission, absent, inquired_at=noon + timedelta(hours=1), inquiry=later).submission.step
'ready'
"""

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent, IllegalStep, NotSubmitted
from tether_core.events import AttemptStatusChanged, Event
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.payments.gateway_identity import EVERY, UNKNOWN
from tether_core.payments.not_found import FirstAnswer, Inquiry, judge
from tether_core.payments.submission_answer import AnswerReading, configuration_error, read

__all__ = [
    "CAUSES",
    "EXCLUDED",
    "TRANSITIONS",
    "UNRESOLVED",
    "After",
    "Submission",
    "SubmissionCause",
    "SubmissionRules",
    "SubmissionStep",
    "claim",
    "defer",
    "exclude",
    "expire",
    "lose_history",
    "record",
    "resolve",
]

SubmissionStep = Literal["ready", "submitting", "unknown", "ended"]
SubmissionCause = Literal[
    "claimed",
    "excluded",
    "answered",
    "unclear",
    "lease expired",
    "rejected",
    "not submitted",
    "not found",
    "given up",
    "history lost",
]

# step x cause -> step. A notification may end any step at any time: it is applied by
# `tether_core.payments.attempt` and the attempt can then not be submitted in any step.
TRANSITIONS: Final[dict[SubmissionStep, dict[SubmissionCause, SubmissionStep]]] = {
    "ready": {"claimed": "submitting", "excluded": "ended", "answered": "ended", "history lost": "unknown"},
    "submitting": {
        "answered": "ended",
        "unclear": "unknown",
        "lease expired": "unknown",
        "rejected": "ready",
        "not submitted": "ready",
        "history lost": "unknown",
    },
    "unknown": {"answered": "ended", "not found": "ready", "given up": "ended", "history lost": "unknown"},
    "ended": {"answered": "ended"},
}

CAUSES: Final[dict[str, str]] = {
    "answered": "The gateway responded with the outcome of the debit.",
    "silent": "The gateway gave no usable answer to the call.",
    "unclear": "The gateway responded, and does not know the outcome itself.",
    "may_exist": "The gateway saw the same debit minutes ago; a status inquiry follows.",
    "unknown_status": "The gateway responded with an unknown status.",
    "other_payment": "The response is about another payment; it was not applied.",
    "other_amount": "The response names another amount; it was not applied, a person should look.",
    "lease_over": "The lease of the worker that submitted it has expired.",
    "rejected": "The gateway rejects the merchant configuration, not the debit: password, terminal or set-up. The run is paused.",
    "not_submitted": "Nothing was submitted; the debit is submitted again.",
    "throttled": "The gateway took nothing because requests came too fast; the debit is submitted again, slower.",
    "credentials": "The gateway rejects login or password and does not state the outcome of the debit.",
    "not_found": "The gateway has no such payment; the debit may be submitted again.",
    "too_early": "The gateway has no such payment yet; the call may still be under way.",
    "not_found_elsewhere": "Not found, but not by every gateway identity it was submitted to; configure these, or close it.",
    "given_up": "The gateway has no such payment after as many calls as the rules allow.",
    "contradicted": "The gateway once named an id for it and now has no such payment; a person should look.",
    "no_word": "The gateway did not answer the status inquiry; it is repeated.",
    "late": "The response belongs to an earlier call and changes nothing.",
    "excluded": "It is not submitted; the reason is stored with it.",
    "history_lost": "The database went back to an older state; the lost history may have submitted it.",
}

# Why an inquiry that was answered "not found" leaves a submission unknown.
UNRESOLVED: Final = ("too_early", "not_found_elsewhere", "contradicted")

EXCLUDED: Final = "excluded"
ABSENT: Final = "460"
# The wait after a call that submitted nothing; twice as long each time, up to five minutes.
_REST_S: Final = 1.0
_REST_MAX_S: Final = 300.0


class SubmissionRules(msgspec.Struct, frozen=True):
    """
    How long to wait, and how often to call.

    Attributes:
        lease_s: A call is over this long after it was claimed, in seconds: the time a worker may take to begin it,
            the gateway's time limit, and some more to record the response.
        not_found_grace_s: The grace period, in seconds: a call cannot be under way any more after its lease and this time. A quarter of
            an hour outlives every proxy between us, and the 5 minutes in which the gateway takes a second debit for a
            duplicate (450).
        submissions_max: Calls at most for one attempt.
        back_s: The wait after a rejection, in seconds.
        uncounted_max: Calls at most that cost no try: nothing was submitted, or the gateway wanted fewer requests.
    """

    lease_s: float = 75.0
    not_found_grace_s: float = 900.0
    submissions_max: int = 5
    back_s: float = 60.0
    uncounted_max: int = 100


_RULES: Final = SubmissionRules()


class Submission(msgspec.Struct, frozen=True):
    """
    A billing attempt and its submission.

    Attributes:
        attempt: The debit, and the gateway's statements about it.
        submission_count: Calls begun; the number of the latest one.
        submit_at: From when on it may be submitted; `None` where it may not.
        leased_until: Until when the worker that claimed it may be calling; `None` where nobody does.
        submitted_at: When the latest call was claimed; or until when a lost history may have claimed one, then also with no
            call known.
        submitted_to: The gateway identities of the calls that the gateway did not reject, in their order: keys of
            `tether_core.payments.gateway_identity`, or its words for those that nobody knows; `None` where none was ever stored.
        not_found: The first answers "not found" since the latest call, one a machine.
        uncounted: Of the calls in `submission_count`, how many cost no try.
    """

    attempt: Attempt
    submission_count: int = 0
    submit_at: datetime | None = None
    leased_until: datetime | None = None
    submitted_at: datetime | None = None
    submitted_to: tuple[str, ...] | None = None
    not_found: tuple[FirstAnswer, ...] = ()
    uncounted: int = 0

    @property
    def step(self) -> SubmissionStep:
        """Its step in `TRANSITIONS`."""
        if (
            self.attempt.payment_stage > stages.UNKNOWN_TO_US
            or self.attempt.dispute_stage > stages.UNDISPUTED
        ):
            return "ended"
        if self.leased_until is not None:
            return "submitting"
        return "unknown" if self.submit_at is None else "ready"

    @property
    def is_untouched(self) -> bool:
        """Whether no call of it can have reached the gateway."""
        no_call = self.submission_count == 0 if self.submitted_to is None else not self.submitted_to
        return no_call and self.attempt.unique_id is None


class After(msgspec.Struct, frozen=True):
    """
    The result of a call or a status inquiry, to be stored.

    Attributes:
        submission: The new submission.
        cause: A key of `CAUSES`.
        events: Facts to announce.
        pause_reason: Why the runs of the account are to be paused for a person, or `None`.
        again_at: When to inquire again, where the cause is "too_early"; else `None`.
    """

    submission: Submission
    cause: str
    events: tuple[Event, ...] = ()
    pause_reason: str | None = None
    again_at: datetime | None = None


def claim(
    submission: Submission, *, now: datetime, identity: str = UNKNOWN, rules: SubmissionRules = _RULES
) -> Submission:
    """
    Claim a debit for submission; to be committed before the call is made.

    Args:
        submission: A debit that is ready, from its time on.
        identity: The key of the gateway identity that the call will go to. Without it no "not found" ever makes the debit ready again.
        rules: The operator's choices.

    Returns:
        The debit under a lease, its calls counted one up.

    Raises:
        IllegalStep: when it may not be submitted.
    """
    _to(submission, "claimed")
    if submission.submit_at is None or now < submission.submit_at:
        raise IllegalStep("debit to send", state="ready later", step="claimed")
    return msgspec.structs.replace(
        submission,
        submission_count=submission.submission_count + 1,
        submit_at=None,
        leased_until=now + timedelta(seconds=rules.lease_s),
        submitted_at=now,
        submitted_to=(*_submitted_to(submission), identity),
        not_found=(),
    )


def defer(submission: Submission, *, until: datetime) -> Submission:
    """
    Leave a debit ready, and submit it later; the obstacle ends by itself.

    Args:
        submission: A debit that is ready.
        until: When it is judged again.

    Returns:
        The debit.

    Raises:
        IllegalStep: when it is not ready.
    """
    if submission.step != "ready":
        raise IllegalStep("debit to send", state=submission.step, step="deferred")
    return msgspec.structs.replace(submission, submit_at=until)


def record(
    submission: Submission,
    answer: GatewayAnswer | GatewaySilent,
    *,
    number: int,
    now: datetime,
    rules: SubmissionRules = _RULES,
) -> After:
    """
    The result of a call.

    Args:
        submission: The current debit, locked.
        answer: The answer to the call, or that there was none.
        number: Which call, as counted by `claim`.
        rules: The operator's choices.

    Returns:
        What to write, and why.
    """
    reading = read(submission.attempt, answer)
    if number != submission.submission_count:
        # An answer to an older call can show that the gateway has the debit; that it refused that call says nothing.
        has_it = reading.stage is not None and reading.stage not in {stages.ERROR, stages.DECLINED}
        return (
            _answered(submission, answer, reading, keep_lease=True) if has_it else After(submission, "late")
        )
    if reading.stage is not None:
        return _answered(submission, answer, reading)
    if submission.step != "submitting":
        # The lease is over or a notification was faster, and this says no more than they did.
        return After(msgspec.structs.replace(submission, leased_until=None), "late")
    if isinstance(answer, NotSubmitted):
        return _not_submitted(submission, answer, cause=reading.cause, now=now, rules=rules)
    if reading.cause == "rejected":
        _to(submission, "rejected")
        submit_at = now + timedelta(seconds=rules.back_s)
        back = msgspec.structs.replace(
            submission,
            leased_until=None,
            submit_at=submit_at,
            submitted_to=_submitted_to(submission)[:-1],  # it took nothing, and need not be inquired
            uncounted=_one_more(submission, rules=rules),
        )
        return After(back, "rejected", pause_reason=reading.why)
    if isinstance(answer, GatewaySilent) and answer.slow_down_s is not None:
        submission = msgspec.structs.replace(submission, uncounted=_one_more(submission, rules=rules))
    after = _unknown(
        submission, "unclear", cause=reading.cause, unique_id=reading.unique_id, events=reading.events
    )
    return msgspec.structs.replace(after, pause_reason=reading.why)


def expire(submission: Submission, *, now: datetime, rules: SubmissionRules = _RULES) -> After:
    """
    Make a debit unknown whose lease has expired: its worker may have called the gateway.

    Args:
        submission: A debit that is being submitted, locked.
        now: Not before the end of the lease; or so long before it that the clock must have been set back.
        rules: The operator's choices.

    Returns:
        What to write, and why.

    Raises:
        IllegalStep: when it is not being submitted, or the lease still runs.
    """
    if submission.leased_until is None or now < submission.leased_until <= now + timedelta(
        seconds=2 * rules.lease_s
    ):
        raise IllegalStep("debit to send", state=submission.step, step="lost while its lease runs")
    if submission.step == "ended":
        return After(msgspec.structs.replace(submission, leased_until=None, submit_at=None), "late")
    return _unknown(submission, "lease expired", cause="lease_over")


def lose_history(submission: Submission, *, at: datetime) -> After:
    """
    Make a debit unknown after the database was restored to an earlier state.

    Args:
        submission: A debit as it is now, locked.
        at: Until when the lost history may have claimed a call.

    Returns:
        What to write, and why; unchanged where the gateway's own record is recorded already.
    """
    if submission.step == "ended":
        return After(submission, "late")
    until = at if submission.submitted_at is None else max(submission.submitted_at, at)
    after = _unknown(submission, "history lost", cause="history_lost")
    # A lost call may have gone to any terminal of its account: each of them has to say "not found".
    known = _submitted_to(submission)
    lost = msgspec.structs.replace(
        after.submission,
        submitted_at=until,
        submitted_to=known if EVERY in known else (*known, EVERY),
        not_found=(),
    )
    return msgspec.structs.replace(after, submission=lost)


def resolve(
    submission: Submission,
    answer: GatewayAnswer | None,
    *,
    inquired_at: datetime,
    inquiry: Inquiry,
    rules: SubmissionRules = _RULES,
) -> After:
    """
    Apply the response to a status inquiry about a debit of unknown outcome.

    Args:
        submission: The current debit, locked.
        answer: The response; `None` where the client has read it as "not found" already. An error without the payment's id,
            other than 460, is about the inquiry and not about the payment.
        inquired_at: When the inquiry was made, not when the response came: a slow response is about the call before, and must
            not be applied to a later one.
        inquiry: Where and when it was made, by the machine's boot clock; used for "not found" alone.
        rules: The operator's choices.

    Returns:
        What to write, and why.
    """
    if submission.step != "unknown":
        return After(submission, "late")
    if answer is None or (answer.unique_id is None and answer.code == ABSENT):
        return _absent(submission, inquired_at=inquired_at, inquiry=inquiry, rules=rules)
    if answer.unique_id is None:
        return After(submission, "no_word", pause_reason=configuration_error(answer))
    reading = read(submission.attempt, answer, known_there=True)
    if reading.stage is None:
        attempt = _with_id(submission.attempt, reading.unique_id)
        return After(msgspec.structs.replace(submission, attempt=attempt), reading.cause, reading.events)
    return _answered(submission, answer, reading)


def exclude(submission: Submission, *, reason: str) -> After:
    """
    Decide not to submit a debit that is ready.

    It ends as an error and not as voided, so that a report of the gateway about it still changes its state.

    Args:
        submission: A debit that is ready, locked.
        reason: A stable reason code, such as a verdict of `tether_core.billing.eligibility`.

    Returns:
        What to write, and why.

    Raises:
        IllegalStep: when it is not ready.
    """
    _to(submission, "excluded")
    attempt = msgspec.structs.replace(submission.attempt, payment_stage=stages.ERROR, error_code=EXCLUDED)
    after = msgspec.structs.replace(submission, attempt=attempt, submit_at=None)
    return After(after, "excluded", _moved(submission.attempt, attempt, cause=reason))


def _answered(
    submission: Submission,
    answer: GatewayAnswer | GatewaySilent,
    reading: AnswerReading,
    *,
    keep_lease: bool = False,
) -> After:
    assert isinstance(answer, GatewayAnswer)
    assert reading.stage is not None
    _to(submission, "answered")
    attempt = _with_id(submission.attempt, reading.unique_id)
    if reading.stage > attempt.payment_stage:
        failed = reading.stage in {stages.ERROR, stages.DECLINED, stages.UNKNOWN_TO_GATEWAY}
        attempt = msgspec.structs.replace(
            attempt, payment_stage=reading.stage, error_code=answer.code if failed else None
        )
    leased_until = submission.leased_until if keep_lease else None
    after = msgspec.structs.replace(submission, attempt=attempt, submit_at=None, leased_until=leased_until)
    return After(after, "answered", _moved(submission.attempt, attempt, cause=answer.status))


def _unknown(
    submission: Submission,
    by: SubmissionCause,
    *,
    cause: str,
    unique_id: str | None = None,
    events: tuple[Event, ...] = (),
) -> After:
    _to(submission, by)
    attempt = _with_id(submission.attempt, unique_id)
    attempt = msgspec.structs.replace(attempt, payment_stage=max(attempt.payment_stage, stages.UNKNOWN_TO_US))
    after = msgspec.structs.replace(submission, attempt=attempt, submit_at=None, leased_until=None)
    return After(after, cause, (*_moved(submission.attempt, attempt, cause=cause), *events))


def _submitted_to(submission: Submission) -> tuple[str, ...]:
    if submission.submitted_to is None:
        return (UNKNOWN,) if submission.submission_count else ()
    return submission.submitted_to


def _not_submitted(
    submission: Submission, not_submitted: NotSubmitted, *, cause: str, now: datetime, rules: SubmissionRules
) -> After:
    _to(submission, "not submitted")
    rest_s = min(_REST_S * 2 ** min(submission.uncounted, 10), _REST_MAX_S)
    rest_s = max(rest_s, min(not_submitted.slow_down_s or 0.0, _REST_MAX_S))
    after = msgspec.structs.replace(
        submission,
        leased_until=None,
        submit_at=now + timedelta(seconds=rest_s),
        submitted_to=_submitted_to(submission)[:-1],
        uncounted=_one_more(submission, rules=rules),
    )
    return After(after, cause)


def _one_more(submission: Submission, *, rules: SubmissionRules) -> int:
    return min(submission.uncounted + 1, rules.uncounted_max)


def _absent(
    submission: Submission, *, inquired_at: datetime, inquiry: Inquiry, rules: SubmissionRules
) -> After:
    if submission.attempt.unique_id is not None:
        return After(submission, "contradicted")
    grace_s = rules.lease_s + rules.not_found_grace_s
    verdict = judge(
        _submitted_to(submission), first_answers=submission.not_found, inquiry=inquiry, grace_s=grace_s
    )
    if verdict.word == "elsewhere":
        return After(submission, "not_found_elsewhere")
    resolved_at = inquired_at + timedelta(seconds=verdict.wait_s)
    # A call that was claimed later than now by Postgres's clock: the clock was set back, and says nothing of this span.
    if submission.submitted_at is not None and submission.submitted_at <= inquired_at:
        resolved_at = max(resolved_at, submission.submitted_at + timedelta(seconds=grace_s))
    if verdict.word == "waiting" or inquired_at < resolved_at:
        first = verdict.first_answers or submission.not_found
        return After(msgspec.structs.replace(submission, not_found=first), "too_early", again_at=resolved_at)
    if submission.submission_count - submission.uncounted < rules.submissions_max:
        _to(submission, "not found")
        return After(msgspec.structs.replace(submission, submit_at=inquired_at, not_found=()), "not_found")
    _to(submission, "given up")
    attempt = msgspec.structs.replace(submission.attempt, payment_stage=stages.ERROR, error_code=ABSENT)
    after = msgspec.structs.replace(submission, attempt=attempt)
    return After(after, "given_up", _moved(submission.attempt, attempt, cause="given_up"))


def _with_id(attempt: Attempt, unique_id: str | None) -> Attempt:
    if attempt.unique_id is not None or unique_id is None:
        return attempt
    return msgspec.structs.replace(attempt, unique_id=unique_id)


def _moved(before: Attempt, after: Attempt, *, cause: str) -> tuple[Event, ...]:
    if before.state == after.state:
        return ()
    return (
        AttemptStatusChanged(
            attempt_id=before.id,
            transaction_id=before.transaction_id,
            before=before.state,
            after=after.state,
            cause=cause,
        ),
    )


def _to(submission: Submission, cause: SubmissionCause) -> SubmissionStep:
    """Return the next step of `TRANSITIONS`, or raise."""
    step = TRANSITIONS[submission.step].get(cause)
    if step is None:
        raise IllegalStep("debit to send", state=submission.step, step=cause)
    return step
