"""How much of Postgres and Redis is in use: connections, memory, wake-ups."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError
from tether_core.errors import StoreUnreachable
from tether_core.jobs import Queue

from tether_stores import queues
from tether_stores.jobs import queue as wake_up_queue
from tether_stores.postgres import Connection
from tether_stores.queries import load
from tether_stores.redis import Redis
from tether_stores.rows import fetch_one

__all__ = ["PostgresStatus", "RedisStatus", "of_postgres", "of_redis"]

_SQL: Final = load("store_status")


class PostgresStatus(msgspec.Struct, frozen=True):
    """
    How much of Postgres is in use.

    Attributes:
        version: Of the server.
        connections: Connections of all clients. Behind a pooler: of the pooler.
        connections_max: How many the server allows.
        database_bytes: The size of the database.
        oldest_transaction_s: For how many seconds the oldest transaction has been open, of those that the web's role may see; long ones keep old rows on disk.
    """

    version: str
    connections: int
    connections_max: int
    database_bytes: int
    oldest_transaction_s: float


class RedisStatus(msgspec.Struct, frozen=True):
    """
    How much of Redis is in use.

    Attributes:
        version: Of the server.
        memory_bytes: What it uses.
        memory_max_bytes: `maxmemory`; 0 for no limit.
        eviction: `maxmemory-policy`; it must be noeviction.
        evicted_keys: Keys that it dropped for want of memory since it started; it must be 0.
        connections: Connections of all clients.
        wake_ups: Wake-ups that wait, by queue. They carry no work.
    """

    version: str
    memory_bytes: int
    memory_max_bytes: int
    eviction: str
    evicted_keys: int
    connections: int
    wake_ups: Mapping[Queue, int]


async def of_postgres(conn: Connection) -> PostgresStatus:
    """How much of Postgres is in use now."""
    found = await fetch_one(conn, _SQL["postgres"], into=PostgresStatus)
    assert found is not None
    return found


async def of_redis(client: Redis) -> RedisStatus:
    """
    How much of Redis is in use now.

    Raises:
        StoreUnreachable: when Redis does not answer in time.
    """
    try:
        info: dict[str, Any] = await client.info()
    except (RedisError, OSError) as exc:
        raise StoreUnreachable("redis", why=type(exc).__name__) from exc
    waiting = await wake_up_queue.wake_ups(client, queues.NAMES)
    return RedisStatus(
        version=str(info.get("redis_version", "")),
        memory_bytes=int(info.get("used_memory", 0)),
        memory_max_bytes=int(info.get("maxmemory", 0)),
        eviction=str(info.get("maxmemory_policy", "")),
        evicted_keys=int(info.get("evicted_keys", 0)),
        connections=int(info.get("connected_clients", 0)),
        wake_ups=dict(zip(queues.NAMES, waiting, strict=True)),
    )
