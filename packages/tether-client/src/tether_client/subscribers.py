"""Subscribers, and what was delivered to them."""

from datetime import datetime

import msgspec

__all__ = ["Delivery", "DeliveryDetail", "Replay", "Subscriber", "SubscriberWithSecret", "Try"]


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
