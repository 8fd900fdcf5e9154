"""`/api/api-keys`: keys of programs. A key is in one response only, when it is created; the database has its digest."""

import secrets
from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.people import key_format
from tether_core.people.roles import Role, require_name
from tether_stores import audit, sessions
from tether_stores.people import api_keys
from tether_stores.people.api_keys import ApiKey
from tether_stores.postgres import reading, transaction
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id, OptionalReason, aware
from tether_web.people.users import Accounts, limited_to

__all__ = ["ROUTER", "KeyWithSecret", "NewKey"]


_LISTED_MAX: Final = 1_000
_log = logger("api_keys")


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A key to be created.

    Attributes:
        name: 1 to 64 letters, digits and . _ - @ +.
        role: "viewer", "operator" or "admin".
        accounts: The gateway accounts to which the key is limited; null for all.
        expires_at: When it ends by itself; null for never.
        reason: Why; stored in the audit.
    """

    name: Annotated[str, msgspec.Meta(max_length=200)]
    role: Role
    accounts: Accounts | None = None
    expires_at: datetime | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class KeyWithSecret(msgspec.Struct, frozen=True):
    """
    A new key.

    Attributes:
        key: Its name, role and limits.
        secret: What a program sends as `Authorization: Bearer <secret>`; shown this once.
    """

    key: ApiKey
    secret: str


@get("/", summary="List API keys, newest first")
async def listed(state: State) -> list[ApiKey]:
    """At most a thousand, with those that are revoked. Keys of TETHER_API_KEYS are not in the list."""
    async with reading(state.pool) as conn:
        return await api_keys.all_keys(conn, limit=_LISTED_MAX)


@post("/", summary="Create an API key")
async def create(request: ApiRequest, state: State, data: JSONBody[NewKey]) -> Response[KeyWithSecret]:
    """The key is in this response only."""
    name, now = require_name(data.name), state.clock()
    expires_at = aware(data.expires_at, field="expires_at")
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("must be in the future", field="expires_at")
    secret = key_format.written(secrets.token_bytes(key_format.RANDOM_BYTES))
    key_digest = key_format.digest(secret)
    assert key_digest is not None
    async with transaction(state.pool) as conn:
        accounts = await limited_to(conn, request, state, data.accounts)
        taken = name in state.key_ring.holders or await api_keys.is_taken(conn, name)
        key_id = (
            None
            if taken
            else await api_keys.add(
                conn,
                name=name,
                key_digest=key_digest,
                role=data.role,
                accounts=accounts,
                owner=request.auth.owner,
                created_by=request.user,
                expires_at=expires_at,
                now=now,
            )
        )
        if key_id is None:
            raise InvalidRequest("a user or key with this name exists; choose another name", field="name")
        await audit.record(
            conn,
            request.auth.actor,
            "api_key.created",
            subject="api_key",
            subject_id=key_id,
            reason=data.reason,
            after=facts(
                key=name,
                role=data.role,
                accounts="all" if accounts is None else ", ".join(accounts),
                expires_at=None if expires_at is None else expires_at.isoformat(),
            ),
            now=now,
        )
        key = await api_keys.by_id(conn, key_id)
    assert key is not None
    _log.info("api key created", key_id=key_id, role=data.role)
    return Response(KeyWithSecret(key, secret), status_code=201)


@delete("/{key_id:int}", status_code=200, summary="Revoke an API key")
async def revoke(
    request: ApiRequest,
    state: State,
    key_id: Id,
    reason: OptionalReason = "",
) -> ApiKey:
    """The key and its sessions end at once. A second revocation changes nothing."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        key = await api_keys.hold(conn, key_id)
        if key is None:
            raise NotFoundException("There is no such API key")
        if key.revoked_at is not None:
            return key
        await api_keys.revoke(conn, key_id, revoked_by=request.user, now=now)
        await sessions.remove_of_api_key(conn, key_id)
        await audit.record(
            conn,
            request.auth.actor,
            "api_key.revoked",
            subject="api_key",
            subject_id=key_id,
            reason=reason,
            before=facts(key=key.name, role=key.role),
            now=now,
        )
        revoked = await api_keys.by_id(conn, key_id)
    assert revoked is not None
    _log.info("api key revoked", key_id=key_id)
    return revoked


ROUTER: Final = Router("/api/api-keys", route_handlers=[listed, create, revoke], tags=["people and keys"])
