"""Run nginx in front of web nodes, configured as in deploy/nginx, during a benchmark."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence

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


def found() -> bool:
    """Whether nginx is installed."""
    return shutil.which("nginx") is not None


@contextlib.contextmanager
def proxied(environment: Environment, urls: Sequence[str]) -> Iterator[tuple[str, int]]:
    """
    Have nginx in front of some nodes for the length of a `with` block.

    Args:
        environment: Where it runs.
        urls: The nodes, `http://127.0.0.1:PORT`.

    Yields:
        Its address, and the id of its first process.
    """
    folder = environment.folder / f"nginx-{free_port()}"
    folder.mkdir()
    port = free_port()
    servers = "\n        ".join(f"server {url.removeprefix('http://')};" for url in urls)
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, servers=servers, port=port), encoding="utf-8")
    program = environment.start("nginx", "-p", str(folder), "-e", "stderr", "-c", str(config))
    try:
        program.await_url(f"http://127.0.0.1:{port}/ready")
        yield f"http://127.0.0.1:{port}", program.pid
    finally:
        program.kill()
