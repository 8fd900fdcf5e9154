"""
Holds: notifications that are not processed yet block refunds and new debits.

A notification of a chargeback may wait for its confirmation, for minutes or for the length of an outage. A refund ordered in that time would
return the same money a second time, and another debit of the account would be disputed as well. A debit that failed may be reported as
approved after all: another debit for its due item would be the second one. So unprocessed notifications **hold**:

| reported of a debit, and not processed | holds |
|---|---|
| a dispute: charged back, lost again | refunds and voids of the debit; new debits of its account |
| the debit was refunded or voided | refunds and voids of the debit |
| a collected debit failed | refunds and voids of the debit |
| a refund or void that had failed was approved after all | further refunds and voids of the debit |
| a failed debit was approved after all, or a charged back one was won back | new debits of its account |
| a refund made in the gateway's back office, reported or approved (`tether_core.reconciliation.gateway_refunds`) | refunds and voids of the debit |
| an open reconciliation difference (`tether_core.reconciliation.differences`) | refunds and voids of the debit |

A notification stops holding when it is processed, because then the ordinary rules apply, and when the gateway has
contradicted reports of this kind about the same payment `CONTRADICTIONS` times, at least `CONTRADICTIONS_APART_S` apart: a sender of
invalid reports cannot freeze an account, and a gateway whose record lags some minutes is waited for. Later status inquiries about a contradicted report hold nothing.

While it is held, a refund is refused when it is ordered, and one that was ordered before is deferred: it is judged again every
`tether_core.retry.HELD_S` seconds. A debit of a run is deferred the same way, and a run that is planned leaves the debtor out with the verdict
`being_confirmed`. A hold by an open difference does not end by itself, so an ordered refund ends with that reason.

>>> refund_hold(Reported(dispute=True)).text
'a chargeback of it was reported and is being confirmed with the gateway; try again in some minutes'
>>> refund_hold(Reported(difference="state_differs")).passes
False
>>> refund_hold(Reported()) is None
True
"""

from typing import Final, Literal

import msgspec

from tether_core.notifications.confirmation import HOLD_S

__all__ = [
    "CONTRADICTIONS",
    "CONTRADICTIONS_APART_S",
    "Hold",
    "HoldCode",
    "Reported",
    "refund_hold",
]

HoldCode = Literal[
    "dispute_unconfirmed", "return_unconfirmed", "failure_unconfirmed", "gateway_refund", "difference"
]

CONTRADICTIONS: Final = 2
CONTRADICTIONS_APART_S: Final = HOLD_S


class Reported(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was reported of a debit and is not in its state yet.

    Attributes:
        dispute: Whether a dispute of it was reported and is not processed.
        returned: Whether a refund or void of it was reported and is not processed or confirmed; one that had failed before among them.
        failed: Whether it was reported, after it was collected, that it failed, and that is not processed.
        gateway_refund: Whether the gateway has approved a refund of it that was made in its back office.
        difference: The kind of an open difference that keeps refunds away, or `None`.
    """

    dispute: bool = False
    returned: bool = False
    failed: bool = False
    gateway_refund: bool = False
    difference: str | None = None


class Hold(msgspec.Struct, frozen=True):
    """
    The reason why a refund or debit is held.

    Attributes:
        code: A stable word.
        text: Half a sentence about the debit, with what to do.
        passes: Whether the hold ends by itself.
    """

    code: HoldCode
    text: str
    passes: bool

    @property
    def sentence(self) -> str:
        """The text as a sentence."""
        return f"{self.text[:1].upper()}{self.text[1:]}."


_DISPUTE: Final = Hold(
    "dispute_unconfirmed",
    "a chargeback of it was reported and is being confirmed with the gateway; try again in some minutes",
    passes=True,
)
_RETURNED: Final = Hold(
    "return_unconfirmed",
    "a refund or void of it was reported and is being processed; try again in some minutes",
    passes=True,
)
_FAILED: Final = Hold(
    "failure_unconfirmed",
    "it was reported that it failed after it was collected, which is being confirmed with the gateway; try again in some minutes",
    passes=True,
)
_GATEWAY_REFUND: Final = Hold(
    "gateway_refund",
    "a refund of it was made in the gateway's back office; look at the debit's gateway refunds",
    passes=False,
)


def refund_hold(reported: Reported) -> Hold | None:
    """
    Return the hold on refunds and voids of a debit, or `None`; a hold that ends by itself comes first.

    Args:
        reported: What was reported of the debit.
    """
    if reported.dispute:
        return _DISPUTE
    if reported.returned:
        return _RETURNED
    if reported.failed:
        return _FAILED
    if reported.gateway_refund:
        return _GATEWAY_REFUND
    if reported.difference is not None:
        text = f"an open reconciliation difference ({reported.difference}) must be acknowledged or resolved first"
        return Hold("difference", text, passes=False)
    return None
