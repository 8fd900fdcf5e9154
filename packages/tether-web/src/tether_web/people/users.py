"""`/api/users`: users of the console; `/api/me`: who sends the request. Passwords leave this module once, when they are made."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, Router, get, patch, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import facts
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.people.roles import TABLE, Permission, Role, require_accounts, require_name
from tether_stores import audit, sessions
from tether_stores.accounts import gateway_accounts
from tether_stores.people import api_keys, passwords, users
from tether_stores.people.users import User
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id

__all__ = ["ROUTERS", "Accounts", "ListedUser", "Me", "NewUser", "UserWithPassword", "limited_to"]

# Names of gateway accounts, as a request lists them.
Accounts = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=100)], ...], msgspec.Meta(max_length=100)]
Reason = Annotated[str, msgspec.Meta(max_length=500, description="Why; stored in the audit.")]

_LISTED_MAX: Final = 1_000
_log = logger("users")


class ListedUser(msgspec.Struct, frozen=True):
    """
    A user.

    Attributes:
        id: The id of the user.
        name: Unique, lower case.
        role: "viewer", "operator" or "admin".
        accounts: The gateway accounts to which the user is limited; null for all.
        has_second_factor: Whether a second factor is set up.
        has_password: Whether the user can sign in with a password.
        is_temporary: Whether the password must be changed at the next sign-in.
        created_at: When the user was created.
        signed_in_at: The last sign-in, or null.
        disabled_at: Since when the user cannot sign in, or null.
        oidc_issuer: The identity provider at which a person is bound to the user, or null.
    """

    id: int
    name: str
    role: Role
    accounts: tuple[str, ...] | None
    has_second_factor: bool
    has_password: bool
    is_temporary: bool
    created_at: datetime
    signed_in_at: datetime | None
    disabled_at: datetime | None
    oidc_issuer: str | None


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A user to be created.

    Attributes:
        name: 1 to 64 letters, digits and . _ - @ +.
        role: "viewer", "operator" or "admin".
        accounts: The gateway accounts to which the user is limited; null for all.
        has_password: Whether the user gets a temporary password; without one, only the identity provider signs the user in.
        reason: Why; stored in the audit.
    """

    name: Annotated[str, msgspec.Meta(max_length=200)]
    role: Role
    accounts: Accounts | None = None
    has_password: bool = True
    reason: Reason = ""


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A change of a user; what is left out stays.

    Attributes:
        role: The new role.
        accounts: The gateway accounts to which the user is limited; null for all.
        enabled: Whether the user may sign in.
        reason: Why; stored in the audit.
    """

    role: Role | msgspec.UnsetType = msgspec.UNSET
    accounts: Accounts | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    reason: Reason = ""


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    What is reset for a user who cannot sign in.

    Attributes:
        second_factor: Also remove the second factor, for a lost phone.
        reason: Why; stored in the audit.
    """

    second_factor: bool = False
    reason: Reason = ""


class Unbinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    An order to unbind a user.

    Attributes:
        reason: Why; stored in the audit.
    """

    reason: Reason = ""


class UserWithPassword(msgspec.Struct, frozen=True):
    """
    A user with a temporary password.

    Attributes:
        user: The user.
        password: Shown this once; it must be changed at the first sign-in. Null for a user without a password.
    """

    user: ListedUser
    password: str | None


class Me(msgspec.Struct, frozen=True):
    """
    Who sends the request.

    Attributes:
        name: Of the user or key.
        kind: "user" or "api_key".
        role: The role.
        permissions: What the role allows.
        accounts: The gateway accounts to which the caller is limited; null for all.
    """

    name: str
    kind: str
    role: Role
    permissions: list[Permission]
    accounts: tuple[str, ...] | None


def _listed(user: User) -> ListedUser:
    return ListedUser(
        user.id,
        user.name,
        user.role,
        user.accounts,
        user.second_factor is not None,
        user.password_hash is not None,
        user.is_temporary,
        user.created_at,
        user.signed_in_at,
        user.disabled_at,
        user.oidc_issuer,
    )


async def limited_to(
    conn: Connection, request: ApiRequest, state: State, accounts: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """
    The accounts of a new user or key: those that exist, within those of the caller.

    Raises:
        InvalidRequest: when one does not exist, or is not one of the caller's.
    """
    own = request.auth.accounts
    known = own if own is not None else (*await gateway_accounts.all_accounts(conn, settings=state.settings),)
    return require_accounts(own if accounts is None else accounts, known=known)


@get("/", summary="Who sends the request, and what it may do")
async def me(request: ApiRequest) -> Me:
    """The caller's name, role and permissions."""
    caller = request.auth
    return Me(caller.actor.label, caller.actor.kind, caller.role, sorted(TABLE[caller.role]), caller.accounts)


@get("/", summary="List users by name")
async def listed(state: State) -> list[ListedUser]:
    """At most a thousand."""
    async with reading(state.pool) as conn:
        return [_listed(user) for user in await users.all_users(conn, limit=_LISTED_MAX)]


@post("/", summary="Create a user with a temporary password")
async def create(request: ApiRequest, state: State, data: JSONBody[NewUser]) -> Response[UserWithPassword]:
    """The password is in this response only."""
    name, now = require_name(data.name), state.clock()
    password = passwords.temporary() if data.has_password else None
    password_hash = None if password is None else await passwords.hashed(password)
    async with transaction(state.pool) as conn:
        accounts = await limited_to(conn, request, state, data.accounts)
        taken = name in state.key_ring.holders or await api_keys.is_taken(conn, name)
        user_id = (
            None
            if taken
            else await users.add(
                conn,
                name=name,
                role=data.role,
                accounts=accounts,
                password_hash=password_hash,
                is_temporary=password is not None,
                now=now,
            )
        )
        if user_id is None:
            raise InvalidRequest("a user or key with this name exists; choose another name", field="name")
        await audit.record(
            conn,
            request.auth.actor,
            "user.created",
            subject="user",
            subject_id=user_id,
            reason=data.reason,
            after=facts(user=name, role=data.role, accounts=_words(accounts)),
            now=now,
        )
        user = await users.by_id(conn, user_id)
    assert user is not None
    _log.info("user created", user_id=user_id, role=data.role)
    return Response(UserWithPassword(_listed(user), password), status_code=201)


@patch(
    "/{user_id:int}", status_code=200, summary="Change a user's role or accounts, disable or enable a user"
)
async def change(request: ApiRequest, state: State, user_id: Id, data: JSONBody[UserChange]) -> ListedUser:
    """The sessions of the user end. The last administrator who can sign in stays one."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        # Administrators are locked first and in order, so that two who change each other wait instead of deadlocking.
        is_replaceable = await users.other_admin(conn, user_id)
        user = await _held(conn, user_id)
        changed = user
        if not isinstance(data.role, msgspec.UnsetType):
            changed = msgspec.structs.replace(changed, role=data.role)
        if not isinstance(data.accounts, msgspec.UnsetType):
            accounts = await limited_to(conn, request, state, data.accounts)
            changed = msgspec.structs.replace(changed, accounts=accounts)
        if not isinstance(data.enabled, msgspec.UnsetType):
            disabled_at = None if data.enabled else user.disabled_at or now
            changed = msgspec.structs.replace(changed, disabled_at=disabled_at)
        if changed == user:
            return _listed(user)
        was_admin = user.role == "admin" and user.disabled_at is None
        stays_admin = changed.role == "admin" and changed.disabled_at is None
        if was_admin and not stays_admin and not is_replaceable:
            why = "This is the last administrator who can sign in; make another user an administrator first."
            raise IllegalStep("user", state="the last administrator", step="changed", why=why)
        await users.change(conn, changed, now=now)
        await sessions.remove_of_user(conn, user_id)
        await audit.record(
            conn,
            request.auth.actor,
            "user.changed",
            subject="user",
            subject_id=user_id,
            reason=data.reason,
            before=_facts(user),
            after=_facts(changed),
            now=now,
        )
    _log.info("user changed", user_id=user_id, role=changed.role)
    return _listed(changed)


@post("/{user_id:int}/reset", status_code=200, summary="Give a user a new temporary password")
async def reset(request: ApiRequest, state: State, user_id: Id, data: JSONBody[Reset]) -> UserWithPassword:
    """The sessions of the user end; the password is in this response only."""
    now, password = state.clock(), passwords.temporary()
    password_hash = await passwords.hashed(password)
    async with transaction(state.pool) as conn:
        user = await _held(conn, user_id)
        await users.set_password(conn, user_id, password_hash=password_hash, is_temporary=True, now=now)
        if data.second_factor:
            await users.set_second_factor(conn, user_id, second_factor=None, step=None, now=now)
        await sessions.remove_of_user(conn, user_id)
        await audit.record(
            conn,
            request.auth.actor,
            "user.password_reset",
            subject="user",
            subject_id=user_id,
            reason=data.reason,
            before=facts(second_factor=user.second_factor is not None),
            after=facts(second_factor=user.second_factor is not None and not data.second_factor),
            now=now,
        )
        after = await users.by_id(conn, user_id)
    assert after is not None
    _log.info("password reset", user_id=user_id)
    return UserWithPassword(_listed(after), password)


@post(
    "/{user_id:int}/unbind",
    status_code=200,
    summary="Forget which person at the identity provider is bound to a user",
)
async def unbind(request: ApiRequest, state: State, user_id: Id, data: JSONBody[Unbinding]) -> ListedUser:
    """The sessions of the user end. The next sign-in at the provider under the user's name binds anew."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        user = await _held(conn, user_id)
        await users.unbind(conn, user_id, now=now)
        await sessions.remove_of_user(conn, user_id)
        await audit.record(
            conn,
            request.auth.actor,
            "user.unbound",
            subject="user",
            subject_id=user_id,
            reason=data.reason,
            before=facts(issuer=user.oidc_issuer),
            after=facts(issuer=None),
            now=now,
        )
    _log.info("user unbound", user_id=user_id)
    return _listed(msgspec.structs.replace(user, oidc_issuer=None, oidc_subject=None))


async def _held(conn: Connection, user_id: int) -> User:
    user = await users.hold(conn, user_id)
    if user is None:
        raise NotFoundException("There is no such user")
    return user


def _facts(user: User) -> dict[str, str | int | float | bool | None]:
    return facts(role=user.role, accounts=_words(user.accounts), enabled=user.disabled_at is None)


def _words(accounts: tuple[str, ...] | None) -> str:
    return "all" if accounts is None else ", ".join(accounts)


ROUTERS: Final = (
    Router("/api/me", route_handlers=[me], tags=["people and keys"]),
    Router("/api/users", route_handlers=[listed, create, change, reset, unbind], tags=["people and keys"]),
)
