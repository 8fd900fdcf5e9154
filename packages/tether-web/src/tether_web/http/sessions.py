"""
Sessions of the console: a cookie that names a row in Postgres, for a person who signed in with a password or an API key.

The cookie holds a random token; the row holds only its digest, so that who reads the table can sign in nowhere. A session ends when it was
idle for half a day, after a week in any case, when its person signs out, and when its user or key ends or changes. Role, accounts and the next
step of the sign-in are read with each request, so a change counts at once. Each step of a sign-in begins a session with a token of its own: a
token that somebody planted or saw before it is worth nothing after it.

Requests that change something count only from pages of this address: the browser says so in `Sec-Fetch-Site`, or in
`Origin` where it is older. Source: OWASP, Cross-Site Request Forgery Prevention, Fetch Metadata.
"""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
from litestar.datastructures import Cookie, State
from tether_core.audit import Actor
from tether_core.people.roles import Role
from tether_core.people.sign_in import Proven, Step, next_step
from tether_stores import sessions
from tether_stores.people import api_keys, users
from tether_stores.people.api_keys import ApiKey
from tether_stores.people.users import User
from tether_stores.postgres import Connection, connection, transaction
from tether_stores.settings import Settings

__all__ = [
    "COOKIE",
    "IDLE",
    "LIFETIME",
    "Caller",
    "begin",
    "cookie",
    "end",
    "found",
    "is_own_page",
    "of_api_key",
    "of_environment",
    "of_user",
    "token_digest",
]

COOKIE: Final = "tether_session"
IDLE: Final = timedelta(hours=12)
LIFETIME: Final = timedelta(days=7)
# A session is marked as used this often at most, so that reading pages writes next to nothing.
_MARK_AFTER: Final = timedelta(minutes=5)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """
    Who sends a request.

    Attributes:
        actor: As the audit names it.
        role: What the caller may do.
        accounts: The gateway accounts to which the caller is limited; `None` for all.
        owner: Who answers for it: "user:7" for a user and the keys that this user created; otherwise the key or command itself.
        step: The next step of the sign-in; only a "complete" session may do anything else.
        provider_factors: How many factors the identity provider checked; `None` where it did not sign the caller in.
    """

    actor: Actor
    role: Role
    accounts: tuple[str, ...] | None
    owner: str
    step: Step = "complete"
    provider_factors: int | None = None


def of_environment(name: str, *, address: str | None) -> Caller:
    """The caller with a key of `TETHER_API_KEYS`."""
    actor = Actor("api_key", name, address=address)
    return Caller(actor=actor, role="admin", accounts=None, owner=f"environment:{name}")


def of_api_key(key: ApiKey, *, address: str | None) -> Caller:
    """The caller with a key of the database."""
    actor = Actor("api_key", key.name, id=key.id, address=address)
    return Caller(actor=actor, role=key.role, accounts=key.accounts, owner=key.owner)


def of_user(
    user: User,
    *,
    second_factor: bool,
    address: str | None,
    settings: Settings,
    provider_factors: int | None = None,
) -> Caller:
    """The caller of a session of a user."""
    proven = Proven(
        second_factor=second_factor,
        has_second_factor=user.second_factor is not None,
        is_temporary=user.is_temporary,
        provider_factors=provider_factors,
    )
    return Caller(
        actor=Actor("user", user.name, id=user.id, address=address),
        role=user.role,
        accounts=user.accounts,
        owner=f"user:{user.id}",
        step=next_step(proven, required=settings.second_factor == "required"),
        provider_factors=provider_factors,
    )


def token_digest(token: str) -> bytes:
    """The digest under which a session is stored."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def begin(
    conn: Connection, caller: Caller, *, second_factor: bool = False, replaces: str = "", now: datetime
) -> str:
    """
    Begin a session; returns the cookie's token.

    Args:
        second_factor: Whether a code of the second factor was accepted.
        replaces: The token that the browser had, which ends.
    """
    token = secrets.token_urlsafe(32)
    actor = caller.actor
    await sessions.prune(conn, idle_before=now - IDLE, before=now - LIFETIME)
    if replaces:
        await sessions.remove(conn, token_digest=token_digest(replaces))
    await sessions.add(
        conn,
        token_digest=token_digest(token),
        holder=f"user:{actor.id}" if actor.kind == "user" else actor.label,
        user_id=actor.id if actor.kind == "user" else None,
        api_key_id=actor.id if actor.kind == "api_key" else None,
        second_factor=second_factor,
        provider_factors=caller.provider_factors,
        now=now,
    )
    return token


async def end(state: State, *, token: str) -> None:
    """End a session; one that does not exist has ended already."""
    async with transaction(state.pool) as conn:
        await sessions.remove(conn, token_digest=token_digest(token))


async def found(state: State, *, token: str, address: str | None) -> Caller | None:
    """
    Whose session a token names.

    Returns:
        The caller as of now, or `None` where the session has ended, or its user or key may not sign in any more.
    """
    now: datetime = state.clock()
    digest = token_digest(token)
    async with connection(state.pool) as conn:
        session = await sessions.find(
            conn, token_digest=digest, used_after=now - IDLE, begun_after=now - LIFETIME
        )
        caller = None if session is None else await _caller(conn, session, state=state, address=address)
        if session is not None and caller is not None and session.last_used_at < now - _MARK_AFTER:
            await sessions.mark_used(conn, token_digest=digest, now=now)
    return caller


async def _caller(
    conn: Connection, session: sessions.Session, *, state: State, address: str | None
) -> Caller | None:
    if session.user_id is not None:
        user = await users.by_id(conn, session.user_id)
        if user is None or user.disabled_at is not None:
            return None
        return of_user(
            user,
            second_factor=session.second_factor,
            address=address,
            settings=state.settings,
            provider_factors=session.provider_factors,
        )
    if session.api_key_id is not None:
        key = await api_keys.by_id(conn, session.api_key_id)
        return (
            None
            if key is None or not api_keys.is_valid(key, now=state.clock())
            else of_api_key(key, address=address)
        )
    return (
        of_environment(session.holder, address=address) if session.holder in state.key_ring.holders else None
    )


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
