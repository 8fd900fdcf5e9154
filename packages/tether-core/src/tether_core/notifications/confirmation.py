"""
Confirmation: which reported statuses the gateway must confirm first, and when it is inquired again after it contradicted one.

A signature covers only the id of a notification, so a notification only *reports* a status. `EMP_CONFIRM` says which
reported statuses take effect only after a status inquiry:

| `EMP_CONFIRM` | confirmed first |
|---|---|
| `failures` (default) | every report by which a debit is not, or no longer, collected: error, declined, voided, refunded, disputes; and every report that contradicts what is stored |
| `chargebacks` | disputes only |
| `all` | every report that would change an attempt |
| `off` | none |

The records of the gateway may lag behind its notifications. A report that the gateway contradicts is therefore inquired again
over seconds, minutes, hours and two days (`tether_core.retry.CONTRADICTION_AGES_S`), and only then it ends as contradicted. The schedule counts from the first
contradiction, so a flood of other notifications of the same payment cannot use it up. Two contradictions that
are at least ten minutes apart are reached after eleven to twelve minutes: from then on a report holds nothing up
that waits for it.
"""

from typing import Final, Literal

from tether_core.payments import stages

__all__ = ["HOLD_S", "Confirm", "fails_late", "must_be_confirmed"]

Confirm = Literal["off", "chargebacks", "failures", "all"]

_MINUTE: Final = 60

# Two contradictions this far apart end the hold on refunds and debits.
HOLD_S: Final = 10 * _MINUTE

# By these a debit is not, or no longer, collected.
_FAILURES: Final = frozenset({stages.ERROR, stages.DECLINED, stages.VOIDED, stages.REFUNDED})
_FAILED: Final = frozenset({stages.ERROR, stages.DECLINED})


def must_be_confirmed(track: stages.Track, stage: int, *, payment_stage: int, confirm: Confirm) -> bool:
    """
    Whether the gateway must confirm a reported stage before it takes effect.

    Args:
        track: Of the report; "none" moves nothing.
        stage: Of the report, on its track.
        payment_stage: What is stored of the attempt.
        confirm: The operator's choice.

    Returns:
        Whether a status inquiry comes first. A dispute is inquired even when the attempt does not change: the blacklist
        entry is an effect of its own.
    """
    if confirm == "off" or track == "none":
        return False
    if track == "dispute":
        return True
    if confirm == "chargebacks":
        return False
    if fails_late(stage, payment_stage=payment_stage):
        return True
    if stage <= payment_stage:
        return False
    return confirm == "all" or stage in _FAILURES or payment_stage in _FAILED


def fails_late(stage: int, *, payment_stage: int) -> bool:
    """
    Whether a report says that a debit failed which was collected by what is stored.

    Args:
        stage: Of the report, on the payment track.
        payment_stage: What is stored of the attempt.

    Returns:
        Whether the two contradict each other.
    """
    return stage in _FAILED and payment_stage >= stages.APPROVED
