"""`/api/webhook-events`: list stored notifications and their outcomes, and replay one."""

from typing import Annotated, Any

import msgspec
from litestar import Response, Router, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from tether_core import redaction
from tether_core.audit import facts
from tether_core.emp.notification import decode
from tether_core.errors import IllegalStep, Unreadable
from tether_core.notifications.filters import require_narrow
from tether_core.notifications.inbox import InboxState
from tether_core.retention.periods import NoLongerKept
from tether_stores import audit
from tether_stores.notifications import event_lists, excess_deliveries, webhook_events
from tether_stores.notifications.event_lists import WebhookEvent
from tether_stores.postgres import Connection, reading, transaction
from tether_stores.retention import archives

from tether_web.http.auth import ApiRequest
from tether_web.http.list_response import Form, described, in_form
from tether_web.http.pagination import LIMIT, Cursor, Limit, Page, decode_cursor, page
from tether_web.http.parameters import Id, OptionalReason

__all__ = ["ROUTER", "EventDetail", "ReportedStatus"]


class ReportedStatus(msgspec.Struct, frozen=True):
    """
    The status of a payment, as reported by a notification or by the gateway.

    Attributes:
        status: The status at the gateway.
        error_code: Code of an error or decline.
        reason_code: Reason code of a chargeback.
    """

    status: str
    error_code: str | None
    reason_code: str | None


class EventDetail(msgspec.Struct, frozen=True):
    """
    One notification with its fields.

    Attributes:
        event: The row, as in the list.
        reported: The status that the notification reports; its signature covers only its id.
        confirmed: The status by inquiry at the gateway, or null.
        contradicted: Whether the gateway contradicts the notification, so that it had no effect.
        excess_deliveries: Further deliveries of it that are only counted.
        content_type: Its media type.
        fields: Its fields, personal ones masked; empty if it cannot be read. The stored bytes keep the original.
    """

    event: WebhookEvent
    reported: ReportedStatus
    confirmed: ReportedStatus | None
    contradicted: bool
    excess_deliveries: int
    content_type: str
    fields: dict[str, str]


@get(
    "/",
    summary="List notifications, newest first",
    responses=described(Page[WebhookEvent]),
)
async def listed(
    state: State,
    status: Annotated[InboxState | None, Parameter(description="Only notifications in this state.")] = None,
    unique_id: Annotated[
        str | None, Parameter(description="Only those of this id of the gateway.", max_length=255)
    ] = None,
    account: Annotated[
        str | None,
        Parameter(
            description="Only those of this gateway account; with `unique_id`, or with a `status` other than processed.",
            max_length=32,
        ),
    ] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT,
    form: Form = "json",
) -> Response[Any]:
    """One page of the inbox."""
    require_narrow(account, status=status, unique_id=unique_id)

    async def load(cursor: str | None, limit: int) -> Page[WebhookEvent]:
        async with reading(state.pool) as conn:
            rows = await event_lists.listed(
                conn,
                limit=limit + 1,
                before=decode_cursor(cursor),
                state=status,
                notification_id=unique_id,
                account=account,
            )
        return page(rows, limit=limit, last_id=rows[:limit][-1].id if rows else None)

    return await in_form(form, load, row=WebhookEvent, name="notifications", cursor=cursor, limit=limit)


@get("/{event_id:int}", summary="One notification, with its fields")
async def detail(state: State, event_id: Id) -> EventDetail:
    """One notification; personal fields are masked."""
    async with reading(state.pool) as conn:
        found = await event_lists.by_id(conn, event_id)
        if found is None:
            await _refuse_archived(conn, event_id)
        confirmed = await event_lists.confirmation_of(conn, event_id)
        excess = await excess_deliveries.of(conn, event_id)
    if found is None:
        raise NotFoundException("There is no such notification")
    event, content_type, body = found
    try:
        notification = decode(body, content_type=content_type)
        reported, fields = (
            ReportedStatus(notification.status, notification.error_code, notification.reason_code),
            notification.fields,
        )
    except Unreadable:
        # The state of the row says so, and the row has what is known.
        reported, fields = ReportedStatus(event.status, None, None), {}
    return EventDetail(
        event,
        reported,
        None
        if confirmed is None
        else ReportedStatus(confirmed.status, confirmed.error_code, confirmed.reason_code),
        event.outcome == "contradicted",
        excess,
        content_type,
        redaction.fields(fields),
    )


@post(
    "/{event_id:int}/replay",
    status_code=202,
    summary="Replay a parked or contradicted notification",
)
async def replay(
    request: ApiRequest, state: State, event_id: Id, reason: OptionalReason = ""
) -> dict[str, Any]:
    """A parked notification restarts its retry schedule; a contradicted one is inquired again."""
    now = state.clock()
    async with transaction(state.pool) as conn:
        before = await event_lists.by_id(conn, event_id)
        if before is None:
            await _refuse_archived(conn, event_id)
            raise NotFoundException("There is no such notification")
        if not await webhook_events.replay(conn, event_id, now=now):
            raise IllegalStep("notification", state=before[0].state, step="replayed")
        await audit.record(
            conn,
            request.auth.actor,
            "notification.replayed",
            subject="notification",
            subject_id=event_id,
            reason=reason,
            before=facts(state=before[0].state, outcome=before[0].outcome, failures=before[0].failures),
            after=facts(state="waiting"),
            now=now,
        )
    return {"id": event_id, "state": "waiting"}


async def _refuse_archived(conn: Connection, event_id: int) -> None:
    found = await archives.holding(conn, "notifications", event_id)
    if found:
        raise NoLongerKept(
            "The notification is",
            advice=f"It is in archive {found[0].id}, if it was not deleted: `tether-worker archive read {found[0].id}`.",
        )


ROUTER = Router("/api/webhook-events", route_handlers=[listed, detail, replay], tags=["notifications"])
