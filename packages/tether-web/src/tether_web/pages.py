"""
Lists by cursor: `{"items": [...], "next": cursor | null}`, newest first.

A cursor names the last row that was shown, so pages neither skip nor repeat rows while new ones come in.

>>> decode_cursor(encode_cursor(12345))
12345
>>> decode_cursor("nonsense")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: cursor: is not one that a list of ours gave; start again without it
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec
from tether_core.errors import InvalidRequest

__all__ = ["LIMIT", "LIMIT_MAX", "Page", "decode_cursor", "encode_cursor", "page"]

T = TypeVar("T")

LIMIT = 50
LIMIT_MAX = 500


class Page(msgspec.Struct, Generic[T], frozen=True):
    """
    One page of a list.

    Attributes:
        items: The rows, newest first.
        next: Give it as `cursor` for the next page; null on the last one.
    """

    items: list[T]
    next: str | None


def encode_cursor(row_id: int) -> str:
    """The cursor that continues after a row."""
    return base64.urlsafe_b64encode(b"id:%d" % row_id).rstrip(b"=").decode()


def decode_cursor(cursor: str | None) -> int | None:
    """
    The row after which a page starts.

    Args:
        cursor: As `encode_cursor` gave it, or `None` for the first page.

    Returns:
        A row id, or `None`.

    Raises:
        InvalidRequest: when it is something else.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        head, _, digits = base64.b64decode(padded, altchars=b"-_", validate=True).partition(b":")
    except (binascii.Error, ValueError):
        head, digits = b"", b""
    if head != b"id" or not digits.isdigit() or len(digits) > 18:
        raise InvalidRequest("is not one that a list of ours gave; start again without it", field="cursor")
    return int(digits)


def page(rows: Sequence[T], *, limit: int, last_id: int | None) -> Page[T]:
    """
    Cut a page from up to *limit* + 1 rows.

    Args:
        rows: What the query gave for `limit + 1`.
        limit: Rows a page has.
        last_id: The id of the last row the page will show, or `None` when there are no rows.

    Returns:
        The page; `next` only where a further row was seen.
    """
    more = len(rows) > limit and last_id is not None
    return Page(list(rows[:limit]), encode_cursor(last_id) if more and last_id is not None else None)
