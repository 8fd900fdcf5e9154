"""
Postgres, Redis and MinIO from containers, where a Docker engine answers.

This is the way for those who want the very images of production. It needs a running engine and, the first
time, a network to pull the images from. `testcontainers` removes the containers at the end, and by its
own reaper also when we are killed.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any

import httpx
import psycopg
import redis

from tether_sandbox.services.objects import BUCKET, settings
from tether_sandbox.services.server import DidNotStart
from tether_sandbox.services.waiting import until

__all__ = ["containers"]


_PASSWORD = "tether-secret"  # noqa: S105 - guards nothing: published on loopback, gone at the end
_SILENCE = (psycopg.OperationalError, redis.RedisError, httpx.HTTPError)


@contextlib.contextmanager
def containers(*, wanted: set[str]) -> Iterator[dict[str, str]]:
    """
    Have containers for the length of a `with` block.

    Args:
        wanted: Which of "postgres", "redis" and "objects" to start.

    Yields:
        The settings that lead to them.

    Raises:
        DidNotStart: when no Docker engine answers, or a container gives no answer in time.
    """
    # Imported here, for it asks the engine for its address when it is imported.
    container = import_module("testcontainers.core.container").DockerContainer
    _require_engine()
    found: dict[str, str] = {}
    with contextlib.ExitStack() as stack:

        def address(described: Any, *, port: int) -> str:
            published = stack.enter_context(described.with_exposed_ports(port))
            return f"{published.get_container_host_ip()}:{published.get_exposed_port(port)}"

        if "postgres" in wanted:
            described = container("postgres:18").with_env("POSTGRES_PASSWORD", _PASSWORD)
            found["DATABASE_URL"] = (
                f"postgresql://postgres:{_PASSWORD}@{address(described, port=5432)}/postgres"
            )
        if "redis" in wanted:
            options = "--appendonly yes --appendfsync everysec --maxmemory-policy noeviction --databases 64"
            described = container("redis:7").with_command(f"redis-server {options} --save ''")
            found["REDIS_URL"] = f"redis://{address(described, port=6379)}/0"
        if "objects" in wanted:
            # A folder below the data is a bucket.
            command = f"mkdir -p /data/{BUCKET} && exec minio server /data"
            described = (
                container("minio/minio:RELEASE.2025-04-22T22-12-26Z")
                .with_envs(MINIO_ROOT_USER="tether", MINIO_ROOT_PASSWORD=_PASSWORD)
                .with_kwargs(entrypoint="sh")
                .with_command(["-c", command])
            )
            found |= settings(f"http://{address(described, port=9000)}", secret=_PASSWORD)
        _await_answers(found)
        yield found


def _require_engine() -> None:
    client = import_module("docker")
    try:
        engine = client.from_env(timeout=5)
        engine.ping()
        engine.close()
    except client.errors.DockerException as error:
        why = "no Docker engine answers; start one, or leave the choice of docker out"
        raise DidNotStart("docker", why=why) from error


def _await_answers(found: dict[str, str]) -> None:
    probes = {"DATABASE_URL": _connect, "REDIS_URL": _ping, "AWS_ENDPOINT": _get}
    for name, probe in probes.items():
        if name in found:
            try:
                until(partial(probe, found[name]), what="an answer", timeout_s=60, despite=_SILENCE)
            except TimeoutError as error:
                raise DidNotStart("docker", why=f"{name} leads to nothing: {error}") from error


def _connect(url: str) -> bool:
    with psycopg.connect(url, connect_timeout=2) as connection:
        return not connection.closed


def _ping(url: str) -> bool:
    with contextlib.closing(redis.Redis.from_url(url, socket_timeout=2)) as client:
        return bool(client.ping())


def _get(url: str) -> bool:
    return httpx.get(f"{url}/minio/health/live", timeout=2).is_success
