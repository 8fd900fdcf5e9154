"""
Texts that are sealed under `TETHER_SECRETS_KEY`, and their change to another key; the queries are in `secrets_key.sql`.

The setting lists keys, the one to write with first. A text that the first key opens is **current**, one that only a later key opens is
**former**, and one that none opens is **unopenable**. Sealing a former text anew keeps what it says and when it was sealed; what binds it to its row is
inside of it.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, LiteralString, TypeAlias, get_args

import msgspec
from cryptography.fernet import InvalidToken, MultiFernet
from tether_core.errors import InvalidRequest

from tether_stores.accounts.gateway_accounts import opened_keys
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_value

__all__ = [
    "SEALED",
    "Resealed",
    "SealedCounts",
    "SealedKind",
    "SealedText",
    "counted",
    "replace",
    "resealed",
    "texts",
]

SealedKind: TypeAlias = Literal["accounts", "subscribers", "second_factors", "quarantine"]
SEALED: Final[tuple[SealedKind, ...]] = get_args(SealedKind)

_SQL: Final = load("secrets_key")
# The least key of a row, by kind.
_FIRST: Final[dict[SealedKind, str | int]] = {
    "accounts": "",
    "subscribers": 0,
    "second_factors": 0,
    "quarantine": 0,
}
_RESEAL: Final[dict[SealedKind, LiteralString]] = {
    "accounts": _SQL["reseal_accounts"],
    "subscribers": _SQL["reseal_subscribers"],
    "second_factors": _SQL["reseal_second_factors"],
    "quarantine": _SQL["reseal_quarantine"],
}


class SealedText(msgspec.Struct, frozen=True):
    """
    A sealed text of a row.

    Attributes:
        key: Of the row: the name of a gateway account, else its id.
        sealed: The text, encrypted.
    """

    key: str | int
    sealed: bytes


class Resealed(msgspec.Struct, frozen=True):
    """
    A former text and what replaces it.

    Attributes:
        key: Of the row.
        before: The text as it was read.
        after: The same, sealed under the first key.
    """

    key: str | int
    before: bytes
    after: bytes


class SealedCounts(msgspec.Struct, frozen=True):
    """
    How many texts there are.

    Attributes:
        current: Those that the first key opens.
        former: Those that only a later key opens.
        unopenable: Those that no key opens.
    """

    current: int = 0
    former: int = 0
    unopenable: int = 0

    def __add__(self, other: "SealedCounts") -> "SealedCounts":
        """Both together."""
        return SealedCounts(
            self.current + other.current, self.former + other.former, self.unopenable + other.unopenable
        )


async def texts(
    conn: Connection, kind: SealedKind, *, after: str | int | None, limit: int
) -> list[SealedText]:
    """
    The next texts of a kind, in the order of their keys.

    Args:
        after: The key of the last one before; `None` to begin.
    """
    given = {"after": _FIRST[kind] if after is None else after, "limit": limit}
    cursor = await conn.execute(_SQL[kind], given, binary=True)
    return [SealedText(key, bytes(sealed)) for key, sealed in await cursor.fetchall()]


def _opened(keys: Sequence[str]) -> tuple[MultiFernet, MultiFernet]:
    first, every = opened_keys(keys[:1]), opened_keys(keys)
    if first is None or every is None:
        raise InvalidRequest(
            "is not set, so nothing is sealed; `tether-worker accounts new-key` prints a key",
            field="TETHER_SECRETS_KEY",
        )
    return first, every


def counted(some: Sequence[SealedText], *, keys: Sequence[str]) -> SealedCounts:
    """
    How many texts are current, former and unopenable.

    Args:
        keys: `TETHER_SECRETS_KEY`, the one to write with first.

    Raises:
        InvalidRequest: without a usable key.
    """
    first, every = _opened(keys)
    current = sum(_opens(first, text) for text in some)
    openable = sum(_opens(every, text) for text in some)
    return SealedCounts(current, openable - current, len(some) - openable)


def resealed(some: Sequence[SealedText], *, keys: Sequence[str]) -> Iterator[Resealed]:
    """
    The former texts, sealed under the first key.

    Args:
        keys: `TETHER_SECRETS_KEY`, the one to write with first.

    Raises:
        InvalidRequest: without a usable key.
    """
    first, every = _opened(keys)
    for text in some:
        if not _opens(first, text) and _opens(every, text):
            yield Resealed(text.key, text.sealed, every.rotate(text.sealed))


def _opens(keys: MultiFernet, text: SealedText) -> bool:
    try:
        keys.decrypt(text.sealed)
    except InvalidToken:
        return False
    return True


async def replace(conn: Connection, kind: SealedKind, some: Sequence[Resealed]) -> int:
    """Replace texts; those whose row has changed since, or is held by another transaction, are passed over. Returns how many were replaced."""
    if not some:
        return 0
    given = {
        "keys": [text.key for text in some],
        "befores": [text.before for text in some],
        "afters": [text.after for text in some],
    }
    return await fetch_value(conn, _RESEAL[kind], given, into=int)
