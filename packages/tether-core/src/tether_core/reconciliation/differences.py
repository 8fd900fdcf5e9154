r"""
Reconciliation differences: differences between the gateway's records and ours, as one list for people.

Most differences end automatically, because an attempt takes the furthest stage that was reported (`tether_core.payments.attempt`). The rest
is money that moved, or may have moved, differently from our records, and a person must correct it: a person looks at a line,
does what it says, and either the facts resolve it or the person acknowledges it with a reason.

| kind | what it is | found by |
|---|---|---|
| `collected_twice` | one due item is collected by two debits | the review of debits that changed |
| `state_differs` | the gateway's present state of a debit is not ours | notifications, status inquiries, reports |
| `charged_back_again` | another chargeback after a dispute was won back | notifications, by the dispute's own id; reports |
| `refund_failed_later` | a refund or void that was approved is declined or in error later | notifications, reports |
| `amount_differs` | another amount or currency than the debit, or our refund of it, has | notifications, reports, status inquiries |
| `pending_too_long` | a debit is open beyond the last status inquiry | the review |
| `returned_twice` | the money of a debit went back twice, by refund and by chargeback or by two refunds | the review |
| `unreachable_identity` | an outcome is unknown, and no configured gateway identity can be inquired about it | the review |
| `statement_contradicted` | a person stated that no money moved (`tether_core.stated_outcomes`), and the gateway says it did | notifications, the review |

A line is about one debit and one **subject**, which distinguishes lines of one kind. It is opened once, however often it is reported; when it
is resolved and the same comes about again, that is another line. `KINDS` says for each kind what to do, and whether
an open line keeps refunds and voids of its debit away: money is not returned while nobody knows where it is.

A report or an inquiry may be older than a recent notification. So the gateway's present state counts as another one
only when our own has not changed for `RECORD_LAG`. A debit that failed after it was approved needs no such wait: no order of true
notifications ends in that.

>>> from datetime import UTC
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> ours = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)
>>> compare(ours, stages.STATUSES["declined"], changed_at=noon, now=noon)
Difference(kind='state_differs', attempt_id=7, subject='declined', ours='approved', theirs='declined', other_attempt_id=None, refund_id=None)
>>> compare(ours, stages.STATUSES["approved"], changed_at=noon, now=noon)
'agrees'
>>> compare(ours, stages.STATUSES["pending"], changed_at=noon, now=noon)     # perhaps older than our approval
'too early'
>>> compare(ours, stages.STATUSES["refunded"], changed_at=noon, now=noon)    # processing will move ours there
'moves'
>>> amount_named(ours, amount_text="250", amount_minor=250, currency="EUR", about="refunded").theirs
'2.50 EUR (refunded)'
>>> require_reason("  ")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: reason: Say in 1 to 500 characters what was found; it is kept with the line.
"""

import math
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from tether_core.emp.notification import Notification
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.events import AttemptStatusChanged, Event, RefundStatusChanged
from tether_core.money import Money
from tether_core.payments import stages
from tether_core.payments.attempt import PAYMENT_STAGES, Attempt, AttemptState, Confirmation, Decision
from tether_core.reconciliation.status_inquiry import TRIES_MAX
from tether_core.refunds.refund import Outcome, Refund
from tether_core.stated_outcomes import StatedOutcome, is_contradicted
from tether_core.target_calendar import bank_day

__all__ = [
    "AMOUNT_LINES_MAX",
    "BY_STATE",
    "KINDS",
    "OPEN_DAYS_MAX",
    "RECORD_LAG",
    "REVIEWED",
    "WALK_MIN",
    "Compared",
    "DebitFacts",
    "Difference",
    "DifferenceKind",
    "DifferenceState",
    "KindRule",
    "amount_named",
    "charged_back_again",
    "compare",
    "failed_later",
    "is_new_dispute",
    "may_be_new_dispute",
    "may_contradict_statement",
    "of_notification",
    "open_debits",
    "refund_amount",
    "refund_failed",
    "reopen",
    "require_reason",
    "resolved_by",
    "review",
    "sentence",
    "statement_contradicted",
    "walk_size",
]

DifferenceKind = Literal[
    "collected_twice",
    "state_differs",
    "charged_back_again",
    "refund_failed_later",
    "amount_differs",
    "pending_too_long",
    "returned_twice",
    "unreachable_identity",
    "statement_contradicted",
]
DifferenceState = Literal["open", "acknowledged", "resolved"]

# Longer than any lag between a notification and the gateway's own record of the same, and between two hourly reports.
RECORD_LAG: Final = timedelta(hours=1)
# Status inquiries about a pending debit end after some 14 days (`tether_core.reconciliation.status_inquiry`); one that could not be inquired
# about, because its account is gone or the gateway was silent, is shown a week later.
OPEN_DAYS_MAX: Final = 21
# Debits that the walk along all debits reviews in a minute at least: a second of work.
WALK_MIN: Final = 5_000
# Lines of one debit about other amounts: a sender who varies the amount fills no list.
AMOUNT_LINES_MAX: Final = 5


class KindRule(msgspec.Struct, frozen=True):
    """
    The meaning of a kind of difference, and what to do.

    Attributes:
        text: What is the case, as a sentence.
        action: What a person does, as a sentence.
        holds_refunds: Whether an open line keeps refunds and voids of its debit away.
    """

    text: str
    action: str
    holds_refunds: bool


KINDS: Final[dict[DifferenceKind, KindRule]] = {
    "collected_twice": KindRule(
        "Another debit has collected the same due item.",
        "Refund one of the two debits; the line resolves itself when one of them is returned.",
        holds_refunds=False,
    ),
    "state_differs": KindRule(
        "The gateway's present state of this debit is not ours.",
        "Compare the debit in the gateway's back office; if our state is wrong, correct the debtor's account by hand and "
        "acknowledge the line. It resolves itself when a report of the gateway agrees with us.",
        holds_refunds=True,
    ),
    "charged_back_again": KindRule(
        "This debit was won back, and is charged back once more.",
        "Treat the money as returned, answer the new dispute with the gateway, and acknowledge the line with its outcome.",
        holds_refunds=True,
    ),
    "refund_failed_later": KindRule(
        "The gateway approved this refund or void, and says now that it failed.",
        "Look in the gateway's back office whether the money left; acknowledge the line with what you found, and with "
        "order_again if the debit may be refunded once more.",
        holds_refunds=True,
    ),
    "amount_differs": KindRule(
        "The gateway names another amount or currency than this debit has.",
        "Find out in the gateway's back office how much moved, book the rest by hand, and acknowledge the line.",
        holds_refunds=True,
    ),
    "pending_too_long": KindRule(
        "The outcome of this debit is open, and the last status inquiry has been made.",
        "Ask the gateway's support for its outcome; the due item stays reserved meanwhile, so nobody is debited twice.",
        holds_refunds=False,
    ),
    "returned_twice": KindRule(
        "The money of this debit went back twice.",
        "Claim one of the two payments back from the debtor or the bank, and acknowledge the line.",
        holds_refunds=False,
    ),
    "unreachable_identity": KindRule(
        "The outcome is unknown, and no gateway identity that is configured can be inquired about it.",
        "Configure the terminal, login and address again that it was submitted to. If these are gone for good, look it up in the "
        "gateway's back office and state its outcome: `tether-worker outcome`.",
        holds_refunds=False,
    ),
    "statement_contradicted": KindRule(
        "A person stated that no money moved, and the gateway says that it did.",
        "Believe the gateway; look whether the due item was collected again, or the refund ordered again, refund what is too much, and "
        "acknowledge the line.",
        holds_refunds=False,
    ),
}

# What the review of a debit finds and resolves from the books alone.
REVIEWED: Final[tuple[DifferenceKind, ...]] = (
    "collected_twice",
    "pending_too_long",
    "returned_twice",
    "unreachable_identity",
)
# What ends as soon as both sides show the same state.
BY_STATE: Final[tuple[DifferenceKind, ...]] = ("state_differs", "charged_back_again")

_WORD: Final = re.compile(r"[-0-9.,]{1,20}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_REASON_MAX: Final = 500
_UNREADABLE_CURRENCY: Final = "an unreadable currency"


class Difference(msgspec.Struct, frozen=True):
    """
    One line of the list.

    Attributes:
        kind: Which kind.
        attempt_id: The debit.
        subject: Distinguishes lines of one kind about one debit.
        ours: What our books say.
        theirs: What the gateway, or the other debit, says.
        other_attempt_id: The other debit, for "collected_twice".
        refund_id: The refund or void, where the line is about one.
    """

    kind: DifferenceKind
    attempt_id: int
    subject: str
    ours: str
    theirs: str
    other_attempt_id: int | None = None
    refund_id: int | None = None


class DebitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the review of a debit looks at.

    Attributes:
        attempt: The debit.
        due_item: What it collects.
        submitted_at: When it was submitted, or made where it was not.
        inquiries: Status inquiries without a final result.
        collected_by: The debits that have collected its due item, ascending; itself among them where it has.
        refunds: Refunds and voids of it that the gateway approved, ours and those of its back office.
        unreachable_at: The names of the gateway identities it went to, where its outcome is unknown and none that is configured can
            be inquired; "" where it can.
        unreachable_refunds: The refunds and voids of it of which the same is true.
        stated: What a person stated of it last, or `None`.
        contradicted_refunds: The refunds and voids that a person stated not to have happened, and the gateway approved.
    """

    attempt: Attempt
    due_item: str
    submitted_at: datetime
    inquiries: int = 0
    collected_by: tuple[int, ...] = ()
    refunds: int = 0
    unreachable_at: str = ""
    unreachable_refunds: tuple[int, ...] = ()
    stated: StatedOutcome | None = None
    contradicted_refunds: tuple[int, ...] = ()


Compared = Difference | Literal["agrees", "moves", "too early"]


def review(facts: DebitFacts, *, now: datetime) -> list[Difference]:
    """
    What the books alone show of a debit.

    Args:
        facts: Of the debit.
        now: The present time.

    Returns:
        The differences of `REVIEWED` that hold now; open lines of these kinds that are not among them are over.
    """
    attempt = facts.attempt
    found = list[Difference]()
    first = min(facts.collected_by, default=attempt.id)
    if attempt.id in facts.collected_by and first != attempt.id:
        found.append(
            Difference(
                "collected_twice",
                attempt.id,
                facts.due_item,
                ours=f"{_money(attempt.amount_minor, attempt.currency)} for {facts.due_item}",
                theirs=f"collected by debit {first}",
                other_attempt_id=first,
            )
        )
    charged_back = attempt.state == "chargebacked"
    if attempt.refunded_and_charged_back or facts.refunds + charged_back > 1:
        ways = [f"{facts.refunds} refunds"] if facts.refunds > 1 else ["refund or void"]
        theirs = " and ".join([*ways, *(["chargeback"] if charged_back else [])])
        found.append(Difference("returned_twice", attempt.id, "", ours="returned once", theirs=theirs))
    is_open = attempt.state in {"pending", "unknown"} and attempt.payment_stage > stages.SENT
    if is_open and (facts.inquiries >= TRIES_MAX or now - facts.submitted_at > timedelta(days=OPEN_DAYS_MAX)):
        found.append(
            Difference(
                "pending_too_long",
                attempt.id,
                "",
                ours=f"{attempt.state}, submitted on {bank_day(facts.submitted_at)}",
                theirs="no outcome",
            )
        )
    return [*found, *_unreachable(facts), *_contradicted(facts)]


def _unreachable(facts: DebitFacts) -> list[Difference]:
    """Submissions of unknown outcome that nobody can inquire about, as the gateway identities are configured."""
    theirs = "cannot be inquired"
    found = list[Difference]()
    if facts.unreachable_at:
        ours = f"unknown, submitted on {bank_day(facts.submitted_at)} to {facts.unreachable_at}"
        found.append(Difference("unreachable_identity", facts.attempt.id, "", ours=ours, theirs=theirs))
    found += [
        Difference(
            "unreachable_identity",
            facts.attempt.id,
            f"refund {refund_id}",
            ours=f"refund or void {refund_id} unknown",
            theirs=theirs,
            refund_id=refund_id,
        )
        for refund_id in facts.unreachable_refunds
    ]
    return found


def _contradicted(facts: DebitFacts) -> list[Difference]:
    """Statements of people that the gateway has since contradicted."""
    found = list[Difference]()
    if facts.stated is not None and is_contradicted(facts.stated, facts.attempt):
        found.append(statement_contradicted(facts.attempt, stated=facts.stated, theirs=facts.attempt.state))
    found += [
        Difference(
            "statement_contradicted",
            facts.attempt.id,
            f"refund {refund_id}",
            ours=f"refund or void {refund_id} stated not to have happened",
            theirs="approved",
            refund_id=refund_id,
        )
        for refund_id in facts.contradicted_refunds
    ]
    return found


def statement_contradicted(attempt: Attempt, *, stated: StatedOutcome, theirs: str) -> Difference:
    """
    The line about a statement that the gateway contradicts.

    Args:
        attempt: The debit.
        stated: What a person stated.
        theirs: What the gateway says.

    Returns:
        The difference; one for a debit, however often it is reported.
    """
    return Difference(
        "statement_contradicted", attempt.id, "", ours=f"{stated}, stated by a person", theirs=_plain(theirs)
    )


def may_contradict_statement(attempt: Attempt, notification: Notification) -> bool:
    """
    Whether a notification says that money moved by a debit that our books call declined or in error.

    It counts before it is confirmed, because the gateway identity that could confirm it is gone.

    Args:
        attempt: The debit as it is after the decision.
        notification: The notification.

    Returns:
        Whether it is a difference where a person stated the outcome.
    """
    if notification.kind != "payment" or attempt.state not in {"declined", "error"}:
        return False
    step = stages.meaning(notification.status, event=notification.event, error_code=notification.error_code)
    return step is not None and (step.track == "dispute" or step.stage >= stages.APPROVED)


def compare(attempt: Attempt, step: stages.Step | None, *, changed_at: datetime, now: datetime) -> Compared:
    """
    Compare our state of a debit with the gateway's own present record of it.

    Args:
        attempt: Ours.
        step: What the record's status means; `None` for a status that no table knows, which is processed and parked.
        changed_at: When our state last changed.
        now: When the record was read.

    Returns:
        "agrees"; "moves" where the record is ahead of us and its processing moves ours; "too early" where it may be older than
        ours; else the difference.
    """
    if step is None or step.track == "none" or step.stage > _stage_on(attempt, step.track):
        return "moves"
    theirs = _state_of(step)
    no_money_moved = {theirs, attempt.state} == {"declined", "error"}
    if theirs == attempt.state or attempt.refunded_and_charged_back or no_money_moved:
        return "agrees"
    failed = failed_later(attempt, step)
    if failed is None and now - changed_at < RECORD_LAG:
        return "too early"
    if step.track == "dispute" and attempt.dispute_stage == stages.WON_BACK:
        return charged_back_again(attempt, dispute_id=None)
    return failed or _state_differs(attempt, theirs)


def failed_later(attempt: Attempt, step: stages.Step) -> Difference | None:
    """
    Whether a debit whose money we count as collected, or as returned by us, has failed at the gateway.

    Args:
        attempt: Ours.
        step: What the gateway says, by a notification that is believed or by its own record.

    Returns:
        The difference, or `None`.
    """
    if step.track != "payment" or step.stage not in {stages.ERROR, stages.DECLINED}:
        return None
    if attempt.state not in {"approved", "refunded"}:
        return None
    return _state_differs(attempt, _state_of(step))


def of_notification(
    attempt: Attempt, notification: Notification, *, decided: Decision, confirmation: Confirmation | None
) -> list[Difference]:
    """
    What a processed notification shows beside what it moved.

    Args:
        attempt: The debit as it is after the decision.
        notification: The notification; one that was not believed shows nothing by itself.
        decided: What was decided about it.
        confirmation: The gateway's response to an inquiry about it; this counts more than the notification.

    Returns:
        Differences in state and in money. A new dispute is recognised by its id, among those reported before: see `is_new_dispute`.
    """
    believed = decided.outcome in {"applied", "unchanged"}
    step = None
    if confirmation is not None:
        step = stages.meaning(confirmation.status, event=None, error_code=confirmation.error_code)
    elif believed:
        step = stages.meaning(
            notification.status, event=notification.event, error_code=notification.error_code
        )
    failed = failed_later(attempt, step) if step is not None else None
    money = None
    if believed and notification.kind == "payment" and _is_about_money(attempt, notification, confirmation):
        money = amount_named(
            attempt,
            amount_text=notification.fields.get("amount"),
            amount_minor=notification.amount_minor,
            currency=notification.currency,
            about=notification.event or notification.status,
        )
    return [item for item in (failed, money) if item is not None]


def _is_about_money(attempt: Attempt, notification: Notification, confirmation: Confirmation | None) -> bool:
    """Whether the amount of a confirmed notification counts, although it is not signed."""
    if confirmation is None or confirmation.amount_minor is None:
        return True
    step = stages.meaning(notification.status, event=notification.event, error_code=notification.error_code)
    if step is not None and (step.track == "dispute" or step.stage in {stages.VOIDED, stages.REFUNDED}):
        return True  # the payment's record has the payment's amount, and not what was returned of it
    return (confirmation.amount_minor, confirmation.currency or attempt.currency) != (
        attempt.amount_minor,
        attempt.currency,
    )


def may_be_new_dispute(attempt: Attempt, notification: Notification, *, decided: Decision) -> bool:
    """
    Whether a notification names a dispute of a debit that was won back: the same dispute reported late, or another.

    Args:
        attempt: The debit as it is after the decision.
        notification: The notification.
        decided: What was decided about it.

    Returns:
        Whether `is_new_dispute` must decide.
    """
    step = stages.meaning(notification.status, event=notification.event)
    return (
        decided.outcome == "unchanged"
        and attempt.dispute_stage == stages.WON_BACK
        and step is not None
        and (step.track, step.stage) == ("dispute", stages.CHARGEBACKED)
        and notification.chargeback_id is not None
    )


def is_new_dispute(notification: Notification, heard: Iterable[Notification]) -> bool:
    """
    Whether a chargeback is different from those reported before.

    Args:
        notification: It has a dispute's id, and may be a new one.
        heard: Notifications of disputes of the same debit that were processed before.

    Returns:
        Whether its id is new, and an earlier chargeback has another id or none. Where the reversal arrived before its own chargeback, no
        chargeback was reported before.
    """
    ids, chargebacks = set[str | None](), 0
    for entry in heard:
        ids.add(entry.chargeback_id)
        step = stages.meaning(entry.status, event=entry.event)
        chargebacks += step is not None and (step.track, step.stage) == ("dispute", stages.CHARGEBACKED)
    return notification.chargeback_id not in ids and chargebacks > 0


def charged_back_again(attempt: Attempt, *, dispute_id: str | None, known: Iterable[str] = ()) -> Difference:
    """
    The line about another chargeback of a debit that was won back.

    Args:
        attempt: Ours.
        dispute_id: The new dispute's own id, or `None` where the gateway's record alone says so.
        known: Ids of disputes of this debit that were heard of before, the new one excluded.

    Returns:
        The difference: one line per dispute.
    """
    count = len(set(known) - {dispute_id}) or 1
    return Difference(
        "charged_back_again",
        attempt.id,
        f"dispute {dispute_id}"[:100] if dispute_id else "present state",
        ours=f"{attempt.state}, won back",
        theirs=f"charged back again, dispute {count + 1}",
    )


def refund_failed(
    attempt_id: int, *, refund_id: int, kind: str, step: stages.Step | None
) -> Difference | None:
    """
    Whether a refund or void that the gateway approved has failed since.

    Args:
        attempt_id: The debit.
        refund_id: The refund or void, approved by our books.
        kind: "refund" or "void".
        step: What the gateway says of it now.

    Returns:
        The difference, or `None`.
    """
    if step is None or step.track != "payment" or step.stage not in {stages.ERROR, stages.DECLINED}:
        return None
    theirs = _state_of(step)
    return Difference(
        "refund_failed_later",
        attempt_id,
        f"{kind} {refund_id}",
        ours=f"{kind} approved",
        theirs=f"{kind} {theirs}",
        refund_id=refund_id,
    )


def amount_named(
    attempt: Attempt, *, amount_text: str | None, amount_minor: int | None, currency: str | None, about: str
) -> Difference | None:
    """
    Whether a notification or report names other money than the debit's.

    Args:
        attempt: The debit.
        amount_text: The amount as it came; `None` or blank where there was none.
        amount_minor: The same in whole minor units; `None` where it is not a whole number.
        currency: As it came, upper case; `None` where there was none.
        about: The event or status it came with.

    Returns:
        The difference, or `None`. The sign says nothing: records of refunds and chargebacks may be negative.
    """
    ours = Money(attempt.amount_minor, attempt.currency)
    theirs = _other_money(ours, amount_text=amount_text, amount_minor=amount_minor, currency=currency)
    if theirs is None:
        return None
    theirs = f"{theirs} ({_plain(about)})"
    return Difference("amount_differs", attempt.id, theirs, ours=str(ours), theirs=theirs)


def _other_money(
    ours: Money, *, amount_text: str | None, amount_minor: int | None, currency: str | None
) -> str | None:
    """The money that was named, where it is not ours."""
    text = (amount_text or "").strip()
    if amount_minor is None and re.fullmatch(r"-[0-9]{1,15}", text):
        amount_minor = int(text)
    other_amount = text != "" and (amount_minor is None or abs(amount_minor) != ours.amount_minor)
    other_currency = currency is not None and currency != ours.currency
    if not (other_amount or other_currency):
        return None
    excerpt = currency if currency is not None and _CURRENCY.fullmatch(currency) else None
    if currency is not None and excerpt is None:
        excerpt = _UNREADABLE_CURRENCY
    if not text:
        return excerpt or ""
    if amount_minor is not None and excerpt != _UNREADABLE_CURRENCY:
        return _money(amount_minor, excerpt or ours.currency)
    return f"{text if _WORD.fullmatch(text) else 'an unreadable amount'} {excerpt or ours.currency}"


def refund_amount(
    attempt_id: int,
    *,
    refund_id: int,
    kind: str,
    ours: Money,
    amount_text: str | None,
    amount_minor: int | None,
    currency: str | None,
) -> Difference | None:
    """
    Whether the gateway names other money for a refund or void of ours than was ordered.

    Args:
        attempt_id: The debit.
        refund_id: The refund or void.
        kind: "refund" or "void".
        ours: What was ordered: the whole debit.
        amount_text: The amount as it came; `None` or blank where there was none.
        amount_minor: The same in whole minor units; `None` where it is not a whole number.
        currency: As it came, upper case; `None` where there was none.

    Returns:
        The difference, or `None`.

    >>> refund_amount(
    ...     7, refund_id=3, kind="refund", ours=Money(1000, "EUR"), amount_text="250", amount_minor=250, currency="EUR"
    ... ).theirs
    '2.50 EUR (refund)'
    """
    theirs = _other_money(ours, amount_text=amount_text, amount_minor=amount_minor, currency=currency)
    if theirs is None:
        return None
    theirs = f"{theirs} ({kind})"
    return Difference(
        "amount_differs", attempt_id, theirs, ours=str(ours), theirs=theirs, refund_id=refund_id
    )


def reopen(refund: Refund) -> Outcome:
    """
    Let a debit be refunded once more, after a person has found that its approved refund or void did not happen.

    Args:
        refund: The refund or void, approved by our books, and its debit, both locked.

    Returns:
        The order as declined, the debit as it was before it; what to announce.

    Raises:
        IllegalStep: when the order is not one that was approved, or the money of its debit is not counted as returned by it.
    """
    order, debit = refund.order.attempt, refund.debit
    if order.state not in {"approved", "refunded"}:
        raise IllegalStep("refund or void", state=order.state, step="ordered again")
    if debit.dispute_stage != stages.UNDISPUTED:
        raise IllegalStep("billing attempt", state="charged back or disputed", step="refunded again")
    failed = msgspec.structs.replace(order, payment_stage=stages.DECLINED, error_code="failed_later")
    back = debit
    if debit.payment_stage in {stages.VOIDED, stages.REFUNDED}:
        # A debit that was voided may not have been approved; status inquiries find out.
        stage = stages.APPROVED if refund.kind == "refund" else stages.IN_PROGRESS
        back = msgspec.structs.replace(debit, payment_stage=stage)
    cause = f"{refund.kind} failed later"
    facts: list[Event] = [
        RefundStatusChanged(
            refund_id=order.id,
            attempt_id=debit.id,
            kind=refund.kind,
            transaction_id=order.transaction_id,
            before=order.state,
            after=failed.state,
            cause=cause,
        )
    ]
    if back.state != debit.state:
        facts.append(
            AttemptStatusChanged(
                attempt_id=debit.id,
                transaction_id=debit.transaction_id,
                before=debit.state,
                after=back.state,
                cause=cause,
            )
        )
    return Outcome(msgspec.structs.replace(refund.order, attempt=failed), back, cause, tuple(facts))


def resolved_by(kind: DifferenceKind, *, theirs: str, state: AttemptState) -> bool:
    """
    Whether a line of `BY_STATE` is over because our state has become the gateway's.

    Args:
        kind: Of the line.
        theirs: Its gateway side.
        state: Our state by now.

    Returns:
        Whether both sides say the same now.
    """
    if kind == "charged_back_again":
        return state == "chargebacked"
    return kind == "state_differs" and theirs == state


def walk_size(debits: int, *, hours: float) -> int:
    """
    How many debits the walk along all debits reviews in a minute.

    Args:
        debits: How many there are, about.
        hours: In how many hours the walk is to be over, above 0.

    Returns:
        At least `WALK_MIN`, so that the walk along few debits is over soon.

    >>> walk_size(10_000_000, hours=8), walk_size(1_000, hours=8)
    (20834, 5000)
    """
    return max(math.ceil(debits / (hours * 60)), WALK_MIN)


def sentence(kind: DifferenceKind, *, attempt_id: int, ours: str, theirs: str) -> str:
    """
    A line as a sentence, for logs and people: the text of its *kind*, the debit *attempt_id*, *ours* and *theirs*.

    >>> sentence("state_differs", attempt_id=7, ours="approved", theirs="declined")
    "Debit 7: The gateway's present state of this debit is not ours. Ours: approved. Theirs: declined."
    """
    return f"Debit {attempt_id}: {KINDS[kind].text} Ours: {ours}. Theirs: {theirs}."


def open_debits(count: int) -> str | None:
    """
    The warning of a run some of whose debits stay open; *count* of them, `None` where there are none.

    >>> open_debits(1)
    '1 debit of this run is still open after the last status inquiry; see the list of reconciliation differences.'
    """
    if not count:
        return None
    of_run = "1 debit of this run is" if count == 1 else f"{count} debits of this run are"
    return f"{of_run} still open after the last status inquiry; see the list of reconciliation differences."


def require_reason(text: str) -> str:
    """
    The reason with which a person acknowledges a line, without blanks around it.

    Raises:
        InvalidRequest: when there is none, or it is too long.
    """
    reason = text.strip()
    if not 1 <= len(reason) <= _REASON_MAX:
        raise InvalidRequest(
            f"say in 1 to {_REASON_MAX} characters what was found; it is kept with the line", field="reason"
        )
    return reason


def _stage_on(attempt: Attempt, track: stages.Track) -> int:
    return attempt.payment_stage if track == "payment" else attempt.dispute_stage


def _state_differs(attempt: Attempt, theirs: AttemptState) -> Difference:
    return Difference("state_differs", attempt.id, theirs, ours=attempt.state, theirs=theirs)


def _state_of(step: stages.Step) -> AttemptState:
    if step.track == "payment":
        return PAYMENT_STAGES[step.stage]
    return "approved" if step.stage == stages.WON_BACK else "chargebacked"


def _money(amount_minor: int, currency: str) -> str:
    return str(Money(amount_minor, currency))


def _plain(about: str) -> str:
    return about if re.fullmatch(r"[a-z_]{1,40}", about) else "another status"
