"""
Gateway refunds: refunds and voids of our debits that somebody made in the gateway's back office.

A notification or a report of a refund names our debit by `reference_transaction_unique_id`. A refund that is not one of our orders is linked
to the debit, shown, and blocks our refunds: the same money would go back twice. Only the id of the refund is signed and not the
debit that it names, so the gateway is inquired by that id before anything moves:

```text
reported ──► the gateway has it, of this debit ──► pending, approved or failed
    └──────► another debit, or none twice and ten minutes apart ──► contradicted
```

| the gateway says | what happens |
|---|---|
| approved, of the whole amount | the debit becomes refunded or voided |
| approved, of a part or in another currency | a reconciliation difference; the debit keeps its state |
| in progress | inquired again by `tether_core.retry.GATEWAY_REFUND_S` |
| declined, error | the link stays for people and holds nothing |
| another debit, or no refund | contradicted; it holds nothing |
| no such payment | inquired again: its record may lag; contradicted after two such answers ten minutes apart |
| nothing | inquired again a minute later |

>>> from tether_core.emp.responses import read_answer
>>> answer = read_answer(
...     b"<payment_response><transaction_type>sdd_refund</transaction_type><status>approved</status><unique_id>b1</unique_id>"
...     b"<reference_transaction_unique_id>a1</reference_transaction_unique_id></payment_response>"
... )
>>> state_of(answer, debit_id="a1"), state_of(answer, debit_id="a2")
('approved', 'contradicted')
>>> kind_of("sdd_sale") is None
True
"""

from typing import Literal

import msgspec

from tether_core.emp.notification import Notification
from tether_core.emp.responses import GatewayAnswer
from tether_core.events import AttemptStatusChanged, Event, RefundChargedBack
from tether_core.payments import stages
from tether_core.payments.attempt import Attempt
from tether_core.reconciliation.comparison import amount_named
from tether_core.reconciliation.differences import Difference
from tether_core.reconciliation.report_records import REFUNDS
from tether_core.refunds.allowance import RefundKind

__all__ = [
    "GatewayRefundState",
    "RefundEffect",
    "apply",
    "kind_of",
    "reference_of",
    "state_of",
]

GatewayRefundState = Literal["reported", "pending", "approved", "failed", "contradicted"]


class RefundEffect(msgspec.Struct, frozen=True):
    """
    What an approved gateway refund does.

    Attributes:
        debit: As it shall be.
        events: Facts to announce.
        difference: The line for a person where it is not of the whole debit, or `None`.
    """

    debit: Attempt
    events: tuple[Event, ...] = ()
    difference: Difference | None = None


def kind_of(transaction_type: str | None) -> RefundKind | None:
    """Whether a transaction type returns money, and how; `None` where it does not."""
    if transaction_type not in REFUNDS:
        return None
    return "void" if transaction_type == "void" else "refund"


def reference_of(notification: Notification) -> str | None:
    """The debit, by the gateway's id, that a notification of a refund names; `None` where it is none or names none."""
    if notification.kind != "payment" or kind_of(notification.transaction_type) is None:
        return None
    return notification.fields.get("reference_transaction_unique_id", "").strip()[:255] or None


def state_of(answer: GatewayAnswer, *, debit_id: str) -> GatewayRefundState:
    """
    What the gateway's own record makes of a refund that was reported.

    Args:
        answer: The record, by the refund's id.
        debit_id: The gateway's id of the debit that it is linked to.

    Returns:
        Its state; "contradicted" where the record is not a refund of that debit.
    """
    if kind_of(answer.transaction_type) is None or answer.reference_id != debit_id:
        return "contradicted"
    step = stages.meaning(answer.status, event=None, error_code=answer.code)
    if (
        step is None
        or step.track != "payment"
        or step.stage in {stages.IN_PROGRESS, stages.UNKNOWN_TO_GATEWAY}
    ):
        return "pending"
    return "approved" if step.stage >= stages.APPROVED else "failed"


def apply(
    debit: Attempt, *, kind: RefundKind, amount_minor: int | None, currency: str | None
) -> RefundEffect:
    """
    What a gateway refund that the gateway has approved does to its debit.

    Args:
        debit: The debit, locked.
        kind: How it was returned.
        amount_minor: What was returned, or `None` where the record has no amount: the whole.
        currency: Of it, or `None`.

    Returns:
        What to write.
    """
    amount_text = None if amount_minor is None else str(amount_minor)
    difference = amount_named(
        debit, amount_text=amount_text, amount_minor=amount_minor, currency=currency, about=f"{kind}ed"
    )
    stage = stages.VOIDED if kind == "void" else stages.REFUNDED
    if difference is not None or debit.payment_stage >= stage:
        return RefundEffect(debit, difference=difference)
    after = msgspec.structs.replace(debit, payment_stage=stage, error_code=None)
    facts = list[Event]()
    if after.state != debit.state:
        facts.append(
            AttemptStatusChanged(
                attempt_id=debit.id,
                transaction_id=debit.transaction_id,
                before=debit.state,
                after=after.state,
                cause=f"{kind} in the gateway's back office",
            )
        )
    if after.refunded_and_charged_back and not debit.refunded_and_charged_back:
        facts.append(RefundChargedBack(debit.id))
    return RefundEffect(after, tuple(facts))
