"""Bulk orders: one action for everything that matches the filter of a list."""

from datetime import datetime

import msgspec

__all__ = ["BulkItem", "BulkOrder", "BulkOrderDetail", "BulkPreview", "BulkTotal"]


class BulkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order to do one thing to everything that matches.

    Attributes:
        id: Our row.
        action: What is done to each row: "replay", "inquire", "void", "refund", "lift" or "withdraw".
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
        id: The notification, payment, blacklist entry or upload.
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
        previewed: Give it with the order, which is then about no row that began to match later.
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
