"""
Money that was refunded is not collected again.

A debit that was refunded or voided leaves its due item unpaid, so an order of the same item would collect it again. The verdict
`refunded_before` of `tether_core.billing.eligibility` excludes such a debtor, when a run is planned and when each debit is submitted, until a
person overrides it with a reason.

It holds for the **same debit** (`tether_core.payments.same_debit`) and the **same due item**, and so

| the refunded debit | holds |
|---|---|
| of the same row, or of the same debit in the same upload | permanently |
| of the same debit in another upload, for a specific due item such as `2026-03` | permanently |
| of the same debit in another upload, for an item that names no month, such as `once` | 25 days after it was submitted |

The last line distinguishes a corrected list that was uploaded again from the list of the next month, which is a new debt.

>>> march = RefundedDebit(71, "voided", "2026-03", same_debtor=True, same_upload=True, days_ago=2)
>>> find([march], due_item="2026-3")
RefundedDebit(attempt_id=71, kind='voided', due_item='2026-03', same_debtor=True, same_upload=True, days_ago=2)
>>> find([march], due_item="2026-04")
>>> monthly = RefundedDebit(72, "refunded", "once", same_debtor=False, same_upload=False, days_ago=28)
>>> find([monthly], due_item="once")
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from tether_core.payments import due_items
from tether_core.payments.same_debit import WINDOW_DAYS

__all__ = ["RefundedDebit", "find"]


class RefundedDebit(msgspec.Struct, frozen=True):
    """
    A debit of the same account whose money was refunded, or that was voided.

    Attributes:
        attempt_id: The debit.
        kind: Its outcome.
        due_item: What it collected.
        same_debtor: Whether it was made for the very row.
        same_upload: Whether for a row of the same upload.
        days_ago: Whole days since it was submitted.
    """

    attempt_id: int
    kind: Literal["refunded", "voided"]
    due_item: str
    same_debtor: bool
    same_upload: bool
    days_ago: int


def find(refunds: Iterable[RefundedDebit], *, due_item: str) -> RefundedDebit | None:
    """
    The refund that keeps an item from being collected.

    Args:
        refunds: Of the same debit.
        due_item: What is to be collected.

    Returns:
        The first that does, or `None`.
    """
    for refund in refunds:
        if not due_items.alike(refund.due_item, due_item):
            continue
        lasting = refund.same_debtor or refund.same_upload or due_items.specific(due_item)
        if lasting or refund.days_ago <= WINDOW_DAYS:
            return refund
    return None
