"""
The identity provider: its discovery document, its keys, and the exchange of a code for an ID token.

Authorization code flow with PKCE (S256), state and nonce. What the provider publishes is kept for an hour. A token with a key that is not kept
causes one new fetch of the keys, once a minute at most, because strangers can send such tokens. After a failed fetch nobody waits again for some seconds.
Every answer is bounded in time and size, and redirects are not followed. Nothing of a code, token or claim is logged.

Only this module uses joserfc, which `tether-web[oidc]` brings; it is imported when a provider is configured.
Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 7636 (PKCE), RFC 9207 (`iss` of an answer), RFC 6749 2.3.1 (client secrets).
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jws
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import ECKey, KeySet, RSAKey
from tether_core.errors import Rejected, Unavailable
from tether_core.people.oidc import ALGORITHMS, is_provider_address, scope
from tether_stores.settings import Settings
from tether_stores.telemetry import logger

from tether_web.people.pending_sign_in import PendingSignIn

__all__ = ["CodeRefused", "Provider", "ProviderUnavailable", "TokenUnreadable", "opened"]

_log = logger("oidc")

_TIMEOUT_S: Final = 5.0
_DEADLINE_S: Final = 10.0
_ANSWER_MAX_BYTES: Final = 262_144
_KEPT_S: Final = 3_600.0
_KEYS_AGAIN_S: Final = 60.0
_RETRY_S: Final = 5.0
_KEYS_MAX: Final = 50
_KEY_TYPES: Final[dict[str, type[RSAKey] | type[ECKey]]] = {"RSA": RSAKey, "EC": ECKey}
# Codes of RFC 6749 5.2. Anything else that a provider writes there may hold more, and is not logged.
_KNOWN_ERRORS: Final = frozenset(
    "invalid_client invalid_grant invalid_request invalid_scope unauthorized_client unsupported_grant_type".split()
)
# Unknown header parameters are ignored, as RFC 7515 says; "crit" and the algorithm are checked.
_REGISTRY: Final = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)

_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError)

_What: TypeAlias = Literal["discovery", "keys", "token"]
_Read = TypeVar("_Read")


class ProviderUnavailable(Unavailable):
    """The identity provider gives no usable answer."""

    code = "provider_unavailable"
    retry_after_s = int(_RETRY_S)

    def __str__(self) -> str:
        return "The identity provider does not answer as it should. Try again in a minute, or sign in with a password."


class CodeRefused(Rejected):
    """
    The identity provider gives no token for the code.

    Attributes:
        error: Its error code; "other" for an unknown one.
    """

    code = "code_refused"

    def __init__(self, error: str) -> None:
        """Keep the error code."""
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        if self.error == "invalid_grant":
            return (
                "This way back from the identity provider was used before, or took too long. Sign in again."
            )
        return "The identity provider refuses this installation. The operator compares the settings TETHER_OIDC_* with those of its client there."


class TokenUnreadable(Rejected):
    """What the identity provider sent is no ID token that one of its keys signed."""

    code = "token_unreadable"

    def __str__(self) -> str:
        return "The identity provider's answer is no valid ID token. The operator compares the settings TETHER_OIDC_* with those of the client there."


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class _Keys(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class _Token(msgspec.Struct, frozen=True):
    id_token: str


class _Error(msgspec.Struct, frozen=True):
    error: str


class Provider:
    """The configured provider, for all sign-ins of a process."""

    def __init__(self, settings: Settings, *, client: httpx.AsyncClient, timer: Callable[[], float]) -> None:
        """Take a client without redirects, and a timer in seconds that never goes back."""
        self.issuer = settings.oidc_issuer
        self.client_id = settings.oidc_client_id
        self.claim = settings.oidc_claim
        self.host = urlsplit(settings.oidc_issuer).hostname or ""
        self._secret = settings.oidc_client_secret
        self._client = client
        self._timer = timer
        self._lock = asyncio.Lock()
        self._discovery: tuple[_Discovery, float] | None = None
        self._keys: tuple[KeySet, float] | None = None
        self._failed_at: float | None = None

    async def address(self, pending: PendingSignIn, *, back: str) -> str:
        """
        Where a browser goes to sign in.

        Args:
            back: The address to which the provider sends it back, as registered there.

        Raises:
            ProviderUnavailable: when the provider gives no discovery document of its own.
        """
        discovery = await self._discovered()
        challenge = hashlib.sha256(pending.verifier.encode()).digest()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.client_id,
                "redirect_uri": back,
                "scope": scope(self.claim),
                "state": pending.state,
                "nonce": pending.nonce,
                "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
                "code_challenge_method": "S256",
            }
        )
        joint = "&" if urlsplit(discovery.authorization_endpoint).query else "?"
        return f"{discovery.authorization_endpoint}{joint}{query}"

    async def claims(
        self, code: str, *, pending: PendingSignIn, back: str, issuer: str | None
    ) -> Mapping[str, Any]:
        """
        Exchange a code for the claims of its ID token, whose signature is verified; nothing else of it is.

        Args:
            back: The same address as for `address`.
            issuer: Who answers, as the answer says it; `None` where it does not.

        Raises:
            ProviderUnavailable: when the provider gives no usable answer.
            CodeRefused: when it gives no token, such as for a code that was used before.
            TokenUnreadable: when the answer is of another provider, or none of the keys signed the token.
        """
        discovery = await self._discovered()
        is_named = issuer is not None or discovery.authorization_response_iss_parameter_supported
        if is_named and issuer != self.issuer:
            raise TokenUnreadable
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": pending.verifier,
        }
        headers = {}
        methods = discovery.token_endpoint_auth_methods_supported
        if not self._secret:
            form["client_id"] = self.client_id
        elif "client_secret_basic" not in methods and "client_secret_post" in methods:
            form |= {"client_id": self.client_id, "client_secret": self._secret}
        else:
            pair = f"{quote(self.client_id, safe='')}:{quote(self._secret, safe='')}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, content = await self._sent("token", "POST", discovery.token_endpoint, form, headers)
        if 400 <= status < 500 and status != httpx.codes.TOO_MANY_REQUESTS:
            raise CodeRefused(_error(content))
        token = self._read("token", status, content, _Token)
        return await self._verified(token.id_token)

    async def _verified(self, token: str) -> Mapping[str, Any]:
        keys = await self._key_set(older_than_s=_KEPT_S)
        try:
            try:
                content = _content(token, keys)
            except InvalidKeyIdError:
                content = _content(token, await self._key_set(older_than_s=_KEYS_AGAIN_S))
            claims = msgspec.json.decode(content, type=dict[str, Any])
        except (JoseError, ValueError, TypeError, AttributeError, LookupError, *_UNREADABLE) as exc:
            _log.warning("provider token refused", error=type(exc).__name__)
            raise TokenUnreadable from None
        return claims

    async def _discovered(self) -> _Discovery:
        async with self._fetching():
            kept, now = self._discovery, self._timer()
            if kept is not None and now - kept[1] < _KEPT_S:
                return kept[0]
            address = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
            status, content = await self._sent("discovery", "GET", address)
            found = self._read("discovery", status, content, _Discovery)
            if found.issuer != self.issuer:
                raise _unusable("discovery", "another issuer")
            schemes = ("https://", "http://") if self.issuer.startswith("http://") else ("https://",)
            for endpoint in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
                # An endpoint may have a query; the rest is as for the issuer.
                if not endpoint.startswith(schemes) or not is_provider_address(endpoint.partition("?")[0]):
                    raise _unusable("discovery", "an endpoint without https")
            self._discovery = (found, now)
            return found

    async def _key_set(self, *, older_than_s: float) -> KeySet:
        """The keys; fetched where those that are kept are older."""
        discovery = await self._discovered()
        async with self._fetching():
            kept, now = self._keys, self._timer()
            if kept is not None and now - kept[1] < older_than_s:
                return kept[0]
            status, content = await self._sent("keys", "GET", discovery.jwks_uri)
            found = self._read("keys", status, content, _Keys)
            keys = [key for data in found.keys[:_KEYS_MAX] if (key := _key(data)) is not None]
            if not keys:
                raise _unusable("keys", "no key for signatures")
            self._keys = (KeySet([*keys]), now)
            return self._keys[0]

    @asynccontextmanager
    async def _fetching(self) -> AsyncIterator[None]:
        """One fetch at a time; those who waited for one that failed do not try at once again."""
        async with self._lock:
            if self._failed_at is not None and self._timer() - self._failed_at < _RETRY_S:
                raise ProviderUnavailable
            try:
                yield
            except ProviderUnavailable:
                self._failed_at = self._timer()
                raise

    async def _sent(
        self,
        what: _What,
        method: str,
        address: str,
        form: dict[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of an answer."""
        # Uncompressed, so that a small answer cannot become a large one.
        accepted = {"accept": "application/json", "accept-encoding": "identity", **(headers or {})}
        content = bytearray()
        try:
            async with (
                asyncio.timeout(_DEADLINE_S),
                self._client.stream(method, address, data=form, headers=accepted) as response,
            ):
                async for part in response.aiter_raw():
                    content += part
                    if len(content) > _ANSWER_MAX_BYTES:
                        raise _unusable(what, "too long")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as exc:
            raise _unusable(what, type(exc).__name__) from None
        return response.status_code, bytes(content)

    @staticmethod
    def _read(what: _What, status: int, content: bytes, kind: type[_Read]) -> _Read:
        if status != httpx.codes.OK:
            raise _unusable(what, f"status {status}")
        try:
            return msgspec.json.decode(content, type=kind)
        except _UNREADABLE:
            raise _unusable(what, "unreadable") from None


def _unusable(what: _What, why: str) -> ProviderUnavailable:
    _log.warning("identity provider unavailable", request=what, reason=why)
    return ProviderUnavailable()


def _error(content: bytes) -> str:
    try:
        error = msgspec.json.decode(content, type=_Error).error
    except _UNREADABLE:
        error = ""
    known = error if error in _KNOWN_ERRORS else "other"
    _log.warning("provider code refused", error=known)
    return known


def _content(token: str, keys: KeySet) -> bytes:
    return jws.deserialize_compact(token, keys, registry=_REGISTRY).payload or b""


def _key(data: dict[str, Any]) -> RSAKey | ECKey | None:
    """A public key for signatures; `None` for any other, which a provider may publish beside it."""
    kind = _KEY_TYPES.get(str(data.get("kty")))
    if kind is None or data.get("use", "sig") != "sig":
        return None
    try:
        return kind.import_key(data)
    except (JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return None


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Provider]:
    """The provider of the settings, for the life of the application."""
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client:
        yield Provider(settings, client=client, timer=loop.time)
