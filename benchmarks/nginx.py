"""Run nginx in front of web nodes, configured as in deploy/nginx, during a benchmark."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tether_sandbox.services.server import free_port

from benchmarks.environment import Environment

__all__ = ["found", "proxied"]

_CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream tether {{
        {servers}
        keepalive 64;
        keepalive_timeout 20s;
    }}
    server {{
        listen 127.0.0.1:{port};
        {tls}
        keepalive_requests 1000000;
        location / {{
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Request-Id $request_id;
            proxy_next_upstream error timeout http_502 http_503 non_idempotent;
            proxy_next_upstream_tries 2;
            proxy_pass http://tether;
        }}
    }}
}}
"""


# nginx's own defaults of TLS, session reuse included, and a certificate of the kind that most servers have today.
_TLS = """\
listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_session_cache shared:tls:1m;"""
_CERTIFICATE = (
    "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=localhost "
    "-keyout {folder}/key.pem -out {folder}/certificate.pem"
)


def found(*, tls: bool = False) -> bool:
    """Whether nginx is installed, and what makes a certificate where TLS is wanted."""
    return shutil.which("nginx") is not None and (not tls or shutil.which("openssl") is not None)


@contextlib.contextmanager
def proxied(environment: Environment, urls: Sequence[str], *, tls: bool = False) -> Iterator[tuple[str, int]]:
    """
    Have nginx in front of some nodes for the length of a `with` block.

    Args:
        environment: Where it runs.
        urls: The nodes, `http://127.0.0.1:PORT`.
        tls: Whether its address is `https`, with a certificate that nobody has signed.

    Yields:
        Its address, and the id of its first process.
    """
    folder = environment.folder / f"nginx-{free_port()}"
    folder.mkdir()
    port, tls_port = free_port(), free_port()
    if tls:
        _make_certificate(folder)
    servers = "\n        ".join(f"server {url.removeprefix('http://')};" for url in urls)
    config = folder / "nginx.conf"
    listening = _TLS.format(port=tls_port, folder=folder) if tls else ""
    config.write_text(
        _CONFIG.format(folder=folder, servers=servers, port=port, tls=listening), encoding="utf-8"
    )
    program = environment.start("nginx", "-p", str(folder), "-e", "stderr", "-c", str(config))
    try:
        program.await_url(f"http://127.0.0.1:{port}/ready")
        yield f"https://127.0.0.1:{tls_port}" if tls else f"http://127.0.0.1:{port}", program.pid
    finally:
        program.kill()


def _make_certificate(folder: Path) -> None:
    subprocess.run(_CERTIFICATE.format(folder=folder).split(), check=True, capture_output=True)
