"""
API keys: `tether_` and 43 random characters, then 6 characters that check them.

The check detects a mistyped key, and a text that is no key, without a query. Scanners for secrets find keys by
the prefix. Only the SHA-256 digest is stored: a key has 256 random bits, so a slow hash would protect nothing.

>>> key = written(bytes(32))
>>> key
'tether_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA6161e1'
>>> digest(key) is not None, digest(key[:-1] + "2"), digest("Bearer")
(True, None, None)
"""

import base64
import hashlib
import re
from typing import Final

__all__ = ["RANDOM_BYTES", "digest", "written"]

RANDOM_BYTES: Final = 32
_FORM: Final = re.compile(r"tether_[A-Za-z0-9_-]{43}[0-9a-f]{6}")


def written(random: bytes) -> str:
    """
    A key.

    Args:
        random: 32 random bytes.
    """
    body = f"tether_{base64.urlsafe_b64encode(random).rstrip(b'=').decode()}"
    return body + _check(body)


def digest(key: str) -> bytes | None:
    """
    The digest under which a key is stored.

    Args:
        key: What a client sent.

    Returns:
        32 bytes; `None` where the text is not a key.
    """
    if not _FORM.fullmatch(key) or _check(key[:-6]) != key[-6:]:
        return None
    return hashlib.sha256(key.encode()).digest()


def _check(body: str) -> str:
    return hashlib.sha256(b"check " + body.encode()).hexdigest()[:6]
