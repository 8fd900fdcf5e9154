"""Fixtures with real services and processes; they start only for tests that use them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

# No deadlines: they would fail on a busy machine. The same inputs each time: docs/decisions/0066.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.register_profile("random", deadline=None, print_blob=True)
hypothesis.settings.load_profile("default")

# Fixtures import what starts services themselves, so that tests of the pure core start fast.
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from psycopg.sql import Composed
    from tether_sandbox.services import Services
    from tether_sandbox.services.guard import Guard
    from tether_sandbox.services.program import Launch, Program
    from tether_stores.privileges import Program as ProgramName

# Tests that kill, overload and time programs. No two of them run at once: they would disturb each other.
_ALONE = ("tests/faults/",)
# Files that take long and measure no time: they begin next, so that no process ends with one of them while the others are done.
_LONG = (
    "tests/faults/test_crash_points.py",
    "tests/fuzz/test_schemathesis.py",
    "tests/flow/",
    "tests/sandbox/",
    "tests/stores/test_plans.py",
)
_PROCESSES_MAX = 4  # each has its own Postgres and Redis, and the tests that run alone take the longest


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Number of processes: several for whole folders, none for named files or tests."""
    named = [word.partition("::")[0] for word in config.args]
    if config.getoption("capture") == "no" or any(word.endswith((".py", ".pyi")) for word in named):
        return 0  # starting processes takes longer than most files, and a debugger cannot attach to them
    cores = os.cpu_count() or 1
    # One more than cores: most tests wait for a process or a store much of their time.
    return min(cores + 1, _PROCESSES_MAX) if cores > 1 else 0


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Split the tests by file; tests that must run alone stay together."""
    return _Split(config, log)


class _Split(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return "alone" if _is_alone(nodeid) else nodeid.partition("::")[0]


# What another process would write otherwise.
_CHANGES = re.compile(r"datetime\.datetime\(| at 0x[0-9a-f]{6,}>")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Start with the longest tests if they are split: the others fill the other processes.

    Raises:
        UsageError: when a test is named after a time or the place of an object in memory. Each process would give it another
            name, and none would run anything.
    """
    if changing := [item.nodeid for item in items if _CHANGES.search(item.nodeid)]:
        raise pytest.UsageError(f"give ids that stay the same to the parameters of {changing[0][:200]}")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (not _is_alone(item.nodeid), not item.nodeid.startswith(_LONG)))


def _is_alone(nodeid: str) -> bool:
    return nodeid.startswith(_ALONE) and not nodeid.startswith(_LONG)


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """
    Postgres and Redis for all tests; those of the environment if it names them.

    Tests kill programs, never the machine, so Postgres need not wait for the disk. Each test has its own database, and making
    and dropping one would otherwise wait longer than most tests run.
    """
    from tether_sandbox.services import running

    with running(os.environ, survives_power_loss=False) as started:
        yield started


@pytest.fixture(scope="session")
def template(services: Services) -> Iterator[tuple[str, dict[ProgramName, str]]]:
    """The name of a migrated database, and the roles of the programs in it; both for `template_database` and `program_roles`."""
    from tether_stores.migrate import migrate  # only tests that need a schema need it

    from tests.support.roles import granted

    server = services.environment["DATABASE_DIRECT_URL"]
    with _database(server, prefix="template") as url:
        migrate(url, now=datetime.now(UTC))
        with granted(url) as roles:
            yield urlsplit(url).path.removeprefix("/"), roles


@pytest.fixture(scope="session")
def template_database(template: tuple[str, dict[ProgramName, str]]) -> str:
    """The name of a migrated database; every test gets a copy of it, with the privileges of the roles."""
    return template[0]


@pytest.fixture(scope="session")
def program_roles(template: tuple[str, dict[ProgramName, str]]) -> dict[ProgramName, str]:
    """The roles of web and worker in every test's database, with what `tether-worker migrate` grants them."""
    return template[1]


@pytest.fixture
def empty_database_url(services: Services) -> Iterator[str]:
    """The URL of a database without any table, for tests of migrations."""
    with _database(services.environment["DATABASE_DIRECT_URL"], prefix="empty") as url:
        yield url


@pytest.fixture
def database_url(services: Services, template_database: str) -> Iterator[str]:
    """The URL of a migrated database that belongs to this test alone."""
    # Where files are in memory, copying them takes less than writing all pages to the log.
    in_memory = services.postgres is not None and services.postgres.folder.is_relative_to("/dev/shm")
    with _database(
        services.environment["DATABASE_DIRECT_URL"],
        prefix="test",
        template=template_database,
        strategy="file_copy" if in_memory else "wal_log",
    ) as url:
        yield url
        _mend(services)


@pytest.fixture
def redis_url(services: Services) -> str:
    """The URL of a Redis database that is empty and belongs to this test alone."""
    import redis

    _mend(services)
    url = services.environment["REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        # Of a Redis that the environment names only the given database is emptied.
        client.flushall() if services.redis else client.flushdb()
    return url


@pytest.fixture
def objects_dir(tmp_path: Path) -> Path:
    """An empty folder for objects."""
    folder = tmp_path / "objects"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(database_url: str, redis_url: str, objects_dir: Path) -> dict[str, str]:
    """Settings of programs that use this test's services."""
    return {
        "DATABASE_URL": database_url,
        "DATABASE_DIRECT_URL": database_url,
        "REDIS_URL": redis_url,
        "TETHER_OBJECTS_DIR": str(objects_dir),
        "EMP_API_LOGIN": "merchant",
        "EMP_API_PASSWORD": "s3cret-password",
        "EMP_TERMINAL_TOKEN": "terminal-1",
        "TETHER_API_KEYS": "tests:test-key",
        # Longer than in production, so that a busy machine does not respond 503.
        "TETHER_COMMIT_DEADLINE": "20",
        "DATABASE_POOL_WAIT": "20",
    }


@pytest.fixture
def process(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Start console commands as real processes; all that still run at the end of the test are killed."""
    from tether_sandbox.services.program import launch

    started: list[Program] = []

    def start(*command: str, environ: Mapping[str, str]) -> Program:
        folder = tmp_path_factory.mktemp(command[0], numbered=True)
        program = launch(command, environ=environ, folder=folder, guard=guard)
        started.append(program)
        return program

    yield start
    for program in reversed(started):
        program.kill()


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    """Ends the programs if the test run is killed."""
    from tether_sandbox.services.guard import Guard

    with Guard() as started:
        yield started


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Wait for a condition, sync or async; see `tether_sandbox.services.waiting`."""
    from tether_sandbox.services.waiting import eventually

    return eventually


@pytest.fixture
def until() -> Callable[..., object]:
    """Wait for a condition in a sync test."""
    from tether_sandbox.services.waiting import until

    return until


def _mend(services: Services) -> None:
    """Start and resume all services after a test that stopped or froze them."""
    for server in (services.postgres, services.redis):
        if server:
            server.resume()
            server.start()


@contextlib.contextmanager
def _database(
    server: str, *, prefix: str, template: str = "template1", strategy: str = "wal_log"
) -> Iterator[str]:
    """Create a database for the length of a block; yields its URL."""
    from psycopg import sql

    name = f"{prefix}_{secrets.token_hex(6)}"
    names = {
        "name": sql.Identifier(name),
        "template": sql.Identifier(template),
        "strategy": sql.Identifier(strategy),
    }
    _execute(
        server, sql.SQL("create database {name} template {template} strategy {strategy}").format(**names)
    )
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        _execute(server, sql.SQL("drop database {name} with (force)").format(**names))


def _execute(server: str, statement: Composed) -> None:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)
