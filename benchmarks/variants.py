"""
The variants that are compared: the floor, the peers and Tether, each with its server and worker.

Every variant gets one server process and one worker program, the same Postgres, the same Redis and the same bodies. A
command may say `{port}`, `{here}` (its folder in `peers/`) and `{programs}` (those of its environment).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
from tether_sandbox.services.program import Program
from tether_sandbox.services.server import free_port

from benchmarks.environment import Environment
from benchmarks.environments import PEERS, node_modules, programs, require_debian

__all__ = ["ALL", "Running", "Variant"]

_GRANIAN = "granian --interface asgi --loop uvloop --http 1 --no-ws --no-log --port {port} "
_UVICORN = "{programs}/uvicorn --port {port} --no-access-log --log-level warning "


class Variant(msgspec.Struct, frozen=True):
    """
    One of those that are measured.

    Attributes:
        name: For the command line.
        title: For the result.
        kind: Only peers and Tether verify; only they have a worker.
        server: Its command; none for Tether, which the environment starts.
        worker: Its command.
        queue: The Redis command and key for the number of waiting jobs.
        applies: Whether Tether's worker runs beside it; without, the share of the worker in a figure shows.
    """

    name: str
    title: str
    kind: Literal["floor", "peer", "ours"]
    server: str = ""
    worker: str = ""
    queue: tuple[Literal["llen", "zcard"], str] | None = None
    applies: bool = True

    def install(self) -> None:
        """Have its libraries; `NotInstalled` says why not."""
        self._places()

    def start(self, environment: Environment) -> "Running":
        """Start its server and its worker; whether they work is the caller's to see."""
        if self.kind == "ours":
            web = environment.start_web(workers=1)
            worker = environment.start_worker("webhooks") if self.applies else None
            return Running(self, environment.url, web, worker)
        port = free_port()
        here, bin_folder, environ = self._places()
        words = {"port": port, "here": here, "programs": bin_folder}
        started = [
            environment.start(*command.format(**words).split(), environ=environ)
            for command in (self.server, self.worker)
            if command
        ]
        url = f"http://127.0.0.1:{port}"
        started[0].await_url(f"{url}/health")
        return Running(self, url, *started)

    def _places(self) -> tuple[Path, Path, Mapping[str, str]]:
        """Give its folder, that of its programs, and settings for both."""
        here = PEERS / self.name
        if self.kind != "peer":
            return here, Path(), {"PYTHONPATH": str(PEERS.parents[1])}
        if (here / "webhook.php").exists():
            require_debian("php-fpm", "php-cli", "php-redis", "php-pgsql", "nginx-light")
            return here, Path(), {}
        if (here / "package.json").exists():
            return here, Path(), {"NODE_PATH": str(node_modules(self.name)), "NODE_ENV": "production"}
        return here, programs(self.name), {"PYTHONPATH": str(here), "PYTHONDONTWRITEBYTECODE": "1"}


class Running(msgspec.Struct, frozen=True):
    """A variant that runs: its address, its server, and its worker where it has one."""

    variant: Variant
    url: str
    server: Program
    worker: Program | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The first process of each program."""
        worker = {"worker": self.worker.pid} if self.worker else {}
        return {"server": self.server.pid, **worker}

    def kill(self) -> None:
        """End it."""
        for program in (self.server, self.worker):
            if program is not None:
                program.kill()


ALL = (
    Variant("ours", "**Tether**: tether-web, tether-worker", "ours"),
    Variant("ours-unapplied", "Tether, its worker stopped", "ours", applies=False),
    Variant("floor", "floor: bare ASGI on Granian", "floor", _GRANIAN + "benchmarks.floor:at_once"),
    Variant("floor-redis", "floor + one SET NX (redis-py)", "floor", _GRANIAN + "benchmarks.floor:marked"),
    Variant("floor-postgres", "floor + one insert (psycopg)", "floor", _GRANIAN + "benchmarks.floor:stored"),
    Variant(
        "fastapi_arq",
        "FastAPI, uvicorn, arq",
        "peer",
        _UVICORN + "app:app",
        "{programs}/arq worker.Settings --custom-log-dict worker.QUIET",
        ("zcard", "arq:queue"),
    ),
    Variant(
        "fastapi_celery",
        "FastAPI, uvicorn, Celery",
        "peer",
        _UVICORN + "app:app",
        "{programs}/celery -A tasks worker --loglevel warning",
        ("llen", "celery"),
    ),
    Variant(
        "django_dramatiq",
        "Django (ASGI), uvicorn, dramatiq",
        "peer",
        _UVICORN + "asgi:app",
        "{programs}/dramatiq tasks",
        ("llen", "dramatiq:default"),
    ),
    Variant(
        "fastify",
        "Fastify, BullMQ (Node)",
        "peer",
        "node {here}/server.js {port}",
        "node {here}/worker.js",
        ("llen", "bull:notifications:wait"),
    ),
    Variant(
        "php_redis",
        "PHP-FPM, nginx, a queue in Redis",
        "peer",
        "{here}/serve.sh {port}",
        "{here}/work.sh",
        ("llen", "notifications"),
    ),
)
