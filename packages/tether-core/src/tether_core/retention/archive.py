r"""
The format of archives: gzip with one JSON value a line.

The first line is the header, with the name and version of the format, the kind, and which rows follow. Each further line is a row as
Postgres writes it by `row_to_json`: columns by name, times in ISO 8601, bytes as "\\x" and hexadecimal digits. `zcat FILE | jq` reads it
without Tether. The checksum over the whole file is in the table `archives`.

>>> header = Header(kind="events", rows=2, first_id=1, last_id=9, archived_at=datetime(2026, 3, 2, tzinfo=UTC))
>>> data = pack(header, ['{"id":1}', '{"id":9}'])
>>> [bytes(row) for row in unpack(data).rows]
[b'{"id":1}', b'{"id":9}']
>>> unpack(data[:-9])
Traceback (most recent call last):
    ...
tether_core.retention.archive.ArchiveUnreadable: The archive cannot be read: it ends too early; restore it from a backup of the object store.
"""

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

import msgspec

from tether_core.errors import Contradicted
from tether_core.retention.periods import ArchiveKind

__all__ = [
    "FORMAT",
    "SIZE_BYTES_MAX",
    "Archive",
    "ArchiveUnreadable",
    "Header",
    "checksum",
    "object_key",
    "pack",
    "unpack",
]

FORMAT: Final = "tether-archive/1"
# Unpacked: pages hold at most some ten megabytes, and no archive may fill the memory of its reader.
SIZE_BYTES_MAX: Final = 1 << 28
_GZIP: Final = 31  # window bits, with the header and checksum of gzip
_LEVEL: Final = 6


class ArchiveUnreadable(Contradicted):
    """
    An archive is not what was written; a person must look.

    Attributes:
        why: What is wrong with it.
    """

    code = "archive_unreadable"

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"The archive cannot be read: {self.why}; restore it from a backup of the object store."


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """
    The first line of an archive.

    Attributes:
        kind: "notifications" or "events".
        rows: How many rows follow.
        first_id: The id of the first row.
        last_id: The id of the last row; ids between that are missing were not archived here.
        archived_at: When it was written, UTC.
        format: `FORMAT`.
    """

    kind: ArchiveKind
    rows: int
    first_id: int
    last_id: int
    archived_at: datetime
    format: str = FORMAT


class Archive(msgspec.Struct, frozen=True):
    """
    An archive that was read.

    Attributes:
        header: Its first line.
        rows: The rows as JSON.
    """

    header: Header
    rows: list[msgspec.Raw]


class _Id(msgspec.Struct, frozen=True):
    id: int


def object_key(kind: ArchiveKind, token: str, *, archived_at: datetime) -> str:
    """
    Where an archive lies in the object store.

    Args:
        kind: What it holds.
        token: Drawn by the caller; two writers never share one.
        archived_at: When; its day is a part of the key.

    >>> object_key("events", "0b9d", archived_at=datetime(2026, 3, 2, tzinfo=UTC))
    'archives/events/2026/03/02/0b9d.jsonl.gz'
    """
    return f"archives/{kind}/{archived_at.astimezone(UTC):%Y/%m/%d}/{token}.jsonl.gz"


def checksum(data: bytes) -> bytes:
    """SHA-256 of the bytes of an archive, as the table keeps it."""
    return sha256(data).digest()


def pack(header: Header, rows: Sequence[str]) -> bytes:
    """
    Write an archive.

    Args:
        header: Of *rows*.
        rows: JSON objects, each on one line.
    """
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
    lines = [msgspec.json.encode(header), *(row.encode() for row in rows), b""]
    return packer.compress(b"\n".join(lines)) + packer.flush()


def unpack(data: bytes) -> Archive:
    """
    Read an archive and check it against its header.

    Raises:
        ArchiveUnreadable: when it is damaged, cut off, of another format or too large.
    """
    lines = _unpacked(data).split(b"\n")
    try:
        header = msgspec.json.decode(lines[0], type=Header)
        rows = [msgspec.Raw(line) for line in lines[1:-1]]
        ids = [msgspec.json.decode(row, type=_Id).id for row in rows]
    except msgspec.DecodeError:
        raise ArchiveUnreadable("a line of it is no row") from None
    if header.format != FORMAT:
        raise ArchiveUnreadable("it has a format of another version of Tether")
    if len(rows) != header.rows or not ids or (ids[0], ids[-1]) != (header.first_id, header.last_id):
        raise ArchiveUnreadable("its rows are not those of its first line")
    return Archive(header, rows)


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        text = unpacker.decompress(data, SIZE_BYTES_MAX)
    except zlib.error:
        raise ArchiveUnreadable("it is damaged") from None
    if unpacker.unconsumed_tail:
        raise ArchiveUnreadable("it is too large")
    if not unpacker.eof or not text.endswith(b"\n"):
        raise ArchiveUnreadable("it ends too early")
    return text
