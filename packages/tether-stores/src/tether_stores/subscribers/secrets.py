"""
The secrets that sign deliveries, encrypted under `TETHER_SECRETS_KEY`.

A secret has the form of Standard Webhooks: `whsec_` and 32 random bytes in base64. The encrypted text names its subscriber, so a row
cannot be given the secrets of another.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.fernet import InvalidToken
from tether_core.errors import InvalidRequest

from tether_stores.accounts.gateway_accounts import opened_keys

__all__ = ["SECRET_BYTES", "opened", "sealed", "written"]

SECRET_BYTES: Final = 32


class _Sealed(msgspec.Struct, frozen=True):
    subscriber_id: int
    secrets: tuple[str, ...]


def written(random: bytes) -> str:
    """
    A secret from random bytes.

    Args:
        random: `SECRET_BYTES` bytes.
    """
    return "whsec_" + b64encode(random).decode()


def sealed(subscriber_id: int, secrets: Sequence[str], *, keys: Sequence[str]) -> bytes:
    """
    The encrypted secrets of a subscriber.

    Args:
        secrets: The newest first; 1 or 2.
        keys: `TETHER_SECRETS_KEY`, the one to write with first.

    Raises:
        InvalidRequest: without a usable key.
    """
    fernet = opened_keys(keys)
    if fernet is None:
        raise InvalidRequest(
            "must be set by the operator to keep secrets of subscribers; `tether-worker accounts new-key` prints a key",
            field="TETHER_SECRETS_KEY",
        )
    return fernet.encrypt(msgspec.json.encode(_Sealed(subscriber_id, tuple(secrets))))


def opened(subscriber_id: int, text: bytes, *, keys: Sequence[str]) -> tuple[str, ...]:
    """
    The secrets of a subscriber, the newest first; none where no key opens them, or where they are those of another subscriber.

    Args:
        text: From `sealed`.
        keys: `TETHER_SECRETS_KEY`.
    """
    fernet = opened_keys(keys)
    if fernet is None or not text:
        return ()
    try:
        found = msgspec.json.decode(fernet.decrypt(text), type=_Sealed)
    except (InvalidToken, msgspec.DecodeError):
        return ()
    return found.secrets if found.subscriber_id == subscriber_id else ()
