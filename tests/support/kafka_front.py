"""
TLS and SASL/PLAIN in front of librdkafka's own cluster, which has neither.

Requests are passed on once the client has sent its name and password; in responses, the address of the cluster is replaced by that of the front, and
SaslHandshake is added to what the cluster says it supports.

Source: Apache Kafka, "Kafka protocol guide", "SASL Authentication Sequence": behind a SaslHandshake of version 0, tokens follow as frames of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["KafkaFront", "kafka_front"]

_API_VERSIONS, _SASL_HANDSHAKE = b"\x00\x12", b"\x00\x11"
_OK = b"\0\0"
_ONLY_PLAIN = _OK + b"\0\0\0\1" + b"\0\5PLAIN"
# Two names of one length, so that no length in a response changes.
_BEHIND, _FRONT = b"127.0.0.1", b"localhost"
_BROKEN = (OSError, asyncio.IncompleteReadError, ssl.SSLError)


class KafkaFront:
    """
    The front of a cluster of one broker; made by `kafka_front`.

    Attributes:
        port: Where it listens on localhost.
        tokens: What clients sent to be let in.
    """

    def __init__(self, behind: int, *, token: bytes) -> None:
        self.port = 0
        self.tokens: list[bytes] = []
        self._behind = behind
        self._token = token

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        answers, requests = await asyncio.open_connection("127.0.0.1", self._behind)
        answering = asyncio.create_task(self._answer(answers, writer))
        with contextlib.closing(writer), contextlib.closing(requests), contextlib.suppress(*_BROKEN):
            is_known = False
            while True:
                size, frame = await _frame(reader)
                if is_known or frame[:2] == _API_VERSIONS:
                    requests.write(size + frame)
                    continue
                if frame[:2] == _SASL_HANDSHAKE:
                    writer.write(_sized(frame[4:8] + _ONLY_PLAIN))
                    continue
                self.tokens.append(frame)
                if frame != self._token:
                    break
                is_known = True
                writer.write(bytes(4))
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, front = (
            name + port.to_bytes(4) for name, port in ((_BEHIND, self._behind), (_FRONT, self.port))
        )
        with contextlib.suppress(*_BROKEN):
            # The cluster refuses the newest version of the request first.
            while (versions := (await _frame(reader))[1])[4:6] != _OK:
                writer.write(_sized(versions))
            writer.write(_sized(_with_handshake(versions)))
            while True:
                size, frame = await _frame(reader)
                writer.write(size + frame.replace(behind, front))


def _sized(frame: bytes) -> bytes:
    return len(frame).to_bytes(4) + frame


def _with_handshake(versions: bytes) -> bytes:
    """Add an entry to the response of ApiVersions 0: number, error, count of entries, entries of six bytes."""
    count = int.from_bytes(versions[6:10]) + 1
    return versions[:6] + count.to_bytes(4) + _SASL_HANDSHAKE + bytes(4) + versions[10:]


async def _frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    size = await reader.readexactly(4)
    return size, await reader.readexactly(int.from_bytes(size))


@asynccontextmanager
async def kafka_front(
    behind: int, *, tls: ssl.SSLContext, user: str, password: str
) -> AsyncIterator[KafkaFront]:
    """
    A front for the length of a block.

    Args:
        behind: Port of the cluster.
    """
    front = KafkaFront(behind, token=f"\0{user}\0{password}".encode())
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0, ssl=tls)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        server.close()
