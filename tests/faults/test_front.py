"""The proxy before the web nodes: as long as one of them is alive, no client gets a 502."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tether_sandbox.chaos.proxies import front
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from tether_sandbox.services.guard import Guard
    from tether_sandbox.services.program import Launch, Program

_NODE = """
import http.server, sys

class Node(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Node).serve_forever()
"""


@pytest.mark.parametrize("own", [False, True])
def test_a_node_that_is_back_is_used_when_the_other_ends(process: Launch, guard: Guard, *, own: bool) -> None:
    """A deploy restarts one node after the other, sooner than a proxy believes that the first one is back."""
    ports = [free_port(), free_port()]

    def started(port: int) -> Program:
        program = process("python", "-c", _NODE, str(port), environ={})
        program.await_url(f"http://127.0.0.1:{port}/")
        return program

    first, second = map(started, ports)
    with tempfile.TemporaryDirectory(prefix="tether-") as folder:
        proxy = front(Path(folder), guard=guard, nodes=ports, own=own)
        proxy.start()
        try:
            with httpx.Client(base_url=proxy.url, trust_env=False, timeout=60) as client:

                def answers(count: int) -> set[int]:
                    return {
                        client.post("/api/webhooks/emp", content=b"status=approved").status_code
                        for _ in range(count)
                    }

                assert answers(10) == {200}
                first.kill()
                assert answers(20) == {200}
                started(ports[0])
                second.kill()
                assert answers(20) == {200}
        finally:
            proxy.stop()
