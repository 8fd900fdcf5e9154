"""Subscribers, and what was delivered to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from tether_client.connection import Connection
from tether_client.pages import Page

__all__ = [
    "Delivery",
    "DeliveryDetail",
    "Replay",
    "Subscriber",
    "SubscriberRoutes",
    "SubscriberWithSecret",
    "Try",
]


class Subscriber(msgspec.Struct, frozen=True, kw_only=True):
    """
    A subscriber, without its secrets.

    Attributes:
        id: The row.
        name: Unique among subscribers.
        url: Where its events are sent.
        types: The names of the events it gets; null for all.
        accounts: The gateway accounts whose events it gets; null for all.
        state: "active", "paused" or "disabled".
        disabled_reason: "failing" or "gone"; null where it is not disabled.
        old_secret_until: Until when deliveries are signed with the former secret, too; null where there is none.
        position: Events of the outbox up to this id have become deliveries.
        failing_since_at: The first failure after the last success; null while it works.
        delivered_at: The last success, up to a minute late; null for none.
        created_by: The name of the user or key that added it.
        created_at: When it was added.
        updated_at: When a person last changed it.
        waiting: Deliveries that wait, at most a thousand.
        behind: Stored events that have not become deliveries yet, with those that it does not get.
    """

    id: int
    name: str
    url: str
    types: tuple[str, ...] | None
    accounts: tuple[str, ...] | None
    state: str
    disabled_reason: str | None
    old_secret_until: datetime | None
    position: int
    failing_since_at: datetime | None
    delivered_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    waiting: int
    behind: int


class SubscriberWithSecret(msgspec.Struct, frozen=True):
    """
    A subscriber with a new secret.

    Attributes:
        subscriber: Its name, URL and filters.
        secret: What verifies the signatures, as Standard Webhooks has it; shown this once.
    """

    subscriber: Subscriber
    secret: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """
    A delivery: one event to one subscriber.

    Attributes:
        id: The row; larger ids are newer.
        subscriber_id: The subscriber.
        event_id: The event, as in the event stream.
        event_name: The type of the event.
        account: The gateway account it belongs to, or null.
        order_key: What the event is about; events about the same thing are sent in order. Null where it does not matter.
        state: "waiting", "delivered" or "given_up".
        tries: How often it was sent.
        due_at: When it is sent next; null where it has ended.
        http_status: The status of the last response; null where there was none.
        error: Why the last try was no success, or null.
        created_at: When it was made or replayed.
        ended_at: When it was delivered or given up, or null.
    """

    id: int
    subscriber_id: int
    event_id: int
    event_name: str
    account: str | None
    order_key: str | None
    state: str
    tries: int
    due_at: datetime | None
    http_status: int | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None


class Try(msgspec.Struct, frozen=True):
    """
    A try of a delivery.

    Attributes:
        number: From 1.
        tried_at: When it began.
        took_ms: How long it took, in milliseconds.
        http_status: Of the response; null where there was none.
        error: Why it was no success, or null.
    """

    number: int
    tried_at: datetime
    took_ms: int
    http_status: int | None
    error: str | None


class DeliveryDetail(msgspec.Struct, frozen=True):
    """
    A delivery with its tries.

    Attributes:
        delivery: The delivery.
        tries: Its tries, newest first; at most a hundred.
    """

    delivery: Delivery
    tries: list[Try]


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order to send a range of events to a subscriber again.

    Attributes:
        id: The order.
        subscriber_id: The subscriber.
        types: Only events of these types; null for all that the subscriber gets.
        position: Events up to this id are done.
        up_to: The last event of the range.
        replayed: How many deliveries it has made or sent again so far.
        ordered_by: The name of the user or key.
        reason: Why.
        created_at: When it was ordered.
        finished_at: When the last delivery was made; null before.
    """

    id: int
    subscriber_id: int
    types: tuple[str, ...] | None
    position: int
    up_to: int
    replayed: int
    ordered_by: str
    reason: str
    created_at: datetime
    finished_at: datetime | None


class SubscriberRoutes(Connection):
    """Routes of subscribers and deliveries."""

    def subscribers(self) -> list[Subscriber]:
        """Other systems to which events are sent, by name."""
        return self._get("/api/subscribers", list[Subscriber])

    def subscriber(self, subscriber_id: int) -> Subscriber:
        """One subscriber, with how much waits for it."""
        return self._get(f"/api/subscribers/{subscriber_id}", Subscriber)

    def add_subscriber(
        self,
        name: str,
        url: str,
        *,
        types: Sequence[str] | None = None,
        accounts: Sequence[str] | None = None,
        after: int | None = None,
        reason: str = "",
    ) -> SubscriberWithSecret:
        """
        Add a subscriber; its secret is in the answer only.

        Args:
            url: https, and a public address; or kafka:TOPIC or nats:SUBJECT, where the broker is configured.
            types: The events it gets; `None` for all.
            accounts: The gateway accounts whose events it gets; `None` for all.
            after: The event after which it begins, 0 for all stored ones; `None` for new ones only.
        """
        body = {
            "name": name,
            "url": url,
            "types": types,
            "accounts": accounts,
            "after": after,
            "reason": reason,
        }
        return self._post("/api/subscribers", body, SubscriberWithSecret)

    def pause_subscriber(self, subscriber_id: int, *, reason: str = "") -> Subscriber:
        """Send nothing more for now; its events wait."""
        return self._post(f"/api/subscribers/{subscriber_id}/pause", {"reason": reason}, Subscriber)

    def activate_subscriber(self, subscriber_id: int, *, reason: str = "") -> Subscriber:
        """Go on after a pause, or after Tether disabled it."""
        return self._post(f"/api/subscribers/{subscriber_id}/activate", {"reason": reason}, Subscriber)

    def rotate_subscriber(
        self, subscriber_id: int, *, overlap_hours: int = 24, reason: str = ""
    ) -> SubscriberWithSecret:
        """Make a new secret; the former one signs too for *overlap_hours*, 0 to 336."""
        body = {"overlap_hours": overlap_hours, "reason": reason}
        return self._post(f"/api/subscribers/{subscriber_id}/rotate", body, SubscriberWithSecret)

    def replay_subscriber(self, subscriber_id: int, *, reason: str = "", **chosen: Any) -> Replay:
        """
        Send a range of events again, with the same ids.

        Args:
            chosen: One of after and since, at most one of up_to and until, and types.
        """
        body = {**chosen, "reason": reason}
        return self._post(f"/api/subscribers/{subscriber_id}/replay", body, Replay)

    def remove_subscriber(self, subscriber_id: int, *, reason: str = "") -> None:
        """Remove a subscriber; nothing more is sent to it, and its secrets are deleted."""
        self._answered("DELETE", f"/api/subscribers/{subscriber_id}", params={"reason": reason})

    def subscriber_deliveries(
        self, subscriber_id: int, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Delivery]:
        """Deliveries to a subscriber, newest first; *status* is "waiting", "delivered" or "given_up"."""
        query = {"state": status, "cursor": cursor, "limit": limit}
        return self._get(f"/api/subscribers/{subscriber_id}/deliveries", Page[Delivery], **query)

    def deliveries_of_event(self, event_id: int) -> list[Delivery]:
        """Which subscribers got an event."""
        return self._get("/api/deliveries", list[Delivery], event_id=event_id)

    def delivery(self, delivery_id: int) -> DeliveryDetail:
        """One delivery with its tries."""
        return self._get(f"/api/deliveries/{delivery_id}", DeliveryDetail)

    def replay_delivery(self, delivery_id: int, *, reason: str = "") -> DeliveryDetail:
        """Send a delivery again, now."""
        return self._post(f"/api/deliveries/{delivery_id}/replay", {"reason": reason}, DeliveryDetail)
