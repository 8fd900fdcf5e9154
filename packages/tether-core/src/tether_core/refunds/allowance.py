"""
Whether a debit may be refunded or voided now, and the sentence that says why not.

`tether_core.payments.returns` says when a refund is allowed. A void is allowed on the day of the submission only:

| the debit is | a void is |
|---|---|
| not submitted, being submitted, or its outcome unknown | refused: it is not known what there is to cancel |
| declined or in error | refused: there is nothing to cancel |
| voided or refunded | refused: it was refunded |
| charged back, or its dispute lost again | refused: the bank returned it |
| won back | refused: it has been through the banks; a refund is possible |
| under way or approved, submitted on an earlier day | refused: it has gone to the banks; a refund is possible later |
| under way or approved, submitted today (by the banks' clock) | allowed |

Both are judged twice: when a person orders them, and again before the submission (`tether_core.refunds.refund`).

Source: Genesis API documentation v60.1, SDD Refund (of an approved debit, as a whole by default), Void (on the same day,
before the debit goes to the banks).

>>> from datetime import UTC
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> debit = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)
>>> judge("void", debit, submitted_at=noon, now=noon).allowed
True
>>> judge("refund", debit, submitted_at=noon, now=noon)
Allowance(allowed=False, why='return window', from_on=datetime.date(2026, 3, 11))
"""

from datetime import date, datetime
from typing import Final, Literal

import msgspec

from tether_core.payments import returns, stages
from tether_core.payments.attempt import Attempt
from tether_core.payments.returns import settles_on
from tether_core.target_calendar import bank_day

__all__ = ["Allowance", "RefundKind", "VoidWhy", "judge", "sentence"]

RefundKind = Literal["refund", "void"]
# Why a debit may be voided, which is "sent today", or why not.
VoidWhy = Literal[
    "sent today",
    "charged back",
    "refunded",
    "won back",
    "nothing to give",
    "of unknown outcome",
    "sent on an earlier day",
]


class Allowance(msgspec.Struct, frozen=True):
    """
    Whether a debit may be refunded now.

    Attributes:
        allowed: Whether it may.
        why: "collected" or "sent today" it may; else why not, a key of `sentence`.
        from_on: The first day on which it may, where only time is missing; else `None`.
    """

    allowed: bool
    why: str
    from_on: date | None = None


def judge(kind: RefundKind, debit: Attempt, *, submitted_at: datetime, now: datetime) -> Allowance:
    """
    Whether a debit may be refunded.

    Args:
        kind: How.
        debit: What.
        submitted_at: When the debit was sent.

    Returns:
        The verdict.
    """
    if kind == "refund":
        refund = returns.refund_allowed(debit, due_on=settles_on(bank_day(submitted_at)), today=bank_day(now))
        if refund.allowed and debit.unique_id is None:
            return Allowance(False, "known by no id")
        return Allowance(refund.allowed, refund.why, refund.from_on)
    return _judge_void(debit, submitted_at=submitted_at, now=now)


def _judge_void(debit: Attempt, *, submitted_at: datetime, now: datetime) -> Allowance:
    why: VoidWhy = "sent today"
    if debit.dispute_stage in {stages.CHARGEBACKED, stages.LOST_AGAIN}:
        why = "charged back"
    elif debit.payment_stage in {stages.VOIDED, stages.REFUNDED}:
        why = "refunded"
    elif debit.dispute_stage == stages.WON_BACK:
        why = "won back"
    elif debit.payment_stage in {stages.ERROR, stages.DECLINED}:
        why = "nothing to give"
    elif debit.payment_stage not in {stages.IN_PROGRESS, stages.APPROVED} or debit.unique_id is None:
        why = "of unknown outcome"
    elif bank_day(submitted_at) != bank_day(now):
        why = "sent on an earlier day"
    return Allowance(why == "sent today", why)


# Verdict -> what to say of a refund and of a void.
_SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "collected": ("This attempt is collected and can be refunded.", ""),
    "sent today": ("", "This attempt was submitted today and can be voided until the end of the bank's day."),
    "return window": ("This attempt cannot be refunded before {from_on}: the bank may still return it.", ""),
    "charged back": (
        "This attempt cannot be refunded: the debtor's bank has taken the money back. Look at its dispute.",
        "This attempt cannot be voided: the debtor's bank has taken the money back. Look at its dispute.",
    ),
    "refunded": (
        "This attempt cannot be refunded again: its money was refunded or voided before. Look at its refunds and voids.",
        "This attempt cannot be voided again: its money was refunded or voided before. Look at its refunds and voids.",
    ),
    "nothing to give": (
        "This attempt cannot be refunded: nothing is collected by it. Look at its state; only an approved attempt can be refunded.",
        "This attempt cannot be voided: nothing is collected by it. Look at its state; nothing is left to do.",
    ),
    "known by no id": (
        "This attempt cannot be refunded yet: the gateway has named no id for it. Order it again after the next inquiry.",
        "",
    ),
    "of unknown outcome": (
        "",
        "This attempt cannot be voided yet: its outcome is not known. Order the void again after the next status inquiry.",
    ),
    "won back": (
        "",
        "This attempt cannot be voided: it was charged back and won back, so it has been through the banks. Refund it instead.",
    ),
    "sent on an earlier day": (
        "",
        "This attempt cannot be voided: it was submitted on an earlier day. Refund it after the return window.",
    ),
}


def sentence(kind: RefundKind, verdict: Allowance) -> str:
    """
    Say what a verdict means, and what to do.

    Args:
        kind: How the debit was to be refunded.
        verdict: From `judge`.

    Returns:
        A sentence or two.

    >>> sentence("refund", Allowance(False, "return window", date(2026, 12, 8)))
    'This attempt cannot be refunded before 2026-12-08: the bank may still return it.'
    """
    return _SENTENCES[verdict.why][kind == "void"].format(from_on=verdict.from_on)
