"""An identity provider on loopback: OpenID Connect's discovery, sign-in page, tokens and keys, signed with real keys."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import OctKey, RSAKey

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "IdentityProvider", "running"]

CLIENT_ID: Final = "tether"
CLIENT_SECRET: Final = "client secret: at least 32 bytes, 100% ä"
_KEYS: Final = [RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}) for kid in ("first", "second")]


class IdentityProvider:
    """
    What the provider does, for tests to change.

    Attributes:
        issuer: Its address and name.
        person: Claims of who signs in.
        changed: Claims of tokens that differ from what they should be; `None` leaves one out.
        key: With which of its two keys it signs; only the first `published` ones are published.
        algorithm: "RS256", "HS256" with the client's secret, or "none".
        broken: Path -> status and body that are answered instead.
        silent: Paths that are never answered.
        has_page: Whether a person must press a button.
        requests: The paths that were requested.
    """

    def __init__(self, issuer: str) -> None:
        """Sign in Ada."""
        self.issuer = issuer
        self.person: dict[str, Any] = {"sub": "ada-1", "email": "ada@example.com", "email_verified": True}
        self.changed: dict[str, Any] = {}
        self.discovery: dict[str, Any] = {}
        self.key, self.published = 0, 1
        self.algorithm = "RS256"
        self.broken: dict[str, tuple[int, bytes]] = {}
        self.silent: set[str] = set()
        self.has_page = False
        self.requests: list[str] = []
        self.tokens: list[str] = []
        self.closing = threading.Event()
        self._codes: dict[str, dict[str, str]] = {}

    def document(self) -> dict[str, Any]:
        """The discovery document."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=a",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_response_iss_parameter_supported": True,
            **self.discovery,
        }

    def keys(self) -> dict[str, Any]:
        """The published keys, among others that are of no use here."""
        others = [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
            {"kty": "XX"},
            {"kty": "EC", "crv": "P-256"},
        ]
        return {"keys": [*others, *(key.as_dict(private=False) for key in _KEYS[: self.published])]}

    def back(self, query: dict[str, str]) -> str:
        """Where a browser goes after its person signed in."""
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        answer = urlencode({"code": code, "state": query["state"], "iss": self.issuer})
        return f"{query['redirect_uri']}?{answer}"

    def exchanged(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, str]]:
        """Answer the request of a token: a code is good once, for who began the sign-in."""
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if pair != f"{CLIENT_ID}:{_encoded(CLIENT_SECRET)}":
            return 401, {"error": "invalid_client"}
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["redirect_uri"] != form.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        if asked["code_challenge_method"] != "S256" or asked["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant"}
        self.tokens.append(self._signed(asked["nonce"]))
        return 200, {"id_token": self.tokens[-1], "access_token": "a", "token_type": "Bearer"}

    def _signed(self, nonce: str) -> str:
        now = int(time.time())
        good = {"iss": self.issuer, "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": nonce}
        claims = {**good, **self.person, **self.changed}
        payload = json.dumps({name: value for name, value in claims.items() if value is not None})
        header = {"alg": self.algorithm, "kid": f"{_KEYS[self.key].kid}", "x-more": "ignored"}
        if self.algorithm == "none":
            words = (json.dumps(header), payload)
            return (
                ".".join(base64.urlsafe_b64encode(word.encode()).decode().rstrip("=") for word in words) + "."
            )
        key = OctKey.import_key(CLIENT_SECRET) if self.algorithm == "HS256" else _KEYS[self.key]
        registry = jws.JWSRegistry(algorithms=[self.algorithm], strict_check_header=False)
        return jws.serialize_compact(header, payload, key, registry=registry)


def _encoded(text: str) -> str:
    return urlencode({"": text}).removeprefix("=").replace("+", "%20")


@contextlib.contextmanager
def running(host: str = "127.0.0.1") -> Iterator[IdentityProvider]:
    """
    Run a provider.

    Args:
        host: Its name on this machine; to a browser, "localhost" is another site than 127.0.0.1.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    provider = server.provider = IdentityProvider(f"http://{host}:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        provider.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        provider, path, query = self._asked()
        if self._is_broken(provider, path):
            return
        if path == "/.well-known/openid-configuration":
            self._answer(200, json.dumps(provider.document()).encode())
        elif path == "/keys":
            self._answer(200, json.dumps(provider.keys()).encode())
        elif path == "/authorize" and provider.has_page:
            page = (
                f'<form method="post" action="/authorize?{urlencode(query)}"><button>I am Ada</button></form>'
            )
            self._answer(200, page.encode(), kind="text/html")
        elif path == "/authorize":
            self._answer(302, b"", location=provider.back(query))
        else:
            self._answer(404, b"{}")

    def do_POST(self) -> None:
        provider, path, query = self._asked()
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        if self._is_broken(provider, path):
            return
        if path == "/authorize":
            self._answer(302, b"", location=provider.back(query))
            return
        form = {name: values[0] for name, values in parse_qs(body).items()}
        status, answer = provider.exchanged(form, self.headers.get("authorization", ""))
        self._answer(status, json.dumps(answer).encode())

    def _asked(self) -> tuple[IdentityProvider, str, dict[str, str]]:
        provider: IdentityProvider = self.server.provider  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        provider.requests.append(parts.path)
        return provider, parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}

    def _is_broken(self, provider: IdentityProvider, path: str) -> bool:
        if path in provider.silent:
            provider.closing.wait(30)
            return True
        if path in provider.broken:
            self._answer(*provider.broken[path])
        return path in provider.broken

    def _answer(
        self, status: int, body: bytes, *, kind: str = "application/json", location: str | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if location:
            self.send_header("location", location)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_words: Any) -> None:
        """Print nothing."""
