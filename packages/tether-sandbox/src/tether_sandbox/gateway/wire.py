"""
Encode and sign notifications as the gateway does: form fields and a hash.

Implemented independently of the receiver, so that its mistakes are found.

Source: the gateway's documentation v60.1, Notifications; the first pair below is from its public SDKs' tests.

>>> sign("fc6c3c8c0219730c7a099eaa540f70dc", password="bogus")
'08d01ae1ebdc22b6a1a764257819bb26e9e94e8d'
>>> encode({"usage": "rent & more", "status": "approved"})
b'usage=rent+%26+more&status=approved'
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import urlencode

__all__ = ["FORM", "JSON", "HashName", "encode", "sign"]

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"

HashName = Literal["sha1", "sha256", "sha512"]


def sign(unique_id: str, *, password: str, algorithm: HashName = "sha1") -> str:
    """
    The signature as the gateway makes it: a hash over the id and the password, nothing between them.

    Args:
        unique_id: The id that is hashed.
        password: The API password.
        algorithm: "sha1" by default; "sha256" and "sha512" are set per merchant on request.

    Returns:
        Lower-case hex.
    """
    return hashlib.new(algorithm, (unique_id + password).encode()).hexdigest()


def encode(fields: Mapping[str, str], *, content_type: str = FORM) -> bytes:
    """
    A notification's fields as a request body.

    Args:
        fields: Name to value, in order.
        content_type: `FORM`, as the gateway sends (blanks as `+`), or `JSON`, a flat object.

    Returns:
        The bytes.
    """
    if content_type == JSON:
        return json.dumps(dict(fields)).encode()
    return urlencode(fields).encode()
