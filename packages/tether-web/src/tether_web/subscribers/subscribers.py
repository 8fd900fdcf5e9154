"""
`/api/subscribers`: other systems to which events are sent.

```text
GET    /api/subscribers                     list subscribers by name
POST   /api/subscribers                     add a subscriber; its secret is in this response only       201
PATCH  /api/subscribers/{id}                change name, URL and filters
DELETE /api/subscribers/{id}                remove it
POST   /api/subscribers/{id}/pause          send nothing more for now
POST   /api/subscribers/{id}/activate       go on after a pause or after it was disabled
POST   /api/subscribers/{id}/rotate         make a new secret; the former one signs too for some hours
```
"""

import secrets
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from litestar import Response, Router, delete, get, patch, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter
from tether_core.audit import Action, Fact, facts
from tether_core.errors import InvalidRequest
from tether_core.people.roles import require_name
from tether_core.subscribers.addresses import networks, require_url
from tether_core.subscribers.subscriber import (
    EventFilter,
    SubscriberState,
    SubscriberStep,
    require_types,
    step,
)
from tether_core.subscribers.topics import require_topic
from tether_stores import audit
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.subscribers import deliveries, replays, subscribers
from tether_stores.subscribers import secrets as stored_secrets
from tether_stores.subscribers.subscribers import Subscriber
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import BIGINT_MAX, Id
from tether_web.people.users import Accounts, limited_to

__all__ = [
    "ROUTER",
    "EventId",
    "Reason",
    "SubscriberWithSecret",
    "Types",
    "Why",
    "found",
    "held",
    "record",
]

Reason = Annotated[str, msgspec.Meta(max_length=500, description="Why; stored in the audit.")]
Types = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=100)], ...], msgspec.Meta(max_length=100)]
_Url = Annotated[str, msgspec.Meta(max_length=2_000)]
_Name = Annotated[str, msgspec.Meta(max_length=200)]
EventId = Annotated[int, msgspec.Meta(ge=0, le=BIGINT_MAX)]
# Each has its own slots in each worker.
_SUBSCRIBERS_MAX: Final = 50
_OVERLAP_HOURS: Final = 24
_OVERLAP_HOURS_MAX: Final = 24 * 14
_LEADS_TO: Final[dict[SubscriberStep, SubscriberState]] = {"paused": "paused", "activated": "active"}
_GONE: Final = "There is no such subscriber"
_log = logger("subscribers")


class NewSubscriber(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A subscriber to be added.

    Attributes:
        name: 1 to 64 letters, digits and . _ - @ +.
        url: Where events are sent: https, and a public address; or kafka:TOPIC or nats:SUBJECT, where the broker is configured.
        types: The names of the events it gets; null for all.
        accounts: The gateway accounts whose events it gets; null for all. With accounts, events of no account are excluded.
        after: The event after which it begins, 0 for all that are stored; null for new events only.
        reason: Why; stored in the audit.
    """

    name: _Name
    url: _Url
    types: Types | None = None
    accounts: Accounts | None = None
    after: EventId | None = None
    reason: Reason = ""


class SubscriberChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A change of a subscriber; what is left out stays.

    Attributes:
        name: The new name.
        url: The new URL; deliveries that wait go there, too.
        types: The names of the events it gets from now on; null for all.
        accounts: The gateway accounts whose events it gets from now on; null for all.
        reason: Why; stored in the audit.
    """

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    url: _Url | msgspec.UnsetType = msgspec.UNSET
    types: Types | msgspec.UnsetType | None = msgspec.UNSET
    accounts: Accounts | msgspec.UnsetType | None = msgspec.UNSET
    reason: Reason = ""


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A new secret.

    Attributes:
        overlap_hours: For how long the former secret signs too; 0 to end it at once, as after a leak.
        reason: Why; stored in the audit.
    """

    overlap_hours: Annotated[int, msgspec.Meta(ge=0, le=_OVERLAP_HOURS_MAX)] = _OVERLAP_HOURS
    reason: Reason = ""


class Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Why something is done.

    Attributes:
        reason: Why; stored in the audit.
    """

    reason: Reason = ""


class SubscriberWithSecret(msgspec.Struct, frozen=True):
    """
    A subscriber with a new secret.

    Attributes:
        subscriber: Its name, URL and filters.
        secret: What verifies the signatures, as Standard Webhooks has it; shown this once.
    """

    subscriber: Subscriber
    secret: str


@get("/", summary="List subscribers by name")
async def listed(state: State) -> list[Subscriber]:
    """At most fifty; removed ones are not in the list."""
    async with reading(state.pool) as conn:
        return await subscribers.all_subscribers(conn, limit=_SUBSCRIBERS_MAX)


@post("/", summary="Add a subscriber")
async def add(
    request: ApiRequest, state: State, data: JSONBody[NewSubscriber]
) -> Response[SubscriberWithSecret]:
    """Events after this are sent to it. Its secret is in this response only."""
    name, url, now = require_name(data.name), _require_url(state, data.url), state.clock()
    secret = stored_secrets.written(secrets.token_bytes(stored_secrets.SECRET_BYTES))
    async with transaction(state.pool) as conn:
        chosen = EventFilter(require_types(data.types), await limited_to(conn, request, state, data.accounts))
        await subscribers.hold_to_add(conn)
        if await subscribers.count(conn) >= _SUBSCRIBERS_MAX:
            raise InvalidRequest(f"there are {_SUBSCRIBERS_MAX} subscribers; remove one first")
        if data.after is not None and data.after > await replays.newest(conn):
            raise InvalidRequest("no event has this id yet; leave it out for new events only", field="after")
        subscriber_id = await subscribers.add(
            conn,
            name=name,
            url=url,
            chosen=chosen,
            position=data.after,
            created_by=request.user,
            now=now,
        )
        if subscriber_id is None:
            raise InvalidRequest("a subscriber with this name exists; choose another name", field="name")
        text = stored_secrets.sealed(subscriber_id, [secret], keys=state.settings.secrets_key)
        await subscribers.put_secrets(conn, subscriber_id, text=text, old_secret_until=None, now=now)
        await record(
            conn,
            request,
            "subscriber.added",
            subscriber_id,
            reason=data.reason,
            after=_shown(name, url, chosen),
            now=now,
        )
        subscriber = await found(conn, subscriber_id)
    _log.info("subscriber added", subscriber_id=subscriber_id)
    return Response(SubscriberWithSecret(subscriber, secret), status_code=201)


@get("/{subscriber_id:int}", summary="One subscriber")
async def detail(state: State, subscriber_id: Id) -> Subscriber:
    """One subscriber, with how much waits for it."""
    async with reading(state.pool) as conn:
        return await found(conn, subscriber_id)


@patch("/{subscriber_id:int}", summary="Change a subscriber")
async def change(
    request: ApiRequest, state: State, subscriber_id: Id, data: JSONBody[SubscriberChange]
) -> Subscriber:
    """What is left out stays. Filters hold for events that have not become deliveries yet."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        before = await held(conn, subscriber_id)
        name = before.name if data.name is msgspec.UNSET else require_name(data.name)
        url = before.url if data.url is msgspec.UNSET else _require_url(state, data.url)
        types = before.types if data.types is msgspec.UNSET else require_types(data.types)
        accounts = (
            before.accounts
            if data.accounts is msgspec.UNSET
            else await limited_to(conn, request, state, data.accounts)
        )
        chosen, former = EventFilter(types, accounts), EventFilter(before.types, before.accounts)
        if (name, url, chosen) == (before.name, before.url, former):
            return await found(conn, subscriber_id)
        if not await subscribers.change(conn, subscriber_id, name=name, url=url, chosen=chosen, now=now):
            raise InvalidRequest("a subscriber with this name exists; choose another name", field="name")
        await record(
            conn,
            request,
            "subscriber.changed",
            subscriber_id,
            reason=data.reason,
            before=_shown(before.name, before.url, former),
            after=_shown(name, url, chosen),
            now=now,
        )
        return await found(conn, subscriber_id)


@delete("/{subscriber_id:int}", status_code=204, summary="Remove a subscriber")
async def remove(
    request: ApiRequest,
    state: State,
    subscriber_id: Id,
    reason: Annotated[str, Parameter(description="Why; stored in the audit.", max_length=500)] = "",
) -> None:
    """Nothing more is sent to it, and its secrets are deleted. Its delivery log stays for a while."""
    await _step(request, state, subscriber_id, "removed", reason=reason)


@post("/{subscriber_id:int}/pause", status_code=200, summary="Pause a subscriber")
async def pause(request: ApiRequest, state: State, subscriber_id: Id, data: JSONBody[Why]) -> Subscriber:
    """Its events wait until it is activated."""
    return await _step(request, state, subscriber_id, "paused", reason=data.reason)


@post("/{subscriber_id:int}/activate", status_code=200, summary="Activate a subscriber")
async def activate(request: ApiRequest, state: State, subscriber_id: Id, data: JSONBody[Why]) -> Subscriber:
    """What waits is sent now, in order. A disabled subscriber gets its days again."""
    return await _step(request, state, subscriber_id, "activated", reason=data.reason)


@post("/{subscriber_id:int}/rotate", status_code=200, summary="Make a new secret")
async def rotate(
    request: ApiRequest, state: State, subscriber_id: Id, data: JSONBody[Rotation]
) -> SubscriberWithSecret:
    """Deliveries are signed with both secrets until the former one ends. The new one is in this response only."""
    now, keys = state.clock(), state.settings.secrets_key
    secret = stored_secrets.written(secrets.token_bytes(stored_secrets.SECRET_BYTES))
    async with transaction(state.pool) as conn:
        subscriber = await held(conn, subscriber_id)
        former = stored_secrets.opened(
            subscriber_id, await subscribers.sealed(conn, subscriber_id), keys=keys
        )
        kept = [secret, *former[:1]] if data.overlap_hours else [secret]
        until = now + timedelta(hours=data.overlap_hours) if len(kept) > 1 else None
        text = stored_secrets.sealed(subscriber_id, kept, keys=keys)
        await subscribers.put_secrets(conn, subscriber_id, text=text, old_secret_until=until, now=now)
        await record(
            conn,
            request,
            "subscriber.secret_rotated",
            subscriber_id,
            reason=data.reason,
            after=facts(subscriber=subscriber.name, overlap_hours=data.overlap_hours),
            now=now,
        )
        subscriber = await found(conn, subscriber_id)
    _log.info("subscriber secret rotated", subscriber_id=subscriber_id)
    return SubscriberWithSecret(subscriber, secret)


async def held(conn: Connection, subscriber_id: int) -> Subscriber:
    """Lock a subscriber for a change; 404 where there is none."""
    subscriber = await subscribers.hold(conn, subscriber_id)
    if subscriber is None:
        raise NotFoundException(_GONE)
    return subscriber


async def found(conn: Connection, subscriber_id: int) -> Subscriber:
    """One subscriber; 404 where there is none."""
    subscriber = await subscribers.by_id(conn, subscriber_id)
    if subscriber is None:
        raise NotFoundException(_GONE)
    return subscriber


async def record(
    conn: Connection,
    request: ApiRequest,
    action: Action,
    subscriber_id: int,
    *,
    reason: str,
    before: dict[str, Fact] | None = None,
    after: dict[str, Fact] | None = None,
    now: datetime,
) -> None:
    """Write an action on a subscriber to the audit, in the transaction of the action."""
    await audit.record(
        conn,
        request.auth.actor,
        action,
        subject="subscriber",
        subject_id=subscriber_id,
        reason=reason,
        before=before,
        after=after,
        now=now,
    )


def _shown(name: str, url: str, chosen: EventFilter) -> dict[str, Fact]:
    return facts(
        subscriber=name,
        url=url,
        types="all" if chosen.types is None else ", ".join(chosen.types),
        accounts="all" if chosen.accounts is None else ", ".join(chosen.accounts),
    )


def _require_url(state: State, url: str) -> str:
    topic = require_topic(url, configured=state.settings.brokers)
    return topic or require_url(url, allowed=networks(state.settings.subscriber_networks))


async def _step(
    request: ApiRequest, state: State, subscriber_id: int, taken: SubscriberStep, *, reason: str
) -> Subscriber:
    """Take a step of a person; a step that was taken before changes nothing."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        before = await held(conn, subscriber_id)
        if before.state == _LEADS_TO.get(taken):
            return await found(conn, subscriber_id)
        after = step(before.state, taken)
        await subscribers.put_state(conn, subscriber_id, after, now=now)
        if after == "active":
            await deliveries.bring_forward(conn, subscriber_id, now=now)
        if after == "removed":
            await deliveries.drop_waiting(conn, subscriber_id)
        await record(
            conn,
            request,
            "subscriber.removed" if after == "removed" else "subscriber.changed",
            subscriber_id,
            reason=reason,
            before=facts(subscriber=before.name, state=before.state),
            after=facts(subscriber=before.name, state=after),
            now=now,
        )
        subscriber = before if after == "removed" else await found(conn, subscriber_id)
    _log.info("subscriber changed", subscriber_id=subscriber_id, step=taken)
    return subscriber


ROUTER: Final = Router(
    "/api/subscribers",
    route_handlers=[listed, add, detail, change, remove, pause, activate, rotate],
    tags=["subscribers"],
)
