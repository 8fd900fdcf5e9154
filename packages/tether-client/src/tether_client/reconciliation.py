"""Differences between the gateway's records and Tether's."""

from datetime import datetime

import msgspec

__all__ = ["DifferenceLine"]


class DifferenceLine(msgspec.Struct, frozen=True, kw_only=True):
    """
    A line of the list, for display.

    Attributes:
        id: Our row.
        kind: Which kind of difference.
        attempt_id: The debit.
        other_attempt_id: The other debit, for "collected_twice".
        refund_id: The refund or void, for "refund_failed_later".
        run_id: The run of the debit, or null.
        ours: The state in our records.
        theirs: The state at the gateway, or of the other debit.
        holds_refunds: Whether the line blocks refunds and voids of the debit while it is open.
        first_seen_at: Since when.
        last_seen_at: When it was found last.
        state: "open", "acknowledged" by a person, or "resolved" by the facts.
        resolved_at: When the facts resolved it, or null.
        acknowledged_at: When a person acknowledged it, or null.
        acknowledged_by: The name of the key, or null.
        acknowledged_reason: What the person found, or null.
        text: What is the case.
        action: What to do.
    """

    id: int
    kind: str
    attempt_id: int
    other_attempt_id: int | None
    refund_id: int | None
    run_id: int | None
    ours: str
    theirs: str
    holds_refunds: bool
    first_seen_at: datetime
    last_seen_at: datetime
    state: str
    resolved_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_reason: str | None
    text: str = ""
    action: str = ""
