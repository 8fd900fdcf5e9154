"""`GET /api/events`: the event stream, as server-sent events."""

from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated, Final

from litestar import Router, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream
from tether_core import events
from tether_core.errors import InvalidRequest
from tether_core.retention.periods import NoLongerKept
from tether_stores.postgres import reading
from tether_stores.retention import archives

from tether_web.http.auth import ApiRequest, caller_of

__all__ = ["CHECK_S", "ROUTER"]

# How often an open stream looks whether its caller may still read, in seconds.
CHECK_S = 10.0

_ID_MAX: Final = 2**63 - 1
_MEDIA_TYPE: Final = "text/event-stream"
_ALL: Final = ", ".join(events.NAMES)


@get(
    "/",
    summary="Stream events as server-sent events",
    media_type=_MEDIA_TYPE,
    responses={
        200: ResponseSpec(
            str,
            generate_examples=False,
            media_type=_MEDIA_TYPE,
            description="A stream: `id` is the event's number, `event` its type, `data` a JSON object. It ends after half an hour, "
            "or when the node stops; reconnect with the last `id` in Last-Event-ID. See docs/guides/events.md.",
        )
    },
)
async def follow(
    request: ApiRequest,
    state: State,
    last_event_id: Annotated[
        int | None,
        HeaderParameter(
            name="Last-Event-ID",
            ge=0,
            le=_ID_MAX,
            description="Id of the last event you have; later ones are sent. Takes precedence over `after`.",
        ),
    ] = None,
    after: Annotated[
        int | None,
        QueryParameter(
            ge=0,
            le=_ID_MAX,
            description="The same; 0 for all stored events. Without either, only new events are sent.",
        ),
    ] = None,
    types: Annotated[
        list[str] | None,
        QueryParameter(name="type", description=f"Only events of this type; may be repeated. Types: {_ALL}."),
    ] = None,
) -> Stream:
    """Send events in the order of their ids, each at least once."""
    if types is not None and not set(types) <= set(events.NAMES):
        raise InvalidRequest(f"must be one of {_ALL}", field="type")
    known = after if last_event_id is None else last_event_id
    if known:  # 0 asks for what is stored
        async with reading(state.pool) as conn:
            archived_to = await archives.archived_to(conn)
        if known < archived_to:
            raise NoLongerKept(
                f"Events up to {archived_to} are",
                advice=f"`tether-worker archive read` has them; go on with after={archived_to}.",
            )
    position = await state.feed.opened(known)
    return Stream(
        _while_allowed(request, state.feed.stream(position, names=types)),
        media_type=_MEDIA_TYPE,
        # The second turns off buffering in nginx.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _while_allowed(request: ApiRequest, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream until its caller's key or session ends; that is checked as data or a heartbeat goes out."""
    checked_at = monotonic()
    async for chunk in chunks:
        if monotonic() - checked_at >= CHECK_S:
            caller = await caller_of(request)
            if caller is None or caller.accounts is not None:
                return
            checked_at = monotonic()
        yield chunk


ROUTER = Router("/api/events", route_handlers=[follow], tags=["events"])
