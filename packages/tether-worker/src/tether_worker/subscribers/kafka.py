"""
Publish events to Kafka, by librdkafka.

The key of a message is what its event is about, such as a payment, so events of a payment are in one partition, in order. The producer is idempotent and waits
for all in-sync replicas. A message that was not confirmed in time may have been written; it is sent again with the same `webhook-id`.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from tether_core.errors import InvalidRequest
from tether_core.subscribers.delivery import DeliveryError, Response

__all__ = ["Kafka"]

# What ends first: the time limit of librdkafka, and then ours.
_SLACK_S: Final = 2.0
_POLL_S: Final = 0.1
_TIMEOUTS: Final = frozenset({KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT})  # noqa: SLF001 - its own names
_UNREACHABLE: Final = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE})  # noqa: SLF001 - likewise


class Kafka:
    """A broker of `tether_worker.subscribers.brokers`."""

    def __init__(self, servers: Sequence[str], *, properties: Mapping[str, str], timeout_s: float) -> None:
        """
        Connect to nothing yet.

        Args:
            servers: host:port of brokers.
            properties: Further settings of librdkafka.
            timeout_s: Until a message must be confirmed.

        Raises:
            InvalidRequest: when librdkafka does not know a setting, or not its value.
        """
        self._config: dict[str, object] = {
            "client.id": "tether",
            **properties,
            "bootstrap.servers": ",".join(servers),
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            "message.timeout.ms": max(int((timeout_s - _SLACK_S) * 1000), 1_000),
            "error_cb": self._note,
        }
        self._timeout_s = timeout_s
        # What is wrong with the connections, since the last message was confirmed or failed.
        self._trouble: DeliveryError | None = None
        self._closing = threading.Event()
        self._polling: threading.Thread | None = None
        self._producer = self._made()

    async def send(self, topic: str, *, key: str | None, headers: Mapping[str, str], body: bytes) -> Response:
        """Publish an event once; see `tether_worker.subscribers.brokers.Broker`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[KafkaError | None] = loop.create_future()

        def finish(error: KafkaError | None) -> None:
            if not done.done():
                done.set_result(error)

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(finish, error)

        self._begin_to_poll()
        try:
            self._producer.produce(
                topic,
                body,
                None if key is None else key.encode(),
                headers=[(name, value.encode()) for name, value in headers.items()],
                on_delivery=on_delivery,
            )
            async with asyncio.timeout(self._timeout_s):
                error = await done
        except BufferError:  # its queue is full of messages that nobody confirms
            return Response(None, "timeout")
        except KafkaException as exc:
            error = exc.args[0]
        except TimeoutError:
            return Response(None, "timeout")
        if error is not None and error.fatal():
            # An idempotent producer that lost its place publishes nothing more.
            self._producer = self._made()
        # librdkafka connects again and again, and reports of the message only that its time is over.
        reason = None if error is None else _reason(error)
        trouble, self._trouble = self._trouble, None
        return Response(None, trouble or reason if reason == "timeout" else reason)

    async def close(self) -> None:
        """Wait for what is confirmed soon, and close."""
        self._closing.set()
        if self._polling is not None:
            await asyncio.to_thread(self._polling.join)
        await asyncio.to_thread(self._producer.flush, _SLACK_S)

    def _note(self, error: KafkaError) -> None:
        """Keep what a connection ends with; that no broker is left says less than why."""
        reason = _reason(error)
        if self._trouble is None or reason != "connect":
            self._trouble = reason

    def _made(self) -> Producer:
        try:
            return Producer(self._config, logger=logging.getLogger("kafka"))
        except (KafkaException, ValueError, TypeError):
            # The text of the error may repeat a password.
            why = "has a setting that librdkafka does not know, or not with this value"
            raise InvalidRequest(why, field="TETHER_KAFKA_PROPERTIES") from None

    def _begin_to_poll(self) -> None:
        if self._polling is None:
            self._polling = threading.Thread(target=self._poll, name="kafka", daemon=True)
            self._polling.start()

    def _poll(self) -> None:
        """Let librdkafka call back, in a thread, because its wait cannot be awaited."""
        while not self._closing.is_set():
            self._producer.poll(_POLL_S)


def _reason(error: KafkaError) -> DeliveryError:
    if error.code() in _TIMEOUTS:
        return "timeout"
    if error.code() == KafkaError._SSL:  # noqa: SLF001 - its own name
        return "tls"
    return "connect" if error.code() in _UNREACHABLE else "broker_refused"
