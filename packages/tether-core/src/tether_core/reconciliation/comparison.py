r"""
What the gateway says of a debit, compared with our books: by its notifications, its reports and its answers to inquiries.

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
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

from tether_core.emp.notification import Notification
from tether_core.money import Money
from tether_core.payments import stages
from tether_core.payments.attempt import PAYMENT_STAGES, Attempt, AttemptState, Confirmation, Decision
from tether_core.reconciliation.differences import Difference
from tether_core.stated_outcomes import StatedOutcome

__all__ = [
    "RECORD_LAG",
    "Compared",
    "amount_named",
    "charged_back_again",
    "compare",
    "failed_later",
    "is_new_dispute",
    "may_be_new_dispute",
    "may_contradict_statement",
    "of_notification",
    "refund_amount",
    "refund_failed",
    "refund_statement_contradicted",
    "statement_contradicted",
]

# Longer than any lag between a notification and the gateway's own record of the same, and between two hourly reports.
RECORD_LAG: Final = timedelta(hours=1)
_WORD: Final = re.compile(r"[-0-9.,]{1,20}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_UNREADABLE_CURRENCY: Final = "an unreadable currency"
Compared = Difference | Literal["agrees", "moves", "too early"]


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


def is_new_dispute(notification: Notification, earlier: Iterable[Notification]) -> bool:
    """
    Whether a chargeback is different from those reported before.

    Args:
        notification: It has a dispute's id, and may be a new one.
        earlier: Notifications of disputes of the same debit that were processed before.

    Returns:
        Whether its id is new, and an earlier chargeback has another id or none. Where the reversal arrived before its own chargeback, no
        chargeback was reported before.
    """
    ids, chargebacks = set[str | None](), 0
    for entry in earlier:
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
        known: Ids of disputes of this debit that were reported before, the new one excluded.

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
    named_currency = currency if currency is not None and _CURRENCY.fullmatch(currency) else None
    if currency is not None and named_currency is None:
        named_currency = _UNREADABLE_CURRENCY
    if not text:
        return named_currency or ""
    if amount_minor is not None and named_currency != _UNREADABLE_CURRENCY:
        return _money(amount_minor, named_currency or ours.currency)
    return f"{text if _WORD.fullmatch(text) else 'an unreadable amount'} {named_currency or ours.currency}"


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
    Whether the gateway names other money for a refund or void than Tether ordered.

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


def may_contradict_statement(attempt: Attempt, notification: Notification) -> bool:
    """
    Whether a notification says that money moved by a debit, refund or void that our books call declined or in error.

    It counts before it is confirmed, because the gateway identity that could confirm it is gone.

    Args:
        attempt: The debit as it is after the decision, or the order as it was before.
        notification: The notification.

    Returns:
        Whether it is a difference where a person stated the outcome.
    """
    if notification.kind != "payment" or attempt.state not in {"declined", "error"}:
        return False
    step = stages.meaning(notification.status, event=notification.event, error_code=notification.error_code)
    return step is not None and (step.track == "dispute" or step.stage >= stages.APPROVED)


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


def refund_statement_contradicted(attempt_id: int, *, refund_id: int) -> Difference:
    """
    The line about a refund or void that a person stated not to have happened, and that the gateway approved, by a notification or its record.

    Args:
        attempt_id: The debit.
        refund_id: The refund or void.

    Returns:
        The difference; one for a refund, however often it is reported.
    """
    return Difference(
        "statement_contradicted",
        attempt_id,
        f"refund {refund_id}",
        ours=f"refund or void {refund_id} stated not to have happened",
        theirs="approved",
        refund_id=refund_id,
    )


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
