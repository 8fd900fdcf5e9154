"""
Void of a whole billing run: which of its debits are voided, and why the others are not.

A wrong list was billed. Debits that were submitted today and have not gone to the banks can still be cancelled. An order to
void a run goes through all its debits, once: each gets a void of its own (`tether_core.refunds.refund`), which is submitted,
inquired and confirmed as any other, or is listed in the result with a reason and what to do instead. The gateway has the last word
on each void.

The run must not submit anything in that time: it is paused, finished or cancelled before.

>>> require_voidable("finished")
>>> require_voidable("running")
Traceback (most recent call last):
    ...
tether_core.refunds.run_voids.RunNotVoidable: The billing run is running; pause or cancel it, then order its void again.
>>> debit = Attempt(7, "default", "t-7", "44177a21", 1000, "EUR", payment_stage=stages.APPROVED)
>>> from datetime import UTC, timedelta
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> judge(debit, submitted_at=noon, now=noon) is None
True
>>> judge(debit, submitted_at=noon - timedelta(days=1), now=noon).code
'earlier_day'
"""

from datetime import datetime
from typing import Final, Literal, get_args

import msgspec

from tether_core.billing.run import RunState
from tether_core.errors import Contradicted
from tether_core.holds import Hold
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.refunds import allowance
from tether_core.refunds.allowance import RefundKind

__all__ = [
    "TRANSITIONS",
    "VOID_REFUSALS",
    "RunNotVoidable",
    "RunVoidState",
    "RunVoidStep",
    "VoidRefusal",
    "VoidRefusalCode",
    "judge",
    "require_voidable",
]

RunVoidState = Literal["working", "finished"]
RunVoidStep = Literal["advanced", "all judged"]
VoidRefusalCode = Literal[
    "charged_back",
    "earlier_day",
    "held",
    "money_back",
    "not_submitted",
    "nothing_collected",
    "outcome_unknown",
    "refund_ordered",
    "won_back",
]

# state x step -> state
TRANSITIONS: Final[dict[RunVoidState, dict[RunVoidStep, RunVoidState]]] = {
    "working": {"advanced": "working", "all judged": "finished"},
    "finished": {},
}

# Why a debit of a run is not voided -> the sentence for a person, with what to do.
VOID_REFUSALS: Final[dict[VoidRefusalCode, str]] = {
    "charged_back": "The debtor's bank has taken the money back; there is nothing to void.",
    "earlier_day": "It was submitted on an earlier day and has gone to the banks; refund it after the return window.",
    "held": "A report about it holds its money; look at its exposure.",
    "money_back": "It was voided or refunded before.",
    "not_submitted": "It is not submitted yet; cancel the run, and it never is.",
    "nothing_collected": "It was refused or not submitted, so nothing was collected.",
    "outcome_unknown": "Its outcome is not known yet; order the void again once the status inquiry has brought it.",
    "refund_ordered": "A refund of it is ordered already.",
    "won_back": "It was charged back and won back, so it has been through the banks; refund it instead.",
}
assert set(VOID_REFUSALS) == set(get_args(VoidRefusalCode))

# The words of `allowance.judge` for a void -> ours.
_BY_WHY: Final[dict[str, VoidRefusalCode]] = {
    "charged back": "charged_back",
    "refunded": "money_back",
    "nothing to give": "nothing_collected",
    "of unknown outcome": "outcome_unknown",
    "sent on an earlier day": "earlier_day",
    "won back": "won_back",
}
_STOPPED: Final[frozenset[RunState]] = frozenset({"paused", "finished", "cancelled"})


class VoidRefusal(msgspec.Struct, frozen=True):
    """
    Why a debit of a run is not voided.

    Attributes:
        code: A stable word.
        text: A sentence with what to do.
    """

    code: VoidRefusalCode
    text: str


class RunNotVoidable(Contradicted):
    """
    A billing run cannot be voided while it submits debits.

    Attributes:
        state: Where the run is.
    """

    code = "run_not_voidable"

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state

    def __str__(self) -> str:
        return f"The billing run is {self.state}; pause or cancel it, then order its void again."


def require_voidable(state: RunState) -> None:
    """
    Refuse to void a run that may submit debits.

    Raises:
        RunNotVoidable: when it may.
    """
    if state not in _STOPPED:
        raise RunNotVoidable(state)


def judge(
    debit: Attempt,
    *,
    submitted_at: datetime,
    now: datetime,
    is_submitted: bool = True,
    ordered: RefundKind | None = None,
    hold: Hold | None = None,
) -> VoidRefusal | None:
    """
    Whether a debit of a run is voided.

    Args:
        debit: What.
        submitted_at: When it was submitted.
        is_submitted: Whether a call was ever begun for it.
        ordered: The kind of order about it that is active, or `None`.
        hold: The report about it that holds its money, or `None`.

    Returns:
        `None` where it is voided, or a void of it is active; otherwise why not.
    """
    if ordered == "void":
        return None
    if ordered == "refund":
        return _refusal("refund_ordered")
    if not is_submitted and debit.payment_stage < stages.IN_PROGRESS and debit.unique_id is None:
        return _refusal("not_submitted")
    verdict = allowance.judge("void", debit, submitted_at=submitted_at, now=now)
    if not verdict.allowed:
        return _refusal(_BY_WHY[verdict.why])
    if hold is not None:
        return VoidRefusal("held", hold.sentence)
    return None


def _refusal(code: VoidRefusalCode) -> VoidRefusal:
    return VoidRefusal(code, VOID_REFUSALS[code])
