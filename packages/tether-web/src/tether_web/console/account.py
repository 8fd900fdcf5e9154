"""Signing in to the console, the own account, and the page of people and keys."""

import re
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

import segno
from litestar import get, post
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER
from tether_core.errors import TetherError
from tether_core.people.roles import ROLES
from tether_core.people.sign_in import Step
from tether_stores.people import second_factor, users
from tether_stores.postgres import connection

from tether_web.console import formats, forms
from tether_web.console.api import Failed, call
from tether_web.console.listings import Column, Listing
from tether_web.console.pages import ConsoleRequest, Key, rendered, table
from tether_web.http import sessions
from tether_web.http.auth import address_of, by_key
from tether_web.people import sign_in as steps

__all__ = [
    "PEOPLE",
    "SIGN_IN",
    "STEPS",
    "STEP_PAGES",
    "is_secure",
    "local_path",
    "sign_in_form",
    "wanted",
    "with_next",
]

# Where a session goes that is not complete.
STEP_PAGES: Final[dict[Step, str]] = {
    "password": "/account",
    "second_factor": "/second-factor",
    "enrolment": "/account",
    "complete": "/",
}
_USERS: Final = Listing(
    "/people",
    "/api/users",
    "Users",
    "",
    (
        Column("name", "Name"),
        Column("role", "Role"),
        Column("accounts", "Accounts"),
        Column("has_second_factor", "Second factor"),
        Column("oidc_issuer", "Identity provider"),
        Column("signed_in_at", "Signed in", "time"),
        Column("disabled_at", "Disabled", "time"),
        Column("id", "Change", "link", "/people", "change"),
    ),
    empty="There is no user yet.",
)
_KEYS: Final = Listing(
    "/people",
    "/api/api-keys",
    "API keys",
    "",
    (
        Column("name", "Name"),
        Column("role", "Role"),
        Column("accounts", "Accounts"),
        Column("created_by", "By"),
        Column("expires_at", "Expires", "time"),
        Column("last_used_at", "Last use", "time"),
        Column("revoked_at", "Revoked", "time"),
        Column("id", "Key", "number"),
    ),
    empty="There is no key in the database; those of TETHER_API_KEYS are not listed.",
)


# A longer address is not carried through the steps of a sign-in.
_WHERE_MAX: Final = 1_000
# As `second_factor.new_secret` makes them.
_SECRET: Final = re.compile(r"[A-Z2-7]{32}")


def is_secure(request: ConsoleRequest) -> bool:
    """Whether the browser came by TLS."""
    return bool(request.headers.get("x-forwarded-proto", request.scope["scheme"]) == "https")


def _token(request: ConsoleRequest) -> str:
    return request.cookies.get(sessions.COOKIE, "")


def local_path(path: str) -> str:
    """
    A path of this address with its query; anything else would let a link send people elsewhere after they signed in.

    >>> local_path("/payments?run=7"), local_path("//evil.example"), local_path("https://evil.example")
    ('/payments?run=7', '/', '/')
    """
    is_local = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_local and path.isprintable() and len(path) <= _WHERE_MAX else "/"


def wanted(request: ConsoleRequest) -> str:
    """The page that a person wanted and did not get yet, with its filters; "/" for a form, which is not sent again."""
    if request.scope["method"] not in {"GET", "HEAD"}:
        return "/"
    if request.scope["path"] == STEP_PAGES["second_factor"]:
        return _next(request)
    query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in query if name != "done"]
    path = quote(request.scope["path"])
    return local_path(f"{path}?{urlencode(kept)}" if kept else path)


def with_next(page: str, where: str) -> str:
    """
    The address of a step of the sign-in that leads on to *where*.

    >>> with_next("/sign-in", "/payments?run=7"), with_next("/sign-in", "/")
    ('/sign-in?next=%2Fpayments%3Frun%3D7', '/sign-in')
    """
    return page if where == "/" else f"{page}?{urlencode({'next': where})}"


def _next(request: ConsoleRequest) -> str:
    """Where a step of the sign-in leads, by its address."""
    return local_path(request.query_params.get("next", "/"))


def _onward(request: ConsoleRequest, token: str, where: str) -> Redirect:
    return Redirect(
        where,
        status_code=HTTP_303_SEE_OTHER,
        cookies=[sessions.cookie(token, is_secure=is_secure(request))],
    )


async def _form(request: ConsoleRequest) -> dict[str, str]:
    form = await request.form()
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}


def sign_in_form(request: ConsoleRequest, *, where: str, status: int = 200, problem: Any = None) -> Template:
    """The page where a person signs in, and goes on to the path *where*."""
    provider = request.app.state.oidc
    return rendered(
        request,
        "sign_in",
        status=status,
        title="Sign in",
        next=where,
        problem=problem,
        provider=None if provider is None else provider.host,
        begin=with_next("/sign-in/oidc", where),
    )


@get("/sign-in", include_in_schema=False)
async def sign_in_page(request: ConsoleRequest) -> Template:
    """Where a person signs in."""
    return sign_in_form(request, where=_next(request))


@post("/sign-in", include_in_schema=False)
async def sign_in(request: ConsoleRequest) -> Template | Redirect:
    """Begin a session by name and password, or by an API key."""
    form, state = await _form(request), request.app.state
    where, address = local_path(form.get("next", "/")), address_of(request)
    try:
        if key := form.get("key", "").strip():
            caller = await by_key(state, f"Bearer {key}", address=address)
            if caller is None:
                raise steps.SignInFailed(
                    "This is no valid API key of this installation. The operator finds the keys in TETHER_API_KEYS."
                )
            token = await steps.with_key(state, caller, replaces=_token(request))
        else:
            name, password = form.get("name", ""), form.get("password", "")
            token = await steps.check_password(
                state, name[:200], password[:1_000], address=address, replaces=_token(request)
            )
    except TetherError as exc:
        status = 401 if isinstance(exc, steps.SignInFailed) else 429
        return sign_in_form(request, where=where, status=status, problem={"detail": str(exc)})
    return _onward(request, token, where)


@get("/second-factor", include_in_schema=False)
async def second_factor_page(request: ConsoleRequest) -> Template:
    """Where a person types the code of the second factor."""
    return _second_factor(request, where=_next(request))


def _second_factor(
    request: ConsoleRequest, *, where: str, status: int = 200, problem: Any = None
) -> Template:
    return rendered(
        request, "second_factor", status=status, title="Second factor", next=where, problem=problem
    )


@post("/second-factor", include_in_schema=False)
async def check_second_factor(request: ConsoleRequest) -> Template | Redirect:
    """Take a code, once."""
    form = await _form(request)
    code, where = form.get("code", "")[:40], local_path(form.get("next", "/"))
    try:
        token = await steps.check_code(request.app.state, request.auth, code, token=_token(request))
    except TetherError as exc:
        status = 401 if isinstance(exc, steps.SignInFailed) else 429
        return _second_factor(request, where=where, status=status, problem={"detail": str(exc)})
    return _onward(request, token, where)


async def _account(
    request: ConsoleRequest, *, where: str = "/", status: int = 200, secret: str | None = None, **context: Any
) -> Template:
    caller = request.auth
    user, left = None, 0
    if caller.actor.kind == "user":
        async with connection(request.app.state.pool) as conn:
            user = await users.by_id(conn, caller.actor.id)
            left = await users.backup_codes_left(conn, caller.actor.id)
    secret = secret or second_factor.new_secret()
    address = second_factor.uri(secret, name=caller.actor.label)
    return rendered(
        request,
        "account",
        status=status,
        title="Your account",
        name=caller.actor.label,
        role=caller.role,
        step=caller.step,
        next=where,
        accounts=", ".join(caller.accounts) if caller.accounts else "all",
        is_user=user is not None,
        has_password=user is not None and user.password_hash is not None,
        has_second_factor=user is not None and user.second_factor is not None,
        codes_left=left,
        secret=secret,
        qr_code=segno.make(address, error="m").svg_data_uri(scale=4),
        **{"codes": None, **context},
    )


@get("/account", include_in_schema=False)
async def account(request: ConsoleRequest) -> Template | Redirect:
    """Password and second factor of the person who is signed in."""
    where = _next(request)
    if request.auth.step == "second_factor":
        return Redirect(with_next("/second-factor", where), status_code=HTTP_303_SEE_OTHER)
    return await _account(request, where=where)


async def _refused(
    request: ConsoleRequest, exc: TetherError, *, where: str = "/", secret: str | None = None
) -> Template:
    return await _account(request, where=where, status=422, secret=secret, problem={"detail": str(exc)})


@post("/account/password", include_in_schema=False)
async def change_password(request: ConsoleRequest) -> Template | Redirect:
    """Set an own password."""
    form, caller = await _form(request), request.auth
    where = local_path(form.get("next", "/"))
    try:
        token = await steps.change_password(
            request.app.state, caller, old=form.get("old", "")[:1_000], new=form.get("new", "")[:1_000]
        )
    except TetherError as exc:
        return await _refused(request, exc, where=where)
    # A user who had to set a password on the way continues to the page that was wanted.
    return _onward(request, token, "/account?done=password" if where == "/" else where)


@post("/account/second-factor", include_in_schema=False)
async def enrol(request: ConsoleRequest) -> Template:
    """Set up a second factor, and show its backup codes once."""
    form = await _form(request)
    where = local_path(form.get("next", "/"))
    try:
        made = await steps.enrol(
            request.app.state,
            request.auth,
            secret=form.get("secret", "")[:64],
            code=form.get("code", "")[:40],
            token=_token(request),
        )
    except (TetherError, ValueError) as exc:
        # After a wrong code the secret that was scanned stays; another one would make every further code wrong.
        scanned = form.get("secret", "")
        why = exc if isinstance(exc, TetherError) else steps.SignInFailed("Scan the code again.")
        secret = scanned if _SECRET.fullmatch(scanned) else None
        return await _refused(request, why, where=where, secret=secret)
    page = rendered(request, "backup_codes", title="Backup codes", codes=made.codes, next=where)
    page.cookies = [sessions.cookie(made.token, is_secure=is_secure(request))]
    return page


@post("/account/backup-codes", include_in_schema=False)
async def new_backup_codes(request: ConsoleRequest) -> Template:
    """Make new backup codes, and show them once."""
    code = (await _form(request)).get("code", "")[:40]
    try:
        codes = await steps.replace_backup_codes(request.app.state, request.auth, code=code)
    except TetherError as exc:
        return await _refused(request, exc)
    return rendered(request, "backup_codes", title="Backup codes", codes=codes, next="/")


@post("/account/second-factor/remove", include_in_schema=False)
async def remove_second_factor(request: ConsoleRequest) -> Template | Redirect:
    """Remove the second factor."""
    code = (await _form(request)).get("code", "")[:40]
    try:
        await steps.remove_second_factor(request.app.state, request.auth, code=code)
    except TetherError as exc:
        return await _refused(request, exc)
    return Redirect("/account?done=no_second_factor", status_code=HTTP_303_SEE_OTHER)


@post("/sign-out", include_in_schema=False)
async def sign_out(request: ConsoleRequest) -> Redirect:
    """End the session."""
    await steps.sign_out(request.app.state, request.auth, token=_token(request))
    return _onward(request, "", "/sign-in")


async def _people(request: ConsoleRequest, *, status: int = 200, **context: Any) -> Template:
    try:
        found = await call(request, "GET", "/api/users")
        keys = await call(request, "GET", "/api/api-keys")
    except Failed as exc:
        return rendered(
            request, "problem", status=exc.status, title="People and keys", problem={"detail": exc.detail}
        )
    for row in [*found, *keys]:
        row["accounts"] = "all" if row["accounts"] is None else ", ".join(row["accounts"])
    return rendered(
        request,
        "people",
        status=status,
        title="People and keys",
        users=table(found, _USERS),
        keys=table(keys, _KEYS),
        roles=ROLES,
        **{"secret": None, "secret_of": None, "hint": "", **context},
    )


@get("/people", include_in_schema=False)
async def people(request: ConsoleRequest) -> Template:
    """Users and API keys."""
    return await _people(request)


@post("/people/users", include_in_schema=False)
async def add_user(request: ConsoleRequest) -> Template:
    """Create a user, and show the temporary password once."""
    form = await forms.fields(request)
    try:
        body = {
            "name": form.get("name", ""),
            "role": form.get("role", ""),
            "accounts": forms.names(form.get("accounts", ""), field="accounts"),
            "has_password": form.get("no_password") != "on",
            "reason": form.get("reason", ""),
        }
        made = await call(request, "POST", "/api/users", body=body)
    except Failed as exc:
        return await _people(request, status=exc.status, problem={"detail": exc.detail, "errors": exc.errors})
    return await _people(
        request,
        secret=made["password"],
        secret_of=made["user"]["name"],
        hint="It is temporary: the user sets another one at the first sign-in.",
    )


@post("/people/keys", include_in_schema=False)
async def add_key(request: ConsoleRequest) -> Template:
    """Create a key, and show it once."""
    form = await forms.fields(request)
    expires_on = form.get("expires_on", "")
    try:
        body = {
            "name": form.get("name", ""),
            "role": form.get("role", ""),
            "accounts": forms.names(form.get("accounts", ""), field="accounts"),
            "expires_at": f"{expires_on}T00:00:00Z" if expires_on else None,
            "reason": form.get("reason", ""),
        }
        made = await call(request, "POST", "/api/api-keys", body=body)
    except Failed as exc:
        return await _people(request, status=exc.status, problem={"detail": exc.detail, "errors": exc.errors})
    return await _people(
        request,
        secret=made["secret"],
        secret_of=made["key"]["name"],
        hint="Give it to the program as TETHER_API_KEY; only its digest is stored here.",
    )


@post("/people/keys/revoke", include_in_schema=False)
async def revoke_key(request: ConsoleRequest) -> Template | Redirect:
    """Revoke a key."""
    form = await forms.fields(request)
    key = form.get("key", "")
    if not (key.isascii() and key.isdigit()):
        return await _people(request, status=422, problem={"detail": "Give the number of the key."})
    try:
        await call(request, "DELETE", f"/api/api-keys/{key}", query={"reason": form.get("reason", "")})
    except Failed as exc:
        return await _people(request, status=exc.status, problem={"detail": exc.detail})
    return Redirect("/people?done=key_revoked", status_code=HTTP_303_SEE_OTHER)


@get("/people/{key:int}", include_in_schema=False)
async def person(request: ConsoleRequest, key: Key) -> Template:
    """One user, with what can be changed."""
    return await _person(request, key)


async def _person(request: ConsoleRequest, key: int, *, status: int = 200, **context: Any) -> Template:
    try:
        found = await call(request, "GET", "/api/users")
    except Failed as exc:
        return rendered(request, "problem", status=exc.status, title="User", problem={"detail": exc.detail})
    user = next((user for user in found if user["id"] == key), None)
    if user is None:
        return rendered(
            request, "problem", status=404, title="User", problem={"detail": "There is no such user"}
        )
    return rendered(
        request,
        "person",
        status=status,
        title=f"User {user['name']}",
        user={**user, "accounts": ", ".join(user["accounts"] or ())},
        since=formats.title(user["role"]),
        key=key,
        roles=ROLES,
        **{"secret": None, "secret_of": None, **context},
    )


@post("/people/{key:int}/change", include_in_schema=False)
async def change_person(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Change role and accounts, disable or enable."""
    form = await forms.fields(request)
    try:
        body = {
            "role": form.get("role", ""),
            "accounts": forms.names(form.get("accounts", ""), field="accounts"),
            "enabled": form.get("enabled") == "on",
            "reason": form.get("reason", ""),
        }
        await call(request, "PATCH", f"/api/users/{key}", body=body)
    except Failed as exc:
        return await _person(
            request, key, status=exc.status, problem={"detail": exc.detail, "errors": exc.errors}
        )
    return Redirect(f"/people/{key}?done=person_changed", status_code=HTTP_303_SEE_OTHER)


@post("/people/{key:int}/reset", include_in_schema=False)
async def reset_person(request: ConsoleRequest, key: Key) -> Template:
    """Give a temporary password, and show it once."""
    form = await forms.fields(request)
    body = {"second_factor": form.get("second_factor") == "on", "reason": form.get("reason", "")}
    try:
        made = await call(request, "POST", f"/api/users/{key}/reset", body=body)
    except Failed as exc:
        return await _person(request, key, status=exc.status, problem={"detail": exc.detail})
    return await _person(request, key, secret=made["password"], secret_of=made["user"]["name"])


@post("/people/{key:int}/unbind", include_in_schema=False)
async def unbind_person(request: ConsoleRequest, key: Key) -> Template | Redirect:
    """Forget the person at the identity provider."""
    form = await forms.fields(request)
    try:
        await call(request, "POST", f"/api/users/{key}/unbind", body={"reason": form.get("reason", "")})
    except Failed as exc:
        return await _person(request, key, status=exc.status, problem={"detail": exc.detail})
    return Redirect(f"/people/{key}?done=person_unbound", status_code=HTTP_303_SEE_OTHER)


# Without a session; with a session at any step; with a complete one.
SIGN_IN: Final = [sign_in_page, sign_in]
STEPS: Final = [second_factor_page, check_second_factor, account, change_password, enrol, sign_out]
PEOPLE: Final = [
    new_backup_codes,
    remove_second_factor,
    people,
    add_user,
    add_key,
    revoke_key,
    person,
    change_person,
    reset_person,
    unbind_person,
]
