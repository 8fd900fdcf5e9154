"""
Keys of uploaded files: where the bytes lie in the object store, and which uploads are the same.

>>> from datetime import UTC, datetime
>>> object_key("0b9d", received_at=datetime(2026, 3, 2, 12, tzinfo=UTC), name="Debtors March.XLSX")
'uploads/2026/03/02/0b9d.xlsx'
>>> object_key("0b9d", received_at=datetime(2026, 3, 2, 12, tzinfo=UTC), name="../../etc/passwd")
'uploads/2026/03/02/0b9d.bin'
"""

import hashlib
import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from tether_core.spreadsheet.plan import Answers

__all__ = ["content_key", "is_object_key", "object_key"]

_ENDINGS: Final = frozenset("csv txt tsv xlsx xlsm xlsb xls ods".split())


def object_key(upload_id: str, *, received_at: datetime, name: str = "") -> str:
    """
    Return the object key of an upload's bytes.

    The sender's name is not part of it: file names hold personal data, and two files may have the same name.

    Args:
        upload_id: A generated unique id of letters, digits and hyphens.
        received_at: Aware; the day in UTC groups the keys.
        name: What the sender called the file; only a known ending is kept.

    Returns:
        A key below "uploads/".
    """
    assert upload_id.replace("-", "").isalnum(), "an id is no path"
    ending = name.rpartition(".")[2].lower()
    day = received_at.astimezone(UTC)
    return f"uploads/{day:%Y/%m/%d}/{upload_id}.{ending if ending in _ENDINGS else 'bin'}"


_KEY: Final = re.compile(r"uploads/[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9a-f]{32}\.[a-z]{3,4}")


def is_object_key(key: str) -> bool:
    """
    Whether a key is one the program gives, with an id of 32 hex digits; files of an old installation keep their own.

    >>> is_object_key("uploads/2026/03/02/0b9d5f0c0b9d5f0c0b9d5f0c0b9d5f0c.csv"), is_object_key("uploads/list.csv")
    (True, False)
    """
    return _KEY.fullmatch(key) is not None


def content_key(sha256: bytes, *, answers: Answers) -> bytes:
    """
    Return a value that differs for uploads that would be read differently: the same bytes with the same answers are the same upload.

    Args:
        sha256: Of the file's bytes.
        answers: The caller's options.

    Returns:
        32 bytes.
    """
    encoded = msgspec.json.encode(answers, order="deterministic")
    return hashlib.sha256(sha256 + encoded).digest()
