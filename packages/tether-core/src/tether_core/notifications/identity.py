"""
Which deliveries are the same notification.

The gateway repeats a notification until it is acknowledged, and one payment sends many under one id and one
signature. So the **key** of a notification consists of all fields that distinguish notifications: the gateway
account, the kind, the id, the status, the event, and the dispute's own id where there is one. The id alone is never the key. A digest of the
whole **content** is stored with the key: the same key with other content is shown to a person. A delivery is therefore one of four:

- *recorded*: the key was new;
- *repeated*: the key and the content are stored, nothing more happens;
- *conflicting*: the key is stored with other content; kept aside, acknowledged, not applied;
- *counted*: it is beyond what is kept of its payment or key (`tether_core.notifications.excess_deliveries`); its count is stored.

>>> from tether_core.emp.notification import FORM, decode
>>> first = decode(b"unique_id=44177a21&signature=ab&status=pending_async", content_type=FORM)
>>> later = decode(b"unique_id=44177a21&signature=ab&status=approved", content_type=FORM)
>>> identify(first, account="default").key == identify(later, account="default").key
False
>>> again = decode(b'{"status":"approved","unique_id":"44177a21","signature":"AB"}', content_type="application/json")
>>> identify(later, account="default") == identify(again, account="default")  # the transport does not matter
True
"""

import hashlib
from typing import Final, Literal

import msgspec

from tether_core.emp.notification import Notification

__all__ = ["Delivery", "Identity", "identify"]

Delivery = Literal["recorded", "repeated", "conflicting", "counted"]

_encode: Final = msgspec.msgpack.Encoder(order="sorted").encode


class Identity(msgspec.Struct, frozen=True):
    """
    What makes a notification itself.

    Attributes:
        key: 16 bytes; equal for all deliveries of one notification, unlike for any two others.
        content: 16 bytes; equal when every field but the signature is equal, in whatever order they came.
    """

    key: bytes
    content: bytes


def identify(notification: Notification, *, account: str) -> Identity:
    """
    The key and the content digest of a notification.

    The signature is excluded from the content: it says the same with SHA-1 today and SHA-256 tomorrow.

    Args:
        notification: Decoded, and verified before anything is done with the result.
        account: The account whose secret verified it, so that two accounts never share a key.

    Returns:
        Two digests of 16 bytes each.
    """
    key = (
        account,
        notification.kind,
        notification.id,
        notification.status,
        notification.event or "",
        notification.chargeback_id or "",
    )
    content = {name: value for name, value in notification.fields.items() if name != "signature"}
    return Identity(_digest(key), _digest(content))


def _digest(value: object) -> bytes:
    # MessagePack writes a length before each part: ("ab", "c") and ("a", "bc") must differ.
    return hashlib.blake2b(_encode(value), digest_size=16).digest()
