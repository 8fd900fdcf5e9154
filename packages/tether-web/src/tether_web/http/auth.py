"""Authentication: API keys (`Authorization: Bearer <key>`, compared in constant time), and sessions of the console."""

import hashlib
import hmac
from collections.abc import Mapping

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from typing_extensions import override

from tether_web.http import sessions

__all__ = ["ApiKeys", "KeyRing"]


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


async def _by_session(connection: ASGIConnection) -> str | None:  # type: ignore[type-arg]
    """The name of the key with which a person signed in to the console, for requests of its own pages."""
    token = connection.cookies.get(sessions.COOKIE, "")
    if not token or not (connection.scope["method"] == "GET" or sessions.is_own_page(connection.headers)):  # type: ignore[typeddict-item]
        return None
    return await sessions.holder(connection.app.state, token=token)


class ApiKeys(AbstractAuthenticationMiddleware):
    """Authentication middleware: accepts requests with a configured key or a session; `request.user` is the key's name."""

    @override
    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:  # type: ignore[type-arg]
        """Identify the key of the request, or answer 401."""
        keys: KeyRing = connection.app.state.key_ring
        holder = keys.holder(connection.headers.get("authorization", "")) or await _by_session(connection)
        if holder is None:
            raise NotAuthorizedException(
                "Send 'Authorization: Bearer <key>' with a key of TETHER_API_KEYS",
                headers={"WWW-Authenticate": 'Bearer realm="tether"'},
            )
        return AuthenticationResult(user=holder, auth=None)
