"""
One signed request to a subscriber.

The name of the URL is resolved here, the address is checked by `tether_core.subscribers.addresses`, and the connection goes to that address; TLS
still checks the name. No redirect is followed, no proxy of the environment is used, nothing of the answer is kept but its status, and
at most `_ANSWER_MAX` bytes of it are read. The whole exchange has one time limit.

Each request has a connection of its own unless a former one ended cleanly: what was cut off leaves nothing behind that another request could meet.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import httpcore
import httpx
from httpcore import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream
from standardwebhooks import Webhook
from tether_core.subscribers.addresses import Network, is_allowed
from tether_core.subscribers.cloud_events import CONTENT_TYPE
from tether_core.subscribers.delivery import DeliveryError, Response

__all__ = ["TIMEOUT_S", "Sender", "signed_headers"]

# Standard Webhooks asks for 15 to 30 seconds.
TIMEOUT_S: Final = 15.0
_ANSWER_MAX: Final = 16_384
# A client that was idle for longer meets connections that the other side is closing.
_IDLE_MAX_S: Final = 10.0


class _NotAllowed(Exception):
    """No address of the name may be connected to."""


class _NotResolved(Exception):
    """The name has no address."""


class _CheckedBackend(AsyncNetworkBackend):
    """Connects to allowed addresses only."""

    def __init__(self, allowed: Sequence[Network], *, is_encrypted: bool) -> None:
        self._allowed = allowed
        self._is_encrypted = is_encrypted
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise _NotResolved from exc
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        # One address that is not allowed among others refuses the name: nobody has such a name by accident.
        if not addresses or not all(self._may(address) for address in addresses):
            raise _NotAllowed
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses[:3]:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failed = exc
        assert failed is not None
        raise failed

    def _may(self, address: str) -> bool:
        # What is not encrypted goes to networks of the operator only.
        return is_allowed(address, allowed=self._allowed, is_public=self._is_encrypted)


class Sender:
    """Sends signed requests; keeps clean connections for some seconds."""

    def __init__(
        self,
        *,
        allowed: Sequence[Network],
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        Open nothing yet.

        Args:
            allowed: Networks that are not public and allowed all the same.
            timeout_s: Of a whole exchange.
            tls: How certificates are checked; `None` for those of certifi, or of SSL_CERT_FILE.
        """
        self._allowed = tuple(allowed)
        self._timeout_s = timeout_s
        self._tls = tls or httpx.create_ssl_context()
        self._idle: dict[str, list[httpcore.AsyncConnectionPool]] = {}

    async def send(
        self, url: str, *, message_id: str, body: bytes, secrets: Sequence[str], now: datetime
    ) -> Response:
        """
        Send a message once.

        Args:
            message_id: Stable over retries.
            secrets: Each signs, the newest first; 1 or 2.
            now: The time of this try, aware.

        Returns:
            The result; never raises for what the other side does.
        """
        pool = self._taken(url)
        try:
            async with asyncio.timeout(self._timeout_s):
                response, is_clean = await self._exchange(
                    pool, url, _headers(message_id, body, secrets=secrets, now=now), body
                )
        except TimeoutError:
            response, is_clean = Response(None, "timeout"), False
        except asyncio.CancelledError:
            await _closed(pool)
            raise
        except Exception as exc:  # noqa: BLE001 - whatever the other side sends is a failed try, and the worker goes on
            response, is_clean = Response(None, _error(exc)), False
        if is_clean:
            self._idle.setdefault(url, []).append(pool)
        else:
            await _closed(pool)
        return response

    async def close(self) -> None:
        """Close what is idle."""
        pools = [pool for some in self._idle.values() for pool in some]
        self._idle.clear()
        for pool in pools:
            await _closed(pool)

    def _taken(self, url: str) -> httpcore.AsyncConnectionPool:
        idle = self._idle.get(url)
        if idle:
            pool = idle.pop()
            if not idle:
                del self._idle[url]
            return pool
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=1,
            keepalive_expiry=_IDLE_MAX_S,
            network_backend=_CheckedBackend(self._allowed, is_encrypted=url.startswith("https://")),
        )

    async def _exchange(
        self,
        pool: httpcore.AsyncConnectionPool,
        url: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
    ) -> tuple[Response, bool]:
        async with pool.stream("POST", url, headers=headers, content=body) as answer:
            status, is_whole = answer.status, True
            size_bytes = 0
            async for part in answer.aiter_stream():
                size_bytes += len(part)
                if size_bytes > _ANSWER_MAX:
                    is_whole = False
                    break
            wait_s = _retry_after_s(answer.headers)
        error: DeliveryError | None = None
        if not 200 <= status < 300:
            error = "redirect" if 300 <= status < 400 else "status"
        return Response(status, error, wait_s), is_whole


def signed_headers(message_id: str, body: bytes, *, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """
    The headers of a message, of a request and of a broker alike.

    Args:
        message_id: Stable over retries.
        secrets: Each signs, the newest first; 1 or 2.
        now: The time of this try, aware.
    """
    text = body.decode()
    signatures = " ".join(Webhook(secret).sign(message_id, now, text) for secret in secrets)
    return {
        "content-type": CONTENT_TYPE,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signatures,
    }


def _headers(
    message_id: str, body: bytes, *, secrets: Sequence[str], now: datetime
) -> list[tuple[bytes, bytes]]:
    headers = signed_headers(message_id, body, secrets=secrets, now=now)
    headers |= {"content-length": str(len(body)), "user-agent": "Tether"}
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _retry_after_s(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Retry-After in seconds; a date is not read, because the clock of the other side is not known."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit():
            return float(value[:9])
    return None


def _error(exc: Exception) -> DeliveryError:
    if isinstance(exc, _NotAllowed):
        return "address_not_allowed"
    if isinstance(exc, _NotResolved):
        return "dns"
    if isinstance(exc, httpcore.TimeoutException):
        return "timeout"
    if isinstance(exc.__cause__, ssl.SSLError) or isinstance(exc.__context__, ssl.SSLError):
        return "tls"
    if isinstance(exc, httpcore.ConnectError):
        return "connect"
    return "protocol"


async def _closed(pool: httpcore.AsyncConnectionPool) -> None:
    # What is broken may raise when it is closed; it is dropped either way.
    try:
        async with asyncio.timeout(1.0):
            await pool.aclose()
    except Exception:  # noqa: BLE001, S110
        pass
