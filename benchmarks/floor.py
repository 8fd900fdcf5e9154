"""
The floor: the least a Python web server can do, for Granian to serve.

- `at_once` answers and does nothing else;
- `marked` sends one `SET NX` to Redis before it answers, by redis-py's own pool;
- `stored` makes one insert in Postgres before it answers, each request its own, by psycopg's own pool.

None of them verifies, keys, counts or logs anything. `marked` and `stored` are what "just put it into Redis", and "just put it
into Postgres", cost at least.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any

from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis
from tether_stores.queries import split_file

_SQL = split_file("benchmarks", "sql/floor")
_HEADERS = [(b"content-type", b"application/xml"), (b"content-length", b"16")]
_ECHO = b"<echo>ok</echo>\n"
# Opened with the server and shared by its requests.
_open: dict[str, Any] = {}


async def at_once(scope: Any, receive: Any, send: Any) -> None:
    """Answer."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    await _answer(send)


async def marked(scope: Any, receive: Any, send: Any) -> None:
    """Mark the body as seen in Redis, and answer."""
    if scope["type"] == "lifespan":
        async with _redis():
            await _live(receive, send)
        return
    key = blake2b(await _body(receive), digest_size=16).digest()
    await _open["redis"].set(key, b"1", nx=True, ex=86_400)
    await _answer(send)


async def stored(scope: Any, receive: Any, send: Any) -> None:
    """Insert the body, and answer once that is committed."""
    if scope["type"] == "lifespan":
        async with _postgres():
            await _live(receive, send)
        return
    body = await _body(receive)
    key = blake2b(body, digest_size=16).digest()
    async with _open["pool"].connection() as conn:
        await conn.execute(_SQL["store"], {"key": key, "body": body})
    await _answer(send)


@asynccontextmanager
async def _redis() -> AsyncIterator[None]:
    async with Redis.from_url(os.environ["REDIS_URL"], max_connections=1_000) as client:  # its default is 100
        _open["redis"] = client
        yield


@asynccontextmanager
async def _postgres() -> AsyncIterator[None]:
    async with AsyncConnectionPool(
        os.environ["DATABASE_URL"], kwargs={"autocommit": True}, min_size=4, max_size=10, open=False
    ) as pool:
        _open["pool"] = pool
        yield


async def _live(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _body(receive: Any) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ECHO, "more_body": False})
