"""
The services Tether stands on, real ones, on this machine, with nothing installed.

What the environment names is used as it is: `DATABASE_URL`, `REDIS_URL`, and for objects `AWS_ENDPOINT`,
`AWS_BUCKET` or `TETHER_OBJECTS_DIR`. What it does not name is started: Postgres and Redis from wheels (or
`redis-server` from PATH), objects in a folder or, where an S3 endpoint is wanted, by SeaweedFS. Ports and
passwords are fresh each time, so any number of copies run side by side. Everything ends with the `with`
block, and also when the program that holds it is killed.

```python
with running(os.environ) as services:
    subprocess.run(["tether-web"], env={**os.environ, **services.environment})
```

>>> with running({"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://r", "AWS_BUCKET": "b"}) as given:
...     sorted(given.environment), given.postgres
(['AWS_BUCKET', 'DATABASE_DIRECT_URL', 'DATABASE_URL', 'REDIS_URL'], None)
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tether_sandbox.services import docker as engine
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.objects import Objects
from tether_sandbox.services.postgres import Postgres, reachable, unprivileged
from tether_sandbox.services.redis import Redis
from tether_sandbox.services.server import DidNotStart, Server

__all__ = ["DidNotStart", "Objects", "Postgres", "Redis", "Services", "running"]


class Services(msgspec.Struct, frozen=True):
    """
    What runs, and how to reach it.

    Attributes:
        environment: The settings that lead to the services; add them to those of a program.
        postgres: Ours, to be killed and started again; `None` where the environment named one.
        redis: The same.
        objects: The S3 endpoint, where one was started.
    """

    environment: dict[str, str]
    postgres: Postgres | None = None
    redis: Redis | None = None
    objects: Objects | None = None


@contextlib.contextmanager
def running(
    environ: Mapping[str, str], *, folder: Path | None = None, s3: bool = False, docker: bool = False
) -> Iterator[Services]:
    """
    Have every service running for the length of a `with` block.

    Args:
        environ: Settings that may name services; those are used and left alone.
        folder: Where the data lives, kept at the end and used again next time; `None` is a temporary folder.
        s3: Whether objects shall be behind an S3 endpoint rather than in a folder.
        docker: Whether a Docker engine shall bring Postgres, Redis and SeaweedFS.

    Yields:
        The services, each of which has answered a real connection.

    Raises:
        DidNotStart: when one of them did not; the others are stopped again.
    """
    settings = _named(environ)
    if docker:
        with engine.containers(wanted=_wanted(settings)) as started:
            yield Services(_complete({**settings, **started}))
        return
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(Guard())
        home = _made(folder, passable=True) if folder else stack.enter_context(_temporary(guard))
        servers: list[Server] = []
        postgres = redis = objects = None
        wanted = _wanted(settings)
        if "postgres" in wanted:
            servers.append(postgres := Postgres(_made(home / "postgres"), guard=guard))
        if "redis" in wanted:
            servers.append(redis := Redis(_made(home / "redis"), guard=guard))
        if "objects" in wanted and s3:
            servers.append(objects := Objects(_made(home / "s3"), guard=guard))
        for server in servers:
            # What lives in a temporary folder need not be written down before it is removed.
            stack.callback(server.stop if folder else server.drop)
        _start(servers)
        if postgres:
            settings["DATABASE_URL"] = postgres.url
        if redis:
            settings["REDIS_URL"] = redis.url
        if objects:
            settings |= objects.environment
        elif "objects" in wanted:
            settings["TETHER_OBJECTS_DIR"] = str(_made(home / "objects"))
        yield Services(_complete(settings), postgres=postgres, redis=redis, objects=objects)


def _named(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the settings of *environ* that name services."""
    names = ("DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL", "TETHER_OBJECTS_DIR")
    given = {key: text for key, text in environ.items() if text and (key in names or key.startswith("AWS_"))}
    if "DATABASE_URL" not in given:
        # A direct way that stands alone leads to some other database, and that one would be migrated.
        given.pop("DATABASE_DIRECT_URL", None)
    return given


def _wanted(settings: Mapping[str, str]) -> set[str]:
    """Give the services that *settings* does not name."""
    wanted = set()
    if "DATABASE_URL" not in settings:
        wanted.add("postgres")
    if "REDIS_URL" not in settings:
        wanted.add("redis")
    if not settings.keys() & {"AWS_ENDPOINT", "AWS_BUCKET", "TETHER_OBJECTS_DIR"}:
        wanted.add("objects")
    return wanted


def _complete(settings: dict[str, str]) -> dict[str, str]:
    return {"DATABASE_DIRECT_URL": settings["DATABASE_URL"], **settings}


def _start(servers: list[Server]) -> None:
    """Start all of them at once; the first failure is raised when all have come to an end."""
    if not servers:
        return
    with ThreadPoolExecutor(len(servers)) as pool:
        starts = [pool.submit(server.start) for server in servers]
    for start in starts:
        start.result()


def _made(folder: Path, *, passable: bool = False) -> Path:
    """
    Make *folder* where there is none, for us alone.

    Args:
        folder: May exist, and stays as it is then.
        passable: Whether the user who runs Postgres in root's place must get through to what lies in it.
    """
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        if passable:
            _let_through(folder)
    return folder.resolve()


def _let_through(folder: Path) -> None:
    if unprivileged() != (None, None):
        folder.chmod(0o711)


@contextlib.contextmanager
def _temporary(guard: Guard) -> Iterator[Path]:
    """Have a folder of our own until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="tether-", dir=_place())).resolve()
    guard.remove(folder)
    _let_through(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place() -> Path:
    """Give the folder for temporary folders; for root, one that others may enter as well."""
    first = Path(tempfile.gettempdir()).resolve()
    if unprivileged() == (None, None):
        return first
    places = [first, *(Path(place) for place in ("/tmp", "/var/tmp", "/dev/shm"))]  # noqa: S108 - mkdtemp names the folder itself
    return next((place for place in places if place.is_dir() and reachable(place)), first)
