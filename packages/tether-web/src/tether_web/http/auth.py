"""Authentication: API keys (`Authorization: Bearer <key>`), and sessions of the console."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import TypeAlias

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from tether_core.people import key_format
from tether_core.people.addresses import client_address
from tether_stores.people import api_keys
from tether_stores.postgres import connection as connected
from typing_extensions import override

from tether_web.http import sessions
from tether_web.http.sessions import Caller

__all__ = ["ApiKeys", "ApiRequest", "KeyRing", "address_of", "by_key", "caller_of"]

# A request of the API: `user` is the name of the caller, `auth` the caller.
ApiRequest: TypeAlias = Request[str, Caller, State]


class KeyRing:
    """The configured keys, stored as digests so that the time of a comparison does not depend on the input."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Take name -> key."""
        self.holders = frozenset(keys)
        self._digests = [(name, _digest(key)) for name, key in keys.items()]

    def holder(self, authorization: str) -> str | None:
        """
        The name of the key in an Authorization header.

        Args:
            authorization: The header's value.

        Returns:
            The key's name, or `None`. Every configured key is compared, so timing does not reveal which one matched.
        """
        scheme, _, key = authorization.partition(" ")
        given = _digest(key.strip())
        found = None
        for name, digest in self._digests:
            if hmac.compare_digest(digest, given):
                found = name
        return found if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def address_of(connection: ASGIConnection) -> str | None:  # type: ignore[type-arg]
    """The IP address of the client, past the proxies of `TETHER_TRUSTED_PROXIES`; `None` without one."""
    peer = connection.scope["client"]
    forwarded_for = ",".join(connection.headers.getall("x-forwarded-for", []))
    return client_address(
        peer[0] if peer else None, forwarded_for, trusted=connection.app.state.trusted_proxies
    )


async def by_key(state: State, authorization: str, *, address: str | None) -> Caller | None:
    """
    Whose key an Authorization header holds.

    Args:
        authorization: The header's value; "" without one.

    Returns:
        The caller; `None` where the key is unknown, revoked or expired. Postgres is asked only about what has the form of a key.

    Raises:
        StoreUnreachable: when Postgres is unavailable; keys of the environment need none.
    """
    keys: KeyRing = state.key_ring
    name = keys.holder(authorization)
    if name is not None:
        return sessions.of_environment(name, address=address)
    scheme, _, text = authorization.partition(" ")
    digest = key_format.digest(text.strip()) if scheme.lower() == "bearer" else None
    if digest is None:
        return None
    now = state.clock()
    async with connected(state.pool) as conn:
        key = await api_keys.by_digest(conn, digest)
        if key is None or not api_keys.is_valid(key, now=now):
            return None
        await api_keys.mark_used(conn, key, now=now)
    return sessions.of_api_key(key, address=address)


async def _by_session(connection: ASGIConnection, *, address: str | None) -> Caller | None:  # type: ignore[type-arg]
    """The person of a session, for requests of the console's own pages; the sign-in must be complete."""
    token = connection.cookies.get(sessions.COOKIE, "")
    if not token or not (connection.scope["method"] == "GET" or sessions.is_own_page(connection.headers)):  # type: ignore[typeddict-item]
        return None
    caller = await sessions.found(connection.app.state, token=token, address=address)
    return caller if caller is not None and caller.step == "complete" else None


async def caller_of(connection: ASGIConnection) -> Caller | None:  # type: ignore[type-arg]
    """Who sends a request, as of now; `None` where neither a valid key nor a complete session is with it."""
    address = address_of(connection)
    given = connection.headers.get("authorization", "")
    return await by_key(connection.app.state, given, address=address) or await _by_session(
        connection, address=address
    )


class ApiKeys(AbstractAuthenticationMiddleware):
    """Authentication middleware: accepts requests with a valid key or a session; see `ApiRequest`."""

    @override
    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:  # type: ignore[type-arg]
        """Identify the caller of the request, or answer 401."""
        caller = await caller_of(connection)
        if caller is None:
            raise NotAuthorizedException(
                "Send 'Authorization: Bearer <key>' with a valid API key: one of TETHER_API_KEYS, or one that an administrator created",
                headers={"WWW-Authenticate": 'Bearer realm="tether"'},
            )
        return AuthenticationResult(user=caller.actor.label, auth=caller)
