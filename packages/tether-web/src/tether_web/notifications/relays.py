"""
`/api/relays`: further addresses for notifications, each of one gateway account.

```text
GET    /api/relays               all relays, newest first
POST   /api/relays               create one; its address is in this response only
DELETE /api/relays/{relay_id}    revoke one
```

What comes to a relay is received by `tether_web.notifications.receive`.
"""

import contextlib
import secrets
from typing import Annotated, Final

import msgspec
from litestar import Router, delete, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import facts
from tether_core.errors import InvalidRequest, TetherError
from tether_core.notifications.relays import RANDOM_BYTES, RELAYS_MAX, digest, require_name, written
from tether_stores import audit
from tether_stores.accounts import gateway_accounts
from tether_stores.accounts.gateway_accounts import DEFAULT
from tether_stores.notifications import relays
from tether_stores.notifications.relays import ListedRelay
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id, printable
from tether_web.notifications.receive import PATH

__all__ = ["ROUTER", "NewRelay", "RelayWithToken"]

_LISTED_MAX: Final = 1_000
_log = logger("relays")


class NewRelay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A relay to be created.

    Attributes:
        name: 1 to 32 of a-z, 0-9, hyphen and underscore, such as "partner".
        account: The gateway account whose passwords verify what comes there.
        reason: Why; stored in the audit.
    """

    name: Annotated[str, msgspec.Meta(max_length=200)]
    account: Annotated[str, msgspec.Meta(max_length=32)] = DEFAULT
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class RelayWithToken(msgspec.Struct, frozen=True):
    """
    A new relay.

    Attributes:
        relay: Its name and account.
        token: The secret part of its address; shown this once.
        path: The path of its address on this host; shown this once.
    """

    relay: ListedRelay
    token: str
    path: str


@get("/", summary="List relays, newest first")
async def listed(state: State) -> list[ListedRelay]:
    """At most a thousand, with those that are revoked; tokens are not shown."""
    async with reading(state.pool) as conn:
        return await relays.listed(conn, limit=_LISTED_MAX)


@post("/", summary="Create a relay")
async def create(request: ApiRequest, state: State, data: JSONBody[NewRelay]) -> RelayWithToken:
    """Its token is in this response only. All nodes know it within some seconds."""
    name, reason, now = require_name(data.name), printable(data.reason, field="reason"), state.clock()
    token = written(secrets.token_bytes(RANDOM_BYTES))
    stored = digest(token)
    assert stored is not None
    async with transaction(state.pool) as conn:
        await _require_account(conn, state, data.account)
        relay_id = await relays.add(
            conn, name=name, account=data.account, digest=stored, created_by=request.user, now=now
        )
        if relay_id is None:
            raise InvalidRequest(
                f"a relay with this name exists, or there are {RELAYS_MAX:,} relays; revoke it, or choose another name",
                field="name",
            )
        await audit.record(
            conn,
            request.auth.actor,
            "relay.created",
            subject="relay",
            subject_id=relay_id,
            reason=reason,
            after=facts(relay=name, account=data.account),
            now=now,
        )
    await _refresh(state)
    _log.info("relay created", relay_id=relay_id, account=data.account)
    made = ListedRelay(relay_id, name, data.account, request.user, now, None, None, None)
    return RelayWithToken(made, token, f"{PATH}/{token}")


@delete("/{relay_id:int}", status_code=200, summary="Revoke a relay")
async def revoke(
    request: ApiRequest,
    state: State,
    relay_id: Id,
    reason: Annotated[str, Parameter(description="Why; stored in the audit.", max_length=500)] = "",
) -> list[ListedRelay]:
    """All nodes respond 404 within some seconds. What came there before stays. 404 where no relay that is not revoked has this id."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        revoked = await relays.revoke(conn, relay_id, revoked_by=request.user, now=now)
        if revoked is None:
            raise NotFoundException("There is no such relay, or it was revoked before")
        name, account = revoked
        await audit.record(
            conn,
            request.auth.actor,
            "relay.revoked",
            subject="relay",
            subject_id=relay_id,
            reason=printable(reason, field="reason"),
            before=facts(relay=name, account=account),
            now=now,
        )
        left = await relays.listed(conn, limit=_LISTED_MAX)
    await _refresh(state)
    _log.info("relay revoked", relay_id=relay_id, account=account)
    return left


async def _require_account(conn: Connection, state: State, name: str) -> None:
    known = await gateway_accounts.all_accounts(conn, settings=state.settings)
    account = known.get(name)
    if account is None and name != DEFAULT:
        raise InvalidRequest("no gateway account has this name", field="account")
    if account is not None and account.former_of is not None:
        raise InvalidRequest(
            f"this is a former login or address of {account.former_of}; name {account.former_of}, whose relays verify for it too",
            field="account",
        )


async def _refresh(state: State) -> None:
    """Know the change at once on this node; the others, and this one if it fails, learn of it within seconds."""
    with contextlib.suppress(TetherError):
        await state.known_relays.refresh(state.pool)


ROUTER: Final = Router("/api/relays", route_handlers=[listed, create, revoke], tags=["notifications"])
