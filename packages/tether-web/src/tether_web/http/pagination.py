"""
Pagination by cursor: `{"items": [...], "next": cursor | null}`, newest first.

A cursor names the last row of a page, so pages neither skip nor repeat rows while new ones arrive.

>>> decode_cursor(encode_cursor(12345))
12345
>>> decode_cursor("nonsense")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: cursor is not a cursor of this list; start again without it.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from litestar.params import Parameter
from tether_core.errors import InvalidRequest

__all__ = [
    "LIMIT",
    "LIMIT_MAX",
    "Cursor",
    "Limit",
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
# The query parameters `cursor` and `limit` of a list.
Cursor = Annotated[str | None, Parameter(description="`next` of the previous page.", max_length=100)]
Limit = Annotated[int, Parameter(ge=1, le=LIMIT_MAX, description="Rows in a page.")]
_INVALID: Final = "is not a cursor of this list; start again without it"
# A time in microseconds and a row id; 18 digits exceed every time that Postgres can store.
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
    The row id after which a page starts.

    Args:
        cursor: From `encode_cursor`, or `None` for the first page.

    Raises:
        InvalidRequest: when it is not a cursor.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        head, _, digits = base64.b64decode(padded, altchars=b"-_", validate=True).partition(b":")
    except (binascii.Error, ValueError):
        head, digits = b"", b""
    if head != b"id" or not digits.isdigit() or len(digits) > 18:
        raise InvalidRequest(_INVALID, field="cursor")
    return int(digits)


def encode_timed_cursor(at: datetime, row_id: int) -> str:
    """The cursor that continues after a row of a list ordered by time."""
    microseconds = (at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(b"at:%d:%d" % (microseconds, row_id)).rstrip(b"=").decode()


def decode_timed_cursor(cursor: str) -> tuple[datetime, int]:
    """
    The time and the row id after which a page starts.

    Raises:
        InvalidRequest: when it is not a cursor, or belongs to a list in another order.

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
        raise InvalidRequest(_INVALID, field="cursor")
    return _EPOCH + timedelta(microseconds=int(found[1])), int(found[2])


def page(rows: Sequence[T], *, limit: int, last_id: int | None) -> Page[T]:
    """
    Cut a page from up to *limit* + 1 rows.

    Args:
        rows: The result of a query for `limit + 1` rows.
        last_id: The id of the last row of the page, or `None` when there are no rows.

    Returns:
        The page; `next` is set only if there is a further row.
    """
    more = len(rows) > limit and last_id is not None
    return Page(list(rows[:limit]), encode_cursor(last_id) if more and last_id is not None else None)
