"""
Billing attempts: their state, and what a notification changes.

An attempt is committed before the gateway is called. From then on our submission and the gateway's notifications change it.
Notifications come late, twice and out of order, so an attempt does not store the last status. It stores **the furthest stage** on two
tracks (`tether_core.payments.stages`), and both only grow:

| payment track | stage | | dispute track | stage |
|---|---|---|---|---|
| submitted, or about to be | 0 | | undisputed | 0 |
| outcome unknown to us | 10 | | charged back | 1 |
| in progress at the gateway | 20 | | won back | 2 |
| outcome unknown to the gateway | 30 | | lost again | 3 |
| error | 40 | | | |
| declined | 50 | | | |
| approved | 60 | | | |
| voided | 70 | | | |
| refunded | 80 | | | |

The state is read off the two stages (`state_of`): a lost dispute is `chargebacked` in every payment stage, a
dispute won back leaves the payment at least `approved`, and without a dispute the payment track decides. The maximum of stages is
commutative, associative and idempotent. Therefore every order of the same notifications ends in the same state, a late `approved` never
undoes `chargebacked`, and a repeat changes nothing.

Blacklist entries belong to the chargeback itself and not to the change of state: every genuine chargeback with a listed reason makes
one, even when its reversal came first.

A genuine signature covers only the id of a notification (`tether_core.emp.signature`). So **only notifications of a payment, by
the very id that was hashed, move that payment**:

- Hosted pages, external events and unknown kinds name a payment in a field that nobody signed. They cause a status inquiry about
  it, and what the gateway answers moves it, as a record of its own. Identity checks name no payment and cause nothing.
- An attempt whose unique_id is not stored yet is found by our `transaction_id`, which nobody signed either. The gateway must
  confirm that the two ids belong together before anything moves.

`tether_core.notifications.confirmation` says for which reported statuses the gateway has to be inquired before they take effect; `decide` then
answers `confirm`, and is called again with the gateway's own record. Then that record is applied: a reported "declined" that the gateway contradicts with
"approved" applies an approval.

A debit that was collected by what is stored, and has failed by the gateway's own record, stays as it is: stages never go back. It is a
difference that a person looks at (`tether_core.reconciliation.differences`).

>>> from tether_core.emp.notification import FORM, decode
>>> attempt = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR")
>>> notified = lambda body: decode(body, content_type=FORM)
>>> approved = decide(attempt, notified(b"unique_id=44177a21&signature=ab&status=approved"), account="default")
>>> approved.outcome, approved.attempt.state
('applied', 'approved')
>>> back = notified(b"unique_id=44177a21&signature=ab&status=chargebacked&event=chargeback&reason_code=AM04")
>>> returned = decide(approved.attempt, back, account="default").attempt
>>> late = decide(returned, notified(b"unique_id=44177a21&signature=ab&status=approved"), account="default")
>>> late.outcome, late.attempt.state
('unchanged', 'chargebacked')
>>> decide(attempt, notified(b"unique_id=44177a21&signature=ab&status=beamed_up"), account="default").reason
'unknown_status'
"""

from typing import Final, Literal

import msgspec

from tether_core.blacklist import Entry
from tether_core.emp.notification import Notification
from tether_core.events import (
    AmountMismatched,
    AttemptStatusChanged,
    Event,
    IbanBlocked,
    ReasonUnknown,
    RefundChargedBack,
)
from tether_core.notifications.confirmation import Confirm, fails_late, must_be_confirmed
from tether_core.payments import stages
from tether_core.return_policies.policy import BUILT_IN, ReturnPolicy

__all__ = [
    "DISPUTE_STAGES",
    "PAYMENT_STAGES",
    "REASONS",
    "ApplyPolicy",
    "Attempt",
    "AttemptState",
    "Confirm",
    "Confirmation",
    "Decision",
    "blocked_event",
    "decide",
    "names_other_money",
    "state_of",
]

AttemptState = Literal[
    "pending", "unknown", "approved", "declined", "error", "voided", "refunded", "chargebacked"
]

# The payment track: stage -> the state it shows while nothing is disputed.
PAYMENT_STAGES: Final[dict[int, AttemptState]] = {
    stages.SENT: "pending",
    stages.UNKNOWN_TO_US: "unknown",
    stages.IN_PROGRESS: "pending",
    stages.UNKNOWN_TO_GATEWAY: "unknown",
    stages.ERROR: "error",
    stages.DECLINED: "declined",
    stages.APPROVED: "approved",
    stages.VOIDED: "voided",
    stages.REFUNDED: "refunded",
}
# The dispute track: stage -> the state it forces, or None where the payment track decides.
DISPUTE_STAGES: Final[dict[int, AttemptState | None]] = {
    stages.UNDISPUTED: None,
    stages.CHARGEBACKED: "chargebacked",
    stages.WON_BACK: None,
    stages.LOST_AGAIN: "chargebacked",
}


def state_of(payment_stage: int, dispute_stage: int) -> AttemptState:
    """
    The state an attempt shows at two stages.

    Args:
        payment_stage: A key of `PAYMENT_STAGES`.
        dispute_stage: A key of `DISPUTE_STAGES`.

    Returns:
        One of the eight states.
    """
    forced = DISPUTE_STAGES[dispute_stage]
    if forced is not None:
        return forced
    if dispute_stage == stages.WON_BACK:
        # Only a collected debit can be disputed, so a dispute that was won says "approved" even when the
        # notification that said so never came.
        return PAYMENT_STAGES[max(payment_stage, stages.APPROVED)]
    return PAYMENT_STAGES[payment_stage]


class Attempt(msgspec.Struct, frozen=True):
    """
    What has to be known of a billing attempt to decide about a notification.

    Attributes:
        id: Our row.
        account: The gateway account it was submitted with.
        transaction_id: Our id, known to the gateway as `transaction_id`.
        unique_id: The gateway's id, or `None` until it is known.
        amount_minor: In whole minor units, above 0.
        currency: Three capitals of ISO 4217.
        payment_stage: How far it has come; a key of `PAYMENT_STAGES`.
        dispute_stage: How far a dispute about it has come; a key of `DISPUTE_STAGES`.
        error_code: The gateway's last code, for "error" and "declined".
        reason_code: Why money went back, where it did.
        iban_fingerprint: Of the IBAN the debit used; empty where unknown.
        iban_masked: For people; empty where unknown.
    """

    id: int
    account: str
    transaction_id: str
    unique_id: str | None
    amount_minor: int
    currency: str
    payment_stage: int = stages.SENT
    dispute_stage: int = stages.UNDISPUTED
    error_code: str | None = None
    reason_code: str | None = None
    iban_fingerprint: bytes = b""
    iban_masked: str = ""

    @property
    def state(self) -> AttemptState:
        """The state its stages show."""
        return state_of(self.payment_stage, self.dispute_stage)

    @property
    def refunded_and_charged_back(self) -> bool:
        """Whether its money was returned twice, by our refund and by the debtor's bank; a person should claim it back."""
        return self.payment_stage in {stages.VOIDED, stages.REFUNDED} and self.state == "chargebacked"


class Confirmation(msgspec.Struct, frozen=True):
    """
    The gateway's own record of a payment.

    Attributes:
        status: The payment's status at the gateway, lower case.
        error_code: Its code, for "error" and "declined".
        reason_code: Why money went back, from the chargeback list.
        transaction_id: Our id of the payment, where its record has it.
        amount_minor: The payment's amount, where its own record was fetched; never that of a dispute.
        currency: The payment's currency by its record, likewise.
    """

    status: str
    error_code: str | None = None
    reason_code: str | None = None
    transaction_id: str | None = None
    amount_minor: int | None = None
    currency: str | None = None


class ApplyPolicy(msgspec.Struct, frozen=True):
    """
    What an operator may choose about applying.

    Attributes:
        returns: What each reason code of a return does: the version that is active.
        confirm: Which reported statuses the gateway must confirm first (`EMP_CONFIRM`); `tether_core.notifications.confirmation`.
    """

    returns: ReturnPolicy = BUILT_IN
    confirm: Confirm = "off"


class Decision(msgspec.Struct, frozen=True):
    """
    What is to be done about one notification.

    Attributes:
        outcome: "applied" the attempt changes; "unchanged" it is known already or says nothing new;
            "not_yet" the payment is not stored, try later; "confirm" a status inquiry comes first;
            "contradicted" the gateway contradicts it; "park" a person must look.
        reason: A stable word for the cause, from `REASONS`.
        attempt: The new attempt, or `None` where none changes.
        entries: Blacklist entries to make, where they do not exist yet; `blocked_event` is that of one that was made.
        events: Facts to announce.
    """

    outcome: Literal["applied", "unchanged", "not_yet", "confirm", "contradicted", "park"]
    reason: str
    attempt: Attempt | None = None
    entries: tuple[Entry, ...] = ()
    events: tuple[Event, ...] = ()


REASONS: Final[dict[str, str]] = {
    "moved": "The attempt changed its state, or its stage within it.",
    "repeated": "The attempt had come this far before.",
    "late": "The attempt has come further already; this is older.",
    "information": "The notification changes no debit.",
    "not_a_payment": "The notification is about a page, an identity check or an event, and names no stored payment.",
    "names_payment": "Another kind of notification names a payment; the gateway is inquired about it.",
    "inquired": "Another kind of notification named a payment; the gateway was inquired, and its answer is a record.",
    "unlinked": "The attempt is named by our unsigned id alone; the gateway must confirm that the two belong together.",
    "failed_late": "The debit was collected, and by the gateway's own record it has failed since: a difference, for a person.",
    "unknown_payment": "We have no attempt with this id yet.",
    "unknown_status": "The status or event is unknown; a person must say what it means.",
    "other_account": "The attempt belongs to another gateway account than the one that signed.",
    "other_payment": "Our id is stored with another id of the gateway.",
    "other_amount": "It names another amount or currency than the debit, and no status inquiry is possible; a person must look.",
    "unconfirmed": "The reported status moves money; a status inquiry comes first.",
    "contradicted": "The gateway contradicts the reported status.",
}


def decide(
    attempt: Attempt | None,
    notification: Notification,
    *,
    account: str,
    policy: ApplyPolicy = ApplyPolicy(),  # noqa: B008 - a frozen value, so sharing it is safe
    confirmation: Confirmation | None = None,
) -> Decision:
    """
    Decide what a notification changes of its attempt.

    Args:
        attempt: The attempt with the notification's `unique_id`, else with its `transaction_id`; `None` if neither.
        notification: Decoded and verified.
        account: The account whose secret verified it.
        policy: The operator's choices.
        confirmation: The gateway's own record; `None` before the status inquiry.

    Returns:
        The decision. It is a value: nothing has happened yet.
    """
    if notification.kind != "payment":
        return _named(attempt, notification, account=account, policy=policy, confirmation=confirmation)
    step = stages.meaning(notification.status, event=notification.event, error_code=notification.error_code)
    if step is None:
        return Decision("park", "unknown_status")
    if step.track == "none":
        return Decision("unchanged", "information")
    if attempt is None:
        return Decision("not_yet", "unknown_payment")
    return (
        _foreign(attempt, notification, account=account)
        or _unlinked(attempt, policy=policy, confirmation=confirmation)
        or _other_money(attempt, notification, step, policy=policy, confirmation=confirmation)
        or _unconfirmed(attempt, step, policy=policy, confirmation=confirmation)
        or _apply(attempt, notification, step, policy=policy, confirmation=confirmation)
    )


def blocked_event(entry: Entry, *, attempt_id: int) -> IbanBlocked:
    """
    The event that an IBAN was added to the blacklist; announce it only for an entry that did not exist yet.

    Args:
        entry: From a decision.
        attempt_id: The debit that came back.

    Returns:
        The event.
    """
    return IbanBlocked(
        attempt_id, entry.action, entry.reason_code, entry.iban_masked, policy_version=entry.policy_version
    )


def _foreign(attempt: Attempt, notification: Notification, *, account: str) -> Decision | None:
    if attempt.account != account:
        return Decision("park", "other_account")
    if notification.unique_id and attempt.unique_id and attempt.unique_id != notification.unique_id:
        return Decision("park", "other_payment")
    return None


def _named(
    attempt: Attempt | None,
    notification: Notification,
    *,
    account: str,
    policy: ApplyPolicy,
    confirmation: Confirmation | None,
) -> Decision:
    """Decide about a notification that is not a payment's: at most a status inquiry follows from it."""
    if confirmation is not None:
        return Decision("unchanged", "inquired")
    # An identity check may be signed with the login, which is no secret.
    is_named = attempt is not None and attempt.account == account and notification.kind != "kyc"
    if not is_named or policy.confirm == "off":
        return Decision("unchanged", "not_a_payment")
    return Decision("confirm", "names_payment", attempt)


def _unlinked(attempt: Attempt, *, policy: ApplyPolicy, confirmation: Confirmation | None) -> Decision | None:
    if attempt.unique_id is not None:
        return None
    if confirmation is None and policy.confirm != "off":
        return Decision("confirm", "unlinked", attempt)
    if confirmation is None or confirmation.transaction_id is None:
        # The response to the call, or an inquiry by our own id, brings the gateway's id.
        return Decision("not_yet", "unlinked")
    if confirmation.transaction_id != attempt.transaction_id:
        return Decision("contradicted", "other_payment", attempt)
    return None


def _other_money(
    attempt: Attempt,
    notification: Notification,
    step: stages.Step,
    *,
    policy: ApplyPolicy,
    confirmation: Confirmation | None,
) -> Decision | None:
    """
    Decide about a notification whose amount or currency is not the debit's.

    The amount is not signed, so a status inquiry comes first. Where none is possible, a part that was returned does not count as
    the whole; the difference is shown to a person (`tether_core.reconciliation.differences`).
    """
    if confirmation is not None or not names_other_money(attempt, notification):
        return None
    if policy.confirm != "off":
        return Decision("confirm", "unconfirmed", attempt)
    if step.track == "dispute" or step.stage in {stages.VOIDED, stages.REFUNDED}:
        # Of a part, too: who had it charged back without a mandate will have the next one charged back.
        returned = step.track == "dispute" and step.stage in {stages.CHARGEBACKED, stages.LOST_AGAIN}
        entries = _entries(attempt, notification.reason_code, policy=policy) if returned else ()
        return Decision("unchanged", "other_amount", attempt, entries)
    return None


def names_other_money(attempt: Attempt, notification: Notification) -> bool:
    """
    Whether a notification names another amount or currency than the debit has.

    Args:
        attempt: The debit.
        notification: Of it. The sign of the amount says nothing: records of refunds and chargebacks may be negative.

    Returns:
        Whether; one without amount and currency names none, one whose amount is no whole number another.
    """
    text = notification.fields.get("amount", "").strip()
    other_amount = text != "" and text.removeprefix("-").lstrip("0") != str(attempt.amount_minor)
    return other_amount or notification.currency not in {None, attempt.currency}


def _unconfirmed(
    attempt: Attempt, step: stages.Step, *, policy: ApplyPolicy, confirmation: Confirmation | None
) -> Decision | None:
    is_to_confirm = must_be_confirmed(
        step.track, step.stage, payment_stage=attempt.payment_stage, confirm=policy.confirm
    )
    if confirmation is None:
        return Decision("confirm", "unconfirmed", attempt) if is_to_confirm else None
    recorded = _reported_step(confirmation)
    if recorded is not None and recorded.track == "payment" and step.track == "payment":
        if fails_late(recorded.stage, payment_stage=attempt.payment_stage):
            return Decision("unchanged", "failed_late", attempt)
        if (
            fails_late(step.stage, payment_stage=attempt.payment_stage)
            and recorded.stage <= attempt.payment_stage
        ):
            return Decision("contradicted", "contradicted", attempt)
    if not is_to_confirm:
        return None
    if recorded is None:
        return Decision("park", "unknown_status")
    return None if _confirms(step, recorded) else Decision("contradicted", "contradicted", attempt)


def _reported_step(confirmation: Confirmation) -> stages.Step | None:
    return stages.meaning(confirmation.status, event=None, error_code=confirmation.error_code)


def _confirms(reported: stages.Step, step: stages.Step) -> bool:
    # The gateway's record may be newer than the report, never older: "chargeback reversed" confirms the chargeback
    # before it, and any dispute confirms that the payment was collected.
    if reported.track == step.track:
        return step.stage >= reported.stage
    return step.track == "dispute" and reported.stage <= stages.APPROVED


def _applied(reported: stages.Step, confirmation: Confirmation | None) -> stages.Step:
    """Return the step to apply: that of the gateway's own record where it is further than the reported one."""
    recorded = _reported_step(confirmation) if confirmation is not None else None
    if recorded is None or not _confirms(reported, recorded):
        return reported
    if reported.track == recorded.track:
        return recorded
    # A dispute moves with its own notification, reason and blacklist entry; here it proves that money came.
    return stages.Step("payment", stages.APPROVED)


def _apply(
    attempt: Attempt,
    notification: Notification,
    step: stages.Step,
    *,
    policy: ApplyPolicy,
    confirmation: Confirmation | None,
) -> Decision:
    # The gateway's own record outranks the notification's fields, which are not signed.
    reason_code = (confirmation.reason_code if confirmation else None) or notification.reason_code
    is_chargeback = step.track == "dispute" and step.stage in {stages.CHARGEBACKED, stages.LOST_AGAIN}
    applied = _applied(step, confirmation)
    cause, error_code = notification.event or notification.status, notification.error_code
    if confirmation is not None and applied != step:
        cause, error_code = confirmation.status, confirmation.error_code
    payment, dispute = _furthest(attempt, applied)
    moved = (payment, dispute) != (attempt.payment_stage, attempt.dispute_stage)
    changes: dict[str, object] = {"payment_stage": payment, "dispute_stage": dispute}
    if attempt.unique_id is None and notification.unique_id:
        changes["unique_id"] = notification.unique_id
    if payment != attempt.payment_stage:
        changes["error_code"] = error_code  # cleared by the approval that follows an error
    if is_chargeback and reason_code and attempt.reason_code is None:
        changes["reason_code"] = reason_code
    after = msgspec.structs.replace(attempt, **changes)

    facts: list[Event] = []
    if after.state != attempt.state:
        facts.append(
            AttemptStatusChanged(
                attempt_id=attempt.id,
                transaction_id=attempt.transaction_id,
                before=attempt.state,
                after=after.state,
                cause=cause,
                reason_code=reason_code if is_chargeback else None,
            )
        )
    entries: tuple[Entry, ...] = ()
    if is_chargeback:
        about = {"dispute_stage": step.stage, "dispute_id": notification.chargeback_id}
        entries = tuple(
            msgspec.structs.replace(entry, **about) for entry in _entries(attempt, reason_code, policy=policy)
        )
        if moved and not policy.returns.of(reason_code).known:
            facts.append(ReasonUnknown(attempt.id, reason_code))
    if moved:
        facts += _amiss(attempt, after, notification)
    if after == attempt:
        here = attempt.payment_stage if step.track == "payment" else attempt.dispute_stage
        known = "repeated" if step.stage == here else "late"
        return Decision("unchanged", known, attempt, entries, tuple(facts))
    return Decision("applied", "moved", after, entries, tuple(facts))


def _amiss(before: Attempt, after: Attempt, notification: Notification) -> list[Event]:
    """What a person should look at."""
    facts = list[Event]()
    if after.refunded_and_charged_back and not before.refunded_and_charged_back:
        facts.append(RefundChargedBack(before.id))
    if _amount_differs(before, notification):
        facts.append(AmountMismatched(before.id, before.amount_minor, notification.amount_minor or 0))
    return facts


def _furthest(attempt: Attempt, step: stages.Step) -> tuple[int, int]:
    if step.track == "payment":
        return max(attempt.payment_stage, step.stage), attempt.dispute_stage
    return attempt.payment_stage, max(attempt.dispute_stage, step.stage)


def _entries(attempt: Attempt, reason_code: str | None, *, policy: ApplyPolicy) -> tuple[Entry, ...]:
    says = policy.returns.of(reason_code)
    if says.action == "none" or not attempt.iban_fingerprint:
        return ()
    return (
        Entry(
            says.action,
            says.scope,
            says.code,
            attempt.iban_fingerprint,
            attempt.iban_masked,
            policy_version=policy.returns.version,
        ),
    )


def _amount_differs(attempt: Attempt, notification: Notification) -> bool:
    # A refund or a chargeback may be partial; a debit is not.
    if notification.amount_minor is None or notification.status != "approved":
        return False
    return notification.amount_minor != attempt.amount_minor
