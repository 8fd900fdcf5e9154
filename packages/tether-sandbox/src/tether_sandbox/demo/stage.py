"""The environment of the demo: services, a simulated gateway, two web processes and a worker."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
from rich.console import Console
from tether_stores.migrate import migrate

from tether_sandbox.database_roles import with_roles
from tether_sandbox.gateway import Setup, Simulator
from tether_sandbox.gateway import running as gateway_running
from tether_sandbox.services import Services, running
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.program import Program, launch
from tether_sandbox.services.server import free_port
from tether_sandbox.settings import API_KEY, ENVIRONMENT

__all__ = ["QUEUES", "Stage", "opened"]

QUEUES = ("webhooks", "default", "billing", "reconciliation", "vop")


class Stage(msgspec.Struct):
    """
    The running demo.

    Attributes:
        services: Postgres and Redis.
        environ: The settings of every program.
        folder: Temporary.
        guard: Ends everything if the demo is killed.
        gateway: The simulator.
        url: The URL of the web node.
        api: A client with the API key.
        programs: Every started program, the current worker last.
        roles: The addresses of Postgres as the roles of `tether-web` and `tether-worker`; empty where Postgres is the caller's.
    """

    services: Services
    environ: dict[str, str]
    folder: Path
    guard: Guard
    gateway: Simulator
    url: str
    api: httpx.Client
    programs: list[Program] = msgspec.field(default_factory=list)
    roles: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def database_url(self) -> str:
        """Postgres, as the owner of the schema."""
        return self.environ["DATABASE_URL"]

    def start(self, *command: str) -> Program:
        """Start a Tether program with the settings of the demo, and as the role of its own."""
        place = self.folder / f"{len(self.programs)}-{command[0]}"
        place.mkdir()
        # The console scripts are in the folder of this Python, which may not be on PATH.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environ = {**self.environ, "PATH": path}
        if command[0] in self.roles:
            environ["DATABASE_URL"] = environ["DATABASE_DIRECT_URL"] = self.roles[command[0]]
        program = launch(command, environ=environ, folder=place, guard=self.guard)
        self.programs.append(program)
        return program

    def start_worker(self, *queues: str) -> Program:
        """Start another worker, for all queues or for some."""
        return self.start("tether-worker", "run", *(queues or QUEUES))

    def kill_worker(self) -> None:
        """Kill the current worker."""
        self.programs[-1].kill()

    def kill_all(self) -> None:
        """Kill all programs."""
        for program in self.programs:
            program.kill()

    def logs(self) -> str:
        """The standard error of all programs."""
        return "".join(f"--- {program.name}\n{program.stderr}" for program in self.programs)


@contextlib.contextmanager
def opened(
    console: Console,
    *,
    api_key: str = API_KEY,
    port: int | None = None,
    folder: Path | None = None,
    s3: bool = False,
    docker: bool = False,
    supervised: bool = False,
) -> Iterator[Stage]:
    """
    Run the demo's environment for the length of a `with` block.

    Args:
        console: Where to print what starts.
        api_key: The key of the API and of the console.
        port: Of the web processes; `None` for one that is free.
        folder: Where the services keep their data; `None` for a temporary folder.
        s3: Keep files behind an S3 endpoint instead of in a folder.
        docker: Start the services in containers.
        supervised: Let a supervisor keep the workers, as in production; otherwise one worker, which can be killed.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        with console.status("starting Postgres and Redis ..."):
            services = stack.enter_context(running(os.environ, folder=folder, s3=s3, docker=docker))
        console.print(f"[green]✓[/] Postgres and Redis started ({time.monotonic() - began:.1f} s)")
        port = port or free_port()
        url = f"http://127.0.0.1:{port}"
        gateway = stack.enter_context(
            gateway_running(
                Setup(notify_url=f"{url}/api/webhooks/emp", result_after_s=0.3, retry_interval_s=0.5)
            )
        )
        stage = Stage(
            services,
            {
                **ENVIRONMENT,
                **services.environment,
                "EMP_API_URL": gateway.url,
                "TETHER_API_KEYS": f"sandbox:{api_key}",
                **_FAST,
            },
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tether-demo-"))),
            stack.enter_context(Guard()),
            gateway,
            url,
            stack.enter_context(
                httpx.Client(
                    base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=60, trust_env=False
                )
            ),
        )
        stage.guard.remove(stage.folder)
        stack.callback(stage.kill_all)
        with console.status("migrating, starting web and worker ..."):
            migrate(stage.environ["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
            if services.postgres or docker:  # the caller's own Postgres gets no roles that nobody ordered
                stage.roles = with_roles(stage.environ["DATABASE_DIRECT_URL"])
            web = stage.start("tether-web", "--port", str(port), "--workers", "2")
            worker = stage.start("tether-worker", "supervise") if supervised else stage.start_worker()
            web.await_url(f"{url}/ready")
            worker.await_line('"event":"worker started"')
        workers = "a supervisor of workers" if supervised else "a worker"
        console.print(
            f"[green]✓[/] database migrated; two web processes at {url}, {workers} and a simulated gateway started "
            f"({time.monotonic() - began:.1f} s)"
        )
        yield stage


# Short timeouts and high rates, so that the demo takes a minute; few processes, because it runs on somebody's laptop.
_FAST = {
    "EMP_TIMEOUT": "2",
    "EMP_RATE_LIMIT": "200",
    "RECONCILIATION_RATE_LIMIT": "100",
    "TETHER_WORKER_POOLS": "local",
    # A busy laptop is slow, and not without connections.
    "DATABASE_POOL_WAIT": "20",
    # The receiver of events is on this machine.
    "TETHER_SUBSCRIBER_NETWORKS": "127.0.0.1",
}
