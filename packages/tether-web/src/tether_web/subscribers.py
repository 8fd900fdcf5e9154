"""
`/api/subscribers`, `/api/deliveries` and `/api/event-types`: other systems to which events are sent.

```text
GET    /api/subscribers                     list subscribers by name
POST   /api/subscribers                     add a subscriber; its secret is in this response only       201
PATCH  /api/subscribers/{id}                change name, URL and filters
DELETE /api/subscribers/{id}                remove it
POST   /api/subscribers/{id}/pause          send nothing more for now
POST   /api/subscribers/{id}/activate       go on after a pause or after it was disabled
POST   /api/subscribers/{id}/rotate         make a new secret; the former one signs too for some hours
POST   /api/subscribers/{id}/replay         send a range of events again                                202
GET    /api/subscribers/{id}/deliveries     the delivery log, newest first
GET    /api/subscribers/{id}/replays        its replays, newest first
GET    /api/deliveries?event_id=            who got an event
GET    /api/deliveries/{id}                 a delivery with its tries
POST   /api/deliveries/{id}/replay          send it again
GET    /api/event-types                     all types of events with their JSON Schemas
```
"""

import secrets
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, delete, get, patch, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter, QueryParameter
from tether_core.audit import Action, Fact, facts
from tether_core.errors import InvalidRequest
from tether_core.people.roles import require_name
from tether_core.subscribers import cloud_events
from tether_core.subscribers.addresses import networks, require_url
from tether_core.subscribers.cloud_events import EventType
from tether_core.subscribers.delivery import DeliveryState
from tether_core.subscribers.subscriber import Filter, SubscriberState, SubscriberStep, require_types, step
from tether_stores import audit
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.subscribers import deliveries, replays, subscribers
from tether_stores.subscribers import secrets as stored_secrets
from tether_stores.subscribers.deliveries import Delivery, Try
from tether_stores.subscribers.replays import Replay
from tether_stores.subscribers.subscribers import Subscriber
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, LIMIT_MAX, Page, decode_cursor, page
from tether_web.http.parameters import BIGINT_MAX, Id, aware, printable
from tether_web.people.users import Accounts, limited_to

__all__ = ["ROUTERS", "DeliveryDetail", "SubscriberWithSecret"]

Reason = Annotated[str, msgspec.Meta(max_length=500, description="Why; stored in the audit.")]
Types = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=100)], ...], msgspec.Meta(max_length=100)]
_Url = Annotated[str, msgspec.Meta(max_length=2_000)]
_Name = Annotated[str, msgspec.Meta(max_length=200)]
_EventId = Annotated[int, msgspec.Meta(ge=0, le=BIGINT_MAX)]

# Each has its own slots in each worker.
_SUBSCRIBERS_MAX: Final = 50
_OVERLAP_HOURS: Final = 24
_OVERLAP_HOURS_MAX: Final = 24 * 14
_TRIES_MAX: Final = 100
_REPLAYS_MAX: Final = 100
_LEADS_TO: Final[dict[SubscriberStep, SubscriberState]] = {"paused": "paused", "activated": "active"}
_GONE: Final = "There is no such subscriber"
_log = logger("subscribers")


class NewSubscriber(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A subscriber to be added.

    Attributes:
        name: 1 to 64 letters, digits and . _ - @ +.
        url: Where events are sent: https, and a public address.
        types: The names of the events it gets; null for all.
        accounts: The gateway accounts whose events it gets; null for all. With accounts, events of no account are excluded.
        after: The event after which it begins, 0 for all that are stored; null for new events only.
        reason: Why; stored in the audit.
    """

    name: _Name
    url: _Url
    types: Types | None = None
    accounts: Accounts | None = None
    after: _EventId | None = None
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


class ReplayOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A range of events to be sent again, by their ids or by their times.

    Attributes:
        after: Events after this id.
        up_to: Up to and with this id; null for all that the subscriber has passed.
        since: Events from this time on, in place of `after`.
        until: Events before this time, in place of `up_to`.
        types: Only events of these types; null for all that the subscriber gets.
        reason: Why; stored in the audit.
    """

    after: _EventId | None = None
    up_to: _EventId | None = None
    since: datetime | None = None
    until: datetime | None = None
    types: Types | None = None
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


class DeliveryDetail(msgspec.Struct, frozen=True):
    """
    A delivery with its tries.

    Attributes:
        delivery: The delivery.
        tries: Its tries, newest first; at most a hundred.
    """

    delivery: Delivery
    tries: list[Try]


def _shown(name: str, url: str, chosen: Filter) -> dict[str, Fact]:
    return facts(
        subscriber=name,
        url=url,
        types="all" if chosen.types is None else ", ".join(chosen.types),
        accounts="all" if chosen.accounts is None else ", ".join(chosen.accounts),
    )


def _require_url(state: State, url: str) -> str:
    return require_url(url, allowed=networks(state.settings.subscriber_networks))


async def _held(conn: Connection, subscriber_id: int) -> Subscriber:
    found = await subscribers.hold(conn, subscriber_id)
    if found is None:
        raise NotFoundException(_GONE)
    return found


async def _found(conn: Connection, subscriber_id: int) -> Subscriber:
    found = await subscribers.by_id(conn, subscriber_id)
    if found is None:
        raise NotFoundException(_GONE)
    return found


async def _record(
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
        chosen = Filter(require_types(data.types), await limited_to(conn, request, state, data.accounts))
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
        await _record(
            conn,
            request,
            "subscriber.added",
            subscriber_id,
            reason=data.reason,
            after=_shown(name, url, chosen),
            now=now,
        )
        subscriber = await _found(conn, subscriber_id)
    _log.info("subscriber added", subscriber_id=subscriber_id)
    return Response(SubscriberWithSecret(subscriber, secret), status_code=201)


@get("/{subscriber_id:int}", summary="One subscriber")
async def detail(state: State, subscriber_id: Id) -> Subscriber:
    """One subscriber, with how much waits for it."""
    async with reading(state.pool) as conn:
        return await _found(conn, subscriber_id)


@patch("/{subscriber_id:int}", summary="Change a subscriber")
async def change(
    request: ApiRequest, state: State, subscriber_id: Id, data: JSONBody[SubscriberChange]
) -> Subscriber:
    """What is left out stays. Filters hold for events that have not become deliveries yet."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        before = await _held(conn, subscriber_id)
        name = before.name if data.name is msgspec.UNSET else require_name(data.name)
        url = before.url if data.url is msgspec.UNSET else _require_url(state, data.url)
        types = before.types if data.types is msgspec.UNSET else require_types(data.types)
        accounts = (
            before.accounts
            if data.accounts is msgspec.UNSET
            else await limited_to(conn, request, state, data.accounts)
        )
        chosen, former = Filter(types, accounts), Filter(before.types, before.accounts)
        if (name, url, chosen) == (before.name, before.url, former):
            return await _found(conn, subscriber_id)
        if not await subscribers.change(conn, subscriber_id, name=name, url=url, chosen=chosen, now=now):
            raise InvalidRequest("a subscriber with this name exists; choose another name", field="name")
        await _record(
            conn,
            request,
            "subscriber.changed",
            subscriber_id,
            reason=data.reason,
            before=_shown(before.name, before.url, former),
            after=_shown(name, url, chosen),
            now=now,
        )
        return await _found(conn, subscriber_id)


async def _step(
    request: ApiRequest, state: State, subscriber_id: int, taken: SubscriberStep, *, reason: str
) -> Subscriber:
    """Take a step of a person; a step that was taken before changes nothing."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        before = await _held(conn, subscriber_id)
        if before.state == _LEADS_TO.get(taken):
            return await _found(conn, subscriber_id)
        after = step(before.state, taken)
        await subscribers.put_state(conn, subscriber_id, after, now=now)
        if after == "active":
            await deliveries.bring_forward(conn, subscriber_id, now=now)
        if after == "removed":
            await deliveries.drop_waiting(conn, subscriber_id)
        await _record(
            conn,
            request,
            "subscriber.removed" if after == "removed" else "subscriber.changed",
            subscriber_id,
            reason=reason,
            before=facts(subscriber=before.name, state=before.state),
            after=facts(subscriber=before.name, state=after),
            now=now,
        )
        subscriber = before if after == "removed" else await _found(conn, subscriber_id)
    _log.info("subscriber changed", subscriber_id=subscriber_id, step=taken)
    return subscriber


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
        held = await _held(conn, subscriber_id)
        former = stored_secrets.opened(
            subscriber_id, await subscribers.sealed(conn, subscriber_id), keys=keys
        )
        kept = [secret, *former[:1]] if data.overlap_hours else [secret]
        until = now + timedelta(hours=data.overlap_hours) if len(kept) > 1 else None
        text = stored_secrets.sealed(subscriber_id, kept, keys=keys)
        await subscribers.put_secrets(conn, subscriber_id, text=text, old_secret_until=until, now=now)
        await _record(
            conn,
            request,
            "subscriber.secret_rotated",
            subscriber_id,
            reason=data.reason,
            after=facts(subscriber=held.name, overlap_hours=data.overlap_hours),
            now=now,
        )
        subscriber = await _found(conn, subscriber_id)
    _log.info("subscriber secret rotated", subscriber_id=subscriber_id)
    return SubscriberWithSecret(subscriber, secret)


@post("/{subscriber_id:int}/replay", status_code=202, summary="Send a range of events again")
async def replay(request: ApiRequest, state: State, subscriber_id: Id, data: JSONBody[ReplayOrder]) -> Replay:
    """Each event keeps its id, so a receiver that remembers ids takes only what it misses."""
    now = state.clock()
    since, until = aware(data.since, field="since"), aware(data.until, field="until")
    if (data.after is None) == (since is None):
        raise InvalidRequest("say where the range begins: either `after` or `since`", field="after")
    if data.up_to is not None and until is not None:
        raise InvalidRequest("give either `up_to` or `until`", field="up_to")
    types = require_types(data.types)
    async with transaction(state.pool) as conn:
        subscriber = await _held(conn, subscriber_id)
        after = data.after if since is None else await replays.id_before(conn, since)
        up_to = data.up_to if until is None else await replays.id_before(conn, until)
        # What the subscriber has not passed is sent anyway.
        up_to = subscriber.position if up_to is None else min(up_to, subscriber.position)
        assert after is not None
        if after >= up_to:
            raise InvalidRequest("there is no event in this range that the subscriber has passed")
        ordered = await replays.add(
            conn,
            subscriber_id,
            types=types,
            after=after,
            up_to=up_to,
            ordered_by=request.user,
            reason=printable(data.reason, field="reason"),
            now=now,
        )
        if ordered is None:
            raise InvalidRequest("a replay of this subscriber is in progress; wait until it is finished")
        await _record(
            conn,
            request,
            "subscriber.replayed",
            subscriber_id,
            reason=data.reason,
            after=facts(subscriber=subscriber.name, after=after, up_to=up_to),
            now=now,
        )
    return ordered


@get("/{subscriber_id:int}/replays", summary="Replays of a subscriber, newest first")
async def replays_of(state: State, subscriber_id: Id) -> list[Replay]:
    """At most a hundred."""
    async with reading(state.pool) as conn:
        await _found(conn, subscriber_id)
        return await replays.of_subscriber(conn, subscriber_id, limit=_REPLAYS_MAX)


@get(
    "/{subscriber_id:int}/deliveries",
    summary="Deliveries to a subscriber, newest first",
    responses=described(Delivery),
)
async def deliveries_of(
    state: State,
    subscriber_id: Id,
    delivery_state: Annotated[
        DeliveryState | None, QueryParameter(name="state", description="Only deliveries in this state.")
    ] = None,
    cursor: Annotated[
        str | None, Parameter(description="`next` of the previous page.", max_length=100)
    ] = None,
    limit: Annotated[int, Parameter(ge=1, le=LIMIT_MAX, description="Rows in a page.")] = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of the delivery log."""

    async def load(cursor: str | None, limit: int) -> Page[Delivery]:
        async with reading(state.pool) as conn:
            await _found(conn, subscriber_id)
            rows = await deliveries.listed(
                conn, subscriber_id, state=delivery_state, before=decode_cursor(cursor), limit=limit + 1
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=Delivery, name="deliveries", cursor=cursor, limit=limit)


@get("/", summary="Deliveries of an event")
async def of_event(
    state: State,
    event_id: Annotated[int, Parameter(ge=1, le=BIGINT_MAX, description="The id of the event.")],
) -> list[Delivery]:
    """Which subscribers got an event; at most a hundred."""
    async with reading(state.pool) as conn:
        return await deliveries.of_event(conn, event_id, limit=_TRIES_MAX)


@get("/{delivery_id:int}", summary="One delivery with its tries")
async def delivery_detail(state: State, delivery_id: Id) -> DeliveryDetail:
    """When it was sent, how long each try took, and what was answered."""
    async with reading(state.pool) as conn:
        found = await deliveries.by_id(conn, delivery_id)
        if found is None:
            raise NotFoundException("There is no such delivery")
        return DeliveryDetail(found, await deliveries.tries(conn, delivery_id, limit=_TRIES_MAX))


@post("/{delivery_id:int}/replay", status_code=200, summary="Send a delivery again")
async def replay_delivery(
    request: ApiRequest, state: State, delivery_id: Id, data: JSONBody[Why]
) -> DeliveryDetail:
    """One that waits for a retry is sent now."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        found = await deliveries.by_id(conn, delivery_id)
        held = None if found is None else await subscribers.hold(conn, found.subscriber_id)
        if found is None or held is None:
            raise NotFoundException("There is no such delivery")
        await deliveries.reopen(conn, held.id, [found.event_id], now=now)
        await deliveries.send_now(conn, found.id, now=now)
        await _record(
            conn,
            request,
            "subscriber.replayed",
            held.id,
            reason=data.reason,
            after=facts(subscriber=held.name, event_id=found.event_id),
            now=now,
        )
        again = await deliveries.by_id(conn, delivery_id)
        assert again is not None
        return DeliveryDetail(again, await deliveries.tries(conn, delivery_id, limit=_TRIES_MAX))


@get("/", summary="All types of events")
async def event_types() -> list[EventType]:
    """With their JSON Schemas, of the data alone and of the whole body that subscribers get."""
    return list(cloud_events.catalogue())


ROUTERS: Final = (
    Router(
        "/api/subscribers",
        route_handlers=[
            listed,
            add,
            detail,
            change,
            remove,
            pause,
            activate,
            rotate,
            replay,
            replays_of,
            deliveries_of,
        ],
        tags=["subscribers"],
    ),
    Router(
        "/api/deliveries",
        route_handlers=[of_event, delivery_detail, replay_delivery],
        tags=["subscribers"],
    ),
    Router("/api/event-types", route_handlers=[event_types], tags=["events"]),
)
