"""
Postgres, Redis and an object store on this machine, with nothing installed.

Services that the environment names are used: `DATABASE_URL`, `REDIS_URL`, and for objects `AWS_ENDPOINT`, `AWS_BUCKET` or
`TETHER_OBJECTS_DIR`. The others are started: Postgres and Redis from wheels (or `redis-server` from PATH), objects in a folder
or, for an S3 endpoint, by SeaweedFS. Ports and passwords are new each time, so any number of copies can run. Everything ends with
the `with` block, and also when the program is killed.

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
from typing import Final

import msgspec
import psutil

from tether_sandbox.services import docker as engine
from tether_sandbox.services.guard import Guard
from tether_sandbox.services.objects import Objects
from tether_sandbox.services.postgres import Postgres, reachable, unprivileged
from tether_sandbox.services.redis import Redis
from tether_sandbox.services.server import DidNotStart, Server

__all__ = ["DidNotStart", "Objects", "Postgres", "Redis", "Services", "running"]

# Several processes of tests fill some gigabytes.
_MEMORY_MIN_BYTES: Final = 12 << 30
# What a container may use, by the second and by the first version of control groups; "max" for no limit.
_MEMORY_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Services(msgspec.Struct, frozen=True):
    """
    The running services.

    Attributes:
        environment: Their addresses, as settings for programs.
        postgres: The started server; `None` if the environment named one.
        redis: The started server; `None` if the environment named one.
        objects: The started S3 endpoint, if any.
    """

    environment: dict[str, str]
    postgres: Postgres | None = None
    redis: Redis | None = None
    objects: Objects | None = None


@contextlib.contextmanager
def running(
    environ: Mapping[str, str],
    *,
    folder: Path | None = None,
    s3: bool = False,
    docker: bool = False,
    survives_power_loss: bool = True,
) -> Iterator[Services]:
    """
    Run all services for the length of a `with` block.

    Args:
        environ: Settings that may name services, which are then used.
        folder: For the data, kept at the end and used again next time; `None` for a temporary folder.
        s3: Whether objects are behind an S3 endpoint instead of in a folder.
        docker: Whether Postgres, Redis and SeaweedFS run in Docker containers.
        survives_power_loss: Whether Postgres waits for the disk. Without it, commits survive a kill of Postgres, but not a crash
            of the machine; and temporary data is kept in memory where there is much of it.

    Yields:
        The services, each of which accepts connections.

    Raises:
        DidNotStart: when a service does not start; the others are stopped.
    """
    settings = _named(environ)
    if docker:
        with engine.containers(wanted=_wanted(settings)) as started:
            yield Services(_complete({**settings, **started}))
        return
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(Guard())
        home = (
            _made(folder, passable=True)
            if folder
            else stack.enter_context(_temporary(guard, place=None if survives_power_loss else _memory()))
        )
        servers: list[Server] = []
        postgres = redis = objects = None
        wanted = _wanted(settings)
        if "postgres" in wanted:
            # Little log is kept where it may be in memory.
            flushed = {"fsync": "on"} if survives_power_loss else {"fsync": "off", "max_wal_size": "256MB"}
            postgres = Postgres(_made(home / "postgres"), guard=guard, settings=flushed)
            servers.append(postgres)
        if "redis" in wanted:
            servers.append(redis := Redis(_made(home / "redis"), guard=guard))
        if "objects" in wanted and s3:
            servers.append(objects := Objects(_made(home / "s3"), guard=guard))
        for server in servers:
            # Data in a temporary folder need not be flushed to disk.
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
    """Return the settings of *environ* that name services."""
    names = ("DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL", "TETHER_OBJECTS_DIR")
    given = {key: text for key, text in environ.items() if text and (key in names or key.startswith("AWS_"))}
    if "DATABASE_URL" not in given:
        # A direct address alone belongs to some other database, which must not be migrated.
        given.pop("DATABASE_DIRECT_URL", None)
    return given


def _wanted(settings: Mapping[str, str]) -> set[str]:
    """Return the services that *settings* does not name."""
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
    """Start all servers at once; raise the first failure after all have finished."""
    if not servers:
        return
    with ThreadPoolExecutor(len(servers)) as pool:
        starts = [pool.submit(server.start) for server in servers]
    for start in starts:
        start.result()


def _made(folder: Path, *, passable: bool = False) -> Path:
    """
    Create *folder* if it does not exist, accessible to this user only.

    Args:
        passable: Whether the user that runs Postgres instead of root must have access to its content.
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
def _temporary(guard: Guard, *, place: Path | None) -> Iterator[Path]:
    """Create a temporary folder for the length of a block; in *place*, or where temporary folders are."""
    folder = Path(tempfile.mkdtemp(prefix="tether-", dir=place or _place())).resolve()
    guard.remove(folder)
    _let_through(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """A folder in memory, if this machine and what limits this process leave much of it."""
    place = Path("/dev/shm")  # noqa: S108 - mkdtemp names the folder itself
    try:
        free = min(shutil.disk_usage(place).free, psutil.virtual_memory().available)
    except OSError:
        return None
    for limit in _MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            free = min(free, int(Path(limit).read_text()))
    return place if free >= _MEMORY_MIN_BYTES and reachable(place) else None


def _place() -> Path:
    """Return the folder for temporary folders; for root, one that other users can enter."""
    first = Path(tempfile.gettempdir()).resolve()
    if unprivileged() == (None, None):
        return first
    places = [first, *(Path(place) for place in ("/tmp", "/var/tmp", "/dev/shm"))]  # noqa: S108 - mkdtemp names the folder itself
    return next((place for place in places if place.is_dir() and reachable(place)), first)
