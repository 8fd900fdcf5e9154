"""
Idempotency keys: the same order, sent twice, is one order.

A client that orders a billing run, a refund or a void may lose the response, and cannot know whether the order was placed. So it may choose a
key for each order and send it as the header
`Idempotency-Key`; when it sends the same request with the same key again, it gets the result of the first. The key
belongs to the API key it came with: two clients never share one key.

What makes a request the same: method, address, and what its JSON body means. Blanks and the order of the fields do not
count. Only the result of an order that was placed is kept. A request that was refused changed nothing, so its key is free.

Source: IETF draft-ietf-httpapi-idempotency-key-header-07. It writes the key as a quoted string; most clients send it
bare. Both forms of one key are the same key here.

>>> parse(["8e03978e-40d5-43e8-bc93-6894a57f9324"])
'8e03978e-40d5-43e8-bc93-6894a57f9324'
>>> parse(['"8e03978e"']), parse([])
('8e03978e', None)
>>> parse(["two words"])
Traceback (most recent call last):
    ...
tether_core.errors.Unreadable: This Idempotency-Key header cannot be read: send 1 to 255 visible ASCII characters without blanks, such as a UUID.
>>> digest("POST", "/x", b'{"a": 1, "b": 2}') == digest("POST", "/x", b'{"b":2,"a":1}')
True
>>> digest("POST", "/x", b'{"a": 1}') == digest("POST", "/y", b'{"a": 1}')
False
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from tether_core.errors import Unreadable

__all__ = ["KEPT_DAYS", "KEY_MAX", "digest", "parse"]

# Longer than a weekend with a holiday beside it: a person who comes back to a broken script must still find the result.
KEPT_DAYS: Final = 7
# As the best-known payment APIs; a UUID has 36.
KEY_MAX: Final = 255
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{KEY_MAX}}}")


def parse(values: Sequence[str]) -> str | None:
    """
    The key that a request carries.

    Args:
        values: The values of all its `Idempotency-Key` headers.

    Returns:
        The key without quotes; `None` where there is no such header.

    Raises:
        Unreadable: when the key has another form, or there are several.
    """
    if not values:
        return None
    if len(values) > 1:
        raise Unreadable("Idempotency-Key header", why="it was sent more than once; send it once")
    key = values[0].strip(" \t")
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not _KEY.fullmatch(key):
        raise Unreadable(
            "Idempotency-Key header",
            why=f"send 1 to {KEY_MAX} visible ASCII characters without blanks, such as a UUID",
        )
    return key


def digest(method: str, path: str, body: bytes) -> bytes:
    """
    What makes a request the same as another one.

    Args:
        method: Of HTTP, in capitals.
        path: The address with its ids, without the query.
        body: JSON that was read before, so it can be read.

    Returns:
        16 bytes.
    """
    meaning = msgspec.json.encode(msgspec.json.decode(body), order="deterministic") if body else b""
    hashed = blake2b(digest_size=16, person=b"order request")
    for part in (method.encode(), path.encode(), meaning):
        hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed.digest()
