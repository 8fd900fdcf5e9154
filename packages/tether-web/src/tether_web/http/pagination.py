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
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec
from tether_core.errors import InvalidRequest

__all__ = [
    "LIMIT",
    "LIMIT_MAX",
    "Page",
    "decode_cursor",
    "decode_timed_cursor",
    "encode_cursor",
    "encode_timed_cursor",
    "page",
]

T = TypeVar("T")

LIMIT = 50
LIMIT_MAX = 500
_REFUSED: Final = "is not one that a list of ours gave; start again without it"
# What follows in whole microseconds; 18 digits are more than any time that Postgres has.
_TIMED: Final = re.compile(rb"at:([0-9]{1,16}):([0-9]{1,18})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
        raise InvalidRequest(_REFUSED, field="cursor")
    return int(digits)


def encode_timed_cursor(at: datetime, row_id: int) -> str:
    """The cursor that continues after a row of a list in the order of a time."""
    microseconds = (at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(b"at:%d:%d" % (microseconds, row_id)).rstrip(b"=").decode()


def decode_timed_cursor(cursor: str) -> tuple[datetime, int]:
    """
    The time and the row after which a page starts.

    Raises:
        InvalidRequest: when it is something else, or of a list in another order.

    >>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    >>> decode_timed_cursor(encode_timed_cursor(noon, 7)) == (noon, 7)
    True
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = _TIMED.fullmatch(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        found = None
    if found is None:
        raise InvalidRequest(_REFUSED, field="cursor")
    return _EPOCH + timedelta(microseconds=int(found[1])), int(found[2])


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
