"""
Multipart uploads: stream a file from the request into the object store, and compute its digest.

The file is never held in memory as a whole. The store writes chunks of about a megabyte as parts of one object. An error on
the way (the sender disconnects, the file is too large, the form is broken) is raised inside the stream that the store reads,
and the store discards what it has: no object appears.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from litestar.exceptions import ClientException, InternalServerException
from multipart import (  # type: ignore[import-untyped]  # it publishes no types
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)
from tether_core.errors import InvalidRequest
from tether_stores import objects
from tether_stores.objects import Objects

__all__ = ["Received", "TooLarge", "receive", "safe_name"]

FILE_PART: Final = "file"
_PARTS_MAX: Final = 20
_TEXT_BYTES_MAX: Final = 65_536
# Allowance for boundaries, headers and the text parts of a form.
_BESIDE_BYTES: Final = 1 << 20


class TooLarge(ClientException):
    """413: the file has more bytes than allowed."""

    status_code = 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"A file may have at most {limit_bytes:,} bytes; split it, or ask for a higher TETHER_UPLOAD_MAX_BYTES"
        )


class Received(msgspec.Struct, frozen=True):
    """
    A form whose file is stored.

    Attributes:
        key: Of the object.
        filename: The sender's name of the file; see `safe_name`.
        size_bytes: Its size.
        sha256: Its digest, 32 bytes.
        fields: The text parts by name.
    """

    key: str
    filename: str
    size_bytes: int
    sha256: bytes
    fields: dict[str, str]


async def receive(
    stream: AsyncIterator[bytes],
    *,
    content_type: str,
    declared_bytes: int | None,
    limit_bytes: int,
    store: Objects,
    key_of: Callable[[str], str],
) -> Received:
    """
    Store the file of a form.

    Args:
        stream: The request's body.
        content_type: Its header.
        declared_bytes: Content-Length, if it was sent.
        limit_bytes: Maximum size of the file.
        store: The object store.
        key_of: Makes a unique key for a file of this name.

    Returns:
        The form. The object exists then, and does not when this raises.

    Raises:
        TooLarge: the file, or its declared size.
        InvalidRequest: no multipart form, no file in it, or two files.
        ClientException: the form is broken, or the sender disconnected.
        StoreUnreachable: the object store fails.
    """
    media, options = parse_options_header(content_type)
    if media != "multipart/form-data" or not options.get("boundary"):
        raise InvalidRequest(
            "send the file as multipart/form-data, in a part called file", field="Content-Type"
        )
    if declared_bytes is not None and declared_bytes > limit_bytes + _BESIDE_BYTES:
        raise TooLarge(limit_bytes)
    form = _Form(stream, boundary=options["boundary"], limit_bytes=limit_bytes)
    try:
        await _store_parts(form, store, key_of)
    except BaseException:
        if form.key:
            await objects.delete(store, form.key)
        raise
    return Received(form.key, form.filename, form.size_bytes, form.digest.digest(), form.fields)


async def _store_parts(form: "_Form", store: Objects, key_of: Callable[[str], str]) -> None:
    async for part in form.parts():
        if part.filename is None:
            await form.text(part.name)
        elif part.name != FILE_PART or form.key:
            raise InvalidRequest("send one file, in a part called file", field=FILE_PART)
        else:
            form.filename = safe_name(part.filename)
            key = key_of(form.filename)
            await objects.put(store, key, form.file())
            form.key = key
    if not form.key:
        raise InvalidRequest("send the file in a part called file, with a file name", field=FILE_PART)


class _Form:
    """A form that is being received: its parser events, read once and in order."""

    def __init__(self, stream: AsyncIterator[bytes], *, boundary: str, limit_bytes: int) -> None:
        self.filename = ""
        self.key = ""
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        self.fields: dict[str, str] = {}
        self._limit_bytes = limit_bytes
        self._events = self._parsed(stream, boundary)

    async def parts(self) -> AsyncIterator[MultipartSegment]:
        """The head of each part; its body must be read by `text` or `file` before the next."""
        async for event in self._events:
            assert isinstance(event, MultipartSegment), "the body of each part is read completely"
            yield event

    async def text(self, name: str) -> None:
        """Read the body of a text part."""
        held = bytearray()
        async for data in self._body():
            held += data
            if len(held) > _TEXT_BYTES_MAX:
                raise InvalidRequest(f"has more than {_TEXT_BYTES_MAX:,} bytes", field=name[:40])
        try:
            self.fields[name] = held.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("is not UTF-8", field=name[:40]) from None

    async def file(self) -> AsyncIterator[bytes]:
        """Read the body of the file, and count and digest its bytes."""
        async for data in self._body():
            self.size_bytes += len(data)
            if self.size_bytes > self._limit_bytes:
                raise TooLarge(self._limit_bytes)
            self.digest.update(data)
            yield data

    async def _body(self) -> AsyncIterator[bytes]:
        async for event in self._events:
            if event is None:
                return
            assert not isinstance(event, MultipartSegment), "a part ends before the next begins"
            yield bytes(event)

    async def _parsed(
        self, stream: AsyncIterator[bytes], boundary: str
    ) -> AsyncIterator[MultipartSegment | bytes | bytearray | None]:
        try:
            with PushMultipartParser(boundary, max_segment_count=_PARTS_MAX) as parser:
                async for chunk in stream:
                    if chunk:
                        for event in parser.parse(chunk):
                            yield event
        except ParserLimitReached:
            raise InvalidRequest(f"a form has at most {_PARTS_MAX} parts with short headers") from None
        except MultipartError:
            raise ClientException("The form is broken or ends too early; send it again") from None
        except InternalServerException:  # Litestar raises it when the sender disconnects
            raise ClientException(
                "The connection ended before the file was complete; send it again"
            ) from None


def safe_name(name: str) -> str:
    r"""
    Sanitise the sender's name of a file.

    Args:
        name: Any text; may be a path.

    Returns:
        Its last part without control characters, at most 200 characters; "upload" when nothing is left.

    >>> safe_name("C:\\Users\\anna\\Debitoren März.csv"), safe_name("../../etc/passwd"), safe_name("\x00 ")
    ('Debitoren März.csv', 'passwd', 'upload')
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    cleaned = "".join(mark for mark in last if mark.isprintable()).strip()
    if len(cleaned) > 200:  # keep the extension
        cleaned = f"{cleaned[:180]}\u2026{cleaned[-19:]}"
    return cleaned or "upload"
