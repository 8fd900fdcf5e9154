"""
Taking a file in: multipart from the wire straight into the object store, with a digest on the way.

Nothing is ever held whole. The parser is fed with what comes, the part with the file is handed on in chunks of about a
megabyte, and the store takes them as parts of one object. Whatever goes wrong in between (the sender goes away, the
file is larger than allowed, the form is broken) is raised inside the stream the store reads from, which makes it drop
what it has: no object appears.
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
# Boundaries, headers and the text parts of a form, beside the file.
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
    A form whose file is in the object store.

    Attributes:
        key: Of its object.
        filename: What the sender called it, fit for showing.
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
    Put the file of a form into the object store.

    Args:
        stream: The request's body.
        content_type: Its header.
        declared_bytes: Content-Length, where it was sent.
        limit_bytes: Bytes the file may have.
        store: Where it goes.
        key_of: Gives a key nobody else has, for a file of this name.

    Returns:
        What came. The object exists then, and does not when this raises.

    Raises:
        TooLarge: the file, or what the request declares.
        InvalidRequest: no multipart form, or no file in it, or two.
        ClientException: the form is broken, or the sender has gone.
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
        await _take(form, store, key_of)
    except BaseException:
        if form.key:
            await objects.delete(store, form.key)
        raise
    return Received(form.key, form.filename, form.size_bytes, form.digest.digest(), form.fields)


async def _take(form: "_Form", store: Objects, key_of: Callable[[str], str]) -> None:
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
    """A form as it comes in: its events in order, whoever asks for the next one."""

    def __init__(self, stream: AsyncIterator[bytes], *, boundary: str, limit_bytes: int) -> None:
        self.filename = ""
        self.key = ""
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        self.fields: dict[str, str] = {}
        self._limit_bytes = limit_bytes
        self._events = self._parsed(stream, boundary)

    async def parts(self) -> AsyncIterator[MultipartSegment]:
        """Each part's head; its body must be taken by `text` or `file` before the next."""
        async for event in self._events:
            assert isinstance(event, MultipartSegment), "whoever takes a part takes all of it"
            yield event

    async def text(self, name: str) -> None:
        """Take the body of a text part."""
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
        """Take the body of the file, counting and digesting it."""
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
            raise InvalidRequest(f"a form has at most {_PARTS_MAX} parts with short heads") from None
        except MultipartError:
            raise ClientException("The form is broken or ends too early; send it again") from None
        except InternalServerException:  # the framework's word for a sender who has gone
            raise ClientException("The sender went away before the file was complete") from None


def safe_name(name: str) -> str:
    r"""
    Make the sender's name of a file fit for showing and storing.

    Args:
        name: Anything, a path among it.

    Returns:
        Its last part without control characters, at most 200 characters; "upload" when nothing is left.

    >>> safe_name("C:\\Users\\anna\\Debitoren März.csv"), safe_name("../../etc/passwd"), safe_name("\x00 ")
    ('Debitoren März.csv', 'passwd', 'upload')
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    excerpt = "".join(mark for mark in last if mark.isprintable()).strip()
    if len(excerpt) > 200:  # the ending tells people what it is
        excerpt = f"{excerpt[:180]}\u2026{excerpt[-19:]}"
    return excerpt or "upload"
