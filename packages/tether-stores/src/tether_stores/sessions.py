"""Sessions of the console: one short function per query of `sessions.sql`, which describes their life cycle."""

from datetime import datetime
from typing import Final

import msgspec

from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.rows import fetch_one

__all__ = ["Session", "add", "find", "mark_used", "prune", "remove", "remove_of_api_key", "remove_of_user"]

_SQL: Final = load("sessions")
_PRUNED: Final = 100


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """
    A session that has not ended.

    Attributes:
        holder: The name of the API key it was begun with, or "user:" and the id of the user.
        last_used_at: When it was last noted as used; up to some minutes ago even while it is in use.
        user_id: The user; `None` for an API key.
        api_key_id: The key of the database; `None` for a user, and for a key of the environment.
        second_factor: Whether a code of the second factor was accepted.
        provider_factors: How many factors the identity provider checked; `None` for a session that it did not begin.
    """

    holder: str
    last_used_at: datetime
    user_id: int | None = None
    api_key_id: int | None = None
    second_factor: bool = False
    provider_factors: int | None = None


async def add(
    conn: Connection,
    *,
    token_digest: bytes,
    holder: str,
    user_id: int | None = None,
    api_key_id: int | None = None,
    second_factor: bool = False,
    provider_factors: int | None = None,
    now: datetime,
) -> None:
    """Begin a session."""
    await conn.execute(
        _SQL["add"],
        {
            "token_digest": token_digest,
            "holder": holder,
            "user_id": user_id,
            "api_key_id": api_key_id,
            "second_factor": second_factor,
            "provider_factors": provider_factors,
            "now": now,
        },
    )


async def find(
    conn: Connection, *, token_digest: bytes, used_after: datetime, begun_after: datetime
) -> Session | None:
    """The session of a token, `None` where there is none or it has ended by itself."""
    given = {"token_digest": token_digest, "used_after": used_after, "begun_after": begun_after}
    return await fetch_one(conn, _SQL["find"], given, into=Session)


async def mark_used(conn: Connection, *, token_digest: bytes, now: datetime) -> None:
    """Note that a session was used."""
    await conn.execute(_SQL["mark_used"], {"token_digest": token_digest, "now": now})


async def remove(conn: Connection, *, token_digest: bytes) -> None:
    """End a session; one that does not exist has ended already."""
    await conn.execute(_SQL["remove"], {"token_digest": token_digest})


async def remove_of_user(conn: Connection, user_id: int, *, kept: bytes | None = None) -> None:
    """
    End the sessions of a user.

    Args:
        kept: The digest of the token of a session that goes on; `None` for none.
    """
    await conn.execute(_SQL["remove_of_user"], {"user_id": user_id, "kept": kept})


async def remove_of_api_key(conn: Connection, key_id: int) -> None:
    """End the sessions of a key of the database."""
    await conn.execute(_SQL["remove_of_api_key"], {"key_id": key_id})


async def prune(conn: Connection, *, idle_before: datetime, before: datetime) -> None:
    """Remove some sessions that were last used, or begun, before a time."""
    await conn.execute(_SQL["prune"], {"idle_before": idle_before, "before": before, "limit": _PRUNED})
