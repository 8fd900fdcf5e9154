"""API keys of the database: one short function per query of `api_keys.sql`, which describes their rows."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from tether_core.people.roles import Role

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_all, fetch_one, fetch_value

__all__ = [
    "ApiKey",
    "add",
    "all_keys",
    "by_digest",
    "by_id",
    "hold",
    "is_taken",
    "is_valid",
    "mark_used",
    "revoke",
]

_SQL: Final = load("people/api_keys")
# A key is marked as used this often at most, so that requests write next to nothing.
_MARK_AFTER: Final = timedelta(minutes=5)


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """
    A key of a program, without its secret.

    Attributes:
        id: The row.
        name: Unique among keys that are not revoked.
        role: "viewer", "operator" or "admin".
        accounts: The gateway accounts to which the key is limited; null for all.
        owner: Who answers for it: "user:" and the id of the user who created it, or "command:" and the operating system's user.
        created_by: The name of the user or key that created it.
        created_at: When it was created.
        expires_at: When it ends by itself; null for never.
        last_used_at: The last use, up to some minutes late; null if it was never used.
        revoked_at: When it was revoked, or null.
        revoked_by: Who revoked it, or null.
    """

    id: int
    name: str
    role: Role
    accounts: tuple[str, ...] | None
    owner: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


def is_valid(key: ApiKey, *, now: datetime) -> bool:
    """Whether a key is neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def _key(*, accounts: list[str] | None, **columns: Any) -> ApiKey:
    return ApiKey(accounts=None if accounts is None else tuple(accounts), **columns)


async def all_keys(conn: Connection, *, limit: int) -> list[ApiKey]:
    """All keys, newest first."""
    return await fetch_all(conn, _SQL["all_keys"], {"limit": limit}, into=_key)


async def by_digest(conn: Connection, key_digest: bytes) -> ApiKey | None:
    """The key with a digest, valid or not."""
    return await fetch_one(conn, _SQL["by_digest"], {"key_digest": key_digest}, into=_key)


async def by_id(conn: Connection, key_id: int) -> ApiKey | None:
    """One key, valid or not."""
    return await fetch_one(conn, _SQL["by_id"], {"key_id": key_id}, into=_key)


async def hold(conn: Connection, key_id: int) -> ApiKey | None:
    """One key, locked for the transaction."""
    return await fetch_one(conn, _SQL["hold"], {"key_id": key_id}, into=_key)


async def add(
    conn: Connection,
    *,
    name: str,
    key_digest: bytes,
    role: Role,
    accounts: Sequence[str] | None,
    owner: str,
    created_by: str,
    expires_at: datetime | None,
    now: datetime,
) -> int | None:
    """Add a key; the id, or `None` where a key that is not revoked has the name."""
    parameters = {
        "name": name,
        "key_digest": key_digest,
        "role": role,
        "accounts": None if accounts is None else list(accounts),
        "owner": owner,
        "created_by": created_by,
        "expires_at": expires_at,
        "now": now,
    }
    row = await (await conn.execute(_SQL["add"], parameters)).fetchone()
    return None if row is None else int(row[0])


async def revoke(conn: Connection, key_id: int, *, revoked_by: str, now: datetime) -> None:
    """End a key."""
    await conn.execute(_SQL["revoke"], {"key_id": key_id, "revoked_by": revoked_by, "now": now})


async def mark_used(conn: Connection, key: ApiKey, *, now: datetime) -> None:
    """Note that a key was used, every five minutes at most."""
    before = now - _MARK_AFTER
    if key.last_used_at is None or key.last_used_at < before:
        await conn.execute(_SQL["mark_used"], {"key_id": key.id, "now": now, "used_before": before})


async def is_taken(conn: Connection, name: str) -> bool:
    """Whether a user, or a key that is not revoked, has a name; the audit could not distinguish two of one name."""
    return await fetch_value(conn, _SQL["is_taken"], {"name": name}, into=bool)
