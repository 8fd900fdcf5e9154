"""
Operator, accounts and users of a NATS server, as `nsc` makes them: each is a key, and a JWT that the one above has signed.

Source: NATS, "Decentralized JWT Authentication/Authorization"; the keys and their checksum are those of the library nkeys.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["NatsAccounts"]

_PREFIXES = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
_SEED = 18 << 3
_UNLIMITED = dict.fromkeys(
    ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage"), -1
)


class _Identity:
    def __init__(self, kind: Literal["operator", "account", "user"]) -> None:
        self.kind = kind
        self.key = Ed25519PrivateKey.generate()
        self._prefix = _PREFIXES[kind]

    @property
    def name(self) -> str:
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _text(bytes([self._prefix]) + public)

    @property
    def seed(self) -> str:
        private = self.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return _text(bytes([_SEED | self._prefix >> 5, (self._prefix & 31) << 3]) + private)

    def sign(self, subject: _Identity, **claims: Any) -> str:
        nats = {"type": subject.kind, "version": 2, **claims}
        payload = {"jti": subject.name, "iat": 0, "iss": self.name, "sub": subject.name, "nats": nats}
        text = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(payload)}"
        return f"{text}.{_bare(self.key.sign(text.encode()))}"


class NatsAccounts:
    """An operator with an account for the system, one for events, and users."""

    def __init__(self) -> None:
        self._operator = _Identity("operator")
        self._system, self._events = _Identity("account"), _Identity("account")

    def config(self) -> str:
        """Lines for the configuration of the server."""
        limits = {"limits": {**_UNLIMITED, "wildcards": True, "streams": -1, "consumer": -1}}
        operator = self._operator.sign(self._operator, system_account=self._system.name)
        accounts = "\n".join(
            f"  {account.name}: {self._operator.sign(account, **claims)}"
            for account, claims in ((self._system, {}), (self._events, limits))
        )
        return (
            f"operator: {operator}\nsystem_account: {self._system.name}\nresolver: MEMORY\n"
            f"resolver_preload {{\n{accounts}\n}}\n"
        )

    def options(self) -> dict[str, Callable[..., bytes]]:
        """Options of the library by which a new user connects."""
        user = _Identity("user")
        jwt = _signed(self._events, user)
        return {
            "user_jwt_cb": jwt.encode,
            "signature_cb": lambda nonce: base64.b64encode(user.key.sign(nonce.encode())),
        }

    def user(self, path: Path, *, is_known: bool = True) -> Path:
        """
        Write the file of credentials of a new user.

        Args:
            is_known: Whether the account for events has signed them, and not another one.
        """
        user = _Identity("user")
        jwt = _signed(self._events if is_known else _Identity("account"), user)
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        return path


def _signed(account: _Identity, user: _Identity) -> str:
    return account.sign(user, pub={}, sub={}, subs=-1, data=-1, payload=-1)


def _text(key: bytes) -> str:
    checked = key + binascii.crc_hqx(key, 0).to_bytes(2, "little")
    return base64.b32encode(checked).decode().rstrip("=")


def _part(value: dict[str, Any]) -> str:
    return _bare(json.dumps(value).encode())


def _bare(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
