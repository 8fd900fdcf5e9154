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

`tether_core.reconciliation.debit_review` finds differences in our books, `tether_core.reconciliation.comparison` in what the gateway says.

>>> require_reason("  ")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: reason: Say in 1 to 500 characters what was found; it is kept with the line.
"""

from typing import Final, Literal

import msgspec

from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.events import AttemptStatusChanged, Event, RefundStatusChanged
from tether_core.payments import stages
from tether_core.payments.attempt import AttemptState
from tether_core.refunds.refund import Outcome, Refund

__all__ = [
    "AMOUNT_LINES_MAX",
    "BY_STATE",
    "KINDS",
    "REVIEWED",
    "Difference",
    "DifferenceKind",
    "DifferenceState",
    "KindRule",
    "holds_refunds",
    "open_debits",
    "reopen",
    "require_reason",
    "resolved_by",
    "sentence",
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
        "Configure the terminal, login and address again that it was submitted to. If these no longer exist, look it up in the "
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
_REASON_MAX: Final = 500


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


def holds_refunds(line: Difference) -> bool:
    """
    Whether an open line keeps refunds and voids of its debit away.

    Args:
        line: The line. One about a refund that a person stated not to have happened does, whatever its kind does otherwise.
    """
    stated = line.kind == "statement_contradicted" and line.refund_id is not None
    return stated or KINDS[line.kind].holds_refunds


def reopen(refund: Refund, *, further_returns: int = 0) -> Outcome:
    """
    Let a debit be refunded once more, after a person has found that its approved refund or void did not happen.

    Args:
        refund: The refund or void, approved by our books, and its debit, both locked.
        further_returns: Other refunds and voids of the debit that the gateway approved. Where there is any, the money went back by it, and
            the debit stays as it is.

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
    if debit.payment_stage in {stages.VOIDED, stages.REFUNDED} and not further_returns:
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
