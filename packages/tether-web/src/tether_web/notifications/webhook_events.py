"""`GET /api/webhook-events[/{id}]`: what the gateway told us, and what came of it; `POST .../replay`: once more."""

from typing import Annotated, Any

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from tether_core import redaction
from tether_core.emp.notification import decode
from tether_core.errors import IllegalStep, Unreadable
from tether_core.notifications.inbox import InboxState
from tether_stores.notifications import excess_deliveries, webhook_events
from tether_stores.notifications.webhook_events import Event
from tether_stores.postgres import connection, reading

from tether_web.http.pagination import LIMIT, LIMIT_MAX, Page, decode_cursor, page

__all__ = ["ROUTER", "EventDetail", "Word"]


class Word(msgspec.Struct, frozen=True):
    """
    What somebody says about a payment.

    Attributes:
        status: Its status at the gateway.
        error_code: For errors and declines.
        reason_code: Why money went back.
    """

    status: str
    error_code: str | None
    reason_code: str | None


class EventDetail(msgspec.Struct, frozen=True):
    """
    One notification with its fields.

    Attributes:
        event: The row, as in the list.
        reported: What the notification says; a signature covers only its id.
        confirmed: The gateway's own record, where it was asked.
        contradicted: Whether the gateway denies the claim, so that it had no effect.
        excess_deliveries: Further deliveries that it stands for, and that are only counted.
        content_type: The media type it came with.
        fields: What it said, personal fields masked, and nothing where it cannot be read; the stored bytes keep the
            original.
    """

    event: Event
    reported: Word
    confirmed: Word | None
    contradicted: bool
    excess_deliveries: int
    content_type: str
    fields: dict[str, str]


@get("/", summary="List notifications, newest first")
async def listed(
    state: State,
    status: Annotated[InboxState | None, Parameter(description="Only notifications in this state.")] = None,
    unique_id: Annotated[
        str | None, Parameter(description="Only those of this id of the gateway.", max_length=255)
    ] = None,
    cursor: Annotated[str | None, Parameter(description="`next` of the page before.", max_length=100)] = None,
    limit: Annotated[int, Parameter(ge=1, le=LIMIT_MAX, description="Rows a page has.")] = LIMIT,
) -> Page[Event]:
    """One page of the inbox."""
    async with reading(state.pool) as conn:
        rows = await webhook_events.listed(
            conn,
            limit=limit + 1,
            before=decode_cursor(cursor),
            state=status,
            notification_id=None
            if unique_id is None
            else unique_id.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
        )
    return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)


@get("/{event_id:int}", summary="One notification, with its fields")
async def detail(state: State, event_id: Annotated[int, Parameter(ge=1, le=2**63 - 1)]) -> EventDetail:
    """One notification; what is personal in it is masked."""
    async with reading(state.pool) as conn:
        found = await webhook_events.by_id(conn, event_id)
        word = await webhook_events.word(conn, event_id)
        excess = await excess_deliveries.of(conn, event_id)
    if found is None:
        raise NotFoundException("There is no such notification")
    event, content_type, body = found
    try:
        notification = decode(body, content_type=content_type)
        reported, fields = (
            Word(notification.status, notification.error_code, notification.reason_code),
            notification.fields,
        )
    except Unreadable:
        # The state says so; what could be said of it is in the row.
        reported, fields = Word(event.status, None, None), {}
    return EventDetail(
        event,
        reported,
        None if word is None else Word(word.status, word.error_code, word.reason_code),
        event.outcome == "contradicted",
        excess,
        content_type,
        redaction.fields(fields),
    )


@post(
    "/{event_id:int}/replay",
    status_code=202,
    summary="Put a parked or contradicted notification back to work",
)
async def replay(state: State, event_id: Annotated[int, Parameter(ge=1, le=2**63 - 1)]) -> dict[str, Any]:
    """Have a parked notification tried again from the first step of its schedule, a contradicted one inquired anew."""
    async with connection(state.pool) as conn:
        if not await webhook_events.replay(conn, event_id, now=state.clock()):
            found = await webhook_events.by_id(conn, event_id)
            if found is None:
                raise NotFoundException("There is no such notification")
            raise IllegalStep("notification", state=found[0].state, step="replayed")
    return {"id": event_id, "state": "waiting"}


ROUTER = Router("/api/webhook-events", route_handlers=[listed, detail, replay], tags=["notifications"])
