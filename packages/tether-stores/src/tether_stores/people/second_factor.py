"""
The second factor: time-based codes (RFC 6238) of six digits, and backup codes.

The secret is encrypted under `TETHER_SECRETS_KEY`: who reads the database, or a backup of it, can make no code. A code is accepted in its
own half minute and in those beside it, because clocks of phones differ.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import pyotp
from cryptography.fernet import InvalidToken
from tether_core.errors import InvalidRequest

from tether_stores.accounts.gateway_accounts import opened_keys

__all__ = ["backup_code_digest", "new_backup_codes", "new_secret", "opened", "sealed", "step_of", "uri"]

_STEP_S: Final = 30
_DRIFT: Final = (0, -1, 1)
_CODES: Final = 10
# Without letters and digits that look alike.
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_CODE_LENGTH: Final = 12


def new_secret() -> str:
    """A new secret, in base32."""
    return pyotp.random_base32()


def uri(secret: str, *, name: str) -> str:
    """The address that an authenticator app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="Tether")


def step_of(secret: str, code: str, *, now: datetime) -> int | None:
    """
    The time step of a code.

    Args:
        code: As a person typed it; blanks are ignored.

    Returns:
        The number of its half minute since 1970; `None` where the code fits none of the three around *now*.
    """
    given = "".join(code.split())
    step, found = int(now.timestamp()) // _STEP_S, None
    for drift in _DRIFT:
        made = pyotp.TOTP(secret).at((step + drift) * _STEP_S)
        if hmac.compare_digest(made.encode(), given.encode("utf-8", "replace")):
            found = step + drift
    return found


def sealed(secret: str, *, user_id: int, keys: Sequence[str]) -> bytes:
    """
    A secret as it is stored.

    Args:
        user_id: Whose; the text names it, so that it fits no other row.
        keys: `TETHER_SECRETS_KEY`.

    Raises:
        InvalidRequest: without a usable key.
    """
    fernet = opened_keys(keys)
    if fernet is None:
        why = "set it to use second factors; `tether-worker accounts new-key` prints one"
        raise InvalidRequest(why, field="TETHER_SECRETS_KEY")
    return fernet.encrypt(f"{user_id}:{secret}".encode())


def opened(stored: bytes, *, user_id: int, keys: Sequence[str]) -> str:
    """
    The secret of a stored text.

    Raises:
        InvalidRequest: when no key opens it, or it belongs to another user.
    """
    fernet = opened_keys(keys)
    try:
        owner, _, secret = ("" if fernet is None else fernet.decrypt(stored).decode()).partition(":")
    except InvalidToken:
        owner, secret = "", ""
    if owner != str(user_id):
        why = "does not open this second factor; restore the key, or have an administrator remove the factor"
        raise InvalidRequest(why, field="TETHER_SECRETS_KEY")
    return secret


def new_backup_codes() -> list[str]:
    """Ten new backup codes, of 59 bits each."""
    return ["".join(secrets.choice(_ALPHABET) for _ in range(_CODE_LENGTH)) for _ in range(_CODES)]


def backup_code_digest(code: str) -> bytes:
    """
    The digest under which a backup code is stored.

    Args:
        code: As a person typed it; case, blanks and hyphens are ignored.
    """
    plain = "".join(sign for sign in code.lower() if sign.isalnum())
    return hashlib.sha256(plain.encode("utf-8", "replace")).digest()
