"""
What is delivered to subscribers: the delivery log, and events that are sent again.

```text
POST   /api/subscribers/{id}/replay         send a range of events again                                202
GET    /api/subscribers/{id}/deliveries     the delivery log, newest first
GET    /api/subscribers/{id}/replays        its replays, newest first
GET    /api/deliveries?event_id=            who got an event
GET    /api/deliveries/{id}                 a delivery with its tries
POST   /api/deliveries/{id}/replay          send it again
```
"""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody, Parameter, QueryParameter
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.subscribers.delivery import DeliveryState
from tether_core.subscribers.subscriber import require_types
from tether_stores.postgres import reading, transaction
from tether_stores.subscribers import deliveries, replays, subscribers
from tether_stores.subscribers.deliveries import Delivery, Try
from tether_stores.subscribers.replays import Replay

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import BIGINT_MAX, Id, aware, printable
from tether_web.subscribers.subscribers import EventId, Reason, Types, Why, found, held, record

__all__ = ["ROUTERS", "DeliveryDetail"]

_TRIES_MAX: Final = 100
_REPLAYS_MAX: Final = 100


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

    after: EventId | None = None
    up_to: EventId | None = None
    since: datetime | None = None
    until: datetime | None = None
    types: Types | None = None
    reason: Reason = ""


class DeliveryDetail(msgspec.Struct, frozen=True):
    """
    A delivery with its tries.

    Attributes:
        delivery: The delivery.
        tries: Its tries, newest first; at most a hundred.
    """

    delivery: Delivery
    tries: list[Try]


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
        subscriber = await held(conn, subscriber_id)
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
        await record(
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
        await found(conn, subscriber_id)
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
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of the delivery log."""

    async def load(cursor: str | None, limit: int) -> Page[Delivery]:
        async with reading(state.pool) as conn:
            await found(conn, subscriber_id)
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
        delivery = await deliveries.by_id(conn, delivery_id)
        if delivery is None:
            raise NotFoundException("There is no such delivery")
        return DeliveryDetail(delivery, await deliveries.tries(conn, delivery_id, limit=_TRIES_MAX))


@post("/{delivery_id:int}/replay", status_code=200, summary="Send a delivery again")
async def replay_delivery(
    request: ApiRequest, state: State, delivery_id: Id, data: JSONBody[Why]
) -> DeliveryDetail:
    """One that waits for a retry is sent now."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        delivery = await deliveries.by_id(conn, delivery_id)
        subscriber = None if delivery is None else await subscribers.hold(conn, delivery.subscriber_id)
        if delivery is None or subscriber is None:
            raise NotFoundException("There is no such delivery")
        await deliveries.send_again(conn, delivery, now=now)
        await record(
            conn,
            request,
            "subscriber.replayed",
            subscriber.id,
            reason=data.reason,
            after=facts(subscriber=subscriber.name, event_id=delivery.event_id),
            now=now,
        )
        again = await deliveries.by_id(conn, delivery_id)
        assert again is not None
        return DeliveryDetail(again, await deliveries.tries(conn, delivery_id, limit=_TRIES_MAX))


ROUTERS: Final = (
    Router("/api/subscribers", route_handlers=[replay, replays_of, deliveries_of], tags=["subscribers"]),
    Router(
        "/api/deliveries",
        route_handlers=[of_event, delivery_detail, replay_delivery],
        tags=["subscribers"],
    ),
)
