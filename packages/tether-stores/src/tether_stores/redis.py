"""
Redis: opened, checked, and used only for what may be forgotten.

Redis holds marks of recent notifications, the wake-up queues and the shared limits. Losing them costs seconds of delay and no
data, so it may be flushed at any time. It must not *evict*: under memory pressure it would drop queue entries as well, which is why
`warnings` checks for `maxmemory-policy noeviction`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError  # noqa: A004 - redis-py's name
from tether_core.errors import StoreUnreachable

from tether_stores.queries import read_lua

__all__ = [
    "MARK_TTL_S",
    "Redis",
    "answers",
    "client_of",
    "mark_seen",
    "open_redis",
    "seen",
    "server_time",
    "warnings",
]

# A day: the gateway repeats for some two and a half hours, people resend a notification on the next day.
MARK_TTL_S: Final = 86_400
_PREFIX: Final = b"tether:seen:"
_MARK: Final = read_lua("mark_seen")


class _Mended:
    """Mixin for redis-py's connections: writing to a closed connection counts as a lost connection."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's signature
        try:
            await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except RuntimeError as exc:
            # What uvloop says of it. Other loops, and redis-py with it, say ConnectionError.
            if "closed" not in str(exc):
                raise
            raise ConnectionError("the connection was closed") from exc


def client_of(redis_url: str, **options: Any) -> Redis:
    """
    A client that raises redis-py's errors for all lost connections; it connects when first used.

    Args:
        redis_url: The server.
        options: Of redis-py.

    Returns:
        The client; to be closed.
    """
    # Explicit, because the defaults of redis-py change: the second protocol, because the third costs another round trip to connect and adds
    # push messages; and one more try on a fresh connection, because the first may
    # have died while it was idle, never after a timeout, because that try would take as long again.
    options = {"protocol": 2, "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)), **options}
    client: Redis = Redis.from_url(redis_url, **options)
    pool = client.connection_pool
    plain = pool.connection_class
    pool.connection_class = type(f"Mended{plain.__name__}", (_Mended, plain), {})
    return client


@asynccontextmanager
async def open_redis(redis_url: str, *, name: str, timeout_s: float = 0.25) -> AsyncIterator[Redis]:
    """
    A client for the life of a process; it connects when first used and again after every failure.

    Args:
        redis_url: The server.
        name: Shown in Redis' client list.
        timeout_s: For connecting and for each reply, in seconds. Short: on the way of a notification Redis is a
            shortcut, and a shortcut that takes long is none.

    Yields:
        The client.
    """
    client = client_of(
        redis_url,
        client_name=name,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=15,
        max_connections=50,
    )
    try:
        yield client
    finally:
        await client.aclose()


async def seen(client: Redis, keys: Sequence[bytes], *, history: str) -> list[bytes | None]:
    """
    What Redis remembers of these notifications, in one round trip.

    Args:
        client: From `open_redis`.
        keys: n keys of `tether_core.notifications.identity`.
        history: `Watch.history`; what was marked in another one is not found.

    Returns:
        n entries: the content digest recorded under the key within `MARK_TTL_S`, or `None`.

    Raises:
        StoreUnreachable: when Redis does not answer in time.
    """
    try:
        prefix = _prefix(history)
        found: list[Any] = await client.mget([prefix + key for key in keys])
    except (RedisError, OSError) as exc:
        raise StoreUnreachable("redis", why=type(exc).__name__) from exc
    return found


async def mark_seen(client: Redis, marks: Sequence[tuple[str, bytes, bytes]]) -> None:
    """
    Remember notifications whose rows are committed; never call it before.

    Args:
        client: From `open_redis`.
        marks: `Watch.history` as it was before the commit began, key and content digest.

    Raises:
        StoreUnreachable: when Redis does not answer in time; nothing is lost by that.
    """
    try:
        # One command, because a pipeline of n costs this process n times as much.
        await client.execute_command(  # type: ignore[no-untyped-call]
            "EVAL",
            _MARK,
            len(marks),
            *(_prefix(history) + key for history, key, _ in marks),
            *(content for _, _, content in marks),
            MARK_TTL_S,
        )
    except (RedisError, OSError) as exc:
        raise StoreUnreachable("redis", why=type(exc).__name__) from exc


def _prefix(history: str) -> bytes:
    return _PREFIX + history.encode() + b":"


async def answers(client: Redis) -> bool:
    """Whether Redis answers now."""
    try:
        await client.get(b"tether:ping")
    except (RedisError, OSError):
        return False
    return True


async def server_time(client: Redis) -> datetime:
    """
    The time by Redis' clock, which the shared limits go by.

    Raises:
        StoreUnreachable: when Redis does not answer in time.
    """
    try:
        seconds, microseconds = await client.time()
    except (RedisError, OSError) as exc:
        raise StoreUnreachable("redis", why=type(exc).__name__) from exc
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)


async def warnings(client: Redis) -> list[str]:
    """
    What is wrong with how this Redis is set up, as sentences for the operator.

    Args:
        client: From `open_redis`.

    Returns:
        No sentence when all is well, or when the server does not allow the check.
    """
    found: list[str] = []
    try:
        asked = {**await client.config_get("maxmemory-policy"), **await client.config_get("appendonly")}
    except (RedisError, OSError):
        return found
    fields = {_text(name): _text(value) for name, value in asked.items()}
    if fields.get("maxmemory-policy", "noeviction") != "noeviction":
        found.append(
            f"Redis may evict keys (maxmemory-policy {fields['maxmemory-policy']}): queued work would vanish. "
            "Set maxmemory-policy noeviction."
        )
    if fields.get("appendonly", "yes") != "yes":
        found.append("Redis keeps no append-only file: every restart empties the queues. Set appendonly yes.")
    return found


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
