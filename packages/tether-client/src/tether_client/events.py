"""The event stream: facts in the order of their ids, read from server-sent events."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from tether_client.connection import Connection

__all__ = [
    "Event",
    "EventRoutes",
    "decoded",
]


class Event(msgspec.Struct, frozen=True):
    """
    Something that happened.

    Attributes:
        id: Its number; later events have larger ones, with gaps.
        occurred_at: When, UTC.
        webhook_event_id: The notification that caused it, or `None`.
        fact: What happened: `event` is the type with its version; the other fields depend on it.
    """

    id: int
    occurred_at: datetime
    webhook_event_id: int | None = None
    fact: dict[str, Any] = {}


def decoded(lines: Iterable[str]) -> Iterator[Event]:
    """
    The events in the lines of a stream. Comments, names and ids are passed over: the data has all of it.

    Raises:
        msgspec.DecodeError: when the data of an event is no event.

    >>> lines = ["retry: 2000", "", ": nothing happens", "id: 7", 'data: {"id":7,"occurred_at":"2026-03-02T12:00:00Z"}', ""]
    >>> [event.id for event in decoded(lines)]
    [7]
    """
    for line in lines:
        if line.startswith("data:"):
            yield msgspec.json.decode(line.removeprefix("data:"), type=Event)


class EventRoutes(Connection):
    """The route of the event stream."""

    def follow_events(self, *, after: int | None = None, types: list[str] | None = None) -> Iterator[Event]:
        """
        Events as they happen, until the stream ends: after half an hour, or when its node stops.

        Args:
            after: The id of the last event that is known; 0 for all stored events, `None` for new ones only.
            types: Only events of these types, such as "attempt.status_changed"; `None` for all.
        """
        # A comment comes every 15 seconds, so a longer silence is a dead connection.
        yield from decoded(self._lines("/api/events", silence_max_s=60.0, type=types or None, after=after))
