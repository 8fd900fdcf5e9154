"""
Overload: many connections that send more notifications than can be stored, and the responses they get.

Without a rate each connection sends as soon as it got a response. With a rate, requests are due by the clock; one that is late is
sent as soon as its connection is free.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Final, Self

import psycopg
from tether_stores.queries import split_file

from tether_sandbox.gateway import encode, sign

__all__ = ["Load", "accepts_all", "slow_inbox"]

_SQL: Final = split_file("tether_sandbox", "sql/chaos")


class Load:
    """
    Connections that send notifications of unknown payments for the length of an `async with` block.

    Attributes:
        answers: Status to number of responses.
        without_retry_after: Refusals without `Retry-After`.
        broken: Connections that ended without a response.
        refused_after_s: Latency of each refusal.
        acknowledged: The ids with a response 200.
    """

    def __init__(
        self, port: int, *, connections: int, password: str, seed: int, rate: float | None = None
    ) -> None:
        """
        Create the load; it starts on entering.

        Args:
            port: Of the node, on 127.0.0.1.
            password: The gateway's, to sign with.
            seed: Same number, same ids.
            rate: Requests per second of all connections; `None` for as many as get responses.
        """
        self.answers = Counter[int]()
        self.without_retry_after = 0
        self.broken = 0
        self.refused_after_s: list[float] = []
        self.acknowledged: set[str] = set()
        self._port = port
        self._connections = connections
        self._password = password
        self._pause_s = None if rate is None else connections / rate
        self._ids = _new_ids(seed)
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Start sending."""
        self._senders = [asyncio.create_task(self._send(place)) for place in range(self._connections)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, after all responses have arrived."""
        self._stopping = True
        await asyncio.gather(*self._senders)

    async def _send(self, place: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        # Spread over the pause between two requests of one connection.
        due = time.monotonic() + (self._pause_s or 0.0) * place / self._connections
        while not self._stopping:
            if self._pause_s is not None:
                await asyncio.sleep(due - time.monotonic())
                due += self._pause_s
            if not await self._sent(reader, writer):
                return
        writer.close()

    async def _sent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        unique_id = next(self._ids)
        began = time.monotonic()
        try:
            writer.write(_request(unique_id, password=self._password))
            status, head = await _answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            self.broken += 1
            return False
        self.answers[status] += 1
        if status == 200:
            self.acknowledged.add(unique_id)
        else:
            self.refused_after_s.append(time.monotonic() - began)
            self.without_retry_after += b"\r\nretry-after: " not in head.lower()
        return True


def _new_ids(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in count():
        yield f"{rng.getrandbits(128):032x}"


def _request(unique_id: str, *, password: str) -> bytes:
    body = encode(
        {
            "unique_id": unique_id,
            "transaction_type": "sdd_sale",
            "status": "approved",
            "signature": sign(unique_id, password=password),
        }
    )
    head = (
        "POST /api/webhooks/emp HTTP/1.1\r\nhost: tether\r\ncontent-type: application/x-www-form-urlencoded\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head[9:12]), head


async def accepts_all(port: int, *, password: str, number: int = 20) -> bool:
    """Whether a node answers 200 to each of *number* notifications, sent one after another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(number):
            writer.write(_request(f"{random.getrandbits(128):032x}", password=password))
            status, _head = await _answer(reader)
            if status != 200:
                return False
        return True
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def slow_inbox(database_url: str, *, every_s: float = 0.5) -> AsyncIterator[None]:
    """
    Lock the inbox for half of the time, for the length of a block: the store is half as fast.

    Args:
        every_s: How long it is locked, and then open, each time.
    """
    stopping = asyncio.Event()

    async def lock_and_release() -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
            while not stopping.is_set():
                async with conn.transaction():
                    await conn.execute(_SQL["lock_inbox"])
                    await asyncio.sleep(every_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), every_s)

    locking = asyncio.create_task(lock_and_release())
    try:
        yield
    finally:
        stopping.set()
        await locking
