"""`GET /api/event-types`: all types of events, with their JSON Schemas."""

from typing import Final

from litestar import Router, get
from tether_core.subscribers import cloud_events
from tether_core.subscribers.cloud_events import EventType

__all__ = ["ROUTER"]


@get("/", summary="All types of events")
async def event_types() -> list[EventType]:
    """With their JSON Schemas, of the data alone and of the whole body that subscribers get."""
    return list(cloud_events.catalogue())


ROUTER: Final = Router("/api/event-types", route_handlers=[event_types], tags=["events"])
