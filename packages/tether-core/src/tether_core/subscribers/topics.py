"""
Subscribers that are a topic of a broker: Kafka, or NATS with JetStream.

Such a subscriber has `kafka:TOPIC` or `nats:SUBJECT` in place of a URL. It names the topic alone: which broker that is, and by which credentials it is
reached, are settings of the operator, so who adds a subscriber makes no machine connect to anything else.

>>> topic_of("kafka:tether.payments")
Topic(broker='kafka', name='tether.payments')
>>> topic_of("https://books.example/tether") is None
True
>>> require_topic("nats:tether.*", configured={"nats"})
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: url must name a subject of NATS: letters, digits, - and _ in parts with dots between them, without wildcards.
>>> require_topic("kafka:payments", configured=set())
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: url names a topic of Kafka, but no broker is configured; the operator sets TETHER_KAFKA_SERVERS on web and worker.

Source: Apache Kafka, `org.apache.kafka.common.internals.Topic`; NATS, "Subject-Based Messaging".
"""

import re
from collections.abc import Set as AbstractSet
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from tether_core.errors import InvalidRequest

__all__ = ["BROKERS", "Broker", "Topic", "require_topic", "topic_of"]

Broker: TypeAlias = Literal["kafka", "nats"]
BROKERS: Final[tuple[Broker, ...]] = get_args(Broker)

_NAMES: Final[dict[Broker, str]] = {"kafka": "a topic of Kafka", "nats": "a subject of NATS"}
_FORMS: Final[dict[Broker, tuple[re.Pattern[str], str]]] = {
    "kafka": (
        re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}"),
        "up to 249 letters, digits, dots, - and _",
    ),
    "nats": (
        re.compile(r"(?=.{1,249}$)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"),
        "letters, digits, - and _ in parts with dots between them, without wildcards",
    ),
}


class Topic(msgspec.Struct, frozen=True):
    """
    Where a broker takes events.

    Attributes:
        broker: Which broker.
        name: The topic, or the subject.
    """

    broker: Broker
    name: str


def topic_of(url: str) -> Topic | None:
    """The topic that a subscriber's address names; `None` for a URL."""
    scheme, colon, name = url.partition(":")
    for broker in BROKERS:
        if colon and scheme == broker:
            return Topic(broker, name)
    return None


def require_topic(text: str, *, configured: AbstractSet[Broker]) -> str | None:
    """
    The address of a subscriber that is a topic.

    Args:
        text: As a person wrote it.
        configured: The brokers of the operator's settings.

    Returns:
        The address; `None` where the text is none of a topic.

    Raises:
        InvalidRequest: when its topic is invalid, or its broker is not configured.
    """
    topic = topic_of(text.strip())
    if topic is None:
        return None
    what = _NAMES[topic.broker]
    form, explained = _FORMS[topic.broker]
    if not form.fullmatch(topic.name):
        raise InvalidRequest(f"must name {what}: {explained}", field="url")
    if topic.broker not in configured:
        setting = f"TETHER_{topic.broker.upper()}_SERVERS"
        raise InvalidRequest(
            f"names {what}, but no broker is configured; the operator sets {setting} on web and worker",
            field="url",
        )
    return f"{topic.broker}:{topic.name}"
