"""
What a chaos test rages over: two web nodes behind a proxy, two workers, Postgres behind a pooler, Redis, objects, a gateway.

All of it is real and runs in processes of its own on loopback ports. A program of ours that is killed is started again
by whoever killed it, as systemd or an orchestrator would.
"""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil  # publishes no types
from tether_stores.migrate import migrate

from tether_sandbox.chaos.proxies import Front, PgBouncer, front, pooler
from tether_sandbox.gateway import Faults, Setup, Simulator
from tether_sandbox.gateway import running as gateway_running
from tether_sandbox.services import Objects, Services, running
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.postgres import Postgres
from tether_sandbox.services.program import Program, launch
from tether_sandbox.services.redis import Redis
from tether_sandbox.services.server import free_port
from tether_sandbox.settings import ENVIRONMENT

__all__ = ["Node", "Stage", "staged"]

_WEB_NODES = 2
_WORKERS = 2
_NOTIFY_PATH = "/api/webhooks/emp"
_QUEUES = ("webhooks", "default", "billing", "reconciliation")

# A chaos test cannot wait as long as a business can: calls are given up soon, and what the gateway has not got after half a
# minute it never will. A year's disputes come within minutes, and each is worth two questions.
_HURRIED = {
    "EMP_TIMEOUT": "2",
    "EMP_CONNECT_TIMEOUT": "1",
    "EMP_RATE_LIMIT": "50",
    "RECONCILIATION_RATE_LIMIT": "200",
    "TETHER_NOT_FOUND_GRACE": "30",
}
# One debit in twenty gets no clear answer: some of these stand at the gateway, some do not. Nor does one question in fifty.
_GATEWAY = Faults(silent=0.01, hung_up=0.01, cut=0.005, failed=0.005, dropped=0.01, refused=0.01, asked=0.02)


class Node:
    """
    One of our programs, and its life: started, killed, frozen, started again.

    Attributes:
        name: Such as "web-1".
        url: Where it answers; "" for a worker.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        folder: Path,
        guard: Guard,
        url: str = "",
    ) -> None:
        self.name = name
        self.url = url
        self._command = command
        self._environ = environ
        self._folder = folder
        self._guard = guard
        self._lives = 0
        self._program: Program | None = None

    @property
    def words(self) -> str:
        """What it has said in all its lives."""
        files = sorted(self._folder.glob(f"{self.name}.*/stderr"), key=lambda path: path.stat().st_mtime)
        return "".join(path.read_text(errors="replace") for path in files)

    def start(self, *, clock_off_s: float = 0.0) -> None:
        """
        Start it, once more or for the first time; ready is another question.

        Args:
            clock_off_s: How far its machine's clock is ahead, in seconds; workers only.
        """
        self._lives += 1
        folder = self._folder / f"{self.name}.{self._lives}"
        folder.mkdir()
        command = self._command
        if clock_off_s:
            command = ("python", "-m", "tether_sandbox.chaos.clock_skew", str(clock_off_s), *command[1:])
        self._program = launch(command, environ=self._environ, folder=folder, guard=self._guard)

    def await_ready(self) -> None:
        """Wait until it answers, or works."""
        if self.url:
            self._running.await_url(f"{self.url}/health", timeout_s=60)
        else:
            self._running.await_line('"event":"working"', timeout_s=60)

    def kill(self) -> None:
        """Kill all of its processes at once; down already is fine."""
        if self._program is not None:
            self._program.kill()

    def terminate(self) -> int:
        """Ask it to end and wait until it has; gives its return code."""
        return self._running.terminate()

    def pause(self) -> None:
        """Freeze all of its processes."""
        os.killpg(self._running.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        os.killpg(self._running.pid, signal.SIGCONT)

    def fill_disk(self) -> None:
        """From now on no file of its processes may grow; as on a full disk, each write fails. What it has is kept."""
        self._limit_files(0)

    def empty_disk(self) -> None:
        """Let files grow again."""
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size_bytes: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._running.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    # The hard limit stays, so that anybody may lift the soft one again.
                    _, hard = process.rlimit(resource.RLIMIT_FSIZE)
                    soft = hard if size_bytes == resource.RLIM_INFINITY else size_bytes
                    process.rlimit(resource.RLIMIT_FSIZE, (soft, hard))

    @property
    def _running(self) -> Program:
        assert self._program is not None, f"{self.name} was never started"
        return self._program


class Stage(msgspec.Struct, frozen=True):
    """
    What runs.

    Attributes:
        postgres: Of our own.
        redis: Of our own.
        objects: An S3 endpoint of our own.
        gateway: The simulator that is billed over.
        pooler: In front of Postgres; `None` where pgBouncer is not installed.
        front: In front of the web nodes.
        webs: The web nodes.
        workers: The workers.
        environ: The settings of every program; `DATABASE_URL` leads through the pooler, the direct one past it.
    """

    postgres: Postgres
    redis: Redis
    objects: Objects
    gateway: Simulator
    pooler: PgBouncer | None
    front: Front
    webs: list[Node]
    workers: list[Node]
    environ: dict[str, str]

    @property
    def database_url(self) -> str:
        """The way to Postgres past the pooler."""
        return self.environ["DATABASE_DIRECT_URL"]

    @property
    def notify_url(self) -> str:
        """Where notifications go."""
        return f"{self.front.url}{_NOTIFY_PATH}"

    def notify_urls(self) -> list[str]:
        """The same past the proxy, one for each node."""
        return [f"{node.url}{_NOTIFY_PATH}" for node in self.webs]


@contextlib.contextmanager
def staged(folder: Path, *, settings: Mapping[str, str] | None = None, own: bool = False) -> Iterator[Stage]:
    """
    Have everything up, migrated and ready for the length of a `with` block.

    Args:
        folder: Empty; what the programs say is kept here.
        settings: Settings of the programs beside the sandbox's own.
        own: Whether to do without nginx and pgBouncer even where they are installed.

    Yields:
        The stage.

    Raises:
        DidNotStart: when something did not.
    """
    with running({}, s3=True) as services, contextlib.ExitStack() as stack:
        guard = stack.enter_context(Guard())
        assert services.postgres is not None
        # Beside the data, for the same reasons: whoever runs servers in root's place gets through to it.
        home = services.postgres.folder.parent
        migrate(services.environment["DATABASE_DIRECT_URL"], now=datetime.now(UTC))
        between = (
            None if own else pooler(_made(home / "pooler"), guard=guard, postgres_url=services.postgres.url)
        )
        if between is not None:
            stack.callback(between.drop)
            between.start()
        ports = [free_port() for _ in range(_WEB_NODES)]
        gate = front(_made(home / "front"), guard=guard, nodes=ports, own=own)
        stack.callback(gate.drop)
        gate.start()
        gateway = stack.enter_context(gateway_running(_setup(gate)))
        environ = {**ENVIRONMENT, **_HURRIED, **services.environment, "EMP_API_URL": gateway.url}
        environ |= {} if between is None else {"DATABASE_URL": between.url}
        environ |= settings or {}
        # Our own console scripts lie beside the Python that runs this, whether or not that folder is on PATH.
        environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        webs, workers = _nodes(ports, environ=environ, folder=folder, guard=guard)
        for node in (*webs, *workers):
            stack.callback(node.kill)
            node.start()
        for node in (*webs, *workers):
            node.await_ready()
        yield _stage(services, gateway, between, gate, webs=webs, workers=workers, environ=environ)


def _setup(gate: Front) -> Setup:
    """A gateway that takes a second debit under the same id, loses answers, and never stops repeating itself."""
    return Setup(
        notify_url=f"{gate.url}{_NOTIFY_PATH}",
        result_after_s=0.5,
        retry_interval_s=1.0,
        retries_max=100_000,
        notify_concurrency=4,
        silence_s=10.0,
        faults=_GATEWAY,
    )


def _nodes(
    ports: Sequence[int], *, environ: Mapping[str, str], folder: Path, guard: Guard
) -> tuple[list[Node], list[Node]]:
    webs = [
        Node(
            f"web-{number}",
            ("tether-web", "--port", str(port), "--grace", "5"),
            environ=environ,
            folder=folder,
            guard=guard,
            url=f"http://127.0.0.1:{port}",
        )
        for number, port in enumerate(ports, 1)
    ]
    workers = [
        Node(
            f"worker-{number}",
            ("tether-worker", "run", *_QUEUES, "--grace", "5"),
            environ=environ,
            folder=folder,
            guard=guard,
        )
        for number in range(1, _WORKERS + 1)
    ]
    return webs, workers


def _stage(
    services: Services,
    gateway: Simulator,
    between: PgBouncer | None,
    gate: Front,
    *,
    webs: list[Node],
    workers: list[Node],
    environ: dict[str, str],
) -> Stage:
    assert services.postgres is not None
    assert services.redis is not None
    assert services.objects is not None
    return Stage(
        services.postgres,
        services.redis,
        services.objects,
        gateway,
        between,
        gate,
        webs,
        workers,
        environ,
    )


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o755)
    return folder
