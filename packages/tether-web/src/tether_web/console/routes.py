"""The console's routes in the application: its routes, who may pass, its files and templates."""

from pathlib import Path
from typing import Final

from litestar import Router
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.plugins.minijinja import MiniJinjaTemplateEngine
from litestar.response import Redirect
from litestar.static_files import create_static_files_router
from litestar.status_codes import HTTP_303_SEE_OTHER
from litestar.template import TemplateConfig
from tether_core.people.sign_in import Step
from typing_extensions import override

from tether_web.console import (
    account,
    actions,
    blacklist,
    bulk_orders,
    checks,
    figures,
    gateway_accounts,
    layout_answers,
    oidc,
    pages,
    quarantine,
    queues,
    recurring,
    return_policies,
    statement_texts,
    subscribers,
)
from tether_web.http import sessions
from tether_web.http.auth import address_of

__all__ = ["ROUTERS", "TEMPLATES"]

_HERE: Final = Path(__file__).parent
_READS: Final = {"GET", "HEAD"}

TEMPLATES: Final = TemplateConfig(directory=_HERE / "templates", engine=MiniJinjaTemplateEngine)


class _SignInFirst(HTTPException):
    """Nobody is signed in."""

    status_code = HTTP_303_SEE_OTHER


class _StepFirst(HTTPException):
    """
    The sign-in is not complete.

    Attributes:
        step: Its next step.
    """

    status_code = HTTP_303_SEE_OTHER

    def __init__(self, step: Step) -> None:
        """Keep the step."""
        super().__init__(detail="Take the next step of the sign-in")
        self.step = step


class _OwnPages(AbstractAuthenticationMiddleware):
    """Refuses forms of other addresses."""

    @override
    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:  # type: ignore[type-arg]
        """Let reading pass, and forms of this address."""
        if connection.scope["method"] not in _READS and not sessions.is_own_page(connection.headers):  # type: ignore[typeddict-item]
            raise NotAuthorizedException(
                "This form was sent from another address; open the console and try again"
            )
        return AuthenticationResult(user=None, auth=None)


class _AnyStep(_OwnPages):
    """Accepts a session at any step of the sign-in; `request.user` is the name of the user or key, `request.auth` the caller."""

    @override
    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:  # type: ignore[type-arg]
        """Find the session that the cookie names."""
        await super().authenticate_request(connection)
        token = connection.cookies.get(sessions.COOKIE, "")
        address = address_of(connection)
        caller = await sessions.found(connection.app.state, token=token, address=address) if token else None
        if caller is None:
            raise _SignInFirst(detail="Sign in first")
        return AuthenticationResult(user=caller.actor.label, auth=caller)


class _SignedIn(_AnyStep):
    """Accepts a session whose sign-in is complete."""

    @override
    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:  # type: ignore[type-arg]
        """Send a session that is not complete to its next step."""
        found = await super().authenticate_request(connection)
        if found.auth.step != "complete":
            raise _StepFirst(found.auth.step)
        return found


def _to_step(request: pages.ConsoleRequest, exc: _StepFirst) -> Redirect:
    where = account.with_next(account.STEP_PAGES[exc.step], account.wanted(request))
    return Redirect(where, status_code=HTTP_303_SEE_OTHER, headers=pages.HEADERS)


def _to_sign_in(request: pages.ConsoleRequest, _exc: _SignInFirst) -> Redirect:
    where = account.with_next("/sign-in", account.wanted(request))
    return Redirect(where, status_code=HTTP_303_SEE_OTHER, headers=pages.HEADERS)


ROUTERS: Final = [
    Router(
        "/",
        route_handlers=[*account.SIGN_IN, *oidc.HANDLERS],
        middleware=[_OwnPages],
        include_in_schema=False,
    ),
    Router(
        "/",
        route_handlers=account.STEPS,
        middleware=[_AnyStep],
        exception_handlers={_SignInFirst: _to_sign_in},
        include_in_schema=False,
    ),
    Router(
        "/",
        route_handlers=[
            *pages.HANDLERS,
            *figures.HANDLERS,
            *bulk_orders.HANDLERS,
            *actions.HANDLERS,
            *blacklist.HANDLERS,
            *checks.HANDLERS,
            *layout_answers.HANDLERS,
            *queues.HANDLERS,
            *quarantine.HANDLERS,
            *gateway_accounts.HANDLERS,
            *recurring.HANDLERS,
            *return_policies.HANDLERS,
            *statement_texts.HANDLERS,
            *subscribers.HANDLERS,
            *account.PEOPLE,
        ],
        middleware=[_SignedIn],
        exception_handlers={_SignInFirst: _to_sign_in, _StepFirst: _to_step},
        include_in_schema=False,
    ),
    create_static_files_router(
        path="/static",
        directories=[_HERE / "static"],
        include_in_schema=False,
        cache_control=None,
    ),
]
