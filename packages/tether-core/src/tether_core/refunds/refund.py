"""
Refunds and voids.

A refund is our order to return one debit; on the day of its submission it is a void. It is as dangerous as a debit: a call can fail
after the gateway has taken it, and a second call would pay twice. So it is submitted like a debit (`tether_core.payments.submission`):
a row with its own deterministic `transaction_id` is committed first, a lost response leaves it `unknown`, and only the gateway's own
record changes that. The `attempt` of its `Submission` is the order itself; the debit is kept beside it.

`tether_core.refunds.allowance` says whether a debit may be refunded or voided: when a person orders it, and again before the submission.
An order that the gateway approved moves the debit to `refunded` or `voided`; a chargeback after that makes the debit `refunded_and_charged_back`, which is announced and listed for a person.

No order is placed while another one about the debit is active. Failed orders are kept, and the next one has another number; where the gateway
approves a failed one after all, the next one is not submitted any more, or both have returned the money. An order that the gateway rejects,
because of the merchant configuration or because the state of the debit has changed, ends as `error`: the person who ordered it corrects
the cause and orders it again.

Source: Genesis API documentation v60.1, SDD Refund, Void, Errors 4xx (workflow: about the payment that is referred to).

>>> from datetime import UTC
>>> from tether_core.emp.responses import read_answer
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> debit = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)
>>> own_id = transaction_id("void", debit, number=1)
>>> order = Submission(Attempt(1, "default", own_id, None, 1000, "EUR"), submit_at=noon)
>>> sent = claim(Refund("void", debit, order, noon), now=noon, identity="a1").order
>>> answer = read_answer(b"<payment_response><status>approved</status><unique_id>55177a21</unique_id></payment_response>")
>>> done = record(Refund("void", debit, sent, noon), answer, number=1, now=noon)
>>> done.order.attempt.state, done.debit.state
('approved', 'voided')
"""

from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final, Literal

import msgspec

from tether_core import retry
from tether_core.emp.notification import Notification
from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import GatewaySilent
from tether_core.events import (
    AmountMismatched,
    AttemptStatusChanged,
    Event,
    RefundChargedBack,
    RefundStatusChanged,
)
from tether_core.holds import Hold
from tether_core.payments import attempt, stages, submission, transaction_ids
from tether_core.payments.attempt import ApplyPolicy, Attempt, Confirmation, Decision
from tether_core.payments.gateway_identity import UNKNOWN
from tether_core.payments.not_found import Inquiry
from tether_core.payments.submission import Submission, SubmissionRules
from tether_core.refunds.allowance import RefundKind, judge, sentence

__all__ = [
    "ACTIVE",
    "DEFERRED",
    "Outcome",
    "Refund",
    "RefundState",
    "apply_record",
    "claim",
    "decide",
    "expire",
    "later_ids",
    "lose_history",
    "record",
    "resolve",
    "transaction_id",
]

# An order that is not submitted yet, because of what was reported of its debit (`tether_core.holds`).
DEFERRED: Final = "being confirmed"

RefundState = Literal["pending", "unknown", "approved", "declined", "error", "voided", "refunded"]

# In these states an order keeps others about the same debit away.
ACTIVE: Final = frozenset({"pending", "unknown", "approved", "refunded"})

_DONE: Final = frozenset({"approved", "refunded"})
_RULES: Final = SubmissionRules()
_POLICY: Final = ApplyPolicy()
# Where an approved order takes the debit.
_LEADS_TO: Final[dict[RefundKind, int]] = {"refund": stages.REFUNDED, "void": stages.VOIDED}


class Refund(msgspec.Struct, frozen=True):
    """
    An order to refund or void, and its debit.

    Attributes:
        kind: "refund" or "void".
        debit: The debit to return.
        order: The order and its submission; its `attempt` is the order and not the debit.
        debited_at: When the debit was submitted.
    """

    kind: RefundKind
    debit: Attempt
    order: Submission
    debited_at: datetime


class Outcome(msgspec.Struct, frozen=True):
    """
    The result of a step: the order and its debit, to be stored.

    Attributes:
        order: The new order.
        debit: The new debit.
        cause: A key of `tether_core.payments.submission.CAUSES`, or why it is not submitted.
        events: Facts to announce.
        again_at: When to inquire again, where the cause is "too_early"; else `None`.
        not_submitted_reason: A sentence for people that says why the order was not submitted, where the debit forbids it; else `None`.
    """

    order: Submission
    debit: Attempt
    cause: str
    events: tuple[Event, ...] = ()
    again_at: datetime | None = None
    not_submitted_reason: str | None = None


def transaction_id(kind: RefundKind, debit: Attempt, *, number: int) -> str:
    """
    Return the deterministic `transaction_id` of an order.

    Args:
        kind: How the debit is refunded.
        debit: Which.
        number: Of the order about this debit, from 1.

    Returns:
        At most 60 printable ASCII characters.

    >>> transaction_id("refund", Attempt(7, "default", "t-7", "44177a21", 1000, "EUR"), number=1)
    'tether-refund-7-1-069f91b987'
    """
    content = f"{debit.transaction_id} {kind} {number} {debit.amount_minor} {debit.currency}".encode()
    return (
        f"tether-{kind}-{debit.id}-{number}-{blake2b(content, digest_size=5, person=b'refund').hexdigest()}"
    )


def later_ids(kind: RefundKind, debit: Attempt, *, number: int) -> tuple[str, ...]:
    """
    The ids that other orders about a debit have, should a lost history have made any.

    Such a history may have seen an order refused and made another one, or one of the other kind, which the gateway took. "Not
    found" for the one that is known then says nothing about the debit's money.

    Args:
        kind: Of the order that is known.
        debit: Which.
        number: Of the order that is known.

    Returns:
        The ids of orders of either kind, with its number and the next `tether_core.payments.transaction_ids.LATER_TRIES`, without its own.
    """
    kinds: tuple[RefundKind, ...] = ("refund", "void")
    ids = [
        transaction_id(refund_kind, debit, number=number + further)
        for further in range(transaction_ids.LATER_TRIES + 1)
        for refund_kind in kinds
    ]
    return tuple(item for item in ids if item != transaction_id(kind, debit, number=number))


def claim(
    refund: Refund,
    *,
    now: datetime,
    identity: str = UNKNOWN,
    hold: Hold | None = None,
    rules: SubmissionRules = _RULES,
) -> Outcome:
    """
    Claim an order for submission and judge it again; commit the result before the call.

    Args:
        refund: An order that is ready, and its debit, both locked.
        identity: The key of the gateway identity that the call will go to. Without it, no "not found" will ever free it.
        hold: The hold on the debit, or `None`.
        rules: The operator's choices.

    Returns:
        The order under a lease, cause "claimed"; or as `error`, its cause why the debit may not be refunded any more; or ready
        later, cause `DEFERRED`, where the hold ends by itself.

    Raises:
        IllegalStep: when it may not be submitted.
    """
    verdict = judge(refund.kind, refund.debit, submitted_at=refund.debited_at, now=now)
    if not verdict.allowed:
        why = sentence(refund.kind, verdict)
        outcome = _outcome(refund, submission.exclude(refund.order, reason=why).submission, cause=verdict.why)
        return msgspec.structs.replace(outcome, not_submitted_reason=why)
    if hold is not None and hold.passes:
        return _outcome(
            refund,
            submission.defer(refund.order, until=now + timedelta(seconds=retry.HELD_S)),
            cause=DEFERRED,
        )
    if hold is not None:
        return _outcome(
            refund, submission.exclude(refund.order, reason=hold.sentence).submission, cause=hold.text
        )
    return _outcome(
        refund, submission.claim(refund.order, now=now, identity=identity, rules=rules), cause="claimed"
    )


def record(
    refund: Refund,
    answer: GatewayAnswer | GatewaySilent,
    *,
    number: int,
    now: datetime,
    rules: SubmissionRules = _RULES,
) -> Outcome:
    """
    Apply the result of a call.

    Args:
        refund: The current order and its debit, both locked.
        answer: The response to the call, or that there was none.
        number: Which call, as counted by `claim`.
        rules: The operator's choices.

    Returns:
        What to write, and why.
    """
    if isinstance(answer, GatewayAnswer) and _is_of_debit(refund, answer):
        answer = _without_debit(answer)
    after = submission.record(refund.order, answer, number=number, now=now, rules=rules)
    if after.cause == "rejected" and isinstance(answer, GatewayAnswer):
        # The person who ordered it sees why it was rejected; a retry would only be rejected again.
        order = msgspec.structs.replace(
            after.submission.attempt, payment_stage=stages.ERROR, error_code=answer.code
        )
        return _outcome(
            refund,
            msgspec.structs.replace(after.submission, attempt=order, submit_at=None),
            cause=after.cause,
        )
    return _outcome(refund, after.submission, cause=after.cause)


def expire(refund: Refund, *, now: datetime, rules: SubmissionRules = _RULES) -> Outcome:
    """
    Make an order unknown whose lease has expired: its worker may have called the gateway.

    Args:
        refund: An order that is being submitted, locked with its debit.
        now: The current time, not before the end of the lease.
        rules: The operator's choices.

    Returns:
        What to write, and why.
    """
    after = submission.expire(refund.order, now=now, rules=rules)
    return _outcome(refund, after.submission, cause=after.cause)


def lose_history(refund: Refund, *, at: datetime) -> Outcome:
    """
    Make an order unknown after the database was restored to an earlier state.

    Args:
        refund: The order as it is now, and its debit, both locked.
        at: Until when the lost history may have claimed a call.

    Returns:
        What to write, and why.
    """
    after = submission.lose_history(refund.order, at=at)
    return _outcome(refund, after.submission, cause=after.cause)


def resolve(
    refund: Refund, *, inquired_at: datetime, inquiry: Inquiry, rules: SubmissionRules = _RULES
) -> Outcome:
    """
    Apply "not found" of a status inquiry about an order.

    Args:
        refund: The current order and its debit, both locked.
        inquired_at: When the inquiry was made.
        inquiry: Where and when it was made, by the machine's boot clock.
        rules: The operator's choices.

    Returns:
        What to write, and why.
    """
    after = submission.resolve(refund.order, None, inquired_at=inquired_at, inquiry=inquiry, rules=rules)
    return _outcome(refund, after.submission, cause=after.cause, again_at=after.again_at)


def apply_record(refund: Refund, answer: GatewayAnswer, *, cause: str = "answered") -> Outcome:
    """
    Apply the gateway's record of an order.

    Args:
        refund: The current order and its debit, both locked.
        answer: Its `tether_core.reconciliation.status_inquiry.inquiry_result` is "found"; or what a person has seen (`tether_core.stated_outcomes`).
        cause: What events name as the cause.

    Returns:
        What to write, and why: the furthest stage counts. A record of the debit says nothing of the order.
    """
    if _is_of_debit(refund, answer):
        return _outcome(refund, refund.order, cause="other_payment")
    step = stages.meaning(answer.status, event=None, error_code=answer.code)
    order = refund.order.attempt
    if order.unique_id is None and answer.unique_id is not None:
        order = msgspec.structs.replace(order, unique_id=answer.unique_id)
    if step is None or step.track != "payment":
        return _outcome(refund, msgspec.structs.replace(refund.order, attempt=order), cause="unknown_status")
    return _outcome(refund, _come_to(refund.order, order, step.stage, code=answer.code), cause=cause)


def decide(
    refund: Refund,
    notification: Notification,
    *,
    account: str,
    policy: ApplyPolicy = _POLICY,
    confirmation: Confirmation | None = None,
) -> tuple[Decision, Outcome | None]:
    """
    What a notification about an order does.

    Args:
        refund: The order and its debit, both locked.
        notification: Decoded and verified; it names the order by one of its ids.
        account: The account whose secret verified it.
        policy: The operator's choices.
        confirmation: The gateway's own record; `None` before the status inquiry.

    Returns:
        The decision, as of any notification; and, where something changes, what to write.
    """
    if notification.kind != "payment":
        return Decision("unchanged", "not_a_payment"), None
    step = stages.meaning(notification.status, event=notification.event, error_code=notification.error_code)
    if step is not None and step.track == "dispute":
        return Decision("park", "unknown_status"), None  # a refund has no disputes
    if policy.confirm == "failures":
        # Every final state moves money: an approval returns it, a failure lets it be ordered again.
        policy = msgspec.structs.replace(policy, confirm="all")
    decision = attempt.decide(
        refund.order.attempt, notification, account=account, policy=policy, confirmation=confirmation
    )
    plain = msgspec.structs.replace(decision, attempt=None, entries=(), events=())
    if decision.outcome != "applied" or decision.attempt is None:
        return plain, None
    order = decision.attempt
    outcome = _outcome(
        refund,
        _come_to(refund.order, order, order.payment_stage, code=order.error_code),
        cause=notification.status,
    )
    differs = [
        AmountMismatched(refund.debit.id, fact.ours_minor, fact.theirs_minor)
        for fact in decision.events
        if isinstance(fact, AmountMismatched)
    ]
    return plain, msgspec.structs.replace(outcome, events=(*outcome.events, *differs))


def _is_of_debit(refund: Refund, answer: GatewayAnswer) -> bool:
    """Whether an answer is about the debit: its "approved" would return money in the books alone."""
    ids = {answer.unique_id, answer.transaction_id} - {None}
    return bool(ids & {refund.debit.unique_id, refund.debit.transaction_id})


def _without_debit(answer: GatewayAnswer) -> GatewayAnswer | GatewaySilent:
    """An answer to an order that names the debit: a refusal counts, anything else has to be inquired."""
    if answer.status == "error":
        return msgspec.structs.replace(answer, unique_id=None, transaction_id=None)
    return GatewaySilent(why="the response is about the debit")


def _come_to(current: Submission, order: Attempt, stage: int, *, code: str | None) -> Submission:
    if stage > order.payment_stage:
        failed = stage in {stages.ERROR, stages.DECLINED, stages.UNKNOWN_TO_GATEWAY}
        order = msgspec.structs.replace(order, payment_stage=stage, error_code=code if failed else None)
    if order.payment_stage > stages.UNKNOWN_TO_US:
        return msgspec.structs.replace(current, attempt=order, submit_at=None)
    return msgspec.structs.replace(current, attempt=order)


def _outcome(refund: Refund, order: Submission, *, cause: str, again_at: datetime | None = None) -> Outcome:
    before, after = refund.order.attempt, order.attempt
    facts = list[Event]()
    if before.state != after.state:
        facts.append(
            RefundStatusChanged(
                refund_id=before.id,
                attempt_id=refund.debit.id,
                kind=refund.kind,
                transaction_id=before.transaction_id,
                before=before.state,
                after=after.state,
                cause=cause,
            )
        )
    debit = refund.debit
    if after.state in _DONE and debit.payment_stage < _LEADS_TO[refund.kind]:
        debit = msgspec.structs.replace(debit, payment_stage=_LEADS_TO[refund.kind], error_code=None)
        if debit.state != refund.debit.state:
            facts.append(
                AttemptStatusChanged(
                    attempt_id=debit.id,
                    transaction_id=debit.transaction_id,
                    before=refund.debit.state,
                    after=debit.state,
                    cause=f"{refund.kind} approved",
                )
            )
        if debit.refunded_and_charged_back and not refund.debit.refunded_and_charged_back:
            facts.append(RefundChargedBack(debit.id))
    return Outcome(order, debit, cause, tuple(facts), again_at)
