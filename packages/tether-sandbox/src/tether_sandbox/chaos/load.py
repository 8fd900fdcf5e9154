"""
A flood: many connections that send one notification after the other, more than can be taken in, and what they are told.

Without a rate each connection sends as soon as it was answered. With one, requests are due by the clock, whoever was
answered: what was not sent in time is sent as soon as its connection is free.
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

__all__ = ["Flood", "half_closed", "is_normal"]

_SQL: Final = split_file("tether_sandbox", "sql/chaos")


class Flood:
    """
    Connections that each send notifications about payments nobody knows, for the length of an `async with` block.

    Attributes:
        answers: Status to number of answers.
        without_retry_after: Refusals that did not say when to come again.
        broken: Connections that ended without an answer.
        refused_after_s: How long each refusal took.
        acknowledged: The ids that were answered 200.
    """

    def __init__(
        self, port: int, *, connections: int, password: str, seed: int, rate: float | None = None
    ) -> None:
        """
        Prepare.

        Args:
            port: Of the node, on this machine.
            connections: How many.
            password: The gateway's, to sign with.
            seed: Same number, same ids.
            rate: Requests per second of all together; `None` for as many as are answered.
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
        self._ids = _fresh_ids(seed)
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Begin."""
        self._senders = [asyncio.create_task(self._send(place)) for place in range(self._connections)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End, once everybody has been answered."""
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


def _fresh_ids(seed: int) -> Iterator[str]:
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


async def is_normal(port: int, *, password: str, number: int = 20) -> bool:
    """
    Whether so many notifications, one after the other, are each taken.

    Args:
        port: Of the node.
        password: The gateway's.
        number: How many.

    Returns:
        Whether each was answered 200.
    """
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
async def half_closed(database_url: str, *, every_s: float = 0.5) -> AsyncIterator[None]:
    """
    Have the inbox locked for half of the time, for the length of a block: a store half as fast as it was.

    Args:
        database_url: Whose inbox.
        every_s: How long it is locked each time, and open, in seconds.

    Yields:
        Nothing.
    """
    stopping = asyncio.Event()

    async def close_and_open() -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
            while not stopping.is_set():
                async with conn.transaction():
                    await conn.execute(_SQL["lock_inbox"])
                    await asyncio.sleep(every_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), every_s)

    door = asyncio.create_task(close_and_open())
    try:
        yield
    finally:
        stopping.set()
        await door
