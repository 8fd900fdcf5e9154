"""
By which request a debit of a mandate is submitted.

Most gateway accounts take each debit as an `sdd_sale`. Where an account uses series, the first debit of a mandate is an `sdd_init_recurring_sale`, and later
ones are `sdd_recurring_sale` that refer to it: the gateway knows the bank account from the first.

| the first debit of the series is | the next debit is |
|---|---|
| not there, or refused, returned, refunded or voided (a full refund stops the series) | first again |
| pending or unknown, and submitted | deferred: its outcome comes first |
| approved, and known by the gateway's id | next, with that id |

>>> choose([], uses_series=False), choose([], uses_series=True)
(Request(kind='sale', reference_id=None), Request(kind='first', reference_id=None))
>>> choose([First("approved", "44177a21")], uses_series=True)
Request(kind='next', reference_id='44177a21')
>>> choose([First("unknown", None)], uses_series=True) is None
True

Source: the gateway's documentation of `sdd_init_recurring_sale` and `sdd_recurring_sale`.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

__all__ = ["First", "Request", "RequestKind", "choose"]

RequestKind: TypeAlias = Literal["sale", "first", "next"]


class First(msgspec.Struct, frozen=True):
    """
    The first debit of a series.

    Attributes:
        state: Of its billing attempt.
        unique_id: The gateway's id, or `None`.
        is_submitted: Whether it was submitted, or may have been.
    """

    state: str
    unique_id: str | None
    is_submitted: bool = True


class Request(msgspec.Struct, frozen=True):
    """
    How a debit is requested.

    Attributes:
        kind: "sale", or "first" or "next" of a series.
        reference_id: The gateway's id of the first debit; for "next".
    """

    kind: RequestKind
    reference_id: str | None = None


def choose(firsts: Iterable[First], *, uses_series: bool) -> Request | None:
    """
    How the next debit of a mandate is requested.

    Args:
        firsts: The first debits of series under the mandate, newest first.
        uses_series: Whether the gateway account uses series.

    Returns:
        `None` while the outcome of a first debit is open.
    """
    if not uses_series:
        return Request("sale")
    for first in firsts:
        if first.state in {"pending", "unknown"} and first.is_submitted:
            return None
        if first.state == "approved" and first.unique_id:
            return Request("next", first.unique_id)
    return Request("first")
