"""
Signing in at the identity provider: the way there and back.

The cookie of a session is `SameSite=Strict`, so a browser does not send it with a request that another site began, nor with a redirect of
such a request. So what must come back is in a cookie of its own (`Lax`, of the path of the way back, for ten minutes, removed when it comes back), and the answer is a page
that goes on by itself.
"""

import re
from typing import TYPE_CHECKING, Final

from litestar import get
from litestar.datastructures import Cookie
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_302_FOUND
from tether_core.errors import TetherError, Unavailable
from tether_core.people.oidc import read_identity
from tether_stores.telemetry import logger

from tether_web.console.account import is_secure, local_path, sign_in_form
from tether_web.console.pages import ConsoleRequest, rendered
from tether_web.http import sessions
from tether_web.http.auth import address_of
from tether_web.people import sign_in as steps
from tether_web.people.pending_sign_in import PendingSignIn

if TYPE_CHECKING:  # imported where a provider is configured
    from tether_web.people.oidc import Provider

__all__ = ["BACK", "COOKIE", "HANDLERS"]

BACK: Final = "/sign-in/oidc/callback"
COOKIE: Final = "tether_sign_in"
_COOKIE_S: Final = 600
_CODE_MAX: Final = 4_096
# A name or address, with a port: what a browser sends. Anything else would end up in the address of the way back.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_OFF: Final = "No identity provider is configured. The operator sets TETHER_OIDC_ISSUER, or you sign in with a password."
_BEGIN_AGAIN: Final = "This sign-in did not begin in this browser, was used before, or took longer than 10 minutes. Sign in again."
_NOT_SIGNED_IN: Final = (
    "The identity provider did not sign you in. Sign in again, or ask the operator of the provider."
)

_log = logger("oidc")


def _cookie(request: ConsoleRequest, text: str) -> Cookie:
    """The cookie of a sign-in that is at the provider; an empty text removes it."""
    return Cookie(
        COOKIE,
        value=text,
        max_age=_COOKIE_S if text else 0,
        path=BACK,
        httponly=True,
        secure=is_secure(request),
        samesite="lax",
    )


def _back(request: ConsoleRequest) -> str:
    """The address of the way back, as it is registered at the provider."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise steps.SignInFailed("The request names no host. Open the console by its address.")
    return f"{'https' if is_secure(request) else 'http'}://{host}{BACK}"


def _failed(request: ConsoleRequest, exc: TetherError, *, where: str = "/") -> Template:
    status = 503 if isinstance(exc, Unavailable) else 401
    status = 429 if isinstance(exc, steps.TooManyTries) else status
    page = sign_in_form(request, status=status, where=where, problem={"detail": str(exc)})
    page.cookies = [_cookie(request, "")]
    return page


@get("/sign-in/oidc", include_in_schema=False)
async def begin(request: ConsoleRequest) -> Template | Redirect:
    """Go to the provider. A user who was signed in here is signed out, because the way back does not name that session."""
    provider: Provider | None = request.app.state.oidc
    where = local_path(request.query_params.get("next", "/"))
    try:
        if provider is None:
            raise steps.SignInFailed(_OFF)
        pending = PendingSignIn.new(where)
        address = await provider.address(pending, back=_back(request))
    except TetherError as exc:
        return _failed(request, exc, where=where)
    if token := request.cookies.get(sessions.COOKIE, ""):
        await sessions.end(request.app.state, token=token)
    return Redirect(address, status_code=HTTP_302_FOUND, cookies=[_cookie(request, pending.written())])


@get(BACK, include_in_schema=False)
async def callback(request: ConsoleRequest) -> Template:
    """Come back from the provider with a code, once."""
    try:
        token, where = await _signed_in(request)
    except TetherError as exc:
        return _failed(request, exc)
    page = rendered(request, "signed_in", title="Signed in", where=where)
    page.cookies = [_cookie(request, ""), sessions.cookie(token, is_secure=is_secure(request))]
    return page


async def _signed_in(request: ConsoleRequest) -> tuple[str, str]:
    """The token of the session, and where the person wanted to go."""
    provider: Provider | None = request.app.state.oidc
    if provider is None:
        raise steps.SignInFailed(_OFF)
    state, given = request.app.state, request.query_params
    pending = PendingSignIn.read(request.cookies.get(COOKIE, ""))
    if pending is None or not pending.is_answered_by(given.get("state", "")):
        raise steps.SignInFailed(_BEGIN_AGAIN)
    code = given.get("code", "")
    if not code or len(code) > _CODE_MAX or "error" in given:
        _log.warning("provider sign-in refused", reason="no code")
        raise steps.SignInFailed(_NOT_SIGNED_IN)
    address = address_of(request)
    await steps.count_for_provider(state, address=address)
    try:
        claims = await provider.claims(code, pending=pending, back=_back(request), issuer=given.get("iss"))
    except Unavailable:
        await steps.forgive(state, address=address)
        raise
    identity = read_identity(
        claims,
        issuer=provider.issuer,
        client_id=provider.client_id,
        nonce=pending.nonce,
        claim=provider.claim,
        now=state.clock(),
    )
    if isinstance(identity, str):
        raise steps.refused(identity)
    token = await steps.with_provider(state, identity, address=address)
    return token, local_path(pending.where)


HANDLERS: Final = [begin, callback]
