"""Who may use the API: holders of a key (`Authorization: Bearer <key>`), and pages of the console by their session."""

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
    """The configured keys, held as digests so that a comparison takes the same time whatever it is given."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Take name -> key."""
        self.holders = frozenset(keys)
        self._digests = [(name, _digest(key)) for name, key in keys.items()]

    def holder(self, authorization: str) -> str | None:
        """
        Whose key an Authorization header carries.

        Args:
            authorization: The header's value.

        Returns:
            The key's name, or `None`. Every configured key is compared, so time says nothing about which.
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
    """Who is signed in to the console, for requests of its own pages."""
    token = connection.cookies.get(sessions.COOKIE, "")
    if not token or not (connection.scope["method"] == "GET" or sessions.is_own_page(connection.headers)):  # type: ignore[typeddict-item]
        return None
    return await sessions.holder(connection.app.state, token=token)


class ApiKeys(AbstractAuthenticationMiddleware):
    """Lets requests with a configured key through; `request.user` is the key's name."""

    @override
    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:  # type: ignore[type-arg]
        """Find out whose key the request carries, or refuse it."""
        keys: KeyRing = connection.app.state.key_ring
        holder = keys.holder(connection.headers.get("authorization", "")) or await _by_session(connection)
        if holder is None:
            raise NotAuthorizedException(
                "Send 'Authorization: Bearer <key>' with a key of TETHER_API_KEYS",
                headers={"WWW-Authenticate": 'Bearer realm="tether"'},
            )
        return AuthenticationResult(user=holder, auth=None)
