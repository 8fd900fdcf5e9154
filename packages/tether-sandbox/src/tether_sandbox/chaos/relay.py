"""
A relay in front of the web nodes, for machines without nginx: `python -m tether_sandbox.chaos.relay PORT LOG NODE NODE`.

As nginx does, it forwards a request to the other node if one is down or does not respond. That is safe for notifications, since
a duplicate is harmless. Each request to a node has its own connection.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

__all__ = ["main"]

_CONNECT_S: Final = 1.0
_ANSWER_S: Final = 4.0
_HEAD_MAX_BYTES: Final = 65_536
_FAILED: Final = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"


class _Relay:
    def __init__(self, nodes: Sequence[int], *, log: TextIO) -> None:
        self._nodes = list(nodes)
        self._log = log
        self._next = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the requests of a connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length(head))
                answer = await self._forward(head, body)
                self._log.write(f"{time.time():.3f} {answer[9:12].decode()}\n")
                self._log.flush()
                writer.write(answer)
                await writer.drain()
        writer.close()

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        """Return the response of a node, or of the next one if the first does not respond."""
        self._next = first = (self._next + 1) % len(self._nodes)
        answer = _FAILED
        for port in (*self._nodes[first:], *self._nodes[:first]):
            try:
                answer = await asyncio.wait_for(_exchange(port, head, body), _ANSWER_S)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                continue
            break
        return answer


async def _exchange(port: int, head: bytes, body: bytes) -> bytes:
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection("127.0.0.1", port, limit=_HEAD_MAX_BYTES), _CONNECT_S
    )
    try:
        writer.write(head + body)
        await writer.drain()
        line = await reader.readuntil(b"\r\n\r\n")
        return line + await reader.readexactly(_length(line))
    finally:
        writer.close()


def _length(head: bytes) -> int:
    r"""
    The length of the body, from the head.

    >>> _length(b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n")
    12
    >>> _length(b"GET / HTTP/1.1\r\n\r\n")
    0
    """
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


async def _run(port: int, log: Path, nodes: Sequence[int]) -> None:
    with log.open("a", encoding="ascii") as lines:
        server = await asyncio.start_server(
            _Relay(nodes, log=lines).serve, "127.0.0.1", port, limit=_HEAD_MAX_BYTES, backlog=1024
        )
        async with server:
            await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """
    Run the relay until it is ended.

    Args:
        arguments: The port to listen on, the log file, and the ports of the nodes.
    """
    port, log, *nodes = arguments
    asyncio.run(_run(int(port), Path(log), [int(node) for node in nodes]))


if __name__ == "__main__":
    main(sys.argv[1:])
