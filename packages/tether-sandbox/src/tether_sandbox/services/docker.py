"""
Run Postgres, Redis and SeaweedFS in Docker containers.

The images are those of production. This needs a running Docker engine and, the first time, a network to pull the images.
`testcontainers` removes the containers at the end, and also when the process is killed.
"""

import contextlib
import secrets
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import psycopg
import redis

from tether_sandbox.services.objects import BUCKET, settings
from tether_sandbox.services.server import DidNotStart
from tether_sandbox.services.waiting import until

__all__ = ["containers"]

_SILENCE = (psycopg.OperationalError, redis.RedisError, httpx.HTTPError)


@contextlib.contextmanager
def containers(*, wanted: set[str]) -> Iterator[dict[str, str]]:
    """
    Run containers for the length of a `with` block.

    Args:
        wanted: Which of "postgres", "redis" and "objects" to start.

    Yields:
        Their addresses, as settings.

    Raises:
        DidNotStart: when no Docker engine is running, or a container does not respond in time.
    """
    _require_engine()
    # Imported late: the client of Docker is heavy, and most people never need it.
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - see above

    password = secrets.token_urlsafe(16)  # containers listen on every interface
    found: dict[str, str] = {}
    with contextlib.ExitStack() as stack:

        def address(described: Any, *, port: int) -> str:
            published = stack.enter_context(described.with_exposed_ports(port))
            return f"{published.get_container_host_ip()}:{published.get_exposed_port(port)}"

        if "postgres" in wanted:
            described = DockerContainer("postgres:18").with_env("POSTGRES_PASSWORD", password)
            place = address(described, port=5432)
            found["DATABASE_URL"] = f"postgresql://postgres:{password}@{place}/postgres"
        if "redis" in wanted:
            options = "--appendonly yes --appendfsync everysec --maxmemory-policy noeviction --databases 64"
            command = ["redis-server", *options.split(), "--save", "", "--requirepass", password]
            described = DockerContainer("redis:7").with_command(command)
            found["REDIS_URL"] = f"redis://:{password}@{address(described, port=6379)}/0"
        if "objects" in wanted:
            command = ["mini", "-dir=/data", f"-bucket={BUCKET}", "-master.telemetry=false"]
            described = (
                DockerContainer("chrislusf/seaweedfs:4.48")
                .with_envs(AWS_ACCESS_KEY_ID="tether", AWS_SECRET_ACCESS_KEY=password)
                .with_command(command)
            )
            found |= settings(f"http://{address(described, port=8333)}", secret=password)
        _await_answers(found)
        yield found


def _require_engine() -> None:
    import docker  # noqa: PLC0415 - heavy, and publishes no types

    try:
        with contextlib.closing(docker.from_env(timeout=5)) as client:
            client.ping()
    except docker.errors.DockerException as error:
        why = "no Docker engine is running; start one, or omit --services docker"
        raise DidNotStart("docker", why=why) from error


def _await_answers(found: dict[str, str]) -> None:
    probes = {"DATABASE_URL": _connect, "REDIS_URL": _ping, "AWS_ENDPOINT": _get}
    for name in found.keys() & probes.keys():
        try:
            until(partial(probes[name], found[name]), what="an answer", timeout_s=60, despite=_SILENCE)
        except TimeoutError as error:
            raise DidNotStart("docker", why=f"{name} does not respond") from error


def _connect(url: str) -> bool:
    with psycopg.connect(url, connect_timeout=2) as connection:
        return not connection.closed


def _ping(url: str) -> bool:
    with contextlib.closing(redis.Redis.from_url(url, socket_timeout=2)) as client:
        return bool(client.ping())


def _get(url: str) -> bool:
    return httpx.get(f"{url}/status", timeout=2).is_success
