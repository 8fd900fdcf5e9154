"""Bodies that are broken, compressed, cut short or never come, sent to a real node: each gets a sentence, none holds a connection."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tether_sandbox.services.server import free_port
from tether_web.http import middleware
from tether_web.notifications import receive

if TYPE_CHECKING:
    from tether_sandbox.services.program import Launch

# Route to the media type it takes.
ROUTES = {
    "/api/webhooks/emp": "application/x-www-form-urlencoded",
    "/api/blacklist": "application/json",
    "/api/uploads": "multipart/form-data; boundary=x",
}
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture
def port(environment: dict[str, str], process: Launch) -> int:
    """Of a web node."""
    port = free_port()
    process("tether-web", "--port", str(port), environ=environment).await_url(
        f"http://127.0.0.1:{port}/ready"
    )
    return port


def _sent(port: int, path: str, header: str, body: bytes, *, end: bool = True) -> tuple[int, str]:
    """Status and text of the answer to a request with *body*, after which the sender says no more or goes on waiting."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\nContent-Type: {ROUTES[path]}\r\n"
        f"{header}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(head.encode() + body)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    status, _, text = answer.partition(b"\r\n\r\n")
    return int(status[9:12]), text.decode()


@pytest.mark.parametrize("path", ROUTES)
def test_a_broken_body_is_its_senders_fault(port: int, path: str) -> None:
    """A 500 sends the operator looking for a fault that is not there, and the sender learns nothing."""
    broken = {
        "no size": (CHUNKED, b"zz\r\nabc\r\n0\r\n\r\n"),
        "longer than its size": (CHUNKED, b"3\r\nabcdef\r\n0\r\n\r\n"),
        "cut in a chunk": (CHUNKED, b"ff\r\nabc"),
        "no last chunk": (CHUNKED, b"3\r\nabc\r\n"),
        "shorter than its length": ("Content-Length: 100", b"abc"),
    }
    for name, (header, body) in broken.items():
        status, text = _sent(port, path, header, body)
        assert (status, "before" in text) == (400, True), name


@pytest.mark.parametrize("path", ROUTES)
def test_a_compressed_body_is_refused_with_what_to_do(port: int, path: str) -> None:
    """Read as it is, it would be called broken, and its sender look for the fault in the content."""
    status, text = _sent(
        port, path, "Content-Encoding: gzip\r\nContent-Length: 3", b"\x1f\x8b\x08", end=False
    )
    assert (status, "Content-Encoding: send the body as it is" in text) == (415, True)
    status, _ = _sent(port, path, "Content-Encoding: identity\r\nContent-Length: 3", b"abc", end=False)
    assert status == 400  # read, and then found to be nothing


def test_a_body_that_never_comes_ends_the_request(port: int) -> None:
    """A thousand senders who wait for ever would hold as many connections, behind any proxy that passes bodies on."""
    assert max(middleware.BODY_STALL_S, receive.BODY_S) < 30
    paths = ["/api/webhooks/emp", "/api/blacklist"]

    def ended(path: str) -> tuple[int, str]:
        return _sent(port, path, "Content-Length: 100", b"abc", end=False)

    with ThreadPoolExecutor(len(paths)) as senders:
        for path, (status, text) in zip(paths, senders.map(ended, paths), strict=True):
            assert (status, "ended before its body" in text) == (400, True), path
