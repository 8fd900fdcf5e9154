r"""
File responses: byte ranges, entity tags, file names.

>>> byte_range("bytes=0-99", size_bytes=1000), byte_range("bytes=-100", size_bytes=1000)
((0, 100), (900, 1000))
>>> byte_range("bytes=0-1,5-6", size_bytes=1000) is None    # several ranges: the whole file is sent
True
>>> byte_range("bytes=1000-", size_bytes=1000)
Traceback (most recent call last):
    ...
tether_web.http.file_response.UnsatisfiableRange: 416: The file has 1000 bytes
>>> disposition('Débiteurs "mars".csv')
'attachment; filename="D_biteurs _mars_.csv"; filename*=UTF-8\'\'D%C3%A9biteurs%20%22mars%22.csv'

Source: RFC 9110, sections 13 (preconditions) and 14 (ranges); RFC 6266 (Content-Disposition).
"""

import re
from typing import Final
from urllib.parse import quote

from litestar.exceptions import ClientException

__all__ = ["UnsatisfiableRange", "byte_range", "disposition", "matches"]

_RANGE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.ASCII | re.IGNORECASE)


class UnsatisfiableRange(ClientException):
    """416: the file has no such bytes."""

    status_code = 416

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"The file has {size_bytes} bytes", headers={"Content-Range": f"bytes */{size_bytes}"}
        )


def byte_range(header: str, *, size_bytes: int) -> tuple[int, int] | None:
    """
    Read a Range header.

    Args:
        header: Its value, "" where there is none.
        size_bytes: Size of the file.

    Returns:
        First byte and the one after the last; `None` for the whole file, also for a header that names several ranges
        or cannot be read.

    Raises:
        UnsatisfiableRange: when the file has none of these bytes.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(size_bytes - int(last), 0), size_bytes
    else:
        start = int(first)
        end = min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= size_bytes or start >= end:
        raise UnsatisfiableRange(size_bytes)
    return start, end


def matches(header: str, etag: str) -> bool:
    """
    Whether an If-None-Match header contains the entity tag.

    Args:
        header: Its value.
        etag: Of the file, with its quotation marks.

    >>> matches('W/"x", "abc"', '"abc"'), matches("*", '"abc"'), matches('"x"', '"abc"')
    (True, True, False)
    """
    given = [item.strip().removeprefix("W/") for item in header.split(",")]
    return "*" in given or etag in given


def disposition(filename: str) -> str:
    """
    The Content-Disposition of a download, readable by old and new clients.

    Args:
        filename: Any text without control characters.

    Returns:
        The value of Content-Disposition.
    """
    plain = "".join(mark if mark.isascii() and mark not in '"\\%' else "_" for mark in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
