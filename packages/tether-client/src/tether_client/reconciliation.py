"""Differences between the gateway's records and Tether's."""

from datetime import datetime
from typing import Any

import msgspec

from tether_client.connection import Connection, given
from tether_client.pages import Page

__all__ = [
    "DifferenceLine",
    "ReconciliationRoutes",
]


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


class ReconciliationRoutes(Connection):
    """Routes of reconciliation."""

    def differences(
        self,
        *,
        kind: str | None = None,
        attempt_id: int | None = None,
        status: str = "open",
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[DifferenceLine]:
        """Reconciliation differences; *status* is "open" or "all"."""
        return self._get("/api/reconciliation-differences", Page[DifferenceLine], **given(locals()))

    def difference(self, line_id: int) -> DifferenceLine:
        """One reconciliation difference."""
        return self._get(f"/api/reconciliation-differences/{line_id}", DifferenceLine)

    def acknowledge_difference(
        self, line_id: int, *, reason: str, order_again: bool = False
    ) -> DifferenceLine:
        """
        Close a difference with what was found.

        Args:
            order_again: For a refund that failed later: it did not happen, so the debit may be refunded again.
        """
        body = {"reason": reason, "order_again": order_again}
        return self._post(f"/api/reconciliation-differences/{line_id}/acknowledge", body, DifferenceLine)

    def completeness(self, *, from_on: str | None = None, to_on: str | None = None) -> dict[str, Any]:
        """Whether Tether has everything that the gateway's reports of some days list; days as 2026-03-02, yesterday without."""
        return self._get("/api/completeness", dict[str, Any], **{"from": from_on, "to": to_on})
