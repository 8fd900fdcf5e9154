"""
What stands between: the proxy in front of the web nodes, and the pooler in front of Postgres.

nginx and pgBouncer where PATH (or the folder where Debian puts servers) has them. Neither wants to run as root, so root
hands them to the user that runs Postgres.
"""

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg

from tether_sandbox.services.guard import Guard
from tether_sandbox.services.postgres import unprivileged
from tether_sandbox.services.server import Server

__all__ = ["Front", "Nginx", "PgBouncer", "Relay", "front", "pooler"]

_SERVERS_OF_DEBIAN = "/usr/sbin"

# As deploy/nginx/tether.conf has it, with times fit for a chaos test. A notification may be sent to the other node although
# it is a POST: the same one twice is a repeat. A 503 is not asked again elsewhere: it is a node's word that a store is
# away or that it has its hands full. The other one would say the same, and after two of those nginx would take both for
# dead and answer 502 by itself, without a word on when to come again.
# Where both are dead to it, one of them may be back by now, so all are asked once more before it says 502.
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

# `server_login_retry` is 15 s by default: as long as that, a Postgres that is back would be left alone.
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
        answers: Its log: for each answer to a notification the time in seconds since 1970, and the status.
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
        """How much it has logged by now; a place to count failures from."""
        return self.answers.stat().st_size if self.answers.exists() else 0

    def failures(self, *, after_bytes: int) -> int:
        """
        How many notifications were answered that no node could be had: 500, 502 or 504.

        Args:
            after_bytes: From where in its log; what `logged_bytes` was.

        Returns:
            Their number. A 503 is not counted: it is a node's own, and means that a store is away.
        """
        with self.answers.open("rb") as log:
            log.seek(after_bytes)
            return sum(line.partition(b" ")[2][:3] in {b"500", b"502", b"504"} for line in log)

    def _probe(self, port: int) -> None:
        httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False)


class Nginx(Front):
    """nginx, set up as in production."""

    name = "nginx"
    ended_by = signal.SIGQUIT

    def _command(self, port: int) -> list[str]:
        nodes, any_nodes = (
            "\n        ".join(f"server 127.0.0.1:{node} {believed};" for node in self._nodes)
            for believed in ("max_fails=2 fail_timeout=1s", "max_fails=0")
        )
        settings = self.folder / "nginx.conf"
        settings.write_text(_NGINX.format(nodes=nodes, any_nodes=any_nodes, port=port))
        return [_found("nginx"), "-p", str(self.folder), "-e", "error.log", "-c", str(settings)]


class Relay(Front):
    """The relay of our own, for machines without nginx."""

    name = "relay"

    def _command(self, port: int) -> list[str]:
        nodes = [str(node) for node in self._nodes]
        return [sys.executable, "-m", "tether_sandbox.chaos.relay", str(port), str(self.answers), *nodes]


class PgBouncer(Server):
    """pgBouncer in transaction mode, in front of a Postgres of ours."""

    name = "pgbouncer"
    ended_by = signal.SIGINT  # after what is in hand; SIGTERM is the quick one
    dropped_by = signal.SIGTERM

    def __init__(
        self, folder: Path, *, guard: Guard, postgres_url: str, user: int | None, group: int | None
    ) -> None:
        super().__init__(folder, guard=guard, user=user, group=group)
        self._postgres = urlsplit(postgres_url)

    @property
    def url(self) -> str:
        """The URL of the database behind it."""
        return self._url(self.port)

    def _url(self, port: int) -> str:
        user, password = self._postgres.username, self._postgres.password
        return f"postgresql://{user}:{password}@127.0.0.1:{port}{self._postgres.path}"

    def _command(self, port: int) -> list[str]:
        settings, users = self.folder / "pgbouncer.ini", self.folder / "users.txt"
        settings.write_text(_PGBOUNCER.format(postgres_port=self._postgres.port, port=port))
        users.write_text(f'"{self._postgres.username}" "{self._postgres.password}"\n')
        return [_found("pgbouncer"), "-q", str(settings)]

    def _probe(self, port: int) -> None:
        psycopg.connect(self._url(port), connect_timeout=3).close()


def front(folder: Path, *, guard: Guard, nodes: Sequence[int], own: bool = False) -> Front:
    """
    The proxy for this machine, not yet started.

    Args:
        folder: Empty, its own.
        guard: Ends it should we be killed.
        nodes: The ports of the web nodes.
        own: Whether the relay shall be taken even where nginx is installed.

    Returns:
        nginx, or else the relay.
    """
    if _installed("nginx") and not own:
        user, group = _handed_over(folder)
        return Nginx(folder, guard=guard, nodes=nodes, user=user, group=group)
    return Relay(folder, guard=guard, nodes=nodes)


def pooler(folder: Path, *, guard: Guard, postgres_url: str) -> PgBouncer | None:
    """
    The pooler for this machine, not yet started.

    Args:
        folder: Empty, its own.
        guard: Ends it should we be killed.
        postgres_url: Of the Postgres it leads to.

    Returns:
        pgBouncer, or `None` where there is none.
    """
    if not _installed("pgbouncer"):
        return None
    user, group = _handed_over(folder)
    return PgBouncer(folder, guard=guard, postgres_url=postgres_url, user=user, group=group)


def _installed(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}{os.pathsep}{_SERVERS_OF_DEBIAN}")


def _found(program: str) -> str:
    found = _installed(program)
    assert found is not None, f"{program} was here a short time ago"
    return found


def _handed_over(folder: Path) -> tuple[int, int] | tuple[None, None]:
    """Give *folder* to the user who runs servers in root's place."""
    user, group = unprivileged()
    if user is not None and group is not None:
        os.chown(folder, user, group)
        return user, group
    return None, None
