"""
Brokers that take events for subscribers with an address of a topic (`tether_core.subscribers.topics`).

A broker gets what a request would have: the same body, the same headers, the same id in each retry. Its adapter is a module of its own, and its library an
extra; both are imported only where the broker is configured. A delivery is done once the broker has confirmed it: all in-sync replicas of Kafka, the stream of
NATS. Everything else (order, retries, the log) is done by `tether_worker.subscribers.deliveries`, as for requests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

from tether_core.errors import InvalidRequest
from tether_core.subscribers import topics
from tether_core.subscribers.delivery import Response
from tether_stores.settings import Settings

__all__ = ["Broker", "Brokers", "brokers", "properties"]


class Broker(Protocol):
    """Publishes events."""

    async def send(self, topic: str, *, key: str | None, headers: Mapping[str, str], body: bytes) -> Response:
        """
        Publish an event once.

        Args:
            topic: Or the subject.
            key: Events with one key are delivered one after the other; `None` where the order does not matter.

        Returns:
            The result; never raises for what the broker does.
        """
        ...

    async def close(self) -> None:
        """Close the connections; nothing is being sent."""
        ...


Brokers: TypeAlias = Mapping[topics.Broker, Broker]


def brokers(settings: Settings, *, timeout_s: float) -> Brokers:
    """
    The brokers of the settings; nothing is connected yet.

    Args:
        timeout_s: Of one event.

    Raises:
        InvalidRequest: when a library or a file is missing.
    """
    found: dict[topics.Broker, Broker] = {}
    if settings.kafka_servers:
        try:
            from tether_worker.subscribers.kafka import Kafka  # noqa: PLC0415 - its library is an extra
        except ImportError as exc:
            raise _needs_extra("kafka") from exc
        found["kafka"] = Kafka(
            settings.kafka_servers, properties=properties(settings.kafka_properties), timeout_s=timeout_s
        )
    if settings.nats_servers:
        try:
            from tether_worker.subscribers.nats import Nats  # noqa: PLC0415 - likewise
        except ImportError as exc:
            raise _needs_extra("nats") from exc
        found["nats"] = Nats(
            settings.nats_servers, credentials=settings.nats_credentials or None, timeout_s=timeout_s
        )
    return found


def _needs_extra(name: str) -> InvalidRequest:
    why = f"needs the extra {name}; install tether-worker[{name}], or unset it"
    return InvalidRequest(why, field=f"TETHER_{name.upper()}_SERVERS")


def properties(path: str) -> dict[str, str]:
    """
    Settings of librdkafka from a file of lines name=value; empty lines and those that begin with # are comments.

    Args:
        path: "" for none.

    Raises:
        InvalidRequest: when the file cannot be read, or has another line.
    """
    if not path:
        return {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InvalidRequest("names no file that can be read", field="TETHER_KAFKA_PROPERTIES") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, equals, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not equals or not name.strip():
            # What the line has may be a password.
            raise InvalidRequest(f"has no name=value in line {number}", field="TETHER_KAFKA_PROPERTIES")
        found[name.strip()] = value.strip()
    return found
