"""
Outcomes that a person states, because no inquiry is possible any more.

A debit, refund or void whose outcome is unknown is resolved by a status inquiry where it was submitted. When that terminal, login or address
no longer exists, no inquiry is possible, and the outcome would stay unknown: its due item reserved, its money in no books. Then a
person looks in the gateway's back office and states what is there.

| outcome | what the person saw | the debit becomes | a refund or void becomes |
|---|---|---|---|
| `approved` | the gateway took it; its unique id must be given | approved | approved, its debit refunded or voided |
| `declined` | the gateway has it, and declined it | declined | declined |
| `never_arrived` | the gateway has no such payment | error, code 460; the due item is free | error, code 460 |

A person who was wrong corrects "declined" or "never_arrived" to "approved", with the id; the other way the gateway's word must come.

It is a statement and no guess: it needs a reason, is kept with who made it, and is refused while a configured identity can
be inquired, while a call may be under way, and where it contradicts what the gateway has said before. Later notifications are applied as
usual; where they say another thing than the person, that is a reconciliation difference.

>>> from datetime import UTC
>>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> lost = Submission(Attempt(7, "default", "t-7", None, 1000, "EUR", payment_stage=stages.UNKNOWN_TO_US), 1, submitted_at=noon, submitted_to=("a1",))
>>> seen = Statement("approved", "44177a2100000000", "seen in the back office", "ada")
>>> close(lost, seen, reach=Reach(frozenset(), frozenset()), now=noon + timedelta(days=1)).submission.attempt.state
'approved'
>>> close(lost, seen, reach=Reach(frozenset({"a1"}), frozenset()), now=noon + timedelta(days=1))
Traceback (most recent call last):
    ...
tether_core.errors.IllegalStep: This submission is unknown, and can be inquired about where it went, so it cannot be closed by a person. Look at its state, and try what that allows.
"""

import re
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from tether_core.emp.responses import GatewayAnswer
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.events import AttemptStatusChanged, Event
from tether_core.payments import stages, submission
from tether_core.payments.attempt import Attempt
from tether_core.payments.gateway_identity import UNKNOWN
from tether_core.payments.not_found import needed
from tether_core.payments.submission import After, Submission, SubmissionRules
from tether_core.refunds import refund as refund_rules
from tether_core.refunds.refund import Outcome, Refund

__all__ = [
    "CAUSE",
    "Reach",
    "StatedOutcome",
    "Statement",
    "close",
    "close_refund",
    "is_contradicted",
    "statement",
]

StatedOutcome = Literal["approved", "declined", "never_arrived"]

# The cause that events name.
CAUSE: Final = "stated by a person"
_STAGES: Final[dict[StatedOutcome, int]] = {
    "approved": stages.APPROVED,
    "declined": stages.DECLINED,
    "never_arrived": stages.ERROR,
}
_UNIQUE_ID: Final = re.compile(r"[0-9A-Za-z-]{8,64}")
_UNCOLLECTED: Final = frozenset({"declined", "never_arrived"})
_REASON_MAX: Final = 500
_RULES: Final = SubmissionRules()


class Statement(msgspec.Struct, frozen=True):
    """
    What a person states.

    Attributes:
        outcome: What was seen.
        unique_id: The gateway's id of the payment; must be given for "approved", and never for "never_arrived".
        reason: Where it was seen, 1 to 500 characters.
        by: Who states it.
    """

    outcome: StatedOutcome
    unique_id: str | None
    reason: str
    by: str


class Reach(msgspec.Struct, frozen=True):
    """
    Which gateway identities can be inquired.

    Attributes:
        configured: The keys of all identities that are configured, of any account.
        of_account: The keys that the submission's account has, or had lately.
    """

    configured: frozenset[str]
    of_account: frozenset[str]


def statement(*, outcome: StatedOutcome, unique_id: str | None, reason: str, by: str) -> Statement:
    """
    Check what a person states.

    Args:
        outcome: What was seen.
        unique_id: As it was typed; blank for none.
        reason: Likewise.
        by: Likewise.

    Returns:
        The statement, without superfluous blanks.

    Raises:
        InvalidRequest: when something is missing, superfluous or malformed; the message says what.
    """
    reason, by, unique_id = " ".join(reason.split()), " ".join(by.split()), (unique_id or "").strip() or None
    if not 1 <= len(reason) <= _REASON_MAX or not reason.isprintable():
        raise InvalidRequest(
            f"say in 1 to {_REASON_MAX} printable characters where the outcome was seen; it is kept",
            field="reason",
        )
    if not by or not by.isprintable():
        raise InvalidRequest("say who states it", field="by")
    if outcome == "approved" and unique_id is None:
        raise InvalidRequest(
            "give the unique id that the gateway's back office shows for it; without it no notification finds the payment",
            field="unique_id",
        )
    if outcome == "never_arrived" and unique_id is not None:
        raise InvalidRequest("a payment that never arrived has no unique id", field="unique_id")
    if unique_id is not None and not _UNIQUE_ID.fullmatch(unique_id):
        raise InvalidRequest("a unique id is 8 to 64 letters, digits and hyphens", field="unique_id")
    return Statement(outcome, unique_id, reason, by)


def close(
    current: Submission,
    stated: Statement,
    *,
    reach: Reach,
    now: datetime,
    before: StatedOutcome | None = None,
    rules: SubmissionRules = _RULES,
) -> After:
    """
    Close a debit of unknown outcome by what a person states.

    Args:
        current: The debit as it is now, locked.
        stated: From `statement`.
        reach: Which identities can be inquired.
        before: What was stated of it last; "declined" or "never_arrived" can be corrected to "approved" at any time.
        rules: The operator's choices.

    Returns:
        What to write, and why.

    Raises:
        IllegalStep: when it is not unknown, can be inquired about, may be under way, or the gateway has said otherwise.
        InvalidRequest: when the gateway has named another id for it.
    """
    if (
        stated.outcome == "approved"
        and before in _UNCOLLECTED
        and current.attempt.state in {"declined", "error"}
    ):
        _require_id(current, stated)
    else:
        _require(current, stated, reach=reach, now=now, rules=rules)
    was = current.attempt
    attempt = msgspec.structs.replace(
        was,
        payment_stage=_STAGES[stated.outcome],
        unique_id=was.unique_id or stated.unique_id,
        error_code=submission.ABSENT if stated.outcome == "never_arrived" else None,
    )
    moved: tuple[Event, ...] = (
        AttemptStatusChanged(
            attempt_id=was.id,
            transaction_id=was.transaction_id,
            before=was.state,
            after=attempt.state,
            cause=CAUSE,
        ),
    )
    after = msgspec.structs.replace(current, attempt=attempt, submit_at=None, leased_until=None, not_found=())
    return After(after, "answered", moved)


def close_refund(
    refund: Refund, stated: Statement, *, reach: Reach, now: datetime, rules: SubmissionRules = _RULES
) -> Outcome:
    """
    Close a refund or void of unknown outcome by what a person states.

    Args:
        refund: The order and its debit as they are now, both locked.
        stated: From `statement`.
        reach: Which identities can be inquired.
        rules: The operator's choices.

    Returns:
        What to write, and why.

    Raises:
        IllegalStep: as in `close`.
        InvalidRequest: likewise.
    """
    _require(refund.order, stated, reach=reach, now=now, rules=rules)
    absent = stated.outcome == "never_arrived"
    seen = GatewayAnswer(
        status="error" if absent else stated.outcome,
        unique_id=stated.unique_id,
        transaction_id=refund.order.attempt.transaction_id,
        transaction_type=None,
        code=submission.ABSENT if absent else None,
        message=None,
        technical_message=None,
        amount_minor=None,
        currency=None,
        timestamp_at=None,
        terminal_token=None,
        reference_id=None,
        reason_code=None,
        redirect_url=None,
        mode=None,
        fields={},
    )
    return refund_rules.apply_record(refund, seen, cause=CAUSE)


def is_contradicted(outcome: StatedOutcome | None, attempt: Attempt) -> bool:
    """
    Whether the gateway has said since that money moved, where a person stated that none did.

    Args:
        outcome: What was stated, or `None` where nothing was.
        attempt: The debit as it is now; of a refund, the order.

    Returns:
        Never for "approved": a debit that fails after it was approved is a difference of its own kind.
    """
    return outcome in _UNCOLLECTED and attempt.state not in {"declined", "error"}


def _require(
    current: Submission, stated: Statement, *, reach: Reach, now: datetime, rules: SubmissionRules
) -> None:
    state = current.attempt.state
    if current.step != "unknown":
        raise IllegalStep(
            "submission", state=state if current.step == "ended" else current.step, step="closed by a person"
        )
    inquired_at = needed(current.submitted_to or (UNKNOWN,), configured=reach.of_account)
    if inquired_at and inquired_at <= reach.configured:
        raise IllegalStep(
            "submission", state="unknown, and can be inquired about where it went", step="closed by a person"
        )
    over_at = (current.submitted_at or now) + timedelta(seconds=rules.lease_s + rules.not_found_grace_s)
    if current.submitted_at is not None and now < over_at:
        raise IllegalStep("submission", state="perhaps still under way", step="closed by a person")
    known = current.attempt.unique_id
    if known is not None and stated.outcome == "never_arrived":
        raise IllegalStep("submission", state="known to the gateway by an id", step="closed as never arrived")
    _require_id(current, stated)


def _require_id(current: Submission, stated: Statement) -> None:
    if current.attempt.unique_id is not None and stated.unique_id not in {None, current.attempt.unique_id}:
        raise InvalidRequest(
            "is not the id that the gateway gave for this payment; state the outcome without it",
            field="unique_id",
        )
