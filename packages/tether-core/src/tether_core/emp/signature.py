"""
Signatures of notifications: a plain hash over an id and a shared secret.

The gateway signs `hash(id + API password)`, hex, without a separator. The hash is SHA-1 unless the merchant
asked for SHA-256 or SHA-512; the length of the signature shows which (40, 64 or 128 digits).

What it covers: **only the id**. Status, amount and event are not signed, and every notification of one
payment carries the same signature, so anyone who has seen one can write others. A genuine signature therefore
makes a notification worth recording; `tether_core.payments.attempt` says which reported statuses the gateway must confirm first.

Source: Genesis API documentation v60.1, Notifications; algorithm by length since v40.2 (2023-06).

>>> credential = Credential("default", login="merchant", passwords=("bogus",))
>>> verify("fc6c3c8c0219730c7a099eaa540f70dc", "08d01ae1ebdc22b6a1a764257819bb26e9e94e8d", credentials=[credential])
'default'
>>> verify("fc6c3c8c0219730c7a099eaa540f70dc", "00" * 20, credentials=[credential])
Traceback (most recent call last):
    ...
tether_core.errors.SignatureMismatch: The signature matches none of the configured gateway passwords; ...
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

import msgspec

from tether_core.errors import SignatureMismatch

__all__ = ["Credential", "Verified", "password_tag", "sharing", "sign", "verified_by", "verify"]

_HASH_BY_DIGITS: Final = {40: hashlib.sha1, 64: hashlib.sha256, 128: hashlib.sha512}


class Credential(msgspec.Struct, frozen=True):
    """
    What one gateway account signs with.

    Attributes:
        account: Our name for the account, e.g. "default".
        login: Its API login; since v36.4 (2022-06) identity-check notifications may be signed with it.
        passwords: Its active API passwords, one normally, two while a change is under way.
        terminal_tokens: Terminals of the account; they only order the candidates, the signature decides.
    """

    account: str
    login: str = ""
    passwords: tuple[str, ...] = ()
    terminal_tokens: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Name the account and hide every secret."""
        return f"Credential(account={self.account!r}, passwords=<{len(self.passwords)}>)"


class Verified(msgspec.Struct, frozen=True):
    """
    What a signature was made with.

    Attributes:
        account: `Credential.account`.
        secret: The password, or the login, that made it.
    """

    account: str
    secret: str

    def __repr__(self) -> str:
        """Name the account and hide the secret."""
        return f"Verified(account={self.account!r})"


def sign(notification_id: str, *, secret: str, digits: int = 40) -> str:
    """
    The signature the gateway would put on *notification_id*.

    Args:
        notification_id: The id that is hashed; see `tether_core.emp.notification` for which field that is.
        secret: An API password.
        digits: 40, 64 or 128 hex digits: SHA-1, SHA-256 or SHA-512.

    Returns:
        Lower-case hex.
    """
    return _HASH_BY_DIGITS[digits]((notification_id + secret).encode()).hexdigest()


def verify(
    notification_id: str,
    signature: str,
    *,
    credentials: Iterable[Credential],
    terminal_token: str | None = None,
    with_login: bool = False,
) -> str:
    """
    The account whose secret made *signature*, compared in constant time per secret.

    Args:
        notification_id: The id the gateway hashed.
        signature: What came in the notification; blanks around it and upper case make no difference.
        credentials: The accounts that may have signed. None configured means nothing is genuine.
        terminal_token: The notification's own hint; accounts that hold it are tried first, no more than that.
        with_login: Whether the account's login counts as a secret too (identity checks only).

    Returns:
        `Credential.account` of the first match.

    Raises:
        SignatureMismatch: when no secret fits, or the length belongs to no hash.
    """
    return verified_by(
        notification_id,
        signature,
        credentials=credentials,
        terminal_token=terminal_token,
        with_login=with_login,
    ).account


def verified_by(
    notification_id: str,
    signature: str,
    *,
    credentials: Iterable[Credential],
    terminal_token: str | None = None,
    with_login: bool = False,
) -> Verified:
    """
    The account and the secret that made *signature*, compared as by `verify`.

    Args:
        notification_id: The id the gateway hashed.
        signature: What came in the notification.
        credentials: The accounts that may have signed.
        terminal_token: The notification's own hint; accounts that hold it are tried first.
        with_login: Whether the account's login counts as a secret too.

    Returns:
        The first match.

    Raises:
        SignatureMismatch: when no secret fits, or the length belongs to no hash.

    >>> credential = Credential("default", passwords=("bogus", "former"))
    >>> found = verified_by("44177a21", sign("44177a21", secret="former"), credentials=[credential])
    >>> found.account, found.secret == "former", found
    ('default', True, Verified(account='default'))
    """
    given = signature.strip().lower().encode("utf-8", "replace")
    hashed = _HASH_BY_DIGITS.get(len(given))
    if hashed is None:
        raise SignatureMismatch
    subject = notification_id.encode("utf-8", "surrogatepass")
    for credential in sorted(credentials, key=lambda c: terminal_token not in c.terminal_tokens):
        secrets = credential.passwords
        if with_login and credential.login:
            secrets = (*secrets, credential.login)
        for secret in secrets:
            if not secret:
                continue  # an empty password would make every id its own signature
            expected = hashed(subject + secret.encode()).hexdigest().encode()
            if hmac.compare_digest(expected, given):
                return Verified(credential.account, secret)
    raise SignatureMismatch


def sharing(found: Verified, credentials: Iterable[Credential]) -> tuple[str, ...]:
    """
    The other accounts with the same password: terminals of one login. The signature does not say which of them is meant.

    Args:
        found: From `verified_by`.
        credentials: Of all accounts.

    Returns:
        Their names in the order of the credentials; none for most installations. A former login of an account has its name.

    >>> credentials = [Credential(name, passwords=(word,)) for name, word in (("default", "a"), ("second", "a"), ("third", "b"))]
    >>> sharing(Verified("default", "a"), credentials), sharing(Verified("third", "b"), credentials)
    (('second',), ())
    """
    same = (other.account for other in credentials if found.secret in other.passwords)
    return tuple(name for name in dict.fromkeys(same) if name != found.account)


def password_tag(secret: str, *, account: str) -> str:
    """
    The tag by which people distinguish the passwords of an account.

    It has 32 bits of a digest: enough to distinguish a few passwords, and less about one than any signature that it made.

    Args:
        secret: A password, or a login.
        account: `Credential.account`.

    Returns:
        Eight hex digits.

    >>> password_tag("bogus", account="default") == password_tag("bogus", account="second")
    False
    """
    text = f"{account}\0{secret}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=4, person=b"password tag").hexdigest()
