"""
The environment of the chaos test: services, web nodes, workers and a simulated gateway.

There are two web nodes behind a proxy, two workers, Postgres behind a pooler, Redis and an object store. All of them run as separate processes on loopback ports. Each program connects to
Postgres as the role of its own. A fault that kills a program starts it again, as systemd or an orchestrator would.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil  # publishes no types
import psycopg
import psycopg.sql
from tether_stores.accounts.gateway_accounts import DEFAULT, GatewayAccount, new_key
from tether_stores.migrate import migrate
from tether_stores.queries import split_file

from tether_sandbox.chaos.proxies import Front, PgBouncer, front, pooler
from tether_sandbox.database_roles import with_roles
from tether_sandbox.gateway import Faults, Setup, Simulator
from tether_sandbox.gateway import running as gateway_running
from tether_sandbox.services import Objects, Services, running
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.postgres import Postgres
from tether_sandbox.services.program import Program, launch
from tether_sandbox.services.redis import Redis
from tether_sandbox.services.server import free_port
from tether_sandbox.settings import ENVIRONMENT

__all__ = ["GATEWAY", "LOGINS", "TERMINALS", "Node", "Stage", "staged"]

_SQL = split_file("tether_sandbox", "sql/chaos")
# Logins and terminals of the merchant. The records of both logins are the same, those of the terminals are not.
LOGINS = (ENVIRONMENT["EMP_API_LOGIN"], "sandbox-2")
TERMINALS = (ENVIRONMENT["EMP_TERMINAL_TOKEN"], "sandbox-terminal-2")

_WEB_NODES = 2
_WORKERS = 2
# How long a program may take to start: a busy machine took more than a minute.
_READY_S = 300.0
# How long it may take to stop, with a grace period of 5 s.
_STOPPED_S = 120.0
_NOTIFY_PATH = "/api/webhooks/emp"
_QUEUES = ("webhooks", "default", "billing", "reconciliation")

# Short timeouts: calls time out soon, and "not found" is trusted after a minute. The rates are high because disputes of a
# year arrive within minutes, each with two status inquiries.
_FAST = {
    "EMP_TIMEOUT": "2",
    "EMP_CONNECT_TIMEOUT": "1",
    "EMP_RATE_LIMIT": "50",
    "RECONCILIATION_RATE_LIMIT": "200",
    "TETHER_NOT_FOUND_GRACE": "10",
}
# One debit in twenty has no clear response, taken or not; one inquiry in fifty fails.
GATEWAY = Faults(
    silent=0.01, hung_up=0.01, cut=0.005, failed=0.005, dropped=0.01, refused=0.01, inquiries_failed=0.02
)


class Node:
    """
    A web node or worker that can be started, killed and frozen.

    Attributes:
        name: Such as "web-1".
        url: Its address; "" for a worker.
    """

    # `environ` may change until the next start; `own` are settings of this node that replace them.
    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        own: Mapping[str, str],
        folder: Path,
        guard: Guard,
        url: str = "",
    ) -> None:
        self.name = name
        self.url = url
        self._command = command
        self._environ = environ
        self._own = own
        self._folder = folder
        self._guard = guard
        self._starts = 0
        self._program: Program | None = None

    @property
    def logs(self) -> str:
        """The logs since the first start."""
        files = sorted(self._folder.glob(f"{self.name}.*/stderr"), key=lambda path: path.stat().st_mtime)
        return "".join(path.read_text(errors="replace") for path in files)

    def start(self, *, clock_off_s: float = 0.0, steps_after_s: float = 0.0) -> None:
        """
        Start it with the present settings, without waiting until it is ready.

        Args:
            clock_off_s: Clock skew, positive if ahead; workers only.
            steps_after_s: When its clock steps by that much, after the start; 0 for a skew from the start.
        """
        self._starts += 1
        folder = self._folder / f"{self.name}.{self._starts}"
        folder.mkdir()
        command = self._command
        if clock_off_s:
            skew = f"{clock_off_s}@{steps_after_s}"
            command = ("python", "-m", "tether_sandbox.chaos.clock_skew", skew, *command[1:])
        self._program = launch(
            command, environ={**self._environ, **self._own}, folder=folder, guard=self._guard
        )

    def await_ready(self) -> None:
        """Wait until it responds or works."""
        if self.url:
            self._running.await_url(f"{self.url}/health", timeout_s=_READY_S)
        else:
            self._running.await_line('"event":"worker started"', timeout_s=_READY_S)

    def kill(self) -> None:
        """Kill all of its processes at once, if it runs."""
        if self._program is not None:
            self._program.kill()

    def terminate(self) -> int:
        """End it with SIGTERM and wait; returns its exit code."""
        return self._running.terminate(timeout_s=_STOPPED_S)

    def pause(self) -> None:
        """Freeze all of its processes."""
        os.killpg(self._running.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue all of its processes."""
        os.killpg(self._running.pid, signal.SIGCONT)

    def fill_disk(self) -> None:
        """Make each write fail, as on a full disk: no file of its processes can grow."""
        self._limit_files(0)

    def empty_disk(self) -> None:
        """Let files grow again."""
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size_bytes: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._running.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    # The hard limit stays, so that the soft limit can be raised again without privileges.
                    _, hard = process.rlimit(resource.RLIMIT_FSIZE)
                    soft = hard if size_bytes == resource.RLIM_INFINITY else size_bytes
                    process.rlimit(resource.RLIMIT_FSIZE, (soft, hard))

    @property
    def _running(self) -> Program:
        assert self._program is not None, f"{self.name} was never started"
        return self._program


class Stage(msgspec.Struct, frozen=True):
    """
    The running environment.

    Attributes:
        postgres: The sandbox's Postgres.
        redis: The sandbox's Redis.
        objects: The sandbox's S3 endpoint.
        gateway: The simulator.
        pooler: In front of Postgres; `None` if pgBouncer is not installed.
        front: In front of the web nodes.
        webs: The web nodes.
        workers: The workers.
        environ: The settings of every program at its next start, but for its addresses of Postgres; here they are those of the owner of the
            schema, `DATABASE_URL` through the pooler and the direct one past it.
        accounts: The logins and addresses of the gateway account that were ever configured, in order.
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
    accounts: list[tuple[str, str]]

    def configure(self, **settings: str) -> None:
        """
        Change settings, and restart the web nodes one after another, and so the workers, as an operator does.

        A login and address that was configured before is kept as an account of its own, so that its debits can be inquired.
        """
        self.environ.update(settings)
        account = (self.environ["EMP_API_LOGIN"], self.environ["EMP_API_URL"])
        if account not in self.accounts:
            self.accounts.append(account)
        for number, former in enumerate(self.accounts, 1):
            if former != account:
                self._keep(former, name=f"former-{number}")

        def restart(nodes: Sequence[Node]) -> None:
            for node in nodes:
                node.terminate()
                node.start()
                node.await_ready()

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(restart, (self.webs, self.workers)))

    def _keep(self, former: tuple[str, str], *, name: str) -> None:
        login, url = former
        account = GatewayAccount(
            name=name,
            api_url=url,
            login=login,
            passwords=tuple(self.environ["EMP_API_PASSWORD"].split(",")),
            terminal_tokens=TERMINALS,
            enabled=False,
            former_of=DEFAULT,
        )
        subprocess.run(
            (Path(sys.executable).parent / "tether-worker", "accounts", "put"),
            input=msgspec.json.encode(account),
            env=self.environ,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    @property
    def database_url(self) -> str:
        """The address of Postgres, past the pooler."""
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
    Run the environment, migrated and ready, for the length of a `with` block.

    Args:
        folder: Empty; for the logs of the programs.
        settings: Further settings of the programs.
        own: Whether to do without nginx and pgBouncer even if they are installed.

    Raises:
        DidNotStart: when a service or program does not start.
    """
    with running({}, s3=True) as services, contextlib.ExitStack() as stack:
        guard = stack.enter_context(Guard())
        assert services.postgres is not None
        # Beside the data: the user that runs servers instead of root has access there.
        home = services.postgres.folder.parent
        owner = services.environment["DATABASE_DIRECT_URL"]
        migrate(owner, now=datetime.now(UTC))
        roles = with_roles(owner)
        _make_clock_settable(owner)
        urls = (owner, *roles.values())
        between = None if own else pooler(_made(home / "pooler"), guard=guard, postgres_urls=urls)
        if between is not None:
            stack.callback(between.drop)
            between.start()
        ports = [free_port() for _ in range(_WEB_NODES)]
        gate = front(_made(home / "front"), guard=guard, nodes=ports, own=own)
        stack.callback(gate.drop)
        gate.start()
        gateway = stack.enter_context(gateway_running(_setup(gate)))
        environ = {**ENVIRONMENT, **_FAST, **services.environment, "EMP_API_URL": gateway.url}
        environ |= {"EMP_TERMINAL_TOKEN": ",".join(TERMINALS), "TETHER_SECRETS_KEY": new_key()}
        environ |= {} if between is None else {"DATABASE_URL": between.through(owner)}
        environ |= settings or {}
        # The console scripts are in the folder of this Python, which may not be on PATH.
        environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        addresses = {
            program: {"DATABASE_URL": between.through(url) if between else url, "DATABASE_DIRECT_URL": url}
            for program, url in roles.items()
        }
        webs, workers = _nodes(ports, environ=environ, addresses=addresses, folder=folder, guard=guard)
        for node in (*webs, *workers):
            stack.callback(node.kill)
            node.start()
        for node in (*webs, *workers):
            node.await_ready()
        yield _stage(services, gateway, between, gate, webs=webs, workers=workers, environ=environ)


def _make_clock_settable(database_url: str) -> None:
    """Give the database a clock that can be set: its function is found before Postgres's own."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(_SQL["settable_clock"])
        name = psycopg.sql.Identifier(conn.info.dbname)
        conn.execute(psycopg.sql.SQL(_SQL["use_settable_clock"]).format(database=name))


def _setup(gate: Front) -> Setup:
    """A gateway that takes repeated ids, loses responses, and repeats notifications without end."""
    return Setup(
        notify_url=f"{gate.url}{_NOTIFY_PATH}",
        result_after_s=0.5,
        retry_interval_s=1.0,
        retries_max=100_000,
        notify_concurrency=4,
        silence_s=10.0,
        faults=GATEWAY,
        further_logins=LOGINS[1:],
        terminals=TERMINALS,
        relay_port=free_port(),
    )


def _nodes(
    ports: Sequence[int],
    *,
    environ: Mapping[str, str],
    addresses: Mapping[str, Mapping[str, str]],
    folder: Path,
    guard: Guard,
) -> tuple[list[Node], list[Node]]:
    webs = [
        Node(
            f"web-{number}",
            ("tether-web", "--port", str(port), "--grace", "5"),
            environ=environ,
            own=addresses["tether-web"],
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
            own=addresses["tether-worker"],
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
        [(environ["EMP_API_LOGIN"], environ["EMP_API_URL"])],
    )


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o755)
    return folder
