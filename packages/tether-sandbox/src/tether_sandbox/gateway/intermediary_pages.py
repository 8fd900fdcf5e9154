"""
Responses of intermediaries: maintenance pages, rate limiters, login pages, redirects.

None of these is the gateway's response about a payment, though some look like it. A client that takes one for "not found" or for
a refusal debits twice, or fails a debit that was collected.

>>> PAGES["not found"].status, PAGES["not found"].body
(404, b'<payment_response><status>error</status><code>460</code></payment_response>')
"""

from typing import Final, Literal

import msgspec

__all__ = ["PAGES", "Page", "PageName"]

PageName = Literal[
    "maintenance",
    "unavailable",
    "unavailable soon",
    "xhtml",
    "system error",
    "not found",
    "gone",
    "login",
    "redirect",
    "empty",
]

_XML: Final = "text/xml; charset=utf-8"
_HTML: Final = "text/html"


class Page(msgspec.Struct, frozen=True):
    """
    A response that is not the gateway's.

    Attributes:
        status: Its HTTP status.
        body: Its bytes.
        content_type: Its media type.
        headers: More headers.
    """

    status: int
    body: bytes
    content_type: str = _HTML
    headers: tuple[tuple[bytes, bytes], ...] = ()


PAGES: Final[dict[PageName, Page]] = {
    "maintenance": Page(200, b"<!doctype html><html><body>We will be back soon</body></html>"),
    "unavailable": Page(503, b"<html><body><h1>503</h1></body></html>"),
    "unavailable soon": Page(
        503, b"<html><body>Back in a minute</body></html>", headers=((b"retry-after", b"60"),)
    ),
    "xhtml": Page(
        200,
        b'<?xml version="1.0"?><html><head><status>error</status><code>460</code></head><body/></html>',
        "application/xhtml+xml",
    ),
    "system error": Page(
        200, b"<payment_response><status>error</status><code>101</code></payment_response>", _XML
    ),
    "not found": Page(
        404, b"<payment_response><status>error</status><code>460</code></payment_response>", _XML
    ),
    "gone": Page(404, b"<html><body><h1>Not Found</h1></body></html>"),
    "login": Page(401, b"<html><body>Please log in</body></html>"),
    "redirect": Page(302, b"", headers=((b"location", b"/maintenance"),)),
    "empty": Page(200, b""),
}
