"""The environment of every benchmark: real services, the real programs, and their CPU time and memory."""

import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
from tether_sandbox.seed import Seeded, seed
from tether_sandbox.services import Services, running
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.program import Program, launch
from tether_sandbox.services.server import free_port
from tether_sandbox.settings import ENVIRONMENT
from tether_stores.migrate import migrate

__all__ = ["Environment", "cpu_s", "environment", "rss_bytes"]


class Environment(msgspec.Struct):
    """
    The running environment.

    Attributes:
        services: Postgres and Redis.
        environ: The settings of every program.
        folder: A temporary folder.
        guard: Ends everything if the benchmark is killed.
        url: Of the web node, once started.
    """

    services: Services
    environ: dict[str, str]
    folder: Path
    guard: Guard
    url: str = ""

    @property
    def stores(self) -> dict[str, int]:
        """The process ids of Postgres and Redis."""
        servers = {"Postgres": self.services.postgres, "Redis": self.services.redis}
        return {name: server.pid for name, server in servers.items() if server and server.pid}

    def on(self, database: str) -> "Environment":
        """The same environment with another database of the same Postgres."""
        environ = {
            name: value.rpartition("/")[0] + f"/{database}"
            if name in {"DATABASE_URL", "DATABASE_DIRECT_URL"}
            else value
            for name, value in self.environ.items()
        }
        return msgspec.structs.replace(self, environ=environ, url="")

    def forget(self) -> None:
        """Empty Redis."""
        assert self.services.redis is not None
        self.services.redis.flush()

    def start(self, *command: str, environ: Mapping[str, str] | None = None) -> Program:
        """Start a program with the environment's settings and those of *environ*."""
        place = self.folder / f"{Path(command[0]).name}-{len(list(self.folder.iterdir()))}"
        place.mkdir()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        if os.sep in command[0]:
            # `env` runs a program by its path and is replaced by it, so the started process is the program.
            command = ("env", *command)
        settings = {**self.environ, "PATH": path, **(environ or {})}
        return launch(command, environ=settings, folder=place, guard=self.guard)

    def start_web(self, *, workers: int) -> Program:
        """Start a web node and wait until it is ready; its address is `url`."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        web = self.start("tether-web", "--port", str(port), "--workers", str(workers))
        web.await_url(f"{self.url}/ready")
        return web

    def start_worker(self, *queues: str) -> Program:
        """Start a worker and wait until it works."""
        worker = self.start("tether-worker", "run", *queues)
        worker.await_line('"event":"worker started"')
        return worker

    def seeded(self, attempts: int, *, number: int) -> list[Seeded]:
        """Seed pending attempts."""
        return list(
            seed(
                self.environ["DATABASE_URL"],
                attempts=attempts,
                rng=random.Random(number),
                now=datetime.now(UTC),
            )
        )


@contextlib.contextmanager
def environment() -> Iterator[Environment]:
    """Run migrated services for the length of a `with` block; programs started in it are killed at its end."""
    with (
        running({}) as services,
        tempfile.TemporaryDirectory(prefix="tether-bench-") as folder,
        Guard() as guard,
    ):
        environ = {**ENVIRONMENT, "LOG_LEVEL": "info", **services.environment}
        migrate(environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
        yield Environment(services, environ, Path(folder), guard)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children so far, including ended ones."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # user, system, and both of children that were waited for
    return total


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and its children; shared pages count once per mapping."""
    total = 0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total
