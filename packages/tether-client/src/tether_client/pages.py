"""Pages of a list, as `{"items": [...], "next": cursor | null}`."""

from typing import Generic, TypeVar

import msgspec

__all__ = ["PAGE_MAX", "Page"]

T = TypeVar("T")

# The most rows that the API gives in a page.
PAGE_MAX = 500


class Page(msgspec.Struct, Generic[T], frozen=True):
    """
    Rows of a list, newest first.

    Attributes:
        items: The rows.
        next: The cursor of the next page, or `None` on the last one.
    """

    items: list[T]
    next: str | None = None
