"""
Signatures of pre-flight reports, so that a report can be shown later and nobody has changed it.

A report is signed with HMAC-SHA-256 under a key that is derived from `TETHER_SECRETS_KEY` for this purpose alone. Anyone who can verify can sign, so it
proves to the installation's own people, not to strangers, that the report is one of Tether. A signature begins with the form of signing.

>>> first, second = signing_key("a"), signing_key("b")
>>> signature = sign(b"{}", key=first)
>>> signature.partition("=")[0], verify(b"{}", signature, keys=[second, first])
('v1', True)
>>> verify(b"{ }", signature, keys=[first]), verify(b"{}", "v2=00", keys=[first]), verify(b"{}", signature, keys=[])
(False, False, False)

Source: RFC 2104.
"""

import hmac
from collections.abc import Sequence
from typing import Final

__all__ = ["sign", "signing_key", "verify"]

_PURPOSE: Final = b"tether pre-flight report 1"
_FORM: Final = "v1"


def signing_key(secret: str) -> bytes:
    """
    The key that signs reports.

    Args:
        secret: One key of `TETHER_SECRETS_KEY`.
    """
    return hmac.digest(secret.encode(), _PURPOSE, "sha256")


def sign(content: bytes, *, key: bytes) -> str:
    """The signature of a report's bytes, *content*, under *key*."""
    return f"{_FORM}={hmac.digest(key, content, 'sha256').hex()}"


def verify(content: bytes, signature: str, *, keys: Sequence[bytes]) -> bool:
    """
    Whether one of the keys made a signature.

    Args:
        content: The report's bytes.
        signature: From `sign`.
        keys: The present key and former ones.
    """
    given = signature.encode()
    # Every key is tried, so that the time does not say which one fits.
    fits = [hmac.compare_digest(sign(content, key=key).encode(), given) for key in keys]
    return any(fits)
