"""
The proxy in front of the web nodes, and the pooler in front of Postgres.

nginx and pgBouncer, if they are on PATH or in Debian's folder of servers. Neither runs as root, so for root they run as the user
of Postgres.
"""

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx
import psycopg

from tether_sandbox.services.guard import Guard
from tether_sandbox.services.postgres import unprivileged
from tether_sandbox.services.server import Server

__all__ = ["Front", "Nginx", "PgBouncer", "Relay", "front", "pooler"]

_SERVERS_OF_DEBIAN = "/usr/sbin"

# As deploy/nginx/tether.conf, with shorter times. A notification may be retried at the other node although it is a POST: a
# duplicate is harmless. A 503 is not retried: the node says that a store is down or that it is overloaded. The other node would
# respond the same, and after two failures nginx would mark both as down and answer 502 without `Retry-After`.
# When both are marked as down, one may be up again, so all nodes are tried once more before 502.
_NGINX = """\
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log error;
events {{ worker_connections 2048; }}
http {{
    log_format answer '$msec $status $upstream_status';
    access_log access.log answer;
    client_body_temp_path body;
    proxy_temp_path proxied;
    fastcgi_temp_path unused;
    uwsgi_temp_path unused;
    scgi_temp_path unused;
    upstream tether {{
        {nodes}
        keepalive 64;
        keepalive_timeout 20s;
    }}
    upstream tether_any {{
        {any_nodes}
        keepalive 64;
        keepalive_timeout 20s;
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_connect_timeout 1s;
        proxy_read_timeout 4s;
        client_max_body_size 210m;
        location / {{ access_log off; proxy_pass http://tether; }}
        location = /api/webhooks/emp {{
            proxy_next_upstream error timeout non_idempotent;
            proxy_next_upstream_tries 2;
            error_page 502 = @any;
            proxy_pass http://tether;
        }}
        location @any {{
            proxy_next_upstream error timeout non_idempotent;
            proxy_next_upstream_tries 2;
            proxy_pass http://tether_any;
        }}
    }}
}}
"""

# `server_login_retry` is 15 s by default: the pooler would not reconnect to a restarted Postgres for that time.
_PGBOUNCER = """\
[databases]
* = host=127.0.0.1 port={postgres_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users.txt
pool_mode = transaction
default_pool_size = 20
max_client_conn = 500
server_login_retry = 0.5
server_connect_timeout = 3
query_wait_timeout = 10
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
"""


class Front(Server):
    """
    A proxy in front of the web nodes that tries the other node when one fails.

    Attributes:
        answers: Its log: Unix time and status of each response to a notification.
    """

    name = "front"

    def __init__(
        self,
        folder: Path,
        *,
        guard: Guard,
        nodes: Sequence[int],
        user: int | None = None,
        group: int | None = None,
    ) -> None:
        super().__init__(folder, guard=guard, user=user, group=group)
        self._nodes = nodes
        self.answers = folder / "access.log"

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def logged_bytes(self) -> int:
        """The current size of its log; a position to count failures from."""
        return self.answers.stat().st_size if self.answers.exists() else 0

    def failures(self, *, after_bytes: int) -> int:
        """
        Count the notifications that failed because no node was up: 500, 502 or 504.

        A 503 is not counted: it comes from a node and means that a store is down.

        Args:
            after_bytes: Position in its log, from `logged_bytes`.
        """
        with self.answers.open("rb") as log:
            log.seek(after_bytes)
            return sum(line.partition(b" ")[2][:3] in {b"500", b"502", b"504"} for line in log)

    def _probe(self, port: int) -> None:
        httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False)


class Nginx(Front):
    """nginx, configured as in production."""

    name = "nginx"
    ended_by = signal.SIGQUIT

    def _command(self, port: int) -> list[str]:
        nodes, any_nodes = (
            "\n        ".join(f"server 127.0.0.1:{node} {options};" for node in self._nodes)
            for options in ("max_fails=2 fail_timeout=1s", "max_fails=0")
        )
        settings = self.folder / "nginx.conf"
        settings.write_text(_NGINX.format(nodes=nodes, any_nodes=any_nodes, port=port))
        return [_found("nginx"), "-p", str(self.folder), "-e", "error.log", "-c", str(settings)]


class Relay(Front):
    """The relay `tether_sandbox.chaos.relay`, for machines without nginx."""

    name = "relay"

    def _command(self, port: int) -> list[str]:
        nodes = [str(node) for node in self._nodes]
        return [sys.executable, "-m", "tether_sandbox.chaos.relay", str(port), str(self.answers), *nodes]


class PgBouncer(Server):
    """pgBouncer in transaction mode, in front of the sandbox's Postgres."""

    name = "pgbouncer"
    ended_by = signal.SIGINT  # after the current transactions; SIGTERM ends at once
    dropped_by = signal.SIGTERM

    def __init__(
        self,
        folder: Path,
        *,
        guard: Guard,
        postgres_urls: Sequence[str],
        user: int | None,
        group: int | None,
    ) -> None:
        super().__init__(folder, guard=guard, user=user, group=group)
        self._postgres = [urlsplit(url) for url in postgres_urls]

    def through(self, postgres_url: str) -> str:
        """The URL of the database behind it, as the role of one of its addresses past it."""
        return self._url(urlsplit(postgres_url), self.port)

    @staticmethod
    def _url(past: SplitResult, port: int) -> str:
        return f"postgresql://{past.username}:{past.password}@127.0.0.1:{port}{past.path}"

    def _command(self, port: int) -> list[str]:
        settings, users = self.folder / "pgbouncer.ini", self.folder / "users.txt"
        settings.write_text(_PGBOUNCER.format(postgres_port=self._postgres[0].port, port=port))
        users.write_text("".join(f'"{past.username}" "{past.password}"\n' for past in self._postgres))
        return [_found("pgbouncer"), "-q", str(settings)]

    def _probe(self, port: int) -> None:
        psycopg.connect(self._url(self._postgres[0], port), connect_timeout=3).close()


def front(folder: Path, *, guard: Guard, nodes: Sequence[int], own: bool = False) -> Front:
    """
    Create the proxy, not yet started: nginx, or the relay if nginx is not installed.

    Args:
        folder: Empty.
        guard: Ends it if this process is killed.
        nodes: The ports of the web nodes.
        own: Whether to use the relay even if nginx is installed.
    """
    if _installed("nginx") and not own:
        user, group = _give_away(folder)
        return Nginx(folder, guard=guard, nodes=nodes, user=user, group=group)
    return Relay(folder, guard=guard, nodes=nodes)


def pooler(folder: Path, *, guard: Guard, postgres_urls: Sequence[str]) -> PgBouncer | None:
    """
    Create pgBouncer, not yet started; `None` if it is not installed.

    Args:
        folder: Empty.
        guard: Ends it if this process is killed.
        postgres_urls: The same database as each role that connects through it.
    """
    if not _installed("pgbouncer"):
        return None
    user, group = _give_away(folder)
    return PgBouncer(folder, guard=guard, postgres_urls=postgres_urls, user=user, group=group)


def _installed(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}{os.pathsep}{_SERVERS_OF_DEBIAN}")


def _found(program: str) -> str:
    found = _installed(program)
    assert found is not None, f"{program} has disappeared"
    return found


def _give_away(folder: Path) -> tuple[int, int] | tuple[None, None]:
    """Give *folder* to the user that runs servers instead of root."""
    user, group = unprivileged()
    if user is not None and group is not None:
        os.chown(folder, user, group)
        return user, group
    return None, None
