"""Orders for status inquiries at the gateway."""

from datetime import datetime

import msgspec

from tether_client.connection import Connection

__all__ = [
    "InquiryOrder",
    "InquiryOrderRoutes",
]


class InquiryOrder(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order to inquire, and how far it is.

    Attributes:
        id: Our row.
        scope: "attempt", "run" or "upload".
        subject_id: The attempt, run or upload.
        ordered_by: Who ordered it.
        reason: Why.
        more: Whether debits were left for another order, because there are too many for one.
        created_at: When.
        debits: Debits that are inquired. Those that waited for another ordered inquiry already are not
            among them.
        waiting: Of these, those that still wait.
        inquired: Those that the gateway has answered about; what it said is applied a time later.
        given_up: Those that got no answer for a day.
    """

    id: int
    scope: str
    subject_id: int
    ordered_by: str
    reason: str
    more: bool
    created_at: datetime
    debits: int
    waiting: int
    inquired: int
    given_up: int


class InquiryOrderRoutes(Connection):
    """Routes of orders for status inquiries."""

    def inquire(
        self,
        scope: str,
        subject_id: int,
        *,
        reason: str,
        what: str | None = None,
        idempotency_key: str | None = None,
    ) -> InquiryOrder:
        """
        Inquire the status of debits at the gateway now.

        Args:
            scope: "payment", "run" or "upload".
            subject_id: Of the payment, run or upload.
            what: Of a run or an upload: "open" (the default) or "submitted".
        """
        folder = {"payment": "billing-attempts", "run": "billing-runs", "upload": "uploads"}[scope]
        body = {"reason": reason} if what is None else {"reason": reason, "what": what}
        return self._order(f"/api/{folder}/{subject_id}/inquiry", body, InquiryOrder, idempotency_key)
