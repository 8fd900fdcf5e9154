"""Real services and real processes for tests; a test that asks for none starts none."""

from __future__ import annotations

import contextlib
import os
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

# The clock says nothing about a rule, and a busy machine would fail tests by it.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile("default")

# What starts services is imported by the fixtures that need it, so that tests of the pure core stay light.
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from psycopg.sql import Composed
    from tether_sandbox.services import Services
    from tether_sandbox.services.guard import Guard
    from tether_sandbox.services.program import Launch, Program

# Where programs are killed, flooded and timed. No two of these tests run at once: they would be each other's fault.
_ALONE = ("tests/faults/", "tests/flow/")
_PROCESSES_MAX = (
    4  # each has a Postgres and a Redis of its own, and the tests that are alone last the longest
)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Say among how many processes the tests are split: whole folders among some, named files or tests not at all."""
    named = [word.partition("::")[0] for word in config.args]
    if config.getoption("capture") == "no" or any(word.endswith((".py", ".pyi")) for word in named):
        return 0  # starting more processes takes longer than most files, and they cannot be talked to
    cores = os.cpu_count() or 1
    return min(cores, _PROCESSES_MAX) if cores > 1 else 0


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Split the tests so that a file stays together, and so do those that are not to disturb each other."""
    return _Split(config, log)


class _Split(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return "alone" if nodeid.startswith(_ALONE) else nodeid.partition("::")[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest, where they are split: what comes after it fills the other processes."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(_ALONE))


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """One Postgres and one Redis for all tests; those that the environment names, where it names them."""
    from tether_sandbox.services import running

    with running(os.environ) as started:
        yield started


@pytest.fixture(scope="session")
def template_database(services: Services) -> Iterator[str]:
    """The name of a migrated database from which every test gets its copy."""
    from tether_stores.migrate import migrate  # only tests that need a schema need it

    server = services.environment["DATABASE_DIRECT_URL"]
    with _database(server, prefix="template") as url:
        migrate(url, now=datetime.now(UTC))
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def empty_database_url(services: Services) -> Iterator[str]:
    """The URL of a database without any table, for tests of migrations."""
    with _database(services.environment["DATABASE_DIRECT_URL"], prefix="empty") as url:
        yield url


@pytest.fixture
def database_url(services: Services, template_database: str) -> Iterator[str]:
    """The URL of a migrated database that belongs to this test alone."""
    with _database(
        services.environment["DATABASE_DIRECT_URL"], prefix="test", template=template_database
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
        # A Redis of ours may be wiped; of somebody else's we wipe only the database we were given.
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
    """Settings with which every program of ours runs against this test's services."""
    return {
        "DATABASE_URL": database_url,
        "DATABASE_DIRECT_URL": database_url,
        "REDIS_URL": redis_url,
        "TETHER_OBJECTS_DIR": str(objects_dir),
        "EMP_API_LOGIN": "merchant",
        "EMP_API_PASSWORD": "s3cret-password",
        "EMP_TERMINAL_TOKEN": "terminal-1",
        "TETHER_API_KEYS": "tests:test-key",
        # Not that of production: where a test is about something else, a busy machine shall not be told 503.
        "TETHER_COMMIT_DEADLINE": "20",
    }


@pytest.fixture
def process(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Start console commands as real processes; whatever still runs at the end of the test is killed."""
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
    """Ends our programs should the test run itself be killed."""
    from tether_sandbox.services.guard import Guard

    with Guard() as current_status:
        yield current_status


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Wait for a fact, plain or async, and give it; see `tether_sandbox.services.waiting`."""
    from tether_sandbox.services.waiting import eventually

    return eventually


@pytest.fixture
def until() -> Callable[..., object]:
    """Wait for a fact in a test that is not async."""
    from tether_sandbox.services.waiting import until

    return until


def _mend(services: Services) -> None:
    """Have everything running again after a test that stopped or froze it."""
    for server in (services.postgres, services.redis):
        if server:
            server.resume()
            server.start()


@contextlib.contextmanager
def _database(server: str, *, prefix: str, template: str = "template1") -> Iterator[str]:
    """Have a database of its own for a while; gives its URL."""
    from psycopg import sql

    name = f"{prefix}_{secrets.token_hex(6)}"
    names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    _execute(server, sql.SQL("create database {name} template {template}").format(**names))
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        _execute(server, sql.SQL("drop database {name} with (force)").format(**names))


def _execute(server: str, statement: Composed) -> None:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)
