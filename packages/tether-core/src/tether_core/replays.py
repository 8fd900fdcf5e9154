"""
Replays: what processing a notification again would change, before it does.

A decision is a value, so the effect of a replay is known without applying anything: the same `decide` as the worker's, on the same
rows. Most replays first have the gateway inquired. Then there are two parts: what happens at once, and what happens if the gateway confirms
what the notification reports.

>>> from tether_core.payments.attempt import Attempt
>>> from tether_core.emp.notification import decode
>>> body = b"unique_id=44177a21&status=chargebacked&signature=00&event=chargeback&reason_code=AC04&transaction_type=sdd_sale"
>>> reported = decode(body, content_type="application/x-www-form-urlencoded")
>>> debit = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=60, iban_fingerprint=b"x" * 16)
>>> found = preview(Named(debit), reported, account="default", policy=ApplyPolicy(confirm="failures"))
>>> (found.now.outcome, found.now.changes)
('confirm', [])
>>> [(change.field, change.before, change.after) for change in found.confirmed.changes]
[('status', 'approved', 'chargebacked'), ('reason_code', None, 'AC04')]
>>> (found.confirmed.blacklist, found.confirmed.events[0])
(['block: AC04'], 'attempt.status_changed')
"""

from typing import Final, Literal

import msgspec

from tether_core import events
from tether_core.emp.notification import Notification
from tether_core.events import Event
from tether_core.notifications.inbox import InboxState, InboxStep, step
from tether_core.payments import attempt
from tether_core.payments.attempt import REASONS, ApplyPolicy, Attempt, Confirmation, Decision
from tether_core.refunds import refund
from tether_core.refunds.refund import Refund

__all__ = ["Effect", "Named", "ReplayChange", "ReplayPreview", "preview"]

# What applying makes of a notification, by the outcome of its decision.
_STEPS: Final[dict[str, InboxStep]] = {
    "applied": "finished",
    "unchanged": "finished",
    "contradicted": "contradicted",
    "not_yet": "deferred",
    "confirm": "inquired",
    "park": "parked",
}


class Named(msgspec.Struct, frozen=True):
    """
    What a notification names; at most one of the three.

    Attributes:
        attempt: A debit.
        order: A refund or void, with its debit.
        refunded: The debit that a refund of the gateway's back office is about.
    """

    attempt: Attempt | None = None
    order: Refund | None = None
    refunded: Attempt | None = None


class ReplayChange(msgspec.Struct, frozen=True):
    """
    A field that changes.

    Attributes:
        subject: "attempt" or "refund".
        subject_id: Its row.
        field: "status", "reason_code", "error_code" or "unique_id".
        before: Its value now, or null.
        after: Its value afterwards, or null.
    """

    subject: Literal["attempt", "refund"]
    subject_id: int
    field: str
    before: str | None
    after: str | None


class Effect(msgspec.Struct, frozen=True):
    """
    What processing a notification does.

    Attributes:
        outcome: "applied", "unchanged", "not_yet", "confirm", "contradicted" or "park".
        reason: The cause, a stable word.
        explanation: The cause as a sentence.
        state: The state of the notification afterwards.
        changes: Fields that change; empty where nothing does.
        blacklist: Blacklist entries to make, as "action: reason code"; an entry that exists is not made again.
        events: Names of the events to announce.
    """

    outcome: str
    reason: str
    explanation: str
    state: InboxState
    changes: list[ReplayChange] = []
    blacklist: list[str] = []
    events: list[str] = []


class ReplayPreview(msgspec.Struct, frozen=True):
    """
    What a replay would do; nothing was changed.

    Attributes:
        now: What happens at once.
        confirmed: What happens if the gateway confirms what is reported; null where it is not inquired.
    """

    now: Effect
    confirmed: Effect | None


def preview(
    named: Named,
    notification: Notification | None,
    *,
    account: str,
    policy: ApplyPolicy = ApplyPolicy(),  # noqa: B008 - a frozen value, so sharing it is safe
    confirmation: Confirmation | None = None,
) -> ReplayPreview:
    """
    What processing a notification again would do.

    Args:
        named: What it names.
        notification: Decoded; `None` where it cannot be read.
        account: The gateway account whose secret verified it.
        policy: The operator's choices.
        confirmation: The gateway's own record that a replay keeps: that of a report record.
    """
    if notification is None:
        text = "The notification cannot be read, so a person must look at its stored bytes."
        return ReplayPreview(Effect("park", "unreadable", text, "parked"), None)
    now = _effect(named, notification, account=account, policy=policy, confirmation=confirmation)
    if now.outcome != "confirm":
        return ReplayPreview(now, None)
    record = Confirmation(
        notification.status,
        notification.error_code,
        notification.reason_code,
        notification.transaction_id,
        notification.amount_minor,
        notification.currency,
    )
    then = _effect(named, notification, account=account, policy=policy, confirmation=record)
    return ReplayPreview(now, then)


def _effect(
    named: Named,
    notification: Notification,
    *,
    account: str,
    policy: ApplyPolicy,
    confirmation: Confirmation | None,
) -> Effect:
    changes: list[ReplayChange] = []
    facts: tuple[Event, ...]
    if named.order is not None:
        decision, outcome = refund.decide(
            named.order, notification, account=account, policy=policy, confirmation=confirmation
        )
        facts = () if outcome is None else outcome.events
        if outcome is not None:
            changes += _changes("refund", named.order.order.attempt, outcome.order.attempt)
            changes += _changes("attempt", named.order.debit, outcome.debit)
    elif named.refunded is not None and named.refunded.account == account:
        decision = Decision("unchanged", "gateway_refund")
        facts = ()
    else:
        decision = attempt.decide(
            named.attempt, notification, account=account, policy=policy, confirmation=confirmation
        )
        facts = decision.events
        if decision.outcome == "applied" and decision.attempt is not None and named.attempt is not None:
            changes += _changes("attempt", named.attempt, decision.attempt)
    return Effect(
        decision.outcome,
        decision.reason,
        REASONS.get(decision.reason, ""),
        step("waiting", _STEPS[decision.outcome]),
        changes,
        [f"{entry.action}: {entry.reason_code}" for entry in decision.entries],
        [events.name(fact) for fact in facts],
    )


def _changes(subject: Literal["attempt", "refund"], before: Attempt, after: Attempt) -> list[ReplayChange]:
    names = ("status", "reason_code", "error_code", "unique_id")
    old, new = _fields(before), _fields(after)
    return [
        ReplayChange(subject, before.id, name, old[name], new[name])
        for name in names
        if old[name] != new[name]
    ]


def _fields(item: Attempt) -> dict[str, str | None]:
    return {
        "status": item.state,
        "reason_code": item.reason_code,
        "error_code": item.error_code,
        "unique_id": item.unique_id,
    }
