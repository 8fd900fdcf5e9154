"""
Relays: further addresses for notifications, each of one gateway account.

A relay has a name and a token. The holder of its address (the gateway, for one account; a partner whose proxy forwards) posts to the route of
notifications with the token below it. There, only the passwords of the relay's account verify, so that what a partner forwards is never taken for a
notification of another account, even if the partner knew another password. A token grants nothing but to be heard: without a signature nothing is recorded.

The token is `relay_` and 43 random characters; scanners for secrets find it by the prefix. It has 256 random bits, so its plain SHA-256 digest is
what is stored.

>>> token = written(bytes(32))
>>> token
'relay_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
>>> digest(token) is not None, digest(token[:-1]), digest("relay_")
(True, None, None)
>>> credentials_of(Relay(1, "partner", "shop"), [Credential("default", passwords=("a",)), Credential("shop", passwords=("b",))])
(Credential(account='shop', passwords=<1>),)
>>> require_name("A partner")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: name: Use 1 to 32 of a-z, 0-9, hyphen and underscore, a letter or digit first.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from tether_core.emp.signature import Credential
from tether_core.errors import InvalidRequest

__all__ = ["RANDOM_BYTES", "RELAYS_MAX", "Relay", "credentials_of", "digest", "require_name", "written"]

RANDOM_BYTES: Final = 32
# Relays that are not revoked; all of them are in the memory of each web process.
RELAYS_MAX: Final = 1_000
_FORM: Final = re.compile(r"relay_[A-Za-z0-9_-]{43}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class Relay(msgspec.Struct, frozen=True):
    """
    A relay that is not revoked.

    Attributes:
        id: Its row.
        name: By which people know it.
        account: Its gateway account; credentials of former logins have the same.
    """

    id: int
    name: str
    account: str


def written(random: bytes) -> str:
    """
    A token.

    Args:
        random: 32 random bytes.
    """
    return f"relay_{base64.urlsafe_b64encode(random).rstrip(b'=').decode()}"


def digest(token: str) -> bytes | None:
    """
    The digest under which a token is stored.

    Args:
        token: The last part of a path.

    Returns:
        32 bytes; `None` where the text is not a token.
    """
    return hashlib.sha256(token.encode()).digest() if _FORM.fullmatch(token) else None


def credentials_of(relay: Relay, credentials: Iterable[Credential]) -> tuple[Credential, ...]:
    """
    The credentials that verify a notification of a relay.

    Args:
        relay: Where it came.
        credentials: Of all accounts.

    Returns:
        Those of the relay's account; none if the account is no longer configured, so that nothing is genuine.
    """
    return tuple(credential for credential in credentials if credential.account == relay.account)


def require_name(name: str) -> str:
    """
    The name of a relay.

    Args:
        name: As a person wrote it.

    Raises:
        InvalidRequest: when it has other characters, or more than 32.
    """
    given = name.strip()
    if not _NAME.fullmatch(given):
        raise InvalidRequest(
            "use 1 to 32 of a-z, 0-9, hyphen and underscore, a letter or digit first", field="name"
        )
    return given
