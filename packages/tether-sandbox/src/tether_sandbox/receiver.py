"""
A receiver of events that misbehaves: what a subscriber's endpoint does on a bad day.

It listens on loopback, verifies the signature of each request as Standard Webhooks asks, and answers by a fault:

| fault | what it does |
|---|---|
| `ok` | answers 204 |
| `500`, or any status | answers that status |
| `429:7` | answers 429 with `Retry-After: 7` |
| `redirect` | answers 307 to another address |
| `hang` | reads the request and never answers |
| `drip` | begins an answer and sends a byte of it each half second |
| `endless` | answers 200 with a body without end |
| `garbage` | answers what is no HTTP |
| `reset` | closes the connection without an answer |

`tether-sandbox receiver` prints one JSON line for each request. In a test, `Receiver.fault` may change at any time.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

__all__ = ["FAULTS", "Received", "Receiver", "run", "serve"]

FAULTS: Final = ("ok", "500", "429:7", "410", "redirect", "hang", "drip", "endless", "garbage", "reset")
_BODY_MAX: Final = 1 << 20
_HANG_S: Final = 600.0
# As the library of Standard Webhooks allows.
_AGE_MAX: Final = timedelta(minutes=5)
_BROKEN: Final = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """
    A request.

    Attributes:
        id: The header webhook-id.
        type: The type of the event, with prefix and version.
        subject: What the event is about, or `None`.
        account: The gateway account, or `None`.
        data: The fields of the event.
        verified_by: Which of the receiver's secrets verify it, by their places; none for an invalid signature.
        fault: How it was answered.
    """

    id: str
    type: str
    subject: str | None
    account: str | None
    data: dict[str, Any]
    verified_by: tuple[int, ...]
    fault: str


class Receiver:
    """An endpoint on loopback; made by `serve`."""

    def __init__(self, *, secrets: Sequence[str], clock: Callable[[], datetime] | None = None) -> None:
        """
        Listen to nothing yet.

        Args:
            secrets: What verifies the signatures.
            clock: Gives the time that signatures may not be older than; `None` for this machine's.
        """
        self.secrets = list(secrets)
        self._clock = clock
        self.fault: str | Callable[[Received], str] = "ok"
        self.received: list[Received] = []
        self.in_progress = 0
        self.port = 0
        self.on_received: Callable[[Received], None] = lambda _received: None

    @property
    def url(self) -> str:
        """The address of this receiver."""
        return f"http://127.0.0.1:{self.port}/events"

    def taken(self) -> list[Received]:
        """Requests that were answered with a success, in their order."""
        return [item for item in self.received if item.fault == "ok"]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.closing(writer), contextlib.suppress(*_BROKEN):
            while await self._request(reader, writer):
                pass

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")[1:]
        headers = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in lines)
            if colon
        }
        size_bytes = int(headers.get("content-length", "0"))
        if size_bytes > _BODY_MAX:
            return False
        body = await reader.readexactly(size_bytes)
        received = self._read(headers, body)
        fault = received.fault
        self.received.append(received)
        self.on_received(received)
        self.in_progress += 1
        try:
            return await _answer(fault, writer)
        finally:
            self.in_progress -= 1

    def _read(self, headers: dict[str, str], body: bytes) -> Received:
        event = msgspec.json.decode(body)
        now = None if self._clock is None else self._clock()
        read = Received(
            id=headers.get("webhook-id", ""),
            type=event["type"],
            subject=event.get("subject"),
            account=event.get("account"),
            data=event["data"],
            verified_by=tuple(
                place
                for place, secret in enumerate(self.secrets)
                if _verifies(secret, headers, body, now=now)
            ),
            fault="ok",
        )
        fault = self.fault if isinstance(self.fault, str) else self.fault(read)
        return msgspec.structs.replace(read, fault=fault)


def _verifies(secret: str, headers: dict[str, str], body: bytes, *, now: datetime | None) -> bool:
    try:
        if now is None:
            Webhook(secret).verify(body, headers)
            return True
        # The library compares with this machine's clock alone.
        stamped_at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        signature = Webhook(secret).sign(headers["webhook-id"], stamped_at, body.decode())
    except (WebhookVerificationError, KeyError, ValueError):
        return False
    return abs(now - stamped_at) <= _AGE_MAX and signature in headers.get("webhook-signature", "").split()


async def _answer(fault: str, writer: asyncio.StreamWriter) -> bool:
    if fault == "ok":
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        return True
    if fault == "hang":
        await asyncio.sleep(_HANG_S)
    elif fault == "drip":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.5)
    elif fault == "endless":
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"." * 4096 + b"\r\n")
            await writer.drain()
    elif fault == "garbage":
        writer.write(b"this is no HTTP\r\n\r\n")
        await writer.drain()
    elif fault == "redirect":
        writer.write(
            b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
        )
        await writer.drain()
        return True
    elif fault != "reset":
        status, _, wait = fault.partition(":")
        more = f"retry-after: {wait}\r\n" if wait else ""
        writer.write(f"HTTP/1.1 {int(status)} Fault\r\n{more}content-length: 0\r\n\r\n".encode())
        await writer.drain()
        return True
    return False


@asynccontextmanager
async def serve(
    *, secrets: Sequence[str] = (), port: int = 0, clock: Callable[[], datetime] | None = None
) -> AsyncIterator[Receiver]:
    """
    A receiver for the length of a block.

    Args:
        secrets: What verifies the signatures.
        port: On 127.0.0.1; 0 for a free one.
        clock: As of `Receiver`.

    Yields:
        The receiver, which listens.
    """
    receiver = Receiver(secrets=secrets, clock=clock)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(receiver.handle(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run(*, port: int, secrets: Sequence[str], fault: str, share: float, rng: random.Random) -> None:
    """
    Serve until it is cancelled, and print a JSON line for each request.

    Args:
        fault: Of some requests.
        share: Of the requests that get the fault, from 0 to 1; the others are taken.
    """
    async with serve(secrets=secrets, port=port) as receiver:
        receiver.fault = lambda _received: fault if rng.random() < share else "ok"
        receiver.on_received = lambda received: print(msgspec.json.encode(received).decode(), flush=True)
        print(msgspec.json.encode({"listens": receiver.url}).decode(), flush=True)
        await asyncio.Event().wait()
