"""
Publish events to a subject of NATS, which a stream of JetStream takes.

The header `Nats-Msg-Id` is the id of the event, so the stream itself drops a repeat within its window of duplicates. What the event is about is in the header
`Tether-Key`; a stream keeps the order in which it got its messages, and events of a payment are sent one after the other.
"""

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import APIError, NoStreamResponseError
from tether_core.errors import InvalidRequest
from tether_core.subscribers.delivery import DeliveryError, Response

__all__ = ["Nats"]

# Each server is tried twice; the schedule of deliveries does the rest.
_RETRIES: Final = 1
_CONNECT_S_MIN: Final = 2
_CLOSE_S: Final = 2.0
_CREDENTIALS: Final = re.compile(
    r"-BEGIN NATS USER JWT-+\n([\w-]+\.[\w-]+\.[\w-]+)\n.*-BEGIN USER NKEY SEED-+\n(SU[A-Z2-7]{56})\n",
    re.ASCII | re.DOTALL,
)
# A seed in base32: two bytes that say whose it is, the key, and a checksum.
_SEED: Final = slice(2, 34)


class Nats:
    """A broker of `tether_worker.subscribers.brokers`."""

    def __init__(self, servers: Sequence[str], *, credentials: str | None, timeout_s: float) -> None:
        """
        Connect to nothing yet.

        Args:
            servers: Their URLs.
            credentials: A file, which is read again for each connection; `None` for none.
            timeout_s: Until a message must be confirmed, the connection included.

        Raises:
            InvalidRequest: when the file of credentials is none.
        """
        self._servers = list(servers)
        self._credentials = credentials
        if credentials is not None:
            _credentials_of(credentials)
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
        except ssl.SSLError:
            error = "tls"
        except Exception as exc:  # noqa: BLE001 - whatever a server sends is a failed try, and the worker goes on
            error = "protocol" if is_connected else "broker_refused" if _is_unauthorized(exc) else "connect"
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
            client = _PrivateClient()
            credentials = None if self._credentials is None else _credentials_of(self._credentials)
            try:
                # Without reconnects of its own: what is sent meanwhile would wait in its buffer, and arrive after it was given up.
                await client.connect(
                    self._servers,
                    name="tether",
                    error_cb=_ignored,
                    connect_timeout=self._connect_s,
                    allow_reconnect=False,
                    max_reconnect_attempts=_RETRIES,
                    reconnect_time_wait=0,
                    user_jwt_cb=None if credentials is None else credentials.jwt,
                    signature_cb=None if credentials is None else credentials.signature,
                )
            except BaseException:
                await _closed(client)
                raise
            self._client = client
            return client


class _PrivateClient(Client):
    """
    A client that sends nothing to a server that was named `tls://` and offers no TLS.

    The library would go on in plain text, its password first, where the server does not demand TLS, or where somebody in between says so.
    """

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's signature
        server = self._current_server
        is_tls = server is not None and server.uri.scheme == "tls"
        if initial_connection and is_tls and not info.get("tls_required"):
            raise Error
        await super()._process_info(info, initial_connection)


class _Credentials(msgspec.Struct, frozen=True):
    """What a file of credentials holds; its own reader needs another library, and searches a file without a JWT for ever."""

    text: str
    seed: str

    def __repr__(self) -> str:
        """Show nothing."""
        return "_Credentials()"

    def jwt(self) -> bytes:
        """Who we are, signed by the account."""
        return self.text.encode()

    def signature(self, nonce: str) -> bytes:
        """Sign what the server has drawn."""
        # Base32 wants a multiple of eight characters.
        key = Ed25519PrivateKey.from_private_bytes(base64.b32decode(f"{self.seed}======")[_SEED])
        return base64.b64encode(key.sign(nonce.encode()))


def _credentials_of(path: str) -> _Credentials:
    """
    Read a file of credentials.

    Raises:
        InvalidRequest: when it cannot be read, or is no such file.
    """
    try:
        found = _CREDENTIALS.search(Path(path).read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        found = None
    if found is None:
        why = "names no file of credentials of NATS that can be read; it has a JWT and a seed of a user"
        raise InvalidRequest(why, field="TETHER_NATS_CREDENTIALS")
    return _Credentials(found[1], found[2])


def _is_unauthorized(exc: Exception) -> bool:
    """Whether a server refuses who we are; the library has a class for it, and does not use it while it connects."""
    return isinstance(exc, Error) and "authorization" in str(exc).lower()


async def _ignored(_error: Exception) -> None:
    """Each try reports its own error."""


async def _closed(client: Client) -> None:
    with contextlib.suppress(Error, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()
