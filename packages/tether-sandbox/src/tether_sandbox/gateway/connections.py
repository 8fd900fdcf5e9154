"""
A relay in front of the simulator that resets connections in every phase of a call.

```text
client ──► relay ──► simulator
             ├ connect_reset    accepted and reset at once; the simulator sees nothing
             ├ request_cut      reset in the middle of the request; the simulator sees nothing
             ├ request_held     the request is read and not forwarded, until the client gives up
             ├ response_lost    the request is processed, the response discarded, the connection reset
             └ response_cut     half of the response, then reset
```

Faults are drawn from the seed, in the order of connections and requests. It supports the HTTP/1.1 of the simulator and its
clients: bodies have a `Content-Length`.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final, Literal

from tether_sandbox.gateway.setup import Faults

__all__ = ["Fault", "Relay"]

Fault = Literal["connect_reset", "request_cut", "request_held", "response_lost", "response_cut"]

_OF_REQUESTS: Final[tuple[Fault, ...]] = ("request_cut", "request_held", "response_lost", "response_cut")
_LIMIT: Final = 1024 * 1024


class Relay:
    """
    The relay.

    Attributes:
        backend_port: Where the simulator listens on 127.0.0.1.
    """

    def __init__(
        self, backend_port: int, *, seed: int, faults: Callable[[], Faults], count: Callable[[Fault], None]
    ) -> None:
        """
        Create the relay.

        Args:
            backend_port: Where the simulator listens on 127.0.0.1.
            seed: Of the random draws.
            faults: Returns the current shares.
            count: Called for each injected fault.
        """
        self.backend_port = backend_port
        self._rng = random.Random(f"{seed}:connections")
        self._faults = faults
        self._count = count

    async def listen(self, port: int) -> asyncio.Server:
        """Listen on 127.0.0.1; the caller closes the server."""
        return await asyncio.start_server(self._serve, "127.0.0.1", port, limit=_LIMIT)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend: asyncio.StreamWriter | None = None
        try:
            if self._drawn(("connect_reset",)):
                return
            answers, backend = await asyncio.open_connection("127.0.0.1", self.backend_port, limit=_LIMIT)
            while await self._relay(reader, writer, answers, backend):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            if backend is not None:
                backend.transport.abort()

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        backend: asyncio.StreamWriter,
    ) -> bool:
        """Forward a request and its response; returns whether the connection may go on."""
        head = await reader.readuntil(b"\r\n\r\n")
        fault = self._drawn(_OF_REQUESTS)
        if fault == "request_cut":
            return False
        body = await reader.readexactly(_length(head))
        if fault == "request_held":
            await reader.read()  # until the client gives up
            return False
        backend.write(head + body)
        await backend.drain()
        head = await answers.readuntil(b"\r\n\r\n")
        body = await answers.readexactly(_length(head))
        if fault == "response_lost":
            return False
        whole = head + body
        if fault == "response_cut":
            # Within the head, or within the body.
            whole = whole[: self._rng.choice((len(head) // 2, len(head) + len(body) // 2))]
        writer.write(whole)
        await writer.drain()
        if fault is not None:
            await asyncio.sleep(0.01)  # what was written is read before the reset
        return fault is None

    def _drawn(self, among: tuple[Fault, ...]) -> Fault | None:
        faults, left = self._faults(), self._rng.random()
        for name in among:
            left -= getattr(faults, name)
            if left < 0:
                self._count(name)
                return name
        return None


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0
