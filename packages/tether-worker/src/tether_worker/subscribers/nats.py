"""
Publish events to a subject of NATS, which a stream of JetStream takes.

The header `Nats-Msg-Id` is the id of the event, so the stream itself drops a repeat within its window of duplicates. What the event is about is in the header
`Tether-Key`; a stream keeps the order in which it got its messages, and events of a payment are sent one after the other.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

import nats
from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import APIError, NoStreamResponseError
from tether_core.subscribers.delivery import DeliveryError, Response

__all__ = ["Nats"]

# Each server is tried twice; the schedule of deliveries does the rest.
_RETRIES: Final = 1
_CONNECT_S_MIN: Final = 2
_CLOSE_S: Final = 2.0


class Nats:
    """A broker of `tether_worker.subscribers.brokers`."""

    def __init__(self, servers: Sequence[str], *, credentials: str | None, timeout_s: float) -> None:
        """
        Connect to nothing yet.

        Args:
            servers: Their URLs.
            credentials: A file; `None` for none.
            timeout_s: Until a message must be confirmed, the connection included.
        """
        self._servers = list(servers)
        self._credentials = credentials
        self._timeout_s = timeout_s
        # One server that takes no connection leaves time for the others.
        self._connect_s = max(_CONNECT_S_MIN, int(timeout_s / (len(self._servers) * (_RETRIES + 1))))
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def send(self, topic: str, *, key: str | None, headers: Mapping[str, str], body: bytes) -> Response:
        """Publish an event once; see `tether_worker.subscribers.brokers.Broker`."""
        of_nats = {**headers, "Nats-Msg-Id": headers["webhook-id"]} | (
            {} if key is None else {"Tether-Key": key}
        )
        error: DeliveryError | None = None
        is_connected = False
        try:
            async with asyncio.timeout(self._timeout_s):
                client = await self._connected()
                is_connected = True
                await client.jetstream().publish(topic, body, timeout=self._timeout_s, headers=of_nats)
        except TimeoutError:
            error = "timeout" if is_connected else "connect"
        except (NoStreamResponseError, APIError):
            error = "broker_refused"
        except (Error, OSError, ValueError):
            error = "protocol" if is_connected else "connect"
        return Response(None, error)

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await _closed(self._client)

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is not None:
                if self._client.is_connected:
                    return self._client
                await _closed(self._client)
                self._client = None
            # Without reconnects of its own: what is sent meanwhile would wait in its buffer, and arrive after it was given up.
            client = await nats.connect(
                self._servers,
                name="tether",
                error_cb=_ignored,
                connect_timeout=self._connect_s,
                allow_reconnect=False,
                max_reconnect_attempts=_RETRIES,
                reconnect_time_wait=0,
                user_credentials=self._credentials,
            )
            if not _is_as_private_as_named(client):
                await _closed(client)
                raise Error
            self._client = client
            return client


def _is_as_private_as_named(client: Client) -> bool:
    """
    Whether a server that was named `tls://` is spoken to over TLS.

    The library goes on in plain text where the server does not demand TLS, or where somebody in between says so.
    """
    url = client.connected_url
    return url is None or url.scheme != "tls" or bool(client._server_info.get("tls_required"))  # noqa: SLF001 - nothing else tells


async def _ignored(_error: Exception) -> None:
    """Each try reports its own error."""


async def _closed(client: Client) -> None:
    with contextlib.suppress(Error, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()
