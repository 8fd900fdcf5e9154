"""
Passwords: Argon2id with the parameters of the library, which follow RFC 9106.

A hash takes 64 MiB and some tenths of a second, in a thread, two at a time: many tries at once must not take the memory of a node.
"""

import asyncio
import secrets
from typing import Final
from weakref import WeakKeyDictionary

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

__all__ = ["hashed", "needs_new_hash", "temporary", "verify"]

_AT_ONCE: Final = 2
_HASHER: Final = PasswordHasher()
# Compared where there is no such user, so that the time of an answer does not show which users exist. The hash of a random password.
_NOBODY: Final = _HASHER.hash(secrets.token_hex(16))
_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def hashed(password: str) -> str:
    """The hash of a password, with its salt and parameters."""
    async with _slot():
        return await asyncio.to_thread(_HASHER.hash, password)


async def verify(password_hash: str | None, password: str) -> bool:
    """
    Whether a password belongs to a hash.

    Args:
        password_hash: `None` where there is no user or no password; that takes as long, and is never true.
    """
    async with _slot():
        fits = await asyncio.to_thread(_fits, password_hash or _NOBODY, password)
    return fits and password_hash is not None


def _slot() -> asyncio.Semaphore:
    # A semaphore belongs to the loop that first waits for it; a process has one loop, and tests have many.
    return _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))


def _fits(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def needs_new_hash(password_hash: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(password_hash)


def temporary() -> str:
    """A random password of 20 characters for a first sign-in."""
    return secrets.token_urlsafe(15)
