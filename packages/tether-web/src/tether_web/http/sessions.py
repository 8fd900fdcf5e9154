"""
Sessions of the console: a cookie that names a row in Postgres, for a person who signed in with an API key.

The cookie holds a random token; the row holds only its digest, so that who reads the table can sign in nowhere. A session ends when it was
idle for half a day, after a week in any case, when its person signs out, and when its key is no longer configured.

Requests that change something count only from pages of this address: the browser says so in `Sec-Fetch-Site`, or in
`Origin` where it is older. Source: OWASP, Cross-Site Request Forgery Prevention, Fetch Metadata.
"""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from litestar.datastructures import Cookie, State
from tether_stores import sessions
from tether_stores.postgres import connection, transaction

__all__ = ["COOKIE", "IDLE", "LIFETIME", "begin", "cookie", "end", "holder", "is_own_page"]

COOKIE: Final = "tether_session"
IDLE: Final = timedelta(hours=12)
LIFETIME: Final = timedelta(days=7)
# A session is marked as used this often at most, so that reading pages writes next to nothing.
_MARK_AFTER: Final = timedelta(minutes=5)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def begin(state: State, *, holder: str) -> str:
    """Begin a session for the holder of an API key; returns the cookie's token."""
    token = secrets.token_urlsafe(32)
    now = state.clock()
    async with transaction(state.pool) as conn:
        await sessions.prune(conn, idle_before=now - IDLE, before=now - LIFETIME)
        await sessions.add(conn, token_digest=_digest(token), holder=holder, now=now)
    return token


async def end(state: State, *, token: str) -> None:
    """End a session; one that does not exist has ended already."""
    async with transaction(state.pool) as conn:
        await sessions.remove(conn, token_digest=_digest(token))


async def holder(state: State, *, token: str) -> str | None:
    """
    Whose session a token names.

    Returns:
        The name of the API key, or `None` where the session has ended or its key is configured no longer.
    """
    now = state.clock()
    digest = _digest(token)
    async with connection(state.pool) as conn:
        found = await sessions.find(
            conn, token_digest=digest, used_after=now - IDLE, begun_after=now - LIFETIME
        )
        if found is None or found.holder not in state.key_ring.holders:
            return None
        if found.last_used_at < now - _MARK_AFTER:
            await sessions.mark_used(conn, token_digest=digest, now=now)
    return found.holder


def cookie(token: str, *, is_secure: bool) -> Cookie:
    """The cookie of a session; an empty token removes it."""
    return Cookie(
        COOKIE,
        value=token,
        max_age=int(LIFETIME.total_seconds()) if token else 0,
        path="/",
        httponly=True,
        secure=is_secure,
        samesite="strict",
    )


def is_own_page(headers: Mapping[str, str]) -> bool:
    """
    Whether a request was made by a page of this address.

    Args:
        headers: By lower-case name.

    >>> is_own_page({"sec-fetch-site": "same-origin"}), is_own_page({"sec-fetch-site": "cross-site"})
    (True, False)
    >>> is_own_page({"origin": "https://tether.example", "host": "tether.example"}), is_own_page({"host": "tether.example"})
    (True, False)
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    _, _, address = headers.get("origin", "").partition("://")
    return bool(address) and address == headers.get("host")
