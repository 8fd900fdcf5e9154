"""Bulk orders: one action for everything that matches the filter of a list."""

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from tether_client.connection import Connection, given, polled
from tether_client.pages import Page

__all__ = [
    "BulkItem",
    "BulkOrder",
    "BulkOrderDetail",
    "BulkOrderRoutes",
    "BulkPreview",
    "BulkTotal",
]


class BulkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order to do one thing to everything that matches.

    Attributes:
        id: Our row.
        action: What is done to each row: "replay", "inquire", "void", "refund", "lift", "withdraw", "pause_schedules", "resume_schedules",
            "end_schedules", "recover", "waive" or "redeliver".
        filters: Which rows, as the parameters of their list.
        reason: Why, for other people.
        ordered_by: The name of the user or key that ordered it.
        state: "working", "finished", or "stopped" by a person.
        created_at: When.
        updated_at: When it last went on.
        ended_at: When it finished or was stopped, or `None`.
    """

    id: int
    action: str
    filters: dict[str, str]
    reason: str
    ordered_by: str
    state: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class BulkTotal(msgspec.Struct, frozen=True, kw_only=True):
    """
    Rows that ended alike, in one currency.

    Attributes:
        refused: Why nothing was done to them, a stable word, or `None` where it was done.
        currency: Of their money; `None` where rows have none.
        count: How many.
        amount_minor: Their money, in whole minor units.
    """

    refused: str | None
    currency: str | None
    count: int
    amount_minor: int


class BulkItem(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of one row.

    Attributes:
        id: The notification, payment, blacklist entry, upload, schedule, due item or delivery.
        amount_minor: Its money, in whole minor units, or `None`.
        currency: ISO 4217, or `None`.
        refused: Why nothing was done, a stable word, or `None` where it was done.
        refused_reason: The same as a sentence.
    """

    id: int
    amount_minor: int | None
    currency: str | None
    refused: str | None
    refused_reason: str | None


class BulkPreview(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an order would do now; nothing was changed.

    Attributes:
        action: What would be done.
        totals: Rows by what would become of them and by currency.
        more: Whether there are, or may be, more rows than were judged.
        previewed: Give it with the order, within an hour; the order is then about no row that was added later.
    """

    action: str
    totals: list[BulkTotal]
    more: bool
    previewed: str


class BulkOrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order with its progress.

    Attributes:
        order: The order.
        totals: Rows so far by what became of them and by currency.
    """

    order: BulkOrder
    totals: list[BulkTotal]


class BulkOrderRoutes(Connection):
    """Routes of bulk orders."""

    def preview_bulk_order(self, action: str, filters: Mapping[str, str]) -> BulkPreview:
        """
        What an action would do to everything that matches; nothing is changed.

        Args:
            action: As of `BulkOrder`.
            filters: The parameters of the list, such as {"run": "7"}.
        """
        body = {"action": action, "filters": filters, "dry_run": True}
        return self._post("/api/bulk-orders", body, BulkPreview)

    def order_bulk(
        self,
        action: str,
        filters: Mapping[str, str],
        *,
        reason: str,
        previewed: str | None = None,
        idempotency_key: str | None = None,
    ) -> BulkOrder:
        """
        Do one thing to everything that matches.

        Args:
            action: As for the preview.
            filters: As for the preview.
            reason: Why.
            previewed: Of the preview: rows that were added later are not part of the order.
        """
        body = {"action": action, "filters": filters, "reason": reason, "previewed": previewed}
        return self._order("/api/bulk-orders", body, BulkOrder, idempotency_key)

    def bulk_orders(
        self,
        *,
        action: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[BulkOrder]:
        """Bulk orders, newest first."""
        return self._get("/api/bulk-orders", Page[BulkOrder], **given(locals()))

    def bulk_order(self, bulk_order_id: int) -> BulkOrderDetail:
        """One bulk order with its progress."""
        return self._get(f"/api/bulk-orders/{bulk_order_id}", BulkOrderDetail)

    def bulk_order_items(
        self, bulk_order_id: int, *, cursor: str | None = None, limit: int = 50
    ) -> Page[BulkItem]:
        """The rows of a bulk order with their results, the newest row first."""
        query = {"cursor": cursor, "limit": limit}
        return self._get(f"/api/bulk-orders/{bulk_order_id}/items", Page[BulkItem], **query)

    def stop_bulk_order(self, bulk_order_id: int) -> BulkOrder:
        """End a bulk order behind the batch under way."""
        return self._post(f"/api/bulk-orders/{bulk_order_id}/stop", None, BulkOrder)

    def await_bulk_order(
        self,
        bulk_order_id: int,
        *,
        timeout_s: float = 3_600.0,
        on_progress: Callable[[BulkOrderDetail], None] = lambda _: None,
    ) -> BulkOrderDetail:
        """A bulk order once it has ended."""

        def look() -> BulkOrderDetail | None:
            detail = self.bulk_order(bulk_order_id)
            on_progress(detail)
            return None if detail.order.state == "working" else detail

        return polled(look, timeout_s=timeout_s, what=f"bulk order {bulk_order_id}")
